//! The end of a stage, placed or failed or never begun, and the end of the run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::process::Cancel;
use super::task::{StageState, Task};
use super::worker::End;
use super::worker::{self, PlaceResult};
use super::{Run, place};
use crate::event::{Event, Outcome, RunOutcome};
use crate::schedule::TaskId;
use crate::stage::{Failure, Stop};
use crate::store::{Blob, Entry, StoreError};

impl Run<'_> {
    /// Goes on where an action has ended, however it ended.
    pub(super) fn ended(&mut self, id: TaskId, end: End) {
        let fingerprint = self.fingerprint(id);
        match end {
            End::Busy => return self.wait_for_process(id, fingerprint),
            End::Known => {
                self.step_back(id, fingerprint);
                return self.schedule.recheck(id);
            }
            _ => {}
        }
        let end = match end {
            End::Stopped(Stop::Failed(failure), _) if self.may_try_again(id, &failure) => {
                return self.try_again(id, failure);
            }
            other => other,
        };
        if let End::Verified(entry, difference) = end {
            return self.verified(id, entry, *difference);
        }
        self.actions.note_run(fingerprint);
        if let Task::Trial(_) = &self.tasks[id.index()] {
            self.trial_ended(id, end);
            return;
        }
        match end {
            End::Ran(entry) => self.place(id, Outcome::Ran, entry),
            End::Cached(entry) => self.place(id, Outcome::Cached, entry),
            End::Stopped(Stop::Failed(failure), _) => self.fail(id, failure),
            End::Stopped(Stop::Cancelled | Stop::Pruned, _) => {
                self.finish_stage(id, Outcome::Cancelled, &BTreeMap::new(), None);
            }
            End::Busy | End::Known | End::Verified(..) => unreachable!("handled above"),
        }
    }

    /// Places the artifacts of a stage whose outputs are there; it ends when they are.
    pub(super) fn place(&mut self, id: TaskId, outcome: Outcome, entry: Box<Entry>) {
        let Task::Stage(task) = &self.tasks[id.index()] else { return };
        let (stage, root) = (task.stage.clone(), self.root.clone());
        let (store, pipeline) = (Arc::clone(&self.store), self.pipeline.name.clone());
        self.spawn(id, move || {
            place::message(id, outcome, entry, &store, &stage, &root, &pipeline)
        });
    }

    pub(super) fn placed(
        &mut self,
        id: TaskId,
        outcome: Outcome,
        entry: &Entry,
        placed: PlaceResult,
    ) {
        match placed {
            Ok((artifacts, written)) => {
                if outcome == Outcome::Ran {
                    self.actions.note_run(self.fingerprint(id));
                }
                self.artifacts.extend(artifacts);
                self.say_placed(written);
            }
            Err(error) => {
                let message = format!("its outputs cannot be placed: {error}");
                return self.fail(id, worker::with_help(message, &error));
            }
        }
        self.see(id, entry);
        self.settle(id, outcome, &entry.outputs, &entry.metrics);
    }

    /// Ends a stage whose outputs are in the store and in their places.
    pub(super) fn settle(
        &mut self,
        id: TaskId,
        outcome: Outcome,
        outputs: &BTreeMap<String, Blob>,
        metrics: &BTreeMap<String, f64>,
    ) {
        let name = self.stage_name(id);
        let digests = outputs.iter().map(|(output, blob)| (output.clone(), blob.digest));
        self.done.insert(name.clone(), digests.collect());
        self.roots.insert(name, self.fingerprint(id));
        self.finish_stage(id, outcome, metrics, None);
    }

    pub(super) fn fail(&mut self, id: TaskId, failure: Failure) {
        if self.failed_stage.is_none() {
            self.failed_stage = Some(self.stage_name(id));
        }
        self.finish_stage(id, Outcome::Failed, &BTreeMap::new(), Some(failure));
    }

    pub(super) fn finish_stage(
        &mut self,
        id: TaskId,
        outcome: Outcome,
        metrics: &BTreeMap<String, f64>,
        failure: Option<Failure>,
    ) {
        self.say_finished(id, outcome, metrics, failure);
        if let Task::Stage(task) = &self.tasks[id.index()]
            && let Some(fingerprint) = task.fingerprint
        {
            self.release(id, fingerprint);
        }
        if let Task::Stage(task) = &mut self.tasks[id.index()] {
            // Its fingerprint says the same in less: of a hundred thousand stages this is much.
            task.manifest = None;
            task.digests = BTreeMap::new();
        }
        let ended = self.schedule.finish(id, outcome);
        self.end_unstarted(ended);
        self.close_studies();
    }

    /// Tells of tasks that will not start.
    pub(super) fn end_unstarted(&mut self, ended: Vec<(TaskId, Outcome)>) {
        for (id, outcome) in ended {
            match &self.tasks[id.index()] {
                Task::Stage(_) => self.say_finished(id, outcome, &BTreeMap::new(), None),
                Task::Trial(_) => self.trial_unstarted(id),
            }
        }
    }

    /// Tells of the stages that nobody waits for any more.
    pub(super) fn abandon(&mut self) {
        for index in 0..self.tasks.len() {
            if let Task::Stage(task) = &self.tasks[index]
                && task.state == StageState::Begun
            {
                self.say_finished(TaskId::new(index), Outcome::Cancelled, &BTreeMap::new(), None);
            }
        }
    }

    /// Places all artifacts of the run once more under one lock: another run of the pipeline may
    /// have placed its own between ours, and what lies there at the end must be of one run.
    ///
    /// Where nothing was placed, each stage's artifacts were looked at just now.
    fn place_as_a_set(&mut self) {
        if self.store.is_unplaced(&self.pipeline.name) {
            return;
        }
        let folder = place::folder(&self.root, &self.pipeline.name);
        let placed = self.store.place(&self.pipeline.name, &folder, &self.artifacts);
        let kept = self.store.keep_placed(&self.pipeline.name);
        match placed.and_then(|placed| kept.map(|()| placed)) {
            Ok(placed) => self.say_placed(placed),
            Err(error) => {
                let message = format!("the artifacts cannot be placed as a set: {error}");
                self.say(&Event::Warning { stage: None, message });
            }
        }
    }

    /// Records what the stages are now, so that nothing drops or collects it.
    pub(super) fn put_roots(&self) -> Result<(), StoreError> {
        let is_stage = |name: &str| self.pipeline.stages.contains_key(name);
        self.store.put_roots(&self.pipeline.name, &self.roots, is_stage)
    }

    /// Records what the stages are now, and says how the run ended.
    pub(super) fn end(&mut self, started: Instant) -> RunOutcome {
        if let Err(error) = self.put_roots() {
            self.say(&Event::Warning { stage: None, message: error.to_string() });
        }
        self.place_as_a_set();
        self.keep_seen();
        if let Some(message) = self.history.trouble() {
            self.say(&Event::Warning { stage: None, message });
        }
        self.store.sweep();
        self.say_audit();
        let differs = self.say_verification();
        let count = |outcome| self.counts.get(&outcome).copied().unwrap_or(0);
        let outcome = if *self.cancel.borrow() != Cancel::None {
            RunOutcome::Interrupted
        } else if count(Outcome::Failed) > 0 || differs {
            RunOutcome::Failed
        } else {
            RunOutcome::Done
        };
        let event = Event::RunFinished {
            outcome,
            ran: count(Outcome::Ran),
            cached: count(Outcome::Cached),
            failed: count(Outcome::Failed),
            skipped: count(Outcome::Skipped),
            cancelled: count(Outcome::Cancelled),
            seconds: started.elapsed().as_secs_f64(),
        };
        self.say(&event);
        outcome
    }
}
