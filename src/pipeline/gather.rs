//! A pipeline file with all that it names -> one set of variables, defaults and stages.
//!
//! Reads the files under `include:`, the files of variables, and what the command line adds; each is
//! a source of its own, so a mistake is shown where it stands. Knows nothing of kinds.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::diagnostic::{Place, Problem, Sources, did_you_mean};
use super::node::{Data, Entry, Node};
use super::variables::Definition;
use super::{SourceFile, draft, tree};

/// What a pipeline file and the files that it names say.
#[derive(Debug)]
pub(super) struct Gathered {
    /// The main file's map.
    pub main: Node,
    /// The variables by name, before any reference is followed.
    pub vars: IndexMap<String, Definition>,
    /// Fields by the kind whose stages they are given to.
    pub defaults: Node,
    /// The stages by name.
    pub stages: Vec<Entry>,
}

/// The fields of a pipeline file.
pub(super) const FIELDS: [&str; 6] =
    ["name", "description", "include", "vars", "defaults", "stages"];

/// A way out for who has no stage yet.
pub(super) const EXAMPLE: &str =
    "a pipeline is a map with `stages:`, such as `stages: { hello: { kind: command, params: … } }`";

/// The most files that one pipeline may include: each is read and kept.
const MOST_FILES: usize = 1000;

/// Reads the pipeline file, which is source 0, and all that it names; `vars` are the files of
/// `--vars`, relative to the working directory.
///
/// Gives nothing where a file cannot be read or parsed: what follows from that would be noise.
pub(super) fn gather(
    vars: &[PathBuf],
    sources: &mut Sources,
    problems: &mut Vec<Problem>,
) -> Option<Gathered> {
    let file = Arc::clone(sources.file(0));
    let mut gatherer = Gatherer {
        sources,
        problems,
        chain: Vec::new(),
        seen: HashSet::new(),
        stages_at: HashMap::new(),
        vars: IndexMap::new(),
        defaults: Node::new(Place::default(), Data::Map(Vec::new())),
        stages: Vec::new(),
        broken: false,
    };
    let main = gatherer.parse(&file, 0)?;
    match &main.data {
        Data::Map(_) => {}
        Data::Null => {
            let problem = Problem::new(Place::new(0, 0, 0), "the file is empty");
            gatherer.problems.push(problem.help(EXAMPLE));
            return None;
        }
        _ => {
            let message = format!("a pipeline file must be a map, not {}", main.describe());
            gatherer.problems.push(Problem::new(main.place, message).help(EXAMPLE));
            return None;
        }
    }
    gatherer.chain.push((real(&file.path), file.path.clone()));
    let main = gatherer.merge(main, &file.path);
    for path in vars {
        let word = path.display().to_string();
        let source = gatherer.sources.add("--vars", &word);
        gatherer.vars_file(path, Place::new(source, 0, word.len()));
    }
    let Gatherer { vars, defaults, stages, broken, .. } = gatherer;
    (!broken).then_some(Gathered { main, vars, defaults, stages })
}

struct Gatherer<'g> {
    sources: &'g mut Sources,
    problems: &'g mut Vec<Problem>,
    /// The files that are being read, each included by the one before: real path, path as shown.
    chain: Vec<(PathBuf, PathBuf)>,
    /// The files that have been included, by real path: one that two files include counts once.
    seen: HashSet<PathBuf>,
    stages_at: HashMap<String, Place>,
    vars: IndexMap<String, Definition>,
    defaults: Node,
    stages: Vec<Entry>,
    /// Whether a file could not be read.
    broken: bool,
}

