//! Properties of the schedule over random DAGs, with random ends of tasks.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A random DAG: for each stage the earlier ones that it needs, its demand, and how it ends.
#[derive(Clone, Debug)]
struct Case {
    needs: Vec<BTreeSet<usize>>,
    demands: Vec<Demand>,
    ends: Vec<Outcome>,
    jobs: usize,
    keep_going: bool,
    /// The order in which running tasks end: an index into those that run.
    order: Vec<usize>,
    /// After how many ends the run is cancelled.
    cancel_after: Option<usize>,
}

fn case() -> impl Strategy<Value = Case> {
    (1_usize..12).prop_flat_map(|count| {
        let needs: Vec<_> = (0..count)
            .map(|stage| prop::collection::btree_set(0..stage.max(1), 0..=stage.min(3)))
            .collect();
        let demand = prop_oneof![Just(Demand::One), Just(Demand::Idle), Just(Demand::Spare)];
        let end = prop_oneof![
            4 => Just(Outcome::Ran), 2 => Just(Outcome::Cached), 1 => Just(Outcome::Failed),
        ];
        (
            needs,
            prop::collection::vec(demand, count),
            prop::collection::vec(end, count),
            1_usize..5,
            any::<bool>(),
            prop::collection::vec(0_usize..100, count),
            prop::option::weighted(0.2, 0..count),
        )
            .prop_map(
                |(mut needs, demands, ends, jobs, keep_going, order, cancel_after)| {
                    needs[0].clear();
                    Case { needs, demands, ends, jobs, keep_going, order, cancel_after }
                },
            )
    })
}

/// What a simulated run saw.
#[derive(Default)]
struct Log {
    outcomes: BTreeMap<usize, Outcome>,
    /// For each stage, the outcomes that were known when it was first looked at.
    known_at_start: BTreeMap<usize, BTreeSet<usize>>,
    started: BTreeSet<usize>,
    most_slots: usize,
    least_slots: usize,
    cancelled: bool,
}

impl Log {
    fn end(&mut self, task: TaskId, outcome: Outcome) {
        let before = self.outcomes.insert(task.index(), outcome);
        assert_eq!(before, None, "a task ends once");
    }
}

/// Runs a case to its end as the executor would.
fn simulate(case: &Case) -> Log {
    let mut schedule = Schedule::new(case.jobs, case.keep_going);
    let mut ids = Vec::new();
    for (needs, demand) in case.needs.iter().zip(&case.demands) {
        let needs: Vec<TaskId> = needs.iter().map(|need| ids[*need]).collect();
        ids.push(schedule.add_stage(&needs, *demand));
    }
    let mut log = Log { least_slots: usize::MAX, ..Log::default() };
    let mut running: Vec<(TaskId, usize)> = Vec::new();
    let mut ends = 0;
    while !schedule.is_over() {
        while let Some(step) = schedule.next_step() {
            match step {
                Step::Check(task) => check(case, &mut schedule, &mut log, task),
                Step::Start { task, slots } => {
                    log.started.insert(task.index());
                    log.least_slots = log.least_slots.min(slots);
                    running.push((task, slots));
                }
            }
        }
        log.most_slots = log.most_slots.max(running.iter().map(|(_, slots)| slots).sum());
        if case.cancel_after == Some(ends) && !log.cancelled {
            log.cancelled = true;
            for (task, outcome) in schedule.cancel() {
                log.end(task, outcome);
            }
        }
        if running.is_empty() {
            assert!(schedule.is_over(), "nothing runs, and yet it is not over");
            break;
        }
        let (task, _) = running.remove(case.order[ends] % running.len());
        ends += 1;
        let outcome = case.ends[task.index()];
        log.end(task, outcome);
        for (task, outcome) in schedule.finish(task, outcome) {
            log.end(task, outcome);
        }
    }
    log
}

fn check(case: &Case, schedule: &mut Schedule, log: &mut Log, task: TaskId) {
    let known = log.outcomes.keys().copied().collect();
    log.known_at_start.insert(task.index(), known);
    let ended = match case.ends[task.index()] {
        Outcome::Cached => {
            log.end(task, Outcome::Cached);
            schedule.finish(task, Outcome::Cached)
        }
        _ => schedule.queue(task),
    };
    for (task, outcome) in ended {
        log.end(task, outcome);
    }
}

fn descendants(case: &Case, of: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for (stage, needs) in case.needs.iter().enumerate() {
        if needs.contains(&of) || needs.iter().any(|need| found.contains(need)) {
            found.insert(stage);
        }
    }
    found
}

