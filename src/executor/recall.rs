//! Ending a stage at once that is as the last run left it: no thread, no entry read, only `stat`.
//!
//! Of most stages of most runs nothing has changed. What the last run saw of a stage is believed
//! where its fingerprint is the same and `stat` says that the entry, the outputs' bytes and the
//! artifacts are the same. Where there is no entry at all, there is nothing to look at either. Of all
//! else `check` finds the truth.

use super::{Run, Task, place};
use crate::event::Outcome;
use crate::freshness::{self, Found};
use crate::schedule::TaskId;
use crate::store::Entry;
use crate::store::seen::{Seen, SeenStages};

/// Stages of a run up to which the history gets a row for each of these too: of ten thousand that
/// are as they were, the count says all, and the rows would take as long as the run.
const TOLD: usize = 200;

impl Run<'_> {
    /// Ends a stage if it is as the last run left it, or queues it if the store has nothing of it;
    /// says whether it is one or the other.
    ///
    /// It takes some file-system calls on the loop's thread, and hashes nothing.
    pub(super) fn recall(&mut self, id: TaskId) -> bool {
        let Task::Stage(task) = &self.tasks[id.index()] else { return false };
        let stage = task.stage.clone();
        let Some(digests) =
            freshness::known_input_digests(&stage, &self.root, &self.store, &self.done)
        else {
            return false;
        };
        let manifest = freshness::manifest(&self.pipeline, &stage, &digests);
        let fingerprint = manifest.fingerprint();
        let is_same = |seen: &&Seen| self.has_history && seen.fingerprint == fingerprint;
        let seen = self.seen.get(&stage.name).filter(is_same);
        let Some(seen) = seen else {
            let is_new = !self.store.has_entry(fingerprint);
            if is_new {
                self.stage_checked(id, manifest, digests, Found::Absent);
            }
            return is_new;
        };
        let gives_all = stage.outputs.iter().all(|spec| seen.outputs.contains_key(&spec.name));
        let runs =
            self.must_run(&stage, fingerprint) || self.is_verified(stage.kind(), fingerprint);
        if !gives_all || runs {
            return false;
        }
        let Some(artifacts) = place::plain_artifacts(&stage, &seen.outputs) else { return false };
        let folder = place::folder(&self.root, &self.pipeline.name);
        // What was found ahead may be otherwise since an action has begun.
        let is_found = !self.has_started && self.forerun.is_as_seen(id.index());
        let is_there =
            is_found || self.store.is_as_seen(seen) && self.store.lie_in_place(&folder, &artifacts);
        if !is_there || !self.store.is_recorded(&self.pipeline.name, &artifacts) {
            return false;
        }
        let is_told = self.tasks.len() <= TOLD;
        let (outputs, metrics) = (seen.outputs.clone(), seen.metrics.clone());
        self.artifacts.extend(artifacts);
        if let Task::Stage(task) = &mut self.tasks[id.index()] {
            (task.fingerprint, task.digests) = (Some(fingerprint), digests);
            task.manifest = is_told.then_some(manifest);
        }
        self.settle(id, Outcome::Cached, &outputs, &metrics);
        true
    }

    /// Takes note of what a stage is now, for the next run.
    pub(super) fn see(&mut self, id: TaskId, entry: &Entry) {
        let (name, fingerprint) = (self.stage_name(id), self.fingerprint(id));
        let Some(seen) = self.store.see(fingerprint, entry) else { return };
        if self.seen.get(&name) != Some(&seen) {
            self.news.insert(name, seen);
        }
    }

    /// Writes what was seen; of stages that the pipeline no longer has, nothing is kept.
    pub(super) fn keep_seen(&mut self) {
        if self.news.is_empty() {
            return;
        }
        let mut seen = SeenStages::clone(&self.seen);
        seen.extend(std::mem::take(&mut self.news));
        seen.retain(|name, _| self.pipeline.stages.contains_key(name));
        if let Err(error) = self.store.put_seen(&self.pipeline.name, &seen) {
            // A cache: the next run checks more, and that is all.
            tracing::warn!("{error}");
        }
    }
}
