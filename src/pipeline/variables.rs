//! Variables: `vars:`, `--set NAME=VALUE`, and `${name}` in the values of a pipeline file.
//!
//! A value may refer to other variables, whichever file they stand in; `${name.key}` is a part of one
//! that is a map.
//!
//! A scalar that is one reference whole takes the variable's value with its type; a reference
//! within a longer text is written into it. `$${` stands for a literal `${`. References to
//! `inputs.`, `outputs.` and `with.` are a command's own: they stay where a command will read them.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde_json::Value;

use super::Combination;
use super::diagnostic::{Place, Problem, Sources, did_you_mean, listed};
use super::matrix;
use super::node::{Data, Entry, Node};
use crate::suggest;

/// The prefixes of the references that a command stage resolves when it runs.
const COMMAND_PREFIXES: [&str; 3] = ["inputs.", "outputs.", "with."];

mod order;

/// The prefix of the references to a combination of a matrix.
const MATRIX: &str = "matrix.";

/// The variables of a pipeline by name.
#[derive(Debug, Default)]
pub(super) struct Variables {
    known: IndexMap<String, Variable>,
    /// The values of the combination whose stage is looked at.
    matrix: Option<Scope>,
    /// Whether a program reads what is looked at.
    is_for_program: bool,
    /// What references have been replaced with so far, in values.
    spent: usize,
}

/// The most values that references may be replaced with: variables can refer to variables, so a few
/// lines could ask for more than there is memory.
const EXPANSION: usize = 1_000_000;

/// A variable as a file says it.
#[derive(Debug)]
pub(super) struct Definition {
    /// Where its name stands.
    pub place: Place,
    pub value: Node,
    /// Whether it is said where nothing uses it.
    pub warns: bool,
}

#[derive(Debug)]
struct Variable {
    /// Its value; none where that has a mistake, which is reported once and not at each use.
    value: Option<Node>,
    place: Place,
    warns: bool,
    used: bool,
}

/// The values of one combination of a matrix.
#[derive(Debug)]
struct Scope {
    values: Vec<(String, Node)>,
    /// How each stands in the name of the combination.
    texts: Vec<String>,
}

/// A part of a text: words, or a reference.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Words(&'a str),
    Reference(&'a str),
}

impl Variables {
    /// Takes in the variables of all files, and those of `--set`, which win.
    pub fn read(
        mut vars: IndexMap<String, Definition>,
        sets: Vec<(String, Place, Node)>,
        sources: &Sources,
        problems: &mut Vec<Problem>,
    ) -> Variables {
        let mut given: BTreeMap<String, (Place, Node)> = BTreeMap::new();
        for (name, place, node) in sets {
            given.insert(name, (place, node));
        }
        let mut variables = Variables::default();
        for (name, Definition { place, warns, .. }) in &vars {
            if !is_variable_name(name) {
                let message = format!("`{name}` cannot be the name of a variable");
                problems.push(
                    Problem::new(*place, message).help("names are letters, digits, `_` and `-`"),
                );
            }
            let value = given.remove(name).map(|(_, node)| node);
            let variable = Variable { value, place: *place, warns: *warns, used: false };
            variables.known.insert(name.clone(), variable);
        }
        for index in variables.order(&vars, problems) {
            if let Some((name, definition)) = vars.get_index_mut(index)
                && variables.known[index].value.is_none()
            {
                let mut value = std::mem::replace(
                    &mut definition.value,
                    Node::new(definition.place, Data::Unknown),
                );
                let before = problems.len();
                variables.substitute(&mut value, false, sources, problems);
                let name = name.clone();
                variables.known[&name].value = (problems.len() == before).then_some(value);
            }
        }
        for (name, (place, _)) in given {
            let help = did_you_mean(&name, "variables", variables.names());
            let help = format!("{help}; a param is set as `--set STAGE.params.NAME=VALUE`");
            problems.push(Problem::new(place, format!("there is no variable `{name}`")).help(help));
        }
        variables
    }

