//! The outputs of a study: what its trials leave in the store, and the tune stage's own entry.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::LOCK_POLL;
use super::tuning::StudyRun;
use super::worker::{End, Keep};
use crate::fingerprint::Fingerprint;
use crate::freshness::{self, Found};
use crate::stage::tune::{self, TrialRecord};
use crate::stage::{Failure, Params};
use crate::store::{Entry, Store, StoreError, files, lock};
use crate::study::Curve;

impl StudyRun {
    pub(super) fn record(&mut self, number: u64, metrics: BTreeMap<String, f64>, curve: &Curve) {
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
        let end = match self.publish(store) {
            Ok(Some(entry)) => End::Ran(Box::new(entry)),
            Ok(None) => return Written::BestLost(Box::new(self)),
            Err(failure) => End::Stopped(failure.into(), Curve::default()),
        };
        let _ = files::remove_folder(&store.work_path(self.manifest.fingerprint()));
        drop(lock);
        if let End::Ran(_) = end
            && let Err(error) = self.drop_others(store)
        {
            // They only take room; the next study drops them.
            tracing::warn!("{error}");
        }
        Written::Ended(end)
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
        self.records.sort_by_key(|record| record.number);
        tune::write_outputs(&folder, &self.study, &self.records)?;
        // No outputs may be dropped between the look at the best trial's and the tune's entry.
        let _lock = lock::shared(&store.path("locks/publish")).map_err(failed)?;
        let best = self.study.best().map(|best| self.fingerprints[&best.number]);
        let best = best.and_then(|fingerprint| store.entry(fingerprint));
        let Some(best) = best.filter(|entry| store.troubles(entry).is_empty()) else {
            return Ok(None);
        };
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
            accidents: self.accidents,
        };
        store.put_entry(&entry).map_err(failed)?;
        Ok(Some(entry))
    }

    /// Drops the outputs of the trials that ran for this study, but for the best `keep` of all and
    /// the base's own action.
    fn drop_others(&self, store: &Store) -> Result<(), StoreError> {
        let Params::Tune(params) = &self.stage.params else { return Ok(()) };
        let kept = self.study.ranked();
        let kept = kept.iter().take(usize::try_from(params.keep).unwrap_or(usize::MAX));
        let mut kept: Vec<Fingerprint> =
            kept.map(|trial| self.fingerprints[&trial.number]).collect();
        kept.extend(self.manifest.base.as_ref().map(|base| base.fingerprint()));
        let others = self.ran.iter().filter(|one| !kept.contains(one));
        store.drop_outputs(&others.copied().collect::<Vec<_>>())
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
    let objective = params.objective.clone();
    let count = usize::try_from(params.keep).unwrap_or(usize::MAX);
    let best = Mutex::new(Vec::<f64>::new());
    Arc::new(move |metrics| {
        let Some(value) = objective.loss_of(metrics) else { return false };
        let mut best = best.lock().unwrap_or_else(PoisonError::into_inner);
        let place = best.partition_point(|other| *other <= value);
        // Equal values are kept: which of them is best, the study decides.
        let is_kept = place < count || best.get(count - 1).is_some_and(|worst| value <= *worst);
        best.insert(place, value);
        best.truncate(count);
        is_kept
    })
}
