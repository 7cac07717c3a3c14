//! Properties of the schedule over random DAGs, beside a model that knows every rule and no trick:
//! with failures, tries again, timeouts (which are failures), actions that others run, studies that
//! add trials, and cancelled runs.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::*;

/// How a task comes to its end.
#[derive(Clone, Debug)]
struct Fate {
    /// Failed attempts after which it is tried again, or checks that find another at the action.
    tries: usize,
    /// Whether those are such checks.
    joins: bool,
    end: Outcome,
}

#[derive(Clone, Debug)]
struct Spec {
    /// The earlier stages that it needs.
    needs: BTreeSet<usize>,
    request: Request,
    fate: Fate,
    /// Of a study, the trials that it adds when it starts.
    trials: Vec<(u64, Request, Fate)>,
}

#[derive(Clone, Debug)]
struct Case {
    specs: Vec<Spec>,
    machine: Machine,
    keep_going: bool,
    /// Which of the things that can happen next does: an index into them.
    order: Vec<usize>,
    /// After how many of them the run is cancelled.
    cancel_after: Option<usize>,
}

fn fate() -> impl Strategy<Value = Fate> {
    let end = prop_oneof![
        4 => Just(Outcome::Ran), 2 => Just(Outcome::Cached), 1 => Just(Outcome::Failed),
    ];
    (prop_oneof![4 => Just(0_usize), 1 => 1_usize..4], any::<bool>(), end)
        .prop_map(|(tries, joins, end)| Fate { tries, joins, end })
}

fn request() -> impl Strategy<Value = Request> {
    let demand = prop_oneof![
        3 => (1_usize..6).prop_map(Demand::Cpus), 1 => Just(Demand::Idle), 1 => Just(Demand::Spare),
    ];
    (demand, 0_u64..5, 0_usize..3, -1_i64..2, 0_u64..3).prop_map(
        |(demand, memory, gpus, priority, way)| Request { demand, memory, gpus, priority, way },
    )
}

fn spec(index: usize) -> impl Strategy<Value = Spec> {
    let needs = prop::collection::btree_set(0..index.max(1), 0..=index.min(3));
    let trials = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec((0_u64..4, request(), fate()), 1..5),
    ];
    (needs, request(), fate(), trials).prop_map(move |(mut needs, mut request, fate, trials)| {
        if index == 0 {
            needs.clear();
        }
        if !trials.is_empty() {
            request = Request { priority: request.priority, ..Demand::None.into() };
        }
        Spec { needs, request, fate, trials }
    })
}

fn case() -> impl Strategy<Value = Case> {
    let machine = (1_usize..5, 0_u64..5, 0_usize..3).prop_map(|(cpus, memory, gpus)| Machine {
        cpus,
        memory,
        gpus,
    });
    (1_usize..14).prop_flat_map(move |count| {
        let specs: Vec<_> = (0..count).map(spec).collect();
        let order = prop::collection::vec(0_usize..1000, 1..40);
        let cancel = prop::option::weighted(0.2, 0_usize..30);
        (specs, machine.clone(), any::<bool>(), order, cancel).prop_map(
            |(specs, machine, keep_going, order, cancel_after)| Case {
                specs,
                machine,
                keep_going,
                order,
                cancel_after,
            },
        )
    })
}

/// What the model knows of a task.
struct Known {
    needs: Vec<TaskId>,
    request: Request,
    fate: Fate,
    /// Of a trial: how long it takes beside others, and its study.
    trial: Option<(u64, TaskId)>,
    trials: Vec<(u64, Request, Fate)>,
}

/// What a running task has, as it was told.
#[derive(Clone)]
struct Has {
    slots: usize,
    memory: u64,
    gpus: Vec<usize>,
}

/// The schedule and the model beside it.
struct World {
    schedule: Schedule,
    machine: Machine,
    tasks: Vec<Known>,
    checking: Vec<TaskId>,
    queued: BTreeSet<TaskId>,
    running: BTreeMap<TaskId, Has>,
    /// Those that are to be checked again.
    resting: Vec<TaskId>,
    outcomes: BTreeMap<TaskId, Outcome>,
    /// The studies whose trials are not all over, with how many there are.
    studies: BTreeMap<TaskId, usize>,
    /// Whether nothing more may begin.
    closed: bool,
}

