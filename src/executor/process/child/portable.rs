//! A program as a child process where there is no Linux: it outlives us if we are killed.

use std::fs::File;
use std::io;
use std::process::{Command, ExitStatus, Stdio};

use rustix::process::Pid;

/// A program that was started.
#[derive(Debug)]
pub struct Child(tokio::process::Child);

impl Child {
    /// Gives its process id, which is its group's too; `None` once it was waited for.
    pub fn id(&self) -> Option<Pid> {
        self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?))
    }

    /// Waits for its end; may be given up and called again.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait().await
    }
}

/// Starts a program in a process group of its own, with no input, what it says in `output` and
/// `errors`.
///
/// # Errors
///
/// Why it cannot be started.
pub fn spawn(command: Command, output: File, errors: File) -> io::Result<Child> {
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    command.spawn().map(Child)
}
