//! A running study: asks for trials, makes tasks of them, tells how they ended, and finishes the
//! tune stage.
//!
//! A trial is an ordinary action: the base's kind with other params on the same inputs. So a
//! trial that some stage or study ran before is a hit, and its stored curve is replayed through this
//! study's stop rule, which decides as it would have on a growing one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::worker::{self, End, Keep, Message};
use super::{Check, Run, Task};
use crate::event::{Event, Outcome, TrialOutcome};
use crate::fingerprint::{Fingerprint, Manifest};
use crate::freshness;
use crate::pipeline::Stage;
use crate::schedule::TaskId;
use crate::stage::tune::{self, TrialRecord};
use crate::stage::{Failure, OutputSpec, Params, Stop};
use crate::store::{Entry, Store, StoreError, files, lock};
use crate::study::{Curve, Objective, Point, StopRule, Study, TrialEnd};

/// The study of a running tune stage.
pub(super) struct StudyRun {
    stage: Arc<Stage>,
    base: Arc<Stage>,
    manifest: Manifest,
    digests: freshness::InputDigests,
    study: Study,
    records: Vec<TrialRecord>,
    fingerprints: BTreeMap<u64, Fingerprint>,
    keep: Keep,
    /// Trials that are tasks of the schedule now.
    open: usize,
    last_failure: Option<Failure>,
}

/// One trial as a task.
pub(super) struct Trial {
    pub(super) tune: TaskId,
    pub(super) stage: Arc<Stage>,
    pub(super) number: u64,
    pub(super) point: Point,
    pub(super) params: Params,
    pub(super) manifest: Manifest,
    pub(super) fingerprint: Fingerprint,
    pub(super) outputs: Vec<OutputSpec>,
    pub(super) stop_rule: StopRule,
    pub(super) keep: Option<Keep>,
    pub(super) started: Instant,
    /// Whether it runs only to have the best trial's outputs again.
    rebuild: bool,
}

/// What the store has of a trial.
#[derive(Debug)]
pub(super) enum TrialCheck {
    /// Its action ran to its end, or fails whenever it runs.
    Ended(Box<Entry>),
    /// As far as the action ran, this study stops it.
    Pruned(Curve),
    /// Too little: it must run.
    Run,
}

impl Trial {
    /// Looks on a blocking thread for what the store has.
    pub(super) fn check(
        &self,
        store: Arc<Store>,
        forced: bool,
    ) -> Box<dyn FnOnce() -> Check + Send> {
        let (manifest, rule) = (self.manifest.clone(), self.stop_rule.clone());
        let rebuild = self.rebuild;
        Box::new(move || {
            Check::Trial(match (forced, rebuild) {
                (true, _) => TrialCheck::Run,
                (false, true) => match freshness::look_up(&manifest, &store) {
                    freshness::Found::Fresh(entry) => TrialCheck::Ended(entry),
                    _ => TrialCheck::Run,
                },
                (false, false) => look_up_trial(&manifest, &rule, &store),
            })
        })
    }
}

/// Looks for a trial's result: a whole entry, or the curve of an action that was pruned.
fn look_up_trial(manifest: &Manifest, rule: &StopRule, store: &Store) -> TrialCheck {
    let fingerprint = manifest.fingerprint();
    if let Some(entry) = store.entry(fingerprint) {
        return match pruned_part(&entry.curve, rule) {
            Some(curve) => TrialCheck::Pruned(curve),
            None => TrialCheck::Ended(Box::new(entry)),
        };
    }
    let partial = files::read_sealed::<Curve>(&worker::partial_curve_path(store, fingerprint));
    match partial.and_then(|curve| pruned_part(&curve, rule)) {
        Some(curve) => TrialCheck::Pruned(curve),
        None => TrialCheck::Run,
    }
}

