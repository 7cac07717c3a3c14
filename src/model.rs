//! Networks, the operations of recurrent layers, the trainer, learning-rate schedules, metrics,
//! checkpoints.
//!
//! Knows nothing of stages, the store or runs: `train` takes arrays and a config, reports each
//! epoch to a closure, and gives weights.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod baseline;
pub mod checkpoint;
mod device;
mod dropout;
pub mod file;
pub mod forecast;
pub mod gru;
pub mod keras;
mod layer;
mod loss;
#[cfg_attr(
    feature = "tch",
    expect(deprecated, reason = "burn-tch is not in burn 0.23; burn stays at 0.22 for it")
)]
pub mod lstm;
pub mod metrics;
pub mod network;
pub mod optimizer;
pub mod prediction;
pub mod rate;
pub mod recurrent;
pub mod team;
pub mod trainer;

pub use device::Device;
pub use network::Sizes;

/// The shape of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Network {
    /// Long short-term memory layers, dropout after each, and a dense output.
    Lstm {
        /// The units of each layer, first to last; of each direction of a bidirectional one.
        #[schemars(length(min = 1), inner(range(min = 1, max = 4096)))]
        units: Vec<usize>,
        /// The share of a layer's outputs that is dropped in training.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 0.95))]
        dropout: f64,
        /// Whether each layer reads the window backward too, its outputs beside the forward ones.
        #[serde(default)]
        bidirectional: bool,
    },
    /// Gated recurrent units (Keras's, `reset_after`), dropout after each, and a dense output.
    Gru {
        /// The units of each layer, first to last; of each direction of a bidirectional one.
        #[schemars(length(min = 1), inner(range(min = 1, max = 4096)))]
        units: Vec<usize>,
        /// The share of a layer's outputs that is dropped in training.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 0.95))]
        dropout: f64,
        /// Whether each layer reads the window backward too, its outputs beside the forward ones.
        #[serde(default)]
        bidirectional: bool,
    },
    /// Dense layers with ReLU over the whole window, dropout after each, and a dense output.
    Mlp {
        /// The units of each layer, first to last.
        #[schemars(length(min = 1), inner(range(min = 1, max = 4096)))]
        units: Vec<usize>,
        /// The share of a layer's outputs that is dropped in training.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 0.95))]
        dropout: f64,
    },
    /// A linear layer for the window's moving average and one for the rest (Zeng et al. 2023).
    Dlinear {
        /// The rows of the moving average, an odd number.
        #[serde(default = "default_average")]
        #[schemars(range(min = 1, max = 100_001))]
        average: usize,
    },
    /// A linear layer over the window less the target's last known value, to which that value is
    /// added again (Zeng et al. 2023); it needs `target_history`.
    Nlinear {},
}

fn default_average() -> usize {
    25
}

/// The optimizer of the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam (Kingma and Ba 2015).
    Adam {
        /// The step's size before the schedule.
        #[serde(default = "default_learning_rate")]
        #[schemars(range(min = 1e-12, max = 10.0))]
        learning_rate: f64,
    },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    Adamw {
        /// The step's size before the schedule.
        #[serde(default = "default_learning_rate")]
        #[schemars(range(min = 1e-12, max = 10.0))]
        learning_rate: f64,
        /// The share of a weight that decays a step, times the learning rate.
        #[serde(default = "default_weight_decay")]
        #[schemars(range(min = 0.0, max = 1.0))]
        weight_decay: f64,
    },
    /// RMSprop (Hinton 2012).
    Rmsprop {
        /// The step's size before the schedule.
        #[serde(default = "default_learning_rate")]
        #[schemars(range(min = 1e-12, max = 10.0))]
        learning_rate: f64,
        /// The momentum of the update.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 0.9999))]
        momentum: f64,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// The step's size before the schedule.
        #[serde(default = "default_learning_rate")]
        #[schemars(range(min = 1e-12, max = 10.0))]
        learning_rate: f64,
        /// The momentum of the update.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 0.9999))]
        momentum: f64,
    },
}

fn default_learning_rate() -> f64 {
    0.001
}

fn default_weight_decay() -> f64 {
    0.01
}

impl Default for Optimizer {
    fn default() -> Optimizer {
        Optimizer::Adam { learning_rate: default_learning_rate() }
    }
}

/// How the learning rate changes from epoch to epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Not at all.
    #[default]
    Constant,
    /// Times `factor` after every `every` epochs.
    Step {
        /// Epochs between two changes.
        #[schemars(range(min = 1))]
        every: u64,
        /// What the rate is multiplied by.
        #[schemars(range(min = 0.0, max = 1.0))]
        factor: f64,
    },
    /// Times `factor` after every epoch.
    Exponential {
        /// What the rate is multiplied by.
        #[schemars(range(min = 0.0, max = 1.0))]
        factor: f64,
    },
    /// Along half a cosine from the full rate to `minimum` times it at the last epoch.
    Cosine {
        /// The share of the rate that is left at the end.
        #[serde(default)]
        #[schemars(range(min = 0.0, max = 1.0))]
        minimum: f64,
    },
    /// Times `factor` where the validation loss has not improved for `patience` epochs.
    ReduceOnPlateau {
        /// What the rate is multiplied by.
        #[serde(default = "default_factor")]
        #[schemars(range(min = 0.0, max = 1.0))]
        factor: f64,
        /// Epochs without improvement that are borne.
        #[serde(default = "default_patience")]
        patience: u64,
        /// An improvement counts when it is larger than this.
        #[serde(default = "default_min_delta")]
        #[schemars(range(min = 0.0))]
        min_delta: f64,
    },
}

fn default_factor() -> f64 {
    0.5
}

fn default_patience() -> u64 {
    2
}

fn default_min_delta() -> f64 {
    1e-4
}

/// What training minimises, on scaled targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// The mean squared error.
    #[default]
    Mse,
    /// The mean absolute error.
    Mae,
    /// Squared below 1 and absolute above (Huber 1964).
    Huber,
    /// The pinball loss of each of `quantiles`, of which the network predicts every one (Koenker
    /// and Bassett 1978).
    Quantile,
}

/// Which rows one window predicts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outputs {
    /// The row that is `horizon` rows after the window's last.
    #[default]
    Point,
    /// Every row from the first after the window to that one.
    Path,
}

impl Outputs {
    /// Gives how many rows a window predicts.
    pub fn steps(self, horizon: usize) -> usize {
        match self {
            Outputs::Point => 1,
            Outputs::Path => horizon,
        }
    }
}

/// When training ends before its last epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStopping {
    /// Epochs without an improvement of the validation loss that are borne.
    #[serde(default = "default_stop_patience")]
    #[schemars(range(min = 1))]
    pub patience: u64,
    /// An improvement counts when it is larger than this.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub min_delta: f64,
    /// Whether the weights of the best epoch are the result, and not those of the last.
    #[serde(default = "yes")]
    pub restore_best: bool,
}

fn default_stop_patience() -> u64 {
    4
}

fn yes() -> bool {
    true
}
