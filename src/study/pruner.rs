//! Pruners: pure rules over curves, made from what earlier trials reported.
//!
//! A rule looks only at its curve and at trials that were told before it was made, so it may be asked
//! on any thread and at any time. A value at a step is the objective's metric there; a point without
//! it stops nothing.

use std::sync::{Arc, OnceLock};

use rand::RngExt;

use super::{CurvePoint, Objective, StopRule};
use crate::random::generator;

/// A trial that has been told, as a pruner sees it.
#[derive(Debug)]
pub(super) struct Told {
    /// Whether it ran to its end.
    pub(super) is_complete: bool,
    /// Its bracket, under Hyperband.
    pub(super) bracket: Option<u32>,
    /// Its losses by step, up to where the study stopped it.
    pub(super) losses: Vec<(u64, f64)>,
}

impl Told {
    fn loss_at(&self, step: u64) -> Option<f64> {
        self.losses.iter().find(|(other, _)| *other == step).map(|(_, loss)| *loss)
    }

    /// Gives the loss at the first step at or after a rung.
    fn loss_from(&self, rung: u64) -> Option<f64> {
        self.losses.iter().find(|(step, _)| *step >= rung).map(|(_, loss)| *loss)
    }
}

/// The trials of a study by number, each from when it is told.
///
/// All rules of a study share one, so that its memory grows with the trials and not with their
/// square: what was told never changes, and a rule looks at no number from its horizon on.
#[derive(Debug)]
pub(super) struct Tellings(Arc<[OnceLock<Told>]>);

impl Tellings {
    /// Makes room for as many trials; those beyond it are not noted.
    pub(super) fn new(trials: u64) -> Tellings {
        Tellings((0..trials).map(|_| OnceLock::new()).collect())
    }

    /// Notes a trial, which has not been told before.
    pub(super) fn tell(&self, number: u64, told: impl FnOnce() -> Told) {
        if let Some(place) = self.0.get(number as usize) {
            place.get_or_init(told);
        }
    }

    /// Gives the trials before number `horizon`, all of which have been told.
    pub(super) fn first(&self, horizon: usize) -> Earlier {
        Earlier { told: Arc::clone(&self.0), horizon }
    }
}

/// The trials that one trial looks back at.
#[derive(Clone, Debug)]
pub(super) struct Earlier {
    told: Arc<[OnceLock<Told>]>,
    horizon: usize,
}

impl Earlier {
    fn iter(&self) -> impl Iterator<Item = &Told> {
        self.told.iter().take(self.horizon).filter_map(OnceLock::get)
    }

    fn complete(&self) -> impl Iterator<Item = &Told> {
        self.iter().filter(|told| told.is_complete)
    }
}

/// Makes the rule that stops a trial whose best value so far is worse than the median of the
/// complete trials' values at that step.
///
/// A trial at its `last` step has nothing left to save and is not stopped.
pub(super) fn median_rule(
    objective: &Objective,
    startup: u64,
    warmup: u64,
    last: Option<u64>,
    earlier: Earlier,
) -> StopRule {
    let complete = earlier.complete().count() as u64;
    if complete < startup.max(1) {
        return None;
    }
    let objective = objective.clone();
    Some(Arc::new(move |points| {
        let Some((step, _)) = newest_loss(&objective, points) else { return false };
        if step < warmup || is_last(step, last) {
            return false;
        }
        let at_step = earlier.complete().filter_map(|told| told.loss_at(step));
        let best = objective.losses(points).map(|(_, loss)| loss).fold(f64::INFINITY, f64::min);
        median(at_step.collect()).is_some_and(|median| best > median)
    }))
}

/// The brackets of Hyperband (Li 2018), each an asynchronous successive halving (Li 2020) whose
/// first rung lies `reduction` times higher than that of the one before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hyperband {
    /// The first rung of the first bracket, in steps.
    pub(super) min_resource: u64,
    /// The steps of a whole trial.
    pub(super) max_resource: u64,
    /// One in this many goes on at each rung.
    pub(super) reduction: u64,
}

