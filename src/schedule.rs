//! The mutable state of one run as a pure machine: tasks in, what to do next out; no I/O.
//!
//! A task is a stage, or a trial that a running tune stage added. Its life:
//!
//! ```text
//! Waiting ──> Ready ──> Checking ──> Fresh: Done(Cached)
//!   needs done  start      │
//!                          ├──> Queued ──> Running ──> Done(Ran | Failed | …)
//!                          │    for slots     │
//!                          └──> Joined <──────┘ another task or process runs the same action, or
//!                               it is to be tried again later: checked again when that is over
//! ```
//!
//! Every change goes through `Schedule::set`. A failed stage stops new work, or with
//! `keep_going` skips its descendants; a failed trial stops nothing. Each step takes a time that
//! grows with the logarithm of the tasks, and with the number of different requests among them.
//!
//! What starts first and what waits is `queue`'s affair, what each holds is `machine`'s.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Outcome;

mod machine;
mod queue;

pub use machine::{Demand, Machine, Request};

use machine::{Free, Held};
use queue::{Queue, Rank};

/// A task's number, in the order of adding but for trials, which take the place of trials that are
/// done and were let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(usize);

impl TaskId {
    /// Gives the id of the task with that number.
    pub fn new(index: usize) -> TaskId {
        TaskId(index)
    }

    /// Gives the number, from 0.
    pub fn index(self) -> usize {
        self.0
    }
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Ready,
    Checking,
    Joined,
    Queued,
    Running,
    Done(Outcome),
}

/// What the executor is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find out whether the store has the task's outputs.
    Check(TaskId),
    /// Run the task on this many slots, and on the GPUs that [`Schedule::gpus`] gives.
    Start {
        /// Which.
        task: TaskId,
        /// How many slots it has; 0 for one that demands none.
        slots: usize,
    },
}

#[derive(Debug)]
struct Task {
    state: State,
    request: Request,
    is_trial: bool,
    /// How long it takes beside others of its kind: of queued trials, the longest starts first.
    work: u64,
    /// Tasks that this one needs and that are not done.
    missing: usize,
    /// How many tasks were added before it.
    number: u64,
    needed_by: Vec<TaskId>,
    /// What it has while it runs.
    held: Held,
}

/// How many tasks there are in states that others must know of.
#[derive(Debug, Default)]
struct Counts {
    /// Not done.
    open: usize,
    /// Ready, being checked, joined or queued: they may soon want a slot.
    wanting: usize,
    /// Running and demanding nothing: studies, which add tasks that do.
    studies: usize,
    checking_trials: usize,
    /// Being checked, by priority.
    checking: BTreeMap<i64, usize>,
}

/// The state of one run.
#[derive(Debug)]
pub struct Schedule {
    tasks: Vec<Task>,
    ready: BTreeSet<Rank>,
    queue: Queue,
    free: Free,
    counts: Counts,
    keep_going: bool,
    /// Set once no new work is begun, to the outcome of what had not started: skipped where a
    /// stage failed, cancelled where the run was.
    closing: Option<Outcome>,
    /// Tasks that were added after that.
    late: Vec<TaskId>,
    /// How many tasks were added in all.
    added: u64,
    /// The places of trials that were let go of.
    vacant: Vec<TaskId>,
}

impl Schedule {
    /// Makes a schedule of no tasks on a machine.
    pub fn new(machine: &Machine, keep_going: bool) -> Schedule {
        Schedule {
            tasks: Vec::new(),
            ready: BTreeSet::new(),
            queue: Queue::default(),
            free: Free::all(machine),
            counts: Counts::default(),
            keep_going,
            closing: None,
            late: Vec::new(),
            added: 0,
            vacant: Vec::new(),
        }
    }

    /// Adds a stage that starts only after `needs`, which were added before it.
    pub fn add_stage(&mut self, needs: &[TaskId], request: impl Into<Request>) -> TaskId {
        self.add(needs, request.into(), false, 0)
    }

    /// Adds a trial, which needs nothing and whose failure stops nothing. `work` says how long it
    /// takes beside other trials: started last, a long one would leave slots idle at the end.
    pub fn add_trial(&mut self, work: u64, request: impl Into<Request>) -> TaskId {
        self.add(&[], request.into(), true, work)
    }

    fn add(&mut self, needs: &[TaskId], request: Request, is_trial: bool, work: u64) -> TaskId {
        let vacant = if is_trial { self.vacant.pop() } else { None };
        let id = vacant.unwrap_or(TaskId(self.tasks.len()));
        let needs: BTreeSet<TaskId> = needs.iter().copied().collect();
        for need in &needs {
            self.tasks[need.0].needed_by.push(id);
        }
        let task = Task {
            state: State::Waiting,
            request: self.free.clamped(request),
            is_trial,
            work,
            missing: needs.len(),
            number: self.added,
            needed_by: Vec::new(),
            held: Held::default(),
        };
        match self.tasks.get_mut(id.0) {
            Some(place) => *place = task,
            None => self.tasks.push(task),
        }
        self.added += 1;
        self.counts.open += 1;
        if needs.is_empty() {
            self.set(id, State::Ready);
        }
        if self.closing.is_some() {
            self.late.push(id);
        }
        id
    }

