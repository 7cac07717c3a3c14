//! What the repeats of one trial came to: each is a task of its own, and the study is told of all of
//! them at once.
//!
//! Knows no schedule: it counts repeats and says when they are all there.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::event::TrialOutcome;
use crate::fingerprint::Fingerprint;
use crate::stage::tune::RepeatRecord;
use crate::stage::{Failure, Params};
use crate::study::{Curve, Point, TrialState};

/// How a trial, or one repeat of it, ended, before the study is told.
pub(super) enum Ended {
    /// It ran to its end, with its metrics and what it reported by step.
    Complete(BTreeMap<String, f64>, Curve),
    /// The study stopped it.
    Pruned(Curve),
    /// It has no value.
    Failed(Failure),
    /// The run ended it.
    Cancelled,
}

/// A trial under way.
pub(super) struct Gathering {
    pub(super) point: Point,
    /// The params of each repeat.
    pub(super) params: Vec<Params>,
    /// How many of the repeats are tasks.
    pub(super) begun: usize,
    /// When the first of them that runs began.
    pub(super) started: Option<Instant>,
    ended: BTreeMap<u64, Repeat>,
}

/// A repeat that has ended.
struct Repeat {
    end: Ended,
    outcome: TrialOutcome,
    fingerprint: Fingerprint,
}

/// A trial all of whose repeats have ended.
pub(super) struct Gathered {
    pub(super) point: Point,
    pub(super) end: Ended,
    pub(super) outcome: TrialOutcome,
    /// Since its first repeat began; 0 where none of them ran.
    pub(super) seconds: f64,
    /// The repeats and their metrics, for the table; their seeds are the study's affair.
    pub(super) repeats: Vec<(RepeatRecord, BTreeMap<String, f64>)>,
    /// Whether the first repeat ran now, so that its outputs are this study's to drop.
    pub(super) first_ran: bool,
}

impl Gathering {
    pub(super) fn new(point: Point, params: Vec<Params>) -> Gathering {
        Gathering { point, params, begun: 0, started: None, ended: BTreeMap::new() }
    }

    /// Takes note of a repeat's end.
    pub(super) fn note(
        &mut self,
        repeat: u64,
        end: Ended,
        outcome: TrialOutcome,
        fingerprint: Fingerprint,
    ) {
        self.ended.insert(repeat, Repeat { end, outcome, fingerprint });
    }

    /// Says whether the trial needs repeats that have not begun: those after the first wait for it
    /// where a study may prune it, and are in vain where it does not run to its end.
    pub(super) fn needs_more(&self) -> bool {
        let ran_on = |repeat: &Repeat| matches!(repeat.end, Ended::Complete(..));
        self.begun < self.params.len() && self.ended.get(&0).is_some_and(ran_on)
    }

    /// Says whether every repeat that has begun has ended.
    pub(super) fn is_over(&self) -> bool {
        self.ended.len() == self.begun
    }

    /// Makes one end of all: a failure where one failed, else what became of the first where it was
    /// stopped, else the means.
    pub(super) fn gather(self, number: u64) -> Gathered {
        let outcome = outcome(&self.ended);
        let ended = self.ended.iter();
        let repeats = ended.map(|(index, repeat)| record((number, *index), repeat)).collect();
        let first = self.ended.get(&0).map(|first| first.outcome);
        let ran = !matches!(outcome, TrialOutcome::Cached | TrialOutcome::Cancelled);
        let started = self.started.filter(|_| ran);
        let several = self.params.len() > 1;
        Gathered {
            point: self.point,
            end: end(self.ended, several),
            outcome,
            seconds: started.map_or(0.0, |started| started.elapsed().as_secs_f64()),
            repeats,
            first_ran: first == Some(TrialOutcome::Ran),
        }
    }
}

fn outcome(ended: &BTreeMap<u64, Repeat>) -> TrialOutcome {
    let has = |wanted| ended.values().any(|repeat| repeat.outcome == wanted);
    let weightiest = [
        TrialOutcome::Cancelled,
        TrialOutcome::Failed,
        TrialOutcome::Pruned,
        TrialOutcome::Ran,
        TrialOutcome::Cached,
    ];
    weightiest.into_iter().find(|outcome| has(*outcome)).unwrap_or(TrialOutcome::Cancelled)
}

fn record((number, index): (u64, u64), repeat: &Repeat) -> (RepeatRecord, BTreeMap<String, f64>) {
    let (state, metrics, curve) = match &repeat.end {
        Ended::Complete(metrics, curve) => (TrialState::Complete, metrics.clone(), Some(curve)),
        Ended::Pruned(curve) => (TrialState::Pruned, BTreeMap::new(), Some(curve)),
        Ended::Failed(_) | Ended::Cancelled => (TrialState::Failed, BTreeMap::new(), None),
    };
    let record = RepeatRecord {
        number,
        repeat: index,
        state,
        steps: curve.and_then(|curve| curve.points.last()).map_or(0, |point| point.step),
        fingerprint: repeat.fingerprint.0.0,
    };
    (record, metrics)
}

