//! Plots as SVG text: predicted against actual values over time, the history of a training, and what
//! a study found.
//!
//! Knows nothing of files or stages. The same numbers give the same bytes: no clock, no font of
//! the machine's (text is laid out by the viewer's own sans-serif).

use plotters::coord::Shift;
use plotters::prelude::*;

mod axis;
mod parallel;
mod study;

pub use parallel::{Column, Scale, parallel};
pub use study::{Tried, importance, pareto, trials};

use axis::Axis;

/// Panels of a forecast at most.
const PANELS: usize = 6;
/// Points of a panel at most: the last ones.
const POINTS: usize = 288;
/// The width of every plot in pixels.
const WIDTH: u32 = 1_100;
const ACTUAL: RGBColor = RGBColor(0x5f, 0x6b, 0x7a);
const PREDICTED: RGBColor = RGBColor(0xd9, 0x48, 0x0f);
const INTERVAL: RGBColor = RGBColor(0xfc, 0xd9, 0xc4);
const TRAIN: RGBColor = RGBColor(0x1c, 0x6d, 0xb5);
const VALIDATION: RGBColor = RGBColor(0xd9, 0x48, 0x0f);
const BEST: RGBColor = RGBColor(0x2b, 0x8a, 0x3e);
const RATE: RGBColor = RGBColor(0x6b, 0x4f, 0xa0);
const TEXT: RGBColor = RGBColor(0x21, 0x25, 0x29);
const GRID: RGBColor = RGBColor(0xe3, 0xe7, 0xeb);

/// Why a plot could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the plot: {0}")]
pub struct PlotError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for PlotError {
    fn from(error: DrawingAreaErrorKind<E>) -> PlotError {
        PlotError(error.to_string())
    }
}

/// The scored rows of one series, in order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// The series' name; empty where there is but one.
    pub series: String,
    /// Seconds since 1970.
    pub times: Vec<f64>,
    /// What was, in the target's own units.
    pub actual: Vec<f64>,
    /// What was predicted, in the same units.
    pub predicted: Vec<f64>,
    /// The lowest and the highest predicted quantile, in the same units; empty where there are none.
    pub interval: Vec<(f64, f64)>,
}

/// One epoch of a training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: u64,
    /// The mean loss over the train windows.
    pub train_loss: f64,
    /// The mean loss over the validation windows.
    pub validation_loss: f64,
    /// The step's size.
    pub learning_rate: f64,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws actual and predicted values over time: one panel for each of the first six series, each
/// with its last 288 rows.
///
/// # Errors
///
/// [`PlotError`] where the drawing library refuses.
pub fn forecast(target: &str, all: &[Forecast]) -> Result<String, PlotError> {
    let shown = &all[..all.len().min(PANELS)];
    if shown.iter().all(|series| series.times.is_empty()) {
        return empty("there are no predictions to show");
    }
    let height = if shown.len() == 1 { 360 } else { 170 };
    let size = (WIDTH, 90 + height * shown.len() as u32);
    picture(size, |area| {
        let title = format!("{target}: predicted and actual, test rows");
        let mut legend = vec![("actual", ACTUAL), ("predicted", PREDICTED)];
        if shown.iter().any(|series| !series.interval.is_empty()) {
            legend.push(("interval", INTERVAL));
        }
        heading(area, &title, &forecast_note(all), &legend)?;
        let (_, mut rest) = area.split_vertically(64);
        for (index, series) in shown.iter().enumerate() {
            // The last panel has room for the name of all panels' axis.
            let last = index + 1 == shown.len();
            let (panel, below) = rest.split_vertically(height + if last { 22 } else { 0 });
            forecast_panel(&panel, target, series, if last { "time (UTC)" } else { "" })?;
            rest = below;
        }
        Ok(())
    })
}

/// Says what of the rows is not shown.
fn forecast_note(all: &[Forecast]) -> String {
    let longest = all.iter().map(|series| series.times.len()).max().unwrap_or(0);
    let mut notes = Vec::new();
    if all.len() > PANELS {
        notes.push(format!("the first {PANELS} of {} series", all.len()));
    }
    if longest > POINTS {
        notes.push(format!("the last {POINTS} of up to {longest} rows of a series"));
    }
    notes.join("; ")
}

