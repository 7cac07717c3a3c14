//! Search spaces, samplers and pruners behind a pure ask/tell; knows no engine.
//!
//! A study's trials are a pure function of its config: `ask` gives trial `k` only once trials
//! `0 ..= k - parallel` have been told, and looks at no later ones but as pending, so the number of
//! slots, a kill or a resume change nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod check;
mod cmaes;
mod domain;
mod grid;
mod importance;
mod named;
mod pareto;
mod parzen;
mod pruner;
mod random;
mod ranking;
mod sobol;
pub(crate) mod space;
#[cfg(test)]
mod tests;
mod tpe;
mod trials;

pub use check::{check_sampler, check_space};
pub use importance::importance;
pub use named::{Named, Row, Rows};
pub use ranking::Best;
pub use trials::{Steps, Study, StudyConfig, Trial, TrialEnd, TrialState};

/// The intermediate metrics that an action reported, by step; kept with its entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Steps in rising order, each with its metrics by name.
    pub points: Vec<CurvePoint>,
}

/// One step of a [`Curve`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The step, from 1.
    pub step: u64,
    /// The metrics at that step; none is NaN.
    pub metrics: BTreeMap<String, f64>,
}

/// Decides from the points of an action's curve up to now whether a study stops it there: pure, so
/// that a stored curve and a growing one get the same answer. `None` where nothing prunes.
pub type StopRule = Option<Arc<dyn Fn(&[CurvePoint]) -> bool + Send + Sync>>;

/// The values of a trial's parameters by their dotted path.
pub type Point = Named<Value>;

/// A point that a study holds.
pub type PointRow<'a> = Row<'a, Value>;

/// One searched parameter: exactly one of its first five fields says which values it may take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchParam {
    /// One of these values, of any type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub choice: Option<Vec<Value>>,
    /// A number from the first to the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub float: Option<[f64; 2]>,
    /// A number from the first to the second, drawn by its logarithm; both above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_float: Option<[f64; 2]>,
    /// A whole number from the first to the second, both included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub int: Option<[i64; 2]>,
    /// A whole number from the first to the second, drawn by its logarithm; both above 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_int: Option<[i64; 2]>,
    /// The distance of neighbouring values of a `float` or an `int`, from its low end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1e-300))]
    pub step: Option<f64>,
    /// The values that other searched parameters must have for this one to exist.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub when: BTreeMap<String, Vec<Value>>,
}

/// How the next trial's parameters are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Sampler {
    /// Independent draws.
    Random {
        /// The seed of the draws.
        #[serde(default)]
        seed: u64,
    },
    /// Every combination in turn; needs `step` on floats.
    Grid,
    /// The tree-structured Parzen estimator (Bergstra 2011), multivariate, as in Optuna 5.
    Tpe {
        /// The seed of the draws.
        #[serde(default)]
        seed: u64,
        /// Trials that are drawn at random first.
        #[serde(default = "default_startup")]
        startup: u64,
    },
    /// A scrambled Sobol sequence, which covers the space more evenly than random draws.
    QuasiRandom {
        /// The seed of the draws.
        #[serde(default)]
        seed: u64,
    },
    /// The evolution strategy CMA-ES (Hansen 2016), by whole generations. It moves the numbers that
    /// have no `when`; all else is drawn at random.
    Cmaes {
        /// The seed of the draws.
        #[serde(default)]
        seed: u64,
        /// The first step size, as a share of each range.
        #[serde(default = "default_sigma")]
        #[schemars(range(min = 1e-6, max = 1.0))]
        sigma: f64,
        /// Trials in a generation; unless given, 4 + 3 ln(numbers), rounded down.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 2, max = 10_000))]
        population: Option<u64>,
    },
}

impl Sampler {
    /// Gives the seed; a grid has none.
    pub(crate) fn seed(&self) -> u64 {
        match self {
            Sampler::Random { seed }
            | Sampler::Tpe { seed, .. }
            | Sampler::QuasiRandom { seed }
            | Sampler::Cmaes { seed, .. } => *seed,
            Sampler::Grid => 0,
        }
    }
}

fn default_sigma() -> f64 {
    0.2
}

fn default_startup() -> u64 {
    10
}

/// When a trial is stopped before its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Pruner {
    /// Never.
    #[default]
    None,
    /// Where its best value so far is worse than the median of earlier trials at that step.
    Median {
        /// Complete trials before the first is pruned.
        #[serde(default = "default_median_startup")]
        startup: u64,
        /// Steps before which no trial is pruned.
        #[serde(default)]
        warmup: u64,
    },
    /// Asynchronous successive halving (Li 2020): at each rung, a trial that is not among the best of
    /// those that got there is stopped.
    Asha {
        /// The first rung, in steps; each further one is `reduction` times as high.
        #[serde(default = "default_min_resource")]
        #[schemars(range(min = 1))]
        min_resource: u64,
        /// One in this many goes on at each rung.
        #[serde(default = "default_asha_reduction")]
        #[schemars(range(min = 2))]
        reduction: u64,
    },
    /// Successive halving in brackets of different first rungs (Li 2018).
    Hyperband {
        /// The first rung of the boldest bracket, in steps.
        #[serde(default = "default_min_resource")]
        #[schemars(range(min = 1))]
        min_resource: u64,
        /// The steps of a whole trial; unless given, the base's `epochs`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1))]
        max_resource: Option<u64>,
        /// One in this many goes on at each rung.
        #[serde(default = "default_reduction")]
        #[schemars(range(min = 2))]
        reduction: u64,
    },
}

fn default_median_startup() -> u64 {
    5
}

fn default_min_resource() -> u64 {
    1
}

fn default_asha_reduction() -> u64 {
    4
}

fn default_reduction() -> u64 {
    3
}

/// The metric that a study makes best, and its direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The smallest value of this metric is best.
    Minimize(String),
    /// The largest value of this metric is best.
    Maximize(String),
}

impl Objective {
    /// Gives the name of the metric.
    pub fn metric(&self) -> &str {
        match self {
            Objective::Minimize(metric) | Objective::Maximize(metric) => metric,
        }
    }

    /// Turns a value of the metric so that less is better.
    ///
    /// The loss of both zeros is 0.0: total orders put -0.0 below it, and neither is better.
    pub fn loss(&self, value: f64) -> f64 {
        match self {
            Objective::Minimize(_) => value + 0.0,
            Objective::Maximize(_) => 0.0 - value,
        }
    }

    /// Gives the loss among the metrics of an action, where it reported the metric.
    pub fn loss_of(&self, metrics: &BTreeMap<String, f64>) -> Option<f64> {
        metrics.get(self.metric()).map(|value| self.loss(*value))
    }

    /// Gives the steps that have the metric, each with its loss.
    fn losses<'a>(&'a self, points: &'a [CurvePoint]) -> impl Iterator<Item = (u64, f64)> + 'a {
        points.iter().filter_map(|point| Some((point.step, self.loss_of(&point.metrics)?)))
    }
}
