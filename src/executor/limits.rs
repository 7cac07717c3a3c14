//! For how long an action may run: its own timeout, and the end of the study that it is a trial of.

use std::future;
use std::time::{Duration, Instant};

use tokio::time;

use crate::quantity::duration_text;
use crate::stage::{Failure, Stop};

/// For how long an action may run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// How long after its beginning it fails.
    pub timeout: Option<Duration>,
    /// When its study is over, whatever it has come to.
    pub deadline: Option<Instant>,
}

/// The limits of an action that has begun.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    timeout: Option<(Instant, Duration)>,
    deadline: Option<Instant>,
}

impl Limits {
    /// Begins to count.
    pub fn start(self) -> Clock {
        // What is too far off for an instant never comes.
        let end = |timeout| Some((Instant::now().checked_add(timeout)?, timeout));
        Clock { timeout: self.timeout.and_then(end), deadline: self.deadline }
    }
}

impl Clock {
    /// Says why the action must not go on, once it must not.
    pub fn stop(&self) -> Option<Stop> {
        let now = Instant::now();
        match self.timeout {
            Some((end, timeout)) if end <= now => Some(overdue(timeout).into()),
            _ if self.deadline.is_some_and(|deadline| deadline <= now) => Some(Stop::Cancelled),
            _ => None,
        }
    }

    /// Waits until the action must not go on, and says why: for ever, where it has no limit.
    pub async fn ring(&self) -> Stop {
        let ends = self.timeout.map(|(end, _)| end).into_iter().chain(self.deadline);
        let Some(first) = ends.min() else { return future::pending().await };
        time::sleep_until(first.into()).await;
        self.stop().unwrap_or(Stop::Cancelled)
    }
}

/// Makes the failure of what ran for too long. Another time it may be faster.
pub fn overdue(timeout: Duration) -> Failure {
    let message = format!("it ran longer than its timeout of {}", duration_text(timeout));
    Failure::new(message).help("raise its `timeout`, or give it less to do")
}
