//! A task of the schedule, with what the loop knows of it.

use std::collections::BTreeMap;
use std::time::Instant;

use super::stage_ref::StageRef;
use super::trial::Trial;
use crate::fingerprint::{DirtyReason, Fingerprint, Manifest};
use crate::freshness::InputDigests;
use crate::store::Entry;

/// A stage's, or a trial's.
///
/// Both are boxed: a study adds thousands of trials, and a place for each is kept to the run's end.
pub(super) enum Task {
    Stage(Box<StageTask>),
    Trial(Box<Trial>),
}

pub(super) struct StageTask {
    pub(super) stage: StageRef,
    pub(super) started: Instant,
    pub(super) reasons: Vec<DirtyReason>,
    /// Its identity, once it was checked.
    pub(super) manifest: Option<Manifest>,
    /// The hash of its manifest.
    pub(super) fingerprint: Option<Fingerprint>,
    pub(super) digests: InputDigests,
    /// The metrics of its latest step.
    pub(super) metrics: BTreeMap<String, f64>,
    /// Whether it counts units of its own.
    pub(super) counts: bool,
    /// The entry with which it is compared, where it is cached and to be run again.
    pub(super) verify: Option<Box<Entry>>,
    pub(super) state: StageState,
}

/// How far a stage is, for what is said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StageState {
    Waiting,
    Begun,
    Ended,
}

impl StageTask {
    /// Gives the task of a stage that has not begun.
    pub(super) fn new(stage: StageRef) -> StageTask {
        StageTask {
            stage,
            started: Instant::now(),
            reasons: Vec::new(),
            manifest: None,
            fingerprint: None,
            digests: BTreeMap::new(),
            metrics: BTreeMap::new(),
            counts: false,
            verify: None,
            state: StageState::Waiting,
        }
    }
}
