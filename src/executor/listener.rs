//! Between a running kind and the loop: passes on what the kind says, and answers whether to go on.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::limits::Clock;
use super::process::Cancel;
use super::worker::{Job, Message};
use crate::schedule::TaskId;
use crate::stage::{Progress, Stop};
use crate::study::{Curve, CurvePoint, StopRule};

/// Counts between two steps are passed on at most this often for a task.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Hears what a running kind says, passes it on, and answers whether to go on.
pub(super) struct Listener {
    task: TaskId,
    sender: UnboundedSender<Message>,
    cancel: watch::Receiver<Cancel>,
    stop_rule: StopRule,
    clock: Clock,
    state: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    curve: Curve,
    passed_on: Option<Instant>,
}

impl Listener {
    pub(super) fn new(job: &Job) -> Listener {
        Listener {
            task: job.task,
            sender: job.sender.clone(),
            cancel: job.cancel.clone(),
            stop_rule: job.stop_rule.clone(),
            clock: job.terms.limits.start(),
            state: Mutex::default(),
        }
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        // A panicking kind leaves a curve that is at worst short.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives for how long the action may run.
    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    /// Says why the action must not go on, once it must not.
    pub(super) fn stop(&self) -> Option<Stop> {
        if self.is_cancelled() { Some(Stop::Cancelled) } else { self.clock.stop() }
    }

    pub(super) fn curve(&self) -> Curve {
        self.heard().curve.clone()
    }

    pub(super) fn into_curve(self) -> Curve {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).curve
    }

    fn is_cancelled(&self) -> bool {
        *self.cancel.borrow() != Cancel::None
    }

    fn send(&self, message: Message) {
        // The loop listens as long as a worker lives; at a second Ctrl-C nobody does.
        let _ = self.sender.send(message);
    }
}

impl Progress for Listener {
    fn count(&self, unit: &'static str, done: u64, total: u64) -> ControlFlow<()> {
        let mut heard = self.heard();
        let is_due = heard.passed_on.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL);
        if is_due || done == total {
            heard.passed_on = Some(Instant::now());
            self.send(Message::Progress { task: self.task, unit, done, total });
        }
        if self.stop().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn step(&self, step: u64, metrics: &BTreeMap<String, f64>) -> ControlFlow<Stop> {
        let mut heard = self.heard();
        // JSON has no NaN: a curve holds only what can be read back.
        let finite = metrics.iter().filter(|(_, value)| value.is_finite());
        let metrics: BTreeMap<String, f64> = finite.map(|(name, v)| (name.clone(), *v)).collect();
        heard.curve.points.push(CurvePoint { step, metrics: metrics.clone() });
        // The count that follows tells this step, however soon after another it comes.
        heard.passed_on = None;
        self.send(Message::Step { task: self.task, step, metrics });
        if self.stop_rule.as_ref().is_some_and(|stops| stops(&heard.curve.points)) {
            return ControlFlow::Break(Stop::Pruned);
        }
        self.stop().map_or(ControlFlow::Continue(()), ControlFlow::Break)
    }

    fn warn(&self, message: String) {
        self.send(Message::Warning { task: self.task, message });
    }
}
