//! The tree-structured Parzen estimator (Bergstra 2011) as Optuna 5 has it: multivariate, with
//! pending trials counted among the bad ones (`samplers/_tpe/sampler.py`).

use rand_chacha::ChaCha8Rng;

use super::parzen::Parzen;
use super::space::{Param, Space};
use super::{Point, PointRow, random};

/// Candidates of which the most promising is taken.
const CANDIDATES: usize = 24;
/// Good trials at most.
const MOST_GOOD: usize = 25;

/// What a sampler may know of an earlier trial.
pub(super) struct Seen<'a> {
    /// Its parameters.
    pub(super) point: PointRow<'a>,
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

/// What the losses of complete trials are.
///
/// With several objectives, Optuna draws each parameter by itself, takes a whole tenth of the trials
/// for good, and weighs those alike however old they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// Values of one objective.
    Value,
    /// Places in the order of fronts of several.
    Front,
}

/// Gives the next point, from the earlier trials in order of their numbers.
pub(super) fn point(
    space: &Space,
    seen: &[Seen<'_>],
    aim: Aim,
    startup: u64,
    generator: &mut ChaCha8Rng,
) -> Point {
    let ranked = ranked(seen);
    if (ranked.len() as u64) < startup {
        return random::point(space, generator);
    }
    Groups::new(seen, &ranked, aim).point(space, generator)
}

/// Orders the trials that have a value, best first: complete ones by loss, then pruned ones, those
/// that reached a later step first.
fn ranked(seen: &[Seen<'_>]) -> Vec<usize> {
    let standings: Vec<Standing> = seen.iter().map(|one| one.standing).collect();
    ranked_standings(&standings)
}

/// Orders the places of the standings that have a value as trials are ranked, best first.
pub(super) fn ranked_standings(standings: &[Standing]) -> Vec<usize> {
    let key = |index: &usize| match standings[*index] {
        Standing::Complete { loss } => Some((0, 0, loss)),
        Standing::Pruned { step, loss } => Some((1, u64::MAX - step, loss)),
        Standing::Failed | Standing::Pending => None,
    };
    let mut keyed: Vec<_> =
        (0..standings.len()).filter_map(|index| key(&index).map(|key| (key, index))).collect();
    keyed.sort_by(|((a, b, c), _), ((d, e, f), _)| (a, b).cmp(&(d, e)).then(c.total_cmp(f)));
    keyed.into_iter().map(|(_, index)| index).collect()
}

/// The good trials and the others, each in order of their numbers.
struct Groups<'a> {
    below: Vec<&'a Seen<'a>>,
    above: Vec<&'a Seen<'a>>,
    aim: Aim,
}

/// The densities of good trials and of others over some parameters.
struct Pair<'a> {
    good: Parzen<'a>,
    bad: Parzen<'a>,
}

impl<'a> Groups<'a> {
    /// Parts the trials: the best tenth of those that have ended, by `ranked`, is good.
    fn new(seen: &'a [Seen<'a>], ranked: &[usize], aim: Aim) -> Groups<'a> {
        let ended = seen.iter().filter(|one| one.standing != Standing::Pending).count();
        let most = if aim == Aim::Value { MOST_GOOD } else { usize::MAX };
        let good = ended.div_ceil(10).min(most).min(ranked.len());
        let mut groups = Groups { below: Vec::new(), above: Vec::new(), aim };
        for (index, one) in seen.iter().enumerate() {
            let group =
                if ranked[..good].contains(&index) { &mut groups.below } else { &mut groups.above };
            group.push(one);
        }
        groups
    }

    /// Draws the parameters that every ended trial has at once, and each other one by itself.
    fn point(&self, space: &Space, generator: &mut ChaCha8Rng) -> Point {
        let drawn = match self.shared(space) {
            shared if shared.is_empty() || self.aim == Aim::Front => Point::new(),
            shared => self.promising(&shared, generator),
        };
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

    /// Gives the parameters that every ended trial has, by name.
    fn shared<'s>(&self, space: &'s Space) -> Vec<&'s Param> {
        let ended = self.below.iter().chain(&self.above);
        let mut shared = space.params_by_path();
        shared.retain(|param| {
            let has = |one: &&Seen<'_>| {
                one.standing == Standing::Pending || one.point.contains_key(&param.path)
            };
            ended.clone().all(has)
        });
        shared
    }

    /// Fits the two densities.
    fn pair<'s>(&self, params: &[&'s Param]) -> Pair<'s> {
        let good = observations(params, &self.below);
        let good = match self.aim {
            Aim::Value => Parzen::new(params, &good),
            Aim::Front => Parzen::weighed(params, &good, vec![1.0; good.len()]),
        };
        Pair { good, bad: Parzen::new(params, &observations(params, &self.above)) }
    }

    /// Draws candidates from the good trials' density and takes the one that is likeliest under it
    /// and unlikeliest under the others'.
    fn promising(&self, params: &[&Param], generator: &mut ChaCha8Rng) -> Point {
        let pair = self.pair(params);
        let mut best: Option<(f64, Vec<f64>)> = None;
        for _ in 0..CANDIDATES {
            let candidate = pair.good.sample(generator);
            let promise = pair.promise(&candidate);
            if best.as_ref().is_none_or(|(most, _)| promise > *most) {
                best = Some((promise, candidate));
            }
        }
        let (_, coordinates) = best.expect("there is at least one candidate");
        let pairs = params.iter().zip(coordinates);
        pairs.map(|(param, at)| (param.path.clone(), param.domain.at_coordinate(at))).collect()
    }
}

