//! YAML text -> a tree of nodes in which every key and value has its place.
//!
//! Knows nothing of pipelines. A syntax error stands alone, since nothing can be said of what
//! follows it; what can be seen in a whole tree (keys given twice, numbers too large) is collected.

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Number;
use serde_yaml::{
    DefaultMessageFormatter, DuplicateKeyPolicy, Error, Location, MessageFormatter, Spanned,
    budget::BudgetBreach,
};

use super::diagnostic::{Place, Problem};
use super::node::{Data, Entry, Node};

/// The deepest nesting that is read.
const DEPTH: usize = 64;
/// The most nodes that aliases may expand to.
const EXPANSION: usize = 100_000;

/// Reads one YAML document. Places count from `offset` in the source of that number.
///
/// Gives the tree and what is wrong in it, or the syntax error.
pub(super) fn parse(
    text: &str,
    source: usize,
    offset: usize,
) -> Result<(Node, Vec<Problem>), Problem> {
    let mut options = serde_yaml::options! {
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
        budget: serde_yaml::budget! {
            max_depth: DEPTH,
            flow_nesting_limit: DEPTH,
            max_events: 20_000_000,
            max_nodes: 10_000_000,
        },
    };
    options.alias_limits.max_total_replayed_events = EXPANSION;
    let raw: Spanned<Raw> = serde_yaml::from_str_with_options(text, options)
        .map_err(|error| syntax_error(&error, text, source, offset))?;
    let mut problems = Vec::new();
    let mut node = raw.into_node(source);
    settle(&mut node, text, &mut problems);
    shift(&mut node, offset);
    for (place, _) in problems.iter_mut().flat_map(|problem| &mut problem.labels) {
        *place = Place::new(source, place.start + offset, place.end + offset);
    }
    Ok((node, problems))
}

/// A node as serde sees it.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Number(number.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Raw, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("not a finite number"))?;
        Ok(Raw::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key()? {
            map.push((key, entries.next_value()?));
            if map.len() > 1_000_000 {
                return Err(A::Error::custom("a map with more than a million keys"));
            }
        }
        Ok(Raw::Map(map))
    }
}

trait IntoNode {
    fn into_node(self, source: usize) -> Node;
}

impl IntoNode for Spanned<Raw> {
    /// A node behind an alias stands where the alias is, since that is what its reader wrote.
    fn into_node(self, source: usize) -> Node {
        let place = place(self.referenced, source);
        let data = match self.value {
            Raw::Null => Data::Null,
            Raw::Bool(flag) => Data::Bool(flag),
            Raw::Number(number) => Data::Number(number),
            Raw::Text(text) => Data::Text(text),
            Raw::List(items) => {
                Data::List(items.into_iter().map(|item| item.into_node(source)).collect())
            }
            Raw::Map(entries) => Data::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        place: self::place(key.referenced, source),
                        key: key.value,
                        value: value.into_node(source),
                    })
                    .collect(),
            ),
        };
        Node::new(place, data)
    }
}

fn place(location: Location, source: usize) -> Place {
    let span = location.span();
    let index = |number: Option<u64>| usize::try_from(number.unwrap_or(0)).unwrap_or(usize::MAX);
    let start = index(span.byte_offset());
    Place::new(source, start, start.saturating_add(index(span.byte_len())))
}

/// Gives containers their ends, scalars no trailing blanks, and collects what is wrong.
fn settle(node: &mut Node, text: &str, problems: &mut Vec<Problem>) {
    match &mut node.data {
        Data::List(items) => {
            for item in items.iter_mut() {
                settle(item, text, problems);
            }
            let last = items.last().map(|item| item.place);
            node.place = whole(node.place, last, text);
        }
        Data::Map(entries) => {
            for entry in entries.iter_mut() {
                entry.place = trimmed(entry.place, text);
                settle(&mut entry.value, text, problems);
            }
            duplicates(entries, problems);
            let last = entries.last().map(|entry| entry.place.max(entry.value.place));
            node.place = whole(node.place, last, text);
        }
        Data::Number(number) if number.is_f64() => {
            node.place = trimmed(node.place, text);
            let written = text.get(node.place.start..node.place.end).unwrap_or("");
            let digits = written.trim_start_matches(['-', '+']);
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                // YAML 1.1 read octal digits there, and so YAML 1.2 reads no whole number.
                let (message, help) = match digits.strip_prefix('0') {
                    Some(_) => (
                        format!("`{written}` begins with a zero, as no whole number does"),
                        format!("quote it to keep it as a text: '{written}'"),
                    ),
                    None => (
                        format!("the whole number `{written}` is too large"),
                        format!("whole numbers go from {} to {}", i64::MIN, u64::MAX),
                    ),
                };
                problems.push(Problem::new(node.place, message).help(help));
            }
        }
        _ => node.place = trimmed(node.place, text),
    }
}

