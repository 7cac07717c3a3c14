//! Predicted quantiles: the one that is taken for the prediction, and how good all are.

/// One quantile of the scored rows.
pub(super) struct Quantile {
    /// The share of values that should lie below it.
    pub(super) level: f64,
    /// Its predictions, in the target's own units.
    pub(super) values: Vec<f64>,
}

/// How an interval between two quantiles fits.
pub(super) struct Interval {
    /// The share of values that should lie in it.
    pub(super) expected: f64,
    /// The share that does.
    pub(super) coverage: f64,
    /// The mean width, in the target's own units.
    pub(super) width: f64,
}

/// Parts a network's outputs `[rows, quantiles]` into the prediction, which is the median or the
/// quantile nearest to it, and the quantiles.
pub(super) fn parted(outputs: Vec<f64>, levels: &[f64]) -> (Vec<f64>, Vec<Quantile>) {
    let distance = |level: &f64| (level - 0.5).abs();
    let middle =
        (0..levels.len()).min_by(|a, b| distance(&levels[*a]).total_cmp(&distance(&levels[*b])));
    let Some(middle) = middle else { return (outputs, Vec::new()) };
    let quantile = |(place, level): (usize, &f64)| Quantile {
        level: *level,
        values: outputs.iter().skip(place).step_by(levels.len()).copied().collect(),
    };
    let quantiles: Vec<Quantile> = levels.iter().enumerate().map(quantile).collect();
    (quantiles[middle].values.clone(), quantiles)
}

impl Quantile {
    /// Gives the mean pinball loss, in the target's own units.
    pub(super) fn pinball(&self, actual: &[f64]) -> f64 {
        let loss = |(predicted, actual): (&f64, &f64)| {
            let error = actual - predicted;
            f64::max(self.level * error, (self.level - 1.0) * error)
        };
        self.values.iter().zip(actual).map(loss).sum::<f64>() / actual.len() as f64
    }

    /// Gives the share of the actual values that lie below it.
    pub(super) fn share_below(&self, actual: &[f64]) -> f64 {
        let below = self.values.iter().zip(actual).filter(|(predicted, actual)| actual < predicted);
        below.count() as f64 / actual.len() as f64
    }
}

/// Judges the interval from the lowest to the highest quantile; `None` where there are not two.
pub(super) fn outermost(quantiles: &[Quantile], actual: &[f64]) -> Option<Interval> {
    let [low, .., high] = quantiles else { return None };
    let count = actual.len() as f64;
    let ends = || low.values.iter().zip(&high.values);
    let covered =
        ends().zip(actual).filter(|((low, high), actual)| (**low..=**high).contains(*actual));
    Some(Interval {
        expected: high.level - low.level,
        coverage: covered.count() as f64 / count,
        width: ends().map(|(low, high)| high - low).sum::<f64>() / count,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_scored_by_their_definitions() {
        let outputs = vec![1.0, 2.0, 4.0, 0.0, 3.0, 5.0, 1.0, 1.0, 1.0, 2.0, 2.0, 3.0];
        let (predicted, quantiles) = parted(outputs, &[0.1, 0.4, 0.9]);
        assert_eq!(predicted, [2.0, 3.0, 1.0, 2.0]);
        let actual = [3.0, -1.0, 1.0, 3.5];
        // Errors of 2, -1, 0 and 1.5 at the level 0.1.
        assert!((quantiles[0].pinball(&actual) - (0.2 + 0.9 + 0.0 + 0.15) / 4.0).abs() < 1e-12);
        assert!((quantiles[1].share_below(&actual) - 0.25).abs() < 1e-12);
        let interval = outermost(&quantiles, &actual).expect("there are two");
        assert!((interval.expected - 0.8).abs() < 1e-12);
        assert_eq!((interval.coverage, interval.width), (0.5, 2.25));
        assert!(outermost(&quantiles[..1], &actual).is_none());
        assert_eq!(parted(vec![1.0], &[]).0, [1.0]);
    }
}
