//! `--audit`: commands are traced by `strace`, and the files that they use and do not declare are
//! told.
//!
//! The program stays our own child: `strace -D` attaches from a process beside it, in its group, so
//! that exit status, group, timeouts and the death with our thread are as without. Neither the
//! action's identity nor what is stored of it knows of the trace.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::process::program;
use super::secrets::Secrets;
use super::worker::{Job, Message, attempt_folder};
use super::{Run, Task};
use crate::event::{Event, Outcome};
use crate::pipeline::{Pipeline, Stage};
use crate::schedule::TaskId;
use crate::stage::command::Launch;
use crate::stage::{Params, StageKind};

mod accesses;
mod strace;
mod undeclared;

pub(super) use undeclared::{Artifacts, Use};

/// Why commands cannot be traced.
#[derive(Debug, thiserror::Error)]
pub enum Untraceable {
    /// This is no Linux.
    #[error("`--audit` traces commands with `strace`, which is for Linux alone")]
    NoLinux,
    /// There is no `strace`.
    #[error("`--audit` traces commands with `strace`, which is not installed")]
    Missing,
    /// It is there and cannot trace.
    #[error("`--audit` traces commands with `strace`, which does not work here: {0}")]
    Refused(String),
}

impl Untraceable {
    /// Gives a way out.
    pub fn help(&self) -> &'static str {
        match self {
            Untraceable::NoLinux => "run without `--audit`",
            Untraceable::Missing => {
                "install it: `apt-get install strace`, `dnf install strace`, or `apk add strace`"
            }
            Untraceable::Refused(_) => {
                "a container must allow `ptrace`: `--cap-add SYS_PTRACE` of `docker run`"
            }
        }
    }
}

/// Tries whether commands can be traced.
///
/// # Errors
///
/// [`Untraceable`] says why not.
pub(super) fn look() -> Result<(), Untraceable> {
    if !cfg!(target_os = "linux") {
        return Err(Untraceable::NoLinux);
    }
    let mut command = Command::new("strace");
    command.args(options(Path::new("/dev/null"))).arg("true").stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().next().unwrap_or("it says nothing");
            Err(Untraceable::Refused(first.to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Untraceable::Missing),
        Err(error) => Err(Untraceable::Refused(error.to_string())),
    }
}

/// Gives the options of `strace`. Paths are written whole whatever `-s` says, and a program's
/// arguments, which may hold a secret, not at all.
fn options(trace: &Path) -> Vec<OsString> {
    let calls = format!("trace={}", accesses::CALLS);
    let plain = ["-D", "-f", "-qq", "-y", "-s", "0", "-e", "signal=none", "-e", &calls, "-o"];
    plain.into_iter().map(OsString::from).chain([trace.into(), "--".into()]).collect()
}

fn trace_path(job: &Job) -> PathBuf {
    attempt_folder(job).join("trace")
}

/// Has a program traced; one that cannot be started is left alone, to fail as it would.
pub(super) fn wrap(job: &Job, launch: &mut Launch) {
    if job.audit.is_none() {
        return;
    }
    let Some(file) = program_file(launch) else { return };
    let mut arguments = options(&trace_path(job));
    if begins_with_no_format(&file).unwrap_or(false) {
        // As the start without `strace` has it.
        arguments.extend(["/bin/sh".into(), file.into_os_string()]);
    } else {
        arguments.push(launch.program.clone());
    }
    arguments.append(&mut launch.arguments);
    (launch.program, launch.arguments) = ("strace".into(), arguments);
}

/// Finds the file of a program as the system will.
fn program_file(launch: &Launch) -> Option<PathBuf> {
    let path = launch.env.get("PATH").cloned().or_else(|| std::env::var_os("PATH"));
    let candidates = program::candidates(&launch.program, path.as_deref());
    let mut files = candidates.iter().map(|file| launch.dir.join(file));
    files.find(|file| program::is_program(file))
}

