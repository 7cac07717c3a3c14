//! `matrix:` -> one stage for each combination of values.
//!
//! A stage with a matrix is a template: it is copied once for each combination, `${matrix.KEY}`
//! stands for the combination's value in the copy, and the copy is named `train[seed=1,units=64]`.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::diagnostic::{Place, Problem, Sources, did_you_mean};
use super::groups::{Groups, Selector};
use super::node::{Data, Entry, Node};
use super::variables::Variables;
use super::{Cell, Combination, draft};

/// The most combinations of one stage.
const MOST: usize = 10_000;
/// The most values that the copies of stages may hold in all.
const LARGEST: usize = 4_000_000;
/// The longest name of a stage, in bytes: file systems bear 255, and endings are added.
const LONGEST_NAME: usize = 160;
/// The longest text of one value within a name.
const LONGEST_TEXT: usize = 32;

/// The fields of a matrix that are no keys.
const FIELDS: [&str; 2] = ["include", "exclude"];

/// The column of a table of combinations that holds the file's path, which no key can be.
pub(super) const PATH: &str = "path";

/// The stages with every matrix written out, and variables put in.
#[derive(Debug)]
pub(super) struct Expanded {
    /// The map of stages.
    pub stages: Node,
    pub groups: Groups,
    /// Places of stages that were copied: a mistake there is found once for each copy.
    pub copied: Vec<Place>,
}

/// Writes out every matrix, and puts variables into every stage.
pub(super) fn expand(
    entries: Vec<Entry>,
    variables: &mut Variables,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Expanded {
    let mut stages = Vec::with_capacity(entries.len());
    let mut groups = Groups::default();
    let mut copied = Vec::new();
    let mut room = LARGEST;
    for mut entry in entries {
        let Some(matrix) = take_matrix(&mut entry.value) else {
            draft::substitute(&mut entry.value, variables, sources, problems);
            stages.push(entry);
            continue;
        };
        let mut node = matrix.value;
        variables.substitute(&mut node, false, sources, problems);
        let combinations = combinations(&entry.key, matrix.place, &node, problems);
        let Some(combinations) = combinations else {
            // What a broken matrix stands for is not known: nothing more is said of the stage.
            entry.value.data = Data::Unknown;
            stages.push(entry);
            continue;
        };
        copied.push(entry.value.place);
        let size = entry.value.weight().saturating_mul(combinations.len());
        match room.checked_sub(size) {
            Some(left) => room = left,
            None => {
                let message = format!("the stages with a matrix hold more than {LARGEST} values");
                problems
                    .push(Problem::new(matrix.place, message).help("give it fewer combinations"));
                entry.value.data = Data::Unknown;
                stages.push(entry);
                continue;
            }
        }
        let mut members = Vec::with_capacity(combinations.len());
        for (combination, values) in combinations {
            let mut stage = entry.value.clone();
            variables.enter(values, &combination);
            draft::substitute(&mut stage, variables, sources, problems);
            variables.leave();
            let name = combination.name();
            stages.push(Entry { key: name, place: entry.place, value: stage });
            members.push(combination);
        }
        groups.add(entry.key, members);
    }
    let place = Place::default();
    Expanded { stages: Node::new(place, Data::Map(stages)), groups, copied }
}

fn take_matrix(stage: &mut Node) -> Option<Entry> {
    let Data::Map(fields) = &mut stage.data else { return None };
    let index = fields.iter().position(|field| field.key == "matrix")?;
    Some(fields.remove(index))
}

/// The values of one combination by key.
type Values = Vec<(String, Node)>;

/// Reads a matrix: every combination of its lists but those that it excludes, then those that it
/// includes.
fn combinations(
    stage: &str,
    place: Place,
    matrix: &Node,
    problems: &mut Vec<Problem>,
) -> Option<Vec<(Combination, Values)>> {
    const HELP: &str = "write `matrix: { seed: [1, 2, 3] }`";
    let before = problems.len();
    if matches!(matrix.data, Data::Unknown) {
        return None;
    }
    if !matches!(matrix.data, Data::Map(_)) {
        let described = matrix.describe();
        let message = format!(
            "`matrix` of stage `{stage}` must be a map of names and lists, not {described}"
        );
        problems.push(Problem::new(matrix.place, message).help(HELP));
        return None;
    }
    let axes = axes(stage, matrix, problems);
    let keys: Vec<&str> = axes.iter().map(|(key, _)| *key).collect();
    let exclude = partial_maps(stage, matrix, "exclude", problems);
    for entry in exclude.iter().flat_map(|map| map.entries()) {
        if !keys.contains(&entry.key.as_str()) {
            let message = format!("the matrix of stage `{stage}` has no `{}`", entry.key);
            let help = did_you_mean(&entry.key, "it has", keys.iter().copied());
            problems.push(Problem::new(entry.place, message).help(help));
        }
    }
    let include = partial_maps(stage, matrix, "include", problems);
    for entry in include.iter().flat_map(|map| map.entries()) {
        check_key(stage, entry, problems);
    }
    let count = axes.iter().map(|(_, values)| values.len());
    let count = count.fold(usize::from(!axes.is_empty()), usize::saturating_mul);
    if count.saturating_add(include.len()) > MOST {
        let message = format!("the matrix of stage `{stage}` has more than {MOST} combinations");
        problems.push(Problem::new(place, message).help("shorten its lists"));
    }
    if problems.len() > before || matrix.has_unknown() {
        return None;
    }
    let mut all = product(&axes, count);
    for map in &exclude {
        let kept = all.len();
        all.retain(|values| !agrees(values, map));
        if all.len() == kept {
            problems.push(
                Problem::new(map.place, "it excludes no combination")
                    .help("remove it, or look at its values")
                    .warning(),
            );
        }
    }
    all.extend(include.iter().map(|map| {
        let entries = map.entries().iter();
        entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }));
    if all.is_empty() {
        let message = format!("the matrix of stage `{stage}` has no combination");
        problems.push(Problem::new(place, message).help(HELP));
        return None;
    }
    named(stage, place, all, problems)
}

/// Reads the lists of a matrix by key.
fn axes<'m>(
    stage: &str,
    matrix: &'m Node,
    problems: &mut Vec<Problem>,
) -> Vec<(&'m str, &'m [Node])> {
    let mut axes = Vec::new();
    for entry in matrix.entries().iter().filter(|entry| !FIELDS.contains(&entry.key.as_str())) {
        check_key(stage, entry, problems);
        match &entry.value.data {
            Data::List(values) if !values.is_empty() => {
                axes.push((entry.key.as_str(), &values[..]))
            }
            Data::Unknown => {}
            Data::List(_) => {
                let message = format!("`{}` of the matrix of stage `{stage}` is empty", entry.key);
                problems.push(Problem::new(entry.value.place, message).help("give it a value"));
            }
            _ => {
                let key = &entry.key;
                let described = entry.value.describe();
                let message = format!(
                    "`{key}` of the matrix of stage `{stage}` must be a list, not {described}"
                );
                let place = if matches!(entry.value.data, Data::Null) {
                    entry.place
                } else {
                    entry.value.place
                };
                problems.push(Problem::new(place, message).help(format!("write `{key}: [1, 2]`")));
            }
        }
    }
    axes
}

