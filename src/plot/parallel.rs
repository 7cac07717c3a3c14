//! Parallel coordinates: an axis for each parameter side by side, and a line through them for each
//! trial, in the colour of its value.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::{Area, PREDICTED, PlotError, TEXT, WIDTH, empty, font, heading, picture, significant};

/// Lines at most: the best ones.
const LINES: usize = 1_000;
/// Axes at most, the value's own included.
const AXES: usize = 13;
/// The ends of the axes in pixels from the top, below the rows of their names.
const HEIGHT: i32 = 340;
const WORST: RGBColor = RGBColor(0xc9, 0xd6, 0xe3);
const MIDDLE: RGBColor = RGBColor(0x4a, 0x8f, 0xc7);
const GOOD: RGBColor = RGBColor(0x0b, 0x2e, 0x59);

/// What one axis shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Scale {
    /// Numbers from the first to the second, by their logarithms or not.
    Numbers {
        /// The low end.
        low: f64,
        /// The high end.
        high: f64,
        /// Whether distances are those of the logarithms.
        is_log: bool,
        /// Whether all are whole numbers.
        is_whole: bool,
    },
    /// Words, from the bottom to the top; a value is a word's index.
    Words(Vec<String>),
}

/// A parameter with the value of each trial; none where it did not exist.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it may be.
    pub scale: Scale,
    /// A value for each trial.
    pub values: Vec<Option<f64>>,
}

/// Draws complete trials through the axes of their parameters and of their value, the best on top;
/// `losses` are such that less is better.
///
/// # Errors
///
/// [`PlotError`] where the drawing library refuses.
pub fn parallel(
    metric: &str,
    values: &[f64],
    losses: &[f64],
    columns: &[Column],
) -> Result<String, PlotError> {
    if values.is_empty() {
        return empty("no trial is complete");
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| losses[a].total_cmp(&losses[b]));
    order.truncate(LINES);
    let shown = &columns[..columns.len().min(AXES - 1)];
    let own = Drawn::of_value(metric, values);
    let mut axes: Vec<Drawn> = shown.iter().map(Drawn::of_column).collect();
    axes.push(own);
    // The names of the outer axes are centred on them.
    let beside = |axis: &Drawn| 24 + 4 * axis.name.chars().count().min(40) as i32;
    let (left, right) = (beside(&axes[0]).max(60), beside(&axes[axes.len() - 1]).max(130));
    let gap = (WIDTH as i32 - left - right) / (axes.len() as i32 - 1).max(1);
    for (index, axis) in axes.iter_mut().enumerate() {
        axis.at = left + gap * index as i32;
    }
    let rows = name_rows(&axes, gap);
    let top = 84 + 18 * rows as i32;
    let has_absent = shown.iter().any(|column| column.values.contains(&None));
    let height = top + HEIGHT + if has_absent { 62 } else { 30 };
    picture((WIDTH, height as u32), |area| {
        heading(area, "trials by their parameters", &note(metric, values, columns, &order), &[])?;
        for &trial in order.iter().rev() {
            let shade = axes[axes.len() - 1].share(values[trial]);
            let is_best = trial == order[0];
            line(area, &axes, trial, top, (shade_of(shade, values, losses), is_best))?;
        }
        for (index, axis) in axes.iter().enumerate() {
            axis.draw(area, top, top - 14 - 18 * (index % rows) as i32, gap)?;
        }
        colour_bar(area, axes[axes.len() - 1].at, top, values, losses)
    })
}

fn note(metric: &str, values: &[f64], columns: &[Column], order: &[usize]) -> String {
    let best = significant(values[order[0]]);
    let mut note = format!("darker is better; the best in orange: {metric} {best}");
    if order.len() < values.len() {
        note += &format!("; the best {LINES} of {} trials", values.len());
    }
    if columns.len() >= AXES {
        note += &format!("; {} of {} parameters", AXES - 1, columns.len());
    }
    note
}

/// Counts the rows over which names are spread, so that neighbours do not touch.
fn name_rows(axes: &[Drawn], gap: i32) -> usize {
    let longest = axes.iter().map(|axis| axis.name.chars().count()).max().unwrap_or(0);
    (8 * longest as i32 / gap.max(1) + 1).clamp(1, 3) as usize
}

