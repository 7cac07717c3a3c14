//! One action from its lock to its entry: the work of a task, unaware of the schedule.
//!
//! A [`Job`] holds all that an action needs. [`run`] works on the calling thread; `command` runs one
//! on the loop's runtime. Both speak only through [`Message`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;

use super::audit::{Artifacts, Use};
use super::check::Check;
use super::limits::Limits;
use super::listener::Listener;
use super::process::{self, Cancel};
use super::secrets::Secrets;
use super::stage_ref::StageRef;
use super::tuning::StudyRun;
use super::verify::{self, Difference};
use crate::conversion::Conversion;
use crate::data::Format;
use crate::event::Outcome;
use crate::fingerprint::{Digest, Fingerprint, Manifest};
use crate::freshness::{Found, content, look_up};
use crate::pipeline::Source;
use crate::schedule::TaskId;
use crate::stage::{self, Context, Failure, Finished, OutputSpec, Params, StageKind, Stop};
use crate::store::artifacts::{Artifact, Placed};
use crate::store::{Entry, Store, StoreError, files, lock, work};
use crate::study::{Curve, StopRule};

/// A sync costs more than most actions; one that took as long as this is not to be lost for it.
const WORTH_A_SYNC: Duration = Duration::from_secs(1);

/// What a worker tells the loop.
pub enum Message {
    /// `done` of `total` units are done.
    Progress { task: TaskId, unit: &'static str, done: u64, total: u64 },
    /// The action reported the metrics of a step.
    Step { task: TaskId, step: u64, metrics: BTreeMap<String, f64> },
    /// Something that a person should know.
    Warning { task: TaskId, message: String },
    /// What a command that has ended used beside what is declared.
    Audited { task: TaskId, uses: BTreeSet<Use> },
    /// The program of a command has ended well; its outputs are still to be stored.
    Exited { task: TaskId },
    /// The action ended.
    Ended { task: TaskId, end: End },
    /// What the task waited for is over: another process that ran its action, or the pause before
    /// the next attempt.
    Free { task: TaskId },
    /// The time of a study is over.
    StudyOverdue { task: TaskId },
    /// A check ended.
    Checked { task: TaskId, check: Box<Check> },
    /// The action has its lock, and begins.
    Begun { task: TaskId },
    /// The artifacts of a stage that ended well were placed, or could not be.
    Placed { task: TaskId, outcome: Outcome, entry: Box<Entry>, placed: PlaceResult },
    /// The best trial of a study has to run again, for the store lacks its outputs.
    Rebuild { task: TaskId, study: Box<StudyRun> },
    /// The outputs of a trial that is not among the best were dropped.
    Dropped,
    /// What was done for a task on another thread panicked.
    Panicked { task: TaskId, failure: Failure },
}

/// The artifacts of a stage, and those of them that had to be written.
pub type PlaceResult = Result<(Vec<Artifact>, Vec<Placed>), StoreError>;

/// How an action ended.
#[derive(Debug)]
pub enum End {
    /// It ran, and its entry is in the store.
    Ran(Box<Entry>),
    /// Another process had stored it meanwhile.
    Cached(Box<Entry>),
    /// It ran although the store has its entry, and gave this otherwise.
    Verified(Box<Entry>, Box<Difference>),
    /// It has no outputs; its curve up to then.
    Stopped(Stop, Curve),
    /// Another process runs it now.
    Busy,
    /// Another process had run it before it began: it is to be checked again.
    Known,
}

/// A file that an action reads.
#[derive(Clone, Debug)]
pub struct InputFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Where it comes from: it may be a folder, or several files.
    pub from: Source,
    /// The digest of its content.
    pub digest: Digest,
    /// The format to convert to first.
    pub format: Option<Format>,
    /// The ending of the name under which a command sees it.
    pub extension: String,
}

/// Says of a finished trial whether its outputs are worth storing.
pub type Keep = Arc<dyn Fn(&BTreeMap<String, f64>) -> bool + Send + Sync>;

