//! What may be wrong with a command's params beyond their types.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path};

use super::template::{Piece, Slot, SlotKind, pieces};
use super::{Params, variable};
use crate::stage::ParamIssue;

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    ///
    /// Which inputs there are is not known here: see [`Params::check_inputs`].
    pub fn check(&self) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        issues.extend(self.check_program());
        issues.extend(self.check_outputs());
        issues.extend(self.check_metrics());
        issues.extend(self.check_slots(SlotKind::Output, self.outputs.keys().map(String::as_str)));
        issues.extend(self.check_with());
        issues.extend(self.check_env());
        issues.extend(self.check_dir());
        issues
    }

    /// Finds the placeholders that name none of the stage's inputs, which are given by their full
    /// names.
    pub fn check_inputs<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Vec<ParamIssue> {
        let mut issues = same_variables("RUNNER_INPUT_", names.clone());
        issues.extend(self.check_slots(SlotKind::Input, names));
        issues
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
        let mut issues = same_variables("RUNNER_OUTPUT_", self.outputs.keys().map(String::as_str));
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
                nearest(name, self.outputs.keys().map(String::as_str))
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

    fn check_with(&self) -> Vec<ParamIssue> {
        let mut issues = same_variables("RUNNER_PARAM_", self.with.keys().map(String::as_str));
        for slot in self.slots(SlotKind::With) {
            if self.with(slot.name).is_none() {
                issues.push(unknown(&slot, self.with.keys().map(String::as_str)));
            }
        }
        issues
    }

    fn check_slots<'a>(
        &self,
        kind: SlotKind,
        names: impl IntoIterator<Item = &'a str> + Clone,
    ) -> Vec<ParamIssue> {
        let missing = |slot: &Slot<'_>| !names.clone().into_iter().any(|name| name == slot.name);
        self.slots(kind).filter(missing).map(|slot| unknown(&slot, names.clone())).collect()
    }

    fn slots(&self, kind: SlotKind) -> impl Iterator<Item = Slot<'_>> {
        self.texts().iter().flat_map(|text| pieces(text)).filter_map(move |piece| match piece {
            Piece::Slot(slot) if slot.kind == kind => Some(slot),
            Piece::Slot(_) | Piece::Text(_) => None,
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
        let inside = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        let within = !dir.is_empty() && Path::new(dir).components().all(inside);
        (!within).then(|| {
            let message = format!("`{dir}` is no folder within the root");
            ParamIssue::new("dir", message, "give a path relative to the root, without `..`")
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
fn same_variables<'a>(prefix: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<ParamIssue> {
    let place = match prefix {
        "RUNNER_OUTPUT_" => "outputs",
        "RUNNER_PARAM_" => "with",
        _ => "",
    };
    let mut seen = BTreeMap::new();
    let mut issues = Vec::new();
    for name in names {
        let key = variable(prefix, name);
        if let Some(other) = seen.insert(key.clone(), name) {
            let message = format!("`{other}` and `{name}` would both be `{key}`");
            issues.push(ParamIssue::new(place, message, "rename one of the two"));
        }
    }
    issues
}

fn unknown<'a>(slot: &Slot<'_>, names: impl IntoIterator<Item = &'a str>) -> ParamIssue {
    let (what, key) = match slot.kind {
        SlotKind::Input => ("an input", "inputs"),
        SlotKind::Output => ("an output", "outputs"),
        SlotKind::With => ("a parameter", "with"),
    };
    let message = format!("`{}` names {what} that the stage does not have", slot.text);
    let help = nearest(slot.name, names)
        .unwrap_or_else(|| format!("declare `{}` under `{key}`", slot.name));
    ParamIssue::new("run", message, help)
}

/// Suggests the name that is most like `name`.
fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const ALIKE: f64 = 0.8;
    let score = |other: &str| strsim::jaro_winkler(name, other);
    let best = names.into_iter().max_by(|a, b| score(a).total_cmp(&score(b)))?;
    (score(best) > ALIKE).then(|| format!("did you mean `{best}`?"))
}
