//! A running study: asks for trials, makes tasks of them, tells how they ended, and finishes the
//! tune stage.
//!
//! A trial is an ordinary action: the base's kind with other params on the same inputs. So a
//! trial that some stage or study ran before is a hit, and its stored curve is replayed through this
//! study's stop rule, which decides as it would have on a growing one.

use std::collections::{BTreeMap, BTreeSet};

use super::repeats::{Ended, Gathered, Gathering};
use super::stage_ref::StageRef;
use super::study_outputs::keep_best;
use super::tell::shown;
use super::trial::{Trial, TrialCheck, Work};
use super::worker::{End, Keep};
use super::{Run, Task, means};
use crate::event::{Event, Outcome, TrialOutcome};
use crate::fingerprint::{Fingerprint, Manifest};
use crate::freshness;
use crate::schedule::TaskId;
use crate::stage::tune::{self, RepeatRecord};
use crate::stage::{Failure, Params, Stop};
use crate::store::Entry;
use crate::study::{Point, Rows, Study, TrialEnd};

/// The study of a running tune stage.
pub(super) struct StudyRun {
    pub(super) stage: StageRef,
    pub(super) base: StageRef,
    pub(super) manifest: Manifest,
    digests: freshness::InputDigests,
    pub(super) study: Study,
    /// The fingerprint of each trial's action, by number; none where its params made no action.
    pub(super) fingerprints: Vec<Option<[u8; 32]>>,
    /// The metrics of each complete trial, by number.
    pub(super) metrics: Rows<f64>,
    /// How many trials have been told.
    pub(super) told: u64,
    /// What each repeat of each trial came to, where there are several: else the trial says it.
    pub(super) repeats: Vec<RepeatRecord>,
    /// The metrics of each complete repeat, by [`RepeatRecord::place`].
    pub(super) repeat_metrics: Rows<f64>,
    pub(super) keep: Keep,
    /// The actions of trials and repeats that the store has, or may have, outputs of.
    pub(super) stored: BTreeSet<Fingerprint>,
    /// The trials that have been asked for and not been told, by number.
    pub(super) under_way: BTreeMap<u64, Gathering>,
    /// Trials and repeats of them that are tasks of the schedule now.
    pub(super) open: usize,
    pub(super) last_failure: Option<Failure>,
    /// Trials that failed in a way that another try might not.
    pub(super) accidents: u64,
    /// At its end, the actions of the studies that still run beside it.
    pub(super) wanted_beside: Vec<Fingerprint>,
}