fn trimmed(place: Place, text: &str) -> Place {
    let written = text.get(place.start..place.end).unwrap_or("").trim_end();
    Place::new(place.source, place.start, place.start + written.len())
}

/// Extends the place of a container over its last part and the bracket that closes it.
fn whole(place: Place, last: Option<Place>, text: &str) -> Place {
    let opened = text.get(place.start..).and_then(|rest| rest.chars().next());
    let end = last.map_or(place.start + 1, |last| last.end.max(place.end)).min(text.len());
    let end = match opened {
        Some(bracket @ ('[' | '{')) => {
            let close = if bracket == '[' { ']' } else { '}' };
            let rest = text.get(end..).unwrap_or("");
            let blank = rest.len() - rest.trim_start_matches([' ', '\n', '\t', ',', '\r']).len();
            if rest[blank..].starts_with(close) { end + blank + 1 } else { end }
        }
        _ => end,
    };
    Place::new(place.source, place.start, end)
}

fn duplicates(entries: &mut Vec<Entry>, problems: &mut Vec<Problem>) {
    let mut seen: HashMap<&str, Place> = HashMap::with_capacity(entries.len());
    let mut twice = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match seen.get(entry.key.as_str()) {
            Some(first) => {
                twice.push(index);
                let problem =
                    Problem::new(entry.place, format!("the key `{}` is given twice", entry.key))
                        .help("remove one of the two")
                        .label(*first, "first given here");
                // An anchor's mistake shows again at each of its aliases.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
            None => {
                seen.insert(&entry.key, entry.place);
            }
        }
    }
    for index in twice.into_iter().rev() {
        entries.remove(index);
    }
}

fn shift(node: &mut Node, offset: usize) {
    if offset == 0 {
        return;
    }
    let moved = |place: Place| Place::new(place.source, place.start + offset, place.end + offset);
    node.place = moved(node.place);
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(|item| shift(item, offset)),
        Data::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.place = moved(entry.place);
            shift(&mut entry.value, offset);
        }),
        _ => {}
    }
}

fn syntax_error(error: &Error, text: &str, source: usize, offset: usize) -> Problem {
    let start = error.location().map_or(0, |location| byte_of(location, text));
    let length = text[start..].chars().next().map_or(0, char::len_utf8);
    let (message, help) = explain(error);
    Problem::new(Place::new(source, start + offset, start + length + offset), message).help(help)
}

/// Gives the byte at a location; errors of the scanner know only its line and column.
fn byte_of(location: Location, text: &str) -> usize {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    if let Some(byte) = location.span().byte_offset().map(number)
        && text.is_char_boundary(byte)
    {
        return byte;
    }
    let lines = text.split_inclusive('\n');
    let above: usize =
        lines.clone().take(number(location.line().saturating_sub(1))).map(str::len).sum();
    let line = lines.into_iter().nth(number(location.line().saturating_sub(1))).unwrap_or("");
    let column = number(location.column()).saturating_sub(1);
    above + line.char_indices().nth(column).map_or(line.trim_end().len(), |(at, _)| at)
}