/// Gives the part of a stored curve after which a study stops the trial.
fn pruned_part(curve: &Curve, rule: &StopRule) -> Option<Curve> {
    let stops = rule.as_ref()?;
    let end = (1..=curve.points.len()).find(|end| stops(&curve.points[..*end]))?;
    Some(Curve { points: curve.points[..end].to_vec() })
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
        };
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
                    let failure = Failure::new(issue.message);
                    self.tell_failed(id, number, &point, failure, 0.0);
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
        self.schedule.add_trial();
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
            End::Cached(entry) => self.end_with_entry(id, &entry, TrialOutcome::Cached),
            End::Stopped(Stop::Pruned, curve) => {
                self.end_trial(id, Ended::Pruned(curve), TrialOutcome::Pruned);
            }
            End::Stopped(Stop::Failed(failure), _) => {
                self.end_trial(id, Ended::Failed(failure), TrialOutcome::Failed);
            }
            End::Stopped(Stop::Cancelled, _) => {
                self.end_trial(id, Ended::Cancelled, TrialOutcome::Cancelled);
            }
            End::Busy => unreachable!("a busy action is waited for"),
        }
    }

    fn end_with_entry(&mut self, id: TaskId, entry: &Entry, outcome: TrialOutcome) {
        let Task::Trial(trial) = &self.tasks[id.index()] else { return };
        let Params::Tune(params) = &trial.stage.params else { return };
        let (Objective::Minimize(metric) | Objective::Maximize(metric)) = &params.objective;
        let value = entry.metrics.get(metric).copied().filter(|value| value.is_finite());
        let failure = entry.failure.clone().or_else(|| {
            let known: Vec<&str> = entry.metrics.keys().map(String::as_str).collect();
            let help = format!("it reported {}", known.join(", "));
            value.is_none().then(|| Failure::new(format!("it reported no `{metric}`")).help(help))
        });
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
        let Task::Trial(trial) = &self.tasks[id.index()] else { return };
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
                return self.tell_failed(tune, number, &point, failure, seconds);
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
        point: &Point,
        failure: Failure,
        seconds: f64,
    ) {
        let Some(run) = self.studies.get_mut(&tune) else { return };
        let stage = run.stage.name.clone();
        run.record(number, BTreeMap::new(), &Curve::default());
        run.study.tell(number, TrialEnd::Failed);
        let message = format!("trial {number} failed: {failure}");
        run.last_failure = Some(failure);
        self.say(&Event::Warning { stage: Some(stage.clone()), message });
        let (point, outcome) = (point.clone(), TrialOutcome::Failed);
        self.say_trial(tune, &stage, number, point, None, outcome, seconds);
        self.pump(tune);
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
        let Task::Trial(trial) = &self.tasks[id.index()] else { return };
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
            self.studies.remove(&id);
            self.finish_stage(id, Outcome::Cancelled, &BTreeMap::new(), None);
        }
    }

    /// Writes the outputs of a study all of whose trials have ended.
    fn finish_study(&mut self, id: TaskId) {
        let Some(run) = self.studies.get_mut(&id) else { return };
        let Some(best) = run.study.best() else {
            let last = run.last_failure.clone();
            self.studies.remove(&id);
            let why = last.map_or(String::new(), |last| format!(": {last}"));
            return self.fail(id, Failure::new(format!("no trial ran to its end{why}")));
        };
        let (number, point) = (best.number, best.point.clone());
        let entry = self.store.entry(run.fingerprints[&number]);
        match entry.filter(|entry| self.store.troubles(entry).is_empty()) {
            Some(entry) => self.write_study(id, entry),
            None => {
                // Its outputs had been dropped when another was better, or somebody removed them.
                match tune::trial_params(&run.base.params, &point) {
                    Ok(params) => self.add_trial(id, number, point, params, true),
                    Err(issue) => self.fail(id, Failure::new(issue.message)),
                }
            }
        }
    }

    /// Goes on once the best trial's outputs are there again.
    fn rebuilt(&mut self, tune: TaskId, end: Ended) {
        match end {
            Ended::Complete(..) => self.pump(tune),
            Ended::Cancelled => self.close_studies(),
            Ended::Pruned(_) => unreachable!("nothing prunes a trial that is run for its outputs"),
            Ended::Failed(failure) => {
                self.studies.remove(&tune);
                self.fail(tune, failure);
            }
        }
    }

    fn write_study(&mut self, id: TaskId, best: Entry) {
        if let Err(error) = self.store.put_roots(&self.pipeline.name, &self.roots) {
            self.studies.remove(&id);
            return self.fail(id, Failure::new(error.to_string()));
        }
        // The study itself goes to the thread that writes its outputs.
        let Some(run) = self.studies.remove(&id) else { return };
        self.ran.extend(run.fingerprints.values());
        let store = Arc::clone(&self.store);
        self.spawn(move || {
            let end = match run.write(&store, best) {
                Ok(entry) => End::Ran(Box::new(entry)),
                Err(failure) => End::Stopped(failure.into(), Curve::default()),
            };
            Message::Ended { task: id, end }
        });
    }
}