/// Gives the colour at a share of the way up the value's axis, which is good at one end.
fn shade_of(share: f64, values: &[f64], losses: &[f64]) -> RGBColor {
    // A value is its own loss, or the opposite of it.
    let is_falling = values.first() == losses.first();
    let good = if is_falling { 1.0 - share } else { share };
    let (from, to, part) =
        if good < 0.5 { (WORST, MIDDLE, 2.0 * good) } else { (MIDDLE, GOOD, 2.0 * good - 1.0) };
    let mix = |from: u8, to: u8| {
        (f64::from(from) + part * (f64::from(to) - f64::from(from))).round() as u8
    };
    RGBColor(mix(from.0, to.0), mix(from.1, to.1), mix(from.2, to.2))
}

/// An axis with its place.
struct Drawn {
    name: String,
    scale: DrawnScale,
    values: Vec<Option<f64>>,
    at: i32,
}

enum DrawnScale {
    Axis(Axis),
    Words(Vec<String>),
}

impl Drawn {
    fn of_column(column: &Column) -> Drawn {
        let scale = match &column.scale {
            Scale::Words(words) => DrawnScale::Words(words.clone()),
            Scale::Numbers { low, high, is_log, is_whole } => {
                DrawnScale::Axis(Axis::between(*low, *high, *is_log, *is_whole))
            }
        };
        Drawn { name: column.name.clone(), scale, values: column.values.clone(), at: 0 }
    }

    fn of_value(metric: &str, values: &[f64]) -> Drawn {
        let axis = Axis::numbers(values.iter().copied(), true);
        let values = values.iter().copied().map(Some).collect();
        Drawn { name: metric.to_owned(), scale: DrawnScale::Axis(axis), values, at: 0 }
    }

    /// Gives how far up the axis a value is, from 0 to 1.
    fn share(&self, value: f64) -> f64 {
        match &self.scale {
            DrawnScale::Axis(axis) => (axis.coordinate(value) - axis.low) / (axis.high - axis.low),
            DrawnScale::Words(words) => (value + 0.5) / words.len().max(1) as f64,
        }
    }

    /// Gives the ticks: how far up each is, and what it says.
    fn ticks(&self) -> Vec<(f64, String)> {
        match &self.scale {
            DrawnScale::Axis(axis) => {
                let share = |tick: f64| (tick - axis.low) / (axis.high - axis.low);
                axis.ticks.iter().map(|tick| (share(*tick), axis.label(*tick))).collect()
            }
            DrawnScale::Words(words) => {
                let share = |index: usize| (index as f64 + 0.5) / words.len() as f64;
                words.iter().enumerate().map(|(index, word)| (share(index), word.clone())).collect()
            }
        }
    }

    fn draw(&self, area: &Area<'_>, top: i32, name_at: i32, gap: i32) -> Result<(), PlotError> {
        let ends = [(self.at, top), (self.at, top + HEIGHT)];
        area.draw(&PathElement::new(ends, TEXT.stroke_width(1)))?;
        let centred = anchored(15, HPos::Center, VPos::Center);
        area.draw(&Text::new(shortened(&self.name, 40), (self.at, name_at), centred))?;
        if name_at < top - 14 {
            // A thin line leads from a name in a higher row to its axis.
            let ends = [(self.at, name_at + 9), (self.at, top)];
            area.draw(&PathElement::new(ends, super::GRID.stroke_width(1)))?;
        }
        let letters = ((gap - 16) / 7).max(4) as usize;
        for (share, word) in self.ticks() {
            label(area, (self.at, height_of(share, top)), &shortened(&word, letters))?;
        }
        if self.values.contains(&None) {
            label(area, (self.at, top + HEIGHT + 32), "none")?;
        }
        Ok(())
    }
}

fn anchored(size: i32, h_pos: HPos, v_pos: VPos) -> TextStyle<'static> {
    font(size).pos(Pos { h_pos, v_pos })
}

/// Draws a tick and its word, on a ground that keeps it legible before the lines.
fn label(area: &Area<'_>, (at, height): (i32, i32), word: &str) -> Result<(), PlotError> {
    let width = 7 * word.chars().count() as i32 + 6;
    let ground = [(at + 6, height - 8), (at + 6 + width, height + 8)];
    area.draw(&Rectangle::new(ground, WHITE.mix(0.8).filled()))?;
    area.draw(&PathElement::new([(at - 4, height), (at + 4, height)], TEXT.stroke_width(1)))?;
    let style = anchored(13, HPos::Left, VPos::Center);
    area.draw(&Text::new(word.to_owned(), (at + 9, height), style))?;
    Ok(())
}

