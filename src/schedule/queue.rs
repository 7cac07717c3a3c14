//! The tasks that wait for slots, and which of them starts next.
//!
//! The first by [`Rank`] starts if what it asks for is free. If not, what of it is free is kept for
//! it, and a later task may start only with what is left beside: so a task that asks for much waits
//! until enough of those that run have ended, however many small ones stand behind it, and a task
//! that waits for a GPU leaves the CPUs that it will not need to others. Only the first that does
//! not fit keeps anything; those behind it come to be the first.
//!
//! Tasks of one shape fit or do not alike, so only the first of each shape is looked at, and of
//! trials another than of stages, since they may have to wait for a look at others.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::TaskId;
use super::machine::{Free, Left, Request, Shape};

/// What comes before what: the smallest is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    priority: Reverse<i64>,
    /// The longest way to the end first.
    way: Reverse<u64>,
    /// A stage may hold up others, so it comes before a trial.
    pub is_trial: bool,
    /// Of trials, the longest first.
    work: Reverse<u64>,
    /// Else in the order of adding.
    number: u64,
    /// Which it is.
    pub task: TaskId,
}

impl Rank {
    pub(super) fn new(
        request: &Request,
        is_trial: bool,
        (work, number): (u64, u64),
        task: TaskId,
    ) -> Rank {
        let (priority, way) = (Reverse(request.priority), Reverse(request.way));
        Rank { priority, way, is_trial, work: Reverse(work), number, task }
    }

    /// Gives the priority that was asked for.
    pub fn priority(&self) -> i64 {
        self.priority.0
    }
}

/// A task that can start now.
#[derive(Clone, Copy, Debug)]
pub struct Startable {
    /// Which.
    pub rank: Rank,
    /// The slots that it may take.
    pub spare: usize,
}

/// The tasks that wait for slots.
#[derive(Debug, Default)]
pub struct Queue {
    /// By shape, and whether they are trials.
    shapes: BTreeMap<(Shape, bool), BTreeSet<Rank>>,
    length: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn insert(&mut self, shape: Shape, rank: Rank) {
        let ranks = self.shapes.entry((shape, rank.is_trial)).or_default();
        self.length += usize::from(ranks.insert(rank));
    }

    pub(super) fn remove(&mut self, shape: Shape, rank: Rank) {
        let Some(ranks) = self.shapes.get_mut(&(shape, rank.is_trial)) else { return };
        self.length -= usize::from(ranks.remove(&rank));
        if ranks.is_empty() {
            self.shapes.remove(&(shape, rank.is_trial));
        }
    }

    /// Finds the first task that may start, and that fits beside what is kept for the first that
    /// does not. One that may not start yet for another reason keeps nothing: it is not for long.
    pub(super) fn first_that_fits(
        &self,
        free: &Free,
        may_start: impl Fn(&Rank) -> bool,
    ) -> Option<Startable> {
        let mut left = Left::of(free);
        let heads = self.shapes.iter();
        let heads = heads.filter_map(|((shape, _), ranks)| Some((ranks.first()?, shape)));
        let mut heads: Vec<(&Rank, &Shape)> = heads.collect();
        heads.sort_unstable();
        let mut is_kept = false;
        for (rank, shape) in heads {
            if !may_start(rank) {
                continue;
            }
            if left.fits(*shape) {
                return Some(Startable { rank: *rank, spare: left.slots });
            }
            if !is_kept {
                left.reserve(*shape);
                is_kept = true;
            }
        }
        None
    }
}