impl StudyRun {
    fn record(&mut self, number: u64, metrics: BTreeMap<String, f64>, curve: &Curve) {
        let fingerprint = self.fingerprints.get(&number).map(Fingerprint::to_string);
        self.records.push(TrialRecord {
            number,
            metrics,
            steps: curve.points.last().map_or(0, |point| point.step),
            fingerprint: fingerprint.unwrap_or_default(),
        });
    }

    /// Writes the tune's entry: the best trial's outputs, the table of trials, the best params; and
    /// drops the outputs of the trials that are not kept.
    fn write(mut self, store: &Store, best: Entry) -> Result<Entry, Failure> {
        let failed = |error: StoreError| Failure::new(error.to_string());
        let fingerprint = self.manifest.fingerprint();
        let folder = store.work_path(fingerprint);
        files::fresh_folder(&folder).map_err(failed)?;
        self.records.sort_by_key(|record| record.number);
        tune::write_outputs(&folder, &self.study, &self.records)?;
        let publish = lock::shared(&store.path("locks/publish")).map_err(failed)?;
        let mut outputs = best.outputs;
        for spec in tune::own_outputs() {
            let blob = store.put_blob(&folder.join(&spec.file)).map_err(failed)?;
            outputs.insert(spec.name, blob);
        }
        outputs.values_mut().for_each(|blob| blob.dropped = false);
        let entry = Entry {
            manifest: self.manifest.clone(),
            outputs,
            metrics: best.metrics,
            curve: Curve::default(),
            failure: None,
        };
        store.put_entry(&entry).map_err(failed)?;
        drop(publish);
        let _ = files::remove_folder(&folder);
        self.drop_others(store).map_err(failed)?;
        Ok(entry)
    }

    /// Drops the outputs of all trials but the best `keep`, and but the base's own action.
    fn drop_others(&self, store: &Store) -> Result<(), StoreError> {
        let Params::Tune(params) = &self.stage.params else { return Ok(()) };
        let kept = self.study.ranked();
        let kept = kept.iter().take(usize::try_from(params.keep).unwrap_or(usize::MAX));
        let mut kept: Vec<Fingerprint> =
            kept.map(|trial| self.fingerprints[&trial.number]).collect();
        kept.extend(self.manifest.base.as_ref().map(|base| base.fingerprint()));
        let others = self.fingerprints.values().filter(|one| !kept.contains(one));
        store.drop_outputs(&others.copied().collect::<Vec<_>>())
    }
}

/// How a trial ended, before the study is told.
enum Ended {
    Complete(f64, Curve, BTreeMap<String, f64>),
    Pruned(Curve),
    Failed(Failure),
    Cancelled,
}

/// Makes the judge of which finished trials are among the best `keep` so far.
///
/// Only what is stored depends on it, never a result: the outputs of the others would be dropped at
/// the study's end all the same, and meanwhile they would fill the disk.
fn keep_best(params: &tune::Params) -> Keep {
    let (metric, sign) = match &params.objective {
        Objective::Minimize(metric) => (metric.clone(), 1.0),
        Objective::Maximize(metric) => (metric.clone(), -1.0),
    };
    let count = usize::try_from(params.keep).unwrap_or(usize::MAX);
    let best = Mutex::new(Vec::<f64>::new());
    Arc::new(move |metrics| {
        let Some(value) = metrics.get(&metric).map(|value| sign * value) else { return false };
        let mut best = best.lock().unwrap_or_else(PoisonError::into_inner);
        let place = best.partition_point(|other| *other <= value);
        // Equal values are kept: which of them is best, the study decides.
        let is_kept = place < count || best.get(count - 1).is_some_and(|worst| value <= *worst);
        best.insert(place, value);
        best.truncate(count);
        is_kept
    })
}
