//! Plain lines: for a log, a pipe, or a terminal that can do no more.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use super::summary::Summary;
use super::{Clock, Printer, Reporter, Throttle, lines, text};
use crate::event::{Event, TrialOutcome};

/// The time between two lines of a stage's progress.
const GAP: Duration = Duration::from_secs(3);

/// Characters of the reason why a stage starts; `runner why` says all of it.
const WHY: usize = 120;

/// Prints plain lines.
pub struct Plain<W> {
    printer: Printer<W>,
    colour: bool,
    clock: Clock,
    lines: Lines,
}

impl<W: Write> Plain<W> {
    /// Makes a reporter that prints to `out`, in colour or not.
    pub fn new(out: W, colour: bool) -> Plain<W> {
        let lines = Lines::new(super::base());
        Plain { printer: Printer::new(out), colour, clock: Clock::start(), lines }
    }
}

impl<W: Write> Reporter for Plain<W> {
    fn event(&mut self, event: &Event) {
        let lines = self.lines.event(event, self.clock.now());
        match self.colour {
            true => self.printer.print(lines.iter().map(|line| lines::paint(line))),
            false => self.printer.print(&lines),
        }
    }
}

/// The lines of a run, as its events come; knows the time only as it is told.
pub struct Lines {
    /// What is said before the first stage that runs, and never where all is cached.
    opening: Option<String>,
    progress: Throttle,
    /// Cached trials that were not yet spoken of, by stage.
    cached: BTreeMap<String, u64>,
    summary: Summary,
}

impl Lines {
    /// Makes the lines of a run that has not begun; paths are shown relative to `base`.
    pub fn new(base: PathBuf) -> Lines {
        Lines {
            opening: None,
            progress: Throttle::new(GAP),
            cached: BTreeMap::new(),
            summary: Summary::new(base),
        }
    }

    /// Gives the lines for an event that happens `now`, counted from any one moment.
    pub fn event(&mut self, event: &Event, now: Duration) -> Vec<String> {
        let mut lines = self.lines(event, now);
        lines.extend(self.summary.event(event));
        lines
    }

    fn lines(&mut self, event: &Event, now: Duration) -> Vec<String> {
        match event {
            Event::RunStarted { pipeline, stages, jobs } => {
                self.opening = Some(lines::run_started(pipeline, stages.len(), *jobs));
                Vec::new()
            }
            Event::StageStarted { stage, reasons, .. } => {
                self.progress.note(stage, now);
                let why = text::clip(&text::reasons(reasons), WHY);
                let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
                self.opening.take().into_iter().chain([format!("{stage}: started{why}")]).collect()
            }
            Event::StageWaiting { stage } => vec![format!("{stage}: {}", lines::WAITING)],
            Event::StageRetrying { .. } => lines::retrying(event),
            // A trial has a line of its own.
            Event::StageProgress { unit: "trials", .. } => Vec::new(),
            Event::StageProgress { stage, unit, done, total, metrics } => {
                let line = || format!("{stage}: {}", lines::progress(unit, *done, *total, metrics));
                self.progress.pass(stage, now).then(line).into_iter().collect()
            }
            Event::Warning { stage, message } => vec![lines::warning(stage.as_deref(), message)],
            Event::TrialFinished { stage, outcome: TrialOutcome::Cached, .. } => {
                *self.cached.entry(stage.clone()).or_default() += 1;
                Vec::new()
            }
            Event::TrialFinished { stage, .. } => {
                self.cached(stage).into_iter().chain([lines::trial_finished(event)]).collect()
            }
            Event::StageFinished { stage, .. } => {
                self.progress.forget(stage);
                self.cached(stage)
                    .into_iter()
                    .chain(lines::stage_finished(event, self.summary.base()))
                    .collect()
            }
            Event::StageAudited { .. } => lines::stage_audited(event),
            Event::StageVerified { .. } => lines::stage_verified(event).into_iter().collect(),
            Event::RunFinished { .. }
            | Event::AuditFinished { .. }
            | Event::VerifyFinished { .. }
            | Event::TrialStarted { .. }
            | Event::ArtifactPlaced { .. } => Vec::new(),
        }
    }

    /// Speaks of a stage's cached trials: of all at once, since there may be thousands.
    fn cached(&mut self, stage: &str) -> Option<String> {
        self.cached.remove(stage).map(|trials| lines::trials_cached(stage, trials))
    }
}
