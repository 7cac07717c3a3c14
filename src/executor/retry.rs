//! What is tried again after a failure, and what is given up because its study's time is over.

use std::time::{Duration, Instant};

use super::worker::Message;
use super::{Run, Task, means};
use crate::event::{Event, Outcome};
use crate::pipeline::Options;
use crate::plan::Plan;
use crate::quantity::duration_text;
use crate::schedule::TaskId;
use crate::stage::Failure;

/// When a study is over, whatever it has come to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    timeout: Duration,
    has_passed: bool,
}

/// Whether the schedule knows the longest ways to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ways {
    /// Nothing has had to run so far.
    Unasked,
    /// Something has to.
    Wanted,
    Known,
}

impl Run<'_> {
    /// Tells the schedule the longest ways to the end, by how long stages took when they last ran.
    ///
    /// Only once something must run: where all is fresh, nobody asks.
    pub(super) fn learn_ways(&mut self, plan: &Plan<'_>) {
        self.ways = Ways::Known;
        let ways = means::ways(plan, &self.history.last_seconds(&self.pipeline.name));
        let ways = ways.into_iter().enumerate().map(|(at, way)| (TaskId::new(at), way));
        self.schedule.set_ways(ways);
    }

    /// Gives the options of a task's action: of a trial, those of its base.
    pub(super) fn options_of(&self, id: TaskId) -> Options {
        match &self.tasks[id.index()] {
            Task::Stage(task) => task.stage.options.clone(),
            Task::Trial(trial) => {
                let run = self.studies.get(&trial.tune);
                run.map(|run| run.base.options.clone()).unwrap_or_default()
            }
        }
    }

    /// Says whether a failed attempt is followed by another.
    pub(super) fn may_try_again(&self, id: TaskId, failure: &Failure) -> bool {
        let failed = self.attempts.get(&id).copied().unwrap_or(0);
        !failure.deterministic
            && !self.schedule.is_closed()
            && !self.is_of_overdue_study(id)
            && failed < self.options_of(id).retries.attempts
    }

    /// Lets go of a task's slots, and has it looked at again after a pause. It keeps its action: who
    /// waits for that waits on.
    pub(super) fn try_again(&mut self, id: TaskId, failure: Failure) {
        let retries = self.options_of(id).retries;
        let failed = self.attempts.entry(id).or_default();
        *failed += 1;
        let attempt = *failed;
        let pause = retries.pause(attempt);
        let trial = match &self.tasks[id.index()] {
            Task::Stage(_) => None,
            Task::Trial(trial) => Some(trial.number),
        };
        self.say(&Event::StageRetrying {
            stage: self.stage_name(id),
            trial,
            attempt,
            attempts: retries.attempts.saturating_add(1),
            failure,
            seconds: pause.as_secs_f64(),
        });
        let ended = self.schedule.join(id);
        self.end_unstarted(ended);
        self.send_later(pause, Message::Free { task: id });
    }

    fn send_later(&self, pause: Duration, message: Message) {
        let sender = self.sender.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // Nobody listens any more where the run has ended meanwhile.
            let _ = sender.send(message);
        });
    }

    /// Begins to count the time of a study that has a timeout.
    pub(super) fn limit_study(&mut self, id: TaskId, timeout: Option<Duration>) {
        let Some(timeout) = timeout else { return };
        // What is too far off for an instant never comes.
        let Some(at) = Instant::now().checked_add(timeout) else { return };
        self.deadlines.insert(id, Deadline { at, timeout, has_passed: false });
        self.send_later(timeout, Message::StudyOverdue { task: id });
    }

    /// Says whether a study's time is over before its last trial has ended.
    pub(super) fn is_overdue(&self, tune: TaskId) -> bool {
        let is_passed = self.deadlines.get(&tune).is_some_and(|deadline| deadline.has_passed);
        is_passed && self.studies.get(&tune).is_some_and(|run| !run.study.is_done())
    }

    /// Says whether a task is a trial of such a study.
    pub(super) fn is_of_overdue_study(&self, id: TaskId) -> bool {
        match &self.tasks[id.index()] {
            Task::Stage(_) => false,
            Task::Trial(trial) => self.is_overdue(trial.tune),
        }
    }

    /// Ends the trials of a study that have not started; those that run stop by themselves.
    pub(super) fn end_overdue_study(&mut self, tune: TaskId) {
        if let Some(deadline) = self.deadlines.get_mut(&tune) {
            deadline.has_passed = true;
        }
        if !self.is_overdue(tune) {
            return;
        }
        for index in 0..self.tasks.len() {
            let is_its = matches!(&self.tasks[index], Task::Trial(trial) if trial.tune == tune);
            let id = TaskId::new(index);
            if is_its && self.schedule.withdraw(id) {
                self.trial_unstarted(id);
                self.release(id, self.fingerprint(id));
            }
        }
        self.close_studies();
    }

    /// Ends a trial that was looked up and is not to run, since its study's time is over.
    pub(super) fn withdraw_checked(&mut self, id: TaskId) {
        let ended = self.schedule.finish(id, Outcome::Cancelled);
        self.end_unstarted(ended);
        self.trial_unstarted(id);
        self.release(id, self.fingerprint(id));
        self.close_studies();
    }

    /// Makes the failure of a study whose time is over.
    pub(super) fn study_overdue(&self, tune: TaskId, done: u64) -> Failure {
        let timeout = self.deadlines.get(&tune).map(|deadline| deadline.timeout);
        let timeout = duration_text(timeout.unwrap_or_default());
        Failure::new(format!("the study ran longer than its timeout of {timeout}")).help(format!(
            "the {done} trials that ended are kept: run it again to go on, or raise `timeout`"
        ))
    }

    /// Says once of a stage that it gets fewer CPUs than it asks for.
    pub(super) fn say_curbed(&mut self, id: TaskId) {
        let jobs = self.options.means.jobs;
        let wanted = self.options_of(id).resources.cpus.unwrap_or(0);
        let stage = self.stage_name(id);
        if wanted > jobs && self.curbed.insert(stage.clone()) {
            let message =
                format!("it asks for {wanted} CPUs and gets all {jobs} that there are (`--jobs`)");
            self.say(&Event::Warning { stage: Some(stage), message });
        }
    }
}
