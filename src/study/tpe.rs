//! The tree-structured Parzen estimator (Bergstra 2011) as Optuna 5 has it: multivariate, with
//! pending trials counted among the bad ones (`samplers/_tpe/sampler.py`).

use rand_chacha::ChaCha8Rng;

use super::parzen::Parzen;
use super::space::{Param, Space};
use super::{Point, random};

/// Candidates of which the most promising is taken.
const CANDIDATES: usize = 24;
/// Good trials at most.
const MOST_GOOD: usize = 25;

/// What a sampler may know of an earlier trial.
pub(super) struct Seen<'a> {
    /// Its parameters.
    pub(super) point: &'a Point,
    /// What has become of it.
    pub(super) standing: Standing,
}

/// What has become of a trial; losses are such that less is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing {
    /// It ran to its end.
    Complete { loss: f64 },
    /// It was stopped after `step` steps.
    Pruned { step: u64, loss: f64 },
    /// It failed, which is worse than any loss.
    Failed,
    /// Its end is not known.
    Pending,
}

/// Gives the next point, from the earlier trials in order of their numbers.
pub(super) fn point(
    space: &Space,
    seen: &[Seen<'_>],
    startup: u64,
    generator: &mut ChaCha8Rng,
) -> Point {
    let ranked = ranked(seen);
    if (ranked.len() as u64) < startup {
        return random::point(space, generator);
    }
    let finished = seen.iter().filter(|one| one.standing != Standing::Pending).count();
    let good = finished.div_ceil(10).min(MOST_GOOD).min(ranked.len());
    let (below, above): (Vec<_>, Vec<_>) =
        (0..seen.len()).partition(|index| ranked[..good].contains(index));
    let points = |indices: Vec<usize>| -> Vec<&Point> {
        indices.into_iter().map(|index| seen[index].point).collect()
    };
    let groups = Groups { below: points(below), above: points(above) };
    groups.point(space, generator)
}

/// Orders the trials that have a value, best first: complete ones by loss, then pruned ones, those
/// that reached a later step first.
fn ranked(seen: &[Seen<'_>]) -> Vec<usize> {
    let key = |index: &usize| match seen[*index].standing {
        Standing::Complete { loss } => Some((0, 0, loss)),
        Standing::Pruned { step, loss } => Some((1, u64::MAX - step, loss)),
        Standing::Failed | Standing::Pending => None,
    };
    let mut keyed: Vec<_> =
        (0..seen.len()).filter_map(|index| key(&index).map(|key| (key, index))).collect();
    keyed.sort_by(|((a, b, c), _), ((d, e, f), _)| (a, b).cmp(&(d, e)).then(c.total_cmp(f)));
    keyed.into_iter().map(|(_, index)| index).collect()
}

/// The good trials and the others, each in order of their numbers.
struct Groups<'a> {
    below: Vec<&'a Point>,
    above: Vec<&'a Point>,
}

impl Groups<'_> {
    /// Draws the parameters that every trial has at once, and each other one by itself.
    fn point(&self, space: &Space, generator: &mut ChaCha8Rng) -> Point {
        let shared = |param: &&Param| {
            let mut all = self.below.iter().chain(&self.above);
            all.all(|point| point.contains_key(&param.path))
        };
        let joint: Vec<&Param> = space.params.iter().filter(shared).collect();
        let drawn = self.promising(&joint, generator);
        let mut point = Point::new();
        for param in space.params.iter() {
            if !param.is_active(&point) {
                continue;
            }
            let alone = || self.promising(&[param], generator).remove(&param.path);
            let value = drawn.get(&param.path).cloned().or_else(alone);
            point.extend(value.map(|value| (param.path.clone(), value)));
        }
        point
    }

    /// Draws candidates from the good trials' density and takes the one that is likeliest under it
    /// and unlikeliest under the others'.
    fn promising(&self, params: &[&Param], generator: &mut ChaCha8Rng) -> Point {
        let good = Parzen::new(params, &observations(params, &self.below));
        let bad = Parzen::new(params, &observations(params, &self.above));
        let mut best: Option<(f64, Vec<f64>)> = None;
        for _ in 0..CANDIDATES {
            let candidate = good.sample(generator);
            let promise = good.log_density(&candidate) - bad.log_density(&candidate);
            if best.as_ref().is_none_or(|(most, _)| promise > *most) {
                best = Some((promise, candidate));
            }
        }
        let (_, coordinates) = best.expect("there is at least one candidate");
        let pairs = params.iter().zip(coordinates);
        pairs.map(|(param, at)| (param.path.clone(), param.domain.at_coordinate(at))).collect()
    }
}

/// Gives the coordinates of those points that have all of the parameters.
fn observations(params: &[&Param], points: &[&Point]) -> Vec<Vec<f64>> {
    let coordinates = |point: &&Point| {
        let values = params
            .iter()
            .map(|param| point.get(&param.path).map(|value| param.domain.coordinate(value)));
        values.collect::<Option<Vec<f64>>>()
    };
    points.iter().filter_map(coordinates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_rank_by_state_then_step_then_loss() {
        let point = Point::new();
        let standings = [
            Standing::Failed,
            Standing::Pruned { step: 3, loss: 0.1 },
            Standing::Complete { loss: 9.0 },
            Standing::Pending,
            Standing::Pruned { step: 9, loss: 0.7 },
            Standing::Complete { loss: 2.0 },
            Standing::Pruned { step: 9, loss: 0.6 },
        ];
        let seen: Vec<Seen<'_>> =
            standings.into_iter().map(|standing| Seen { point: &point, standing }).collect();
        assert_eq!(ranked(&seen), [5, 2, 6, 4, 1]);
    }
}
