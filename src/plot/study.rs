//! Plots of a study: how it got better, which parameters mattered, what good trials have in common,
//! and the front of two objectives.

use plotters::prelude::*;

use super::axis::Axis;
use super::parallel::shortened;
use super::{
    ACTUAL, Area, BEST, PREDICTED, PlotError, TRAIN, WIDTH, chart, empty, font, heading, picture,
    significant,
};

/// Trials of a plot at most; of more, every so many is shown.
const TRIALS: usize = 5_000;
/// Parameters of the plot of importance at most.
const PARAMETERS: usize = 24;

/// A trial of a study, for the plot of its history.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// Its number.
    pub number: u64,
    /// Its value; of a pruned one, the last that it reported; none where it failed.
    pub value: Option<f64>,
    /// Whether it was stopped before its end.
    pub is_pruned: bool,
}

/// Draws the value of each trial by number and the best so far, on a logarithmic axis where values
/// differ widely; `is_better` compares two values.
///
/// # Errors
///
/// [`PlotError`] where the drawing library refuses.
pub fn trials(
    metric: &str,
    all: &[Tried],
    is_better: impl Fn(f64, f64) -> bool,
) -> Result<String, PlotError> {
    let complete = |one: &&Tried| !one.is_pruned;
    let valued = |one: &Tried| Some((one.number as f64, one.value?));
    let (whole, pruned): (Vec<&Tried>, Vec<&Tried>) = all.iter().partition(complete);
    let whole: Vec<(f64, f64)> = whole.into_iter().filter_map(valued).collect();
    let pruned: Vec<(f64, f64)> = pruned.into_iter().filter_map(valued).collect();
    if whole.is_empty() {
        return empty("no trial is complete");
    }
    let last = all.last().map_or(0, |one| one.number) as f64;
    let best = best_so_far(&whole, last, &is_better);
    let x = Axis::counts(0.0, last);
    let y = Axis::numbers(whole.iter().chain(&pruned).map(|(_, value)| *value), true);
    let legend = [("complete", TRAIN), ("pruned ×", ACTUAL), ("best so far", PREDICTED)];
    let legend: Vec<_> =
        legend.into_iter().filter(|(name, _)| *name != "pruned ×" || !pruned.is_empty()).collect();
    picture((WIDTH, 460), |area| {
        let note = trials_note(metric, all, &best);
        heading(area, "optimisation history", &note, &legend)?;
        let (_, body) = area.split_vertically(64);
        let mut chart = chart(&body, "", (&x, "trial"), (&y, metric))?;
        let place = |(at, value): &(f64, f64)| (*at, y.coordinate(*value));
        let crosses =
            thinned(&pruned).map(|point| Cross::new(place(point), 4, ACTUAL.stroke_width(1)));
        chart.draw_series(crosses)?;
        let dots =
            thinned(&whole).map(|point| Circle::new(place(point), 4, TRAIN.mix(0.8).filled()));
        chart.draw_series(dots)?;
        let line = LineSeries::new(best.iter().map(place), PREDICTED.stroke_width(2));
        chart.draw_series(line)?;
        Ok(())
    })
}

fn trials_note(metric: &str, all: &[Tried], best: &[(f64, f64)]) -> String {
    let (at, value) = best.iter().rev().fold((0.0, f64::NAN), |found, point| {
        // The first trial that reached the last value.
        if found.1.is_nan() || point.1 == found.1 { *point } else { found }
    });
    let mut note = format!("best trial {at}: {metric} {}", significant(value));
    let failed = all.iter().filter(|one| one.value.is_none() && !one.is_pruned).count();
    if failed > 0 {
        note += &format!("; {failed} without a value not shown");
    }
    note
}

/// Gives the corners of the line of the best value so far.
fn best_so_far(
    whole: &[(f64, f64)],
    last: f64,
    is_better: &impl Fn(f64, f64) -> bool,
) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for (at, value) in whole {
        match corners.last() {
            Some((_, before)) if !is_better(*value, *before) => {}
            Some((_, before)) => corners.extend([(*at, *before), (*at, *value)]),
            None => corners.push((*at, *value)),
        }
    }
    corners.extend(corners.last().map(|(_, value)| (last, *value)));
    corners
}

