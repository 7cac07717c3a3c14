//! What may be wrong with a command's params beyond their types.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path};

use super::template::{Piece, Slot, SlotKind, pieces};
use super::{Mention, Params, Program, variable};
use crate::stage::ParamIssue;
use crate::suggest::did_you_mean;

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    ///
    /// Placeholders are left to [`Params::check_references`], since which inputs there are is not
    /// known here.
    pub fn check(&self) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        issues.extend(self.check_program());
        issues.extend(self.check_outputs());
        issues.extend(self.check_metrics());
        issues.extend(same_variables("with", self.with.keys().map(String::as_str)));
        issues.extend(self.check_env());
        issues.extend(self.check_dir());
        issues
    }

    /// Finds the placeholders in `run` and `env` that name nothing; `inputs` are the full names of
    /// the stage's inputs.
    pub fn check_references(&self, inputs: &[&str]) -> Vec<Mention> {
        let outputs: Vec<_> = self.outputs.keys().map(String::as_str).collect();
        let with: Vec<_> = self.with.keys().map(String::as_str).collect();
        let mention = |(path, slot): (&str, Slot<'_>)| {
            let (found, names) = match slot.kind {
                SlotKind::Input => (inputs.contains(&slot.name), inputs),
                SlotKind::Output => (outputs.contains(&slot.name), &outputs[..]),
                SlotKind::With => (self.with(slot.name).is_some(), &with[..]),
            };
            (!found).then(|| unknown(path, &slot, names))
        };
        self.slots().filter_map(mention).collect()
    }

    /// Finds the arguments in which a list of paths stands beside other text; `lists` are the inputs
    /// that are lists. A shell's line has room for several words, and an argument has not.
    pub fn check_lists(&self, lists: &[&str]) -> Vec<Mention> {
        let Program::Arguments(texts) = &self.run else { return Vec::new() };
        let within = texts.iter().filter(|text| pieces(text).len() > 1);
        let slots = within.flat_map(|text| pieces(text));
        let mention = |piece: Piece<'_>| match piece {
            Piece::Slot(slot) if slot.kind == SlotKind::Input && lists.contains(&slot.name) => {
                let message = format!(
                    "`{}` stands for several paths, which need arguments of their own",
                    slot.text
                );
                let issue =
                    ParamIssue::new("run", message, format!("write `\"{}\"` alone", slot.text));
                Some(Mention { word: slot.text.to_owned(), issue })
            }
            _ => None,
        };
        slots.filter_map(mention).collect()
    }

    /// Finds inputs that would share an environment variable.
    pub fn check_inputs(&self, inputs: &[&str]) -> Vec<ParamIssue> {
        same_variables("inputs", inputs.iter().copied())
    }

    fn check_program(&self) -> Option<ParamIssue> {
        let first = self.texts().first();
        first.is_none_or(|text| text.trim().is_empty()).then(|| {
            ParamIssue::new(
                "run",
                "`run` names no program",
                "write `run: [python3, script.py]`, or `run: python3 script.py` for the shell",
            )
        })
    }

    fn check_outputs(&self) -> Vec<ParamIssue> {
        let mut issues = same_variables("outputs", self.outputs.keys().map(String::as_str));
        for (at, (name, file)) in self.outputs.iter().enumerate() {
            let place = format!("outputs.{name}");
            if !plain(file) {
                let message = format!("output `{name}` has `{file}`, which is no plain file name");
                let help = match Path::new(file).file_name().and_then(OsStr::to_str) {
                    Some(last) => format!("name it without folders: `{last}`"),
                    None => format!("name its file, such as `{name}.csv`"),
                };
                issues.push(ParamIssue::new(&place, message, help));
            }
            let earlier = self.outputs.iter().take(at).find(|(_, other)| *other == file);
            if let Some((other, _)) = earlier {
                let message = format!("outputs `{other}` and `{name}` have one file, `{file}`");
                issues.push(ParamIssue::new(&place, message, "give each output a file of its own"));
            }
        }
        issues
    }

    fn check_metrics(&self) -> Option<ParamIssue> {
        let name = self.metrics.as_ref()?;
        match self.outputs.get(name) {
            None => Some(ParamIssue::new(
                "metrics",
                format!("`metrics` names `{name}`, which is no output"),
                did_you_mean(name, self.outputs.keys().map(String::as_str))
                    .unwrap_or_else(|| format!("declare it: `outputs: {{ {name}: {name}.json }}`")),
            )),
            Some(file) if !file.ends_with(".json") => Some(ParamIssue::new(
                "metrics",
                format!("the metrics are read as JSON, and output `{name}` is `{file}`"),
                "name an output whose file ends in `.json`",
            )),
            Some(_) => None,
        }
    }

    /// Gives the placeholders with the field in which each stands.
    fn slots(&self) -> impl Iterator<Item = (&'static str, Slot<'_>)> {
        let run = self.texts().iter().map(|text| ("run", text));
        let env = self.env.iter().map(|text| ("env", text));
        run.chain(env).flat_map(|(path, text)| {
            pieces(text).into_iter().filter_map(move |piece| match piece {
                Piece::Slot(slot) => Some((path, slot)),
                Piece::Text(_) => None,
            })
        })
    }

    fn check_env(&self) -> Vec<ParamIssue> {
        let name = |entry: &'_ str| entry.split('=').next().unwrap_or_default().to_owned();
        let mut issues = Vec::new();
        for (at, entry) in self.env.iter().enumerate() {
            let this = name(entry);
            let (message, help) = if !variable_name(&this) {
                (format!("`{entry}` is no environment variable"), "write `NAME`, or `NAME=VALUE`")
            } else if this.starts_with("RUNNER_") {
                (format!("`{this}` is one of runner's own variables"), "take another name")
            } else if self.env[..at].iter().any(|other| name(other) == this) {
                (format!("`{this}` is declared twice"), "leave one of the two out")
            } else {
                continue;
            };
            issues.push(ParamIssue::new("env", message, help));
        }
        issues
    }

    fn check_dir(&self) -> Option<ParamIssue> {
        let dir = self.dir.as_ref()?;
        let inside = |part: Component<'_>| part != Component::ParentDir;
        let within = !dir.is_empty() && Path::new(dir).components().all(inside);
        (!within).then(|| {
            let message = format!("`{dir}` is no folder within the root");
            ParamIssue::new("dir", message, "give a path without `..`, relative to the root")
        })
    }
}

fn variable_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Tells whether `file` is one name, without folders.
fn plain(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    let one = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    one && !file.ends_with('/') && !file.contains('\0')
}

/// Finds names that would share an environment variable, so that one would hide the other.
fn same_variables<'a>(field: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<ParamIssue> {
    let mut seen = BTreeMap::new();
    let mut issues = Vec::new();
    for name in names {
        let key = variable("", name);
        if let Some(other) = seen.insert(key.clone(), name) {
            let message = format!("`{other}` and `{name}` would both be the variable `…_{key}`");
            issues.push(ParamIssue::new(field, message, "rename one of the two"));
        }
    }
    issues
}

fn unknown(path: &str, slot: &Slot<'_>, names: &[&str]) -> Mention {
    let (what, key) = match slot.kind {
        SlotKind::Input => ("an input", "inputs"),
        SlotKind::Output => ("an output", "outputs"),
        SlotKind::With => ("a parameter", "with"),
    };
    let message = format!("`{}` names {what} that the stage does not have", slot.text);
    let help = did_you_mean(slot.name, names.iter().copied())
        .unwrap_or_else(|| format!("declare `{}` under `{key}`", slot.name));
    Mention { word: slot.text.to_owned(), issue: ParamIssue::new(path, message, help) }
}
