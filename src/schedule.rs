//! The mutable state of one run as a pure machine: tasks in, what to do next out; no I/O.
//!
//! A task is a stage, or a trial that a running tune stage added. Its life:
//!
//! ```text
//! Waiting ──> Ready ──> Checking ──> Fresh: Done(Cached)
//!   needs done  start      │
//!                          ├──> Queued ──> Running ──> Done(Ran | Failed | …)
//!                          │    for slots
//!                          └──> Joined: another task or process runs the same action;
//!                               checked again when that one has ended
//! ```
//!
//! Every change goes through `Schedule::set`. A failed stage stops new work, or with
//! `keep_going` skips its descendants; a failed trial stops nothing.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::event::Outcome;

/// A task's number, in the order of adding.
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

/// The slots that a task takes while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// None: it only waits for tasks that it adds.
    None,
    /// One.
    One,
    /// A fair share of those idle at its start, and at least one.
    Idle,
    /// All that are idle at its start where nothing else could take them soon, else one: for what
    /// gains less from a second slot than another task would.
    Spare,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Ready,
    Checking,
    Joined,
    Queued,
    Running { slots: usize },
    Done(Outcome),
}

/// What the executor is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Find out whether the store has the task's outputs.
    Check(TaskId),
    /// Run the task on this many slots.
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
    demand: Demand,
    is_trial: bool,
    /// How long it takes beside others of its kind: of queued trials, the longest starts first.
    work: u64,
    /// Tasks that this one needs and that are not done.
    missing: usize,
    needed_by: Vec<TaskId>,
}

/// The state of one run.
#[derive(Debug)]
pub struct Schedule {
    tasks: Vec<Task>,
    ready: BTreeSet<TaskId>,
    /// By work, the most first; then in the order of adding.
    queued: BTreeSet<(Reverse<u64>, TaskId)>,
    free: usize,
    checking_trials: usize,
    keep_going: bool,
    /// Set once no new work is begun, to the outcome of what had not started: skipped where a
    /// stage failed, cancelled where the run was.
    closing: Option<Outcome>,
    open: usize,
}

impl Schedule {
    /// Makes a schedule of no tasks with `jobs` slots.
    pub fn new(jobs: usize, keep_going: bool) -> Schedule {
        Schedule {
            tasks: Vec::new(),
            ready: BTreeSet::new(),
            queued: BTreeSet::new(),
            free: jobs.max(1),
            checking_trials: 0,
            keep_going,
            closing: None,
            open: 0,
        }
    }

    /// Adds a stage that starts only after `needs`, which were added before it.
    pub fn add_stage(&mut self, needs: &[TaskId], demand: Demand) -> TaskId {
        // A stage may hold up others, so it comes before any trial.
        self.add(needs, demand, false, u64::MAX)
    }

    /// Adds a trial, which needs nothing and whose failure stops nothing. `work` says how long it
    /// takes beside other trials: started last, a long one would leave slots idle at the end.
    pub fn add_trial(&mut self, work: u64) -> TaskId {
        self.add(&[], Demand::One, true, work)
    }

    fn add(&mut self, needs: &[TaskId], demand: Demand, is_trial: bool, work: u64) -> TaskId {
        let id = TaskId(self.tasks.len());
        let needs: BTreeSet<TaskId> = needs.iter().copied().collect();
        for need in &needs {
            self.tasks[need.0].needed_by.push(id);
        }
        let task = Task {
            state: State::Waiting,
            demand,
            is_trial,
            work,
            missing: needs.len(),
            needed_by: Vec::new(),
        };
        self.tasks.push(task);
        self.open += 1;
        if needs.is_empty() {
            self.set(id, State::Ready);
        }
        id
    }

    /// Gives the next thing to do; `None` until something else ends.
    pub fn next_step(&mut self) -> Option<Step> {
        if self.closing.is_some() {
            return None;
        }
        if let Some(task) = self.ready.first().copied() {
            self.set(task, State::Checking);
            return Some(Step::Check(task));
        }
        // A trial that is being looked up may take longer than those that are queued.
        let startable = |task: &TaskId| match &self.tasks[task.0] {
            task if task.is_trial => self.free > 0 && self.checking_trials == 0,
            task => self.free > 0 || task.demand == Demand::None,
        };
        let task = self.queued.iter().map(|(_, task)| *task).find(startable)?;
        let slots = match self.tasks[task.0].demand {
            Demand::None => 0,
            Demand::One => 1,
            Demand::Idle => (self.free / self.queued.len()).max(1),
            Demand::Spare if self.is_wanted_beside(task) => 1,
            Demand::Spare => self.free.max(1),
        };
        self.set(task, State::Running { slots });
        Some(Step::Start { task, slots })
    }