/// Gives every so many of the items, where they are too many.
fn thinned<T>(all: &[T]) -> impl Iterator<Item = &T> {
    all.iter().step_by(all.len().div_ceil(TRIALS).max(1))
}

/// Draws a bar for each parameter's share of the importance, the most important first.
///
/// # Errors
///
/// [`PlotError`] where the drawing library refuses.
pub fn importance(all: &[(String, f64)]) -> Result<String, PlotError> {
    let shown = &all[..all.len().min(PARAMETERS)];
    let most = shown.iter().map(|(_, share)| *share).fold(0.0, f64::max);
    if most <= 0.0 {
        return empty("no trial tells how much the parameters matter");
    }
    let row = 30;
    picture((WIDTH, 120 + row * shown.len() as u32), |area| {
        let hidden = all.len() - shown.len();
        let note = match hidden {
            0 => "share of the difference between the best tenth of the trials and all".to_owned(),
            _ => format!("the {} most important of {}", shown.len(), all.len()),
        };
        heading(area, "importance of the parameters (PED-ANOVA)", &note, &[])?;
        let longest = shown.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
        let left = 40 + 8 * longest.min(48) as i32;
        let full = f64::from(WIDTH as i32 - left - 100);
        let right = TextStyle::from(("sans-serif", 14).into_font()).pos(RIGHT);
        for (place, (path, share)) in shown.iter().enumerate() {
            let top = 76 + row as i32 * place as i32;
            let end = left + (full * share / most).round() as i32;
            area.draw(&Rectangle::new([(left, top), (end, top + 20)], TRAIN.filled()))?;
            area.draw(&Text::new(shortened(path, 48), (left - 10, top + 10), right.clone()))?;
            let share = format!("{:.1} %", 100.0 * share);
            area.draw(&Text::new(share, (end + 8, top + 3), font(14)))?;
        }
        let bottom = 76 + row as i32 * shown.len() as i32;
        area.draw(&PathElement::new([(left, 70), (left, bottom)], super::TEXT.stroke_width(1)))?;
        Ok(())
    })
}

const RIGHT: plotters::style::text_anchor::Pos = plotters::style::text_anchor::Pos {
    h_pos: plotters::style::text_anchor::HPos::Right,
    v_pos: plotters::style::text_anchor::VPos::Center,
};

/// Draws the values of two objectives against each other, with those that no other trial beats in
/// both; each point says whether it is one of them. `best` is circled.
///
/// # Errors
///
/// [`PlotError`] where the drawing library refuses.
pub fn pareto(
    names: (&str, &str),
    points: &[(f64, f64, bool)],
    best: (f64, f64),
) -> Result<String, PlotError> {
    if points.is_empty() {
        return empty("no trial is complete");
    }
    let x = Axis::numbers(points.iter().map(|point| point.0), true);
    let y = Axis::numbers(points.iter().map(|point| point.1), true);
    let mut front: Vec<(f64, f64)> =
        points.iter().filter(|point| point.2).map(|point| (point.0, point.1)).collect();
    front.sort_by(|one, other| one.0.total_cmp(&other.0));
    let others: Vec<&(f64, f64, bool)> = points.iter().filter(|point| !point.2).collect();
    picture((WIDTH, 560), |area| {
        let note = format!(
            "{} of {} complete trials are on the front; the model is that of the circled one",
            front.len(),
            points.len()
        );
        let legend = [("front", PREDICTED), ("other trials", ACTUAL)];
        heading(area, "Pareto front", &note, &legend)?;
        let (_, body) = area.split_vertically(64);
        draw_front(&body, (&x, names.0), (&y, names.1), (&front, best), &others)
    })
}