fn explain(error: &Error) -> (String, &'static str) {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => explain(error),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::Budget {
            breach: BudgetBreach::Aliases { .. } | BudgetBreach::AliasAnchorRatio { .. },
            ..
        } => (
            format!("the aliases expand to more than {EXPANSION} values"),
            "write the values out, or use variables: `vars:` and `${name}`",
        ),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => (
            format!("the file is nested more than {DEPTH} levels deep"),
            "no pipeline needs that; look for brackets that are not closed",
        ),
        Error::Budget { .. } => {
            ("the file is too large for a pipeline".to_owned(), "split it into several pipelines")
        }
        Error::MultipleDocuments { .. } => (
            "a second YAML document begins here".to_owned(),
            "one file holds one pipeline: remove the `---`",
        ),
        Error::UnknownAnchor { .. } => (
            "the alias names an anchor that is not defined above it".to_owned(),
            "an anchor is defined as `&name` and used as `*name`; quote a text that begins with `*`",
        ),
        Error::NonFiniteFloat { value, .. } => {
            (format!("the number `{value}` is not finite"), "write a finite number")
        }
        Error::UnsupportedTag { tag, .. } => {
            (format!("the tag `{tag}` is not known"), "quote a text that begins with `!`")
        }
        error => (
            format!("not valid YAML: {}", DefaultMessageFormatter.format_message(error)),
            "look at brackets, quotes and indentation here and just above",
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tree(text: &str) -> Node {
        let (node, problems) = parse(text, 0, 0).unwrap();
        assert_eq!(problems, []);
        node
    }

    fn at(text: &str, place: Place) -> &str {
        &text[place.start..place.end]
    }

    #[test]
    fn every_key_and_value_has_its_place() {
        let text = "a: 1   # one\nü:\n  - { x: 'y', z: [1, 2] }\n  - true\nend: plain text \n";
        let root = tree(text);
        let [a, u, end] = root.entries() else { panic!("three keys") };
        assert_eq!((at(text, a.place), at(text, a.value.place)), ("a", "1"));
        assert_eq!(at(text, end.value.place), "plain text");
        let Data::List(items) = &u.value.data else { panic!("a list") };
        assert_eq!(at(text, items[0].place), "{ x: 'y', z: [1, 2] }");
        assert_eq!(at(text, items[0].entry("x").unwrap().value.place), "'y'");
        assert_eq!(at(text, items[0].entry("z").unwrap().value.place), "[1, 2]");
        assert_eq!(at(text, items[1].place), "true");
    }

    #[test]
    fn types_are_those_of_yaml_1_2() {
        let root = tree("[no, yes, true, '1', 1, -1, 1.5, 1e-4, null, ~, 18446744073709551615]");
        assert_eq!(
            root.to_value(),
            serde_json::json!(["no", "yes", true, "1", 1, -1, 1.5, 0.0001, null, null, u64::MAX])
        );
    }

    #[test]
    fn flaws_of_a_whole_tree_are_all_collected() {
        let (node, problems) =
            parse("a: 1\nb: 99999999999999999999\na: 2\nc: { d: 1, d: 2, e: 010 }", 0, 0).unwrap();
        let said: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
        assert_eq!(
            said,
            [
                "the whole number `99999999999999999999` is too large",
                "`010` begins with a zero, as no whole number does",
                "the key `d` is given twice",
                "the key `a` is given twice",
            ]
        );
        assert_eq!(node.entry("a").unwrap().value.to_value(), 1);
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let text = "a: &x 7\nb: *x\n";
        let root = tree(text);
        assert_eq!(root.entry("b").unwrap().value.to_value(), 7);
        assert_eq!(at(text, root.entry("b").unwrap().value.place), "*x");
    }

    #[test]
    fn a_bomb_and_a_deep_nest_are_refused() {
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let alias = format!("*a{},", level - 1).repeat(9);
            bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
        }
        assert!(parse(&bomb, 0, 0).unwrap_err().message.contains("aliases expand"));
        let nest = "[".repeat(100) + &"]".repeat(100);
        assert!(parse(&nest, 0, 0).is_err());
    }

    #[test]
    fn a_path_finds_keys_that_hold_dots() {
        let text = "search: { network.units: { choice: [1, 2] }, network: 3 }";
        let root = tree(text);
        let place = |path| at(text, root.place_of(path).unwrap());
        assert_eq!(place("search.network.units.choice.1"), "2");
        assert_eq!(place("search.network"), "3");
        assert_eq!(at(text, root.place_of("search.network.units").unwrap()), "network.units");
        assert_eq!(place("search.network.units.gone"), "network.units");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[ -~\\n\\tü]{0,200}") {
            let _ = parse(&text, 0, 3);
        }

        #[test]
        fn places_lie_within_the_text(
            text in "([a-c]: |- |\\[|\\]|\\{|\\}|,|&a |\\*a|'|\"|#|\\n|\\n  |1|x|ü|\\|\\n|!!str ){0,40}"
        ) {
            if let Ok((node, _)) = parse(&text, 0, 0) {
                within(&node, &text);
            }
        }
    }

    fn within(node: &Node, text: &str) {
        assert!(text.get(node.place.start..node.place.end).is_some(), "{node:?} in {text:?}");
        match &node.data {
            Data::List(items) => items.iter().for_each(|item| within(item, text)),
            Data::Map(entries) => entries.iter().for_each(|entry| within(&entry.value, text)),
            _ => {}
        }
    }
}