impl Run<'_> {
    /// Begins the study of a tune stage; it holds no slot.
    pub(super) fn start_study(&mut self, id: TaskId, manifest: &Manifest) {
        let Task::Stage(task) = &self.tasks[id.index()] else { return };
        let (stage, digests) = (task.stage.clone(), task.digests.clone());
        let Params::Tune(params) = &stage.params else { return };
        let base = StageRef::new(&self.pipeline, &params.stage);
        let study = tune::study(params, &base.params);
        let run = StudyRun {
            keep: keep_best(params),
            stored: BTreeSet::new(),
            fingerprints: study.room(),
            metrics: study.room_for_rows(),
            study,
            stage,
            base,
            manifest: manifest.clone(),
            digests,
            told: 0,
            repeats: Vec::new(),
            repeat_metrics: Rows::new(0),
            under_way: BTreeMap::new(),
            open: 0,
            last_failure: None,
            accidents: 0,
            wanted_beside: Vec::new(),
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
    pub(super) fn pump(&mut self, id: TaskId) {
        while !self.schedule.is_closed() && !self.is_overdue(id) {
            let Some(run) = self.studies.get_mut(&id) else { return };
            let Some((number, point)) = run.study.ask() else { break };
            run.fingerprints.push(None);
            match tune::trial_params(&run.base.params, &point) {
                Ok(params) => self.begin_trial(id, number, point, params),
                Err(issue) => {
                    let failure = Failure::new(issue.message).deterministic();
                    self.tell_failed(id, number, point, failure, 0.0);
                }
            }
        }
        if self.schedule.is_closed() || self.is_overdue(id) {
            return self.close_studies();
        }
        let Some(run) = self.studies.get(&id) else { return };
        if run.study.is_done() && run.open == 0 {
            self.finish_study(id);
        }
    }

    /// Adds a trial's first repeat, and the others where nothing may stop it.
    fn begin_trial(&mut self, id: TaskId, number: u64, point: Point, params: Params) {
        let Some(run) = self.studies.get_mut(&id) else { return };
        let Params::Tune(tune) = &run.stage.params else { return };
        let repeats = (0..tune.repeats)
            .map(|repeat| tune::repeat_params(tune, &run.base.params, &params, repeat));
        match repeats.collect::<Result<Vec<Params>, _>>() {
            Ok(repeats) => {
                let is_stoppable = run.study.stop_rule(number).is_some();
                let first = if is_stoppable { 1 } else { repeats.len() };
                run.under_way.insert(number, Gathering::new(point, repeats));
                self.add_repeats(id, number, first);
            }
            Err(issue) => {
                let failure = Failure::new(issue.message).deterministic();
                self.tell_failed(id, number, point, failure, 0.0);
            }
        }
    }

    /// Adds repeats of a trial until `count` of them are tasks.
    fn add_repeats(&mut self, id: TaskId, number: u64, count: usize) {
        let Some(run) = self.studies.get_mut(&id) else { return };
        let Some(trial) = run.under_way.get_mut(&number) else { return };
        let more = trial.begun..count;
        let params = trial.params[more.clone()].to_vec();
        let point = trial.point.clone();
        trial.begun = count;
        for (repeat, params) in more.zip(params) {
            self.add_trial(id, (number, repeat as u64), point.clone(), params, false);
        }
    }

    pub(super) fn add_trial(
        &mut self,
        tune: TaskId,
        (number, repeat): (u64, u64),
        point: Point,
        params: Params,
        rebuild: bool,
    ) {
        let Some(run) = self.studies.get_mut(&tune) else { return };
        let manifest = freshness::action_manifest(&params, &run.base, &run.digests);
        let fingerprint = manifest.fingerprint();
        if repeat == 0 {
            run.fingerprints[number as usize] = Some(fingerprint.0.0);
        }
        run.open += 1;
        let request = means::trial_request(&run.base, &run.stage, self.schedule.way(tune));
        let id = self.schedule.add_trial(params.work(), request);
        let work = Work {
            point,
            params,
            outputs: run.base.outputs.clone(),
            stop_rule: if rebuild || repeat > 0 { None } else { run.study.stop_rule(number) },
            keep: if rebuild { None } else { run.keep_of(&manifest, repeat) },
            manifest,
        };
        let stage = run.stage.clone();
        let work = Some(Box::new(work));
        let trial = Trial { tune, stage, number, repeat, fingerprint, rebuild, work };
        let task = Task::Trial(Box::new(trial));
        match self.tasks.get_mut(id.index()) {
            Some(place) => *place = task,
            None => self.tasks.push(task),
        }
    }

    pub(super) fn trial_checked(&mut self, id: TaskId, check: TrialCheck) {
        let fingerprint = self.fingerprint(id);
        match check {
            TrialCheck::Run => {
                // What is forced to run may have run before, and may not get as far again.
                if !self.options.force.is_empty() {
                    self.note_stored(id, fingerprint);
                }
                self.queue(id, fingerprint);
            }
            TrialCheck::Pruned(curve) => {
                // It may be a whole training's.
                self.note_stored(id, fingerprint);
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
            End::Verified(..) => unreachable!("a stage alone is verified"),
        }
    }

    /// Takes note of an action that the store may have outputs of.
    fn note_stored(&mut self, id: TaskId, fingerprint: Fingerprint) {
        let Task::Trial(trial) = &self.tasks[id.index()] else { return };
        if let Some(run) = self.studies.get_mut(&trial.tune) {
            run.stored.insert(fingerprint);
        }
    }

    fn end_with_entry(&mut self, id: TaskId, entry: &Entry, outcome: TrialOutcome) {
        if entry.has_bytes() {
            self.note_stored(id, self.fingerprint(id));
        }
        let Task::Trial(trial) = &self.tasks[id.index()] else { return };
        let Params::Tune(params) = &trial.stage.params else { return };
        let is_finite =
            |metric| entry.metrics.get(metric).is_some_and(|value: &f64| value.is_finite());
        let failure = entry.failure.clone().or_else(|| {
            let mut wanted = params.all_objectives().map(|objective| objective.metric());
            let metric = wanted.find(|metric| !is_finite(*metric))?;
            let known: Vec<&str> = entry.metrics.keys().map(String::as_str).collect();
            let help = match known.is_empty() {
                true => "it reported no metric at all".to_owned(),
                false => format!("it reported {}", known.join(", ")),
            };
            let failure = Failure::new(format!("it reported no `{metric}`")).help(help);
            Some(failure.deterministic())
        });
        let failure = failure.or_else(|| tune::curve_failure(params, &entry.curve));
        match failure {
            None => {
                let end = Ended::Complete(entry.metrics.clone(), entry.curve.clone());
                self.end_trial(id, end, outcome);
            }
            Some(failure) => self.end_trial(id, Ended::Failed(failure), TrialOutcome::Failed),
        }
    }

    /// Takes note of a trial's end; where it was the last of its repeats, tells the study and goes on
    /// with it.
    fn end_trial(&mut self, id: TaskId, end: Ended, outcome: TrialOutcome) {
        let Task::Trial(trial) = &mut self.tasks[id.index()] else { return };
        trial.work = None;
        let (tune, number, repeat) = (trial.tune, trial.number, trial.repeat);
        let rebuild = trial.rebuild;
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
        // Nothing that is still to come speaks of it: its worker's last message was its end.
        self.attempts.remove(&id);
        self.schedule.let_go(id);
        let Some(run) = self.studies.get_mut(&tune) else { return };
        run.open -= 1;
        if rebuild {
            return self.rebuilt(tune, end);
        }
        if let Ended::Cancelled = end {
            return self.close_studies();
        }
        let Some(trial) = run.under_way.get_mut(&number) else { return };
        trial.note(repeat, end, outcome, fingerprint);
        if trial.needs_more() && !self.schedule.is_closed() {
            let all = trial.params.len();
            return self.add_repeats(tune, number, all);
        }
        if !trial.is_over() || trial.needs_more() {
            return self.close_studies();
        }
        if let Some(trial) = run.under_way.remove(&number) {
            let gathered = trial.gather(number);
            self.tell(tune, number, gathered);
        }
    }

    /// Tells the study how a trial ended, and goes on with it.
    fn tell(&mut self, tune: TaskId, number: u64, trial: Gathered) {
        let Some(run) = self.studies.get_mut(&tune) else { return };
        let Gathered { point, end, outcome, seconds, repeats, first_ran } = trial;
        if run.has_repeats() {
            repeats.into_iter().for_each(|(repeat, metrics)| run.record_repeat(repeat, metrics));
        }
        let value = match end {
            Ended::Complete(metrics, curve) => {
                let is_mean = run.has_repeats();
                // A hit counts among the best too, so that a worse trial's outputs are not stored.
                let is_kept = !(is_mean || outcome == TrialOutcome::Cached) || (run.keep)(&metrics);
                let (value, others) = run.values(&metrics);
                run.metrics.set(number as usize, metrics.into());
                run.tell(number, TrialEnd::Complete { value, others, curve });
                if is_mean && first_ran && !is_kept {
                    self.drop_early(tune, number);
                }
                Some(value)
            }
            Ended::Pruned(curve) => {
                run.tell(number, TrialEnd::Pruned { curve });
                None
            }
            Ended::Failed(failure) => {
                self.tell_failed(tune, number, point, failure, seconds);
                if first_ran {
                    self.drop_early(tune, number);
                }
                return self.pump(tune);
            }
            Ended::Cancelled => return self.close_studies(),
        };
        self.say_trial(tune, number, point, value, outcome, seconds);
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
        run.tell(number, TrialEnd::Failed);
        let mut message = format!("trial {number} failed: {failure}");
        if let Some(log) = &failure.log {
            message += &format!("; its log is `{}`", shown(log, &self.root));
        }
        run.accidents += u64::from(!failure.deterministic);
        run.last_failure = Some(failure);
        self.say(&Event::Warning { stage: Some(stage), message });
        self.say_trial(tune, number, point, None, TrialOutcome::Failed, seconds);
    }

    fn say_trial(
        &mut self,
        tune: TaskId,
        number: u64,
        params: Point,
        value: Option<f64>,
        outcome: TrialOutcome,
        seconds: f64,
    ) {
        let Some(run) = self.studies.get(&tune) else { return };
        let event = Event::TrialFinished {
            stage: run.stage.name.clone(),
            number,
            params,
            value,
            outcome,
            best: run.study.best().and_then(|best| best.value),
            done: run.told,
            total: run.study.total(),
            seconds,
        };
        let fingerprint = run.fingerprint(number);
        self.history.record(&event, fingerprint, None);
        (self.emit)(&event);
    }

    /// A trial that will not start: nothing is told, so that the study can go on another time.
    pub(super) fn trial_unstarted(&mut self, id: TaskId) {
        let Task::Trial(trial) = &mut self.tasks[id.index()] else { return };
        trial.work = None;
        if let Some(run) = self.studies.get_mut(&trial.tune) {
            run.open -= 1;
        }
    }
}
