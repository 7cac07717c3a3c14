//! The lines for single events, without colour and without where they go.

use std::collections::BTreeMap;
use std::path::Path;

use super::text::{self, Digits};
use crate::event::{Access, Event, Outcome, Undeclared};
use crate::stage::Failure;
use crate::study::Point;

/// Says what was given with `--jobs` and how much there is to do.
pub fn run_started(pipeline: &str, stages: usize, jobs: usize) -> String {
    let stages = text::counted(stages as u64, "stage");
    format!("{pipeline}: {stages}, {} at a time", text::counted(jobs as u64, "job"))
}

/// What a stage does while another process runs the same action.
pub const WAITING: &str = "waiting for another run that does the same";

/// Says that a failed attempt is followed by another: `attempt 1 of 3 failed: …; the next begins in
/// 10.0 s`, with the end of its log.
pub fn retrying(event: &Event) -> Vec<String> {
    let Event::StageRetrying { stage, trial, attempt, attempts, failure, seconds } = event else {
        return Vec::new();
    };
    let trial = trial.map(|trial| format!(" trial {trial}")).unwrap_or_default();
    let next = text::duration(*seconds);
    let message = &failure.message;
    let head = format!(
        "{stage}:{trial} attempt {attempt} of {attempts} failed: {message}; the next begins in {next}"
    );
    let tail = failure.log_tail.iter().rev().take(3).rev().map(|line| format!("    {line}"));
    [head].into_iter().chain(tail).collect()
}

/// Says how far a stage is: `3 of 12 epochs, validation_loss 0.015`.
pub fn progress(unit: &str, done: u64, total: u64, metrics: &BTreeMap<String, f64>) -> String {
    let mut line = match total {
        0 => format!("{} {unit}", text::count(done)),
        _ => format!("{} of {} {unit}", text::count(done), text::count(total)),
    };
    if let Some(metrics) = scores(metrics, 3) {
        line += &format!(", {metrics}");
    }
    line
}

/// Writes the first metrics in one phrase; those with a dot in their name are details.
pub fn scores(metrics: &BTreeMap<String, f64>, most: usize) -> Option<String> {
    let plain = metrics.iter().filter(|(name, _)| !name.contains('.')).take(most);
    let phrases: Vec<_> =
        plain.map(|(name, value)| format!("{name} {}", text::number(*value))).collect();
    (!phrases.is_empty()).then(|| phrases.join(", "))
}

/// Writes a trial's parameters in one phrase.
pub fn point(params: &Point) -> String {
    let phrase = |(path, value)| format!("{path} {}", text::value(value, Digits::Few));
    params.iter().map(phrase).collect::<Vec<_>>().join(", ")
}

/// Says something that a person should know.
pub fn warning(stage: Option<&str>, message: &str) -> String {
    match stage {
        Some(stage) => format!("warning: {stage}: {message}"),
        None => format!("warning: {message}"),
    }
}

/// Gives the lines for a stage that ended; none for one that was cached. Paths below `base` are
/// shown relative to it.
pub fn stage_finished(event: &Event, base: &Path) -> Vec<String> {
    let Event::StageFinished { stage, outcome, seconds, metrics, failure, because, .. } = event
    else {
        return Vec::new();
    };
    let took = text::duration(*seconds);
    match outcome {
        Outcome::Cached => Vec::new(),
        Outcome::Ran => match scores(metrics, 3) {
            Some(scores) => vec![format!("{stage}: ran in {took}, {scores}")],
            None => vec![format!("{stage}: ran in {took}")],
        },
        Outcome::Skipped => match because {
            Some(because) => vec![format!("{stage}: skipped because {because} failed")],
            None => vec![format!("{stage}: skipped")],
        },
        Outcome::Cancelled if *seconds > 0.0 => vec![format!("{stage}: cancelled after {took}")],
        Outcome::Cancelled => vec![format!("{stage}: cancelled")],
        Outcome::Failed => failed(stage, &took, failure.as_ref(), base),
    }
}

fn failed(stage: &str, took: &str, failure: Option<&Failure>, base: &Path) -> Vec<String> {
    let head = format!("error: stage `{stage}` failed after {took}");
    let Some(failure) = failure else { return vec![head] };
    let mut lines = vec![format!("{head}: {}", failure.message)];
    if let Some(help) = &failure.help {
        lines.push(format!("  help: {help}"));
    }
    match (failure.log_tail.as_slice(), &failure.log) {
        ([], None) => {}
        ([], Some(log)) => lines.push(format!("  its log is empty: {}", text::path(log, base))),
        (tail, log) => {
            let whole = log.as_ref().map(|log| format!(" (all of it: {})", text::path(log, base)));
            lines.push(format!("  the last lines of its log{}:", whole.unwrap_or_default()));
            lines.extend(tail.iter().map(|line| format!("  │ {line}")));
        }
    }
    lines
}

