//! Writes what an evaluation gives: metrics, scores, predictions, the verdict in words, and the
//! plot of predictions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Schema};

use super::verdict::{self, Standing};
use super::{Evaluation, Prediction};
use crate::data::table;
use crate::model::metrics::scores;
use crate::plot::{self, Forecast};
use crate::stage::{Failure, Stop};

/// Gives the scalar results by name.
pub(super) fn metrics(evaluation: &Evaluation<'_>) -> BTreeMap<String, f64> {
    let mut metrics = BTreeMap::new();
    let mut set = |name: &str, value: Option<f64>| {
        metrics.extend(value.map(|value| (name.to_owned(), value)));
    };
    let mut beaten = 0.0;
    for one in &evaluation.predictions {
        let prefix = if one.name == "model" { "test" } else { one.name };
        set(&format!("{prefix}_rmse"), Some(one.scores.rmse));
        set(&format!("{prefix}_mae"), Some(one.scores.mae));
        set(&format!("{prefix}_r2"), one.scores.r2);
        set(&format!("{prefix}_mape"), one.scores.mape);
        if let Some(standing) = one.standing {
            let beats = f64::from(u8::from(standing == Standing::Beats));
            beaten += beats;
            set(&format!("{prefix}_beaten"), Some(beats));
        }
        let prefix = if one.name == "model" { "" } else { "ridge_" };
        if matches!(one.name, "model" | "ridge") {
            set(&format!("{prefix}explained_share"), explained(evaluation, one));
        }
    }
    set("baselines_beaten", Some(beaten));
    set("floor_rmse", floor(evaluation));
    set("rows", Some(evaluation.actual.len() as f64));
    metrics
}

/// Keeps the metrics that a run shows of the stage.
pub(super) fn shown(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let shown = |name: &str| {
        name.ends_with("_rmse")
            || ["test_mae", "test_r2", "explained_share", "baselines_beaten"].contains(&name)
    };
    metrics
        .iter()
        .filter(|(name, _)| shown(name))
        .map(|(name, value)| (name.clone(), *value))
        .collect()
}

/// Gives the root of the mean squared error that no prediction can beat.
fn floor(evaluation: &Evaluation<'_>) -> Option<f64> {
    Some(scores(evaluation.truth.as_ref()?, &evaluation.actual)?.rmse)
}

/// Gives the share of the explainable variance that predictions explain; `None` where the truth is
/// not known or leaves nothing to explain.
fn explained(evaluation: &Evaluation<'_>, one: &Prediction) -> Option<f64> {
    let truth = evaluation.truth.as_ref()?;
    // A conditional mean that does not vary but for the rounding of its sums has no share.
    if spread(truth) <= 1e-6 * spread(&evaluation.actual) {
        return None;
    }
    scores(&one.values, truth)?.r2
}

/// Gives the standard deviation.
fn spread(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (squares / values.len() as f64).sqrt()
}

/// Says in one sentence whether the model beats the baselines.
pub(super) fn verdict(evaluation: &Evaluation<'_>) -> String {
    let standings: Vec<(&str, Standing)> =
        evaluation.predictions.iter().filter_map(|one| Some((one.label, one.standing?))).collect();
    verdict::sentence(&evaluation.model.card.target, &standings)
}

/// Writes all outputs but the plot of the history.
pub(super) fn write(
    evaluation: &Evaluation<'_>,
    metrics: &BTreeMap<String, f64>,
    folder: &Path,
) -> Result<(), Stop> {
    // A map of numbers serializes; its keys are sorted.
    let json = serde_json::to_string_pretty(metrics).expect("numbers serialize to JSON") + "\n";
    super::write(&folder.join("metrics.json"), &json)?;
    super::write(&folder.join("report.md"), &markdown(evaluation))?;
    let plot = plot::forecast(&evaluation.model.card.target, &forecasts(evaluation))
        .map_err(|error| Failure::new(error.to_string()))?;
    super::write(&folder.join("forecast.svg"), &plot)?;
    write_table(&folder.join("scores.parquet"), score_columns(evaluation))?;
    write_table(&folder.join("predictions.parquet"), prediction_columns(evaluation))
}

