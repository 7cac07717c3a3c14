//! One stage of a file, looked at alone: its fields, its kind, its params.

use std::collections::BTreeMap;

use super::check::{NAMES, is_name};
use super::diagnostic::{Place, Problem, Sources, did_you_mean};
use super::node::{Data, Entry, Node};
use super::options;
use super::schema::schemas;
use super::variables::{Variables, scalar_text};
use super::walk::Walk;
use super::{Combination, Options};
use crate::stage::{OutputSpec, ParamIssue, Params, StageKind};

/// A stage as far as it is known; what has a mistake is absent.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub name: &'a str,
    /// Where its name stands.
    pub place: Place,
    /// All of it.
    pub node: &'a Node,
    pub kind: Option<StageKind>,
    pub params: Option<Params>,
    pub outputs: Option<Vec<OutputSpec>>,
    pub options: Options,
    pub variables: BTreeMap<String, Vec<String>>,
    /// What the stage stands for, where it is one combination of a matrix.
    pub matrix: Option<&'a Combination>,
    /// Whether `when` leaves it out.
    pub off: bool,
}

/// The fields of a stage.
pub(super) const FIELDS: [&str; 15] = [
    "kind",
    "description",
    "tags",
    "when",
    "matrix",
    "inputs",
    "needs",
    "params",
    "export",
    "timeout",
    "retries",
    "resources",
    "priority",
    "cache",
    "secrets",
];

/// Reads a stage from its entry under `stages`.
pub(super) fn read<'a>(
    entry: &'a Entry,
    matrix: Option<&'a Combination>,
    problems: &mut Vec<Problem>,
) -> Draft<'a> {
    let node = &entry.value;
    let mut draft = Draft {
        name: &entry.key,
        place: entry.place,
        node,
        kind: None,
        params: None,
        outputs: None,
        options: Options::default(),
        variables: BTreeMap::new(),
        matrix,
        off: false,
    };
    let name = matrix.map_or(draft.name, |combination| &combination.stage);
    if !is_name(name) {
        let message = format!("`{name}` cannot be the name of a stage");
        problems.push(Problem::new(entry.place, message).help(NAMES));
    }
    if !matches!(node.data, Data::Map(_)) {
        if !matches!(node.data, Data::Unknown) {
            let message = format!("{} must be a map with a `kind`", draft.subject());
            problems.push(Problem::new(draft.place, message).help(kinds_help()));
        }
        return draft;
    }
    for entry in node.entries().iter().filter(|entry| !FIELDS.contains(&entry.key.as_str())) {
        let message = format!("{} has no field `{}`", draft.subject(), entry.key);
        problems.push(Problem::new(entry.place, message).help(field_help(&draft, &entry.key)));
    }
    draft.off = !when(&draft, problems);
    draft.kind = kind(&draft, problems);
    draft.options = options::read(&draft, problems);
    if let Some(kind) = draft.kind {
        draft.params = params(&draft, kind, problems);
        draft.outputs = match &draft.params {
            Some(params) => Some(params.outputs()),
            None => fallback_outputs(&draft, kind),
        };
    }
    if let Some(params) = draft.node.entry("params") {
        origins(&params.value, String::new(), &mut draft.variables);
    }
    draft
}

impl<'a> Draft<'a> {
    /// Names the stage in a sentence.
    pub fn subject(&self) -> String {
        format!("stage `{}`", self.name)
    }

    /// Gives the name under which the file has the stage.
    pub fn template(&self) -> &'a str {
        self.matrix.map_or(self.name, |combination| &combination.stage)
    }

    /// Gives the place that a message about a field shows, or the stage's name where it has none.
    pub fn field_place(&self, field: &str) -> Place {
        self.node.entry(field).map_or(self.place, |entry| entry.place)
    }

    /// Gives the node of the params, where they are given.
    pub fn params_node(&self) -> Option<&'a Node> {
        Some(&self.node.entry("params")?.value)
    }

    /// Gives the base's name and place where the stage is a tune, even if its params have mistakes.
    pub fn base(&self) -> Option<(&'a str, Place)> {
        if self.kind != Some(StageKind::Tune) {
            return None;
        }
        let base = self.params_node()?.entry("stage")?;
        Some((base.value.text()?, base.value.place))
    }

    /// Gives the place of a dotted path within the params.
    pub fn param_place(&self, path: &str) -> Place {
        let found = self.params_node().filter(|_| !path.is_empty());
        let found = found.and_then(|node| node.place_of(path));
        found.unwrap_or_else(|| self.field_place("params"))
    }

    /// Makes a problem of a mistake in the params.
    pub fn param_problem(&self, issue: ParamIssue) -> Problem {
        let message = format!("{}: {}", self.subject(), issue.message);
        let help =
            issue.help.unwrap_or_else(|| "`runner schema --markdown` explains it".to_owned());
        Problem::new(self.param_place(&issue.path), message).help(help)
    }
}

