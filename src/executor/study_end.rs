//! The end of a study: its outputs are written, the best trial is run again where its own are lost,
//! and what is not among the best is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::repeats::Ended;
use super::study_outputs::Written;
use super::tuning::StudyRun;
use super::worker::Message;
use super::{Run, Task};
use crate::event::{Event, Outcome};
use crate::fingerprint::Manifest;
use crate::schedule::TaskId;
use crate::stage::{Failure, tune};

impl Run<'_> {
    /// Drops the outputs of a trial's first repeat, which had to be stored until all repeats told
    /// that they are not among the best: the disk need not hold them to the study's end.
    pub(super) fn drop_early(&mut self, tune: TaskId, number: u64) {
        let Some(run) = self.studies.get(&tune) else { return };
        let Some(fingerprint) = run.fingerprint(number) else { return };
        let of_stage = |task: &Task| match task {
            Task::Stage(task) => task.manifest.as_ref().map(Manifest::fingerprint),
            Task::Trial(_) => None,
        };
        let base = run.manifest.base.as_ref().map(|base| base.fingerprint());
        let wanted = base.into_iter().chain(self.tasks.iter().filter_map(of_stage));
        if wanted.into_iter().any(|wanted| wanted == fingerprint) {
            return;
        }
        let store = Arc::clone(&self.store);
        self.spawn(tune, move || {
            if let Err(error) = store.drop_outputs(&[fingerprint]) {
                // They only take room; the study's end drops them.
                tracing::warn!("{error}");
            }
            Message::Dropped
        });
    }

    /// Ends the studies that no trial will bring further, once no new work is begun or their own time
    /// is over.
    pub(super) fn close_studies(&mut self) {
        let closed = self.schedule.is_closed();
        if !closed && self.deadlines.is_empty() {
            return;
        }
        let idle = self.studies.iter().filter(|(_, run)| run.open == 0);
        let idle: Vec<TaskId> = idle.map(|(id, _)| *id).collect();
        for id in idle {
            let is_overdue = self.is_overdue(id);
            // The end of one may have brought that of the others.
            let Some(run) = self.studies.get(&id).filter(|_| closed || is_overdue) else {
                continue;
            };
            let failure = self.study_overdue(id, run.told);
            self.studies.remove(&id);
            match is_overdue {
                true => self.fail(id, failure),
                false => self.finish_stage(id, Outcome::Cancelled, &BTreeMap::new(), None),
            }
        }
    }

    /// Writes the outputs of a study all of whose trials have ended.
    pub(super) fn finish_study(&mut self, id: TaskId) {
        // It goes to the thread that writes its outputs.
        let Some(mut run) = self.studies.remove(&id) else { return };
        let of_others = self.studies.values().flat_map(StudyRun::fingerprints);
        run.wanted_beside = of_others.collect();
        if let Err(error) = self.put_roots() {
            return self.fail(id, Failure::new(error.to_string()));
        }
        for fingerprint in run.fingerprints() {
            self.actions.note_run(fingerprint);
        }
        let store = Arc::clone(&self.store);
        self.spawn(id, move || match run.write(&store) {
            Written::Ended(end) => Message::Ended { task: id, end },
            Written::BestLost(study) => Message::Rebuild { task: id, study },
        });
    }

    /// Runs the best trial again: its outputs had been dropped when another was better, or somebody
    /// removed them.
    pub(super) fn rebuild_best(&mut self, id: TaskId, run: StudyRun) {
        let Some(best) = run.study.best() else { return };
        let number = best.number;
        let point = run.study.point(number).to_named();
        let params = tune::trial_params(&run.base.params, &point);
        self.studies.insert(id, run);
        match params {
            _ if self.schedule.is_closed() => self.close_studies(),
            Ok(params) => self.add_trial(id, (number, 0), point, params, true),
            Err(issue) => self.end_study(id, Failure::new(issue.message)),
        }
    }

    /// Goes on once the best trial's outputs are there again.
    pub(super) fn rebuilt(&mut self, id: TaskId, end: Ended) {
        match end {
            Ended::Complete(metrics, _) => {
                let Some(run) = self.studies.get(&id) else { return };
                if let Some(value) = run.is_other_than_best(&metrics) {
                    let stage = Some(run.stage.name.clone());
                    let message = format!(
                        "the best trial gave {value} when it was run again for its outputs: its \
                         program does not give the same result twice"
                    );
                    self.say(&Event::Warning { stage, message });
                }
                self.pump(id);
            }
            Ended::Cancelled => self.close_studies(),
            Ended::Pruned(_) => unreachable!("nothing prunes a trial that is run for its outputs"),
            Ended::Failed(failure) => self.end_study(id, failure),
        }
    }

    fn end_study(&mut self, id: TaskId, failure: Failure) {
        self.studies.remove(&id);
        self.fail(id, failure);
    }
}
