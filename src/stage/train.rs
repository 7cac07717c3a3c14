//! The `train` kind: trains a network on windows of a preprocessed table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Failure, Finished, InputSpec, OutputSpec, ParamIssue, Stop};
use crate::model::{EarlyStopping, Loss, Network, Optimizer, Schedule};

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The inputs of a `train` stage.
pub const INPUTS: &[InputSpec] = &[InputSpec {
    name: "data",
    required: true,
    parts: &["train", "validation", "transform"],
    doc: "A `preprocess` stage.",
}];

/// The params of a `train` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The column to predict, by its name before preprocessing.
    pub target: String,
    /// The feature columns, by their names after preprocessing; unless given, all but the target.
    #[serde(default)]
    pub features: Option<Vec<String>>,
    /// Rows that a prediction sees.
    #[serde(default = "default_window")]
    #[schemars(range(min = 1, max = 100_000))]
    pub window: usize,
    /// How many rows ahead of the window's last row the predicted one is; 0 is that row itself.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub horizon: usize,
    /// Whether past values of the target are features; they end one row before the predicted row.
    #[serde(default = "yes")]
    pub target_history: bool,
    /// The network.
    pub network: Network,
    /// The optimizer of the weights.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// How the learning rate changes from epoch to epoch.
    #[serde(default)]
    pub schedule: Schedule,
    /// Epochs over which the learning rate rises to its full value first.
    #[serde(default)]
    pub warmup_epochs: u64,
    /// What is minimised.
    #[serde(default)]
    pub loss: Loss,
    /// The largest norm of a step's gradient; a longer one is scaled down to it.
    #[serde(default)]
    #[schemars(range(min = 1e-12))]
    pub gradient_clip: Option<f64>,
    /// When training ends before its last epoch; never unless given.
    #[serde(default)]
    pub early_stopping: Option<EarlyStopping>,
    /// Windows a step.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: usize,
    /// Passes over the train windows, at most.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: u64,
    /// The seed of initial weights, dropout and the order of batches.
    #[serde(default)]
    pub seed: u64,
}

fn default_window() -> usize {
    24
}

fn yes() -> bool {
    true
}

fn default_batch_size() -> usize {
    32
}

fn default_epochs() -> u64 {
    12
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        Vec::new()
    }

    /// Gives the model, the curve of its training, and its metrics.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("model", "model.safetensors"),
            OutputSpec::new("history", "history.parquet"),
            OutputSpec::new("metrics", "metrics.json"),
        ]
    }
}

/// Trains the network and writes the model, the history and the metrics.
///
/// # Errors
///
/// [`Stop`] where the data does not fit the params, the loss is NaN, or a study prunes it.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    let _ = (params, context);
    Err(Failure::new("not written yet").into())
}