/// Puts variables into a stage. A command's own references stay in its `run` and `env`.
pub(super) fn substitute(
    stage: &mut Node,
    variables: &mut Variables,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) {
    let command = stage.entry("kind").and_then(|kind| kind.value.text()) == Some("command");
    match stage.data {
        Data::Map(_) => substitute_fields(stage, command, variables, sources, problems),
        _ => variables.substitute(stage, false, sources, problems),
    }
}

/// Puts variables into the fields of a stage, or into those that stages of a kind have by default.
pub(super) fn substitute_fields(
    stage: &mut Node,
    command: bool,
    variables: &mut Variables,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) {
    let Data::Map(fields) = &mut stage.data else { return };
    for Entry { key: field, value, .. } in fields {
        match &mut value.data {
            Data::Map(params) if command && field == "params" => {
                for Entry { key, value, .. } in params {
                    let own = key == "run" || key == "env";
                    variables.write_for_program(own || key == "with");
                    variables.substitute(value, own, sources, problems);
                    variables.write_for_program(false);
                    if own {
                        arguments(value);
                    }
                }
            }
            _ => variables.substitute(value, false, sources, problems),
        }
    }
}

/// Makes texts of the numbers that variables have put among a program's arguments: to a program an
/// argument is a text.
fn arguments(node: &mut Node) {
    let Data::List(items) = &mut node.data else { return };
    for item in items.iter_mut().filter(|item| !item.origin.is_empty()) {
        if let Some(text) = scalar_text(item) {
            item.data = Data::Text(text);
        }
    }
}

/// Reads `when`: whether the stage is part of the pipeline.
fn when(draft: &Draft<'_>, problems: &mut Vec<Problem>) -> bool {
    let Some(entry) = draft.node.entry("when") else { return true };
    match &entry.value.data {
        Data::Bool(flag) => *flag,
        Data::Unknown => true,
        _ => {
            let described = entry.value.describe();
            let subject = draft.subject();
            let message = format!("`when` of {subject} must be `true` or `false`, not {described}");
            let help = "write `when: \"${name}\"` with a variable that is `true` or `false`";
            let empty = matches!(entry.value.data, Data::Null);
            let place = if empty { entry.place } else { entry.value.place };
            problems.push(Problem::new(place, message).help(help));
            true
        }
    }
}

fn kinds_help() -> String {
    let kinds: Vec<&str> = StageKind::ALL.iter().map(|kind| kind.name()).collect();
    format!("kinds: `{}`", kinds.join("`, `"))
}

/// Params written one level too high are a frequent slip, so they are recognised.
fn field_help(draft: &Draft<'_>, field: &str) -> String {
    let kind = draft.node.entry("kind").and_then(|kind| StageKind::from_name(kind.value.text()?));
    let known = kind.is_some_and(|kind| schemas().of(kind)["properties"].get(field).is_some());
    if known {
        return format!("it is a param: write it under `params:`, as `params: {{ {field}: … }}`");
    }
    if field == "persist" {
        return options::persist_help().to_owned();
    }
    did_you_mean(field, "fields", FIELDS)
}

fn kind(draft: &Draft<'_>, problems: &mut Vec<Problem>) -> Option<StageKind> {
    let Some(entry) = draft.node.entry("kind") else {
        let message = format!("{} lacks a `kind`", draft.subject());
        problems.push(Problem::new(draft.place, message).help(kinds_help()));
        return None;
    };
    if matches!(entry.value.data, Data::Unknown) {
        return None;
    }
    let found = entry.value.text().and_then(StageKind::from_name);
    if found.is_none() {
        let kinds = StageKind::ALL.map(StageKind::name);
        let word = entry.value.text().unwrap_or_default();
        let message = match entry.value.text() {
            Some(word) => format!("there is no kind `{word}`"),
            None => {
                format!("the kind of {} cannot be {}", draft.subject(), entry.value.describe())
            }
        };
        let place = if word.is_empty() { entry.place } else { entry.value.place };
        problems.push(Problem::new(place, message).help(did_you_mean(word, "kinds", kinds)));
    }
    found
}

