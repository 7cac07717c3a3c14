//! Bars on a terminal: one for each running stage, finished ones as lines above.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Stderr, Stdout};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use terminal_size::terminal_size_of;

use super::summary::Summary;
use super::{Clock, Printer, Reporter, Throttle, lines, text};
use crate::event::Event;

/// The time between two updates of a bar, and its tick where nothing happens.
const GAP: Duration = Duration::from_millis(100);
const TICK: Duration = Duration::from_millis(250);

/// Characters of a stage's name beside its bar, at most.
const NAME: usize = 24;

/// Columns of a line that are not the name or the message: the bar, the time, the spaces between,
/// and a few at the end. A line that fills the terminal would be one line more as soon as a Ctrl-C
/// is echoed behind it, and then one too few would be cleared.
const BESIDE: usize = 20 + 4 + 3 + 5;

/// Shows bars on standard error, and the closing tables on standard output.
pub struct Bars {
    multi: MultiProgress,
    bars: BTreeMap<String, (ProgressBar, Gauge)>,
    /// The width of the longest stage name.
    width: usize,
    stderr: Printer<Stderr>,
    stdout: Printer<Stdout>,
    /// Whether standard output and standard error are in colour.
    colour: (bool, bool),
    clock: Clock,
    updates: Throttle,
    summary: Summary,
}

/// What a bar shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauge {
    unit: &'static str,
    done: u64,
    total: u64,
    metrics: BTreeMap<String, f64>,
    /// The numbers of the trials that run; one that is cached never does.
    running: BTreeSet<u64>,
    /// The best trial's value.
    best: Option<f64>,
    why: String,
    /// What it waits for, where it does: another process, or its next attempt.
    waiting: Option<String>,
}

impl Gauge {
    /// Takes in an event of the stage; tells whether it should be shown at once.
    pub fn event(&mut self, event: &Event) -> bool {
        self.waiting = match event {
            Event::StageWaiting { .. } => Some(lines::WAITING.to_owned()),
            Event::StageRetrying { trial: None, attempt, attempts, .. } => {
                Some(format!("waiting for attempt {} of {attempts}", attempt + 1))
            }
            _ => None,
        };
        match event {
            Event::StageWaiting { .. } => true,
            Event::StageRetrying { trial, .. } => trial.is_none(),
            // Begun anew where it had waited.
            Event::StageStarted { reasons, .. } => {
                *self = Gauge { running: std::mem::take(&mut self.running), ..Gauge::default() };
                self.why = text::reasons(reasons);
                true
            }
            Event::StageProgress { unit, done, total, metrics, .. } => {
                (self.unit, self.done, self.total) = (unit, *done, *total);
                if !metrics.is_empty() {
                    self.metrics.clone_from(metrics);
                }
                done == total
            }
            Event::TrialStarted { number, .. } => {
                self.unit = "trials";
                self.running.insert(*number);
                false
            }
            Event::TrialFinished { number, best, done, total, .. } => {
                (self.unit, self.done, self.total) = ("trials", *done, *total);
                self.running.remove(number);
                self.best = *best;
                done == total
            }
            Event::RunStarted { .. }
            | Event::Warning { .. }
            | Event::StageFinished { .. }
            | Event::StageAudited { .. }
            | Event::StageVerified { .. }
            | Event::AuditFinished { .. }
            | Event::VerifyFinished { .. }
            | Event::ArtifactPlaced { .. }
            | Event::RunFinished { .. } => false,
        }
    }

    /// Says how far the stage is; until it counts something, why it runs.
    pub fn message(&self) -> String {
        if let Some(waiting) = &self.waiting {
            return waiting.clone();
        }
        if self.unit.is_empty() {
            return self.why.clone();
        }
        let mut message = lines::progress(self.unit, self.done, self.total, &self.metrics);
        if !self.running.is_empty() {
            message += &format!(", {} running", self.running.len());
        }
        if let Some(best) = self.best {
            message += &format!(", best {}", text::number(best));
        }
        message
    }
}

impl Bars {
    /// Makes a reporter for the standard streams, each in colour or not.
    pub fn new(out: bool, err: bool) -> Bars {
        Bars {
            multi: MultiProgress::new(),
            bars: BTreeMap::new(),
            width: 0,
            stderr: Printer::new(io::stderr()),
            stdout: Printer::new(io::stdout()),
            colour: (out, err),
            clock: Clock::start(),
            updates: Throttle::new(GAP),
            summary: Summary::new(super::base()),
        }
    }

    /// Shows a bar for a stage; one that has waited has its bar already.
    fn start(&mut self, stage: &str) {
        if self.bars.contains_key(stage) {
            return;
        }
        let name = text::clip(stage, NAME);
        let bar = ProgressBar::no_length()
            .with_style(waiting())
            .with_prefix(format!("{name:width$}", width = self.width));
        let bar = self.multi.add(bar);
        bar.enable_steady_tick(TICK);
        self.bars.insert(stage.to_owned(), (bar, Gauge::default()));
    }

