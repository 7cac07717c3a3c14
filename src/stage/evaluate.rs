//! The `evaluate` kind: scores a model beside baselines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Failure, Finished, InputSpec, OutputSpec, ParamIssue, Stop};

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The inputs of an `evaluate` stage.
pub const INPUTS: &[InputSpec] = &[
    InputSpec {
        name: "model",
        required: true,
        parts: &[],
        doc: "The `model` of a `train` or a `tune` stage.",
    },
    InputSpec {
        name: "data",
        required: true,
        parts: &["train", "validation", "test", "transform"],
        doc: "The `preprocess` stage that the model was trained on.",
    },
    InputSpec {
        name: "history",
        required: false,
        parts: &[],
        doc: "The model's `history`, to plot.",
    },
    InputSpec {
        name: "truth",
        required: false,
        parts: &[],
        doc: "A table of the target's conditional mean (series, time, mean): the noise floor.",
    },
];

/// The params of an `evaluate` stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// Seconds of one season, for the seasonal naive baseline.
    #[serde(default = "default_period")]
    #[schemars(range(min = 1e-9))]
    pub period: f64,
}

fn default_period() -> f64 {
    86_400.0
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        Vec::new()
    }

    /// Gives the scores, the predictions, the verdict and two plots.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("metrics", "metrics.json"),
            OutputSpec::new("scores", "scores.parquet"),
            OutputSpec::new("predictions", "predictions.parquet"),
            OutputSpec::new("report", "report.md"),
            OutputSpec::new("forecast_plot", "forecast.svg"),
            OutputSpec::new("history_plot", "history.svg"),
        ]
    }
}

/// Scores the model on the test rows beside the baselines.
///
/// # Errors
///
/// [`Stop`] where the model does not fit the data.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    let _ = (params, context);
    Err(Failure::new("not written yet").into())
}