fn params(draft: &Draft<'_>, kind: StageKind, problems: &mut Vec<Problem>) -> Option<Params> {
    let empty = Node::new(draft.place, Data::Map(Vec::new()));
    let node = match draft.params_node() {
        Some(node) if !matches!(node.data, Data::Null) => node,
        _ => &empty,
    };
    let schemas = schemas();
    let subject = draft.subject();
    let mut walk = Walk { schemas, subject, partial: false, problems: Vec::new() };
    walk.params(node, draft.field_place("params"), schemas.of(kind));
    if !walk.problems.is_empty() {
        problems.extend(walk.problems);
        return None;
    }
    if node.has_unknown() {
        return None;
    }
    match Params::from_value(kind, node.to_value()) {
        Ok(params) => {
            problems.extend(params.check().into_iter().map(|issue| draft.param_problem(issue)));
            Some(params)
        }
        // What the schema lets through and the type does not: said in serde's words.
        Err(error) => {
            let message = format!("the params of {} do not fit: {error}", draft.subject());
            problems.push(
                Problem::new(draft.field_place("params"), message)
                    .help("`runner schema --markdown` lists all params"),
            );
            None
        }
    }
}

/// Gives the outputs of a stage whose params have mistakes, so that references to it can be
/// checked in the same go: those of a command are written in its params, those of other kinds are
/// the same for all params.
fn fallback_outputs(draft: &Draft<'_>, kind: StageKind) -> Option<Vec<OutputSpec>> {
    if kind != StageKind::Command {
        return Some(schemas().example(kind)?.outputs());
    }
    let outputs = &draft.params_node()?.entry("outputs")?.value;
    let outputs = outputs.entries().iter();
    let outputs = outputs.map(|entry| {
        Some(OutputSpec { name: entry.key.clone(), file: entry.value.text()?.to_owned() })
    });
    outputs.collect()
}

/// Reads an optional text.
pub(super) fn text_field(
    node: &Node,
    field: &str,
    subject: &str,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let entry = node.entry(field)?;
    match &entry.value.data {
        Data::Text(text) => Some(text.clone()),
        Data::Unknown | Data::Null => None,
        _ => {
            let described = entry.value.describe();
            let message = format!("the `{field}` of {subject} must be a text, not {described}");
            problems.push(Problem::new(entry.value.place, message).help("put it in quotes"));
            None
        }
    }
}

/// Reads an optional list of words.
pub(super) fn words<'a>(
    draft: &Draft<'a>,
    field: &str,
    problems: &mut Vec<Problem>,
) -> Vec<(&'a str, Place)> {
    let Some(entry) = draft.node.entry(field) else { return Vec::new() };
    let wrong = |node: &Node| {
        let message = format!(
            "`{field}` of {} must be a list of words, not {}",
            draft.subject(),
            node.describe()
        );
        Problem::new(node.place, message).help(format!("write `{field}: [one, other]`"))
    };
    let mut words = Vec::new();
    match &entry.value.data {
        Data::Null | Data::Unknown => {}
        Data::List(items) => {
            for item in items.iter().filter(|item| !matches!(item.data, Data::Unknown)) {
                match item.text() {
                    Some(word) => words.push((word, item.place)),
                    None => problems.push(wrong(item)),
                }
            }
        }
        _ => problems.push(wrong(&entry.value)),
    }
    words
}

/// Collects the variables from which each value came. A list counts as one value.
fn origins(node: &Node, path: String, found: &mut BTreeMap<String, Vec<String>>) {
    match &node.data {
        Data::Map(entries) => {
            for entry in entries {
                let dot = if path.is_empty() { "" } else { "." };
                origins(&entry.value, format!("{path}{dot}{}", entry.key), found);
            }
        }
        _ => {
            let names = found.entry(path.clone()).or_default();
            gather(node, names);
            if names.is_empty() {
                found.remove(&path);
            }
        }
    }
}

fn gather(node: &Node, names: &mut Vec<String>) {
    for name in &node.origin {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    match &node.data {
        Data::List(items) => items.iter().for_each(|item| gather(item, names)),
        Data::Map(entries) => entries.iter().for_each(|entry| gather(&entry.value, names)),
        _ => {}
    }
}