    fn update(&mut self, stage: &str, event: &Event) {
        let Some((bar, gauge)) = self.bars.get_mut(stage) else { return };
        let at_once = gauge.event(event);
        if !at_once && !self.updates.pass(stage, self.clock.now()) {
            return;
        }
        if gauge.total > 0 && bar.length().is_none() {
            bar.set_style(counting());
        }
        if gauge.total > 0 {
            bar.set_length(gauge.total);
            bar.set_position(gauge.done);
        }
        let room = columns().saturating_sub(self.width + BESIDE);
        bar.set_message(text::clip(&gauge.message(), room));
    }

    fn finish(&mut self, stage: &str) {
        if let Some((bar, _)) = self.bars.remove(stage) {
            bar.finish_and_clear();
            self.multi.remove(&bar);
        }
        self.updates.forget(stage);
    }

    /// Prints lines above the bars.
    fn above(&mut self, lines: &[String]) {
        let painted = lines.iter().map(|line| painted(line, self.colour.1));
        if self.multi.is_hidden() {
            self.stderr.print(painted);
        } else {
            self.multi.suspend(|| self.stderr.print(painted));
        }
    }
}

impl Reporter for Bars {
    fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted { stages, .. } => {
                let longest = stages.iter().map(|stage| stage.chars().count()).max();
                self.width = longest.unwrap_or(0).min(NAME);
            }
            Event::StageStarted { stage, .. } => {
                self.start(stage);
                self.update(stage, event);
            }
            Event::StageWaiting { stage }
            | Event::StageProgress { stage, .. }
            | Event::TrialStarted { stage, .. }
            | Event::TrialFinished { stage, .. } => self.update(stage, event),
            Event::StageRetrying { stage, .. } => {
                self.above(&lines::retrying(event));
                self.update(stage, event);
            }
            Event::StageFinished { stage, .. } => {
                self.finish(stage);
                self.above(&lines::stage_finished(event, self.summary.base()));
            }
            Event::Warning { stage, message } => {
                self.above(&[lines::warning(stage.as_deref(), message)]);
            }
            Event::StageAudited { .. } => self.above(&lines::stage_audited(event)),
            Event::StageVerified { .. } => {
                self.above(&lines::stage_verified(event).into_iter().collect::<Vec<_>>());
            }
            Event::ArtifactPlaced { .. }
            | Event::AuditFinished { .. }
            | Event::VerifyFinished { .. } => {}
            Event::RunFinished { .. } => {
                // Bars are cleared as their stages end. Should one be left, it must not stand in
                // the way, and a terminal that is gone is no matter.
                let _ = self.multi.clear();
            }
        }
        let closing = self.summary.event(event);
        self.stdout.print(closing.iter().map(|line| painted(line, self.colour.0)));
    }
}

fn painted(line: &str, colour: bool) -> Cow<'_, str> {
    if colour { lines::paint(line).into() } else { line.into() }
}

/// Gives the width of the terminal.
fn columns() -> usize {
    terminal_size_of(io::stderr()).map_or(80, |(width, _)| usize::from(width.0))
}

/// The style of a bar whose stage has not said how much there is to do.
fn waiting() -> ProgressStyle {
    style("{prefix} {spinner:^20} {elapsed:>4} {msg}")
}

pub(super) fn counting() -> ProgressStyle {
    style("{prefix} {bar:20} {elapsed:>4} {msg}").progress_chars("━╸─")
}

fn style(template: &str) -> ProgressStyle {
    // The templates are the two above, and a test makes both.
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::StageKind;

    #[test]
    fn the_styles_are_well_formed() {
        let _ = (waiting(), counting());
    }

    #[test]
    fn a_gauge_says_what_a_stage_counts() {
        let mut gauge = Gauge::default();
        let stage = || "train".to_owned();
        let reasons = vec![crate::fingerprint::DirtyReason::NeverRan];
        gauge.event(&Event::StageStarted { stage: stage(), kind: StageKind::Train, reasons });
        assert_eq!(gauge.message(), "never ran before");
        let metrics = BTreeMap::from([("validation_loss".to_owned(), 0.0123)]);
        gauge.event(&Event::StageProgress {
            stage: stage(),
            unit: "epochs",
            done: 3,
            total: 12,
            metrics,
        });
        assert_eq!(gauge.message(), "3 of 12 epochs, validation_loss 0.0123");
        gauge.event(&Event::StageWaiting { stage: stage() });
        assert_eq!(gauge.message(), "waiting for another run that does the same");
        gauge.event(&Event::StageStarted {
            stage: stage(),
            kind: StageKind::Train,
            reasons: vec![crate::fingerprint::DirtyReason::Forced],
        });
        assert_eq!(gauge.message(), "forced by --force");
    }

    #[test]
    fn a_gauge_counts_trials() {
        let mut gauge = Gauge::default();
        let stage = || "tune".to_owned();
        for number in 0..3 {
            let params = crate::study::Point::new();
            gauge.event(&Event::TrialStarted { stage: stage(), number, params });
        }
        assert_eq!(gauge.message(), "0 trials, 3 running");
        gauge.event(&Event::TrialFinished {
            stage: stage(),
            number: 0,
            params: crate::study::Point::new(),
            value: Some(0.5),
            outcome: crate::event::TrialOutcome::Ran,
            best: Some(0.5),
            done: 1,
            total: 20,
            seconds: 1.0,
        });
        assert_eq!(gauge.message(), "1 of 20 trials, 2 running, best 0.5");
    }
}