impl Gatherer<'_> {
    fn parse(&mut self, file: &SourceFile, source: usize) -> Option<Node> {
        match tree::parse(&file.text, source, 0) {
            Ok((node, flaws)) => {
                self.problems.extend(flaws);
                Some(node)
            }
            Err(problem) => {
                self.problems.push(problem);
                self.broken = true;
                None
            }
        }
    }

    /// Reads a file that another names at `place`; `what` is what it is to that one.
    fn read(&mut self, path: &Path, place: Place, what: &str) -> Option<Node> {
        match SourceFile::read(path) {
            Ok(file) => {
                let file = Arc::new(file);
                let source = self.sources.add_file(Arc::clone(&file));
                self.parse(&file, source)
            }
            Err(unreadable) => {
                let shown = path.display();
                let message = format!("cannot read the {what} `{shown}`: {}", unreadable.what);
                self.problems.push(Problem::new(place, message).help(unreadable.help));
                self.broken = true;
                None
            }
        }
    }

    /// Takes in what a file says, those that it includes first, so that it wins over them; gives
    /// back what is left of its map.
    fn merge(&mut self, mut node: Node, path: &Path) -> Node {
        let main = self.chain.len() == 1;
        for entry in node.entries() {
            if !FIELDS.contains(&entry.key.as_str()) {
                let message = format!("a pipeline has no field `{}`", entry.key);
                let help = did_you_mean(&entry.key, "fields", FIELDS);
                self.problems.push(Problem::new(entry.place, message).help(help));
            } else if entry.key == "name" && !main {
                let message = "an included file has no `name`";
                let help = "the pipeline's name stands in the file that is run: remove it here";
                self.problems.push(Problem::new(entry.place, message).help(help));
            }
        }
        draft::text_field(&node, "description", "the pipeline", self.problems);
        if let Some(entry) = take(&mut node, "include") {
            self.includes(&entry.value, path);
        }
        if let Some(entry) = take(&mut node, "vars") {
            self.vars(entry.value, path);
        }
        if let Some(entry) = take(&mut node, "defaults") {
            self.defaults(entry.value);
        }
        if let Some(index) = position(&node, "stages") {
            // The key stays, so that the checks know where it stands.
            if let Data::Map(entries) = &mut node.data {
                let value = &mut entries[index].value;
                if let Data::Map(stages) = &mut value.data {
                    let stages = std::mem::take(stages);
                    self.stages(stages);
                } else if !main && !matches!(value.data, Data::Null) {
                    self.problems.push(not_a_map_of_stages(value));
                }
            }
        }
        node
    }

    fn includes(&mut self, node: &Node, path: &Path) {
        const HELP: &str = "write `include: [common.yaml]`";
        let items = match &node.data {
            Data::List(items) => &items[..],
            Data::Null => &[],
            _ => {
                let message = format!("`include` must be a list of files, not {}", node.describe());
                return self.problems.push(Problem::new(node.place, message).help(HELP));
            }
        };
        for item in items {
            match item.text().filter(|text| !text.is_empty()) {
                Some(text) => self.include(&beside(path, text), item.place),
                None => {
                    let message = format!("an included file cannot be {}", item.describe());
                    self.problems.push(Problem::new(item.place, message).help(HELP));
                }
            }
        }
    }

    fn include(&mut self, path: &Path, place: Place) {
        let real = real(path);
        if let Some(first) = self.chain.iter().position(|(known, _)| *known == real) {
            let names = self.chain[first..].iter().map(|(_, shown)| shown.display().to_string());
            let names: Vec<String> = names.chain([path.display().to_string()]).collect();
            let message =
                format!("files include each other in a cycle: `{}`", names.join("` -> `"));
            let problem = Problem::new(place, message).help("remove one of these includes");
            self.broken = true;
            return self.problems.push(problem);
        }
        if !self.seen.insert(real.clone()) {
            return;
        }
        if self.seen.len() > MOST_FILES {
            let message = format!("more than {MOST_FILES} files are included");
            self.broken = true;
            return self.problems.push(Problem::new(place, message).help("join some of them"));
        }
        let Some(node) = self.read(path, place, "included file") else { return };
        match node.data {
            Data::Map(_) => {
                self.chain.push((real, path.to_owned()));
                self.merge(node, path);
                self.chain.pop();
            }
            Data::Null => {}
            _ => {
                let message = format!("an included file must be a map, not {}", node.describe());
                let help = "it holds `vars`, `defaults` or `stages`, as a pipeline does";
                self.problems.push(Problem::new(node.place, message).help(help));
            }
        }
    }

    /// Takes in `vars`: a map, or a list of maps and files, of which later ones win.
    fn vars(&mut self, node: Node, path: &Path) {
        const HELP: &str = "write `vars: { rows: 1000 }`, or `vars: [params.yaml, { rows: 1000 }]`";
        let layers = match node.data {
            Data::List(layers) => layers,
            Data::Map(_) | Data::Null => vec![node],
            _ => {
                let described = node.describe();
                let message = format!("`vars` must be a map of names and values, not {described}");
                return self.problems.push(Problem::new(node.place, message).help(HELP));
            }
        };
        for layer in layers {
            match layer.data {
                Data::Map(entries) => self.define(entries, self.chain.len() == 1),
                Data::Null => {}
                Data::Text(file) if !file.is_empty() => {
                    self.vars_file(&beside(path, &file), layer.place);
                }
                _ => {
                    let message = format!("variables cannot come from {}", layer.describe());
                    self.problems.push(Problem::new(layer.place, message).help(HELP));
                }
            }
        }
    }

    /// Takes in a file of variables. One may serve several pipelines, so what this one does not use
    /// is no mistake.
    fn vars_file(&mut self, path: &Path, place: Place) {
        let Some(node) = self.read(path, place, "file of variables") else { return };
        match node.data {
            Data::Map(entries) => self.define(entries, false),
            Data::Null => {}
            _ => {
                let described = node.describe();
                let message = format!(
                    "a file of variables must be a map of names and values, not {described}"
                );
                self.problems.push(Problem::new(node.place, message).help("write `rows: 1000`"));
            }
        }
    }

    fn define(&mut self, entries: Vec<Entry>, warns: bool) {
        for Entry { key, place, value } in entries {
            self.vars.insert(key, Definition { place, value, warns });
        }
    }

    fn defaults(&mut self, node: Node) {
        match node.data {
            Data::Map(entries) => join(&mut self.defaults, entries, "defaults", self.problems),
            Data::Null => {}
            _ => {
                let described = node.describe();
                let message =
                    format!("`defaults` must be a map of kinds and fields, not {described}");
                let help = "write `defaults: { train: { params: { epochs: 5 } } }`";
                self.problems.push(Problem::new(node.place, message).help(help));
            }
        }
    }

    fn stages(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            match self.stages_at.get(&entry.key) {
                Some(first) => {
                    let message = format!("the stage `{}` is given twice", entry.key);
                    self.problems.push(
                        Problem::new(entry.place, message)
                            .help("rename one of the two, or remove it")
                            .label(*first, "first given here"),
                    );
                }
                None => {
                    self.stages_at.insert(entry.key.clone(), entry.place);
                    self.stages.push(entry);
                }
            }
        }
    }
}