impl Pair<'_> {
    /// Gives the acquisition value: the logarithm of the good trials' density over the others'.
    fn promise(&self, coordinates: &[f64]) -> f64 {
        self.good.log_density(coordinates) - self.bad.log_density(coordinates)
    }
}

/// Gives the coordinates of those points that have all of the parameters.
fn observations(params: &[&Param], seen: &[&Seen<'_>]) -> Vec<Vec<f64>> {
    let coordinates = |one: &&Seen<'_>| {
        let values = params
            .iter()
            .map(|param| one.point.get(&param.path).map(|value| param.domain.coordinate(value)));
        values.collect::<Option<Vec<f64>>>()
    };
    seen.iter().filter_map(coordinates).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;
    use crate::study::SearchParam;

    /// What `benches/peers/optuna_record.py` recorded of Optuna 5.
    #[derive(Deserialize)]
    struct Record {
        histories: Vec<History>,
    }

    #[derive(Deserialize)]
    struct History {
        name: String,
        direction: String,
        space: std::collections::BTreeMap<String, SearchParam>,
        trials: Vec<RecordedTrial>,
        draws: Vec<Draw>,
    }

    #[derive(Deserialize)]
    struct RecordedTrial {
        state: String,
        point: Point,
        value: Option<f64>,
        step: Option<u64>,
    }

    /// Parameters that were drawn together, with acquisition values at some points.
    #[derive(Deserialize)]
    struct Draw {
        params: Vec<String>,
        candidates: Vec<Candidate>,
    }

    #[derive(Deserialize)]
    struct Candidate {
        at: Vec<Value>,
        promise: f64,
    }

    fn standing(trial: &RecordedTrial, direction: &str) -> Standing {
        let sign = if direction == "maximize" { -1.0 } else { 1.0 };
        let loss = trial.value.map_or(f64::NAN, |value| sign * value);
        match trial.state.as_str() {
            "complete" => Standing::Complete { loss },
            "pruned" => Standing::Pruned { step: trial.step.expect("it is recorded"), loss },
            "failed" => Standing::Failed,
            "pending" => Standing::Pending,
            other => panic!("no state `{other}`"),
        }
    }

    #[test]
    fn acquisition_values_are_those_of_optuna() {
        let record: Record = serde_json::from_str(include_str!("../../tests/data/tpe.json"))
            .expect("the record is well-formed");
        let (mut compared, mut together) = (0, 0);
        for history in &record.histories {
            let space = Space::new(&history.space);
            let seen: Vec<Seen<'_>> = history
                .trials
                .iter()
                .map(|trial| Seen {
                    point: trial.point.row(),
                    standing: standing(trial, &history.direction),
                })
                .collect();
            let groups = Groups::new(&seen, &ranked(&seen), Aim::Value);
            let shared: Vec<&str> =
                groups.shared(&space).iter().map(|param| param.path.as_str()).collect();
            for draw in &history.draws {
                let find = |path: &String| space.params.iter().find(|param| param.path == *path);
                let params: Vec<&Param> = draw.params.iter().filter_map(find).collect();
                // A choice of one is left out there, and is drawn with probability 1 here.
                let is_shared = shared.iter().filter(|path| **path != "single").eq(&draw.params);
                assert_eq!(
                    is_shared,
                    shared.contains(&draw.params[0].as_str()),
                    "{}",
                    history.name
                );
                together += u64::from(is_shared && params.len() > 1);
                let pair = groups.pair(&params);
                for candidate in &draw.candidates {
                    let at = params.iter().zip(&candidate.at);
                    let at: Vec<f64> =
                        at.map(|(param, value)| param.domain.coordinate(value)).collect();
                    let promise = pair.promise(&at);
                    let error = (promise - candidate.promise).abs();
                    assert!(
                        error < 1e-6,
                        "{}: {promise} is not {} at {:?}",
                        history.name,
                        candidate.promise,
                        candidate.at
                    );
                    compared += 1;
                }
            }
        }
        assert!(compared > 100 && together >= 4, "{compared} {together}");
    }

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
            standings.into_iter().map(|standing| Seen { point: point.row(), standing }).collect();
        assert_eq!(ranked(&seen), [5, 2, 6, 4, 1]);
    }
}
