//! The `preprocess` kind: encodes, scales and splits a table.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Failure, Finished, InputSpec, OutputSpec, ParamIssue, Stop};
use crate::data::{Cyclical, Missing, Scale, Split, TimeColumn};

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The inputs of a `preprocess` stage.
pub const INPUTS: &[InputSpec] = &[InputSpec {
    name: "data",
    required: true,
    parts: &[],
    doc: "The table: an output of another stage, or `{ file: … }` with CSV or Parquet.",
}];

/// The params of a `preprocess` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The column that names a row's series; without it all rows are one series.
    #[serde(default)]
    pub series: Option<String>,
    /// The column that says when a row was.
    pub time: TimeColumn,
    /// Features made from the time, each as a sine and a cosine.
    #[serde(default)]
    pub cyclical: Vec<Cyclical>,
    /// Columns that become one 0-or-1 feature for each value seen in the train rows.
    #[serde(default)]
    pub one_hot: Vec<String>,
    /// How numeric columns are scaled.
    #[serde(default)]
    pub scale: Scale,
    /// Columns that are left out.
    #[serde(default)]
    pub drop: Vec<String>,
    /// What happens to a row with a missing or non-finite value.
    #[serde(default)]
    pub missing: Missing,
    /// What happens to a value of a `one_hot` column that the train rows do not have.
    #[serde(default)]
    pub unseen: Unseen,
    /// How rows are dealt to train, validation and test.
    pub split: Split,
}

/// What happens to a category that the train rows do not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// The stage fails and names it.
    #[default]
    Error,
    /// All of the column's features are 0.
    Zero,
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        Vec::new()
    }

    /// Gives the three splits, all rows with a `split` column, and the fitted transform.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("train", "train.parquet"),
            OutputSpec::new("validation", "validation.parquet"),
            OutputSpec::new("test", "test.parquet"),
            OutputSpec::new("data", "data.parquet"),
            OutputSpec::new("transform", "transform.json"),
        ]
    }
}

/// Fits on the train rows and writes the encoded splits.
///
/// # Errors
///
/// [`Stop`] where the table does not fit the params.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    let _ = (params, context);
    Err(Failure::new("not written yet").into())
}
