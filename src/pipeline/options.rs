//! How a stage is executed, as its fields say it: when it is given up, tried again, how much of the
//! machine it takes, what comes first. None of it is part of a fingerprint.
//!
//! Knows the fields and their values; what they bring about is the executor's affair.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Checks;
use super::diagnostic::{Problem, did_you_mean};
use super::draft::{Draft, text_field, words};
use super::node::{Data, Node};
use crate::quantity::{parse_duration, parse_size};
use crate::stage::{Params, StageKind};

/// Options of execution.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// What the stage is for.
    pub description: Option<String>,
    /// Labels of the user's.
    pub tags: Vec<String>,
    /// After how long it is given up; of a tune, its whole study.
    pub timeout: Option<Duration>,
    /// How often it is tried again after a failure.
    pub retries: Retries,
    /// How much of the machine it takes.
    pub resources: Resources,
    /// Of those that could start, the highest starts first.
    pub priority: i64,
    /// Whether it runs each time, whatever the store has.
    pub runs_each_time: bool,
    /// The environment variables whose values nobody may see; in no order that matters.
    pub secrets: Vec<String>,
}

/// How often a failed action is tried again, and after what pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Attempts after the first.
    pub attempts: u32,
    /// The pause before the second attempt; each later one is twice as long.
    pub backoff: Duration,
}

/// What a stage asks of the machine; what is absent is its kind's to choose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPUs.
    pub cpus: Option<usize>,
    /// Bytes.
    pub memory: Option<u64>,
    /// How many GPUs; `Some(0)` hides them all.
    pub gpus: Option<usize>,
}

impl Default for Retries {
    fn default() -> Retries {
        Retries { attempts: 0, backoff: Duration::from_secs(1) }
    }
}

impl Retries {
    /// The longest pause that doubling comes to.
    const LONGEST: Duration = Duration::from_secs(600);

    /// Gives the pause after failed attempt `attempt`, counted from 1.
    ///
    /// It doubles up to ten minutes; a longer `backoff` stays as it is.
    pub fn pause(&self, attempt: u32) -> Duration {
        let factor = 2_u32.saturating_pow(attempt.saturating_sub(1));
        self.backoff.saturating_mul(factor).min(Retries::LONGEST.max(self.backoff))
    }
}

/// The most that a field counts; larger numbers are slips.
const MOST: u64 = 1_000_000;

const DURATIONS: &str = "write a number with its unit: `90s`, `5m` or `1h30m`";
const SIZES: &str = "write a number with its unit: `500MB`, `4GiB` or `1.5TiB`";

/// Reads the options of a stage whose kind is known.
pub(super) fn read(draft: &Draft<'_>, problems: &mut Vec<Problem>) -> Options {
    let mut options = Options {
        description: text_field(draft.node, "description", &draft.subject(), problems),
        tags: words(draft, "tags", problems).iter().map(|(word, _)| (*word).to_owned()).collect(),
        ..Options::default()
    };
    refuse_where_meaningless(draft, problems);
    let mut read = Reader { draft, problems };
    if let Some(node) = read.field("timeout") {
        options.timeout = read.duration("timeout", node).filter(|timeout| {
            let is_some = !timeout.is_zero();
            if !is_some {
                read.refuse("timeout", node, "longer than nothing", DURATIONS);
            }
            is_some
        });
    }
    options.retries = read.retries();
    options.resources = read.resources();
    if let Some(node) = read.field("priority") {
        let whole = match &node.data {
            Data::Number(number) => number.as_i64(),
            _ => None,
        };
        match whole.filter(|whole| whole.unsigned_abs() <= MOST) {
            Some(whole) => options.priority = whole,
            None => read.refuse("priority", node, "a whole number", "the highest starts first"),
        }
    }
    if let Some(node) = read.field("cache") {
        match node.data {
            Data::Bool(cache) => options.runs_each_time = !cache,
            _ => read.refuse("cache", node, "true or false", "`cache: false` runs it each time"),
        }
    }
    options.secrets = read.secrets();
    options
}

/// Says why what a stage's outputs are rules a field out that a user may look for.
pub(super) fn persist_help() -> &'static str {
    "an output is kept by its content, so one that is changed in place has no identity: read what \
     was there as an input, `{ file: … }`, and write a new output"
}

/// Refuses the options that mean nothing for a kind, with where they belong.
fn refuse_where_meaningless(draft: &Draft<'_>, problems: &mut Vec<Problem>) {
    let Some(kind) = draft.kind else { return };
    let base = draft.base().map_or("its base", |(base, _)| base);
    let mut refuse = |field: &str, help: String| {
        let Some(entry) = draft.node.entry(field) else { return };
        let message = format!("{} is a `{}`, which has no `{field}`", draft.subject(), kind.name());
        problems.push(Problem::new(entry.place, message).help(help));
    };
    if kind == StageKind::Tune {
        for field in ["retries", "resources", "secrets"] {
            refuse(field, format!("give it to `{base}`: it holds for each trial"));
        }
        refuse("cache", "its trials are found in the store; `--force` runs them again".to_owned());
    } else if kind != StageKind::Command {
        refuse("secrets", "only a `command` starts a program that could read them".to_owned());
    }
}

/// Reads one stage's fields, and takes note of what is wrong with them.
struct Reader<'a, 'd> {
    draft: &'d Draft<'a>,
    problems: &'d mut Vec<Problem>,
}

