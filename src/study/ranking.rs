//! Which trials of a study are better than others: by value, or of several objectives by front.
//!
//! Only complete trials are ranked; what has become of the others is `trials.rs`'s affair.

use std::collections::BTreeMap;

use super::{Study, Trial, TrialState, pareto};

impl Study {
    /// Gives the complete trial with the best value, and the first of those where several have it.
    ///
    /// Of several objectives that is the front's best by the first.
    pub fn best(&self) -> Option<&Trial> {
        self.ranked().first().copied()
    }

    /// Gives the complete trials by number.
    pub(super) fn complete(&self) -> Vec<&Trial> {
        self.trials().iter().filter(|trial| trial.state == TrialState::Complete).collect()
    }

    /// Gives the complete trials, best first: by the first objective, and where that is equal by the
    /// next. The first of them is on the front, for nothing dominates it.
    pub fn ranked(&self) -> Vec<&Trial> {
        let mut ranked: Vec<(Vec<f64>, &Trial)> =
            self.complete().into_iter().map(|trial| (self.losses(trial), trial)).collect();
        ranked.sort_by(|(one, _), (other, _)| pareto::lexicographic(one, other));
        ranked.into_iter().map(|(_, trial)| trial).collect()
    }

    /// Gives the complete trials that no other dominates, best first by the first objective: of one
    /// objective, those that have the best value.
    pub fn front(&self) -> Vec<&Trial> {
        let ranked = self.ranked();
        let losses: Vec<Vec<f64>> = ranked.iter().map(|trial| self.losses(trial)).collect();
        let fronts = pareto::fronts(&losses).into_iter();
        fronts.zip(ranked).filter(|(front, _)| *front == 0).map(|(_, trial)| trial).collect()
    }

    /// Gives the trials whose outputs are worth keeping: the best `count`, or of several objectives
    /// that many of the front.
    pub fn kept(&self, count: usize) -> Vec<&Trial> {
        let mut kept = if self.config().others.is_empty() { self.ranked() } else { self.front() };
        kept.truncate(count);
        kept
    }

    /// Orders complete trials' indices as a sampler ranks them, best first; of several objectives
    /// exactly so for the first `exact` alone.
    pub(super) fn order(&self, complete: &[&Trial], exact: usize) -> Vec<usize> {
        let losses: Vec<Vec<f64>> = complete.iter().map(|trial| self.losses(trial)).collect();
        if !self.config().others.is_empty() {
            return pareto::order(&losses, exact);
        }
        let mut order: Vec<usize> = (0..complete.len()).collect();
        order.sort_by(|&a, &b| pareto::lexicographic(&losses[a], &losses[b]));
        order
    }

    /// Gives a complete trial's losses, the first objective's first.
    fn losses(&self, trial: &Trial) -> Vec<f64> {
        let objectives = std::iter::once(&self.config().objective).chain(&self.config().others);
        let values = trial.value.iter().chain(&trial.others);
        objectives.zip(values).map(|(objective, value)| objective.loss(*value)).collect()
    }

    /// Gives the place of each complete trial before the horizon, by number, where there are several
    /// objectives; exactly so for the tenth that a sampler may take for good.
    pub(super) fn places(&self, horizon: usize) -> BTreeMap<u64, usize> {
        if self.config().others.is_empty() {
            return BTreeMap::new();
        }
        let mut complete = self.complete();
        complete.retain(|trial| (trial.number as usize) < horizon);
        let order = self.order(&complete, horizon.div_ceil(10));
        order
            .into_iter()
            .enumerate()
            .map(|(place, index)| (complete[index].number, place))
            .collect()
    }
}

/// The best losses of a study so far, for whoever judges a trial before the study is told of it.
#[derive(Debug)]
pub struct Best {
    count: usize,
    losses: Vec<Vec<f64>>,
}

impl Best {
    /// Looks for the best `count`: of several objectives, for that many of the front.
    pub fn new(count: usize) -> Best {
        Best { count, losses: Vec::new() }
    }

    /// Takes note of a trial's losses, and says whether it is among the best so far.
    ///
    /// Equal ones are: which of them is best, the study decides.
    pub fn offer(&mut self, losses: Vec<f64>) -> bool {
        if losses.len() > 1 {
            if self.losses.iter().any(|other| pareto::dominates(other, &losses)) {
                return false;
            }
            self.losses.retain(|other| !pareto::dominates(&losses, other));
        }
        let no_worse = |other: &Vec<f64>| pareto::lexicographic(other, &losses).is_le();
        let place = self.losses.partition_point(no_worse);
        let worst = self.count.checked_sub(1).and_then(|last| self.losses.get(last));
        let is_best = place < self.count
            || worst.is_some_and(|worst| pareto::lexicographic(&losses, worst).is_le());
        self.losses.insert(place, losses);
        self.losses.truncate(self.count);
        is_best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_so_far_are_those_of_the_value_or_of_the_front() {
        let mut best = Best::new(2);
        let offered = [5.0, 3.0, 3.0, 4.0, 3.0, 1.0].map(|loss| best.offer(vec![loss]));
        assert_eq!(offered, [true, true, true, false, true, true]);
        let mut front = Best::new(2);
        let offered = [[5.0, 1.0], [6.0, 2.0], [4.0, 3.0], [3.0, 4.0], [4.5, 2.0], [1.0, 1.0]];
        let offered = offered.map(|losses| front.offer(losses.to_vec()));
        assert_eq!(offered, [true, false, true, true, false, true]);
    }
}
