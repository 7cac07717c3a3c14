//! A pipeline file: YAML -> spanned tree -> checked [`Pipeline`]; variables; JSON Schema.
//!
//! Knows the kinds' params and outputs, and nothing of the store or of runs. Only
//! `pipeline/check.rs` can make a [`Pipeline`], so whoever holds one need not check again.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::conversion::Conversion;
pub use crate::data::Format;
use crate::stage::{OutputSpec, Params, StageKind};

mod check;
mod commands;
mod cycle;
mod defaults;
mod diagnostic;
mod draft;
mod exports;
mod gather;
mod groups;
mod inputs;
mod kept;
pub mod listing;
mod matrix;
mod node;
mod options;
mod reference;
mod references;
pub mod schema;
mod set;
mod shape;
mod tree;
mod tuning;
mod variables;
mod walk;

pub use diagnostic::{Diagnostic, Label, Look, Part, Place, Severity, Sources};
pub use groups::Selector;
pub use kept::Keeper;
pub use options::{Options, Resources, Retries};
pub use reference::reference;

/// A pipeline without mistakes, and what should be said of it all the same.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Such as variables that nothing uses.
    pub warnings: Vec<Diagnostic>,
    /// What makes it into what [`load`] takes to spare the next check of the same file; `None` where
    /// it just did, and where there is little to spare.
    pub keeper: Option<Keeper>,
}

/// All that is wrong with a pipeline file.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the pipeline has {} mistake(s)", errors.len())]
pub struct Invalid {
    /// The mistakes, in the order of the file; never empty.
    pub errors: Vec<Diagnostic>,
    /// What should be said beside them.
    pub warnings: Vec<Diagnostic>,
}

/// Reads and checks a pipeline file. Nothing is run or written.
///
/// `path` is relative to the working directory; the paths of inputs within the file start at `root`.
/// `kept` is what an earlier call gave to keep, whole: where it is of the same texts, settings and
/// program, and the disk says nothing else, the check is spared.
///
/// # Errors
///
/// Every mistake of the file, of the files that it names, and of the settings.
pub fn load(
    path: &Path,
    root: &Path,
    settings: &Settings,
    kept: Option<&[u8]>,
) -> Result<Loaded, Invalid> {
    let file = match SourceFile::read(path) {
        Ok(file) => Arc::new(file),
        Err(unreadable) => {
            let diagnostic = unreadable.diagnose(path);
            return Err(Invalid { errors: vec![diagnostic], warnings: Vec::new() });
        }
    };
    let key = kept::key(&file, root, settings);
    if let Some(pipeline) = kept.and_then(|kept| kept::read(kept, key?, &file, root)) {
        return Ok(Loaded { pipeline, warnings: Vec::new(), keeper: None });
    }
    let mut loaded = check::check(&file, root, settings)?;
    loaded.keeper = key.and_then(|key| Keeper::of(&loaded, key));
    Ok(loaded)
}

/// What the command line gives a pipeline beside its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The values of `--set`: `NAME=VALUE` for a variable, `STAGE.params.PATH=VALUE` for a param.
    pub sets: Vec<String>,
    /// The files of variables of `--vars`, relative to the working directory; they win over the
    /// pipeline's own, and `--set` over them.
    pub vars: Vec<PathBuf>,
}

/// A checked pipeline: data only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Its name: the folder of its artifacts.
    pub name: String,
    /// The file as it was read, then the files that it names and the words of the command line: a
    /// [`Place`] counts them.
    #[serde(skip)]
    pub sources: Vec<Arc<SourceFile>>,
    /// The variables with what `--set` made of them.
    pub vars: BTreeMap<String, Value>,
    /// The stages by name, in the order of the file.
    pub stages: IndexMap<String, Stage>,
    /// The names of the stages that `when` leaves out.
    pub off: Vec<String>,
}

impl Pipeline {
    /// Gives the stages that a name of the command line means: the stage itself, all combinations of
    /// a matrix (`train`), or some (`train[seed=1]`).
    pub fn select<'p>(&'p self, name: &str) -> Vec<&'p Stage> {
        if let Some(stage) = self.stages.get(name) {
            return vec![stage];
        }
        let Some(selector) = Selector::parse(name) else { return Vec::new() };
        let matches = |stage: &&Stage| {
            stage.matrix.as_ref().is_some_and(|combination| combination.matches(&selector))
        };
        self.stages.values().filter(matches).collect()
    }
}

/// A pipeline file's path and text.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as the user gave it.
    pub path: PathBuf,
    /// Its whole text.
    pub text: String,
}

/// The largest file that is read as a pipeline, in bytes.
const LARGEST: u64 = 64 << 20;

/// Why a file is no source.
#[derive(Debug)]
struct Unreadable {
    what: String,
    help: String,
    /// The place from which on it is no text.
    shown: Option<Box<Diagnostic>>,
}

impl Unreadable {
    fn new(what: impl Into<String>, help: impl Into<String>) -> Unreadable {
        Unreadable { what: what.into(), help: help.into(), shown: None }
    }

    /// Says it of the pipeline file itself.
    fn diagnose(self, path: &Path) -> Diagnostic {
        let message = format!("cannot read the pipeline `{}`: {}", path.display(), self.what);
        let without_place = || Diagnostic::without_place(message, Some(self.help));
        self.shown.map_or_else(without_place, |shown| *shown)
    }
}

