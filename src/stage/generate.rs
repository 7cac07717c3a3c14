//! The `generate` kind: makes a data set.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Finished, OutputSpec, ParamIssue, Stop};
use crate::data::lambda;
pub use crate::data::lambda::Profile;

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The params of a `generate` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The data set to make.
    pub dataset: Dataset,
    /// How its values come about.
    #[serde(default)]
    pub profile: Profile,
    /// Rows in all, dealt evenly to the functions.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub rows: u64,
    /// How many functions there are.
    #[serde(default = "default_functions")]
    #[schemars(range(min = 1, max = 100_000))]
    pub functions: u32,
    /// Seconds between two rows of a function.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 1, max = 86_400))]
    pub interval: u32,
    /// The time of the first row, in seconds since 1970 (by default Monday 2024-01-01).
    #[serde(default = "default_start")]
    #[schemars(range(min = 0, max = 32_503_680_000_i64))]
    pub start: i64,
    /// The seed of all that is drawn.
    #[serde(default)]
    pub seed: u64,
}

/// The data sets that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dataset {
    /// Metrics of serverless functions like those of AWS Lambda.
    Lambda,
}

fn default_functions() -> u32 {
    5
}

fn default_interval() -> u32 {
    300
}

fn default_start() -> i64 {
    1_704_067_200
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        Vec::new()
    }

    /// Gives `data`, the rows, and `truth`, what no model can beat.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        vec![OutputSpec::new("data", "data.parquet"), OutputSpec::new("truth", "truth.parquet")]
    }
}

/// Makes the data set.
///
/// # Errors
///
/// [`Stop`] where a file cannot be written or the run is cancelled.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    let Params { dataset: Dataset::Lambda, profile, rows, functions, interval, start, seed } =
        *params;
    let spec = lambda::Spec { profile, rows, functions, interval, start, seed };
    let [data, truth] = ["data.parquet", "truth.parquet"].map(|file| context.outputs.join(file));
    let count = |done| context.progress.count("rows", done, rows);
    let summary = lambda::write(&spec, &data, &truth, context.threads, &count)?;
    let counts = [
        ("rows", summary.rows),
        ("cold_starts", summary.cold_starts),
        ("throttled", summary.throttled),
        ("errors", summary.errors),
    ];
    let mut metrics: BTreeMap<String, f64> =
        counts.into_iter().map(|(name, count)| (name.to_owned(), count as f64)).collect();
    if let Some(share) = summary.noise_share() {
        metrics.insert("noise_share".to_owned(), share);
    }
    Ok(Finished { metrics })
}
