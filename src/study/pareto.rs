//! Orders trials that have several losses: by the front that they lie on, and within a front by what
//! each adds to the dominated hypervolume.
//!
//! That is how Optuna 5 parts good trials from others (`samplers/_tpe/sampler.py`,
//! `_hypervolume/hssp.py`): the greedy answer to the hypervolume subset selection problem (Guerreiro
//! 2016) grows by one trial at a time, so one order answers it for every size at once. Knows no
//! trials, only vectors of losses, all of one length, finite, and less is better.

use std::cmp::Ordering;

/// Says whether `one` is nowhere worse than `other` and somewhere better.
pub(super) fn dominates(one: &[f64], other: &[f64]) -> bool {
    let mut pairs = one.iter().zip(other);
    one != other && pairs.all(|(one, other)| one <= other)
}

/// Compares by the first loss, where that is equal by the second, and so on.
pub(super) fn lexicographic(one: &[f64], other: &[f64]) -> Ordering {
    let mut orders = one.iter().zip(other).map(|(one, other)| one.total_cmp(other));
    orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Gives the number of each vector's front: 0 where none dominates it, 1 where none does once those
/// are taken away, and so on.
pub(super) fn fronts(losses: &[Vec<f64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..losses.len()).collect();
    order.sort_by(|&a, &b| lexicographic(&losses[a], &losses[b]));
    let mut fronts = vec![0; losses.len()];
    for (place, &index) in order.iter().enumerate() {
        // Whatever dominates it stands before it.
        let above =
            order[..place].iter().filter(|&&other| dominates(&losses[other], &losses[index]));
        fronts[index] = above.map(|&other| fronts[other] + 1).max().unwrap_or(0);
    }
    fronts
}

/// Orders the vectors' indices, best first: front by front, and within a front so that each adds
/// most to the hypervolume of those before it. Only the first `exact` are ordered like that within
/// their front; those after them follow by index.
pub(super) fn order(losses: &[Vec<f64>], exact: usize) -> Vec<usize> {
    let fronts = fronts(losses);
    let mut order = Vec::with_capacity(losses.len());
    for front in 0..=fronts.iter().copied().max().unwrap_or(0) {
        let members: Vec<usize> =
            (0..losses.len()).filter(|&index| fronts[index] == front).collect();
        let chosen = spread(losses, &members, exact.saturating_sub(order.len()));
        let rest = members.into_iter().filter(|index| !chosen.contains(index));
        order.extend(chosen.iter().copied().chain(rest));
    }
    order
}

/// Chooses up to `count` members of a front one after the other, each the one that adds most to the
/// hypervolume; of equal vectors only the first is chosen.
fn spread(losses: &[Vec<f64>], members: &[usize], count: usize) -> Vec<usize> {
    let mut left = members.to_vec();
    left.sort_by(|&a, &b| lexicographic(&losses[a], &losses[b]));
    left.dedup_by(|later, first| losses[*later] == losses[*first]);
    let reference = reference(losses, members);
    // What a member adds only shrinks as others are chosen, so an old figure is an upper bound.
    let mut added: Vec<(f64, usize)> =
        left.iter().map(|&index| (volume(&losses[index], &reference), 0)).collect();
    let mut chosen: Vec<usize> = Vec::new();
    while chosen.len() < count && !left.is_empty() {
        let most = added.iter().map(|(most, _)| *most).fold(f64::NEG_INFINITY, f64::max);
        let place = added.iter().position(|(bound, _)| *bound >= most).unwrap_or(0);
        let of_size = chosen.len();
        if added[place].1 < of_size {
            let before: Vec<&[f64]> = chosen.iter().map(|&other| &losses[other][..]).collect();
            added[place] = (exclusive(&losses[left[place]], &before, &reference), of_size);
            continue;
        }
        chosen.push(left.remove(place));
        added.remove(place);
    }
    chosen
}

/// Gives the corner from which volumes are measured: a tenth beyond the worst of each loss.
fn reference(losses: &[Vec<f64>], members: &[usize]) -> Vec<f64> {
    let width = members.first().map_or(0, |&index| losses[index].len());
    let worst = |at: usize| {
        members.iter().map(|&index| losses[index][at]).fold(f64::NEG_INFINITY, f64::max)
    };
    let corner = |at: usize| {
        let beyond = f64::max(1.1 * worst(at), 0.9 * worst(at));
        if beyond == 0.0 { 1e-12 } else { beyond.min(f64::MAX) }
    };
    (0..width).map(corner).collect()
}

/// Gives the volume between a vector and the corner.
fn volume(losses: &[f64], reference: &[f64]) -> f64 {
    losses.iter().zip(reference).map(|(loss, corner)| corner - loss).product()
}

/// Gives the part of a vector's volume that none of `others` covers (While 2012).
fn exclusive(losses: &[f64], others: &[&[f64]], reference: &[f64]) -> f64 {
    let limited = others.iter().map(|other| -> Vec<f64> {
        losses.iter().zip(*other).map(|(one, other)| one.max(*other)).collect()
    });
    volume(losses, reference) - hypervolume(limited.collect(), reference)
}

/// Gives the volume that vectors cover together, up to the corner.
fn hypervolume(mut vectors: Vec<Vec<f64>>, reference: &[f64]) -> f64 {
    vectors.sort_by(|one, other| lexicographic(one, other));
    vectors.dedup();
    let mut front: Vec<&[f64]> = Vec::new();
    for vector in &vectors {
        if !front.iter().any(|other| dominates(other, vector)) {
            front.push(vector);
        }
    }
    let part = |place: usize| exclusive(front[place], &front[place + 1..], reference);
    (0..front.len()).map(part).sum()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::study::Objective;

    #[test]
    fn fronts_are_peeled_one_by_one() {
        let losses = [[1.0, 4.0], [2.0, 2.0], [4.0, 1.0], [2.0, 3.0], [2.0, 2.0], [5.0, 5.0]];
        let losses: Vec<Vec<f64>> = losses.iter().map(|one| one.to_vec()).collect();
        assert_eq!(fronts(&losses), [0, 0, 0, 1, 0, 2]);
    }

    #[test]
    fn a_zero_is_no_better_than_its_negative() {
        for objective in [Objective::Minimize, Objective::Maximize] {
            let objective = objective("value".to_owned());
            let loss = |values: [f64; 2]| values.map(|value| objective.loss(value)).to_vec();
            let losses = [[0.0, 1.0], [-0.0, 1.0], [-0.0, 0.0], [0.0, -0.0]].map(loss);
            for (one, other) in [(0, 1), (2, 3)] {
                assert_eq!(lexicographic(&losses[one], &losses[other]), Ordering::Equal);
            }
            let worse = matches!(objective, Objective::Minimize(_));
            let (one, other) = if worse { (1, 0) } else { (0, 1) };
            assert_eq!(fronts(&losses), [one, one, other, other]);
        }
    }

    #[test]
    fn volumes_are_those_of_boxes() {
        let boxes = vec![vec![0.0, 1.0, 1.0], vec![1.0, 0.0, 1.0], vec![1.0, 1.0, 0.0]];
        // Three boxes of 2, each two of which share the cube of 1 that all three share.
        assert_eq!(hypervolume(boxes, &[2.0; 3]), 4.0);
        assert_eq!(hypervolume(vec![vec![0.0, 1.0], vec![1.0, 0.0]], &[2.0, 2.0]), 3.0);
    }

    /// What `benches/peers/study_record.py` recorded of Optuna 5.
    #[derive(Deserialize)]
    struct Recorded {
        splits: Vec<Split>,
    }

    #[derive(Deserialize)]
    struct Split {
        losses: Vec<Vec<f64>>,
        /// The indices of the good ones, for each number of them from 1.
        below: Vec<Vec<usize>>,
    }

    #[test]
    fn good_trials_are_those_of_optuna() {
        let text = include_str!("../../tests/data/study.json");
        let recorded: Recorded = serde_json::from_str(text).expect("the record can be read");
        assert!(recorded.splits.len() >= 4);
        for split in recorded.splits {
            let order = order(&split.losses, split.below.len());
            for below in split.below {
                let mut ours = order[..below.len()].to_vec();
                ours.sort_unstable();
                assert_eq!(ours, below, "of {} losses", split.losses[0].len());
            }
        }
    }
}
