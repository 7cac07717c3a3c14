//! What happens in a run: the only way in which workers speak, and all that reporters know.
//!
//! Events serialize to the lines of `--format json`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::fingerprint::DirtyReason;
use crate::stage::{Failure, StageKind};
use crate::study::Point;

/// One thing that happened in a run, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[expect(missing_docs, reason = "an event's fields are named for what they hold")]
pub enum Event {
    /// The run begins.
    RunStarted { pipeline: String, stages: Vec<String>, jobs: usize },
    /// A stage begins to run, for these reasons.
    StageStarted { stage: String, kind: StageKind, reasons: Vec<DirtyReason> },
    /// A stage waits for another process that runs the same action; then it starts again, or finds
    /// what the other gave.
    StageWaiting { stage: String },
    /// An attempt at a stage failed, or at a trial of it; after some seconds another begins.
    StageRetrying {
        stage: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        trial: Option<u64>,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Attempts in all, if each fails.
        attempts: u32,
        failure: Failure,
        /// Until the next begins.
        seconds: f64,
    },
    /// `done` of `total` units (rows, epochs, steps) of a stage are done; a total of 0 is unknown.
    StageProgress {
        stage: String,
        unit: &'static str,
        done: u64,
        total: u64,
        metrics: BTreeMap<String, f64>,
    },
    /// Something that a person should know; the run goes on.
    Warning { stage: Option<String>, message: String },
    /// A trial of a tune stage begins.
    TrialStarted { stage: String, number: u64, params: Point },
    /// A trial of a tune stage ended.
    TrialFinished {
        stage: String,
        number: u64,
        params: Point,
        value: Option<f64>,
        outcome: TrialOutcome,
        /// The best value so far.
        best: Option<f64>,
        /// Trials of the study that have ended, this one included.
        done: u64,
        /// Trials of the study in all.
        total: u64,
        seconds: f64,
    },
    /// A stage reached its end.
    StageFinished {
        stage: String,
        outcome: Outcome,
        seconds: f64,
        reasons: Vec<DirtyReason>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        metrics: BTreeMap<String, f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
        /// The failed stage because of which this one was skipped.
        #[serde(skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
    /// A command of the stage was traced; of a tune, those of its trials, whose files their base
    /// declares.
    StageAudited { stage: String, base: Option<String>, undeclared: Vec<Undeclared> },
    /// A cached action was run again and compared; all empty where it gave the same.
    StageVerified {
        stage: String,
        /// The outputs whose bytes differ.
        outputs: Vec<String>,
        /// The metrics that differ.
        metrics: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    /// An artifact was written, restored, or set aside.
    ArtifactPlaced { stage: String, path: PathBuf },
    /// What `--audit` comes to: stages whose commands were traced, stages that were cached and so
    /// were not, and the files that are not declared.
    AuditFinished { audited: usize, cached: usize, undeclared: usize },
    /// What `--verify` comes to: actions that were run again, those that gave something else, the
    /// other cached ones, and the tune stages among those.
    VerifyFinished { verified: usize, differing: usize, left: usize, tunes: usize },
    /// The run is over.
    RunFinished {
        outcome: RunOutcome,
        ran: usize,
        cached: usize,
        failed: usize,
        skipped: usize,
        cancelled: usize,
        seconds: f64,
    },
}

/// A file that a command used and its stage does not declare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Undeclared {
    /// What was done with it.
    pub access: Access,
    /// Its path, relative to the root.
    pub path: String,
    /// The line to add to the stage.
    pub line: String,
}

/// What a command did with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It read or executed it.
    Read,
    /// It listed what lies in a folder.
    Listed,
    /// It made or changed it.
    Written,
}

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It ran to its end.
    Ran,
    /// The store had its outputs.
    Cached,
    /// It failed.
    Failed,
    /// It was not started, because of a failure.
    Skipped,
    /// It was stopped, or not started, because the run was interrupted.
    Cancelled,
}

impl Outcome {
    /// Gives the word for it, which people, JSON lines and the history share.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Ran => "ran",
            Outcome::Cached => "cached",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
            Outcome::Cancelled => "cancelled",
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialOutcome {
    /// It ran to its end.
    Ran,
    /// The store had its result.
    Cached,
    /// The study stopped it.
    Pruned,
    /// It failed.
    Failed,
    /// The run was interrupted.
    Cancelled,
}

impl TrialOutcome {
    /// All of them, in the order in which they are told.
    pub const ALL: [TrialOutcome; 5] = [
        TrialOutcome::Ran,
        TrialOutcome::Cached,
        TrialOutcome::Pruned,
        TrialOutcome::Failed,
        TrialOutcome::Cancelled,
    ];

    /// Gives the word for it, which people, JSON lines and the history share.
    pub fn name(self) -> &'static str {
        match self {
            TrialOutcome::Ran => "ran",
            TrialOutcome::Cached => "cached",
            TrialOutcome::Pruned => "pruned",
            TrialOutcome::Failed => "failed",
            TrialOutcome::Cancelled => "cancelled",
        }
    }
}

impl Serialize for TrialOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// Every stage ran or was cached.
    Done,
    /// A stage failed, or a verified one gave something else.
    Failed,
    /// Ctrl-C, or a signal to end.
    Interrupted,
}

impl RunOutcome {
    /// Gives the word for it, which people, JSON lines and the history share.
    pub fn name(self) -> &'static str {
        match self {
            RunOutcome::Done => "done",
            RunOutcome::Failed => "failed",
            RunOutcome::Interrupted => "interrupted",
        }
    }
}

impl Serialize for RunOutcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
