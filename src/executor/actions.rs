//! The actions of a run: each is run by one task, one process, at a time.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::Run;
use super::retry::Ways;
use super::worker::Message;
use crate::event::Event;
use crate::fingerprint::Fingerprint;
use crate::pipeline::Stage;
use crate::schedule::TaskId;
use crate::store::lock;

/// How often a task looks whether another process is done with its action.
pub(super) const LOCK_POLL: Duration = Duration::from_millis(100);

/// Who runs what in this process.
pub(super) struct Actions {
    /// What is queued or running: the task that has it, and those that wait for it.
    in_flight: HashMap<Fingerprint, (TaskId, Vec<TaskId>)>,
    /// What ran in this run: none is run twice that would be run whatever the store has. Nothing is
    /// noted where nothing would, since a study has thousands of actions.
    ran: Option<HashSet<Fingerprint>>,
}

impl Actions {
    /// Gives the actions of a run that has not begun; `repeats` says whether it may run what the store
    /// has.
    pub(super) fn new(repeats: bool) -> Actions {
        Actions { in_flight: HashMap::new(), ran: repeats.then(HashSet::new) }
    }

    /// Gives an action to a task; where another has it, the task waits for it, and this is `false`.
    fn take(&mut self, task: TaskId, fingerprint: Fingerprint) -> bool {
        let (holder, waiting) =
            self.in_flight.entry(fingerprint).or_insert_with(|| (task, Vec::new()));
        // A task keeps its action while it waits for its next attempt.
        let has_it = *holder == task;
        if !has_it {
            waiting.push(task);
        }
        has_it
    }

    /// Takes an action from the task that has it, and gives those that waited for it.
    fn release(&mut self, task: TaskId, fingerprint: Fingerprint) -> Vec<TaskId> {
        match self.in_flight.entry(fingerprint) {
            Entry::Occupied(held) if held.get().0 == task => held.remove().1,
            _ => Vec::new(),
        }
    }

    /// Notes that an action ran in this run.
    pub(super) fn note_run(&mut self, fingerprint: Fingerprint) {
        if let Some(ran) = &mut self.ran {
            ran.insert(fingerprint);
        }
    }

    /// Says whether an action ran in this run, where it may run what the store has.
    pub(super) fn has_run(&self, fingerprint: Fingerprint) -> bool {
        self.ran.as_ref().is_some_and(|ran| ran.contains(&fingerprint))
    }
}

impl Run<'_> {
    /// Queues a task for slots, or joins it to the one that runs the same action.
    pub(super) fn queue(&mut self, task: TaskId, fingerprint: Fingerprint) {
        if self.ways == Ways::Unasked {
            self.ways = Ways::Wanted;
        }
        if self.is_of_overdue_study(task) {
            return self.withdraw_checked(task);
        }
        let ended = match self.actions.take(task, fingerprint) {
            true => self.schedule.queue(task),
            false => self.schedule.join(task),
        };
        self.end_unstarted(ended);
        // It may have been the last trial that a study waited for.
        self.close_studies();
    }

    /// Says whether a stage's action runs whatever the store has of it.
    pub(super) fn must_run(&self, stage: &Stage, fingerprint: Fingerprint) -> bool {
        let is_declared = stage.options.runs_each_time && !self.actions.has_run(fingerprint);
        is_declared || self.is_forced(stage, fingerprint)
    }

    pub(super) fn is_forced(&self, stage: &Stage, fingerprint: Fingerprint) -> bool {
        self.options.force.contains(&stage.name) && !self.actions.has_run(fingerprint)
    }

    /// Lets go of a task's slots and of its action, until it is checked again; ends it where no new
    /// work is begun.
    pub(super) fn step_back(&mut self, task: TaskId, fingerprint: Fingerprint) {
        let ended = self.schedule.join(task);
        self.end_unstarted(ended);
        self.release(task, fingerprint);
        self.close_studies();
    }

    /// Checks a task again when the process that runs its action has ended.
    pub(super) fn wait_for_process(&mut self, task: TaskId, fingerprint: Fingerprint) {
        self.step_back(task, fingerprint);
        if self.schedule.is_closed() {
            return;
        }
        let stage = self.stage_name(task);
        self.say(&Event::StageWaiting { stage });
        let (path, sender) = (self.store.lock_path(fingerprint), self.sender.clone());
        tokio::spawn(async move {
            while let Ok(None) = lock::try_action(&path) {
                tokio::time::sleep(LOCK_POLL).await;
            }
            // Nobody listens any more where the run has ended meanwhile.
            let _ = sender.send(Message::Free { task });
        });
    }

    /// Lets the tasks that waited for a task's action look again.
    pub(super) fn release(&mut self, task: TaskId, fingerprint: Fingerprint) {
        for other in self.actions.release(task, fingerprint) {
            self.schedule.recheck(other);
        }
    }
}
