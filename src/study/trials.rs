//! The study itself: asks for the next trial, is told its end, and says which was best.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::cmaes::Cmaes;
use super::grid::{self, Combination};
use super::pruner::{Halving, Hyperband, Tellings, Told, halving_rule, median_rule};
use super::space::{Space, same};
use super::tpe::{self, Aim, Seen, Standing};
use super::{
    Curve, Objective, Point, PointRow, Pruner, Rows, Sampler, SearchParam, StopRule, random, sobol,
};
use crate::random::generator;

/// Trials at most for which room is made at the beginning. A list that grows leaves behind the places
/// where it was, and room that no trial has come to takes no memory.
const ROOM: u64 = 10_000;

/// What a study is: its trials are a pure function of this and of what each trial gives.
#[derive(Clone, Debug)]
pub struct StudyConfig {
    /// The searched parameters by their dotted path.
    pub space: BTreeMap<String, SearchParam>,
    /// How the next trial's parameters are chosen.
    pub sampler: Sampler,
    /// When a trial is stopped before its end.
    pub pruner: Pruner,
    /// The metric to make best.
    pub objective: Objective,
    /// Further metrics to make best at the same time: then a trial is as good as its front, and only
    /// of those on one front does the first metric decide.
    pub others: Vec<Objective>,
    /// Trials in all.
    pub trials: u64,
    /// Trials in flight at most; trial `k` looks at trials `0 ..= k - parallel`.
    pub parallel: u64,
    /// The first trial's parameters, where the space holds the base's own.
    pub first: Option<Point>,
    /// How many steps a trial has, where that is known.
    pub steps: Option<Steps>,
}

/// How many steps a trial has where nothing stops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Steps {
    /// The path of the parameter that says how many, which may be searched.
    pub path: String,
    /// How many there are where a trial's point does not say.
    pub base: u64,
}

impl Steps {
    fn of(&self, point: PointRow<'_>) -> u64 {
        point.get(&self.path).and_then(Value::as_u64).unwrap_or(self.base)
    }

    /// Gives the most steps that a trial of a space may have.
    pub(crate) fn most(&self, space: &Space) -> u64 {
        let Some(param) = space.params.iter().find(|param| param.path == self.path) else {
            return self.base;
        };
        let most = param.domain.ends().iter().filter_map(Value::as_u64).max();
        let base = (!param.when.is_empty()).then_some(self.base);
        most.max(base).unwrap_or(self.base)
    }
}

/// A search under way.
#[derive(Debug)]
pub struct Study {
    config: StudyConfig,
    space: Space,
    total: u64,
    trials: Vec<Trial>,
    /// Their parameters, by number.
    points: Rows<Value>,
    /// What the pruner may know of those that have been told.
    told: Tellings,
    /// The most steps that a trial may have, where that is known.
    most_steps: Option<u64>,
    /// The grid's next combination, where the sampler is one.
    grid: Option<Combination>,
    /// The evolution strategy, where the sampler is one.
    cmaes: Option<Cmaes>,
}

/// One trial of a study; its parameters are the study's to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// Its number, from 0.
    pub number: u64,
    /// Whether and how it ended.
    pub state: TrialState,
    /// The objective's value; only of a complete trial.
    pub value: Option<f64>,
    /// The values of the further objectives, likewise.
    pub others: Box<[f64]>,
    /// The last step that it reported, up to where the study stopped it; 0 where it reported none.
    pub steps: u64,
    /// The objective's metric at that step.
    pub reported: Option<f64>,
}

/// Whether and how a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// It has been asked for and not been told.
    Running,
    /// It ran to its end.
    Complete,
    /// The study stopped it.
    Pruned,
    /// It has no value.
    Failed,
}

impl TrialState {
    /// Gives the word for the state.
    pub fn name(self) -> &'static str {
        match self {
            TrialState::Running => "running",
            TrialState::Complete => "complete",
            TrialState::Pruned => "pruned",
            TrialState::Failed => "failed",
        }
    }
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq)]
pub enum TrialEnd {
    /// It ran to its end. A value that is not finite counts as a failure.
    Complete {
        /// The objective's value.
        value: f64,
        /// The values of the further objectives, in their order.
        others: Vec<f64>,
        /// What it reported by step.
        curve: Curve,
    },
    /// The study's rule stopped it.
    Pruned {
        /// What it reported up to the step at which it was stopped.
        curve: Curve,
    },
    /// It failed: it counts as the worst.
    Failed,
}

