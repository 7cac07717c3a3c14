//! The `evaluate` kind: scores a model beside baselines, and says plainly when it does not beat
//! them.
//!
//! All predictions are of the same rows: those that the test split's windows predict, and where a
//! window predicts several, each of them as often as it is predicted, by step. All values are in the
//! target's own units.

use std::fs;
use std::path::Path;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Failure, Finished, InputSpec, OutputSpec, ParamIssue, Stop};
use crate::data::window::Windows;
use crate::data::{DataError, Transform, table};
use crate::model::file::{Model, ModelError};
use crate::model::metrics::{Scores, scores};
use crate::plot;

mod baselines;
mod interval;
mod report;
mod rows;
mod tables;
#[cfg(test)]
mod tests;
mod verdict;

use interval::Quantile;
use rows::{Rows, Splits};
use verdict::Standing;

/// The version of the kind's results. 1: the first. 2: errors on scaled values; a window's
/// prediction has the same bits in every batch.
pub const VERSION: u32 = 2;

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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
/// The share of the explainable variance is `1 - MSE(prediction, m) / Var(m)`, where `m` is the
/// target's conditional mean as `truth` has it, over the scored rows.
///
/// # Errors
///
/// [`Stop`] where the model does not fit the data.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    let model = Model::load(context.input("model")?).map_err(model_failure)?;
    let transform = transform(context.input("data.transform")?, &model)?;
    let paths = [
        context.input("data.train")?,
        context.input("data.validation")?,
        context.input("data.test")?,
    ];
    let windows = windows(paths, &model)?;
    let test = &windows[2];
    let splits = Splits::read(paths, &transform, &model.card.target)?;
    let scored = scored_rows(test, &splits.test);
    let steps = 3;
    tell(context, 1, steps)?;
    let mut outputs = to_f64(&model.predict(test).map_err(model_failure)?);
    transform.invert(&model.card.target, &mut outputs)?;
    tell(context, 2, steps)?;
    let actual: Vec<f64> = scored.iter().map(|&row| splits.test.target[row]).collect();
    let (predicted, quantiles) = interval::parted(outputs, &model.card.quantiles);
    let mut predictions = vec![Prediction::new("model", "the model", predicted, &actual, None)];
    predictions.extend(baselines::all(
        params,
        &model,
        &transform,
        &windows,
        &splits,
        (&scored, &actual),
    )?);
    let model_values = predictions[0].values.clone();
    for baseline in &mut predictions[1..] {
        baseline.standing = Some(verdict::compare(&model_values, &baseline.values, &actual));
    }
    let truth = truth(context, &model, &transform, &splits, &scored)?;
    let evaluation = Evaluation {
        params,
        model: &model,
        splits: &splits,
        scale: transform.number(&model.card.target)?.scale,
        scored,
        actual,
        predictions,
        quantiles,
        truth,
    };
    let metrics = report::metrics(&evaluation);
    if metrics["mean_beaten"] == 0.0 {
        context.progress.warn(report::verdict(&evaluation));
    }
    report::write(&evaluation, &metrics, context.outputs)?;
    let history = history(context.inputs.get("history").map(|path| path.as_path()))?;
    write(&context.outputs.join("history.svg"), &history)?;
    tell(context, steps, steps)?;
    Ok(Finished { metrics: report::shown(&metrics) })
}

/// All that is known at the end, in the target's own units.
struct Evaluation<'a> {
    params: &'a Params,
    model: &'a Model,
    splits: &'a Splits,
    /// Units of the target in a unit of its scaled values.
    scale: f64,
    /// The scored rows among the test rows: `[windows, steps]`.
    scored: Vec<usize>,
    /// The target of the scored rows.
    actual: Vec<f64>,
    /// The model's predictions, then the baselines'.
    predictions: Vec<Prediction>,
    /// The model's quantiles, rising, where it predicts any.
    quantiles: Vec<Quantile>,
    /// The target's conditional mean in the scored rows, where that is known.
    truth: Option<Vec<f64>>,
}

impl Evaluation<'_> {
    /// Scores one step of a path (from 0).
    fn step_scores(&self, one: &Prediction, step: usize) -> Scores {
        let steps = self.model.card.steps();
        let of =
            |all: &[f64]| -> Vec<f64> { all.iter().skip(step).step_by(steps).copied().collect() };
        scores(&of(&one.values), &of(&self.actual)).expect("there is a scored window")
    }
}

/// Predictions of the scored rows with their scores.
struct Prediction {
    /// The name in tables.
    name: &'static str,
    /// The name in sentences.
    label: &'static str,
    values: Vec<f64>,
    scores: Scores,
    /// How the model stands against it; not for the model itself.
    standing: Option<Standing>,
    /// What a reader should know of it.
    note: Option<String>,
}