impl SourceFile {
    /// Reads a file as text.
    fn read(path: &Path) -> Result<SourceFile, Unreadable> {
        const RIGHTS: &str = "look at its path and its rights";
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Unreadable::new("there is no such file", pipelines_beside(path)),
            _ => Unreadable::new(error.to_string(), RIGHTS),
        })?;
        if metadata.is_dir() {
            return Err(Unreadable::new("it is a folder", pipelines_beside(&path.join("x"))));
        }
        if metadata.len() > LARGEST {
            return Err(Unreadable::new("it is larger than 64 MB", "name a pipeline file"));
        }
        let bytes =
            std::fs::read(path).map_err(|error| Unreadable::new(error.to_string(), RIGHTS))?;
        let text = String::from_utf8(bytes)
            .map_err(|error| no_text(path, error.as_bytes(), error.utf8_error().valid_up_to()))?;
        let control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
        if let Some(at) = text.find(control) {
            return Err(no_text(path, text.as_bytes(), at));
        }
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Ok(SourceFile { path: path.to_owned(), text })
    }
}

/// Says that a file is no text, with the line in which that shows, made fit to be printed.
fn no_text(path: &Path, bytes: &[u8], at: usize) -> Unreadable {
    const HELP: &str = "a pipeline is a YAML text in UTF-8";
    let printable = |bytes: &[u8]| {
        let control = |c: char| c.is_control() && c != '\n';
        String::from_utf8_lossy(bytes).replace(control, "\u{fffd}")
    };
    let mut text = printable(&bytes[..at]);
    let start = text.len();
    let rest = printable(&bytes[at..bytes.len().min(at + 32)]);
    text.push_str(rest.lines().next().unwrap_or_default());
    let byte = bytes.get(at).copied().unwrap_or_default();
    let message = format!("the pipeline is no text: byte {byte:#04x} is not part of one");
    let source = Sources::new(Arc::new(SourceFile { path: path.to_owned(), text }));
    let shown = diagnostic::Problem::new(Place::new(0, start, start + 1), message)
        .help(HELP)
        .diagnose(&source);
    let what = format!("it is no text: byte {byte:#04x} is not part of one");
    Unreadable { shown: Some(Box::new(shown)), ..Unreadable::new(what, HELP) }
}

/// Names the pipeline files in a path's folder, as a way out for who mistyped one.
fn pipelines_beside(path: &Path) -> String {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let entries = std::fs::read_dir(folder.unwrap_or(Path::new(".")));
    let mut names: Vec<String> = entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let yaml = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
            let shown = path.strip_prefix("./").unwrap_or(&path).display().to_string();
            yaml.then_some(shown)
        })
        .collect();
    names.sort();
    if names.is_empty() {
        return "name a pipeline file".to_owned();
    }
    let wanted = path.display().to_string();
    diagnostic::did_you_mean(&wanted, "there are", names.iter().map(String::as_str))
}

/// One named node of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its params, which also say its kind.
    pub params: Params,
    /// What it reads, by full name: `data`, or `data.train` for one part of a whole stage. Those of
    /// a tune are its base's.
    pub inputs: BTreeMap<String, Input>,
    /// Stages that must be done before it, though it reads nothing of theirs.
    pub needs: Vec<String>,
    /// What it gives; a tune gives its base's outputs and its own.
    pub outputs: Vec<OutputSpec>,
    /// Outputs that are also written under `artifacts/<pipeline>/`, by output.
    pub exports: IndexMap<String, Export>,
    /// How it is executed; never part of its fingerprint.
    pub options: Options,
    /// The variables from which each of its params came, by the param's dotted path.
    pub variables: BTreeMap<String, Vec<String>>,
    /// What it stands for, where it is one combination of a matrix.
    pub matrix: Option<Combination>,
    /// Where its name stands.
    pub place: Place,
}

impl Stage {
    /// Gives what the stage does.
    pub fn kind(&self) -> StageKind {
        self.params.kind()
    }
}

/// One file that a stage reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Where it comes from.
    pub from: Source,
    /// The format that the stage asked for (`as: csv`); unless given, the file as it is.
    pub format: Option<Format>,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// An output of another stage.
    Output {
        /// That stage.
        stage: String,
        /// That output.
        output: String,
    },
    /// A file of the user's; relative to the root, or absolute.
    File(PathBuf),
    /// All files of a folder of the user's; relative to the root, or absolute.
    Folder(PathBuf),
    /// The files of the user's that a pattern fits; relative to the root, or absolute.
    Glob(String),
    /// A table of the files that a list of inputs holds, with what each stands for.
    Table(#[serde(with = "shared")] Arc<Table>),
}

/// A shared value as it would be alone. serde has a feature for it, with which all our dependencies
/// would be built once more.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<T: Serialize, S: Serializer>(
        value: &Arc<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_ref().serialize(serializer)
    }

    pub fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}

/// The files of a list of inputs, made by the combinations of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// The list's name.
    pub list: String,
    /// The keys of the matrix.
    pub keys: Vec<String>,
    /// For each file, in the order of the matrix, the values of the keys; none where a combination
    /// lacks a key.
    pub rows: Vec<Vec<Option<Value>>>,
    /// The full names of the inputs that hold the files.
    pub members: Vec<String>,
}

/// One combination of a stage's matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Combination {
    /// The name under which the file has the stage.
    pub stage: String,
    /// The values, in the order of the file.
    pub cells: Vec<Cell>,
}

/// One value of a combination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Its key in the matrix.
    pub key: String,
    /// The value.
    pub value: Value,
    /// How it stands in the stage's name.
    pub text: String,
    /// The same text for equal values, whatever the order of their keys.
    canonical: String,
}

/// An output under the name that the user wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Export {
    /// The file's path under `artifacts/<pipeline>/`.
    pub file: PathBuf,
    /// What the output is turned into, where its own format is not the one asked for.
    pub conversion: Option<Conversion>,
}

#[cfg(test)]
mod tests;
