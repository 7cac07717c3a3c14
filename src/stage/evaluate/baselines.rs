//! Predicts the scored rows in the four ways that need no network.

use super::rows::Splits;
use super::{Params, Prediction};
use crate::data::Transform;
use crate::data::window::Windows;
use crate::model::baseline::{Naive, Pairs, Ridge};
use crate::model::file::Model;
use crate::stage::{Failure, Stop};

/// Gives the mean, the last value, the seasonal naive and ridge, each of the scored rows
/// (`[windows, steps]`, with their target).
pub(super) fn all(
    params: &Params,
    model: &Model,
    transform: &Transform,
    windows: &[Windows; 3],
    splits: &Splits,
    (scored, actual): (&[usize], &[f64]),
) -> Result<Vec<Prediction>, Stop> {
    let train = &splits.train.target;
    let mean = train.iter().sum::<f64>() / train.len().max(1) as f64;
    let places: Vec<usize> = scored.iter().map(|&row| splits.places[row]).collect();
    let last = by_step(model, &places, &|places, horizon| {
        splits.timeline.last_value(places, horizon, mean)
    });
    let last_note = (last.fallbacks > 0)
        .then(|| format!("{} rows without a known earlier value: the mean", last.fallbacks));
    let seasonal = by_step(model, &places, &|places, horizon| {
        splits.timeline.seasonal(places, horizon, params.period, mean)
    });
    let seasonal_note = (seasonal.fallbacks > 0).then(|| {
        format!("{} rows without a row one period before: the last value", seasonal.fallbacks)
    });
    let (ridge, penalty) = ridge(model, transform, windows)?;
    let ridge_note = Some(format!("on {}, penalty {penalty}", ridge_inputs(model)));
    let one = |name, label, values, note| Prediction::new(name, label, values, actual, note);
    Ok(vec![
        one("mean", "the mean", vec![mean; scored.len()], Some("of the train rows".to_owned())),
        one("last_value", "the last value", last.predicted, last_note),
        one("seasonal_naive", "the seasonal naive", seasonal.predicted, seasonal_note),
        one("ridge", "ridge", ridge, ridge_note),
    ])
}

/// Predicts each step's rows by a rule that is told how far ahead of the window they are.
fn by_step(model: &Model, places: &[usize], rule: &dyn Fn(&[usize], usize) -> Naive) -> Naive {
    let steps = model.card.steps();
    let mut all = Naive { predicted: vec![0.0; places.len()], fallbacks: 0 };
    for step in 0..steps {
        let rows: Vec<usize> = places.iter().skip(step).step_by(steps).copied().collect();
        let naive = rule(&rows, model.card.horizon + step + 1 - steps);
        all.fallbacks += naive.fallbacks;
        let own = all.predicted.iter_mut().skip(step).step_by(steps);
        own.zip(naive.predicted).for_each(|(place, value)| *place = value);
    }
    all
}

fn ridge_inputs(model: &Model) -> &'static str {
    match (model.card.horizon, model.card.target_history) {
        (0, true) => "the row's own features and the last value",
        (0, false) => "the row's own features",
        (_, true) => "the features and the value of the newest known row",
        (_, false) => "the features of the newest known row",
    }
}

/// Fits a ridge regression for each step on what stands beside the last row of each window, and
/// predicts the test windows; gives the penalties in words too.
fn ridge(
    model: &Model,
    transform: &Transform,
    [train, validation, test]: &[Windows; 3],
) -> Result<(Vec<f64>, String), Stop> {
    let Some(ridges) = Ridge::fit(&pairs(train), &pairs(validation)) else {
        let message = "no series of the train rows is long enough for a window";
        return Err(Failure::new(message).deterministic().into());
    };
    let rows = (0..test.len()).map(|window| test.inputs_of_row(test.last_row(window)));
    let predict = |inputs| ridges.iter().map(move |ridge| ridge.predict(inputs));
    let mut predicted: Vec<f64> = rows.flat_map(predict).collect();
    transform.invert(&model.card.target, &mut predicted)?;
    let penalties = || ridges.iter().map(|ridge| ridge.penalty);
    let (low, high) = (penalties().fold(f64::MAX, f64::min), penalties().fold(0.0, f64::max));
    let words = if low < high { format!("{low} to {high} by step") } else { low.to_string() };
    Ok((predicted, words))
}

/// Pairs the inputs beside the last row of each window with its targets.
fn pairs(windows: &Windows) -> Pairs<'_> {
    let all = 0..windows.len();
    let step =
        |step: usize| all.clone().map(|window| f64::from(windows.actual(window)[step])).collect();
    Pairs {
        inputs: all.clone().map(|window| windows.inputs_of_row(windows.last_row(window))).collect(),
        targets: (0..windows.spec().steps).map(step).collect(),
    }
}
