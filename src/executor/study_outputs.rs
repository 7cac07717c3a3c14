//! The outputs of a study: what its trials leave in the store, and the tune stage's own entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::actions::LOCK_POLL;
use super::memory;
use super::tuning::StudyRun;
use super::worker::{End, Keep};
use crate::fingerprint::{Digest, Fingerprint, Manifest};
use crate::freshness::{self, Found};
use crate::stage::tune::{self, RepeatRecord, Results};
use crate::stage::{Failure, Params};
use crate::store::{Entry, Store, StoreError, files, lock};
use crate::study::{Best, Curve, Objective, Row, TrialEnd};

impl StudyRun {
    /// Says whether a trial is more than one action.
    pub(super) fn has_repeats(&self) -> bool {
        matches!(&self.stage.params, Params::Tune(params) if params.repeats > 1)
    }

    /// Gives the judge of whether the outputs of a trial's action are stored; none where they always
    /// are: the base's own, which may be a stage of this pipeline, and those that a mean has yet to
    /// judge. Of a trial, only the first repeat's outputs are ever wanted.
    pub(super) fn keep_of(&self, manifest: &Manifest, repeat: u64) -> Option<Keep> {
        let is_base = self.manifest.base.as_ref().is_some_and(|base| **base == *manifest);
        match repeat {
            _ if is_base => None,
            0 if self.has_repeats() => None,
            0 => Some(Arc::clone(&self.keep)),
            _ => Some(Arc::new(|_| false)),
        }
    }

    /// Gives the values of the first objective and of the others among a complete trial's metrics.
    pub(super) fn values(&self, metrics: &BTreeMap<String, f64>) -> (f64, Vec<f64>) {
        let value = |objective: &Objective| metrics.get(objective.metric()).copied();
        // An action that lacks one has failed.
        let value = |objective: &Objective| value(objective).unwrap_or(f64::NAN);
        let config = self.study.config();
        (value(&config.objective), config.others.iter().map(value).collect())
    }

    /// Gives the value of the first objective among what was kept of a trial's metrics.
    fn value(&self, metrics: Row<'_, f64>) -> f64 {
        let metric = self.study.config().objective.metric();
        metrics.get(metric).copied().unwrap_or(f64::NAN)
    }

    /// Gives the best trial's value where its action gave another when it was run for the study.
    pub(super) fn is_other_than_best(&self, metrics: &BTreeMap<String, f64>) -> Option<f64> {
        let number = self.study.best()?.number;
        let Params::Tune(params) = &self.stage.params else { return None };
        let first = |one: &&RepeatRecord| one.number == number && one.repeat == 0;
        let before = match self.has_repeats() {
            true => {
                let first = self.repeats.iter().find(first)?;
                self.repeat_metrics.get(first.place(params.repeats))
            }
            false => self.metrics.get(number as usize),
        };
        let (value, before) = (self.values(metrics).0, self.value(before));
        (value != before).then_some(value)
    }

    /// Tells the study how a trial ended.
    pub(super) fn tell(&mut self, number: u64, end: TrialEnd) {
        self.study.tell(number, end);
        self.told += 1;
    }

    /// Takes note of what one of several repeats came to.
    pub(super) fn record_repeat(&mut self, repeat: RepeatRecord, metrics: BTreeMap<String, f64>) {
        let Params::Tune(params) = &self.stage.params else { return };
        self.repeat_metrics.set(repeat.place(params.repeats), metrics.into());
        self.repeats.push(repeat);
    }

    /// Gives the fingerprint of a trial's action; of several repeats, that of the first.
    pub(super) fn fingerprint(&self, number: u64) -> Option<Fingerprint> {
        let fingerprint = *self.fingerprints.get(number as usize)?;
        fingerprint.map(|bytes| Fingerprint(Digest(bytes)))
    }

    /// Gives the fingerprints of the trials that have begun.
    pub(super) fn fingerprints(&self) -> impl Iterator<Item = Fingerprint> {
        self.fingerprints.iter().flatten().map(|bytes| Fingerprint(Digest(*bytes)))
    }

    /// Writes the tune's entry: the best trial's outputs, the table of trials, the best params; and
    /// drops the outputs of the trials that are not kept.
    pub(super) fn write(mut self, store: &Store) -> Written {
        let lock = match self.lock(store) {
            Ok(lock) => lock,
            Err(error) => return Written::Ended(failed(error.to_string())),
        };
        // Another process may have written it while we waited.
        let found = freshness::look_up(&self.manifest, &self.stage.outputs, store);
        if let Found::Fresh(entry) = found {
            return Written::Ended(End::Cached(entry));
        }
        let end = match self.study.best() {
            None => End::Stopped(self.no_best().into(), Curve::default()),
            Some(_) => match self.publish(store) {
                Ok(Some(entry)) => End::Ran(Box::new(entry)),
                Ok(None) => return Written::BestLost(Box::new(self)),
                Err(failure) => End::Stopped(failure.into(), Curve::default()),
            },
        };
        let _ = files::remove_folder(&store.work_path(self.manifest.fingerprint()));
        drop(lock);
        let others = self.others();
        // The study is over, and what it and its outputs took does not come again either.
        drop(self);
        memory::give_back();
        if let Err(error) = store.drop_outputs(&others) {
            // They only take room, and collection gives it back.
            tracing::warn!("{error}");
        }
        Written::Ended(end)
    }