    /// Says whether another task may want a slot before one that runs now ends; a running study
    /// adds tasks that do.
    fn is_wanted_beside(&self, task: TaskId) -> bool {
        let wants = |other: &Task| match other.state {
            State::Ready | State::Checking | State::Queued | State::Joined => true,
            State::Running { .. } => other.demand == Demand::None,
            State::Waiting | State::Done(_) => false,
        };
        (self.tasks.iter().enumerate()).any(|(other, state)| other != task.0 && wants(state))
    }

    /// Says that a checked task must run.
    pub fn queue(&mut self, task: TaskId) -> Vec<(TaskId, Outcome)> {
        self.move_on(task, State::Queued)
    }

    /// Says that another task or process runs the same action; the task lets go of its slots.
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
        self.set(task, state);
        self.end_unstarted()
    }

    /// Says how a task ended; gives the stages that are skipped or cancelled because of it.
    pub fn finish(&mut self, task: TaskId, outcome: Outcome) -> Vec<(TaskId, Outcome)> {
        self.set(task, State::Done(outcome));
        match outcome {
            Outcome::Ran | Outcome::Cached => {
                for next in self.tasks[task.0].needed_by.clone() {
                    self.tasks[next.0].missing -= 1;
                    let is_ready = self.tasks[next.0].missing == 0;
                    if is_ready && self.tasks[next.0].state == State::Waiting {
                        self.set(next, State::Ready);
                    }
                }
                self.end_unstarted()
            }
            Outcome::Failed if self.tasks[task.0].is_trial => Vec::new(),
            Outcome::Failed if !self.keep_going => {
                self.closing.get_or_insert(Outcome::Skipped);
                self.end_unstarted()
            }
            Outcome::Failed | Outcome::Skipped | Outcome::Cancelled => self.skip_descendants(task),
        }
    }

    /// Begins no more work; gives the tasks that are cancelled by it.
    pub fn cancel(&mut self) -> Vec<(TaskId, Outcome)> {
        self.closing = Some(Outcome::Cancelled);
        self.end_unstarted()
    }

    /// Says whether every task is done.
    pub fn is_over(&self) -> bool {
        self.open == 0
    }

    /// Says whether no new work is begun.
    pub fn is_closed(&self) -> bool {
        self.closing.is_some()
    }

    /// Ends what has not started, once no new work is begun.
    fn end_unstarted(&mut self) -> Vec<(TaskId, Outcome)> {
        let Some(outcome) = self.closing else { return Vec::new() };
        let is_unstarted = |task: &TaskId| {
            matches!(
                self.tasks[task.0].state,
                State::Waiting | State::Ready | State::Joined | State::Queued
            )
        };
        let unstarted: Vec<TaskId> =
            (0..self.tasks.len()).map(TaskId).filter(is_unstarted).collect();
        for task in &unstarted {
            self.set(*task, State::Done(outcome));
        }
        unstarted.into_iter().map(|task| (task, outcome)).collect()
    }

    /// Skips all that needs `task`, directly or not.
    fn skip_descendants(&mut self, task: TaskId) -> Vec<(TaskId, Outcome)> {
        let mut skipped = Vec::new();
        let mut stack = self.tasks[task.0].needed_by.clone();
        while let Some(next) = stack.pop() {
            if matches!(self.tasks[next.0].state, State::Waiting) {
                self.set(next, State::Done(Outcome::Skipped));
                stack.extend(&self.tasks[next.0].needed_by);
                skipped.push((next, Outcome::Skipped));
            }
        }
        skipped
    }

    /// Changes a task's state: the one place that does, so that counts and queues never disagree.
    fn set(&mut self, task: TaskId, state: State) {
        let old = std::mem::replace(&mut self.tasks[task.0].state, state);
        match old {
            State::Ready => {
                self.ready.remove(&task);
            }
            State::Queued => {
                self.queued.remove(&(Reverse(self.tasks[task.0].work), task));
            }
            State::Running { slots } => self.free += slots,
            State::Checking => {
                self.checking_trials -= usize::from(self.tasks[task.0].is_trial);
            }
            State::Done(_) => unreachable!("a task ends once"),
            State::Waiting | State::Joined => {}
        }
        match state {
            State::Ready => {
                self.ready.insert(task);
            }
            State::Queued => {
                self.queued.insert((Reverse(self.tasks[task.0].work), task));
            }
            State::Running { slots } => self.free -= slots,
            State::Checking => {
                self.checking_trials += usize::from(self.tasks[task.0].is_trial);
            }
            State::Done(_) => self.open -= 1,
            State::Waiting | State::Joined => {}
        }
    }
}

#[cfg(test)]
mod tests;
