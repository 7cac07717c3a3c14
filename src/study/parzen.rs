//! The Parzen estimator of TPE: a mixture of one product kernel an observation and a wide prior.
//!
//! Kernel widths, weights and the prior are those of Optuna 5 (`samplers/_tpe/parzen_estimator.py`):
//! a width is the larger distance to the two neighbours, not to the ends of the range. Works on
//! coordinates: the index of a choice, a number, or its logarithm.

use std::f64::consts::{PI, SQRT_2};

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

use super::space::{Domain, Param, Range};

/// Observations beyond this many, counted from the newest, weigh less the older they are.
const FULL_WEIGHT: usize = 25;

/// A density over some parameters at once.
pub(super) struct Parzen<'a> {
    /// The share of each kernel, the prior's last; they sum to 1.
    weights: Vec<f64>,
    /// The kernels' factors for each parameter.
    factors: Vec<Factor<'a>>,
}

/// One parameter's factor of every kernel.
enum Factor<'a> {
    /// The chance of each choice, by kernel.
    Choice(Vec<Vec<f64>>),
    /// Truncated normals.
    Number(&'a Range, Vec<Normal>),
}

/// A normal distribution that is cut at the ends of a range.
#[derive(Clone, Copy)]
struct Normal {
    mean: f64,
    sigma: f64,
    low: f64,
    high: f64,
    /// The logarithm of the mass between the ends.
    log_mass: f64,
}

impl<'a> Parzen<'a> {
    /// Fits the density to observations, oldest first, each with one coordinate a parameter.
    pub(super) fn new(params: &[&'a Param], observations: &[Vec<f64>]) -> Parzen<'a> {
        Parzen::weighed(params, observations, age_weights(observations.len()))
    }

    /// Fits the density to observations of given weights; the prior's is 1.
    pub(super) fn weighed(
        params: &[&'a Param],
        observations: &[Vec<f64>],
        mut weights: Vec<f64>,
    ) -> Parzen<'a> {
        weights.push(1.0);
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
        let factor = |(place, param): (usize, &&'a Param)| {
            let seen: Vec<f64> = observations.iter().map(|one| one[place]).collect();
            match &param.domain {
                Domain::Choice(choices) => Factor::Choice(choice_kernels(choices.len(), &seen)),
                Domain::Number(range) => Factor::Number(range, normal_kernels(range, &seen)),
            }
        };
        Parzen { weights, factors: params.iter().enumerate().map(factor).collect() }
    }

    /// Draws coordinates: one kernel, then each parameter from it.
    pub(super) fn sample(&self, generator: &mut impl Rng) -> Vec<f64> {
        let kernel = draw_index(&self.weights, generator);
        let draw = |factor: &Factor<'_>| match factor {
            Factor::Choice(chances) => draw_index(&chances[kernel], generator) as f64,
            Factor::Number(range, normals) => {
                let drawn = normals[kernel].draw(generator);
                match range.step {
                    Some(_) => range.nearest(drawn),
                    None => drawn,
                }
            }
        };
        self.factors.iter().map(draw).collect()
    }

    /// Gives the logarithm of the density at some coordinates (of the mass, where values are
    /// countable).
    pub(super) fn log_density(&self, coordinates: &[f64]) -> f64 {
        let kernel = |(index, weight): (usize, &f64)| {
            let factors = self.factors.iter().zip(coordinates);
            let logs = factors.map(|(factor, &at)| factor.log_density(index, at));
            libm::log(*weight) + logs.sum::<f64>()
        };
        let logs: Vec<f64> = self.weights.iter().enumerate().map(kernel).collect();
        // The prior covers the whole space, so the largest term is finite.
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        largest + libm::log(logs.iter().map(|one| libm::exp(one - largest)).sum())
    }
}

impl Factor<'_> {
    fn log_density(&self, kernel: usize, at: f64) -> f64 {
        match self {
            Factor::Choice(chances) => libm::log(chances[kernel][at as usize]),
            Factor::Number(range, normals) => {
                let normal = &normals[kernel];
                match range.cell(at) {
                    None => normal.log_density(at),
                    Some((left, right)) => normal.log_cell(left, right),
                }
            }
        }
    }
}

/// Gives each observation's weight, oldest first: 1, but beyond 25 observations a ramp to it.
fn age_weights(count: usize) -> Vec<f64> {
    let ramp = count.saturating_sub(FULL_WEIGHT);
    let first = 1.0 / count.max(1) as f64;
    let weight = |index: usize| {
        if index >= ramp {
            return 1.0;
        }
        first + (1.0 - first) * index as f64 / (ramp.max(2) - 1) as f64
    };
    (0..count).map(weight).collect()
}

fn choice_kernels(choices: usize, seen: &[f64]) -> Vec<Vec<f64>> {
    let prior = 1.0 / (seen.len() + 1) as f64;
    let kernel = |observed: Option<usize>| {
        let weight = |index| prior + if Some(index) == observed { 1.0 } else { 0.0 };
        let sum = prior * choices as f64 + if observed.is_some() { 1.0 } else { 0.0 };
        (0..choices).map(|index| weight(index) / sum).collect()
    };
    seen.iter().map(|&at| Some(at as usize)).chain([None]).map(kernel).collect()
}