impl Hyperband {
    /// Counts the brackets: `floor(log_reduction(max / min)) + 1`.
    fn brackets(&self) -> u32 {
        let next = |rung: &u64| rung.checked_mul(self.reduction);
        let rungs = std::iter::successors(next(&self.min_resource), next);
        1 + rungs.take_while(|rung| *rung <= self.max_resource).count() as u32
    }

    /// Gives each bracket's weight, at least 1: about as many trials as spend the same number of
    /// steps.
    fn budgets(&self) -> Vec<u64> {
        let brackets = self.brackets();
        let budget = |halvings: u32| {
            let trials = self.reduction.saturating_pow(halvings);
            u64::from(brackets).saturating_mul(trials).div_ceil(u64::from(halvings) + 1)
        };
        (0..brackets).rev().map(budget).collect()
    }

    /// Gives the bracket of a trial: drawn by (seed, number) alone, in proportion to the budgets.
    pub(super) fn bracket(&self, seed: u64, number: u64) -> u32 {
        let budgets = self.budgets();
        let all = budgets.iter().copied().fold(0, u64::saturating_add);
        let mut share = generator(seed, "bracket", &[number]).random_range(0..all);
        for (bracket, budget) in (0..).zip(budgets) {
            if share < budget {
                return bracket;
            }
            share -= budget;
        }
        unreachable!("the share is smaller than the sum of the budgets")
    }

    /// Gives the steps at which trials of a bracket are compared; the last step is none of them.
    fn rungs(&self, bracket: u32) -> Vec<u64> {
        let first = self.min_resource.saturating_mul(self.reduction.saturating_pow(bracket));
        let rungs = std::iter::successors(Some(first), |rung| rung.checked_mul(self.reduction));
        rungs.take_while(|rung| *rung < self.max_resource).collect()
    }

    /// Makes the rule that stops a trial of `bracket`, as [`halving_rule`] does.
    pub(super) fn rule(
        &self,
        objective: &Objective,
        bracket: u32,
        last: Option<u64>,
        earlier: Earlier,
    ) -> StopRule {
        let halving = Halving {
            rungs: self.rungs(bracket),
            reduction: self.reduction,
            bracket: Some(bracket),
        };
        halving_rule(objective, halving, last, earlier)
    }
}

/// One asynchronous successive halving (Li 2020), as in Optuna.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Halving {
    /// The steps at which trials are compared, in rising order.
    rungs: Vec<u64>,
    /// One in this many goes on at each rung.
    reduction: u64,
    /// Which trials are compared: those of the same bracket.
    bracket: Option<u32>,
}

impl Halving {
    /// Makes one that all trials take part in, with rungs without end.
    pub(super) fn asha(min_resource: u64, reduction: u64) -> Halving {
        let rungs = std::iter::successors(Some(min_resource), |rung| rung.checked_mul(reduction));
        Halving { rungs: rungs.collect(), reduction, bracket: None }
    }
}

/// Makes the rule that stops a trial which is not among the best `1 / reduction` of those that
/// reached a rung. While fewer than `reduction` have, only the best goes on.
///
/// A trial at its `last` step, which may be that of a rung, is not stopped.
pub(super) fn halving_rule(
    objective: &Objective,
    halving: Halving,
    last: Option<u64>,
    earlier: Earlier,
) -> StopRule {
    let Halving { rungs, reduction, bracket } = halving;
    if rungs.is_empty() {
        return None;
    }
    let objective = objective.clone();
    Some(Arc::new(move |points| {
        let Some((step, loss)) = newest_loss(&objective, points) else { return false };
        if is_last(step, last) {
            return false;
        }
        let before = objective.losses(&points[..points.len() - 1]).last();
        let new = |rung: u64| rung <= step && before.is_none_or(|(before, _)| before < rung);
        let reached = |rung: u64| -> Vec<f64> {
            let mates = earlier.iter().filter(|told| told.bracket == bracket);
            mates.filter_map(|mate| mate.loss_from(rung)).collect()
        };
        let ends = |rung: u64| !goes_on(loss, &reached(rung), reduction as usize);
        rungs.iter().any(|&rung| new(rung) && ends(rung))
    }))
}

