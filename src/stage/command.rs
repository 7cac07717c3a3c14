//! The `command` kind: describes any program; `executor/process.rs` runs it.
//!
//! From params and paths it makes a [`Launch`]: arguments, environment and folder. It starts
//! nothing, and knows nothing of process groups, logs or the store.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, OutputSpec, ParamIssue};

mod check;
mod files;
mod template;

use template::{Piece, Slot, SlotKind};

/// The longest argument or variable that Linux takes, less a name and its end (`MAX_ARG_STRLEN`).
const LONGEST_ARGUMENT: usize = 130_000;

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The params of a `command` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The program: a list of arguments, or one line for `sh -c`. `${inputs.NAME}`,
    /// `${outputs.NAME}` and `${with.NAME}` stand for paths and parameters; in a line they are
    /// quoted as the shell needs it where they stand, also within a here-document.
    pub run: Program,
    /// The outputs by name, each with its file's name; the program writes them to
    /// `${outputs.NAME}` (`RUNNER_OUTPUT_<NAME>`).
    #[serde(default)]
    pub outputs: IndexMap<String, String>,
    /// Parameters of the program's own: `${with.lr}`, and `RUNNER_PARAM_LR` in its environment.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// Environment variables that decide the result: `NAME` enters with the value that it has,
    /// `NAME=VALUE` is set; placeholders may stand in the value.
    #[serde(default)]
    pub env: Vec<String>,
    /// The output that holds a JSON object of metrics.
    #[serde(default)]
    pub metrics: Option<String>,
    /// The folder to run in, relative to the root.
    #[serde(default)]
    pub dir: Option<String>,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Program {
    /// One line for the shell.
    Shell(#[schemars(length(min = 1))] String),
    /// The program and its arguments, with no shell between.
    Arguments(#[schemars(length(min = 1))] Vec<String>),
}

/// The most bytes of variables that name outputs: the system starts no program with more than 2 MB
/// of arguments and variables. Thousands of outputs are found in the folder that all lie in.
const ROOM: usize = 512 * 1024;

/// A process to start, described in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The program as the pipeline file names it, for messages.
    pub title: String,
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What is set beside the environment that it inherits.
    pub env: BTreeMap<String, OsString>,
    /// The folder in which it starts.
    pub dir: PathBuf,
    /// The file to which it may append intermediate metrics.
    pub metrics: PathBuf,
}

/// The paths with which a command is started; absolute, since it may run in any folder.
#[derive(Clone, Copy, Debug)]
pub struct Paths<'a> {
    /// The root, to which `dir:` is relative.
    pub root: &'a Path,
    /// The file or folder of each input by its full name; of a list, its files.
    pub inputs: &'a BTreeMap<String, Vec<PathBuf>>,
    /// The fresh folder for the outputs.
    pub outputs: &'a Path,
    /// The file for intermediate metrics (`RUNNER_METRICS`).
    pub metrics: &'a Path,
}

/// A word in a command with which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The word as it stands there, so that its place can be found.
    pub word: String,
    /// What is wrong with it.
    pub issue: ParamIssue,
}