/// Joins defaults of several files: a value that two of them give is a mistake.
fn join(node: &mut Node, entries: Vec<Entry>, path: &str, problems: &mut Vec<Problem>) {
    let Data::Map(known) = &mut node.data else { return };
    let at = known.iter().enumerate().map(|(index, entry)| (entry.key.clone(), index));
    let at: HashMap<String, usize> = at.collect();
    for entry in entries {
        let path = format!("{path}.{}", entry.key);
        let Some(index) = at.get(&entry.key) else {
            known.push(entry);
            continue;
        };
        let first = &mut known[*index];
        match (&first.value.data, entry.value.data) {
            (Data::Map(_), Data::Map(entries)) => join(&mut first.value, entries, &path, problems),
            _ => problems.push(
                Problem::new(entry.place, format!("the default `{path}` is given twice"))
                    .help("remove one of the two")
                    .label(first.place, "first given here"),
            ),
        }
    }
}

/// Says that `stages` holds something else than stages.
pub(super) fn not_a_map_of_stages(node: &Node) -> Problem {
    let message = format!("`stages` must be a map of names and stages, not {}", node.describe());
    Problem::new(node.place, message).help(EXAMPLE)
}

fn position(node: &Node, key: &str) -> Option<usize> {
    node.entries().iter().position(|entry| entry.key == key)
}

fn take(node: &mut Node, key: &str) -> Option<Entry> {
    let index = position(node, key)?;
    match &mut node.data {
        Data::Map(entries) => Some(entries.remove(index)),
        _ => None,
    }
}

/// Gives a path that is relative to the folder of the file that names it.
fn beside(file: &Path, name: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(name)
}

/// Gives the one path of a file, by which it is known again; one that is not there has none.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
