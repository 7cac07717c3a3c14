//! Predictions without a network, which a model must beat to be worth its while.
//!
//! Each uses only what is known when the model predicts: with a horizon of `n`, the target up to
//! `n` rows before the predicted one, and up to the row before it where `n` is 0. All values are in
//! the target's own units, but those of [`Ridge`], which are as its pairs have them.

use std::ops::Range;

/// The rows of all series, whatever split they are in, ordered by series and time.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// The series of each row, as numbers that rise.
    pub series: Vec<u32>,
    /// Seconds since 1970, rising within a series.
    pub seconds: Vec<f64>,
    /// The target.
    pub target: Vec<f64>,
}

/// Predictions of a rule that cannot always be followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Naive {
    /// A prediction for each row asked for.
    pub predicted: Vec<f64>,
    /// How many of them had to be made in another way.
    pub fallbacks: usize,
}

/// Times closer than this many seconds are the same.
const SAME_TIME: f64 = 5e-4;

impl Timeline {
    /// Predicts the newest known value of the series; `otherwise` where none is known.
    pub fn last_value(&self, rows: &[usize], horizon: usize, otherwise: f64) -> Naive {
        self.naive(
            rows,
            |row| self.newest(row, horizon).map(|known| self.target[known]),
            |_| otherwise,
        )
    }

    /// Predicts the value of the series a whole number of periods before: the fewest after which
    /// the value is known. Where there is no row at that time, the newest known value stands in.
    pub fn seasonal(&self, rows: &[usize], horizon: usize, period: f64, otherwise: f64) -> Naive {
        let newest = |row| self.newest(row, horizon).map_or(otherwise, |known| self.target[known]);
        self.naive(rows, |row| self.season_before(row, horizon, period), newest)
    }

    fn naive(
        &self,
        rows: &[usize],
        rule: impl Fn(usize) -> Option<f64>,
        otherwise: impl Fn(usize) -> f64,
    ) -> Naive {
        let mut fallbacks = 0;
        let mut predict = |&row: &usize| {
            rule(row).unwrap_or_else(|| {
                fallbacks += 1;
                otherwise(row)
            })
        };
        let predicted = rows.iter().map(&mut predict).collect();
        Naive { predicted, fallbacks }
    }

    /// Finds the newest row of the same series whose target is known.
    fn newest(&self, row: usize, horizon: usize) -> Option<usize> {
        let known = row.checked_sub(horizon.max(1))?;
        (self.series[known] == self.series[row]).then_some(known)
    }

    fn season_before(&self, row: usize, horizon: usize, period: f64) -> Option<f64> {
        let newest = self.newest(row, horizon)?;
        let age = self.seconds[row] - self.seconds[newest];
        let periods = ((age - SAME_TIME) / period).ceil().max(1.0);
        let time = self.seconds[row] - periods * period;
        let past = self.past(newest);
        let place = past.start
            + self.seconds[past.clone()].partition_point(|seconds| *seconds < time - SAME_TIME);
        let found = past.contains(&place) && self.seconds[place] <= time + SAME_TIME;
        found.then(|| self.target[place])
    }

    /// Gives the rows of a row's series up to it.
    fn past(&self, row: usize) -> Range<usize> {
        let series = self.series[row];
        self.series.partition_point(|other| *other < series)..row + 1
    }
}

/// A linear model of a row's own features, with a penalty on its squared weights.
#[derive(Clone, Debug, PartialEq)]
pub struct Ridge {
    /// The weight of each feature.
    pub weights: Vec<f64>,
    /// The prediction where all features are 0.
    pub intercept: f64,
    /// The penalty that was chosen, on features of variance 1 and for each row.
    pub penalty: f64,
}

/// Features with one or more targets beside them, a row each.
#[derive(Clone, Debug, Default)]
pub struct Pairs<'a> {
    /// The features.
    pub inputs: Vec<&'a [f32]>,
    /// The values of each target.
    pub targets: Vec<Vec<f64>>,
}