impl Study {
    /// Makes a study without trials from a config that `check_space` found no mistake in.
    pub fn new(config: StudyConfig) -> Study {
        let space = Space::new(&config.space);
        let (grid, total) = match config.sampler {
            Sampler::Grid => {
                let apart = config.first.as_ref().is_some_and(|first| !space.holds(first));
                let size = grid::count(&space, config.trials) + u64::from(apart);
                (Some(Combination::first(&space)), size.min(config.trials))
            }
            _ => (None, config.trials),
        };
        let most_steps = config.steps.as_ref().map(|steps| steps.most(&space));
        let told = match config.pruner {
            Pruner::None => Tellings::new(0),
            _ => Tellings::new(total),
        };
        let cmaes = match config.sampler {
            Sampler::Cmaes { seed, sigma, population } => {
                Some(Cmaes::new(&space, seed, sigma, population, config.first.as_ref()))
            }
            _ => None,
        };
        let trials = room(total);
        let points = Rows::new(room_for(total));
        Study { config, space, total, trials, points, told, most_steps, grid, cmaes }
    }

    /// Gives the next trial's number and parameters.
    ///
    /// `None` where all have been asked for, or where the next looks back at one that has not been
    /// told yet.
    pub fn ask(&mut self) -> Option<(u64, Point)> {
        let number = self.trials.len() as u64;
        let generation = self.cmaes.as_ref().map_or(0, |cmaes| cmaes.generation_start(number));
        let behind = &self.trials[..self.horizon(number).max(generation as usize)];
        if number >= self.total || behind.iter().any(|trial| trial.state == TrialState::Running) {
            return None;
        }
        let point = self.next_point(number);
        self.add(number, point.clone());
        Some((number, point))
    }

    fn add(&mut self, number: u64, point: Point) {
        self.points.set(number as usize, point);
        self.trials.push(Trial {
            number,
            state: TrialState::Running,
            value: None,
            others: Box::default(),
            steps: 0,
            reported: None,
        });
    }

    /// Takes note of a trial's end.
    ///
    /// # Panics
    ///
    /// Where the trial was not asked for, or was told before.
    pub fn tell(&mut self, number: u64, end: TrialEnd) {
        let objective = &self.config.objective;
        let trial = &mut self.trials[number as usize];
        assert_eq!(trial.state, TrialState::Running, "trial {number} is told twice");
        let (state, curve) = match end {
            TrialEnd::Complete { value, others, curve }
                if value.is_finite() && others.iter().all(|other| other.is_finite()) =>
            {
                trial.value = Some(value);
                trial.others = others.into();
                (TrialState::Complete, curve)
            }
            TrialEnd::Pruned { curve } => (TrialState::Pruned, curve),
            TrialEnd::Complete { .. } | TrialEnd::Failed => (TrialState::Failed, Curve::default()),
        };
        trial.state = state;
        if let Some(last) = curve.points.last() {
            trial.steps = last.step;
            trial.reported = last.metrics.get(objective.metric()).copied();
        }
        self.told.tell(number, || Told {
            is_complete: state == TrialState::Complete,
            bracket: self.bracket(number),
            losses: objective.losses(&curve.points).collect(),
        });
    }

    /// Gives the rule that stops trial `number`: called with the points of its curve up to the
    /// present one, each time that the points before did not stop it. At the trial's own last step
    /// nothing is left to save, and it is not stopped.
    ///
    /// The rule is the same whenever it is asked for once `ask` has given the trial.
    ///
    /// # Panics
    ///
    /// Where the trial was not asked for.
    pub fn stop_rule(&self, number: u64) -> StopRule {
        let objective = &self.config.objective;
        let earlier = self.told.first(self.horizon(number));
        let last = self.config.steps.as_ref().map(|steps| steps.of(self.point(number)));
        match self.config.pruner {
            Pruner::None => None,
            Pruner::Median { startup, warmup } => {
                median_rule(objective, startup, warmup, last, earlier)
            }
            Pruner::Asha { min_resource, reduction } => {
                halving_rule(objective, Halving::asha(min_resource, reduction), last, earlier)
            }
            Pruner::Hyperband { .. } => {
                self.hyperband()?.rule(objective, self.bracket(number)?, last, earlier)
            }
        }
    }

    /// Says whether every trial has been asked for and told.
    pub fn is_done(&self) -> bool {
        self.trials.len() as u64 == self.total
            && self.trials.iter().all(|trial| trial.state != TrialState::Running)
    }

    /// Gives the number of trials in all; a grid may have fewer than the config allows.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Gives an empty list with room for something of each trial.
    pub fn room<T>(&self) -> Vec<T> {
        room(self.total)
    }

    /// Gives an empty list of rows with room for one of each trial.
    pub fn room_for_rows<V>(&self) -> Rows<V> {
        Rows::new(room_for(self.total))
    }