/// Says whether nothing is left to save by stopping a trial at a step.
fn is_last(step: u64, last: Option<u64>) -> bool {
    last.is_some_and(|last| step >= last)
}

/// Says whether a loss is among the best `1 / reduction` of its own and the others' at a rung.
fn goes_on(loss: f64, others: &[f64], reduction: usize) -> bool {
    let better = others.iter().filter(|other| **other < loss).count();
    better < ((others.len() + 1) / reduction).max(1)
}

/// Gives the last point's step and loss, where it has one.
fn newest_loss(objective: &Objective, points: &[CurvePoint]) -> Option<(u64, f64)> {
    let newest = points.last()?;
    Some((newest.step, objective.loss_of(&newest.metrics)?))
}

fn median(mut losses: Vec<f64>) -> Option<f64> {
    losses.sort_by(f64::total_cmp);
    let upper = *losses.get(losses.len() / 2)?;
    let lower = losses[(losses.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective() -> Objective {
        Objective::Maximize("score".to_owned())
    }

    fn curve(scores: &[f64]) -> Vec<CurvePoint> {
        let point = |(step, score): (u64, &f64)| CurvePoint {
            step,
            metrics: [("score".to_owned(), *score)].into(),
        };
        (1..).zip(scores).map(point).collect()
    }

    /// Notes curves of bracket 0.
    fn told(is_complete: bool, scores: &[&[f64]]) -> Tellings {
        let all = Tellings::new(scores.len() as u64);
        for (number, scores) in (0..).zip(scores) {
            let losses = objective().losses(&curve(scores)).collect();
            all.tell(number, || Told { is_complete, bracket: Some(0), losses });
        }
        all
    }

    #[test]
    fn the_median_rule_stops_what_is_worse_than_half() {
        let scores: [&[f64]; 4] = [&[1.0, 2.0, 3.0], &[2.0, 3.0], &[3.0, 7.0, 8.0], &[9.0; 3]];
        let all = told(true, &scores);
        let rule = |startup, warmup, last| {
            // The fourth lies beyond the horizon.
            let earlier = all.first(3);
            median_rule(&objective(), startup, warmup, last, earlier).expect("there is a rule")
        };
        // The medians are 2, 3 and 5.5; a trial is judged by the best of its scores so far.
        assert!(!rule(3, 0, None)(&curve(&[2.0])));
        assert!(rule(3, 0, None)(&curve(&[1.9])));
        assert!(!rule(3, 0, None)(&curve(&[3.0, 0.0])));
        assert!(rule(3, 0, None)(&curve(&[4.0, 5.0, 5.4])));
        assert!(!rule(3, 2, None)(&curve(&[1.0])));
        assert!(!rule(3, 0, Some(3))(&curve(&[4.0, 5.0, 5.4])));
        // Nobody has a fourth step.
        assert!(!rule(3, 0, None)(&curve(&[0.0, 0.0, 0.0, 0.0])));
        assert!(median_rule(&objective(), 4, 0, None, all.first(3)).is_none());
        assert!(median_rule(&objective(), 0, 0, None, all.first(0)).is_none());
        assert!(median_rule(&objective(), 1, 0, None, told(false, &scores).first(3)).is_none());
    }

    #[test]
    fn brackets_and_rungs_are_those_of_the_papers() {
        let hyperband = Hyperband { min_resource: 1, max_resource: 81, reduction: 3 };
        assert_eq!(hyperband.budgets(), [81, 34, 15, 8, 5]);
        assert_eq!(hyperband.rungs(0), [1, 3, 9, 27]);
        assert_eq!(hyperband.rungs(3), [27]);
        assert_eq!(hyperband.rungs(4), [0; 0]);
        let of_bracket =
            |bracket| (0..10_000).filter(|&number| hyperband.bracket(7, number) == bracket).count();
        // 143 shares; the bounds are five standard deviations of each count.
        let counts: Vec<usize> = (0..5).map(of_bracket).collect();
        for (count, budget) in counts.iter().zip([81.0, 34.0, 15.0, 8.0, 5.0]) {
            let share: f64 = budget / 143.0;
            let bound = 5.0 * (10_000.0 * share * (1.0 - share)).sqrt();
            assert!((*count as f64 - 10_000.0 * share).abs() < bound, "{counts:?}");
        }
    }

    #[test]
    fn a_trial_may_have_as_many_steps_as_can_be_counted() {
        for (min_resource, reduction, brackets) in [(1, 2, 64), (3, 2, 63), (1, u64::MAX, 2)] {
            let hyperband = Hyperband { min_resource, max_resource: u64::MAX, reduction };
            let budgets = hyperband.budgets();
            assert_eq!(budgets.len(), brackets);
            assert!(budgets.iter().all(|budget| *budget > 0), "{budgets:?}");
            assert!((0..100).all(|number| hyperband.bracket(7, number) < brackets as u32));
            assert!(hyperband.rungs(brackets as u32 - 1).len() <= 1);
        }
    }

    #[test]
    fn asha_halves_all_trials_at_every_rung() {
        assert_eq!(Halving::asha(2, 4).rungs[..4], [2, 8, 32, 128]);
        let scores: Vec<Vec<f64>> = (0..7).map(|place| vec![9.0, -f64::from(place)]).collect();
        let all = Tellings::new(7);
        for (number, scores) in (0..).zip(&scores) {
            let losses = objective().losses(&curve(scores)).collect();
            all.tell(number, || Told { is_complete: number < 3, bracket: None, losses });
        }
        let rule = |last, horizon| {
            halving_rule(&objective(), Halving::asha(2, 4), last, all.first(horizon))
                .expect("there is a rule")
        };
        // Eight with itself: the best two go on.
        assert!(!rule(None, 7)(&curve(&[0.0, -0.5])));
        assert!(rule(None, 7)(&curve(&[0.0, -1.5])));
        // Seven with itself: the best one does. The numbers beyond the horizon do not count.
        assert!(rule(None, 6)(&curve(&[0.0, -0.5])));
        assert!(!rule(None, 6)(&curve(&[0.0, 0.0])));
        // Nothing is left to save at the last step, and no other has come to the next rung.
        assert!(!rule(Some(2), 7)(&curve(&[0.0, -9.0])));
        assert!(!rule(None, 7)(&curve(&[0.0, 9.0, -9.0, -9.0, -9.0, -9.0, -9.0, -9.0])));
    }

    #[test]
    fn a_rung_lets_the_best_third_go_on() {
        let hyperband = Hyperband { min_resource: 2, max_resource: 20, reduction: 3 };
        let scores = [5.0, 1.0, 4.0, 2.0, 3.0].map(|score| [0.0, score]);
        let mates = told(false, &scores.each_ref().map(|scores| &scores[..]));
        let rule = hyperband.rule(&objective(), 0, None, mates.first(5)).expect("there is a rule");
        // Six with itself: the best two go on.
        assert!(!rule(&curve(&[0.0])));
        assert!(!rule(&curve(&[0.0, 4.5])));
        assert!(rule(&curve(&[0.0, 3.5])));
        // A rung is looked at once, when it is reached.
        assert!(!rule(&curve(&[0.0, 3.5, 0.0])));
        // Nobody else has reached the next rung, so its first is its best.
        assert!(!rule(&curve(&[0.0, 9.0, 9.0, 9.0, 9.0, -9.0])));
        let alone = hyperband.rule(&objective(), 0, None, mates.first(1)).expect("there is a rule");
        assert!(alone(&curve(&[0.0, 4.9])));
        assert!(!alone(&curve(&[0.0, 5.0])));
        // Those of another bracket are no mates: they would stop it at rung 2.
        let other = Hyperband { min_resource: 1, max_resource: 20, reduction: 2 };
        let other = other.rule(&objective(), 1, None, mates.first(5)).expect("there is a rule");
        assert!(!other(&curve(&[0.0, -9.0])));
    }
}