/// The penalties that are tried.
const PENALTIES: [f64; 7] = [1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

impl Ridge {
    /// Fits for each target a model for each penalty of a small grid on the train rows, and takes
    /// the one that fits the validation rows best; where there are none, the train rows.
    ///
    /// `None` where there are no train rows.
    pub fn fit(train: &Pairs<'_>, validation: &Pairs<'_>) -> Option<Vec<Ridge>> {
        let moments = Moments::of(&train.inputs)?;
        let judge = if validation.inputs.is_empty() { train } else { validation };
        let fit = |(target, judged): (&Vec<f64>, &Vec<f64>)| {
            let towards = moments.towards(&train.inputs, target);
            let fitted = PENALTIES.iter().filter_map(|penalty| moments.solve(&towards, *penalty));
            let scored = fitted.map(|ridge| (ridge.squared_error(&judge.inputs, judged), ridge));
            scored.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, ridge)| ridge)
        };
        train.targets.iter().zip(&judge.targets).map(fit).collect()
    }

    /// Predicts the target of a row.
    pub fn predict(&self, inputs: &[f32]) -> f64 {
        let terms = self.weights.iter().zip(inputs);
        terms.fold(self.intercept, |sum, (weight, input)| sum + weight * f64::from(*input))
    }

    fn squared_error(&self, inputs: &[&[f32]], target: &[f64]) -> f64 {
        let rows = inputs.iter().zip(target);
        rows.map(|(inputs, target)| (self.predict(inputs) - target).powi(2)).sum()
    }
}

/// What the normal equations need of the train rows' features.
struct Moments {
    means: Vec<f64>,
    deviations: Vec<f64>,
    /// `[features, features]`: the features' correlations.
    correlations: Vec<f64>,
}

/// What they need of a target.
struct Towards {
    mean: f64,
    /// Each feature's covariance with the target, over its own deviation.
    covariances: Vec<f64>,
}

impl Moments {
    fn of(rows: &[&[f32]]) -> Option<Moments> {
        let width = rows.first()?.len();
        let count = rows.len() as f64;
        let mut means = vec![0.0; width];
        for inputs in rows {
            means.iter_mut().zip(*inputs).for_each(|(sum, input)| *sum += f64::from(*input));
        }
        means.iter_mut().for_each(|mean| *mean /= count);
        let mut products = vec![0.0; width * width];
        let mut centred = vec![0.0; width];
        for inputs in rows {
            centre(&mut centred, inputs, &means);
            for (row, left) in products.chunks_exact_mut(width).zip(&centred) {
                row.iter_mut().zip(&centred).for_each(|(sum, right)| *sum += left * right / count);
            }
        }
        // A feature that does not vary gets the weight 0: its products are all 0.
        let deviation = |place| {
            let variance: f64 = products[place * width + place];
            if variance > 1e-20 { variance.sqrt() } else { 1.0 }
        };
        let deviations: Vec<f64> = (0..width).map(deviation).collect();
        for (place, product) in products.iter_mut().enumerate() {
            *product /= deviations[place / width] * deviations[place % width];
        }
        Some(Moments { means, deviations, correlations: products })
    }

    fn towards(&self, rows: &[&[f32]], target: &[f64]) -> Towards {
        let count = rows.len() as f64;
        let mean = target.iter().sum::<f64>() / count;
        let mut covariances = vec![0.0; self.means.len()];
        let mut centred = vec![0.0; self.means.len()];
        for (inputs, target) in rows.iter().zip(target) {
            centre(&mut centred, inputs, &self.means);
            let sums = covariances.iter_mut().zip(&centred);
            sums.for_each(|(sum, value)| *sum += value * (target - mean) / count);
        }
        covariances.iter_mut().zip(&self.deviations).for_each(|(sum, by)| *sum /= by);
        Towards { mean, covariances }
    }

    fn solve(&self, towards: &Towards, penalty: f64) -> Option<Ridge> {
        let width = self.means.len();
        let mut matrix = self.correlations.clone();
        (0..width).for_each(|place| matrix[place * width + place] += penalty);
        let standard = cholesky_solve(matrix, towards.covariances.clone())?;
        let weights: Vec<f64> =
            standard.iter().zip(&self.deviations).map(|(weight, by)| weight / by).collect();
        let shift: f64 = weights.iter().zip(&self.means).map(|(weight, mean)| weight * mean).sum();
        Some(Ridge { weights, intercept: towards.mean - shift, penalty })
    }
}

fn centre(centred: &mut [f64], inputs: &[f32], means: &[f64]) {
    for ((centred, input), mean) in centred.iter_mut().zip(inputs).zip(means) {
        *centred = f64::from(*input) - mean;
    }
}