proptest! {
    #[test]
    fn every_task_ends_once_and_only_after_what_it_needs(case in case()) {
        let log = simulate(&case);
        prop_assert_eq!(log.outcomes.len(), case.needs.len());
        for (stage, known) in &log.known_at_start {
            for need in &case.needs[*stage] {
                prop_assert!(known.contains(need), "{} was looked at before {}", stage, need);
                let is_good = matches!(log.outcomes[need], Outcome::Ran | Outcome::Cached);
                prop_assert!(is_good, "{} was looked at though {} gave nothing", stage, need);
            }
        }
    }

    #[test]
    fn slots_are_never_exceeded_and_every_started_task_has_one(case in case()) {
        let log = simulate(&case);
        prop_assert!(log.most_slots <= case.jobs);
        prop_assert!(log.least_slots >= 1);
    }

    #[test]
    fn a_failure_skips_exactly_its_descendants_with_keep_going(case in case()) {
        let case = Case { keep_going: true, cancel_after: None, ..case };
        let log = simulate(&case);
        let failed = |stage: &usize| log.outcomes[stage] == Outcome::Failed;
        let expected: BTreeSet<usize> = (0..case.needs.len())
            .filter(failed)
            .flat_map(|stage| descendants(&case, stage))
            .collect();
        let skipped: BTreeSet<usize> = log
            .outcomes
            .iter()
            .filter(|(_, outcome)| **outcome == Outcome::Skipped)
            .map(|(stage, _)| *stage)
            .collect();
        prop_assert_eq!(skipped, expected);
    }

    #[test]
    fn after_a_failure_nothing_is_begun(case in case()) {
        let case = Case { keep_going: false, cancel_after: None, jobs: 1, ..case };
        let log = simulate(&case);
        let failures = log.outcomes.values().filter(|outcome| **outcome == Outcome::Failed);
        prop_assert!(failures.count() <= 1, "one slot, so the first failure is the last start");
        let cancelled = log.outcomes.values().filter(|outcome| **outcome == Outcome::Cancelled);
        prop_assert_eq!(cancelled.count(), 0);
    }
}

#[test]
fn a_joined_task_is_looked_at_again_and_a_failed_trial_stops_nothing() {
    let mut schedule = Schedule::new(1, false);
    let tune = schedule.add_stage(&[], Demand::None);
    let after = schedule.add_stage(&[tune], Demand::One);
    assert_eq!(schedule.next_step(), Some(Step::Check(tune)));
    assert_eq!(schedule.queue(tune), []);
    assert_eq!(schedule.next_step(), Some(Step::Start { task: tune, slots: 0 }));
    let (first, second) = (schedule.add_trial(1), schedule.add_trial(1));
    assert_eq!(schedule.next_step(), Some(Step::Check(first)));
    schedule.queue(first);
    assert_eq!(schedule.next_step(), Some(Step::Check(second)));
    schedule.join(second);
    assert_eq!(schedule.next_step(), Some(Step::Start { task: first, slots: 1 }));
    assert_eq!(schedule.finish(first, Outcome::Failed), []);
    schedule.recheck(second);
    assert_eq!(schedule.next_step(), Some(Step::Check(second)));
    schedule.finish(second, Outcome::Cached);
    schedule.finish(tune, Outcome::Ran);
    assert_eq!(schedule.next_step(), Some(Step::Check(after)));
}

#[test]
fn the_longest_of_queued_trials_starts_first() {
    let mut schedule = Schedule::new(1, false);
    let trials = [3, 9, 1].map(|work| schedule.add_trial(work));
    for trial in trials {
        assert_eq!(schedule.next_step(), Some(Step::Check(trial)));
    }
    for trial in trials {
        assert_eq!(schedule.next_step(), None, "one that is being looked up may be longer");
        schedule.queue(trial);
    }
    for trial in [trials[1], trials[0], trials[2]] {
        assert_eq!(schedule.next_step(), Some(Step::Start { task: trial, slots: 1 }));
        schedule.finish(trial, Outcome::Ran);
    }
}

#[test]
fn idle_slots_are_shared_by_those_that_can_use_them() {
    let mut schedule = Schedule::new(4, false);
    let ids = [(); 2].map(|()| schedule.add_stage(&[], Demand::Idle));
    for id in ids {
        assert_eq!(schedule.next_step(), Some(Step::Check(id)));
        schedule.queue(id);
    }
    for id in ids {
        assert_eq!(schedule.next_step(), Some(Step::Start { task: id, slots: 2 }));
    }
}

#[test]
fn spare_slots_are_taken_only_where_nothing_else_wants_them() {
    let started = |demands: &[Demand]| -> Vec<usize> {
        let mut schedule = Schedule::new(4, false);
        let ids: Vec<TaskId> =
            demands.iter().map(|demand| schedule.add_stage(&[], *demand)).collect();
        // What waits for them takes no slot before they have ended.
        schedule.add_stage(&ids, Demand::One);
        for id in &ids {
            assert_eq!(schedule.next_step(), Some(Step::Check(*id)));
        }
        ids.iter().for_each(|id| assert_eq!(schedule.queue(*id), []));
        let start = |id| match schedule.next_step() {
            Some(Step::Start { task, slots }) if task == id => slots,
            step => panic!("{step:?}"),
        };
        ids.into_iter().map(start).collect()
    };
    assert_eq!(started(&[Demand::Spare]), [4]);
    assert_eq!(started(&[Demand::One, Demand::Spare]), [1, 3]);
    assert_eq!(started(&[Demand::Spare, Demand::One]), [1, 1]);
    assert_eq!(started(&[Demand::None, Demand::Spare]), [0, 1], "a study adds trials");
}