fn check_key(stage: &str, entry: &Entry, problems: &mut Vec<Problem>) {
    let key = &entry.key;
    let help = if key == PATH {
        "`path` is the column of the files in the table of combinations: take another name"
    } else if key.len() > 40 || !super::check::is_name(key) {
        "names are up to 40 letters, digits, `_` and `-`"
    } else {
        return;
    };
    let message = format!("`{key}` cannot be a key of the matrix of stage `{stage}`");
    problems.push(Problem::new(entry.place, message).help(help));
}

/// Reads a list of maps.
fn partial_maps<'m>(
    stage: &str,
    matrix: &'m Node,
    field: &str,
    problems: &mut Vec<Problem>,
) -> Vec<&'m Node> {
    let Some(entry) = matrix.entry(field) else { return Vec::new() };
    let wrong = |node: &Node| {
        let described = node.describe();
        let message = format!(
            "`{field}` of the matrix of stage `{stage}` must be a list of maps, not {described}"
        );
        Problem::new(node.place, message).help(format!("write `{field}: [{{ seed: 1 }}]`"))
    };
    match &entry.value.data {
        Data::Null | Data::Unknown => Vec::new(),
        Data::List(items) => {
            let is_map = |item: &&Node| !item.entries().is_empty();
            let others = items.iter().filter(|item| !is_map(item));
            problems.extend(others.filter(|item| !matches!(item.data, Data::Unknown)).map(wrong));
            items.iter().filter(is_map).collect()
        }
        _ => {
            problems.push(wrong(&entry.value));
            Vec::new()
        }
    }
}