/// How an action is executed, which decides nothing of its result.
#[derive(Clone, Debug)]
pub struct Terms {
    /// For how long it may run.
    pub limits: Limits,
    /// Which attempt it is, from 1.
    pub attempt: u32,
    /// Whether another attempt follows where this one fails.
    pub has_more: bool,
    /// The secrets that it may read.
    pub secrets: Arc<Secrets>,
    /// The environment variables that a command does not inherit: the secrets of others.
    pub hidden: Vec<String>,
    /// The ids of the GPUs that it was given, where it asked for a number.
    pub gpus: Option<String>,
}

/// All that an action needs.
#[derive(Clone)]
pub struct Job {
    /// The task that runs it.
    pub task: TaskId,
    /// What a person calls it: its stage, or a trial of it.
    pub title: String,
    /// What to do.
    pub params: Params,
    /// What identifies it.
    pub manifest: Manifest,
    /// The hash of the manifest.
    pub fingerprint: Fingerprint,
    /// The name of this attempt's own folder: a program that a killed run left behind must not
    /// write into it.
    pub attempt: String,
    /// What it reads, by full name.
    pub inputs: BTreeMap<String, InputFile>,
    /// What it gives.
    pub outputs: Vec<OutputSpec>,
    /// How many threads it may use.
    pub threads: usize,
    /// How it is executed.
    pub terms: Terms,
    /// When a study stops it.
    pub stop_rule: StopRule,
    /// Whether its outputs are wanted, and not only its metrics and curve, as of a trial.
    pub wants_outputs: bool,
    /// Whether it runs as a trial.
    pub of_trial: bool,
    /// Whether its outputs are stored; always unless given.
    pub keep: Option<Keep>,
    /// Whether it runs whatever the store has, and from the beginning.
    pub force: bool,
    /// The entry with which what it gives is compared, in place of storing it.
    pub verify: Option<Box<Entry>>,
    /// The artifacts of its pipeline, where what its command reads is traced.
    pub audit: Option<Arc<Artifacts>>,
    /// The root of the project.
    pub root: PathBuf,
    /// When its task was started.
    pub created: Instant,
    /// Where outputs go.
    pub store: Arc<Store>,
    /// The stage whose artifacts are placed when a command has ended; none of a trial.
    pub placing: Option<Placing>,
    /// Who listens.
    pub sender: UnboundedSender<Message>,
    /// Whether the run is being cancelled.
    pub cancel: watch::Receiver<Cancel>,
}

/// Whose artifacts are placed, and of which pipeline.
#[derive(Clone)]
pub struct Placing {
    /// The stage.
    pub stage: StageRef,
    /// The pipeline's name.
    pub pipeline: String,
}

impl Job {
    pub(super) fn span(&self) -> tracing::Span {
        let kind = self.params.kind().name();
        tracing::info_span!("action", title = self.title, kind, fingerprint = %self.fingerprint)
    }
}

/// Runs a built-in action to its end on the calling thread.
pub fn run(job: &Job) -> End {
    let _span = job.span().entered();
    let _lock = match begin(job) {
        Ok(lock) => lock,
        Err(end) => return *end,
    };
    let listener = Listener::new(job);
    let result = catch_unwind(AssertUnwindSafe(|| run_kind(job, &listener)));
    let result = result.unwrap_or_else(|panic| Err(panicked(&*panic).into()));
    let result = result.map_err(|stop| match stop {
        // A kind that was told to stop does not know why.
        Stop::Cancelled => listener.stop().unwrap_or(Stop::Cancelled),
        other => other,
    });
    let given = result.and_then(|Finished { metrics }| {
        let files = process::collect(&outputs_folder(job), &job.outputs)?;
        Ok(Given { metrics, files })
    });
    finish(job, given, listener.into_curve())
}

