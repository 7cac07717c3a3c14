//! The CMA-ES sampler: asks generation by generation, and is told each one whole.
//!
//! It moves the numbers that always exist, each as a share of its range (of its logarithms where it is
//! drawn by them). Choices, and parameters under a condition, are drawn at random beside them. A point
//! depends on the earlier generations alone: pruned trials rank after complete ones, failed ones last.
//!
//! A draw beyond a bound is reflected back, and learnt from where it was drawn: the best place may lie at
//! a bound, where drawing again, as Optuna's `cmaes` does, makes the step size grow without end. Values
//! on steps end at the last, and keep a margin ([`margin`]), so that none is given up for good.

use rand_distr::{Distribution, StandardNormal};

use super::space::{Domain, Param, Range, Space};
use super::tpe::{Standing, ranked_standings};
use super::{Point, random};
use crate::random::generator;

mod eigen;
mod evolution;
mod margin;
#[cfg(test)]
mod tests;

use evolution::Evolution;

/// A cell's end that is this near to an end of its range is that end.
const DUST: f64 = 1e-12;

/// The search distribution after some whole generations, and the draws of the next.
#[derive(Debug)]
pub(super) struct Cmaes {
    seed: u64,
    /// The number of the first trial of the first generation.
    first: u64,
    evolution: Evolution,
    /// Factors by which the spread of each parameter on steps is widened when it is rounded.
    widths: Vec<f64>,
    /// Generations that have been told.
    generation: u64,
    /// The draws of the generation that has not.
    draws: Vec<Vec<f64>>,
}

impl Cmaes {
    /// Begins at the middle of the space, or at `first`, which then is a trial before the first
    /// generation; `sigma` is the first step size as a share of the ranges.
    pub(super) fn new(
        space: &Space,
        seed: u64,
        sigma: f64,
        population: Option<u64>,
        first: Option<&Point>,
    ) -> Cmaes {
        let start = |(param, range): (&Param, &Range)| {
            let value = first.and_then(|point| point.get(&param.path)?.as_f64());
            value.map_or(0.5, |value| share(range, range.coordinate(value)).clamp(0.0, 1.0))
        };
        let mean: Vec<f64> = moved(space).map(start).collect();
        let count = mean.len();
        let usual = 4 + (3.0 * libm::log(count as f64)) as u64;
        let population = population.unwrap_or(usual) as usize;
        let mut cmaes = Cmaes {
            seed,
            first: u64::from(first.is_some()),
            evolution: Evolution::new(mean, sigma, population),
            widths: vec![1.0; count],
            generation: 0,
            draws: Vec::new(),
        };
        cmaes.keep_margin(space);
        cmaes.draw();
        cmaes
    }

    /// Counts the trials before the generation of a trial: those that must have been told.
    pub(super) fn generation_start(&self, number: u64) -> u64 {
        let population = self.evolution.population() as u64;
        match number.checked_sub(self.first) {
            Some(place) => self.first + place / population * population,
            None => 0,
        }
    }

    /// Gives the point of a trial, none of which may be older than those of the call before; all
    /// trials of earlier generations have been told, and `standing` says how each ended.
    pub(super) fn point(
        &mut self,
        space: &Space,
        number: u64,
        standing: impl Fn(u64) -> Standing,
    ) -> Point {
        let population = self.evolution.population() as u64;
        let place = number - self.first;
        while self.generation < place / population {
            let members = self.first + self.generation * population..;
            let standings: Vec<Standing> =
                members.take(population as usize).map(&standing).collect();
            self.learn(space, &standings);
        }
        self.write(space, number, &self.draws[(place % population) as usize])
    }

    /// Moves the distribution by a whole generation, and draws the next.
    fn learn(&mut self, space: &Space, standings: &[Standing]) {
        let mut order = ranked_standings(standings);
        // A generation without any value says nothing.
        if !order.is_empty() {
            let rest = (0..standings.len()).filter(|member| !order.contains(member));
            let rest: Vec<usize> = rest.collect();
            order.extend(rest);
            let best_first: Vec<&[f64]> =
                order.iter().map(|member| self.draws[*member].as_slice()).collect();
            self.evolution.tell(&best_first);
            self.keep_margin(space);
        }
        self.generation += 1;
        self.draw();
    }

    fn keep_margin(&mut self, space: &Space) {
        let evolution = &mut self.evolution;
        let share_of_tail = 1.0 / (evolution.mean.len() * evolution.population()) as f64;
        for (place, (_, range)) in moved(space).enumerate() {
            let Some((left, right)) = cell(range, evolution.mean[place]) else { continue };
            let spread = evolution.spread(place);
            let kept = margin::kept(
                margin::Marginal {
                    mean: evolution.mean[place],
                    spread: spread * self.widths[place],
                },
                (left > DUST).then_some(left),
                (right < 1.0 - DUST).then_some(right),
                share_of_tail,
            );
            evolution.mean[place] = kept.mean;
            self.widths[place] = kept.spread / spread;
        }
    }

    fn draw(&mut self) {
        let count = self.evolution.mean.len();
        let member = |member: usize| {
            let numbers = [self.generation, member as u64];
            let mut generator = generator(self.seed, "cmaes", &numbers);
            let normal = (0..count).map(|_| StandardNormal.sample(&mut generator)).collect();
            self.evolution.at(normal)
        };
        self.draws = (0..self.evolution.population()).map(member).collect();
    }

    /// Writes a draw as a point, with what CMA-ES does not move drawn at random.
    fn write(&self, space: &Space, number: u64, draw: &[f64]) -> Point {
        let value = |(place, (param, range)): (usize, (&Param, &Range))| {
            let mean = self.evolution.mean[place];
            let share = match range.step {
                None => reflected(draw[place]),
                Some(_) => (mean + (draw[place] - mean) * self.widths[place]).clamp(0.0, 1.0),
            };
            let (low, high) = range.widened();
            let value = param.domain.at_coordinate(low + share * (high - low));
            (param.path.clone(), value)
        };
        let drawn: Point = moved(space).enumerate().map(value).collect();
        random::beside(space, &drawn, &mut generator(self.seed, "beside cmaes", &[number]))
    }
}

/// Gives the parameters that CMA-ES moves: the numbers that always exist.
pub(super) fn moved(space: &Space) -> impl Iterator<Item = (&Param, &Range)> {
    space.params.iter().filter_map(|param| match &param.domain {
        Domain::Number(range) if param.when.is_empty() => Some((param, range)),
        Domain::Number(_) | Domain::Choice(_) => None,
    })
}

/// Folds the line into 0 to 1, as between two mirrors.
fn reflected(share: f64) -> f64 {
    let place = share.rem_euclid(2.0);
    if place > 1.0 { 2.0 - place } else { place }
}

fn share(range: &Range, coordinate: f64) -> f64 {
    let (low, high) = range.widened();
    (coordinate - low) / (high - low)
}

/// Gives the ends of the cell of the value that a share is rounded to; `None` on a continuum.
fn cell(range: &Range, at: f64) -> Option<(f64, f64)> {
    let (low, high) = range.widened();
    let (left, right) = range.cell(low + at.clamp(0.0, 1.0) * (high - low))?;
    Some((share(range, left), share(range, right)))
}