fn forecast_panel(
    area: &Area<'_>,
    target: &str,
    series: &Forecast,
    x_name: &str,
) -> Result<(), PlotError> {
    let from = series.times.len().saturating_sub(POINTS);
    let times = &series.times[from..];
    let (actual, predicted) = (&series.actual[from..], &series.predicted[from..]);
    let x = Axis::times(times.iter().copied());
    let interval = series.interval.get(from..).unwrap_or_default();
    let ends = interval.iter().flat_map(|&(low, high)| [low, high]);
    let y = Axis::numbers(actual.iter().chain(predicted).copied().chain(ends), false);
    let line = |values: &[f64], color| Line {
        points: times.iter().copied().zip(values.iter().copied()).collect(),
        color,
        dots: false,
    };
    let lines = [line(actual, ACTUAL), line(predicted, PREDICTED)];
    // Along the low ends and back along the high ones.
    let low = times.iter().zip(interval).map(|(time, ends)| (*time, ends.0));
    let high = times.iter().zip(interval).map(|(time, ends)| (*time, ends.1));
    let band: Vec<(f64, f64)> = low.chain(high.rev()).collect();
    panel(area, &series.series, (&x, x_name), (&y, target), (&band, &lines), None)
}

/// Draws the losses by epoch, on a logarithmic axis where they differ widely, with the best epoch
/// marked, and the learning rate below.
///
/// # Errors
///
/// [`PlotError`] where the drawing library refuses.
pub fn history(epochs: &[Epoch]) -> Result<String, PlotError> {
    let Some((first, last)) = epochs.first().zip(epochs.last()) else {
        return empty("the history has no epochs");
    };
    let x = Axis::counts(first.epoch as f64, last.epoch as f64);
    let line = |color, value: fn(&Epoch) -> f64| Line {
        points: epochs.iter().map(|epoch| (epoch.epoch as f64, value(epoch))).collect(),
        color,
        dots: epochs.len() <= 60,
    };
    let losses =
        [line(TRAIN, |epoch| epoch.train_loss), line(VALIDATION, |epoch| epoch.validation_loss)];
    let rates = [line(RATE, |epoch| epoch.learning_rate)];
    let values = |lines: &[Line]| {
        let points = lines.iter().flat_map(|line| line.points.clone());
        points.map(|(_, value)| value).collect::<Vec<f64>>().into_iter()
    };
    // Of equal losses the first is the best, as training has it.
    let best = epochs.iter().min_by(|a, b| a.validation_loss.total_cmp(&b.validation_loss));
    picture((WIDTH, 600), |area| {
        let legend = [
            ("train loss", TRAIN),
            ("validation loss", VALIDATION),
            ("learning rate", RATE),
            ("best epoch", BEST),
        ];
        let note = best.map_or(String::new(), |best| {
            let loss = significant(best.validation_loss);
            format!("best epoch {}: validation loss {loss}", best.epoch)
        });
        heading(area, "training history", &note, &legend)?;
        let (_, body) = area.split_vertically(64);
        let (upper, lower) = body.split_vertically(350);
        let y = Axis::numbers(values(&losses), true);
        let mark = best.map(|best| (best.epoch as f64, best.validation_loss));
        panel(&upper, "", (&x, "epoch"), (&y, "loss (scaled target)"), (&[], &losses), mark)?;
        let y = Axis::numbers(values(&rates), true);
        panel(&lower, "", (&x, "epoch"), (&y, "learning rate"), (&[], &rates), None)
    })
}

/// Writes a number with four significant digits, as plots and reports have it.
pub fn significant(number: f64) -> String {
    let power = if number == 0.0 { 0.0 } else { number.abs().log10().floor() };
    if (-4.0..6.0).contains(&power) {
        format!("{number:.*}", (3.0 - power).max(0.0) as usize)
    } else {
        format!("{number:.3e}")
    }
}