/// Says whether a file is a script without its first line, which the system does not start by itself.
fn begins_with_no_format(file: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    File::open(file)?.take(64).read_to_end(&mut first)?;
    let is_text = first.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    Ok(is_text && !first.starts_with(b"#!"))
}

/// Tells what a command that has ended used beside what its stage declares.
pub(super) fn tell(job: &Job) {
    let Some(artifacts) = &job.audit else { return };
    let trace = match fs::read(trace_path(job)) {
        Ok(trace) => trace,
        // It was never started.
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => {
            let message = format!("what it read cannot be told: {error}");
            let _ = job.sender.send(Message::Warning { task: job.task, message });
            return;
        }
    };
    let folder = match &job.params {
        Params::Command(params) => params.folder(&job.root),
        _ => job.root.clone(),
    };
    let accesses = accesses::accesses(&trace, &undeclared::resolve(&folder), &undeclared::resolve);
    let uses = without_secrets(undeclared::find(job, artifacts, &accesses), &job.terms.secrets);
    // The loop listens as long as a worker lives; at a second Ctrl-C nobody does.
    let _ = job.sender.send(Message::Audited { task: job.task, uses });
}

/// Masks values that nobody may see in the names of files.
fn without_secrets(uses: BTreeSet<Use>, secrets: &Secrets) -> BTreeSet<Use> {
    if secrets.is_empty() {
        return uses;
    }
    let masked = |path: &Path| PathBuf::from(secrets.redact(&path.to_string_lossy()));
    uses.into_iter().map(|(access, path)| (access, masked(&path))).collect()
}

/// What the traces of a run have told so far.
pub(super) struct Audit {
    pub(super) artifacts: Arc<Artifacts>,
    /// By stage; of trials, by that of their tune.
    uses: HashMap<TaskId, BTreeSet<Use>>,
    audited: usize,
    cached: usize,
    undeclared: usize,
}

impl Audit {
    pub(super) fn new(pipeline: &Pipeline) -> Audit {
        Audit {
            artifacts: Arc::new(undeclared::artifacts(pipeline)),
            uses: HashMap::new(),
            audited: 0,
            cached: 0,
            undeclared: 0,
        }
    }
}

/// Gives the stage whose command a stage runs: itself, or the base of a tune.
fn command_of<'p>(pipeline: &'p Pipeline, stage: &'p Stage) -> Option<&'p Stage> {
    let base = match &stage.params {
        Params::Tune(params) => pipeline.stages.get(&params.stage)?,
        _ => stage,
    };
    (base.kind() == StageKind::Command).then_some(base)
}

impl Run<'_> {
    /// Takes note of what a command used; it is told when its stage ends.
    pub(super) fn audited(&mut self, task: TaskId, uses: BTreeSet<Use>) {
        let stage = match &self.tasks[task.index()] {
            Task::Stage(_) => task,
            Task::Trial(trial) => trial.tune,
        };
        if let Some(audit) = &mut self.audit {
            audit.uses.entry(stage).or_default().extend(uses);
        }
    }

    /// Tells what the commands of a stage that has ended used beside what is declared.
    pub(super) fn say_audited(&mut self, id: TaskId, outcome: Outcome) {
        let (Some(audit), Task::Stage(task)) = (&mut self.audit, &self.tasks[id.index()]) else {
            return;
        };
        let Some(declaring) = command_of(&self.pipeline, &task.stage) else { return };
        let Some(uses) = audit.uses.remove(&id) else {
            audit.cached += usize::from(outcome == Outcome::Cached);
            return;
        };
        let undeclared = undeclared::with_lines(&uses, declaring, &audit.artifacts);
        audit.audited += 1;
        audit.undeclared += undeclared.len();
        let base = (declaring.name != task.stage.name).then(|| declaring.name.clone());
        let stage = task.stage.name.clone();
        self.say(&Event::StageAudited { stage, base, undeclared });
    }

    /// Says what the audit comes to.
    pub(super) fn say_audit(&mut self) {
        if let Some(Audit { audited, cached, undeclared, .. }) = self.audit {
            self.say(&Event::AuditFinished { audited, cached, undeclared });
        }
    }
}
