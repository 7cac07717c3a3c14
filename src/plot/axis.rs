//! Axes: which span they show, where their ticks are, and how a tick is written.

use std::ops::Range;

use chrono::DateTime;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::Ranged;

/// The span of an axis with its ticks.
#[derive(Clone)]
pub(super) struct Axis {
    /// The coordinate of its low end.
    pub(super) low: f64,
    /// The coordinate of its high end.
    pub(super) high: f64,
    /// The coordinates of its ticks.
    pub(super) ticks: Vec<f64>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Numbers with that many digits after the point.
    Number(usize),
    /// Coordinates are decimal logarithms.
    Logarithm,
    /// Seconds since 1970; a tick is a date, with the time of day where ticks are under a day apart.
    Time { daily: bool },
}

impl Axis {
    /// Makes an axis of numbers around all values; logarithmic where all are above 0 and the
    /// largest is more than 20 times the smallest, if `may_be_log`.
    pub(super) fn numbers(values: impl Iterator<Item = f64>, may_be_log: bool) -> Axis {
        let (low, high) = ends(values);
        if may_be_log && low > 0.0 && high > 20.0 * low {
            return Axis::logarithms(low.log10(), high.log10());
        }
        let margin = if high > low { 0.05 * (high - low) } else { 0.5 * high.abs().max(1e-9) };
        let (low, high) = (low - margin, high + margin);
        let step = nice_step((high - low) / 6.0);
        Axis { low, high, ticks: multiples(low, high, step), kind: Kind::Number(digits(step)) }
    }

    /// Makes an axis of numbers from `low` to `high` and no further.
    pub(super) fn between(low: f64, high: f64, is_log: bool, is_whole: bool) -> Axis {
        let mut axis = if is_log {
            Axis::logarithms(low.log10(), high.log10())
        } else {
            let step = nice_step((high - low) / 6.0).max(if is_whole { 1.0 } else { 0.0 });
            let kind = Kind::Number(digits(step));
            Axis { low, high, ticks: multiples(low, high, step), kind }
        };
        (axis.low, axis.high) = (axis.coordinate(low), axis.coordinate(high));
        axis.ticks.retain(|tick| (axis.low..=axis.high).contains(tick));
        axis
    }

    fn logarithms(low: f64, high: f64) -> Axis {
        let margin = 0.05 * (high - low);
        let (low, high) = (low - margin, high + margin);
        let factors: &[f64] = if high - low > 3.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = low.floor() as i32..=high.ceil() as i32;
        let ticks = powers
            .flat_map(|power| factors.iter().map(move |factor| f64::from(power) + factor.log10()));
        let ticks = ticks.filter(|tick| (low..=high).contains(tick)).collect();
        Axis { low, high, ticks, kind: Kind::Logarithm }
    }

    /// Makes an axis of whole numbers from `first` to `last` with half a one beyond each.
    pub(super) fn counts(first: f64, last: f64) -> Axis {
        let (low, high) = (first - 0.5, last + 0.5);
        let step = nice_step((high - low) / 12.0).max(1.0).ceil();
        Axis { low, high, ticks: multiples(low, high, step), kind: Kind::Number(0) }
    }

    /// Makes an axis of times in seconds since 1970, with ticks at round times of UTC.
    pub(super) fn times(values: impl Iterator<Item = f64>) -> Axis {
        const STEPS: [f64; 25] = [
            1.0,
            2.0,
            5.0,
            10.0,
            15.0,
            30.0,
            60.0,
            120.0,
            300.0,
            600.0,
            900.0,
            1_800.0,
            3_600.0,
            7_200.0,
            10_800.0,
            14_400.0,
            21_600.0,
            43_200.0,
            DAY,
            2.0 * DAY,
            5.0 * DAY,
            10.0 * DAY,
            30.0 * DAY,
            90.0 * DAY,
            365.0 * DAY,
        ];
        let (low, high) = ends(values);
        let high = if high > low { high } else { low + 1.0 };
        let widest = (high - low) / 7.0;
        let step = STEPS
            .into_iter()
            .find(|step| *step >= widest)
            .unwrap_or_else(|| nice_step(widest / DAY) * DAY);
        let kind = Kind::Time { daily: step >= DAY };
        Axis { low, high, ticks: multiples(low, high, step), kind }
    }

    /// Gives the coordinate of a value.
    pub(super) fn coordinate(&self, value: f64) -> f64 {
        if self.kind == Kind::Logarithm { value.log10() } else { value }
    }

    /// Writes the tick at a coordinate.
    pub(super) fn label(&self, coordinate: f64) -> String {
        match self.kind {
            Kind::Number(digits) => format!("{coordinate:.digits$}"),
            Kind::Logarithm => power_label(coordinate),
            Kind::Time { daily } => {
                let Some(time) = DateTime::from_timestamp(coordinate.round() as i64, 0) else {
                    return format!("{coordinate} s");
                };
                let form = if daily { "%Y-%m-%d" } else { "%Y-%m-%d %H:%M" };
                let seconds = !daily && coordinate.round() % 60.0 != 0.0;
                time.format(if seconds { "%Y-%m-%d %H:%M:%S" } else { form }).to_string()
            }
        }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (start, end): (i32, i32)) -> i32 {
        let share = (value - self.low) / (self.high - self.low);
        start + (share * f64::from(end - start)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        if hint.weight().allow_light_points() { Vec::new() } else { self.ticks.clone() }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        format!("{value}")
    }

    fn format_ext(&self, value: &f64) -> String {
        self.label(*value)
    }
}

const DAY: f64 = 86_400.0;

fn power_label(coordinate: f64) -> String {
    // A hair is added so that 10^-1 is not taken for a number below it.
    let power = (coordinate + 1e-9).floor() as i32;
    let factor = 10_f64.powf(coordinate - f64::from(power)).round();
    match power {
        -3..=3 => format!("{:.*}", (-power).max(0) as usize, factor * 10_f64.powi(power)),
        _ => format!("{factor}e{power}"),
    }
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    if low <= high { (low, high) } else { (0.0, 1.0) }
}

/// Gives the smallest of 1, 2 and 5 times a power of ten that is at least `step`.
fn nice_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999_999);
    factor.unwrap_or(10.0) * power
}

/// Counts the digits after the point that ticks so far apart need.
fn digits(step: f64) -> usize {
    (-(step * 1.000_001).log10().floor()).clamp(0.0, 12.0) as usize
}

fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|multiple| multiple as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<String> {
        axis.ticks.iter().map(|tick| axis.label(*tick)).collect()
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::numbers([0.02, 0.31].into_iter(), true);
        assert_eq!(labels(&axis), ["0.1", "0.2", "0.3"]);
        let axis = Axis::numbers([0.003, 0.9].into_iter(), true);
        assert_eq!(labels(&axis)[..4], ["0.005", "0.01", "0.02", "0.05"]);
        let axis = Axis::counts(1.0, 12.0);
        assert_eq!(labels(&axis).len(), 12);
        let axis = Axis::times([1_704_067_200.0, 1_704_067_200.0 + 86_400.0].into_iter());
        assert_eq!(labels(&axis)[1], "2024-01-01 04:00");
        let axis = Axis::times([1_704_067_200.0, 1_704_067_200.0 + 30.0 * DAY].into_iter());
        assert_eq!(labels(&axis)[0], "2024-01-03");
    }
}