/// Draws a sentence in the place of a plot that there is nothing for.
///
/// # Errors
///
/// [`PlotError`] where the drawing library refuses.
pub fn empty(sentence: &str) -> Result<String, PlotError> {
    picture((WIDTH, 120), |area| {
        area.draw(&Text::new(sentence.to_owned(), (24, 50), font(18)))?;
        Ok(())
    })
}

fn picture(
    size: (u32, u32),
    draw: impl FnOnce(&Area<'_>) -> Result<(), PlotError>,
) -> Result<String, PlotError> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(text)
}

fn font(size: i32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&TEXT)
}

/// Draws the title, a note below it, and what each colour means.
fn heading(
    area: &Area<'_>,
    title: &str,
    note: &str,
    legend: &[(&str, RGBColor)],
) -> Result<(), PlotError> {
    area.draw(&Text::new(title.to_owned(), (24, 14), font(20)))?;
    area.draw(&Text::new(note.to_owned(), (24, 42), font(14)))?;
    let mut right = WIDTH as i32 - 52;
    for (name, color) in legend.iter().rev() {
        // Text is laid out by the viewer; eight pixels a letter leave it room.
        right -= 8 * name.len() as i32 + 46;
        let stroke = PathElement::new(vec![(right, 24), (right + 24, 24)], color.stroke_width(3));
        area.draw(&stroke)?;
        area.draw(&Text::new((*name).to_owned(), (right + 32, 16), font(15)))?;
    }
    Ok(())
}

/// A line of a panel.
struct Line {
    points: Vec<(f64, f64)>,
    color: RGBColor,
    /// Whether each point is marked.
    dots: bool,
}

/// Draws lines over a filled band within axes, and marks one point with a vertical line.
fn panel(
    area: &Area<'_>,
    caption: &str,
    (x, x_name): (&Axis, &str),
    (y, y_name): (&Axis, &str),
    (band, lines): (&[(f64, f64)], &[Line]),
    mark: Option<(f64, f64)>,
) -> Result<(), PlotError> {
    let mut chart = chart(area, caption, (x, x_name), (y, y_name))?;
    let place = |(at, value): (f64, f64)| (at, y.coordinate(value));
    if !band.is_empty() {
        let corners: Vec<(f64, f64)> = band.iter().copied().map(place).collect();
        chart.draw_series([Polygon::new(corners, INTERVAL.filled())])?;
    }
    if let Some((at, _)) = mark {
        let ends = vec![(at, y.low), (at, y.high)];
        chart.draw_series([PathElement::new(ends, BEST.stroke_width(1))])?;
    }
    for line in lines {
        let points: Vec<(f64, f64)> = line.points.iter().copied().map(place).collect();
        chart.draw_series(LineSeries::new(points.clone(), line.color.stroke_width(2)))?;
        if line.dots {
            let dots = points.into_iter().map(|point| Circle::new(point, 3, line.color.filled()));
            chart.draw_series(dots)?;
        }
    }
    if let Some(point) = mark {
        chart.draw_series([Circle::new(place(point), 6, BEST.stroke_width(2))])?;
    }
    Ok(())
}