impl Params {
    /// Gives the declared outputs.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        self.outputs.iter().map(|(name, file)| OutputSpec::new(name, file)).collect()
    }

    /// Gives the value of each variable that `env:` declares, for the manifest; `lookup` reads the
    /// environment.
    pub fn resolve_env(
        &self,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> BTreeMap<String, Option<String>> {
        let resolve = |entry: &String| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (entry.clone(), lookup(entry)),
        };
        self.env.iter().map(resolve).collect()
    }

    /// Finds the files under `root` that the command names and that are no input of its stage:
    /// what is in them decides the result, and yet a change would rerun nothing.
    ///
    /// `declared` are the stage's input files, relative to the root or absolute. The issues are
    /// warnings.
    pub fn undeclared_files(&self, root: &Path, declared: &[PathBuf]) -> Vec<Mention> {
        files::undeclared(self, root, declared)
    }

    /// Says whether the command names any file, declared or not, as far as `may_be_file` tells.
    pub fn names_any_file(&self, root: &Path, may_be_file: impl FnMut(PathBuf) -> bool) -> bool {
        files::names_any(self, root, may_be_file)
    }

    /// Describes the process to start.
    ///
    /// # Errors
    ///
    /// A failure where a placeholder names what there is not, which a checked pipeline rules out.
    pub fn describe(&self, paths: &Paths<'_>) -> Result<Launch, Failure> {
        let values = |slot: &Slot<'_>| self.values(slot, paths);
        let (program, arguments) = match &self.run {
            Program::Shell(line) => {
                let misplaced = |slot: &Slot<'_>| {
                    let message =
                        format!("`{}` would end the here-document that it is in", slot.text);
                    Failure::new(message).help("give the here-document another end")
                };
                ("sh".into(), vec!["-c".into(), template::fill_shell(line, values, misplaced)?])
            }
            Program::Arguments(texts) => {
                let mut arguments = Vec::with_capacity(texts.len());
                for text in texts {
                    arguments.extend(self.arguments(text, paths)?);
                }
                if arguments.is_empty() {
                    return Err(Failure::new("`run` is empty"));
                }
                (arguments.remove(0), arguments)
            }
        };
        let env = self.variables(paths)?;
        let longest = arguments.iter().chain(env.values()).map(|text| text.len()).max();
        if longest.is_some_and(|length| length > LONGEST_ARGUMENT) {
            let message = format!("an argument is longer than {LONGEST_ARGUMENT} bytes");
            return Err(Failure::new(message).help(
                "write `run` as a list, in which each path is an argument, or read the paths from \
                 `${inputs.NAME.table}`",
            ));
        }
        Ok(Launch {
            title: self.title(),
            program,
            arguments,
            env,
            dir: self.folder(paths.root),
            metrics: paths.metrics.to_owned(),
        })
    }

    /// Gives the environment variables that are set: those of `env:`, and ours.
    fn variables(&self, paths: &Paths<'_>) -> Result<BTreeMap<String, OsString>, Failure> {
        let mut variables = BTreeMap::new();
        for (name, value) in self.env.iter().filter_map(|entry| entry.split_once('=')) {
            let value = template::fill(value, |slot| Ok(lines(&self.values(slot, paths)?)))?;
            variables.insert(name.to_owned(), value);
        }
        for (name, files) in paths.inputs {
            let files: Vec<OsString> = files.iter().map(OsString::from).collect();
            let files = lines(&files);
            // A list that no variable can hold must not keep the program from starting.
            if files.len() <= LONGEST_ARGUMENT {
                variables.insert(variable("RUNNER_INPUT_", name), files);
            }
        }
        let output = |(name, file): (&String, &String)| -> (String, OsString) {
            (variable("RUNNER_OUTPUT_", name), paths.outputs.join(file).into())
        };
        let outputs: Vec<_> = self.outputs.iter().map(output).collect();
        if outputs.iter().map(|(name, path)| name.len() + path.len()).sum::<usize>() <= ROOM {
            variables.extend(outputs);
        }
        variables.insert("RUNNER_OUTPUTS".to_owned(), paths.outputs.into());
        for (name, value) in &self.with {
            variables.insert(variable("RUNNER_PARAM_", name), bare(value).into());
        }
        variables.insert("RUNNER_METRICS".to_owned(), paths.metrics.into());
        Ok(variables)
    }

    /// Gives the arguments that a text stands for: one, or several where it is a list.
    fn arguments(&self, text: &str, paths: &Paths<'_>) -> Result<Vec<OsString>, Failure> {
        match template::pieces(text)[..] {
            [Piece::Slot(slot)] => self.values(&slot, paths),
            _ => {
                let fill = |slot: &Slot<'_>| Ok(lines(&self.values(slot, paths)?));
                Ok(vec![template::fill(text, fill)?])
            }
        }
    }

    /// Gives what a placeholder stands for; several values only for a list of files.
    fn values(&self, slot: &Slot<'_>, paths: &Paths<'_>) -> Result<Vec<OsString>, Failure> {
        let value = match slot.kind {
            SlotKind::Input => {
                let files = paths.inputs.get(slot.name);
                files.map(|files| files.iter().map(OsString::from).collect())
            }
            SlotKind::Output => {
                self.outputs.get(slot.name).map(|file| vec![paths.outputs.join(file).into()])
            }
            SlotKind::With => self.with(slot.name).map(|value| vec![bare(value).into()]),
        };
        value.ok_or_else(|| Failure::new(format!("`{}` names nothing that is given", slot.text)))
    }

    /// Finds a value of `with:` by its dotted path; a name that holds dots itself comes first.
    fn with(&self, path: &str) -> Option<&Value> {
        self.with.get(path).or_else(|| {
            let mut parts = path.split('.');
            let first = self.with.get(parts.next()?)?;
            parts.try_fold(first, |value, part| value.get(part))
        })
    }

    /// Gives the folder in which the program starts.
    pub fn folder(&self, root: &Path) -> PathBuf {
        match &self.dir {
            Some(dir) => root.join(dir),
            None => root.to_owned(),
        }
    }

    /// Gives the texts in which placeholders may stand.
    fn texts(&self) -> &[String] {
        match &self.run {
            Program::Shell(line) => std::slice::from_ref(line),
            Program::Arguments(texts) => texts,
        }
    }

    fn title(&self) -> String {
        const LONGEST: usize = 60;
        let text = self.texts().first().map_or("", |text| text.trim());
        let line = text.lines().next().unwrap_or_default();
        match line.char_indices().nth(LONGEST) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None if text.len() > line.len() => format!("{line} …"),
            None => line.to_owned(),
        }
    }
}

/// Joins values by line feeds.
fn lines(values: &[OsString]) -> OsString {
    values.join(OsStr::new("\n"))
}

/// Gives a value as a program wants it: a string bare, all else as JSON.
fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Gives the environment variable of a name: upper case, with `_` for what a name cannot hold.
fn variable(prefix: &str, name: &str) -> String {
    let fold = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    prefix.chars().chain(name.chars().map(fold)).collect()
}

#[cfg(test)]
mod tests;
