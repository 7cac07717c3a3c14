//! The grid sampler: every combination once, the last parameter changing fastest.
//!
//! Combinations are stepped through and never listed, so a grid of any size costs no memory.

use super::Point;
use super::space::Space;

/// One combination: the index of each parameter's value, or `None` where it does not exist.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Combination(Vec<Option<u64>>);

impl Combination {
    /// Gives the first combination.
    pub(super) fn first(space: &Space) -> Combination {
        Combination(vec![None; space.params.len()]).filled(space, 0)
    }

    /// Gives the combination after this one; `None` after the last.
    pub(super) fn next(&self, space: &Space) -> Option<Combination> {
        for place in (0..self.0.len()).rev() {
            let count = space.params[place].domain.count().unwrap_or(1);
            if let Some(index) = self.0[place].filter(|index| index + 1 < count) {
                let mut next = self.clone();
                next.0[place] = Some(index + 1);
                return Some(next.filled(space, place + 1));
            }
        }
        None
    }

    /// Sets the parameters from `from` on to their first values, where they exist.
    fn filled(mut self, space: &Space, from: usize) -> Combination {
        self.0[from..].fill(None);
        let mut point = self.point(space);
        for (place, param) in space.params.iter().enumerate().skip(from) {
            if param.is_active(&point) {
                self.0[place] = Some(0);
                point.insert(param.path.clone(), param.domain.nth(0));
            }
        }
        self
    }

    /// Gives the values of the parameters that exist.
    pub(super) fn point(&self, space: &Space) -> Point {
        let pairs = space.params.iter().zip(&self.0);
        pairs
            .filter_map(|(param, index)| Some((param.path.clone(), param.domain.nth((*index)?))))
            .collect()
    }
}

/// Counts the combinations, but no further than `limit`.
pub(super) fn count(space: &Space, limit: u64) -> u64 {
    if space.params.iter().all(|param| param.when.is_empty()) {
        let counts = space.params.iter().map(|param| param.domain.count().unwrap_or(1));
        return counts.fold(1, u64::saturating_mul).min(limit);
    }
    let all = std::iter::successors(Some(Combination::first(space)), |one| one.next(space));
    all.take(usize::try_from(limit).unwrap_or(usize::MAX)).count() as u64
}