/// Gives every combination, the last key's values changing first.
fn product(axes: &[(&str, &[Node])], count: usize) -> Vec<Values> {
    let combination = |number: usize| {
        let mut rest = number;
        let mut values: Values = Vec::with_capacity(axes.len());
        for (key, list) in axes.iter().rev() {
            values.push(((*key).to_owned(), list[rest % list.len()].clone()));
            rest /= list.len();
        }
        values.reverse();
        values
    };
    (0..count).map(combination).collect()
}

fn agrees(values: &Values, map: &Node) -> bool {
    map.entries().iter().all(|entry| {
        let value = values.iter().find(|(key, _)| *key == entry.key);
        value.is_some_and(|(_, value)| {
            canonical(&value.to_value()) == canonical(&entry.value.to_value())
        })
    })
}

/// Gives each combination its name; none where two are the same.
fn named(
    stage: &str,
    place: Place,
    all: Vec<Values>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<(Combination, Values)>> {
    let mut texts = Texts::default();
    let mut taken = HashSet::with_capacity(all.len());
    let mut combinations = Vec::with_capacity(all.len());
    for values in all {
        let cells = values.iter().map(|(key, node)| {
            let value = node.to_value();
            let canonical = canonical(&value);
            let text = texts.of(key, &value, &canonical);
            Cell { key: key.clone(), value, text, canonical }
        });
        let combination = Combination { stage: stage.to_owned(), cells: cells.collect() };
        let name = combination.name();
        if !taken.insert(name.clone()) {
            let message = format!("the combination `{name}` is given twice");
            problems.push(Problem::new(place, message).help("remove one of the two"));
            return None;
        }
        combinations.push((combination, values));
    }
    Some(combinations)
}

/// The texts by which values stand in names: equal for equal values, and else different.
#[derive(Default)]
struct Texts(HashMap<(String, String), String>);

impl Texts {
    fn of(&mut self, key: &str, value: &Value, canonical: &str) -> String {
        let plain = plain_text(value).filter(|text| {
            let known = self.0.entry((key.to_owned(), text.clone()));
            known.or_insert_with(|| canonical.to_owned()) == canonical
        });
        // The digest is of the value alone, so that a name stays when others come or go.
        plain.unwrap_or_else(|| digest(canonical))
    }
}

/// Writes a value so that it can stand in a file's name; none for one that is long or odd.
pub(super) fn plain_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) if !items.is_empty() => {
            let scalar = |item: &Value| (!item.is_array()).then(|| plain_text(item)).flatten();
            items.iter().map(scalar).collect::<Option<Vec<String>>>()?.join("+")
        }
        _ => return None,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    ((1..=LONGEST_TEXT).contains(&text.len()) && text.chars().all(plain)).then_some(text)
}

fn digest(text: &str) -> String {
    format!("x{}", &blake3::hash(text.as_bytes()).to_hex()[..10])
}

/// Writes a value so that equal ones have one text, whatever the order of their keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let mut fields: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            fields.sort();
            format!("{{{}}}", fields.join(","))
        }
        scalar => scalar.to_string(),
    }
}

impl Combination {
    /// Gives the name of its stage.
    pub fn name(&self) -> String {
        let cells: Vec<String> =
            self.cells.iter().map(|cell| format!("{}={}", cell.key, cell.text)).collect();
        let name = format!("{}[{}]", self.stage, cells.join(","));
        if name.len() <= LONGEST_NAME {
            return name;
        }
        let all: Vec<String> =
            self.cells.iter().map(|cell| format!("{}={}", cell.key, cell.canonical)).collect();
        format!("{}[{}]", self.stage, digest(&all.join(",")))
    }

    /// Says whether it has all the values that a selector asks for.
    pub fn matches(&self, selector: &Selector<'_>) -> bool {
        let has = |wanted: &(&str, &str)| {
            self.cells.iter().any(|cell| (cell.key.as_str(), cell.text.as_str()) == *wanted)
        };
        selector.stage == self.stage && selector.wanted.iter().all(has)
    }

    /// Gives the text by which equal values of a key are known.
    pub(super) fn canonical_of(&self, key: &str) -> Option<&str> {
        let cell = self.cells.iter().find(|cell| cell.key == key)?;
        Some(&cell.canonical)
    }
}
