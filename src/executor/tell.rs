//! What the loop says of a run: every event goes to the reporter and to the history.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use super::Run;
use super::task::{StageState, Task};
use crate::event::{Event, Outcome};
use crate::fingerprint::{DirtyReason, Fingerprint};
use crate::pipeline::Stage;
use crate::schedule::TaskId;
use crate::stage::Failure;
use crate::store::artifacts::Placed;

impl Run<'_> {
    pub(super) fn say(&mut self, event: &Event) {
        self.history.record(event, None, None);
        (self.emit)(event);
    }

    /// Tells that the action of a task begins.
    pub(super) fn say_begun(&mut self, id: TaskId) {
        let event = match &mut self.tasks[id.index()] {
            Task::Stage(task) => {
                task.state = StageState::Begun;
                let (stage, kind) = (task.stage.name.clone(), task.stage.kind());
                let event = Event::StageStarted { stage, kind, reasons: task.reasons.clone() };
                let fingerprint = task.fingerprint;
                self.history.record(&event, fingerprint, task.manifest.as_ref());
                return (self.emit)(&event);
            }
            // The study knows its result already; only its outputs are wanted again.
            Task::Trial(trial) if trial.rebuild => return,
            Task::Trial(trial) => {
                let study = self.studies.get_mut(&trial.tune);
                let trial_run = study.and_then(|run| run.under_way.get_mut(&trial.number));
                // A trial with several repeats begins with the first of them that runs.
                match trial_run.map(|trial_run| &mut trial_run.started) {
                    Some(started @ None) => *started = Some(Instant::now()),
                    _ => return,
                }
                let point = trial.work.as_ref().map(|work| work.point.clone());
                Event::TrialStarted {
                    stage: trial.stage.name.clone(),
                    number: trial.number,
                    params: point.unwrap_or_default(),
                }
            }
        };
        self.say(&event);
    }

    /// Tells that a stage is over, and counts it.
    pub(super) fn say_finished(
        &mut self,
        id: TaskId,
        outcome: Outcome,
        metrics: &BTreeMap<String, f64>,
        failure: Option<Failure>,
    ) {
        let Task::Stage(task) = &mut self.tasks[id.index()] else { return };
        let before = std::mem::replace(&mut task.state, StageState::Ended);
        // Of a stage that is as the last run left it, a large run keeps no row.
        let is_told = outcome != Outcome::Cached || task.manifest.is_some();
        let event = Event::StageFinished {
            stage: task.stage.name.clone(),
            outcome,
            seconds: match before {
                StageState::Begun => task.started.elapsed().as_secs_f64(),
                StageState::Waiting | StageState::Ended => 0.0,
            },
            reasons: task.reasons.clone(),
            metrics: metrics.clone(),
            failure,
            because: self.failed_stage.clone().filter(|_| outcome == Outcome::Skipped),
        };
        let (fingerprint, kind) = (task.fingerprint, task.stage.kind());
        *self.counts.entry(outcome).or_default() += 1;
        if is_told {
            self.history.record(&event, fingerprint, task.manifest.as_ref());
        }
        (self.emit)(&event);
        if outcome == Outcome::Cached {
            self.count_unverified(kind, fingerprint);
        }
        self.say_audited(id, outcome);
    }

    /// Tells how far a stage is. What a trial counts is not told: its tune counts trials.
    pub(super) fn say_progress(&mut self, id: TaskId, unit: &'static str, done: u64, total: u64) {
        let Task::Stage(task) = &mut self.tasks[id.index()] else { return };
        task.counts = true;
        let (stage, metrics) = (task.stage.name.clone(), task.metrics.clone());
        self.say(&Event::StageProgress { stage, unit, done, total, metrics });
    }

    /// Keeps the metrics of a step for the next progress; of a stage that counts nothing, the steps
    /// are its progress.
    pub(super) fn say_step(&mut self, id: TaskId, step: u64, metrics: BTreeMap<String, f64>) {
        let Task::Stage(task) = &mut self.tasks[id.index()] else { return };
        task.metrics = metrics;
        if !task.counts {
            let (stage, metrics) = (task.stage.name.clone(), task.metrics.clone());
            self.say(&Event::StageProgress { stage, unit: "steps", done: step, total: 0, metrics });
        }
    }

    pub(super) fn say_placed(&mut self, placed: Vec<Placed>) {
        for one in placed {
            if let Some(aside) = &one.set_aside {
                let message = format!(
                    "`{}` had been edited: the edited file is now `{}`",
                    shown(&one.path, &self.root),
                    shown(aside, &self.root)
                );
                self.say(&Event::Warning { stage: Some(one.stage.clone()), message });
            }
            self.say(&Event::ArtifactPlaced { stage: one.stage, path: one.path });
        }
    }

    /// Says aloud that the store was damaged: the stage is computed again.
    pub(super) fn say_damage(&mut self, stage: &Stage, reasons: &[DirtyReason]) {
        for reason in reasons {
            let message = match reason {
                DirtyReason::OutputDamaged { output, path } => format!(
                    "the stored output `{output}` is damaged (`{}`): it is computed again",
                    shown(path.as_ref(), &self.root)
                ),
                DirtyReason::OutputMissing { output } => {
                    format!("the stored output `{output}` is gone: it is computed again")
                }
                _ => continue,
            };
            self.say(&Event::Warning { stage: Some(stage.name.clone()), message });
        }
    }

    /// Gives the name of a task's stage; of a trial's, the tune's.
    pub(super) fn stage_name(&self, id: TaskId) -> String {
        match &self.tasks[id.index()] {
            Task::Stage(task) => task.stage.name.clone(),
            Task::Trial(trial) => trial.stage.name.clone(),
        }
    }

    /// Gives the fingerprint of a task that was checked.
    pub(super) fn fingerprint(&self, id: TaskId) -> Fingerprint {
        match &self.tasks[id.index()] {
            Task::Trial(trial) => trial.fingerprint,
            Task::Stage(task) => {
                // Whoever asks has the result of a check in hand.
                task.fingerprint.expect("the stage was checked")
            }
        }
    }
}

/// Gives a path as people see it: relative to the root where it lies below.
pub(super) fn shown(path: &Path, root: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
