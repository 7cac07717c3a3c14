//! A running study: asks for trials, makes tasks of them, tells how they ended, and finishes the
//! tune stage.
//!
//! A trial is an ordinary action: the base's kind with other params on the same inputs. So a
//! trial that some stage or study ran before is a hit, and its stored curve is replayed through this
//! study's stop rule, which decides as it would have on a growing one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::study_outputs::{Written, keep_best};
use super::tell::shown;
use super::trial::{Trial, TrialCheck};
use super::worker::{End, Keep, Message};
use super::{Run, Task};
use crate::event::{Event, Outcome, TrialOutcome};
use crate::fingerprint::{Fingerprint, Manifest};
use crate::freshness;
use crate::pipeline::Stage;
use crate::schedule::TaskId;
use crate::stage::tune::{self, TrialRecord};
use crate::stage::{Failure, Params, Stop};
use crate::store::Entry;
use crate::study::{Curve, Point, Study, TrialEnd};

/// The study of a running tune stage.
pub(super) struct StudyRun {
    pub(super) stage: Arc<Stage>,
    base: Arc<Stage>,
    pub(super) manifest: Manifest,
    digests: freshness::InputDigests,
    pub(super) study: Study,
    pub(super) records: Vec<TrialRecord>,
    pub(super) fingerprints: BTreeMap<u64, Fingerprint>,
    keep: Keep,
    /// Trials that are tasks of the schedule now.
    open: usize,
    last_failure: Option<Failure>,
    /// Actions that ran for this study: what others ran before is theirs to keep or drop.
    pub(super) ran: Vec<Fingerprint>,
    /// Trials that failed in a way that another try might not.
    pub(super) accidents: u64,
}