    /// Gives the next thing to do; `None` until something else ends.
    pub fn next_step(&mut self) -> Option<Step> {
        if self.closing.is_some() {
            return None;
        }
        if let Some(rank) = self.ready.first().copied() {
            self.set(rank.task, State::Checking);
            return Some(Step::Check(rank.task));
        }
        let task = self.queue.first_that_fits(&self.free, |rank| self.may_start(rank))?;
        let (task, spare) = (task.rank.task, task.spare);
        let slots = match self.tasks[task.0].request.demand {
            Demand::None => 0,
            Demand::Cpus(cpus) => cpus,
            Demand::Idle => (spare / self.queue.len()).max(1),
            Demand::Spare if self.is_wanted_beside() => 1,
            Demand::Spare => spare.max(1),
        };
        let held = self.free.take(&self.tasks[task.0].request, slots);
        self.tasks[task.0].held = held;
        self.set(task, State::Running);
        Some(Step::Start { task, slots })
    }

    /// Says whether a queued task need not wait for one that is being looked up: one that was given
    /// a higher priority, or of trials one that may take longer.
    fn may_start(&self, rank: &Rank) -> bool {
        let higher = self.counts.checking.last_key_value();
        higher.is_none_or(|(priority, _)| *priority <= rank.priority())
            && !(rank.is_trial && self.counts.checking_trials > 0)
    }

    /// Says whether a task beside one that is queued may want a slot before that ends; a running
    /// study adds tasks that do.
    fn is_wanted_beside(&self) -> bool {
        self.counts.wanting > 1 || self.counts.studies > 0
    }

    /// Gives the GPUs that a running task has, by their number in the machine's list.
    pub fn gpus(&self, task: TaskId) -> &[usize] {
        &self.tasks[task.0].held.gpus
    }

    /// Gives how long the longest way from a task to the end is, as far as it was told.
    pub fn way(&self, task: TaskId) -> u64 {
        self.tasks[task.0].request.way
    }

    /// Says that a checked task must run.
    pub fn queue(&mut self, task: TaskId) -> Vec<(TaskId, Outcome)> {
        self.move_on(task, State::Queued)
    }

    /// Says that another task or process runs the same action, or that it is to be tried again; the
    /// task lets go of its slots.
    pub fn join(&mut self, task: TaskId) -> Vec<(TaskId, Outcome)> {
        self.move_on(task, State::Joined)
    }

    /// Says that a joined task is to be checked again, if it still waits.
    pub fn recheck(&mut self, task: TaskId) {
        if self.tasks[task.0].state == State::Joined {
            self.set(task, State::Ready);
        }
    }

    /// Moves a task that has not run, or ends it where no new work is begun.
    fn move_on(&mut self, task: TaskId, state: State) -> Vec<(TaskId, Outcome)> {
        match self.closing {
            None => {
                self.set(task, state);
                Vec::new()
            }
            Some(outcome) => {
                self.set(task, State::Done(outcome));
                [(task, outcome)].into_iter().chain(self.end_late()).collect()
            }
        }
    }

    /// Lets a running task go on without what it holds of the machine, which others may take.
    pub fn release(&mut self, task: TaskId) {
        let task = &mut self.tasks[task.0];
        if task.state == State::Running {
            self.free.give_back(std::mem::take(&mut task.held));
        }
    }

    /// Says how a task ended; gives the stages that are skipped or cancelled because of it.
    pub fn finish(&mut self, task: TaskId, outcome: Outcome) -> Vec<(TaskId, Outcome)> {
        self.set(task, State::Done(outcome));
        match outcome {
            Outcome::Ran | Outcome::Cached => {
                for next in std::mem::take(&mut self.tasks[task.0].needed_by) {
                    self.tasks[next.0].missing -= 1;
                    let is_ready = self.tasks[next.0].missing == 0;
                    if is_ready && self.tasks[next.0].state == State::Waiting {
                        self.set(next, State::Ready);
                    }
                }
                self.end_late()
            }
            Outcome::Failed if self.tasks[task.0].is_trial => self.end_late(),
            Outcome::Failed if !self.keep_going => self.close(Outcome::Skipped),
            Outcome::Failed | Outcome::Skipped | Outcome::Cancelled => self.skip_descendants(task),
        }
    }

    /// Lets go of a trial that is done: another will have its number. A study has thousands of
    /// trials, of which few are under way at once.
    ///
    /// # Panics
    ///
    /// Where the task is not a trial that is done: somebody would mistake another for it.
    pub fn let_go(&mut self, task: TaskId) {
        let Task { is_trial, state, .. } = &self.tasks[task.0];
        assert!(*is_trial && matches!(state, State::Done(_)), "task {} is not over", task.0);
        self.vacant.push(task);
    }

    /// Ends a task that has not started, or has not started again, and that nothing needs; gives
    /// whether it was one.
    pub fn withdraw(&mut self, task: TaskId) -> bool {
        let is_unstarted = self.is_unstarted(task);
        if is_unstarted {
            self.set(task, State::Done(Outcome::Cancelled));
        }
        is_unstarted
    }