/// Takes the action's lock and makes its working folder, or says why there is nothing to run.
pub(super) fn begin(job: &Job) -> Result<lock::Lock, Box<End>> {
    let failed =
        |error: StoreError| Box::new(End::Stopped(store_failure(&error), Curve::default()));
    let lock = lock::try_action(&job.store.lock_path(job.fingerprint)).map_err(failed)?;
    let Some(lock) = lock else { return Err(Box::new(End::Busy)) };
    if !job.force && job.verify.is_none() && is_known(job) {
        return Err(Box::new(End::Known));
    }
    // A checkpoint of its own earlier attempt is gone on from.
    if job.force && job.terms.attempt == 1 {
        files::remove_folder(&job.store.checkpoint_path(job.fingerprint)).map_err(failed)?;
    }
    job.store.begin_work(&job.attempt).map_err(failed)?;
    // The loop listens as long as a worker lives; at a second Ctrl-C nobody does.
    let _ = job.sender.send(Message::Begun { task: job.task });
    Ok(lock)
}

/// Says whether another process has brought what the task wants since it was checked.
fn is_known(job: &Job) -> bool {
    if job.wants_outputs {
        matches!(look_up(&job.manifest, &job.outputs, &job.store), Found::Fresh(_))
    } else {
        job.store.entry(job.fingerprint).is_some()
    }
}

fn run_kind(job: &Job, listener: &Listener) -> Result<Finished, Stop> {
    let mut inputs = BTreeMap::new();
    for (name, input) in &job.inputs {
        inputs.insert(name.clone(), readable(job, input)?);
    }
    let context = Context {
        inputs: &inputs,
        outputs: &outputs_folder(job),
        checkpoint: &verify::checkpoint_path(job),
        threads: job.threads,
        progress: listener,
    };
    stage::run(&job.params, &context)
}

/// Gives the path at which an input can be read in the format that was asked for.
fn readable(job: &Job, input: &InputFile) -> Result<PathBuf, Stop> {
    let digest = blob_of(job, input)?;
    Ok(digest.map_or_else(|| input.path.clone(), |digest| job.store.blob_path(digest)))
}

/// Gives the blob that holds an input in the format that was asked for; `None` where it is read
/// where it lies in the project.
pub(super) fn blob_of(job: &Job, input: &InputFile) -> Result<Option<Digest>, Stop> {
    let Some(format) = input.format else {
        return Ok(matches!(input.from, Source::Output { .. }).then_some(input.digest));
    };
    let digest = job.store.converted(&input.path, input.digest, Conversion::Table(format));
    digest.map(Some).map_err(|error| store_failure(&error))
}

/// What an action gave that ran to its end.
pub(super) struct Given {
    /// Scalar results by name.
    pub(super) metrics: BTreeMap<String, f64>,
    /// The file of each output.
    pub(super) files: BTreeMap<String, PathBuf>,
}

/// Stores what an action gave, and says how it ended.
pub(super) fn finish(job: &Job, given: Result<Given, Stop>, curve: Curve) -> End {
    let given = match &job.verify {
        Some(entry) => {
            let compared = verify::compare(job, entry, given);
            end_work(job);
            return compared.unwrap_or_else(|stop| End::Stopped(stop, curve));
        }
        None => given,
    };
    let end = match given {
        Ok(given) => match publish(job, given, &curve) {
            Ok(entry) => End::Ran(Box::new(entry)),
            Err(stop) => End::Stopped(stop, curve),
        },
        Err(stop) => {
            remember(job, &stop, &curve);
            End::Stopped(stop, curve)
        }
    };
    end_work(job);
    if let End::Ran(_) = end
        && job.created.elapsed() > WORTH_A_SYNC
        && let Err(error) = job.store.sync()
    {
        // It holds until a loss of power, and what is lost then is noticed.
        tracing::warn!("{error}");
    }
    end
}

/// Lets go of the working folder, which another action may have where nobody can be at work in it.
fn end_work(job: &Job) {
    let is_left = job.params.kind() != StageKind::Command || !process::orphans::any();
    job.store.end_work(&job.attempt, is_left);
}

