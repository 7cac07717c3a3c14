//! Threads that do something for a task, and end in one message to the loop.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Run;
use super::worker::{self, Message};
use crate::schedule::TaskId;
use crate::stage::Failure;

impl Run<'_> {
    /// Does something for a task on a blocking thread that ends in one message, come what may.
    pub(super) fn spawn(&mut self, task: TaskId, work: impl FnOnce() -> Message + Send + 'static) {
        let work = self.awaited_work(task, work);
        tokio::task::spawn_blocking(work);
    }

    /// Does the same on a thread of its own.
    ///
    /// The system's allocator keeps freed memory for the thread that had it, and threads of the pool
    /// take turns: a hundred trials on them hold many times what the two that run need. The memory
    /// of a thread that has ended goes to the next one that begins.
    pub(super) fn spawn_thread(
        &mut self,
        task: TaskId,
        work: impl FnOnce() -> Message + Send + 'static,
    ) {
        let work = self.awaited_work(task, work);
        let spawned = std::thread::Builder::new().name("action".to_owned()).spawn(work);
        if let Err(error) = spawned {
            let failure = Failure::new(format!("cannot start a thread: {error}"));
            // The loop listens until nothing is awaited.
            drop(self.sender.send(Message::Panicked { task, failure }));
        }
    }

    fn awaited_work(
        &mut self,
        task: TaskId,
        work: impl FnOnce() -> Message + Send + 'static,
    ) -> impl FnOnce() + Send + 'static {
        self.awaited += 1;
        let sender = self.sender.clone();
        move || {
            let message = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                Message::Panicked { task, failure: worker::panicked(&*panic) }
            });
            // The loop listens until nothing is awaited.
            drop(sender.send(message));
        }
    }
}
