//! Runs one program to its end: its process group, its log, its metrics.
//!
//! Unaware of the graph, of slots and of the store. A program gets a process group of its own, so
//! that a Ctrl-C at the terminal reaches us alone and the whole group can be ended: nothing that a
//! program starts in its group outlives the call, however the call ends.

use std::collections::BTreeMap;
use std::fs;
use std::future;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::sync::watch;
use tokio::time::{self, Instant, MissedTickBehavior};

use super::limits::Clock;
use super::secrets::Secrets;
use crate::stage::command::Launch;
use crate::stage::{Failure, OutputSpec, Progress, Stop};
use crate::store::files;

#[cfg_attr(not(target_os = "linux"), path = "process/child/portable.rs")]
mod child;
mod log;
mod logging;
mod metrics;
#[cfg_attr(not(target_os = "linux"), path = "process/orphans/portable.rs")]
pub mod orphans;
pub mod program;

use child::Child;
use logging::Logging;

pub use metrics::read_metrics;

/// How long a program that was asked to end may take before it is killed.
pub const GRACE: Duration = Duration::from_secs(2);

/// How often the metrics file is looked at.
const POLL: Duration = Duration::from_millis(25);

/// How long the killed members of a group are waited for.
const SETTLE: Duration = Duration::from_millis(100);

/// How urgently a run wants its programs to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cancel {
    /// Not at all.
    #[default]
    None,
    /// Soon: SIGTERM, and SIGKILL after [`GRACE`].
    Stop,
    /// Now: SIGKILL.
    Kill,
}

/// What holds for a program beside what describes it.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The file for what it says.
    pub log: &'a Path,
    /// For how long it may run.
    pub clock: Clock,
    /// The environment variables that it does not inherit.
    pub hidden: &'a [String],
    /// The values that are masked in the log and refused among the metrics.
    pub secrets: &'a Secrets,
}

/// Runs a program to its end, its output in the log, its intermediate metrics told to `progress`.
///
/// Call it on a thread that lives as long as the program may: on Linux the program is killed with
/// the thread that started it, so that a killed `runner` leaves no program behind.
///
/// # Errors
///
/// [`Stop::Failed`] where the program cannot be started, runs too long or does not end with exit
/// code 0, [`Stop::Cancelled`] where `cancel` rose, and what `progress` answered to a step.
pub async fn run(
    launch: &Launch,
    terms: &Terms<'_>,
    progress: &dyn Progress,
    mut cancel: watch::Receiver<Cancel>,
) -> Result<(), Stop> {
    let log = terms.log;
    let mut tail = metrics::Tail::new(&launch.metrics, terms.secrets);
    let (mut child, logging) = spawn(launch, terms)?;
    let group = Group::of(&child);
    let attended = tokio::select! {
        attended = attend(&mut child, &mut tail, progress, &mut cancel) => attended,
        stop = terms.clock.ring() => Err(stop),
    };
    let status = match attended {
        Ok(status) => status,
        Err(stop) => {
            end(&mut child, group, &mut cancel).await;
            logging.end().await;
            return Err(match stop {
                Stop::Failed(failure) => with_log(failure, log).into(),
                other => other,
            });
        }
    };
    group.kill().await;
    logging.end().await;
    let status = status.map_err(|error| Failure::new(format!("cannot wait: {error}")))?;
    if let ControlFlow::Break(stop) = tail.finish(progress) {
        return Err(stop);
    }
    if status.success() { Ok(()) } else { Err(failure(launch, status, log).into()) }
}

/// Finds the declared outputs in the folder that the program wrote to.
///
/// # Errors
///
/// A failure that names each output that is not there as a plain file.
pub fn collect(
    folder: &Path,
    outputs: &[OutputSpec],
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut found = BTreeMap::new();
    let mut missing = Vec::new();
    for OutputSpec { name, file } in outputs {
        let path = folder.join(file);
        let what = match fs::symlink_metadata(&path).map(|metadata| metadata.file_type()) {
            Ok(kind) if kind.is_file() => {
                found.insert(name.clone(), path);
                continue;
            }
            Ok(kind) if kind.is_dir() => "is a folder",
            Ok(kind) if kind.is_symlink() => "is a symbolic link",
            Ok(kind) if kind.is_fifo() || kind.is_socket() => "is a pipe or socket",
            Ok(_) => "is a device",
            Err(_) => "was not written",
        };
        missing.push(format!("output `{name}` {what}"));
    }
    match outputs.iter().find(|output| !found.contains_key(&output.name)) {
        None => Ok(found),
        Some(OutputSpec { name, .. }) => Err(Failure::new(missing.join(", ")).help(format!(
            "write a plain file to `${{outputs.{name}}}`; pack a folder into one file"
        ))),
    }
}

/// Waits for the program's end while it tells its metrics, or for a reason to end it.
async fn attend(
    child: &mut Child,
    tail: &mut metrics::Tail,
    progress: &dyn Progress,
    cancel: &mut watch::Receiver<Cancel>,
) -> Result<io::Result<ExitStatus>, Stop> {
    let mut ticks = time::interval_at(Instant::now() + POLL, POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = reached(cancel, Cancel::Stop) => return Err(Stop::Cancelled),
            status = child.wait() => return Ok(status),
            _ = ticks.tick() => {
                if let ControlFlow::Break(stop) = tail.look(progress) {
                    return Err(stop);
                }
            }
        }
    }
}

