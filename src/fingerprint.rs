//! What identifies an action, and why one is not fresh: hash and explanation from one walk.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why an action is not fresh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "a reason's fields are named for what they hold")]
pub enum DirtyReason {
    /// The history knows no earlier result of the stage.
    NeverRan,
    /// `--force` was given.
    Forced,
    /// A param has another value; `variables` are those that it came from.
    ParamChanged { path: String, old: Value, new: Value, variables: Vec<String> },
    /// An input's content changed.
    InputChanged { input: String, old: String, new: String },
    /// The stage reads an input that it did not read before.
    InputAdded { input: String },
    /// The stage no longer reads an input.
    InputRemoved { input: String },
    /// An environment variable that the stage declares has another value.
    EnvChanged { name: String, old: Option<String>, new: Option<String> },
    /// The stage's kind changed to another.
    KindChanged { old: String, new: String },
    /// A newer `runner` computes this kind in another way.
    VersionChanged { old: u32, new: u32 },
    /// An output is no longer in the store.
    OutputMissing { output: String },
    /// An output's bytes in the store are not those that were written.
    OutputDamaged { output: String, path: String },
    /// An output of little use was dropped, and is needed now.
    OutputDropped { output: String },
    /// In a plan: a stage above may give other outputs.
    UpstreamDirty { stage: String },
}