    /// Finds the variable that a reference names, and the path within it that follows.
    fn find<'n>(&self, name: &'n str) -> Option<(usize, &'n str)> {
        if let Some(index) = self.known.get_index_of(name) {
            return Some((index, ""));
        }
        let (first, rest) = name.split_once('.')?;
        Some((self.known.get_index_of(first)?, rest))
    }

    /// Lets `${matrix.KEY}` stand for these values from now on; within a text, a list or map stands
    /// as it does in the name of `combination`, but for what a program reads: to it, a digest would
    /// mean nothing.
    pub fn enter(&mut self, values: Vec<(String, Node)>, combination: &Combination) {
        let texts = combination.cells.iter().map(|cell| cell.text.clone()).collect();
        self.matrix = Some(Scope { values, texts });
    }

    /// Says whether a program reads what is substituted from now on.
    pub fn write_for_program(&mut self, is_for_program: bool) {
        self.is_for_program = is_for_program;
    }

    fn matrix_text(&self, name: &str, value: &Node) -> Option<String> {
        let (scope, key) = (self.matrix.as_ref()?, name.strip_prefix(MATRIX)?);
        if self.is_for_program {
            return matrix::plain_text(&value.to_value());
        }
        let index = scope.values.iter().position(|(known, _)| known == key)?;
        scope.texts.get(index).cloned()
    }

    /// Lets `${matrix.KEY}` stand for nothing again.
    pub fn leave(&mut self) {
        self.matrix = None;
    }

    fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.known.keys().map(String::as_str)
    }

    /// Gives every variable's value.
    pub fn values(&self) -> BTreeMap<String, Value> {
        let values = self.known.iter().filter_map(|(name, variable)| {
            Some((name.clone(), variable.value.as_ref()?.to_value()))
        });
        values.collect()
    }

    /// Warns of variables that nothing refers to.
    pub fn warn_of_unused(&self, problems: &mut Vec<Problem>) {
        let unused = |variable: &Variable| variable.warns && !variable.used;
        for (name, variable) in self.known.iter().filter(|(_, variable)| unused(variable)) {
            problems.push(
                Problem::new(variable.place, format!("the variable `{name}` is never used"))
                    .help(format!("use it as `${{{name}}}`, or remove it"))
                    .warning(),
            );
        }
    }

    /// Puts values in the place of all references below `node`. Where `command` is set, a command's
    /// own references stay as they are.
    pub fn substitute(
        &mut self,
        node: &mut Node,
        command: bool,
        sources: &Sources,
        problems: &mut Vec<Problem>,
    ) {
        match &mut node.data {
            Data::List(items) => {
                for item in items {
                    self.substitute(item, command, sources, problems);
                }
            }
            Data::Map(entries) => {
                for Entry { value, .. } in entries {
                    self.substitute(value, command, sources, problems);
                }
            }
            Data::Text(text) if text.contains("${") => {
                let text = std::mem::take(text);
                self.resolve(node, &text, command, sources, problems);
            }
            _ => {}
        }
    }

    fn resolve(
        &mut self,
        node: &mut Node,
        text: &str,
        command: bool,
        sources: &Sources,
        problems: &mut Vec<Problem>,
    ) {
        let pieces = match pieces(text) {
            Ok(pieces) => pieces,
            Err(rest) => {
                let place = sources.narrow(node.place, rest);
                problems.push(
                    Problem::new(place, "a `${` is never closed")
                        .help("write `${name}` for a variable, `$${` for a literal `${`"),
                );
                node.data = Data::Unknown;
                return;
            }
        };
        if let [Piece::Reference(name)] = pieces[..]
            && !(command && is_commands_own(name))
        {
            let place = sources.narrow(node.place, name);
            let value = self.look_up(name, place, problems);
            node.data = value.map_or(Data::Unknown, |value| value.data);
            mark(node, name);
            return;
        }
        let mut written = String::with_capacity(text.len());
        for piece in pieces {
            match piece {
                Piece::Words(words) => written.push_str(words),
                Piece::Reference(name) if command && is_commands_own(name) => {
                    written.push_str(&format!("${{{name}}}"));
                }
                Piece::Reference(name) => {
                    let place = sources.narrow(node.place, name);
                    let Some(value) = self.look_up(name, place, problems) else {
                        node.data = Data::Unknown;
                        return;
                    };
                    match scalar_text(&value).or_else(|| self.matrix_text(name, &value)) {
                        Some(scalar) => written.push_str(&scalar),
                        None => {
                            if !matches!(value.data, Data::Unknown) {
                                problems.push(not_a_scalar(name, &value, place));
                            }
                            node.data = Data::Unknown;
                            return;
                        }
                    }
                    node.origin.push(name.to_owned());
                }
            }
        }
        node.data = Data::Text(written);
    }

    /// Gives a variable's value; none where that has a mistake, which has been reported then.
    fn look_up(&mut self, name: &str, place: Place, problems: &mut Vec<Problem>) -> Option<Node> {
        if let (Some(scope), Some(key)) = (&self.matrix, name.strip_prefix(MATRIX)) {
            let values = &scope.values;
            let found = values.iter().find(|(known, _)| known == key);
            let Some((_, value)) = found else {
                let message = format!("this combination of the matrix has no `{key}`");
                let names = values.iter().map(|(key, _)| key.as_str());
                problems
                    .push(Problem::new(place, message).help(did_you_mean(key, "it has", names)));
                return None;
            };
            let value = value.clone();
            return self.spend(value.weight(), place, problems).then_some(value);
        }
        let Some((index, rest)) = self.find(name) else {
            problems.push(self.unknown(name, place));
            return None;
        };
        let (root, variable) = self.known.get_index_mut(index)?;
        variable.used = true;
        let mut value = variable.value.as_ref()?;
        let mut rest = rest;
        while !rest.is_empty() {
            match value.longest_match(rest) {
                Some((entry, after)) => (value, rest) = (&entry.value, after),
                None => {
                    problems.push(no_part(root, value, rest, place));
                    return None;
                }
            }
        }
        let value = value.clone();
        self.spend(value.weight(), place, problems).then_some(value)
    }

    /// Says whether values may still be put in place of references. A scalar costs nothing, since it
    /// is no larger than what it stands for.
    fn spend(&mut self, weight: usize, place: Place, problems: &mut Vec<Problem>) -> bool {
        let had = self.spent <= EXPANSION;
        self.spent = self.spent.saturating_add(weight - 1);
        if had && self.spent > EXPANSION {
            let message = format!("the variables stand for more than {EXPANSION} values in all");
            problems.push(
                Problem::new(place, message).help("make them smaller, or use them less often"),
            );
        }
        self.spent <= EXPANSION
    }

    fn unknown(&self, name: &str, place: Place) -> Problem {
        let problem = Problem::new(place, format!("there is no variable `{name}`"));
        if name.starts_with(MATRIX) {
            return problem.help("`matrix` is known only within a stage that has a `matrix`");
        }
        if is_commands_own(name) {
            return problem.help(
                "`inputs`, `outputs` and `with` are known only in `run` and `env` of a `command` stage",
            );
        }
        problem.help(match suggest::did_you_mean(name, self.names()) {
            Some(near) => near,
            None if self.known.is_empty() => {
                format!(
                    "define it under `vars:`, or write `$${{{name}}}` for a literal `${{{name}}}`"
                )
            }
            None => format!(
                "variables: {}; `$${{{name}}}` stands for a literal `${{{name}}}`",
                listed(self.names())
            ),
        })
    }
}