/// Solves `matrix * x = right` for a symmetric matrix; `None` where it is not positive definite.
fn cholesky_solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Option<Vec<f64>> {
    let width = right.len();
    let at = |row: usize, column: usize| row * width + column;
    for row in 0..width {
        for column in 0..=row {
            let dot: f64 = (0..column).map(|k| matrix[at(row, k)] * matrix[at(column, k)]).sum();
            let rest = matrix[at(row, column)] - dot;
            if row == column && rest <= 0.0 {
                return None;
            }
            matrix[at(row, column)] =
                if row == column { rest.sqrt() } else { rest / matrix[at(column, column)] };
        }
    }
    for row in 0..width {
        let dot: f64 = (0..row).map(|k| matrix[at(row, k)] * right[k]).sum();
        right[row] = (right[row] - dot) / matrix[at(row, row)];
    }
    for row in (0..width).rev() {
        let dot: f64 = (row + 1..width).map(|k| matrix[at(k, row)] * right[k]).sum();
        right[row] = (right[row] - dot) / matrix[at(row, row)];
    }
    Some(right)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random::generator;

    /// Two series of six rows, an hour apart, the second with a gap at hour 2.
    fn timeline() -> Timeline {
        let hours = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0, 1.0, 3.0, 4.0, 5.0, 6.0];
        Timeline {
            series: [[0; 6], [1; 6]].concat(),
            seconds: hours.iter().map(|hour| hour * 3600.0).collect(),
            target: (0..12).map(f64::from).collect(),
        }
    }

    #[test]
    fn the_last_value_is_the_newest_that_is_known() {
        let rows = [0, 1, 4, 6, 9];
        let naive = |horizon| timeline().last_value(&rows, horizon, -1.0);
        let same = Naive { predicted: vec![-1.0, 0.0, 3.0, -1.0, 8.0], fallbacks: 2 };
        assert_eq!(naive(0), same);
        assert_eq!(naive(1), same);
        let ahead = Naive { predicted: vec![-1.0, -1.0, 1.0, -1.0, 6.0], fallbacks: 3 };
        assert_eq!(naive(3), ahead);
    }

    #[test]
    fn a_season_before_is_found_by_time_and_never_in_the_future() {
        let rows = [1, 2, 5, 9, 10];
        let naive = |horizon, hours: f64| timeline().seasonal(&rows, horizon, hours * 3600.0, -1.0);
        // Rows 1 and 10 have nothing two hours and, in series 1, at hour 2 before: the last value.
        let short = Naive { predicted: vec![0.0, 0.0, 3.0, 8.0, 8.0], fallbacks: 2 };
        assert_eq!(naive(0, 2.0), short);
        // Three rows ahead, one period of two hours is too young, so two are gone back.
        let ahead = Naive { predicted: vec![-1.0, -1.0, 1.0, 6.0, 7.0], fallbacks: 2 };
        assert_eq!(naive(3, 2.0), ahead);
    }

    #[test]
    fn ridge_finds_the_weights_of_a_linear_target() {
        let mut generator = generator(5, "ridge", &[]);
        let rows: Vec<[f32; 4]> = (0..400)
            .map(|_| {
                let (a, b): (f32, f32) = (generator.random(), generator.random());
                // The third is the first again, the fourth does not vary.
                [a, b * 10.0, a, 3.0]
            })
            .collect();
        let target = |row: &[f32; 4]| 2.0 * f64::from(row[0]) - 0.3 * f64::from(row[1]) + 7.0;
        let pairs = Pairs {
            inputs: rows.iter().map(|row| row.as_slice()).collect(),
            targets: vec![rows.iter().map(target).collect()],
        };
        let ridges = Ridge::fit(&pairs, &Pairs::default()).expect("there are rows");
        let ridge = &ridges[0];
        assert!((ridge.weights[0] - 1.0).abs() < 1e-5, "{ridge:?}");
        assert!((ridge.weights[0] - ridge.weights[2]).abs() < 1e-6, "{ridge:?}");
        assert!((ridge.weights[1] + 0.3).abs() < 1e-5 && ridge.weights[3] == 0.0, "{ridge:?}");
        assert!((ridge.predict(&[0.5, 2.0, 0.5, 3.0]) - 7.4).abs() < 1e-5, "{ridge:?}");
        assert_eq!(Ridge::fit(&Pairs::default(), &Pairs::default()), None);
    }

    fn pairs((inputs, target): &(Vec<Vec<f32>>, Vec<f64>)) -> Pairs<'_> {
        Pairs { inputs: inputs.iter().map(Vec::as_slice).collect(), targets: vec![target.clone()] }
    }

    #[test]
    fn the_penalty_is_the_one_that_generalises() {
        // Fifty rows of twenty features that say nothing: the heaviest penalty fits others best.
        let mut generator = generator(6, "ridge", &[]);
        let mut noise = |rows: usize| -> (Vec<Vec<f32>>, Vec<f64>) {
            let inputs = (0..rows).map(|_| (0..20).map(|_| generator.random()).collect()).collect();
            (inputs, (0..rows).map(|_| generator.random()).collect())
        };
        let (train, validation) = (noise(50), noise(500));
        let (train, other) = (pairs(&train), pairs(&validation));
        let penalty =
            |validation| Ridge::fit(&train, validation).expect("there are rows")[0].penalty;
        assert_eq!(penalty(&other), 1.0);
        assert_eq!(penalty(&Pairs::default()), 1e-8);
    }
}
