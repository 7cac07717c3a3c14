//! How long a plan will take: from how long its stages took, and how many can run at once.
//!
//! Pure but for the history that it is handed. A guess and called one: nothing depends on it.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use serde::Serialize;

use crate::history::History;
use crate::history::estimate::Times;
use crate::pipeline::{Pipeline, Stage};
use crate::report::text;
use crate::stage::Params;

/// A spread that is worth a word: the longest run took so many times what the shortest did.
const WIDE: f64 = 1.5;

/// How long a stage will take, and by what one knows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// The stage's time in seconds.
    pub seconds: f64,
    /// What was timed: `runs` of the stage, its `trials`, or runs of its `base`.
    pub by: &'static str,
    /// The times of those.
    pub times: Times,
}

impl Forecast {
    /// Foretells the time of a stage; `None` where nothing like it ran before.
    pub fn of(
        stage: &Stage,
        pipeline: &Pipeline,
        history: &History,
        slots: usize,
    ) -> Option<Forecast> {
        let times = |name: &str, kind| history.times(&pipeline.name, name, kind);
        let Params::Tune(params) = &stage.params else {
            let times = times(&stage.name, stage.kind().name())?;
            return Some(Forecast { seconds: times.seconds, by: "runs", times });
        };
        let at_once = params.parallel.min(slots as u64).max(1);
        let rounds = params.trials.div_ceil(at_once) as f64;
        if let Some(times) = history.trial_times(&pipeline.name, &stage.name) {
            return Some(Forecast { seconds: times.seconds * rounds, by: "trials", times });
        }
        let base = pipeline.stages.get(&params.stage)?;
        let times = times(&base.name, base.kind().name())?;
        let seconds = times.seconds * rounds * params.repeats as f64;
        Some(Forecast { seconds, by: "base", times })
    }

    /// Says it, with how sure it is: `about 31.0 s (from 5 earlier runs)`.
    pub fn phrase(&self) -> String {
        let Times { shortest, longest, runs, .. } = self.times;
        let what = if self.by == "trials" { "earlier trial" } else { "earlier run" };
        let of = if self.by == "base" { " of its base" } else { "" };
        let known = text::counted(runs as u64, what);
        let from = match longest > WIDE * shortest && longest >= 1.0 {
            true => {
                let (short, long) = (text::duration(shortest), text::duration(longest));
                format!("{short} to {long} in {known}{of}")
            }
            false => format!("from {known}{of}"),
        };
        format!("about {} ({from})", text::duration(self.seconds))
    }
}

/// What is to be done, in an order in which each stands after all that it needs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Work {
    /// What it needs, by place in the order.
    pub needs: Vec<usize>,
    /// How long it takes.
    pub time: Duration,
    /// Whether it takes a slot; a study does not, since its trials do.
    pub takes_slot: bool,
}

/// Gives the time from the first start to the last end, where whatever is ready starts as soon as a
/// slot is free, in the order given (list scheduling).
pub fn span(works: &[Work], slots: usize) -> Duration {
    let mut missing: Vec<usize> = works.iter().map(|work| work.needs.len()).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); works.len()];
    for (at, work) in works.iter().enumerate() {
        work.needs.iter().for_each(|need| needed_by[*need].push(at));
    }
    let mut ready: BTreeSet<usize> = (0..works.len()).filter(|at| missing[*at] == 0).collect();
    let mut running: BinaryHeap<Reverse<(Duration, usize)>> = BinaryHeap::new();
    let (mut now, mut free) = (Duration::ZERO, slots.max(1));
    loop {
        let startable = |at: &&usize| free > 0 || !works[**at].takes_slot;
        if let Some(at) = ready.iter().find(startable).copied() {
            ready.remove(&at);
            free -= usize::from(works[at].takes_slot);
            running.push(Reverse((now + works[at].time, at)));
            continue;
        }
        let Some(Reverse((end, at))) = running.pop() else { return now };
        now = end;
        free += usize::from(works[at].takes_slot);
        for next in &needed_by[at] {
            missing[*next] -= 1;
            if missing[*next] == 0 {
                ready.insert(*next);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(needs: &[usize], seconds: u64) -> Work {
        Work { needs: needs.to_vec(), time: Duration::from_secs(seconds), takes_slot: true }
    }

    #[test]
    fn the_span_is_the_longest_chain_or_what_the_slots_allow() {
        let works = [work(&[], 1), work(&[0], 5), work(&[0], 2), work(&[0], 4), work(&[1, 2], 1)];
        let spans = [1, 2, 3].map(|slots| span(&works, slots).as_secs());
        assert_eq!(spans, [13, 8, 7]);
        let study = Work { takes_slot: false, ..work(&[], 9) };
        assert_eq!(span(&[study, work(&[], 9)], 1).as_secs(), 9);
        assert_eq!(span(&[], 1), Duration::ZERO);
    }

    #[test]
    fn a_forecast_says_how_sure_it_is() {
        let of = |seconds: Vec<f64>, by| {
            let times = Times::of(seconds).unwrap();
            Forecast { seconds: times.seconds, by, times }.phrase()
        };
        assert_eq!(of(vec![31.0], "runs"), "about 31.0 s (from 1 earlier run)");
        assert_eq!(
            of(vec![2.0, 9.0, 4.0], "trials"),
            "about 4.00 s (2.00 s to 9.00 s in 3 earlier trials)"
        );
        assert_eq!(of(vec![0.2, 0.9], "base"), "about 0.55 s (from 2 earlier runs of its base)");
    }
}
