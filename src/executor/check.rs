//! Finding out whether the store has a task's outputs: on a blocking thread, since files are hashed.

use std::path::Path;
use std::sync::Arc;

use super::trial::TrialCheck;
use super::worker::Message;
use super::{Run, Task};
use crate::event::Outcome;
use crate::fingerprint::{DirtyReason, Manifest};
use crate::freshness::{self, Found, InputDigests, OutputDigests};
use crate::pipeline::{Pipeline, Source, Stage};
use crate::schedule::TaskId;
use crate::stage::Failure;
use crate::store::Store;

/// What a check found; made on a blocking thread.
#[derive(Debug)]
pub(super) enum Check {
    /// Of a stage: its identity and what the store has.
    Stage { manifest: Manifest, digests: InputDigests, found: Found },
    /// Of a trial.
    Trial(TrialCheck),
    /// An input cannot be read.
    Failed(Failure),
}

impl Run<'_> {
    /// Finds out on a blocking thread whether the store has a task's outputs.
    pub(super) fn check(&mut self, task: TaskId) {
        let work: Box<dyn FnOnce() -> Check + Send> = match &self.tasks[task.index()] {
            Task::Trial(trial) => {
                let store = Arc::clone(&self.store);
                trial.check(store, self.is_forced(&trial.stage, trial.fingerprint))
            }
            Task::Stage(stage_task) => {
                let (pipeline, stage) = (Arc::clone(&self.pipeline), stage_task.stage.clone());
                let (root, store) = (self.root.clone(), Arc::clone(&self.store));
                let known = self.known_digests(&stage);
                Box::new(move || check_stage(&pipeline, &stage, &root, &store, &known))
            }
        };
        let title = self.stage_name(task);
        self.spawn(task, move || {
            let _span = tracing::debug_span!("check", title).entered();
            Message::Checked { task, check: Box::new(work()) }
        });
    }

    /// Gives the digests of the outputs that a stage reads.
    pub(super) fn known_digests(&self, stage: &Stage) -> OutputDigests {
        let sources = stage.inputs.values().filter_map(|input| match &input.from {
            Source::Output { stage, .. } => Some(stage),
            Source::File(_) | Source::Folder(_) | Source::Glob(_) | Source::Table(_) => None,
        });
        sources.filter_map(|stage| Some((stage.clone(), self.done.get(stage)?.clone()))).collect()
    }

    pub(super) fn checked(&mut self, task: TaskId, check: Check) {
        match check {
            Check::Failed(failure) => self.fail(task, failure),
            Check::Trial(check) => self.trial_checked(task, check),
            Check::Stage { manifest, digests, found } => {
                self.stage_checked(task, manifest, digests, found);
            }
        }
    }

    pub(super) fn stage_checked(
        &mut self,
        id: TaskId,
        manifest: Manifest,
        digests: InputDigests,
        found: Found,
    ) {
        let Task::Stage(task) = &self.tasks[id.index()] else { return };
        let stage = task.stage.clone();
        let fingerprint = manifest.fingerprint();
        let forced = self.is_forced(&stage, fingerprint);
        let must_run = self.must_run(&stage, fingerprint);
        let is_verified = self.is_verified(stage.kind(), fingerprint);
        let mut verify = None;
        let (reasons, entry) = match found {
            _ if forced => (vec![DirtyReason::Forced], None),
            _ if must_run => (vec![DirtyReason::RunsEachTime], None),
            // What is known to fail is not run again.
            Found::Fresh(entry) if is_verified && entry.failure.is_none() => {
                verify = Some(entry);
                (vec![DirtyReason::Verified], None)
            }
            Found::Fresh(entry) => (Vec::new(), Some(entry)),
            Found::Troubled(reasons) => (reasons, None),
            // Nobody can know of an earlier result.
            Found::Absent if self.is_first => (vec![DirtyReason::NeverRan], None),
            Found::Absent => {
                let (pipeline, store) = (&self.pipeline, &self.store);
                let (root, history) = (&self.root, &self.history);
                (freshness::explain(pipeline, &stage, &manifest, root, store, history), None)
            }
        };
        self.say_damage(&stage, &reasons);
        let Task::Stage(task) = &mut self.tasks[id.index()] else { return };
        // A task that waited for another that ran its action keeps the reason for which it did.
        if !reasons.is_empty() {
            task.reasons = reasons;
        }
        task.manifest = Some(manifest);
        task.fingerprint = Some(fingerprint);
        task.digests = digests;
        task.verify = verify;
        match entry {
            Some(entry) => self.place(id, Outcome::Cached, entry),
            None => self.queue(id, fingerprint),
        }
    }
}

/// Hashes a stage's files and looks its action up in the store.
fn check_stage(
    pipeline: &Pipeline,
    stage: &Stage,
    root: &Path,
    store: &Store,
    known: &OutputDigests,
) -> Check {
    match freshness::input_digests(stage, root, store, known) {
        Ok(Some(digests)) => {
            let manifest = freshness::manifest(pipeline, stage, &digests);
            let found = freshness::look_up(&manifest, &stage.outputs, store);
            Check::Stage { manifest, digests, found }
        }
        Ok(None) => unreachable!("a stage is checked once all that it needs is done"),
        Err(error) => Check::Failed(Failure::new(error.to_string()).help(error.help())),
    }
}