fn end(ended: BTreeMap<u64, Repeat>, several: bool) -> Ended {
    let mut complete = Vec::new();
    let mut failures = Vec::new();
    let mut stopped = None;
    for (number, repeat) in ended {
        match repeat.end {
            Ended::Complete(metrics, curve) => complete.push((metrics, curve)),
            Ended::Failed(failure) if several => {
                let message = format!("repeat {number}: {}", failure.message);
                failures.push(Failure { message, ..failure });
            }
            Ended::Failed(failure) => failures.push(failure),
            end @ (Ended::Pruned(_) | Ended::Cancelled) => stopped = Some(end),
        }
    }
    // One that would come again says most.
    let worst = failures.iter().position(|failure| failure.deterministic).unwrap_or(0);
    if worst < failures.len() {
        return Ended::Failed(failures.swap_remove(worst));
    }
    if let Some(stopped) = stopped {
        return stopped;
    }
    let means = means(complete.iter().map(|(metrics, _)| metrics));
    match complete.into_iter().next() {
        Some((_, curve)) => Ended::Complete(means, curve),
        None => Ended::Cancelled,
    }
}

/// Gives the mean of each metric that all have.
fn means<'a>(
    all: impl ExactSizeIterator<Item = &'a BTreeMap<String, f64>>,
) -> BTreeMap<String, f64> {
    let count = all.len();
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (name, value) in all.flatten() {
        let sum = sums.entry(name.clone()).or_default();
        *sum = (sum.0 + value, sum.1 + 1);
    }
    let shared = sums.into_iter().filter(|(_, (_, times))| *times == count);
    shared.map(|(name, (sum, _))| (name, sum / count as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::Digest;

    fn complete(loss: f64, name: &str) -> Ended {
        let metrics = BTreeMap::from([("loss".to_owned(), loss), (name.to_owned(), 1.0)]);
        Ended::Complete(metrics, Curve::default())
    }

    fn gathering(repeats: usize) -> Gathering {
        let params = serde_json::json!({ "run": "true" });
        let params = Params::from_value(crate::stage::StageKind::Command, params);
        let params = params.expect("the params are well-formed");
        let mut gathering = Gathering::new(Point::new(), vec![params; repeats]);
        gathering.begun = repeats;
        gathering
    }

    fn note(gathering: &mut Gathering, repeat: u64, end: Ended, outcome: TrialOutcome) {
        let fingerprint = Fingerprint(Digest::of(&repeat.to_le_bytes()));
        gathering.note(repeat, end, outcome, fingerprint);
    }

    #[test]
    fn metrics_are_the_means_of_those_that_all_have() {
        let mut trial = gathering(3);
        for (repeat, loss) in [(2, 6.0), (0, 1.0), (1, 2.0)] {
            assert!(!trial.is_over());
            let name = if repeat == 1 { "odd" } else { "even" };
            note(&mut trial, repeat, complete(loss, name), TrialOutcome::Cached);
        }
        assert!(trial.is_over());
        let gathered = trial.gather(0);
        let Ended::Complete(metrics, _) = gathered.end else { panic!("it is complete") };
        assert_eq!(metrics, BTreeMap::from([("loss".to_owned(), 3.0)]));
        assert_eq!((gathered.outcome, gathered.first_ran), (TrialOutcome::Cached, false));
        let numbers: Vec<u64> = gathered.repeats.iter().map(|(repeat, _)| repeat.repeat).collect();
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn a_failed_repeat_fails_the_trial_by_what_would_come_again() {
        let mut trial = gathering(3);
        note(&mut trial, 0, complete(1.0, "x"), TrialOutcome::Ran);
        note(&mut trial, 1, Ended::Failed(Failure::new("no disk")), TrialOutcome::Failed);
        let nan = Failure::new("the loss is NaN").deterministic();
        note(&mut trial, 2, Ended::Failed(nan), TrialOutcome::Failed);
        let gathered = trial.gather(0);
        let Ended::Failed(failure) = gathered.end else { panic!("it failed") };
        assert_eq!(failure.message, "repeat 2: the loss is NaN");
        assert!(failure.deterministic && gathered.first_ran);
        assert_eq!(gathered.outcome, TrialOutcome::Failed);
    }

    #[test]
    fn later_repeats_are_needed_only_once_the_first_is_complete() {
        for (end, needed) in [(complete(1.0, "x"), true), (Ended::Pruned(Curve::default()), false)]
        {
            let mut trial = gathering(2);
            trial.begun = 1;
            assert!(!trial.needs_more());
            note(&mut trial, 0, end, TrialOutcome::Ran);
            assert_eq!(trial.needs_more(), needed);
        }
    }
}