/// Draws empty axes.
fn chart<'a>(
    area: &Area<'a>,
    caption: &str,
    (x, x_name): (&Axis, &str),
    (y, y_name): (&Axis, &str),
) -> Result<ChartContext<'a, SVGBackend<'a>, Cartesian2d<Axis, Axis>>, PlotError> {
    let mut builder = ChartBuilder::on(area);
    builder.margin_left(10).margin_right(66).margin_bottom(4).margin_top(8);
    builder.x_label_area_size(if x_name.is_empty() { 24 } else { 46 }).y_label_area_size(76);
    if !caption.is_empty() {
        builder.caption(caption, font(15));
    }
    let mut chart = builder.build_cartesian_2d(x.clone(), y.clone())?;
    chart
        .configure_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(TEXT)
        .label_style(font(13))
        .axis_desc_style(font(14))
        .x_labels(x.ticks.len())
        .y_labels(y.ticks.len())
        .x_desc(x_name)
        .y_desc(y_name)
        .draw()?;
    Ok(chart)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waves(series: &str, rows: usize) -> Forecast {
        let wave = |row: usize, shift: f64| 0.2 + 0.05 * ((row as f64 + shift) / 20.0).sin();
        Forecast {
            series: series.to_owned(),
            times: (0..rows).map(|row| 1_704_067_200.0 + 300.0 * row as f64).collect(),
            actual: (0..rows)
                .map(|row| wave(row, 0.0) + 0.02 * ((row * 7919 % 101) as f64 / 50.0 - 1.0))
                .collect(),
            predicted: (0..rows).map(|row| wave(row, 4.0)).collect(),
            interval: Vec::new(),
        }
    }

    fn epochs(count: u64, floor: f64) -> Vec<Epoch> {
        let epoch = |epoch: u64| Epoch {
            epoch,
            train_loss: floor * 0.8 + 0.5 / (epoch * epoch) as f64,
            validation_loss: floor + 0.5 / (epoch * epoch) as f64 + 1e-4 * epoch as f64,
            learning_rate: if epoch > 6 { 5e-4 } else { 1e-3 },
        };
        (1..=count).map(epoch).collect()
    }

    /// Writes the plots under `RUNNER_PLOTS`, where that is set, for a person to look at.
    pub(super) fn keep(name: &str, text: &str) {
        if let Ok(folder) = std::env::var("RUNNER_PLOTS") {
            let path = std::path::Path::new(&folder).join(name);
            std::fs::write(path, text).expect("the plot can be written");
        }
    }

    #[test]
    fn a_forecast_shows_each_series_with_dates() {
        let many: Vec<Forecast> = (1..=8).map(|id| waves(&format!("function-{id}"), 500)).collect();
        let text = forecast("ResponseTime", &many).expect("it can be drawn");
        keep("forecast.svg", &text);
        assert!(text.contains("function-6") && !text.contains("function-7"));
        assert!(
            text.contains("the first 6 of 8 series; the last 288 of up to 500 rows of a series")
        );
        assert!(text.contains("2024-01-02 12:00") && text.contains("time (UTC)"));
        assert_eq!(text.matches("#D9480F").count(), 7);
        assert_eq!(text, forecast("ResponseTime", &many).expect("it can be drawn"));
        let one = forecast("y", &[waves("", 3)]).expect("it can be drawn");
        keep("forecast-one.svg", &one);
        assert!(!one.contains("the last") && !one.contains("interval"));
        let mut sure = waves("", 300);
        sure.interval = sure.predicted.iter().map(|value| (value - 0.1, value + 0.2)).collect();
        let sure = forecast("y", &[sure]).expect("it can be drawn");
        keep("forecast-interval.svg", &sure);
        assert!(sure.contains("interval") && sure.matches("<polygon").count() == 1, "{sure}");
    }

    #[test]
    fn a_history_marks_the_best_epoch() {
        let text = history(&epochs(12, 0.004)).expect("it can be drawn");
        keep("history.svg", &text);
        assert!(text.contains("best epoch 12: validation loss 0.008672"));
        let mut flat = epochs(9, 0.3);
        flat[4].validation_loss = 0.01;
        let text = history(&flat).expect("it can be drawn");
        keep("history-linear.svg", &text);
        assert!(text.contains("best epoch 5: validation loss 0.01000"));
        keep("history-one.svg", &history(&epochs(1, 0.1)).expect("it can be drawn"));
        keep("history-long.svg", &history(&epochs(300, 1e-6)).expect("it can be drawn"));
    }

    #[test]
    fn nothing_to_show_is_said() {
        for text in [forecast("y", &[]), history(&[]), empty("no history was given")] {
            let text = text.expect("it can be drawn");
            assert!(
                text.contains("there are no")
                    || text.contains("no epochs")
                    || text.contains("no history")
            );
        }
        keep("empty.svg", &empty("no history was given").expect("it can be drawn"));
    }
}