    /// Says why there is no best trial; the log of the last failure stands for all.
    fn no_best(&self) -> Failure {
        let last = self.last_failure.clone().unwrap_or_else(|| Failure::new("there was none"));
        let message = format!("no trial ran to its end: {}", last.message);
        Failure { message, ..last }
    }

    /// Waits for the lock of the tune's own action: its working folder is shared by all processes.
    fn lock(&self, store: &Store) -> Result<lock::Lock, StoreError> {
        let path = store.lock_path(self.manifest.fingerprint());
        loop {
            if let Some(lock) = lock::try_action(&path)? {
                return Ok(lock);
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// Stores the tune's outputs and entry; `None` where the best trial's outputs are lost.
    fn publish(&mut self, store: &Store) -> Result<Option<Entry>, Failure> {
        let failed = |error: StoreError| Failure::new(error.to_string());
        let folder = store.work_path(self.manifest.fingerprint());
        files::fresh_folder(&folder).map_err(failed)?;
        let Params::Tune(params) = &self.stage.params else { unreachable!("a study is a tune's") };
        self.repeats.sort_by_key(|one| (one.number, one.repeat));
        let results = Results {
            study: &self.study,
            params,
            base: &self.base.params,
            metrics: &self.metrics,
            fingerprints: &self.fingerprints,
            repeats: &self.repeats,
            repeat_metrics: &self.repeat_metrics,
        };
        // The outputs are large, and what the trials took does not come again.
        memory::give_back();
        tune::write_outputs(&folder, &results)?;
        // No outputs may be dropped between the look at the best trial's and the tune's entry.
        let _lock = lock::shared(&store.path("locks/publish")).map_err(failed)?;
        let number = self.study.best().map(|best| best.number);
        let best = number.and_then(|number| self.fingerprint(number));
        let best = best.and_then(|fingerprint| store.entry(fingerprint));
        let Some(best) = best.filter(|entry| store.troubles(entry).is_empty()) else {
            return Ok(None);
        };
        let mut outputs = best.outputs;
        for spec in tune::own_outputs(Some(params)) {
            let blob = store.put_blob(&folder.join(&spec.file)).map_err(failed)?;
            outputs.insert(spec.name, blob);
        }
        outputs.values_mut().for_each(|blob| blob.dropped = false);
        let metrics = number.map(|number| self.metrics.get(number as usize));
        let metrics = metrics.into_iter().flat_map(Row::iter);
        let entry = Entry {
            manifest: self.manifest.clone(),
            outputs,
            metrics: metrics.map(|(name, value)| (name.clone(), *value)).collect(),
            curve: Curve::default(),
            failure: None,
            accidents: self.accidents,
            of_trial: false,
        };
        store.put_entry(&entry).map_err(failed)?;
        Ok(Some(entry))
    }

    /// Gives the actions of this study that the store has outputs of, but for the best `keep` and the
    /// base's own.
    fn others(&self) -> Vec<Fingerprint> {
        let Params::Tune(params) = &self.stage.params else { return Vec::new() };
        let kept = self.study.kept(usize::try_from(params.keep).unwrap_or(usize::MAX));
        let mut kept: BTreeSet<Fingerprint> =
            kept.iter().filter_map(|trial| self.fingerprint(trial.number)).collect();
        kept.extend(self.manifest.base.as_ref().map(|base| base.fingerprint()));
        kept.extend(&self.wanted_beside);
        self.stored.difference(&kept).copied().collect()
    }
}

/// What came of writing a study's outputs.
pub(super) enum Written {
    /// The tune stage ended.
    Ended(End),
    /// The store lacks the best trial's outputs.
    BestLost(Box<StudyRun>),
}

fn failed(message: String) -> End {
    End::Stopped(Failure::new(message).into(), Curve::default())
}

/// Makes the judge of which finished trials are among the best `keep` so far.
///
/// Only what is stored depends on it, never a result: the outputs of the others would be dropped at
/// the study's end all the same, and meanwhile they would fill the disk.
pub(super) fn keep_best(params: &tune::Params) -> Keep {
    let objectives: Vec<Objective> = params.all_objectives().cloned().collect();
    let best = Mutex::new(Best::new(usize::try_from(params.keep).unwrap_or(usize::MAX)));
    Arc::new(move |metrics| {
        let losses = objectives.iter().map(|objective| objective.loss_of(metrics));
        let Some(losses) = losses.collect::<Option<Vec<f64>>>() else { return false };
        best.lock().unwrap_or_else(PoisonError::into_inner).offer(losses)
    })
}
