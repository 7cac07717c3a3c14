//! Single rules, each by a small run; `model` looks at all of them over random DAGs.

use super::*;

mod model;

fn machine(cpus: usize) -> Machine {
    Machine { cpus, memory: 8, gpus: 2 }
}

/// Gives the tasks that start now, each with its slots.
fn started(schedule: &mut Schedule) -> Vec<(TaskId, usize)> {
    std::iter::from_fn(|| schedule.next_step())
        .map(|step| match step {
            Step::Start { task, slots } => (task, slots),
            Step::Check(task) => panic!("{task:?} is checked"),
        })
        .collect()
}

/// Queues stages that need nothing, and gives their ids.
fn queued(schedule: &mut Schedule, requests: &[Request]) -> Vec<TaskId> {
    let ids: Vec<TaskId> =
        requests.iter().map(|request| schedule.add_stage(&[], *request)).collect();
    for _ in &ids {
        let Some(Step::Check(_)) = schedule.next_step() else { panic!("it is checked") };
    }
    ids.iter().for_each(|id| assert_eq!(schedule.queue(*id), []));
    ids
}

#[test]
fn a_joined_task_is_looked_at_again_and_a_failed_trial_stops_nothing() {
    let mut schedule = Schedule::new(&machine(1), false);
    let tune = schedule.add_stage(&[], Demand::None);
    let after = schedule.add_stage(&[tune], Demand::ONE);
    assert_eq!(schedule.next_step(), Some(Step::Check(tune)));
    assert_eq!(schedule.queue(tune), []);
    assert_eq!(schedule.next_step(), Some(Step::Start { task: tune, slots: 0 }));
    let (first, second) = (schedule.add_trial(1, Demand::ONE), schedule.add_trial(1, Demand::ONE));
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
fn a_trial_takes_the_place_of_one_that_was_let_go_of_and_its_own_turn() {
    let mut schedule = Schedule::new(&machine(1), false);
    let [first, second] = [(); 2].map(|()| schedule.add_trial(1, Demand::ONE));
    let check = |schedule: &mut Schedule| {
        let Some(Step::Check(trial)) = schedule.next_step() else { panic!("it is checked") };
        trial
    };
    assert_eq!(check(&mut schedule), first);
    schedule.finish(first, Outcome::Cached);
    schedule.let_go(first);
    let third = schedule.add_trial(1, Demand::ONE);
    let stage = schedule.add_stage(&[], Demand::ONE);
    assert_eq!(third, first);
    assert!(stage > second);
    // The second was added before the third, which has the smaller number; a stage before both.
    for task in [stage, second, third] {
        assert_eq!(check(&mut schedule), task);
        schedule.finish(task, Outcome::Cached);
    }
    assert!(schedule.is_over());
}

#[test]
#[should_panic(expected = "is not over")]
fn a_trial_that_runs_is_not_let_go_of() {
    let mut schedule = Schedule::new(&machine(1), false);
    let trial = schedule.add_trial(1, Demand::ONE);
    schedule.let_go(trial);
}

#[test]
fn the_longest_of_queued_trials_starts_first() {
    let mut schedule = Schedule::new(&machine(1), false);
    let trials = [3, 9, 1].map(|work| schedule.add_trial(work, Demand::ONE));
    for _ in trials {
        let Some(Step::Check(trial)) = schedule.next_step() else { panic!("it is checked") };
        assert!(schedule.queue(trial).is_empty());
    }
    for trial in [trials[1], trials[0], trials[2]] {
        assert_eq!(started(&mut schedule), [(trial, 1)]);
        schedule.finish(trial, Outcome::Ran);
    }
}

#[test]
fn a_withdrawn_trial_ends_wherever_it_waits() {
    let mut schedule = Schedule::new(&machine(1), false);
    let trials = [4, 3, 2, 1].map(|work| schedule.add_trial(work, Demand::ONE));
    for _ in trials {
        assert!(matches!(schedule.next_step(), Some(Step::Check(_))));
    }
    schedule.queue(trials[0]);
    schedule.join(trials[1]);
    schedule.queue(trials[2]);
    assert!(!schedule.withdraw(trials[3]), "it is being checked");
    schedule.queue(trials[3]);
    assert_eq!(started(&mut schedule), [(trials[0], 1)]);
    assert_eq!(trials.map(|trial| schedule.withdraw(trial)), [false, true, true, true]);
    schedule.recheck(trials[1]);
    schedule.finish(trials[0], Outcome::Cancelled);
    assert!(schedule.is_over());
}

#[test]
fn what_is_added_to_a_closed_run_ends_too() {
    let mut schedule = Schedule::new(&machine(1), false);
    let first = queued(&mut schedule, &[Demand::ONE.into()])[0];
    assert_eq!(started(&mut schedule), [(first, 1)]);
    assert_eq!(schedule.cancel(), []);
    let late = schedule.add_trial(1, Demand::ONE);
    assert_eq!(schedule.next_step(), None);
    assert_eq!(schedule.finish(first, Outcome::Ran), [(late, Outcome::Cancelled)]);
    assert!(schedule.is_over());
}

#[test]
fn spare_slots_are_taken_only_where_nothing_else_could_use_them() {
    let started = |demands: &[Demand]| -> Vec<usize> {
        let mut schedule = Schedule::new(&machine(4), false);
        let ids: Vec<TaskId> =
            demands.iter().map(|demand| schedule.add_stage(&[], *demand)).collect();
        schedule.add_stage(&ids, Demand::ONE);
        for id in &ids {
            assert_eq!(schedule.next_step(), Some(Step::Check(*id)));
        }
        ids.iter().for_each(|id| assert_eq!(schedule.queue(*id), []));
        started(&mut schedule).into_iter().map(|(_, slots)| slots).collect()
    };
    assert_eq!(started(&[Demand::Spare]), [4]);
    assert_eq!(started(&[Demand::ONE, Demand::Spare]), [1, 3]);
    assert_eq!(started(&[Demand::Spare, Demand::ONE]), [1, 1]);
    assert_eq!(started(&[Demand::None, Demand::Spare]), [0, 1], "a study adds trials");
}

#[test]
fn a_wide_stage_is_not_overtaken_for_ever_and_lets_pass_what_does_not_hinder_it() {
    let mut schedule = Schedule::new(&machine(2), false);
    let gpu = Request { gpus: 2, ..Demand::ONE.into() };
    let ids = queued(
        &mut schedule,
        &[Demand::ONE.into(), Demand::Cpus(2).into(), Demand::ONE.into(), gpu],
    );
    let [narrow, wide, late, gpu] = ids[..] else { unreachable!("there are four") };
    assert_eq!(started(&mut schedule), [(narrow, 1)], "one slot is free and kept");
    schedule.finish(narrow, Outcome::Ran);
    assert_eq!(started(&mut schedule), [(wide, 2)]);
    schedule.finish(wide, Outcome::Ran);
    assert_eq!(started(&mut schedule), [(late, 1), (gpu, 1)]);
    assert_eq!(schedule.gpus(gpu), [0, 1]);
    let waiting = Request { gpus: 1, ..Demand::ONE.into() };
    let more = queued(&mut schedule, &[waiting, Demand::ONE.into()]);
    schedule.finish(late, Outcome::Ran);
    assert_eq!(started(&mut schedule), [], "a slot is kept for what waits for a GPU");
    schedule.finish(gpu, Outcome::Ran);
    assert_eq!(started(&mut schedule), [(more[0], 1), (more[1], 1)]);
}

#[test]
fn priority_comes_before_the_longest_way_and_that_before_the_file() {
    let mut schedule = Schedule::new(&machine(1), false);
    let high = Request { priority: 1, ..Demand::ONE.into() };
    let ids = queued(&mut schedule, &[Demand::ONE.into(), Demand::ONE.into(), high, high]);
    schedule.set_ways([(ids[0], 10), (ids[1], 20), (ids[2], 1), (ids[3], 2)]);
    for next in [ids[3], ids[2], ids[1], ids[0]] {
        assert_eq!(started(&mut schedule), [(next, 1)]);
        schedule.finish(next, Outcome::Ran);
    }
}

#[test]
fn nothing_starts_before_a_task_of_higher_priority_was_looked_at() {
    let mut schedule = Schedule::new(&machine(2), false);
    let low = schedule.add_stage(&[], Demand::ONE);
    let high = schedule.add_stage(&[], Request { priority: 1, ..Demand::ONE.into() });
    assert_eq!(schedule.next_step(), Some(Step::Check(high)));
    assert_eq!(schedule.next_step(), Some(Step::Check(low)));
    schedule.queue(low);
    assert_eq!(schedule.next_step(), None);
    schedule.queue(high);
    assert_eq!(started(&mut schedule), [(high, 1), (low, 1)]);
}

#[test]
fn what_a_task_releases_another_takes_and_none_gives_back_twice() {
    let mut schedule = Schedule::new(&Machine { cpus: 1, memory: 100, gpus: 1 }, false);
    let request = |demand| Request { memory: 60, gpus: 1, ..Request::from(demand) };
    let [one, two, three] = [0; 3].map(|_| schedule.add_stage(&[], request(Demand::Cpus(1))));
    for task in [one, two, three] {
        assert_eq!(schedule.next_step(), Some(Step::Check(task)));
        schedule.queue(task);
    }
    assert!(matches!(schedule.next_step(), Some(Step::Start { task, .. }) if task == one));
    assert_eq!(schedule.next_step(), None);
    schedule.release(one);
    assert!(matches!(schedule.next_step(), Some(Step::Start { task, .. }) if task == two));
    schedule.finish(one, Outcome::Ran);
    assert_eq!(schedule.next_step(), None, "its end gives nothing back once more");
    schedule.finish(two, Outcome::Ran);
    assert!(matches!(schedule.next_step(), Some(Step::Start { task, .. }) if task == three));
}