    /// Gives the trials that have been asked for, by number.
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Gives the parameters of a trial that has been asked for.
    pub fn point(&self, number: u64) -> PointRow<'_> {
        self.points.get(number as usize)
    }

    /// Gives what the study is.
    pub fn config(&self) -> &StudyConfig {
        &self.config
    }

    /// Gives the searched parameters.
    pub(super) fn space(&self) -> &Space {
        &self.space
    }

    /// Counts the trials that trial `number` may look back at.
    fn horizon(&self, number: u64) -> usize {
        (number + 1).saturating_sub(self.config.parallel.max(1)) as usize
    }

    #[cfg(test)]
    pub(super) fn enqueue(&mut self, point: Point) -> u64 {
        self.add(self.trials.len() as u64, point);
        self.trials.len() as u64 - 1
    }

    fn next_point(&mut self, number: u64) -> Point {
        if number == 0
            && let Some(first) = &self.config.first
        {
            return first.clone();
        }
        match self.config.sampler {
            Sampler::Random { seed } => {
                random::point(&self.space, &mut generator(seed, "random", &[number]))
            }
            Sampler::QuasiRandom { seed } => {
                let first = u64::from(self.config.first.is_some());
                sobol::point(&self.space, seed, number - first)
            }
            Sampler::Cmaes { .. } => self.next_of_generation(number),
            Sampler::Grid => self.next_combination(),
            Sampler::Tpe { seed, startup } => {
                let aim = if self.config.others.is_empty() { Aim::Value } else { Aim::Front };
                let generator = &mut generator(seed, "tpe", &[number]);
                tpe::point(&self.space, &self.seen(number), aim, startup, generator)
            }
        }
    }

    fn next_of_generation(&mut self, number: u64) -> Point {
        let mut cmaes = self.cmaes.take().expect("the sampler is one");
        let standing = |number: u64| self.standing(&self.trials[number as usize]);
        let point = cmaes.point(&self.space, number, standing);
        self.cmaes = Some(cmaes);
        point
    }

    /// Steps through the grid; what was tried as the first trial is not tried again.
    fn next_combination(&mut self) -> Point {
        loop {
            let combination = self.grid.take().expect("a grid is asked for no more than it has");
            let point = combination.point(&self.space);
            self.grid = combination.next(&self.space);
            let first = self.config.first.as_ref();
            if first.is_none_or(|first| !same_point(first, &point)) {
                return point;
            }
        }
    }

    /// Gives what the sampler may know: trials of the same bracket, those beyond the horizon as
    /// pending whatever has become of them.
    ///
    /// Of several objectives, a trial's loss is its place in the order of all that are known.
    fn seen<'a>(&'a self, number: u64) -> Vec<Seen<'a>> {
        let bracket = self.bracket(number);
        let horizon = self.horizon(number);
        let places = self.places(horizon);
        let mates = self.trials.iter().filter(|trial| self.bracket(trial.number) == bracket);
        let seen = |trial: &'a Trial| {
            let known = (trial.number as usize) < horizon;
            let standing = match places.get(&trial.number) {
                Some(place) => Standing::Complete { loss: *place as f64 },
                None if known => self.standing(trial),
                None => Standing::Pending,
            };
            Seen { point: self.point(trial.number), standing }
        };
        mates.map(seen).collect()
    }

    fn standing(&self, trial: &Trial) -> Standing {
        let objective = &self.config.objective;
        match (trial.state, trial.value) {
            (TrialState::Complete, Some(value)) => {
                Standing::Complete { loss: objective.loss(value) }
            }
            (TrialState::Pruned, _) => {
                let loss = trial.reported.map_or(f64::INFINITY, |value| objective.loss(value));
                Standing::Pruned { step: trial.steps, loss }
            }
            (TrialState::Running, _) => Standing::Pending,
            (TrialState::Failed | TrialState::Complete, _) => Standing::Failed,
        }
    }

    fn hyperband(&self) -> Option<Hyperband> {
        match self.config.pruner {
            Pruner::Hyperband { min_resource, max_resource, reduction } => {
                let max_resource = max_resource.or(self.most_steps)?;
                Some(Hyperband { min_resource, max_resource, reduction })
            }
            Pruner::None | Pruner::Median { .. } | Pruner::Asha { .. } => None,
        }
    }

    fn bracket(&self, number: u64) -> Option<u32> {
        let seed = self.config.sampler.seed();
        self.hyperband().map(|hyperband| hyperband.bracket(seed, number))
    }
}

fn room<T>(total: u64) -> Vec<T> {
    Vec::with_capacity(room_for(total))
}

fn room_for(total: u64) -> usize {
    total.min(ROOM) as usize
}

fn same_point(one: &Point, other: &Point) -> bool {
    let values =
        |(path, value): (&String, &Value)| other.get(path).is_some_and(|other| same(value, other));
    one.len() == other.len() && one.iter().all(values)
}