fn normal_kernels(range: &Range, seen: &[f64]) -> Vec<Normal> {
    let (low, high) = range.widened();
    let span = high - low;
    let narrowest = span / f64::min(100.0, (seen.len() + 2) as f64);
    let mut order: Vec<usize> = (0..seen.len()).collect();
    order.sort_by(|&a, &b| seen[a].total_cmp(&seen[b]));
    let mut sigmas = vec![span; seen.len()];
    for (place, &index) in order.iter().enumerate() {
        let left = place.checked_sub(1).map(|before| seen[index] - seen[order[before]]);
        let right = order.get(place + 1).map(|&after| seen[after] - seen[index]);
        let distance = match (left, right) {
            (None, None) => f64::max(seen[index] - low, high - seen[index]),
            _ => f64::max(left.unwrap_or(0.0), right.unwrap_or(0.0)),
        };
        sigmas[index] = distance.clamp(narrowest, span);
    }
    let observed =
        seen.iter().zip(sigmas).map(|(&mean, sigma)| Normal::new(mean, sigma, low, high));
    observed.chain([Normal::new((low + high) / 2.0, span, low, high)]).collect()
}

impl Normal {
    fn new(mean: f64, sigma: f64, low: f64, high: f64) -> Normal {
        let log_mass = libm::log(mass((low - mean) / sigma, (high - mean) / sigma));
        Normal { mean, sigma, low, high, log_mass }
    }

    /// Draws by rejection: the mean lies in the range and the range is no narrower than sigma, so
    /// at least a third of the draws fall into it.
    fn draw(&self, generator: &mut impl Rng) -> f64 {
        loop {
            let normal: f64 = generator.sample(StandardNormal);
            let drawn = self.mean + self.sigma * normal;
            if (self.low..=self.high).contains(&drawn) {
                return drawn;
            }
        }
    }

    fn log_density(&self, at: f64) -> f64 {
        let z = (at - self.mean) / self.sigma;
        -z * z / 2.0 - libm::log(2.0 * PI) / 2.0 - libm::log(self.sigma) - self.log_mass
    }

    fn log_cell(&self, left: f64, right: f64) -> f64 {
        let cell = mass((left - self.mean) / self.sigma, (right - self.mean) / self.sigma);
        libm::log(cell) - self.log_mass
    }
}

/// Gives the mass of the standard normal distribution between two points, from the tail on which
/// nothing cancels.
pub(super) fn mass(left: f64, right: f64) -> f64 {
    if left > 0.0 {
        return mass(-right, -left);
    }
    (libm::erfc(-right / SQRT_2) - libm::erfc(-left / SQRT_2)) / 2.0
}

fn draw_index(chances: &[f64], generator: &mut impl Rng) -> usize {
    let share: f64 = generator.random();
    let mut sum = 0.0;
    for (index, chance) in chances.iter().enumerate() {
        sum += chance;
        if share < sum {
            return index;
        }
    }
    chances.len() - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::generator;

    fn number(low: f64, high: f64, step: Option<f64>) -> Param {
        let range = Range { low, high, step, log: false, whole: false };
        Param { path: "x".to_owned(), domain: Domain::Number(range), when: Default::default() }
    }

    #[test]
    fn a_density_integrates_to_one_and_masses_sum_to_one() {
        let continuous = number(-1.0, 2.0, None);
        let parzen = Parzen::new(&[&continuous], &[vec![-0.9], vec![0.5], vec![0.6]]);
        let cells = 30_000;
        let middle = |cell: i32| -1.0 + 3.0 * (f64::from(cell) + 0.5) / f64::from(cells);
        let integral: f64 = (0..cells)
            .map(|cell| parzen.log_density(&[middle(cell)]).exp() * 3.0 / f64::from(cells))
            .sum();
        assert!((integral - 1.0).abs() < 1e-6, "{integral}");

        let stepped = number(0.0, 1.0, Some(0.25));
        let parzen = Parzen::new(&[&stepped], &[vec![0.25], vec![1.0]]);
        let masses = [0.0, 0.25, 0.5, 0.75, 1.0].map(|at| parzen.log_density(&[at]).exp());
        assert!((masses.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{masses:?}");
    }

    #[test]
    fn widths_are_the_larger_distance_to_a_neighbour_within_bounds() {
        let Domain::Number(range) = number(0.0, 10.0, None).domain else { unreachable!() };
        let sigmas = |seen: &[f64]| -> Vec<f64> {
            normal_kernels(&range, seen).iter().map(|normal| normal.sigma).collect()
        };
        // Four kernels and one: no narrower than 10 / 5; the ends of the range do not count.
        assert_eq!(sigmas(&[9.0, 1.0, 1.5]), [7.5, 2.0, 7.5, 10.0]);
        // A single observation looks at the ends, for it has no neighbour.
        assert_eq!(sigmas(&[3.0]), [7.0, 10.0]);
    }

    #[test]
    fn old_observations_weigh_less() {
        assert_eq!(age_weights(24), vec![1.0; 24]);
        let weights = age_weights(28);
        assert_eq!(weights[3..], [1.0; 25]);
        assert_eq!(weights[0], 1.0 / 28.0);
        assert_eq!(weights[2], 1.0);
        assert!(weights[0] < weights[1] && weights[1] < weights[2]);
    }

    #[test]
    fn draws_follow_the_density() {
        let param = number(0.0, 1.0, None);
        let parzen = Parzen::new(&[&param], &[vec![0.1], vec![0.15]]);
        let mut generator = generator(3, "test", &[]);
        let below = (0..20_000).filter(|_| parzen.sample(&mut generator)[0] < 0.3).count();
        let cells = 3_000;
        let middle = |cell: i32| 0.3 * (f64::from(cell) + 0.5) / f64::from(cells);
        let share: f64 = (0..cells)
            .map(|cell| parzen.log_density(&[middle(cell)]).exp() * 0.3 / f64::from(cells))
            .sum();
        // Five standard deviations of the count.
        let bound = 5.0 * (share * (1.0 - share) / 20_000.0).sqrt();
        assert!((below as f64 / 20_000.0 - share).abs() < bound, "{below} of 20000, {share}");
    }
}