/// Moves the outputs into the store and writes the entry: blobs first.
fn publish(job: &Job, given: Given, curve: &Curve) -> Result<Entry, Stop> {
    check_inputs(job)?;
    let Given { metrics, files } = given;
    let keep = job.keep.as_ref().is_none_or(|keep| keep(&metrics));
    let store = |error: StoreError| store_failure(&error);
    // No outputs may be dropped between a blob's coming and its entry's.
    let _lock = lock::shared(&job.store.path("locks/publish")).map_err(store)?;
    let mut outputs = BTreeMap::new();
    for (output, file) in files {
        let blob = if keep { job.store.put_blob(&file) } else { job.store.name_blob(&file) };
        outputs.insert(output, blob.map_err(store)?);
    }
    let entry = Entry {
        manifest: job.manifest.clone(),
        outputs,
        metrics,
        curve: curve.clone(),
        failure: None,
        accidents: 0,
        of_trial: job.of_trial,
    };
    job.store.put_entry(&entry).map_err(store)?;
    let _ = files::remove_folder(&job.store.checkpoint_path(job.fingerprint));
    Ok(entry)
}

/// Refuses to store what was made from a file that changed meanwhile.
fn check_inputs(job: &Job) -> Result<(), Stop> {
    let now = |input: &InputFile| match &input.from {
        Source::Output { .. } => job.store.digest(&input.path).ok(),
        source @ (Source::Folder(_) | Source::Glob(_)) => listed_digest(job, source, input.digest),
        source => content::digest(source, &job.root, &job.store).ok(),
    };
    let is_same = |input: &InputFile| {
        now(input).is_some_and(|digest| digest == input.digest)
            && input.format.is_none_or(|format| {
                job.store.has_converted(input.digest, Conversion::Table(format))
            })
    };
    match job.inputs.iter().find(|(_, input)| !is_same(input)) {
        None => Ok(()),
        Some((name, input)) => Err(Failure::new(format!(
            "its input `{name}`, `{}`, changed while it ran",
            input.path.display()
        ))
        .help("run it again")
        .into()),
    }
}

/// Gives the digest of what a folder or a pattern holds now; where it is that which was read, what it
/// holds is kept, for whoever asks later what has changed.
fn listed_digest(job: &Job, source: &Source, read: Digest) -> Option<Digest> {
    let text = content::listed(source, &job.root, &job.store).ok()?;
    let digest = Digest::of(&text);
    if digest == read
        && let Err(error) = job.store.keep_listing(digest, &text)
    {
        tracing::warn!("{error}");
    }
    Some(digest)
}

/// Keeps what a stopped action knew: a pruned one's curve, and a failure that would come again.
fn remember(job: &Job, stop: &Stop, curve: &Curve) {
    let kept = match stop {
        Stop::Pruned => {
            files::write_sealed(&partial_curve_path(&job.store, job.fingerprint), curve)
        }
        Stop::Failed(failure) if failure.deterministic => job.store.put_entry(&Entry {
            manifest: job.manifest.clone(),
            outputs: BTreeMap::new(),
            metrics: BTreeMap::new(),
            curve: curve.clone(),
            failure: Some(failure.clone()),
            accidents: 0,
            of_trial: job.of_trial,
        }),
        Stop::Failed(_) | Stop::Cancelled => Ok(()),
    };
    if let Err(error) = kept {
        tracing::warn!("{error}");
    }
    if matches!(stop, Stop::Failed(failure) if failure.deterministic) {
        let _ = files::remove_folder(&job.store.checkpoint_path(job.fingerprint));
    }
}

/// Gives the file in which the curve of a pruned action lies.
pub fn partial_curve_path(store: &Store, fingerprint: Fingerprint) -> PathBuf {
    store.checkpoint_path(fingerprint).join("curve")
}

pub(super) fn outputs_folder(job: &Job) -> PathBuf {
    attempt_folder(job).join(work::OUTPUTS)
}

pub(super) fn attempt_folder(job: &Job) -> PathBuf {
    job.store.attempt_path(&job.attempt)
}

pub(super) fn store_failure(error: &StoreError) -> Stop {
    with_help(error.to_string(), error).into()
}

/// Makes a failure of what the store said, with its way out.
pub fn with_help(message: String, error: &StoreError) -> Failure {
    let failure = Failure::new(message);
    match error.help() {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// Makes a failure of a panic.
pub fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    panicked_text(text.unwrap_or_default())
}

pub(super) fn panicked_text(text: String) -> Failure {
    Failure::new(format!("it panicked: {text}")).help("this is a bug of runner: please report it")
}
