//! Writes what an evaluation gives: metrics, scores, predictions, the verdict in words, and the
//! plot of predictions.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::verdict::{self, Standing};
use super::{Evaluation, Prediction, interval, tables};
use crate::model::metrics::{Scores, scores};
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
        set(&format!("{prefix}_scaled_mse"), Some((one.scores.rmse / evaluation.scale).powi(2)));
        set(&format!("{prefix}_scaled_mae"), Some(one.scores.mae / evaluation.scale.abs()));
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
    let mut pinball = 0.0;
    for quantile in &evaluation.quantiles {
        let loss = quantile.pinball(&evaluation.actual);
        pinball += loss / evaluation.quantiles.len() as f64;
        set(&format!("pinball_{}", quantile.level), Some(loss));
    }
    set("pinball", (!evaluation.quantiles.is_empty()).then_some(pinball));
    if let Some(interval) = interval::outermost(&evaluation.quantiles, &evaluation.actual) {
        set("interval_coverage", Some(interval.coverage));
        set("interval_width", Some(interval.width));
    }
    metrics
}

/// Keeps the metrics that a run shows of the stage.
pub(super) fn shown(metrics: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let shown = |name: &str| {
        name.ends_with("_rmse")
            || [
                "test_mae",
                "test_r2",
                "test_scaled_mse",
                "explained_share",
                "baselines_beaten",
                "pinball",
                "interval_coverage",
            ]
            .contains(&name)
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
    tables::write(&folder.join("scores.parquet"), tables::scores(evaluation))?;
    tables::write(&folder.join("predictions.parquet"), tables::predictions(evaluation))
}

/// Gives what the plot shows of each series. Where a window predicts a path, these are the paths
/// of the last window, of the window that ends where that one's path begins, and so on.
fn forecasts(evaluation: &Evaluation<'_>) -> Vec<Forecast> {
    let Evaluation { splits, scored, actual, predictions, quantiles, .. } = evaluation;
    let steps = evaluation.model.card.steps();
    let windows: Vec<(u32, usize)> =
        scored.iter().step_by(steps).map(|&row| splits.test.series[row]).zip(0..).collect();
    let draw = |windows: &[(u32, usize)]| {
        let series = windows[0].0;
        let mut forecast =
            Forecast { series: splits.names[series as usize].clone(), ..Forecast::default() };
        let first = (windows.len() - 1) % steps;
        for place in windows[first..]
            .iter()
            .step_by(steps)
            .flat_map(|&(_, window)| window * steps..(window + 1) * steps)
        {
            forecast.times.push(splits.test.micros[scored[place]] as f64 / 1e6);
            forecast.actual.push(actual[place]);
            forecast.predicted.push(predictions[0].values[place]);
            if let [low, .., high] = &quantiles[..] {
                forecast.interval.push((low.values[place], high.values[place]));
            }
        }
        forecast
    };
    windows.chunk_by(|left, right| left.0 == right.0).map(draw).collect()
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
    let scored = match card.steps() {
        1 => format!("{rows} test rows, {ahead}"),
        steps => format!("the paths of {steps} rows from {} test windows", rows / steps),
    };
    let _ = writeln!(
        text,
        "Scores on {scored}, in the units of `{}`. The period of the seasonal \
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
    text += &by_step(evaluation);
    text += &intervals(evaluation);
    text += "\nThe model *beats* a baseline where its mean squared error is lower by at least 1 % \
             and by two standard errors (of the means of up to 50 blocks of neighbouring rows).\n\n";
    text += "![predicted and actual](forecast.svg)\n\n![training history](history.svg)\n";
    text
}

/// The steps of a path that the report shows at most.
const STEPS_SHOWN: usize = 8;

/// Tables the RMSE of some steps of a path, where there is one.
fn by_step(evaluation: &Evaluation<'_>) -> String {
    let steps = evaluation.model.card.steps();
    if steps == 1 {
        return String::new();
    }
    let columns = STEPS_SHOWN.min(steps);
    let shown: Vec<usize> =
        (0..columns).map(|column| column * (steps - 1) / (columns - 1)).collect();
    let mut text = "\n| RMSE of step |".to_owned();
    shown.iter().for_each(|step| text += &format!(" {} |", step + 1));
    text += &format!("\n|---|{}\n", "---:|".repeat(columns));
    for one in &evaluation.predictions {
        let of = |step: &usize| plot::significant(evaluation.step_scores(one, *step).rmse);
        let _ = writeln!(
            text,
            "| {} | {} |",
            one.label,
            shown.iter().map(of).collect::<Vec<_>>().join(" | ")
        );
    }
    text
}

/// Tells how good the quantiles are, where the model predicts any.
fn intervals(evaluation: &Evaluation<'_>) -> String {
    let Evaluation { quantiles, actual, .. } = evaluation;
    if quantiles.is_empty() {
        return String::new();
    }
    let mut text =
        "\n| quantile | pinball loss | actual values below it |\n|---|---:|---:|\n".to_owned();
    for one in quantiles {
        let loss = plot::significant(one.pinball(actual));
        let below = 100.0 * one.share_below(actual);
        let _ = writeln!(text, "| {} | {loss} | {below:.1} % |", one.level);
    }
    if let Some(interval) = interval::outermost(quantiles, actual) {
        let _ = writeln!(
            text,
            "\nThe interval from the lowest to the highest quantile should hold {:.0} % of the \
             actual values and holds {:.1} %; it is {} wide on average. The scores above are those \
             of the quantile nearest to the median.",
            100.0 * interval.expected,
            100.0 * interval.coverage,
            plot::significant(interval.width)
        );
    }
    text
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Beats => "beats it",
        Standing::Even => "no better than chance",
        Standing::Loses => "loses",
    }
}

fn cells(scores: &Scores) -> String {
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