impl<'a> Reader<'a, '_> {
    fn field(&self, name: &str) -> Option<&'a Node> {
        let node = &self.draft.node.entry(name)?.value;
        (!matches!(node.data, Data::Null | Data::Unknown)).then_some(node)
    }

    fn refuse(&mut self, field: &str, node: &Node, wanted: &str, help: impl Into<String>) {
        let (subject, given) = (self.draft.subject(), node.describe());
        let message = format!("the `{field}` of {subject} must be {wanted}, not {given}");
        self.problems.push(Problem::new(node.place, message).help(help));
    }

    fn duration(&mut self, field: &str, node: &Node) -> Option<Duration> {
        let found = node.text().and_then(parse_duration);
        if found.is_none() {
            self.refuse(field, node, "a duration", DURATIONS);
        }
        found
    }

    fn count(&mut self, field: &str, node: &Node, least: u64) -> Option<u64> {
        let whole = match &node.data {
            Data::Number(number) => number.as_u64(),
            _ => None,
        };
        let found = whole.filter(|whole| (least..=MOST).contains(whole));
        if found.is_none() {
            let wanted = format!("a whole number from {least} to {MOST}");
            self.refuse(field, node, &wanted, format!("write `{field}: 2`, or leave it out"));
        }
        found
    }

    /// Gives the entries of a field that is a map of known names.
    fn map(&mut self, field: &str, names: &[&str]) -> Vec<(&'a str, &'a Node)> {
        let Some(node) = self.field(field) else { return Vec::new() };
        if !matches!(node.data, Data::Map(_)) {
            self.refuse(field, node, "a map", format!("it may hold `{}`", names.join("`, `")));
        }
        let mut found = Vec::new();
        for entry in node.entries() {
            if !names.contains(&entry.key.as_str()) {
                let subject = self.draft.subject();
                let message = format!("`{field}` of {subject} has no field `{}`", entry.key);
                let help = did_you_mean(&entry.key, "fields", names.iter().copied());
                self.problems.push(Problem::new(entry.place, message).help(help));
            } else if !matches!(entry.value.data, Data::Null | Data::Unknown) {
                found.push((entry.key.as_str(), &entry.value));
            }
        }
        found
    }

    fn retries(&mut self) -> Retries {
        let mut retries = Retries::default();
        match self.field("retries") {
            Some(node) if matches!(node.data, Data::Number(_)) => {
                let attempts = self.count("retries", node, 0).unwrap_or(0);
                retries.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
            }
            Some(_) => {
                for (name, node) in self.map("retries", &["attempts", "backoff"]) {
                    if name == "attempts" {
                        let attempts = self.count("retries.attempts", node, 0).unwrap_or(0);
                        retries.attempts = u32::try_from(attempts).unwrap_or(u32::MAX);
                    } else if let Some(backoff) = self.duration("retries.backoff", node) {
                        retries.backoff = backoff;
                    }
                }
            }
            None => {}
        }
        retries
    }

    fn resources(&mut self) -> Resources {
        let mut resources = Resources::default();
        for (name, node) in self.map("resources", &["cpus", "memory", "gpus"]) {
            let whole = |found: Option<u64>| found.and_then(|count| usize::try_from(count).ok());
            match name {
                "cpus" => resources.cpus = whole(self.count("resources.cpus", node, 1)),
                "gpus" => resources.gpus = whole(self.count("resources.gpus", node, 0)),
                _ => {
                    resources.memory = node.text().and_then(parse_size).filter(|bytes| *bytes > 0);
                    if resources.memory.is_none() {
                        self.refuse("resources.memory", node, "a size", SIZES);
                    }
                }
            }
        }
        resources
    }

    fn secrets(&mut self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (word, place) in words(self.draft, "secrets", self.problems) {
            if !is_variable(word) {
                let message = format!(
                    "{} cannot have the secret `{word}`: it is no name of an environment variable",
                    self.draft.subject()
                );
                let help = "only its name stands here, such as `TOKEN`; its value is exported in \
                            the shell that starts the run";
                self.problems.push(Problem::new(place, message).help(help));
            } else if !names.iter().any(|name| name == word) {
                names.push(word.to_owned());
            }
        }
        names
    }
}

fn is_variable(word: &str) -> bool {
    !word.starts_with(|c: char| c.is_ascii_digit())
        && !word.is_empty()
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Finds the secrets that some stage's `env:` names too: they would enter its fingerprint.
pub(super) fn check_secrets(checks: &Checks<'_>, problems: &mut Vec<Problem>) {
    let mut owners: HashMap<&str, &Draft<'_>> = HashMap::new();
    for draft in checks.drafts.values() {
        for secret in &draft.options.secrets {
            owners.entry(secret).or_insert(draft);
        }
    }
    for draft in checks.drafts.values().filter(|_| !owners.is_empty()) {
        let Some(Params::Command(command)) = &draft.params else { continue };
        let inherited = command.env.iter().filter(|entry| !entry.contains('='));
        for name in inherited {
            let Some(owner) = owners.get(name.as_str()) else { continue };
            let message = format!(
                "`env` of {} names `{name}`, a secret of {}: its value would be kept",
                draft.subject(),
                owner.subject()
            );
            let help = format!("take it out of `env` and write `secrets: [{name}]`");
            let place = checks.sources.narrow(draft.param_place("env"), name);
            problems.push(Problem::new(place, message).help(help));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_longest() {
        let pauses = |backoff: u64| {
            let retries = Retries { attempts: 9, backoff: Duration::from_secs(backoff) };
            [1, 2, 3, 12, 200].map(|attempt| retries.pause(attempt).as_secs())
        };
        assert_eq!(pauses(10), [10, 20, 40, 600, 600]);
        assert_eq!(pauses(7200), [7200; 5]);
        assert_eq!(pauses(0), [0; 5]);
    }
}