impl World {
    fn new(case: &Case) -> World {
        let mut world = World {
            schedule: Schedule::new(&case.machine, case.keep_going),
            machine: case.machine,
            tasks: Vec::new(),
            checking: Vec::new(),
            queued: BTreeSet::new(),
            running: BTreeMap::new(),
            resting: Vec::new(),
            outcomes: BTreeMap::new(),
            studies: BTreeMap::new(),
            closed: false,
        };
        for spec in &case.specs {
            let needs: Vec<TaskId> = spec.needs.iter().copied().map(TaskId::new).collect();
            world.schedule.add_stage(&needs, spec.request);
            world.know(needs, spec.request, spec.fate.clone(), None, spec.trials.clone());
        }
        world
    }

    fn know(
        &mut self,
        needs: Vec<TaskId>,
        request: Request,
        fate: Fate,
        trial: Option<(u64, TaskId)>,
        trials: Vec<(u64, Request, Fate)>,
    ) {
        let demand = match request.demand {
            Demand::Cpus(cpus) => Demand::Cpus(cpus.min(self.machine.cpus)),
            other => other,
        };
        let memory = request.memory.min(self.machine.memory);
        let request =
            Request { demand, memory, gpus: request.gpus.min(self.machine.gpus), ..request };
        self.tasks.push(Known { needs, request, fate, trial, trials });
    }

    fn known(&self, task: TaskId) -> &Known {
        &self.tasks[task.index()]
    }

    /// The order in which tasks start, said anew.
    fn comes_before(&self, one: TaskId, other: TaskId) -> bool {
        let key = |task: TaskId| {
            let known = self.known(task);
            let work = known.trial.map_or(0, |(work, _)| work);
            let Request { priority, way, .. } = known.request;
            (-priority, u64::MAX - way, known.trial.is_some(), u64::MAX - work, task)
        };
        key(one) < key(other)
    }

    fn may_start(&self, task: TaskId) -> bool {
        let known = self.known(task);
        let hinders = |other: &TaskId| {
            let other = self.known(*other);
            other.request.priority > known.request.priority
                || (other.trial.is_some() && known.trial.is_some())
        };
        !self.checking.iter().any(hinders)
    }

    /// What is free: slots, memory, GPUs.
    fn free(&self) -> [u64; 3] {
        let used = |amount: fn(&Has) -> u64| self.running.values().map(amount).sum::<u64>();
        [
            self.machine.cpus as u64 - used(|has| has.slots as u64),
            self.machine.memory - used(|has| has.memory),
            self.machine.gpus as u64 - used(|has| has.gpus.len() as u64),
        ]
    }

    fn least(&self, task: TaskId) -> [u64; 3] {
        let Request { demand, memory, gpus, .. } = self.known(task).request;
        let slots = match demand {
            Demand::None => 0,
            Demand::Cpus(cpus) => cpus as u64,
            Demand::Idle | Demand::Spare => 1,
        };
        [slots, memory, gpus as u64]
    }

    fn fits(&self, task: TaskId, free: [u64; 3]) -> bool {
        self.least(task).iter().zip(free).all(|(least, free)| *least <= free)
    }

    /// The first of the queued tasks that could start but for what it asks for.
    fn first(&self) -> Option<TaskId> {
        let mut first: Option<TaskId> = None;
        for task in self.queued.iter().copied().filter(|task| self.may_start(*task)) {
            if first.is_none_or(|first| self.comes_before(task, first)) {
                first = Some(task);
            }
        }
        first
    }

    fn end(&mut self, task: TaskId, outcome: Outcome) {
        assert_eq!(self.outcomes.insert(task, outcome), None, "a task ends once");
        self.queued.remove(&task);
        self.resting.retain(|other| *other != task);
        assert!(!self.running.contains_key(&task) && !self.checking.contains(&task));
        if let Some((_, study)) = self.known(task).trial {
            *self.studies.get_mut(&study).unwrap() -= 1;
        }
    }