impl Run<'_> {
    /// Begins the study of a tune stage; it holds no slot.
    pub(super) fn start_study(&mut self, id: TaskId, manifest: &Manifest) {
        let Task::Stage(task) = &self.tasks[id.index()] else { return };
        let (stage, digests) = (Arc::clone(&task.stage), task.digests.clone());
        let Params::Tune(params) = &stage.params else { return };
        let base = Arc::new(self.pipeline.stages[&params.stage].clone());
        let study = tune::study(params, &base.params);
        // The base's own action may be a stage of this pipeline: its outputs are always stored.
        let run = StudyRun {
            keep: keep_best(params),
            study,
            stage,
            base,
            manifest: manifest.clone(),
            digests,
            records: Vec::new(),
            fingerprints: BTreeMap::new(),
            open: 0,
            last_failure: None,
            ran: Vec::new(),
            accidents: 0,
        };
        self.say(&Event::StageProgress {
            stage: run.stage.name.clone(),
            unit: "trials",
            done: 0,
            total: run.study.total(),
            metrics: BTreeMap::new(),
        });
        self.studies.insert(id, run);
        self.pump(id);
    }

    /// Asks for as many trials as the study gives now, and ends it where there are no more.
    fn pump(&mut self, id: TaskId) {
        while !self.schedule.is_closed() {
            let Some(run) = self.studies.get_mut(&id) else { return };
            let Some((number, point)) = run.study.ask() else { break };
            match tune::trial_params(&run.base.params, &point) {
                Ok(params) => self.add_trial(id, number, point, params, false),
                Err(issue) => {
                    let failure = Failure::new(issue.message).deterministic();
                    self.tell_failed(id, number, point, failure, 0.0);
                }
            }
        }
        if self.schedule.is_closed() {
            return self.close_studies();
        }
        let Some(run) = self.studies.get(&id) else { return };
        if run.study.is_done() && run.open == 0 {
            self.finish_study(id);
        }
    }

    fn add_trial(
        &mut self,
        tune: TaskId,
        number: u64,
        point: Point,
        params: Params,
        rebuild: bool,
    ) {
        let Some(run) = self.studies.get_mut(&tune) else { return };
        let manifest = freshness::action_manifest(&params, &run.base, &run.digests);
        let fingerprint = manifest.fingerprint();
        let is_base = run.manifest.base.as_ref().is_some_and(|base| **base == manifest);
        run.fingerprints.insert(number, fingerprint);
        run.open += 1;
        let trial = Trial {
            tune,
            stage: Arc::clone(&run.stage),
            number,
            point,
            params,
            manifest,
            fingerprint,
            outputs: run.base.outputs.clone(),
            stop_rule: if rebuild { None } else { run.study.stop_rule(number) },
            keep: (!is_base && !rebuild).then(|| Arc::clone(&run.keep)),
            started: Instant::now(),
            rebuild,
        };
        self.schedule.add_trial(trial.params.work());
        self.tasks.push(Task::Trial(Box::new(trial)));
    }

    pub(super) fn trial_checked(&mut self, id: TaskId, check: TrialCheck) {
        let fingerprint = self.fingerprint(id);
        match check {
            TrialCheck::Run => self.queue(id, fingerprint),
            TrialCheck::Pruned(curve) => {
                self.end_trial(id, Ended::Pruned(curve), TrialOutcome::Pruned);
            }
            TrialCheck::Ended(entry) => self.end_with_entry(id, &entry, TrialOutcome::Cached),
        }
    }

    pub(super) fn trial_ended(&mut self, id: TaskId, end: End) {
        match end {
            End::Ran(entry) => self.end_with_entry(id, &entry, TrialOutcome::Ran),
            End::Stopped(Stop::Pruned, curve) => {
                self.end_trial(id, Ended::Pruned(curve), TrialOutcome::Pruned);
            }
            End::Stopped(Stop::Failed(failure), _) => {
                self.end_trial(id, Ended::Failed(failure), TrialOutcome::Failed);
            }
            End::Stopped(Stop::Cancelled, _) => {
                self.end_trial(id, Ended::Cancelled, TrialOutcome::Cancelled);
            }
            End::Busy | End::Known | End::Cached(_) => {
                unreachable!("what another process has or had is looked up")
            }
        }
    }

    fn end_with_entry(&mut self, id: TaskId, entry: &Entry, outcome: TrialOutcome) {
        let Task::Trial(trial) = &self.tasks[id.index()] else { return };
        let Params::Tune(params) = &trial.stage.params else { return };
        let metric = params.objective.metric();
        let value = entry.metrics.get(metric).copied().filter(|value| value.is_finite());
        let failure = entry.failure.clone().or_else(|| {
            let known: Vec<&str> = entry.metrics.keys().map(String::as_str).collect();
            let help = format!("it reported {}", known.join(", "));
            let failure = Failure::new(format!("it reported no `{metric}`")).help(help);
            value.is_none().then(|| failure.deterministic())
        });
        let failure = failure.or_else(|| tune::curve_failure(params, &entry.curve));
        match (failure, value) {
            (None, Some(value)) => {
                let end = Ended::Complete(value, entry.curve.clone(), entry.metrics.clone());
                self.end_trial(id, end, outcome);
            }
            (failure, _) => {
                let failure = failure.unwrap_or_else(|| Failure::new("it gave no value"));
                self.end_trial(id, Ended::Failed(failure), TrialOutcome::Failed);
            }
        }
    }

    /// Tells the study how a trial ended, and goes on with it.
    fn end_trial(&mut self, id: TaskId, end: Ended, outcome: TrialOutcome) {
        let Task::Trial(trial) = &mut self.tasks[id.index()] else { return };
        // What the rule holds of earlier curves must not outlive the trial.
        (trial.stop_rule, trial.keep) = (None, None);
        let (tune, number, point) = (trial.tune, trial.number, trial.point.clone());
        let (rebuild, stage) = (trial.rebuild, Arc::clone(&trial.stage));
        let seconds = match outcome {
            TrialOutcome::Cached | TrialOutcome::Cancelled => 0.0,
            _ => trial.started.elapsed().as_secs_f64(),
        };
        let of_task = match outcome {
            TrialOutcome::Ran => Outcome::Ran,
            TrialOutcome::Cached | TrialOutcome::Pruned => Outcome::Cached,
            TrialOutcome::Failed => Outcome::Failed,
            TrialOutcome::Cancelled => Outcome::Cancelled,
        };
        let fingerprint = self.fingerprint(id);
        self.release(id, fingerprint);
        let ended = self.schedule.finish(id, of_task);
        self.end_unstarted(ended);
        let Some(run) = self.studies.get_mut(&tune) else { return };
        run.open -= 1;
        if rebuild {
            return self.rebuilt(tune, end);
        }
        let value = match end {
            Ended::Complete(value, curve, metrics) => {
                // A hit counts among the best too, so that a worse trial's outputs are not stored.
                if outcome == TrialOutcome::Cached {
                    (run.keep)(&metrics);
                } else {
                    run.ran.push(fingerprint);
                }
                run.record(number, metrics, &curve);
                run.study.tell(number, TrialEnd::Complete { value, curve });
                Some(value)
            }
            Ended::Pruned(curve) => {
                run.record(number, BTreeMap::new(), &curve);
                run.study.tell(number, TrialEnd::Pruned { curve });
                None
            }
            Ended::Failed(failure) => {
                self.tell_failed(tune, number, point, failure, seconds);
                return self.pump(tune);
            }
            Ended::Cancelled => return self.close_studies(),
        };
        self.say_trial(tune, &stage.name, number, point, value, outcome, seconds);
        self.pump(tune);
    }

    /// A failed trial counts as the worst and does not fail the study.
    fn tell_failed(
        &mut self,
        tune: TaskId,
        number: u64,
        point: Point,
        failure: Failure,
        seconds: f64,
    ) {
        let Some(run) = self.studies.get_mut(&tune) else { return };
        let stage = run.stage.name.clone();
        run.record(number, BTreeMap::new(), &Curve::default());
        run.study.tell(number, TrialEnd::Failed);
        let mut message = format!("trial {number} failed: {failure}");
        if let Some(log) = &failure.log {
            message += &format!("; its log is `{}`", shown(log, &self.root));
        }
        run.accidents += u64::from(!failure.deterministic);
        run.last_failure = Some(failure);
        self.say(&Event::Warning { stage: Some(stage.clone()), message });
        self.say_trial(tune, &stage, number, point, None, TrialOutcome::Failed, seconds);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn say_trial(
        &mut self,
        tune: TaskId,
        stage: &str,
        number: u64,
        params: Point,
        value: Option<f64>,
        outcome: TrialOutcome,
        seconds: f64,
    ) {
        let Some(run) = self.studies.get(&tune) else { return };
        let event = Event::TrialFinished {
            stage: stage.to_owned(),
            number,
            params,
            value,
            outcome,
            best: run.study.best().and_then(|best| best.value),
            done: run.records.len() as u64,
            total: run.study.total(),
            seconds,
        };
        self.say(&event);
    }

    /// A trial that will not start: nothing is told, so that the study can go on another time.
    pub(super) fn trial_unstarted(&mut self, id: TaskId) {
        let Task::Trial(trial) = &mut self.tasks[id.index()] else { return };
        (trial.stop_rule, trial.keep) = (None, None);
        if let Some(run) = self.studies.get_mut(&trial.tune) {
            run.open -= 1;
        }
    }

    /// Ends the studies that no trial will bring further, once no new work is begun.
    pub(super) fn close_studies(&mut self) {
        if !self.schedule.is_closed() {
            return;
        }
        let idle = self.studies.iter().filter(|(_, run)| run.open == 0);
        let idle: Vec<TaskId> = idle.map(|(id, _)| *id).collect();
        for id in idle {
            // The end of one may have brought that of the others.
            if self.studies.remove(&id).is_some() {
                self.finish_stage(id, Outcome::Cancelled, &BTreeMap::new(), None);
            }
        }
    }

    /// Writes the outputs of a study all of whose trials have ended.
    fn finish_study(&mut self, id: TaskId) {
        // The study itself goes to the thread that writes its outputs.
        let Some(run) = self.studies.remove(&id) else { return };
        if run.study.best().is_none() {
            let last = run.last_failure.unwrap_or_else(|| Failure::new("there was none"));
            // The log of the last one stands for all.
            let message = format!("no trial ran to its end: {}", last.message);
            let failure = Failure { message, ..last };
            return self.fail(id, failure);
        }
        if let Err(error) = self.store.put_roots(&self.pipeline.name, &self.roots) {
            return self.fail(id, Failure::new(error.to_string()));
        }
        self.ran.extend(run.fingerprints.values());
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
        let (number, point) = (best.number, best.point.clone());
        let params = tune::trial_params(&run.base.params, &point);
        self.studies.insert(id, run);
        match params {
            _ if self.schedule.is_closed() => self.close_studies(),
            Ok(params) => self.add_trial(id, number, point, params, true),
            Err(issue) => self.end_study(id, Failure::new(issue.message)),
        }
    }

    /// Goes on once the best trial's outputs are there again.
    fn rebuilt(&mut self, id: TaskId, end: Ended) {
        match end {
            Ended::Complete(value, ..) => {
                let Some(run) = self.studies.get(&id) else { return };
                let before = run.study.best().and_then(|best| best.value);
                if before.is_some_and(|before| before != value) {
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

/// How a trial ended, before the study is told.
enum Ended {
    Complete(f64, Curve, BTreeMap<String, f64>),
    Pruned(Curve),
    Failed(Failure),
    Cancelled,
}