/// Undeclared files of a stage that are told one by one.
const UNDECLARED: usize = 20;

/// Says what a stage's command used and does not declare, each with the line to add.
pub fn stage_audited(event: &Event) -> Vec<String> {
    let Event::StageAudited { stage, base, undeclared } = event else { return Vec::new() };
    let to = base.as_ref().map(|base| format!(" to `{base}`")).unwrap_or_default();
    let line = |one: &Undeclared| {
        let Undeclared { access, path, line } = one;
        let what = match access {
            Access::Read => format!("reads `{path}`, which is no input of it"),
            Access::Listed => format!("lists the folder `{path}`, which is no input of it"),
            Access::Written => format!("writes `{path}`, which is no output of it"),
        };
        warning(Some(stage), &format!("{what}; add{to}: {line}"))
    };
    let more = undeclared.len().saturating_sub(UNDECLARED);
    let more = (more > 0).then(|| {
        let files = text::counted(more as u64, "more file");
        warning(Some(stage), &format!("and {files}, which `--format json` names"))
    });
    undeclared.iter().take(UNDECLARED).map(line).chain(more).collect()
}

/// Says what a verified stage gave otherwise; nothing where it gave the same.
pub fn stage_verified(event: &Event) -> Option<String> {
    let Event::StageVerified { stage, outputs, metrics, failure } = event else { return None };
    let list = |what: &str, names: &[String]| {
        let plural = if names.len() == 1 { "" } else { "s" };
        (!names.is_empty()).then(|| format!("{what}{plural} {}", names.join(", ")))
    };
    let differing = [list("output", outputs), list("metric", metrics)];
    let differing = differing.into_iter().flatten().collect::<Vec<_>>().join(" and ");
    let what = match failure {
        Some(failure) => format!("run again it failed: {}", failure.message),
        None if differing.is_empty() => return None,
        None => format!("run again it gave other {differing}"),
    };
    Some(warning(Some(stage), &format!("not deterministic: {what}")))
}

/// Says what an audit or a verification comes to.
pub fn inspected(event: &Event) -> Option<String> {
    let some = |count: usize, word: &str| text::counted(count as u64, word);
    match event {
        Event::AuditFinished { audited, cached, undeclared } => {
            let files = some(*undeclared, "undeclared file");
            let left = match cached {
                0 => String::new(),
                _ => format!(
                    "; {} cached and so not traced (`--force` runs all)",
                    some(*cached, "command stage")
                ),
            };
            Some(format!("audit: {} traced, {files}{left}", some(*audited, "command stage")))
        }
        Event::VerifyFinished { verified, differing, left, tunes } => {
            let left = match (left, tunes) {
                (0, _) => String::new(),
                (left, 0) => format!("; {} left out", some(*left, "cached stage")),
                (left, tunes) => format!(
                    "; {} left out, {} of them studies, which are not run again",
                    some(*left, "cached stage"),
                    text::count(*tunes as u64)
                ),
            };
            let actions = some(*verified, "cached action");
            let differing = match differing {
                0 => "all gave the same".to_owned(),
                _ => format!("{} not deterministic", text::count(*differing as u64)),
            };
            let differing =
                if *verified == 0 { "nothing to compare".to_owned() } else { differing };
            Some(format!("verify: {actions} run again, {differing}{left}"))
        }
        _ => None,
    }
}

/// Says how a trial ended and what is best so far.
pub fn trial_finished(event: &Event) -> String {
    let Event::TrialFinished { stage, number, params, value, outcome, best, done, total, seconds } =
        event
    else {
        return String::new();
    };
    let mut line = format!("{stage}: trial {number} {}", outcome.name());
    if let Some(value) = value {
        line += &format!(" with {}", text::number(*value));
    }
    line += &format!(" in {}", text::duration(*seconds));
    if !params.is_empty() {
        line += &format!(" at {}", point(params));
    }
    line += &format!("; {} of {} done", text::count(*done), text::count(*total));
    if let Some(best) = best {
        line += &format!(", best {}", text::number(*best));
    }
    line
}

/// Says that trials were not run again.
pub fn trials_cached(stage: &str, trials: u64) -> String {
    format!("{stage}: {} cached", text::counted(trials, "trial"))
}

/// Colours the first word of a line that begins with what deserves it; all else stays as it is, so
/// that the lines are legible without.
pub fn paint(line: &str) -> String {
    const RED: u8 = 31;
    const GREEN: u8 = 32;
    const YELLOW: u8 = 33;
    let words = [
        ("error:", RED),
        ("failed:", RED),
        ("warning:", YELLOW),
        ("interrupted:", YELLOW),
        ("done:", GREEN),
        ("nothing to do:", GREEN),
    ];
    match words.into_iter().find(|(word, _)| line.starts_with(word)) {
        Some((word, colour)) => format!("\x1b[1;{colour}m{word}\x1b[0m{}", &line[word.len()..]),
        None => line.to_owned(),
    }
}