    /// Begins no more work; gives the tasks that are cancelled by it.
    pub fn cancel(&mut self) -> Vec<(TaskId, Outcome)> {
        self.close(Outcome::Cancelled)
    }

    /// Says whether every task is done.
    pub fn is_over(&self) -> bool {
        self.counts.open == 0
    }

    /// Says whether no new work is begun.
    pub fn is_closed(&self) -> bool {
        self.closing.is_some()
    }

    /// Says how long the longest way from each stage to the end is, in milliseconds, its own time
    /// included: of equals in priority, the longest starts first.
    pub fn set_ways(&mut self, ways: impl IntoIterator<Item = (TaskId, u64)>) {
        for (task, way) in ways {
            let state = self.tasks[task.0].state;
            let (old, shape) = (self.rank(task), self.tasks[task.0].request.shape());
            self.tasks[task.0].request.way = way;
            let new = self.rank(task);
            match state {
                State::Ready => {
                    self.ready.remove(&old);
                    self.ready.insert(new);
                }
                State::Queued => {
                    self.queue.remove(shape, old);
                    self.queue.insert(shape, new);
                }
                _ => {}
            }
        }
    }

    fn is_unstarted(&self, task: TaskId) -> bool {
        matches!(
            self.tasks[task.0].state,
            State::Waiting | State::Ready | State::Joined | State::Queued
        )
    }

    /// Begins no new work, and ends what has not started. Of two reasons, a cancelled run tells.
    fn close(&mut self, outcome: Outcome) -> Vec<(TaskId, Outcome)> {
        let is_first = self.closing.is_none();
        if is_first || outcome == Outcome::Cancelled {
            self.closing = Some(outcome);
        }
        if !is_first {
            return self.end_late();
        }
        let all = (0..self.tasks.len()).map(TaskId).collect();
        self.end_unstarted(all)
    }

    /// Ends what was added since no new work is begun.
    fn end_late(&mut self) -> Vec<(TaskId, Outcome)> {
        let late = std::mem::take(&mut self.late);
        self.end_unstarted(late)
    }

    fn end_unstarted(&mut self, among: Vec<TaskId>) -> Vec<(TaskId, Outcome)> {
        let Some(outcome) = self.closing else { return Vec::new() };
        let mut ended = Vec::new();
        for task in among {
            if self.is_unstarted(task) {
                self.set(task, State::Done(outcome));
                ended.push((task, outcome));
            }
        }
        ended
    }

    /// Skips all that needs `task`, directly or not.
    fn skip_descendants(&mut self, task: TaskId) -> Vec<(TaskId, Outcome)> {
        let mut skipped = Vec::new();
        let mut stack = std::mem::take(&mut self.tasks[task.0].needed_by);
        while let Some(next) = stack.pop() {
            if matches!(self.tasks[next.0].state, State::Waiting) {
                self.set(next, State::Done(Outcome::Skipped));
                stack.append(&mut self.tasks[next.0].needed_by);
                skipped.push((next, Outcome::Skipped));
            }
        }
        skipped
    }

    fn rank(&self, id: TaskId) -> Rank {
        let task = &self.tasks[id.0];
        Rank::new(&task.request, task.is_trial, (task.work, task.number), id)
    }

    /// Changes a task's state: the one place that does, so that counts and queues never disagree.
    fn set(&mut self, id: TaskId, state: State) {
        let rank = self.rank(id);
        let task = &mut self.tasks[id.0];
        let old = std::mem::replace(&mut task.state, state);
        let shape = task.request.shape();
        self.counts.note(old, task, -1);
        match old {
            State::Ready => drop(self.ready.remove(&rank)),
            State::Queued => self.queue.remove(shape, rank),
            State::Running => self.free.give_back(std::mem::take(&mut task.held)),
            State::Done(_) => unreachable!("a task ends once"),
            State::Waiting | State::Joined | State::Checking => {}
        }
        self.counts.note(state, task, 1);
        match state {
            State::Ready => drop(self.ready.insert(rank)),
            State::Queued => self.queue.insert(shape, rank),
            State::Done(_) => self.counts.open -= 1,
            State::Waiting | State::Joined | State::Checking | State::Running => {}
        }
    }
}

impl Counts {
    /// Counts a task that enters a state (`by` 1) or leaves it (-1).
    fn note(&mut self, state: State, task: &Task, by: isize) {
        let add = |count: &mut usize| *count = count.strict_add_signed(by);
        match state {
            State::Running if task.request.demand == Demand::None => add(&mut self.studies),
            State::Ready | State::Joined | State::Queued => add(&mut self.wanting),
            State::Checking => {
                add(&mut self.wanting);
                if task.is_trial {
                    add(&mut self.checking_trials);
                }
                let count = self.checking.entry(task.request.priority).or_default();
                add(count);
                if *count == 0 {
                    self.checking.remove(&task.request.priority);
                }
            }
            State::Running | State::Waiting | State::Done(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