    fn end_all(&mut self, ended: Vec<(TaskId, Outcome)>) {
        for (task, outcome) in ended {
            assert!(matches!(outcome, Outcome::Skipped | Outcome::Cancelled));
            self.end(task, outcome);
        }
    }

    /// Does all that the schedule allows, and looks whether it was right to.
    fn dispatch(&mut self) {
        while let Some(step) = self.schedule.next_step() {
            assert!(!self.closed, "nothing begins once nothing may");
            match step {
                Step::Check(task) => {
                    for need in &self.known(task).needs {
                        let outcome = self.outcomes.get(need);
                        assert!(matches!(outcome, Some(Outcome::Ran | Outcome::Cached)));
                    }
                    self.checking.push(task);
                }
                Step::Start { task, slots } => self.start(task, slots),
            }
        }
        if let (Some(first), false) = (self.first(), self.closed) {
            assert!(!self.fits(first, self.free()), "what could start waits");
            let left = self.left(first);
            for other in self.queued.iter().filter(|other| self.may_start(**other)) {
                assert!(!self.fits(*other, left), "what hinders nobody waits");
            }
        }
    }

    /// What is left beside what is kept for the first of the queued tasks, if it does not fit.
    fn left(&self, first: TaskId) -> [u64; 3] {
        let free = self.free();
        if self.fits(first, free) {
            return free;
        }
        let least = self.least(first);
        std::array::from_fn(|kind| free[kind].saturating_sub(least[kind]))
    }

    fn start(&mut self, task: TaskId, slots: usize) {
        assert!(self.queued.contains(&task) && self.may_start(task));
        let (before, first) = (self.free(), self.first().unwrap());
        // Only what does not fit is overtaken: the first in what is free, others in what is left
        // beside what is kept for the first.
        let left = self.left(first);
        for other in self.queued.iter().filter(|other| self.may_start(**other)) {
            let is_overtaken = self.comes_before(*other, task);
            assert!(!is_overtaken || !self.fits(*other, left), "it was overtaken");
        }
        self.queued.remove(&task);
        let Request { demand, memory, .. } = self.known(task).request;
        match demand {
            Demand::Cpus(cpus) => assert_eq!(slots, cpus),
            Demand::None => assert_eq!(slots, 0),
            Demand::Idle | Demand::Spare => assert!(slots >= 1),
        }
        let gpus = self.schedule.gpus(task).to_vec();
        assert_eq!(gpus.len(), self.known(task).request.gpus);
        assert!(gpus.iter().all(|gpu| *gpu < self.machine.gpus));
        for other in self.running.values() {
            assert!(gpus.iter().all(|gpu| !other.gpus.contains(gpu)), "one GPU, two tasks");
        }
        assert!(slots as u64 <= before[0] && memory <= before[1] && gpus.len() as u64 <= before[2]);
        self.running.insert(task, Has { slots, memory, gpus });
        if task != first {
            // Nobody starves: what is there of what the first waits for is left to it.
            let after = self.free();
            for ((least, before), after) in self.least(first).iter().zip(before).zip(after) {
                assert!(after >= before.min(*least), "it took what another waits for");
            }
        }
        let trials = std::mem::take(&mut self.tasks[task.index()].trials);
        if !trials.is_empty() {
            self.studies.insert(task, trials.len());
        }
        for (work, request, fate) in trials {
            self.schedule.add_trial(work, request);
            self.know(Vec::new(), request, fate, Some((work, task)), Vec::new());
        }
    }

    fn checked(&mut self, at: usize) {
        let task = self.checking.remove(at);
        let fate = self.known(task).fate.clone();
        if fate.joins && fate.tries > 0 {
            self.tasks[task.index()].fate.tries -= 1;
            self.rest(task);
        } else if fate.end == Outcome::Cached {
            self.finish(task, Outcome::Cached);
        } else {
            if !self.closed {
                self.queued.insert(task);
            }
            let ended = self.schedule.queue(task);
            self.end_all(ended);
        }
    }