impl Prediction {
    fn new(
        name: &'static str,
        label: &'static str,
        values: Vec<f64>,
        actual: &[f64],
        note: Option<String>,
    ) -> Prediction {
        let scores = scores(&values, actual).expect("there is a scored row");
        Prediction { name, label, values, scores, standing: None, note }
    }
}

/// Reads the windows of the three splits, of which the test has some.
fn windows(paths: [&Path; 3], model: &Model) -> Result<[Windows; 3], Stop> {
    let spec = model.window_spec();
    let read = |split: usize| match split {
        1.. if model.card.across_splits => {
            Windows::read_after(paths[split - 1], paths[split], &spec)
        }
        _ => Windows::read(paths[split], &spec),
    };
    let windows = [read(0)?, read(1)?, read(2)?];
    if windows[2].is_empty() {
        let message = "no series of the test rows is long enough for a window".to_owned();
        let help = "give the test split more rows, or train with a shorter `window`";
        return Err(Failure::new(message).help(help).deterministic().into());
    }
    Ok(windows)
}

/// Gives the places of the test windows' predicted rows among the test rows: `[windows, steps]`.
fn scored_rows(windows: &Windows, test: &Rows) -> Vec<usize> {
    let rows = (0..windows.len()).flat_map(|window| {
        windows.predicted_rows(window).zip(windows.actual(window)).map(|(row, actual)| {
            let row = windows.place_in_split(row);
            // Both are ordered by series and time; scores of the wrong rows would be worse than
            // none.
            assert_eq!(*actual, test.scaled[row] as f32, "windows and rows are in order");
            row
        })
    });
    rows.collect()
}

fn truth(
    context: &Context<'_>,
    model: &Model,
    transform: &Transform,
    splits: &Splits,
    scored: &[usize],
) -> Result<Option<Vec<f64>>, Stop> {
    let Some(path) = context.inputs.get("truth") else { return Ok(None) };
    if model.card.horizon > 0 {
        let horizon = model.card.horizon;
        let message = format!("the truth is of the same row, and the horizon is {horizon}: unused");
        context.progress.warn(message);
        return Ok(None);
    }
    match rows::truth(path, transform, splits, scored)? {
        Ok(means) => Ok(Some(means)),
        Err((series, micros)) => {
            let time = micros as f64 / 1e6;
            let message = format!("the truth has no mean for `{series}` at {time} s");
            let help = "give the `truth` of the same data, or leave the input out";
            Err(Failure::new(message).help(help).deterministic().into())
        }
    }
}

/// Reads the transform, and checks that it is the model's.
fn transform(path: &Path, model: &Model) -> Result<Transform, Stop> {
    let transform = Transform::read(path)?;
    if transform != model.card.transform {
        let message = "the model was trained on data that was transformed in another way";
        let help = "name the `preprocess` stage that the model's `train` stage reads as `data`";
        return Err(Failure::new(message).help(help).deterministic().into());
    }
    Ok(transform)
}

/// Draws the model's history, where it was given.
fn history(path: Option<&Path>) -> Result<String, Stop> {
    let Some(path) = path else {
        let text = plot::empty("no history was given: name a model's `history` as an input");
        return Ok(text.map_err(|error| Failure::new(error.to_string()))?);
    };
    let columns = ["epoch", "train_loss", "validation_loss", "learning_rate"];
    let mut epochs = Vec::new();
    for batch in table::batches(path, Some(&columns))? {
        let batch = batch?;
        let numbers = batch.column(0).as_primitive_opt::<Int64Type>();
        let values: Option<Vec<_>> =
            (1..4).map(|column| batch.column(column).as_primitive_opt::<Float64Type>()).collect();
        let (Some(numbers), Some(values)) = (numbers, values) else {
            return Err(Failure::new("the history is not that of a `train` stage").into());
        };
        epochs.extend((0..batch.num_rows()).map(|row| plot::Epoch {
            epoch: numbers.value(row) as u64,
            train_loss: values[0].value(row),
            validation_loss: values[1].value(row),
            learning_rate: values[2].value(row),
        }));
    }
    Ok(plot::history(&epochs).map_err(|error| Failure::new(error.to_string()))?)
}

fn tell(context: &Context<'_>, done: u64, total: u64) -> Result<(), Stop> {
    match context.progress.count("steps", done, total).is_break() {
        true => Err(Stop::Cancelled),
        false => Ok(()),
    }
}

fn to_f64(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::new(DataError::file(path, "write the file", error).to_string()))
}

fn model_failure(error: ModelError) -> Failure {
    Failure::new(error.to_string())
}