fn not_a_scalar(name: &str, value: &Node, place: Place) -> Problem {
    let message =
        format!("the variable `{name}` is {}, which cannot stand within a text", value.describe());
    Problem::new(place, message).help("refer to it as the whole value: `\"${name}\"` alone")
}

/// Says that a part of a variable is not there.
fn no_part(root: &str, value: &Node, rest: &str, place: Place) -> Problem {
    let part = rest.split('.').next().unwrap_or(rest);
    let message = format!("the variable `{root}` has no `{part}`: there is {}", value.describe());
    let names = value.entries().iter().map(|entry| entry.key.as_str());
    Problem::new(place, message).help(did_you_mean(part, "it has", names))
}

fn mark(node: &mut Node, name: &str) {
    if !node.origin.iter().any(|known| known == name) {
        node.origin.push(name.to_owned());
    }
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(|item| mark(item, name)),
        Data::Map(entries) => entries.iter_mut().for_each(|entry| mark(&mut entry.value, name)),
        _ => {}
    }
}

/// Gives a scalar as it stands within a text.
pub(super) fn scalar_text(node: &Node) -> Option<String> {
    match &node.data {
        Data::Bool(flag) => Some(flag.to_string()),
        Data::Number(number) => Some(number.to_string()),
        Data::Text(text) => Some(text.clone()),
        Data::Null | Data::Unknown | Data::List(_) | Data::Map(_) => None,
    }
}

/// Says whether a reference is one that a command stage resolves when it runs.
fn is_commands_own(name: &str) -> bool {
    COMMAND_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn is_variable_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Cuts a text at its references; an unclosed one is given back as the error.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, &str> {
    let mut pieces = Vec::new();
    let mut words_start = 0;
    let mut search_from = 0;
    while let Some(found) = text[search_from..].find("${") {
        let at = search_from + found;
        if text[..at].ends_with('$') && at > words_start {
            // `$${`: the first dollar goes, the rest are words.
            pieces.push(Piece::Words(&text[words_start..at - 1]));
            words_start = at;
            search_from = at + 2;
            continue;
        }
        let close = text[at..].find('}').ok_or(&text[at..])?;
        if at > words_start {
            pieces.push(Piece::Words(&text[words_start..at]));
        }
        pieces.push(Piece::Reference(text[at + 2..at + close].trim()));
        words_start = at + close + 1;
        search_from = words_start;
    }
    if words_start < text.len() {
        pieces.push(Piece::Words(&text[words_start..]));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests;