/// Columns by name, each with whether it may be null.
type Columns = Vec<(&'static str, bool, ArrayRef)>;

fn write_table(path: &Path, columns: Columns) -> Result<(), Stop> {
    let field = |(name, nullable, array): &(&str, bool, ArrayRef)| {
        Field::new(*name, array.data_type().clone(), *nullable)
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(.., array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays)
        .map_err(|error| Failure::new(format!("cannot make a table: {error}")))?;
    table::write(path, schema, [Ok(batch)])?;
    Ok(())
}

fn score_columns(evaluation: &Evaluation<'_>) -> Columns {
    let all = &evaluation.predictions;
    let floor = evaluation.truth.as_ref().and_then(|truth| scores(truth, &evaluation.actual));
    let scored = all.iter().map(|one| one.scores).chain(floor).collect::<Vec<_>>();
    let names = all.iter().map(|one| one.name).chain(floor.map(|_| "noise_floor"));
    let rows = vec![evaluation.actual.len() as u64; scored.len()];
    vec![
        ("name", false, Arc::new(StringArray::from_iter_values(names))),
        (
            "rmse",
            false,
            Arc::new(Float64Array::from_iter_values(scored.iter().map(|one| one.rmse))),
        ),
        ("mae", false, Arc::new(Float64Array::from_iter_values(scored.iter().map(|one| one.mae)))),
        ("r2", true, Arc::new(scored.iter().map(|one| one.r2).collect::<Float64Array>())),
        ("mape", true, Arc::new(scored.iter().map(|one| one.mape).collect::<Float64Array>())),
        ("rows", false, Arc::new(UInt64Array::from(rows))),
    ]
}

fn prediction_columns(evaluation: &Evaluation<'_>) -> Columns {
    let Evaluation { splits, scored, actual, predictions, .. } = evaluation;
    let names = scored.iter().map(|&row| &splits.names[splits.test.series[row] as usize]);
    let times = scored.iter().map(|&row| splits.test.micros[row]);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00");
    vec![
        ("series", false, Arc::new(StringArray::from_iter_values(names))),
        ("time", false, Arc::new(times)),
        ("actual", false, Arc::new(Float64Array::from(actual.clone()))),
        ("predicted", false, Arc::new(Float64Array::from(predictions[0].values.clone()))),
    ]
}

fn forecasts(evaluation: &Evaluation<'_>) -> Vec<Forecast> {
    let Evaluation { splits, scored, actual, predictions, .. } = evaluation;
    let mut forecasts: BTreeMap<u32, Forecast> = BTreeMap::new();
    for (place, &row) in scored.iter().enumerate() {
        let series = splits.test.series[row];
        let forecast = forecasts.entry(series).or_insert_with(|| Forecast {
            series: splits.names[series as usize].clone(),
            ..Forecast::default()
        });
        forecast.times.push(splits.test.micros[row] as f64 / 1e6);
        forecast.actual.push(actual[place]);
        forecast.predicted.push(predictions[0].values[place]);
    }
    forecasts.into_values().collect()
}

fn markdown(evaluation: &Evaluation<'_>) -> String {
    let card = &evaluation.model.card;
    let rows = evaluation.actual.len();
    let mut text = format!("# Evaluation of `{}`\n\n**{}**\n\n", card.target, verdict(evaluation));
    if let Some(sentence) = explained_sentence(evaluation) {
        text += &format!("{sentence}\n\n");
    }
    let ahead = match card.horizon {
        0 => "of the same row".to_owned(),
        1 => "one row ahead".to_owned(),
        rows => format!("{rows} rows ahead"),
    };
    let _ = writeln!(
        text,
        "Scores on {rows} test rows, {ahead}, in the units of `{}`. The period of the seasonal \
         naive is {} s.\n",
        card.target, evaluation.params.period
    );
    text += "| prediction | RMSE | MAE | R² | MAPE | the model against it | |\n";
    text += "|---|---:|---:|---:|---:|---|---|\n";
    let own = evaluation.predictions[0].scores.rmse;
    for one in &evaluation.predictions {
        let against = one.standing.map_or(String::new(), |standing| {
            let change = 100.0 * (own / one.scores.rmse - 1.0);
            format!("{}: RMSE {change:+.1} %", word(standing))
        });
        let note = one.note.as_deref().unwrap_or("");
        let _ = writeln!(text, "| {} | {} | {against} | {note} |", one.label, cells(&one.scores));
    }
    if let Some(truth) = &evaluation.truth
        && let Some(floor) = scores(truth, &evaluation.actual)
    {
        let note = "the conditional mean, which no prediction can beat";
        let _ = writeln!(text, "| the noise floor | {} | | {note} |", cells(&floor));
    }
    text += "\nThe model *beats* a baseline where its mean squared error is lower by at least 1 % \
             and by two standard errors (of the means of up to 50 blocks of neighbouring rows).\n\n";
    text += "![predicted and actual](forecast.svg)\n\n![training history](history.svg)\n";
    text
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Beats => "beats it",
        Standing::Even => "no better than chance",
        Standing::Loses => "loses",
    }
}

fn cells(scores: &crate::model::metrics::Scores) -> String {
    // Adding 0 turns a negative zero into a positive one.
    let four = |value: f64| format!("{:.4}", (value * 1e4).round() / 1e4 + 0.0);
    let some = |value: Option<f64>| value.map_or("–".to_owned(), four);
    let share = scores.mape.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share));
    let (rmse, mae) = (plot::significant(scores.rmse), plot::significant(scores.mae));
    format!("{rmse} | {mae} | {} | {share}", some(scores.r2))
}

/// Says how much of what can be explained is.
fn explained_sentence(evaluation: &Evaluation<'_>) -> Option<String> {
    evaluation.truth.as_ref()?;
    let target = &evaluation.model.card.target;
    let share = |name: &str| {
        let one = evaluation.predictions.iter().find(|one| one.name == name)?;
        Some(100.0 * explained(evaluation, one)?)
    };
    let (Some(own), Some(ridge)) = (share("model"), share("ridge")) else {
        let constant = format!("the conditional mean of `{target}` is the same in every row");
        return Some(format!("There is nothing to explain: {constant}."));
    };
    Some(format!(
        "Of the variance of `{target}` that the noise leaves explainable, the model explains \
         {own:.1} %, ridge {ridge:.1} %. (That is 1 - MSE(prediction, m) / Var(m), where m is the \
         conditional mean of each row.)"
    ))
}
