//! The evolution strategy itself, after Hansen's tutorial (arXiv 1604.00772): weighted recombination,
//! cumulative step-size adaptation, rank-one and rank-mu updates, negative weights included. Knows no
//! bounds and no space; numbers in equations are the tutorial's.

use super::eigen::{self, Matrix};

/// The state: a normal distribution with mean `mean` and covariance `sigma² C`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Evolution {
    /// The middle of the next generation.
    pub(super) mean: Vec<f64>,
    sigma: f64,
    covariance: Matrix,
    /// The square roots of the covariance's eigenvalues, and its eigenvectors as columns.
    axes: (Vec<f64>, Matrix),
    /// The evolution path of the covariance.
    path: Vec<f64>,
    /// The conjugate evolution path, of the step size.
    sigma_path: Vec<f64>,
    /// Generations that have been learnt from.
    generation: i32,
    rates: Rates,
}

/// The strategy's parameters (table 1).
#[derive(Clone, Debug, PartialEq)]
struct Rates {
    /// The weight of each rank; the positive ones sum to 1.
    weights: Vec<f64>,
    /// The variance effective selection mass.
    mass: f64,
    /// Learning rates and damping: c_sigma, d_sigma, c_c, c_1, c_mu.
    sigma: f64,
    damping: f64,
    path: f64,
    one: f64,
    mu: f64,
}

impl Rates {
    fn new(count: f64, population: usize) -> Rates {
        let half = libm::log((population as f64 + 1.0) / 2.0);
        let raw: Vec<f64> = (1..=population).map(|rank| half - libm::log(rank as f64)).collect();
        let (good, bad) = raw.split_at(population / 2);
        let mass_of = |weights: &[f64]| {
            let sum: f64 = weights.iter().sum();
            sum * sum / weights.iter().map(|weight| weight * weight).sum::<f64>()
        };
        let (mass, bad_mass) = (mass_of(good), mass_of(bad));
        let sigma = (mass + 2.0) / (count + mass + 5.0);
        let one = 2.0 / ((count + 1.3).powi(2) + mass);
        let mu = 2.0 * (0.25 + mass + 1.0 / mass - 2.0) / ((count + 2.0).powi(2) + mass);
        let mu = mu.min(1.0 - one);
        // Bounds of the negative weights' sum (50 to 52).
        let least = (1.0 + one / mu)
            .min(1.0 + 2.0 * bad_mass / (mass + 2.0))
            .min((1.0 - one - mu) / (count * mu));
        let positive: f64 = raw.iter().filter(|weight| **weight > 0.0).sum();
        let negative: f64 = -raw.iter().filter(|weight| **weight < 0.0).sum::<f64>();
        let scaled = |weight: &f64| {
            if *weight >= 0.0 { weight / positive } else { least * weight / negative }
        };
        let excess = ((mass - 1.0) / (count + 1.0)).sqrt() - 1.0;
        Rates {
            weights: raw.iter().map(scaled).collect(),
            mass,
            sigma,
            damping: 1.0 + 2.0 * excess.max(0.0) + sigma,
            path: (4.0 + mass / count) / (count + 4.0 + 2.0 * mass / count),
            one,
            mu,
        }
    }
}

impl Evolution {
    /// Begins with the same spread `sigma` in every direction.
    pub(super) fn new(mean: Vec<f64>, sigma: f64, population: usize) -> Evolution {
        let count = mean.len();
        Evolution {
            mean,
            sigma,
            covariance: eigen::identity(count),
            axes: (vec![1.0; count], eigen::identity(count)),
            path: vec![0.0; count],
            sigma_path: vec![0.0; count],
            generation: 0,
            rates: Rates::new(count as f64, population),
        }
    }

    /// Counts the members of a generation.
    pub(super) fn population(&self) -> usize {
        self.rates.weights.len()
    }

    /// Gives the standard deviation along one coordinate.
    pub(super) fn spread(&self, place: usize) -> f64 {
        self.sigma * self.covariance[place][place].sqrt()
    }

    /// Gives the place of a draw of the standard normal distribution.
    pub(super) fn at(&self, normal: Vec<f64>) -> Vec<f64> {
        let (lengths, vectors) = &self.axes;
        let stretched: Vec<f64> = normal.iter().zip(lengths).map(|(a, b)| a * b).collect();
        let step = vectors.iter().map(|row| dot(row, &stretched));
        self.mean.iter().zip(step).map(|(mean, step)| mean + self.sigma * step).collect()
    }