fn height_of(share: f64, top: i32) -> i32 {
    top + (f64::from(HEIGHT) * (1.0 - share.clamp(0.0, 1.0))).round() as i32
}

/// Draws one trial; where a parameter did not exist, the line passes below its axis.
fn line(
    area: &Area<'_>,
    axes: &[Drawn],
    trial: usize,
    top: i32,
    (colour, is_best): (RGBColor, bool),
) -> Result<(), PlotError> {
    let point = |axis: &Drawn| {
        let height = axis.values[trial].map(|value| height_of(axis.share(value), top));
        (axis.at, height.unwrap_or(top + HEIGHT + 32))
    };
    let points: Vec<(i32, i32)> = axes.iter().map(point).collect();
    let style = if is_best { PREDICTED.stroke_width(3) } else { colour.mix(0.75).stroke_width(1) };
    area.draw(&PathElement::new(points, style))?;
    Ok(())
}

/// Draws beside the value's axis which colour stands for which value.
fn colour_bar(
    area: &Area<'_>,
    at: i32,
    top: i32,
    values: &[f64],
    losses: &[f64],
) -> Result<(), PlotError> {
    let step = 4;
    for from in (0..HEIGHT).step_by(step) {
        let share = 1.0 - f64::from(from) / f64::from(HEIGHT);
        let colour = shade_of(share, values, losses);
        let part = [(at + 92, top + from), (at + 106, top + from + step as i32)];
        area.draw(&Rectangle::new(part, colour.filled()))?;
    }
    Ok(())
}

/// Gives a text of at most so many letters.
pub(super) fn shortened(text: &str, letters: usize) -> String {
    if text.chars().count() <= letters {
        return text.to_owned();
    }
    text.chars().take(letters.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::keep;
    use super::*;

    fn numbers(name: &str, (low, high): (f64, f64), is_log: bool, is_whole: bool) -> Column {
        let value = |trial: u64| {
            let share = (trial * 7919 % 97) as f64 / 96.0;
            let at =
                if is_log { low * (high / low).powf(share) } else { low + (high - low) * share };
            Some(if is_whole { at.round() } else { at })
        };
        let scale = Scale::Numbers { low, high, is_log, is_whole };
        Column { name: name.to_owned(), scale, values: (0..60).map(value).collect() }
    }

    fn words(name: &str, words: &[&str]) -> Column {
        let scale = Scale::Words(words.iter().map(|word| (*word).to_owned()).collect());
        let count = words.len() as u64;
        let values = (0..60_u64).map(|trial| Some((trial * 31 % count) as f64)).collect();
        Column { name: name.to_owned(), scale, values }
    }

    #[test]
    fn every_axis_has_its_name_and_ticks() {
        let mut momentum = numbers("optimizer.momentum", (0.0, 0.9), false, false);
        let kinds = words("optimizer.kind", &["adam", "sgd"]);
        for (value, kind) in momentum.values.iter_mut().zip(&kinds.values) {
            *value = value.filter(|_| *kind == Some(1.0));
        }
        let columns = [
            numbers("optimizer.learning_rate", (1e-4, 1e-2), true, false),
            words("network.units", &["[16]", "[32]", "[64]", "[64,64]", "[128,128,128]"]),
            kinds,
            momentum,
            numbers("network.dropout", (0.1, 0.5), false, false),
            numbers("batch_size", (16.0, 128.0), true, true),
            numbers("window", (12.0, 36.0), false, true),
        ];
        let values: Vec<f64> =
            (0..60_u64).map(|trial| 0.004 + 0.2 * (trial * 53 % 59) as f64 / 59.0).collect();
        let text = parallel("validation_loss", &values, &values, &columns).expect("it is drawn");
        keep("parallel.svg", &text);
        for word in ["optimizer.learning_rate", "[128,128,128]", "none", "0.001", "validation_loss"]
        {
            assert!(text.contains(word), "{word}");
        }
        let losses: Vec<f64> = values.iter().map(|value| -value).collect();
        let text = parallel("score", &values, &losses, &columns[..1]).expect("it is drawn");
        keep("parallel-one.svg", &text);
        assert!(text.contains("the best in orange: score 0.2006"), "{text}");
    }
}
