//! `--verify`: a share of the cached actions is run again and compared with what the store has.
//!
//! What comes out is looked at and removed: the entry, its blobs and the stage's log stay as they
//! are, and the stage is cached whatever is found. Studies are not run again.

use std::collections::HashSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;

use super::Run;
use super::worker::{End, Given, Job, attempt_folder, store_failure};
use crate::event::{Event, Outcome};
use crate::fingerprint::Fingerprint;
use crate::schedule::TaskId;
use crate::stage::{Failure, StageKind, Stop};
use crate::store::{Entry, StoreError, files};

/// What an action gave otherwise than its entry says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// The outputs whose bytes differ.
    pub outputs: Vec<String>,
    /// The metrics that differ.
    pub metrics: Vec<String>,
    /// Why there is nothing to compare.
    pub failure: Option<Failure>,
}

impl Difference {
    fn is_none(&self) -> bool {
        *self == Difference::default()
    }
}

/// Which actions of a run are verified, and what became of that.
pub(super) struct Verification {
    share: f64,
    /// Another in each run.
    chance: RandomState,
    done: HashSet<Fingerprint>,
    verified: usize,
    differing: usize,
    left: usize,
    tunes: usize,
}

impl Verification {
    /// Makes that of a share, from 0 to 1.
    pub(super) fn new(share: f64) -> Verification {
        Verification {
            share,
            chance: RandomState::new(),
            done: HashSet::new(),
            verified: 0,
            differing: 0,
            left: 0,
            tunes: 0,
        }
    }

    /// Says whether an action is among the share: the same answer however often it is asked in a run.
    fn draws(&self, fingerprint: Fingerprint) -> bool {
        let drawn = self.chance.hash_one(fingerprint) as f64 / u64::MAX as f64;
        self.share >= 1.0 || drawn < self.share
    }
}

/// Gives the folder in which a job may leave what it goes on from: a verified one begins anew.
pub(super) fn checkpoint_path(job: &Job) -> PathBuf {
    match &job.verify {
        Some(_) => attempt_folder(job).join("checkpoint"),
        None => job.store.checkpoint_path(job.fingerprint),
    }
}

/// Gives the log of a job's command: that of a verified one stands beside the first.
pub(super) fn log_path(job: &Job) -> PathBuf {
    let log = job.store.log_path(job.fingerprint);
    if job.verify.is_some() { log.with_extension("verify.log") } else { log }
}

/// Compares what a job gave with the entry.
pub(super) fn compare(job: &Job, entry: &Entry, given: Result<Given, Stop>) -> Result<End, Stop> {
    let difference = match given.and_then(|given| differences(entry, given)) {
        Ok(difference) => difference,
        Err(Stop::Failed(failure)) if job.terms.has_more && !failure.deterministic => {
            return Err(failure.into());
        }
        Err(Stop::Failed(failure)) => {
            Difference { failure: Some(failure), ..Difference::default() }
        }
        Err(stop) => return Err(stop),
    };
    if difference.is_none() {
        let _ = fs::remove_file(log_path(job));
    }
    Ok(End::Verified(Box::new(entry.clone()), Box::new(difference)))
}

fn differences(entry: &Entry, given: Given) -> Result<Difference, Stop> {
    let mut difference = Difference::default();
    for (output, file) in given.files {
        let digest = files::digest(&file).map_err(StoreError::io("read", &file));
        let (digest, _) = digest.map_err(|error| store_failure(&error))?;
        if entry.outputs.get(&output).is_none_or(|blob| blob.digest != digest) {
            difference.outputs.push(output);
        }
    }
    let (old, new) = (&entry.metrics, &given.metrics);
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let bits = |value: Option<&f64>| value.map(|value| value.to_bits());
    let differs = |name: &&String| bits(old.get(*name)) != bits(new.get(*name));
    difference.metrics = names.into_iter().filter(differs).cloned().collect();
    Ok(difference)
}

impl Run<'_> {
    /// Says whether a cached stage is to be run again.
    pub(super) fn is_verified(&self, kind: StageKind, fingerprint: Fingerprint) -> bool {
        self.verification.as_ref().is_some_and(|verification| {
            kind != StageKind::Tune
                && !self.actions.has_run(fingerprint)
                && !verification.done.contains(&fingerprint)
                && verification.draws(fingerprint)
        })
    }

    /// Tells what came of running a cached stage again, and goes on with what the store has.
    pub(super) fn verified(&mut self, id: TaskId, entry: Box<Entry>, difference: Difference) {
        let fingerprint = self.fingerprint(id);
        if let Some(verification) = &mut self.verification {
            verification.done.insert(fingerprint);
            verification.verified += 1;
            verification.differing += usize::from(!difference.is_none());
        }
        let Difference { outputs, metrics, failure } = difference;
        let stage = self.stage_name(id);
        self.say(&Event::StageVerified { stage, outputs, metrics, failure });
        self.place(id, Outcome::Cached, entry);
    }

    /// Counts a cached stage that was not run again.
    pub(super) fn count_unverified(&mut self, kind: StageKind, fingerprint: Option<Fingerprint>) {
        let Some(verification) = &mut self.verification else { return };
        if fingerprint.is_none_or(|fingerprint| !verification.done.contains(&fingerprint)) {
            verification.left += 1;
            verification.tunes += usize::from(kind == StageKind::Tune);
        }
    }

    /// Says what the verification comes to; tells whether something differs.
    pub(super) fn say_verification(&mut self) -> bool {
        let Some(verification) = &self.verification else { return false };
        let &Verification { verified, differing, left, tunes, .. } = verification;
        self.say(&Event::VerifyFinished { verified, differing, left, tunes });
        differing > 0
    }
}