    /// Learns from a generation, best first (38 to 47).
    pub(super) fn tell(&mut self, best_first: &[&[f64]]) {
        let count = self.mean.len() as f64;
        let rates = self.rates.clone();
        self.generation += 1;
        let step = |place: &&[f64]| -> Vec<f64> {
            place.iter().zip(&self.mean).map(|(at, mean)| (at - mean) / self.sigma).collect()
        };
        let steps: Vec<Vec<f64>> = best_first.iter().map(step).collect();
        let good = steps.iter().zip(&rates.weights).take(steps.len() / 2);
        let mut mean_step = vec![0.0; self.mean.len()];
        good.for_each(|(step, weight)| add(&mut mean_step, *weight, step));
        add(&mut self.mean, self.sigma, &mean_step);

        let white = self.whitened(&mean_step);
        follow(&mut self.sigma_path, rates.sigma, rates.mass, &white);
        let length = dot(&self.sigma_path, &self.sigma_path).sqrt();
        // The length of a standard normal vector.
        let usual = count.sqrt() * (1.0 - 1.0 / (4.0 * count) + 1.0 / (21.0 * count * count));
        let settled = (1.0 - (1.0 - rates.sigma).powi(2 * self.generation)).sqrt();
        let is_stalled = length / settled >= (1.4 + 2.0 / (count + 1.0)) * usual;
        if is_stalled {
            self.path.iter_mut().for_each(|at| *at *= 1.0 - rates.path);
        } else {
            follow(&mut self.path, rates.path, rates.mass, &mean_step);
        }
        self.adapt_covariance(&rates, &steps, is_stalled);
        self.sigma *= libm::exp(rates.sigma / rates.damping * (length / usual - 1.0));
        self.sigma = self.sigma.clamp(1e-150, 1e150);
        self.find_axes();
    }

    fn adapt_covariance(&mut self, rates: &Rates, steps: &[Vec<f64>], is_stalled: bool) {
        let count = self.mean.len();
        let lost = if is_stalled { rates.path * (2.0 - rates.path) } else { 0.0 };
        let sum: f64 = rates.weights.iter().sum();
        let kept = 1.0 + rates.one * lost - rates.one - rates.mu * sum;
        // A negative weight counts a step as if it had the usual length (46).
        let weights: Vec<f64> = steps
            .iter()
            .zip(&rates.weights)
            .map(|(step, weight)| {
                let white = self.whitened(step);
                let length = dot(&white, &white) + 1e-300;
                if *weight >= 0.0 { *weight } else { weight * count as f64 / length }
            })
            .collect();
        for row in 0..count {
            for column in 0..=row {
                let outer = |vector: &[f64]| vector[row] * vector[column];
                let rank_mu: f64 = weights.iter().zip(steps).map(|(w, step)| w * outer(step)).sum();
                let value = kept * self.covariance[row][column]
                    + rates.one * outer(&self.path)
                    + rates.mu * rank_mu;
                self.covariance[row][column] = value;
                self.covariance[column][row] = value;
            }
        }
    }

    /// Gives `C^(-1/2)` times a vector.
    fn whitened(&self, vector: &[f64]) -> Vec<f64> {
        let (lengths, vectors) = &self.axes;
        let mut white = vec![0.0; vector.len()];
        for (axis, length) in lengths.iter().enumerate() {
            let along: f64 = vectors.iter().zip(vector).map(|(row, at)| row[axis] * at).sum();
            let shares = vectors.iter().map(|row| row[axis] * along / length);
            white.iter_mut().zip(shares).for_each(|(at, share)| *at += share);
        }
        white
    }

    /// Decomposes the covariance; an eigenvalue that rounding made negative is raised.
    fn find_axes(&mut self) {
        let (values, vectors) = eigen::decomposed(self.covariance.clone());
        let largest = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let least = largest * 1e-28;
        self.axes = (values.iter().map(|value| value.max(least).sqrt()).collect(), vectors);
    }
}

/// Moves an evolution path by a mean step (43 and 45).
fn follow(path: &mut [f64], rate: f64, mass: f64, step: &[f64]) {
    let share = (rate * (2.0 - rate) * mass).sqrt();
    path.iter_mut().zip(step).for_each(|(at, step)| *at = (1.0 - rate) * *at + share * step);
}

fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

fn add(sum: &mut [f64], factor: f64, vector: &[f64]) {
    sum.iter_mut().zip(vector).for_each(|(at, value)| *at += factor * value);
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// What `benches/peers/cmaes_record.py` recorded of the packages `cmaes` and `pycma`.
    #[derive(Deserialize)]
    struct Recorded {
        mean: Vec<f64>,
        sigma: f64,
        generations: Vec<Generation>,
    }

    #[derive(Deserialize)]
    struct Generation {
        /// Best first.
        places: Vec<Vec<f64>>,
        mean: Vec<f64>,
        sigma: f64,
        covariance: Matrix,
        is_stalled: bool,
    }

    #[test]
    fn generations_move_it_as_they_do_other_implementations() {
        let text = include_str!("../../../tests/data/cmaes.json");
        let recorded: Vec<Recorded> = serde_json::from_str(text).expect("the record can be read");
        let mut stalls = 0;
        for Recorded { mean, sigma, generations } in recorded {
            let count = mean.len();
            let mut ours = Evolution::new(mean, sigma, generations[0].places.len());
            for (number, theirs) in (1..).zip(generations) {
                ours.tell(&theirs.places.iter().map(Vec::as_slice).collect::<Vec<_>>());
                let found =
                    ours.mean.iter().chain([&ours.sigma]).chain(ours.covariance.iter().flatten());
                let expected = theirs.mean.iter().chain([&theirs.sigma]);
                for (one, other) in found.zip(expected.chain(theirs.covariance.iter().flatten())) {
                    let apart = (one - other).abs() / other.abs().max(1.0);
                    assert!(apart < 1e-9, "{count} numbers, generation {number}: {one}, {other}");
                }
                stalls += usize::from(theirs.is_stalled);
            }
        }
        assert!(stalls > 10, "{stalls}");
    }
}