    fn rest(&mut self, task: TaskId) {
        if !self.closed {
            self.resting.push(task);
        }
        let ended = self.schedule.join(task);
        self.end_all(ended);
    }

    fn stopped(&mut self, task: TaskId) {
        self.running.remove(&task);
        let fate = self.known(task).fate.clone();
        if !fate.joins && fate.tries > 0 && !self.closed {
            self.tasks[task.index()].fate.tries -= 1;
            return self.rest(task);
        }
        self.finish(task, fate.end);
    }

    fn finish(&mut self, task: TaskId, outcome: Outcome) {
        self.end(task, outcome);
        let is_trial = self.known(task).trial.is_some();
        let ended = self.schedule.finish(task, outcome);
        self.closed = self.schedule.is_closed();
        assert!(!is_trial || ended.is_empty() || self.closed, "a failed trial stops nothing");
        self.end_all(ended);
    }

    /// Lets the `choice`-th of the things that can happen do so; false where there is none.
    fn happen(&mut self, choice: usize) -> bool {
        // A study ends when its trials have.
        let is_over = |task: &TaskId| self.studies.get(task).is_none_or(|open| *open == 0);
        let running: Vec<TaskId> = self.running.keys().copied().filter(is_over).collect();
        let (checks, rests) = (self.checking.len(), self.resting.len());
        let all = checks + rests + running.len();
        if all == 0 {
            return false;
        }
        match choice % all {
            at if at < checks => self.checked(at),
            at if at < checks + rests => {
                let task = self.resting.remove(at - checks);
                self.schedule.recheck(task);
            }
            at => self.stopped(running[at - checks - rests]),
        }
        true
    }
}

/// Runs a case to its end as the executor would.
fn simulate(case: &Case) -> World {
    let mut world = World::new(case);
    for turn in 0.. {
        world.dispatch();
        if case.cancel_after == Some(turn) {
            let ended = world.schedule.cancel();
            world.closed = true;
            world.end_all(ended);
        }
        if !world.happen(case.order[turn % case.order.len()]) {
            break;
        }
    }
    assert!(world.schedule.is_over(), "nothing runs, and yet it is not over");
    world
}

fn descendants(case: &Case, of: usize) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for (stage, spec) in case.specs.iter().enumerate() {
        if spec.needs.contains(&of) || spec.needs.iter().any(|need| found.contains(need)) {
            found.insert(stage);
        }
    }
    found
}

/// All rules; those of each step are looked at as it is done.
fn rules_hold(case: &Case) {
    let world = simulate(case);
    assert_eq!(world.outcomes.len(), world.tasks.len(), "every task has an end");
    let stages = || (0..case.specs.len()).map(|stage| (stage, world.outcomes[&TaskId(stage)]));
    let of = |wanted: Outcome| {
        stages().filter(move |(_, outcome)| *outcome == wanted).map(|(stage, _)| stage)
    };
    if case.cancel_after.is_none() {
        assert_eq!(of(Outcome::Cancelled).count(), 0);
    }
    let below: BTreeSet<usize> =
        of(Outcome::Failed).flat_map(|stage| descendants(case, stage)).collect();
    let skipped: BTreeSet<usize> = of(Outcome::Skipped).collect();
    match (case.keep_going, case.cancel_after) {
        (true, None) => assert_eq!(skipped, below, "exactly the descendants of failures"),
        (true, Some(_)) => assert!(skipped.is_subset(&below)),
        (false, _) => assert!(skipped.is_empty() || of(Outcome::Failed).count() > 0),
    }
}

fn check_cases(cases: u32) {
    let config = ProptestConfig { cases, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(&case(), |case| {
        rules_hold(&case);
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn the_rules_hold_for_any_dag() {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    check_cases(cases.unwrap_or(100));
}

#[test]
#[ignore = "takes some seconds; the form above checks a hundred cases"]
fn the_rules_hold_for_ten_thousand_dags() {
    check_cases(10_000);
}