fn draw_front(
    area: &Area<'_>,
    (x, x_name): (&Axis, &str),
    (y, y_name): (&Axis, &str),
    (front, best): (&[(f64, f64)], (f64, f64)),
    others: &[&(f64, f64, bool)],
) -> Result<(), PlotError> {
    let mut chart = chart(area, "", (x, x_name), (y, y_name))?;
    let place = |at: f64, value: f64| (x.coordinate(at), y.coordinate(value));
    let dots = thinned(others)
        .map(|point| Circle::new(place(point.0, point.1), 4, ACTUAL.mix(0.7).filled()));
    chart.draw_series(dots)?;
    let corners: Vec<(f64, f64)> = front.iter().map(|point| place(point.0, point.1)).collect();
    chart.draw_series(LineSeries::new(corners.clone(), PREDICTED.stroke_width(1)))?;
    chart.draw_series(corners.iter().map(|point| Circle::new(*point, 5, PREDICTED.filled())))?;
    // The first objective decides among the front.
    chart.draw_series([Circle::new(place(best.0, best.1), 8, BEST.stroke_width(2))])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::keep;
    use super::*;

    #[test]
    fn a_history_of_trials_shows_the_best_so_far_and_what_was_pruned() {
        let tried = |number: u64| Tried {
            number,
            value: (number % 17 != 3)
                .then(|| 0.004 + 0.3 * ((number * 7919 % 101) as f64 / 101.0).powi(3)),
            is_pruned: number % 5 == 2,
        };
        let all: Vec<Tried> = (0..60).map(tried).collect();
        let text = trials("validation_loss", &all, |a, b| a < b).expect("it can be drawn");
        keep("trials.svg", &text);
        let whole = all.iter().filter(|one| !one.is_pruned);
        let least = whole.filter_map(|one| Some((one.value?, one.number)));
        let least = least.min_by(|a, b| a.0.total_cmp(&b.0)).expect("there is one");
        let note = format!("best trial {}: validation_loss {}", least.1, significant(least.0));
        assert!(text.contains(&note), "{note}");
        assert!(text.contains("; 3 without a value not shown") && text.contains("pruned"));
        let one = [Tried { number: 0, value: Some(-2.0), is_pruned: false }];
        let text = trials("score", &one, |a, b| a > b).expect("it can be drawn");
        keep("trials-one.svg", &text);
        assert!(text.contains("best trial 0: score -2.000") && !text.contains("pruned"));
    }

    #[test]
    fn the_line_of_the_best_goes_on_to_the_last_trial() {
        let whole = [(0.0, 3.0), (1.0, 4.0), (2.0, 1.0)];
        let corners = best_so_far(&whole, 5.0, &|a, b| a < b);
        assert_eq!(corners, [(0.0, 3.0), (2.0, 3.0), (2.0, 1.0), (5.0, 1.0)]);
    }

    #[test]
    fn importance_is_shown_in_shares() {
        let named = |(path, share): (&str, f64)| (path.to_owned(), share);
        let all = [
            ("optimizer.learning_rate", 0.62),
            ("network.units", 0.251),
            ("early_stopping.patience", 0.1287),
            ("batch_size", 0.0003),
        ];
        let text = importance(&all.map(named)).expect("it can be drawn");
        keep("importance.svg", &text);
        assert!(text.contains("62.0 %") && text.contains("network.units"));
        let many: Vec<_> = (0..40).map(|index| (format!("with.x{index}"), 1.0 / 40.0)).collect();
        let text = importance(&many).expect("it can be drawn");
        keep("importance-many.svg", &text);
        assert!(text.contains("the 24 most important of 40") && !text.contains("with.x24"));
    }

    #[test]
    fn a_front_stands_out() {
        let point = |index: u64| {
            let size = 500.0 * (1 + index * 53 % 29) as f64;
            (0.004 + 12.0 / (size + 2_000.0) + 0.002 * ((index * 37 % 23) as f64 / 23.0), size)
        };
        let all: Vec<(f64, f64)> = (0..40).map(point).collect();
        let is_on = |one: &(f64, f64)| {
            !all.iter().any(|other| other != one && other.0 <= one.0 && other.1 <= one.1)
        };
        let points: Vec<_> = all.iter().map(|one| (one.0, one.1, is_on(one))).collect();
        let best = *all.iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are points");
        let text =
            pareto(("validation_loss", "parameters"), &points, best).expect("it can be drawn");
        keep("pareto.svg", &text);
        let count = points.iter().filter(|point| point.2).count();
        assert!(count > 3);
        assert!(text.contains(&format!("{count} of 40 complete trials are on the front")));
    }
}
