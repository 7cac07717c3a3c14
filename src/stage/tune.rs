//! The `tune` kind: maps points of a search space to params of its base, and finished trials to
//! outputs. The executor asks and tells.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OutputSpec, ParamIssue};
use crate::study::{Objective, Pruner, Sampler, SearchParam};

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The params of a `tune` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The base: the stage whose parameters are searched, a `train` or a `command`.
    pub stage: String,
    /// The searched parameters by their dotted path within the base's `params`.
    #[schemars(extend("minProperties" = 1))]
    pub search: BTreeMap<String, SearchParam>,
    /// How the next trial's parameters are chosen.
    #[serde(default = "default_sampler")]
    pub sampler: Sampler,
    /// When a trial is stopped before its end.
    #[serde(default)]
    pub pruner: Pruner,
    /// The metric to make best.
    pub objective: Objective,
    /// Trials in all.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub trials: u64,
    /// Trials in flight at most: part of the study, not of the machine. Trial `k` looks at the
    /// results of trials up to `k - parallel`.
    #[serde(default = "default_parallel")]
    #[schemars(range(min = 1, max = 10_000))]
    pub parallel: u64,
    /// How many of the best trials keep all their outputs; the others' are dropped from the store.
    #[serde(default = "default_keep")]
    #[schemars(range(min = 1))]
    pub keep: u64,
}

fn default_sampler() -> Sampler {
    Sampler::Tpe { seed: 0, startup: 10 }
}

fn default_parallel() -> u64 {
    4
}

fn default_keep() -> u64 {
    1
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        Vec::new()
    }
}

/// Gives the outputs that a tune has beside its base's: the table of trials and the best params.
pub fn own_outputs() -> Vec<OutputSpec> {
    vec![OutputSpec::new("trials", "trials.parquet"), OutputSpec::new("best", "best.yaml")]
}