/// Ends a program and all that it started: asks, waits, and kills.
async fn end(child: &mut Child, group: Group, cancel: &mut watch::Receiver<Cancel>) {
    if *cancel.borrow() < Cancel::Kill {
        group.signal(Signal::TERM);
    }
    let ended = async {
        // Its status does not matter any more, and an error means that it is gone.
        let _ = child.wait().await;
        while group.lives() {
            time::sleep(POLL).await;
        }
    };
    tokio::select! {
        () = ended => {}
        () = time::sleep(GRACE) => {}
        () = reached(cancel, Cancel::Kill) => {}
    }
    group.signal(Signal::KILL);
    // Reaped first, or it would be seen as a member that still lives.
    let _ = child.wait().await;
    group.kill().await;
}

/// Waits until the run is being cancelled at least so urgently: for ever, where nobody can say so.
async fn reached(cancel: &mut watch::Receiver<Cancel>, level: Cancel) {
    if cancel.wait_for(|now| *now >= level).await.is_err() {
        future::pending::<()>().await;
    }
}

fn spawn(launch: &Launch, terms: &Terms<'_>) -> Result<(Child, Logging), Failure> {
    let log = terms.log;
    let (streams, logging) = Logging::begin(log, terms.secrets).map_err(|error| {
        Failure::new(format!("cannot create the log `{}`: {error}", log.display()))
    })?;
    let mut command = Command::new(&launch.program);
    for name in terms.hidden {
        command.env_remove(name);
    }
    command.args(&launch.arguments).envs(&launch.env).current_dir(&launch.dir);
    let (output, errors) = streams;
    let child = child::spawn(command, output, errors);
    Ok((child.map_err(|error| spawn_failure(launch, &error))?, logging))
}

/// The process group of a program; what is left of it is killed when this goes out of scope.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        // A child that has not been waited for has an id, which is its group's too.
        Group(child.id())
    }

    /// Sends a signal to all members; says whether there was any left.
    fn signal(&self, signal: Signal) -> bool {
        self.0.is_some_and(|id| kill_process_group(id, signal).is_ok())
    }

    fn lives(&self) -> bool {
        // Members whose parents have ended are ours to reap: a dead one counts until then.
        orphans::any();
        self.0.is_some_and(|id| test_kill_process_group(id).is_ok())
    }

    /// Kills what is left and waits a moment until it is gone.
    ///
    /// The kernel gives no new process the id of a group that has members, so this hits nobody else
    /// but where ids went once around since the last member was reaped.
    async fn kill(mut self) {
        if self.signal(Signal::KILL) {
            let gone = async {
                while self.lives() {
                    time::sleep(Duration::from_millis(1)).await;
                }
            };
            // Where nobody reaps them, dead members stay in the table: nothing to wait for.
            let _ = time::timeout(SETTLE, gone).await;
        }
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

fn failure(launch: &Launch, status: ExitStatus, log: &Path) -> Failure {
    let title = &launch.title;
    let mut failure = match (status.code(), status.signal()) {
        (Some(code), _) => Failure::new(format!("`{title}` ended with exit code {code}")),
        (None, Some(signal)) => {
            Failure::new(format!("`{title}` was killed by {}", signal_name(signal)))
        }
        (None, None) => Failure::new(format!("`{title}` ended with {status}")),
    };
    failure.help = match (status.code(), status.signal()) {
        (Some(126), _) => Some("126 means that a program was found but could not be started"),
        (Some(127), _) => Some("127 means that a program was not found: is it in `PATH`?"),
        (_, Some(9)) => Some("the system kills a program so when memory runs out"),
        _ => None,
    }
    .map(str::to_owned);
    with_log(failure, log)
}

/// Adds the place of a log and its last lines to a failure.
pub fn with_log(mut failure: Failure, log: &Path) -> Failure {
    failure.log_tail = log::last_lines(log);
    failure.log = Some(log.to_owned());
    // The program could not even write why it failed.
    if failure.log_tail.is_empty() && failure.help.is_none() && files::is_full(log) {
        failure.help = Some("the disk is full: make room, perhaps by `runner store gc`".to_owned());
    }
    failure
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("signal {signal}"),
    };
    format!("{name} ({signal})")
}

fn spawn_failure(launch: &Launch, error: &io::Error) -> Failure {
    let program = launch.program.display();
    if !launch.dir.is_dir() {
        return Failure::new(format!("there is no folder `{}` to run in", launch.dir.display()))
            .help("make it, or correct `dir`");
    }
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(format!("the program `{program}` was not found"))
            .help("install it, put it in `PATH`, or give its path"),
        io::ErrorKind::PermissionDenied => {
            Failure::new(format!("the program `{program}` may not be run"))
                .help(format!("make it executable: `chmod +x {program}`"))
        }
        _ => Failure::new(format!("cannot start `{program}`: {error}")),
    }
}

#[cfg(test)]
mod tests;
