//! `--set NAME=VALUE` for variables and `--set STAGE.params.PATH=VALUE` for params.
//!
//! Each is a source of its own beside the file, so a mistake in one is shown on the command line's
//! own words. Knows nothing of kinds: a param that the kind does not know is found by the walk.

use indexmap::IndexSet;

use super::Selector;
use super::diagnostic::{Place, Problem, Sources, did_you_mean};
use super::node::{Data, Entry, Node};
use super::tree;

/// The `--set`s of a command line, read.
#[derive(Debug, Default)]
pub(super) struct Sets {
    /// For variables: name, its place, value.
    pub variables: Vec<(String, Place, Node)>,
    /// For params.
    pub params: Vec<ParamSet>,
}

/// One `--set` of a param.
#[derive(Debug)]
pub(super) struct ParamSet {
    stage: String,
    stage_place: Place,
    path: String,
    path_place: Place,
    pub value: Node,
}

impl ParamSet {
    /// Gives the place of the whole of it.
    pub fn place(&self) -> Place {
        Place::new(self.path_place.source, 0, self.value.place.end.max(self.path_place.end))
    }
}

/// Reads the words of the command line.
pub(super) fn read(sets: &[String], sources: &mut Sources, problems: &mut Vec<Problem>) -> Sets {
    let mut read = Sets::default();
    for set in sets {
        let source = sources.add("--set", set);
        if let Err(problem) = read_one(set, source, &mut read, problems) {
            problems.push(problem);
        }
    }
    read
}

fn read_one(
    set: &str,
    source: usize,
    read: &mut Sets,
    problems: &mut Vec<Problem>,
) -> Result<(), Problem> {
    let all = Place::new(source, 0, set.len());
    // The brackets of `train[seed=1].params.epochs=5` hold signs of their own.
    let bracket = set.find(['[', '=']).filter(|at| set[*at..].starts_with('['));
    let named = bracket.and_then(|at| set[at..].find(']').map(|close| at + close)).unwrap_or(0);
    let (name, value) = set[named..]
        .find('=')
        .map(|at| (&set[..named + at], &set[named + at + 1..]))
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or_else(|| Problem::new(all, "a `--set` needs a name and a value").help(USAGE))?;
    let value_start = name.len() + 1;
    let value = match value.trim() {
        "" => Node::new(Place::new(source, value_start, set.len()), Data::Text(String::new())),
        _ => {
            let (node, flaws) = tree::parse(value, source, value_start)?;
            problems.extend(flaws);
            node
        }
    };
    let dot = name[named..].find('.').map(|at| named + at);
    let Some((stage, rest)) = dot.map(|at| (&name[..at], &name[at + 1..])) else {
        read.variables.push((name.to_owned(), Place::new(source, 0, name.len()), value));
        return Ok(());
    };
    let path = rest.strip_prefix("params.").filter(|path| !path.is_empty()).ok_or_else(|| {
        let message = format!("`{name}` names neither a variable nor a param");
        Problem::new(Place::new(source, 0, name.len()), message).help(USAGE)
    })?;
    read.params.push(ParamSet {
        stage: stage.to_owned(),
        stage_place: Place::new(source, 0, stage.len()),
        path: path.to_owned(),
        path_place: Place::new(source, name.len() - path.len(), name.len()),
        value,
    });
    Ok(())
}

const USAGE: &str =
    "write `--set rows=1000` for a variable, `--set train.params.epochs=5` for a param";

/// Gives the sets their places in the tree of the `stages` map.
pub(super) fn apply(sets: Vec<ParamSet>, stages: &mut Node, problems: &mut Vec<Problem>) {
    for set in sets {
        if let Err(problem) = apply_one(&set, stages) {
            problems.push(problem);
        }
    }
}

/// Gives one set its places: in the stage of that name, or in all combinations of a matrix that it
/// names.
fn apply_one(set: &ParamSet, stages: &mut Node) -> Result<(), Problem> {
    let selector = Selector::parse(&set.stage);
    let Data::Map(entries) = &mut stages.data else { return Ok(()) };
    let mut found = false;
    for entry in entries.iter_mut() {
        let is_it = entry.key == set.stage
            || selector.as_ref().is_some_and(|selector| selector.names(&entry.key));
        if !is_it {
            continue;
        }
        found = true;
        if !matches!(entry.value.data, Data::Map(_)) {
            continue;
        }
        if entry.value.entry("params").is_none() {
            let params = Node::new(set.path_place, Data::Map(Vec::new()));
            push(&mut entry.value, "params", set.path_place, params);
        }
        if let Some(params) = entry_mut(&mut entry.value, "params") {
            place(&mut params.value, &set.path, set.path_place, set.value.clone())?;
        }
    }
    if found {
        return Ok(());
    }
    let names: IndexSet<&str> =
        entries.iter().map(|entry| entry.key.split('[').next().unwrap_or(&entry.key)).collect();
    let help = did_you_mean(&set.stage, "stages", names.iter().copied());
    let message = format!("there is no stage `{}`", set.stage);
    Err(Problem::new(set.stage_place, message).help(help))
}

/// Puts a value at a dotted path, where the longest key that fits is taken at each step.
fn place(node: &mut Node, path: &str, at: Place, value: Node) -> Result<(), Problem> {
    if let Data::List(items) = &mut node.data {
        let (index, rest) = path.split_once('.').unwrap_or((path, ""));
        let length = items.len();
        let item = index.parse::<usize>().ok().and_then(|index| items.get_mut(index));
        let item = item.ok_or_else(|| {
            Problem::new(at, format!("the list has no item `{index}`"))
                .help(format!("it has {length}, counted from 0"))
        })?;
        return assign(item, rest, at, value);
    }
    if matches!(node.data, Data::Null) {
        node.data = Data::Map(Vec::new());
    }
    if !matches!(node.data, Data::Map(_)) {
        let message = format!("`{path}` cannot be set within {}", node.describe());
        return Err(Problem::new(at, message).help("set the whole of it"));
    }
    let (key, rest) = match node.longest_match(path) {
        Some((entry, rest)) => (entry.key.clone(), rest),
        None => {
            let (key, rest) = path.split_once('.').unwrap_or((path, ""));
            push(node, key, at, Node::new(at, Data::Null));
            (key.to_owned(), rest)
        }
    };
    match entry_mut(node, &key) {
        Some(entry) => assign(&mut entry.value, rest, at, value),
        None => Ok(()),
    }
}

fn assign(node: &mut Node, rest: &str, at: Place, value: Node) -> Result<(), Problem> {
    if rest.is_empty() {
        *node = value;
        return Ok(());
    }
    place(node, rest, at, value)
}

fn entry_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Entry> {
    match &mut node.data {
        Data::Map(entries) => entries.iter_mut().find(|entry| entry.key == key),
        _ => None,
    }
}

fn push(node: &mut Node, key: &str, place: Place, value: Node) {
    if let Data::Map(entries) = &mut node.data {
        entries.push(Entry { key: key.to_owned(), place, value });
    }
}
