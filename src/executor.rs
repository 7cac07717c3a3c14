//! The only scheduling loop: it owns all state of a run, and workers send it messages.
//!
//! ```text
//! Schedule::next_step ──> Check: hash inputs, look in the store ──┐
//!        ▲     └───> Start: a worker thread, a process,      │ Message
//!        │                  or a study                       ▼
//!        └────────────── what ended <───────────────── Run::handle ──> Event ──> reporter, history
//! ```
//!
//! CPU work runs on blocking threads and commands as child processes, so the loop itself never
//! waits for anything but messages, signals and timers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::event::{Event, Outcome, RunOutcome};
use crate::fingerprint::{Digest, DirtyReason, Fingerprint, Manifest};
use crate::freshness::{self, Found, OutputDigests};
use crate::history::History;
use crate::pipeline::{Pipeline, Source, Stage};
use crate::plan::Plan;
use crate::schedule::{Demand, Schedule, Step, TaskId};
use crate::stage::{Failure, Params, StageKind, Stop};
use crate::store::{Entry, Store, StoreError, lock};

mod place;
pub mod process;
mod tell;
mod tuning;
mod worker;

use process::Cancel;
use tuning::{StudyRun, Trial, TrialCheck};
use worker::{End, InputFile, Job, Message};

/// How often a task looks whether another process is done with its action.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// How a run is executed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Slots.
    pub jobs: usize,
    /// Whether what does not descend from a failure still runs.
    pub keep_going: bool,
    /// The stages that run whatever the store has.
    pub force: HashSet<String>,
}

/// Why a run could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The runtime or the signal handlers cannot be set up.
    #[error("cannot start the run: {0}")]
    Runtime(#[from] std::io::Error),
}

/// Runs a plan to its end, and tells every event to `emit`.
///
/// # Errors
///
/// [`ExecutorError`] where the engine itself fails; failed stages are outcomes.
pub fn run(
    plan: &Plan<'_>,
    root: &Path,
    options: &Options,
    emit: &mut dyn FnMut(&Event),
) -> Result<RunOutcome, ExecutorError> {
    let _span = tracing::info_span!("run", pipeline = plan.pipeline.name).entered();
    let store = Arc::new(Store::open(&root.join(".runner")));
    store.create()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let mut run = Run::new(plan, root, options, Arc::clone(&store), emit);
        run.execute().await
    });
    // At a second Ctrl-C workers may still be at it; nobody waits for them.
    runtime.shutdown_background();
    store.save_stats()?;
    outcome
}

/// What a check found; made on a blocking thread.
#[derive(Debug)]
enum Check {
    /// Of a stage: its identity and what the store has.
    Stage { manifest: Manifest, digests: freshness::InputDigests, found: Found },
    /// Of a trial.
    Trial(TrialCheck),
    /// An input cannot be read.
    Failed(Failure),
}

/// A task of the schedule, with what the loop knows of it.
enum Task {
    Stage(StageTask),
    Trial(Box<Trial>),
}

struct StageTask {
    stage: Arc<Stage>,
    started: Instant,
    reasons: Vec<DirtyReason>,
    /// Its identity, once it was checked.
    manifest: Option<Manifest>,
    digests: freshness::InputDigests,
    /// The metrics of its latest step.
    metrics: BTreeMap<String, f64>,
    /// Whether it counts units of its own.
    counts: bool,
}

struct Run<'r> {
    pipeline: Arc<Pipeline>,
    root: PathBuf,
    options: &'r Options,
    store: Arc<Store>,
    history: History,
    emit: &'r mut dyn FnMut(&Event),
    schedule: Schedule,
    tasks: Vec<Task>,
    /// The running study of each tune task.
    studies: HashMap<TaskId, StudyRun>,
    done: OutputDigests,
    /// Actions that are queued or running: the task that has each, and those that wait for it.
    in_flight: HashMap<Fingerprint, (TaskId, Vec<TaskId>)>,
    /// Actions that ran in this run: `--force` runs none twice.
    ran: HashSet<Fingerprint>,
    roots: BTreeMap<String, Fingerprint>,
    sender: UnboundedSender<Message>,
    receiver: UnboundedReceiver<Message>,
    cancel: watch::Sender<Cancel>,
    /// Messages still to come from workers.
    awaited: usize,
    counts: BTreeMap<Outcome, usize>,
    failed_stage: Option<String>,
}

impl<'r> Run<'r> {
    fn new(
        plan: &Plan<'_>,
        root: &Path,
        options: &'r Options,
        store: Arc<Store>,
        emit: &'r mut dyn FnMut(&Event),
    ) -> Run<'r> {
        let (sender, receiver) = unbounded_channel();
        let history = History::open(&store.path("history.sqlite"));
        let mut run = Run {
            pipeline: Arc::new(plan.pipeline.clone()),
            root: root.to_owned(),
            options,
            store,
            history,
            emit,
            schedule: Schedule::new(options.jobs, options.keep_going),
            tasks: Vec::new(),
            studies: HashMap::new(),
            done: OutputDigests::new(),
            in_flight: HashMap::new(),
            ran: HashSet::new(),
            roots: BTreeMap::new(),
            sender,
            receiver,
            cancel: watch::Sender::new(Cancel::None),
            awaited: 0,
            counts: BTreeMap::new(),
            failed_stage: None,
        };
        run.add_stages(plan);
        run
    }

    fn add_stages(&mut self, plan: &Plan<'_>) {
        let mut ids: HashMap<&str, TaskId> = HashMap::new();
        for stage in &plan.order {
            let needs: Vec<TaskId> =
                plan.needs(&stage.name).map(|need| ids[need.name.as_str()]).collect();
            let id = self.schedule.add_stage(&needs, demand(stage.kind()));
            ids.insert(&stage.name, id);
            self.tasks.push(Task::Stage(StageTask {
                stage: Arc::new((*stage).clone()),
                started: Instant::now(),
                reasons: Vec::new(),
                manifest: None,
                digests: BTreeMap::new(),
                metrics: BTreeMap::new(),
                counts: false,
            }));
        }
    }

    /// Drives the schedule to its end.
    async fn execute(&mut self) -> Result<RunOutcome, ExecutorError> {
        let started = Instant::now();
        self.history.begin(&self.pipeline.name);
        let stages = self.tasks.iter().filter_map(|task| match task {
            Task::Stage(task) => Some(task.stage.name.clone()),
            Task::Trial(_) => None,
        });
        let event = Event::RunStarted {
            pipeline: self.pipeline.name.clone(),
            stages: stages.collect(),
            jobs: self.options.jobs,
        };
        self.say(&event);
        let mut signals = Signals::new()?;
        loop {
            self.dispatch();
            if self.schedule.is_over() && self.awaited == 0 {
                break;
            }
            tokio::select! {
                // The run holds a sender itself, so the channel never closes.
                Some(message) = self.receiver.recv() => self.handle(message)?,
                () = signals.next() => self.interrupt(),
            }
        }
        self.end(started)
    }

    /// Does all that the schedule allows now.
    fn dispatch(&mut self) {
        while let Some(step) = self.schedule.next_step() {
            match step {
                Step::Check(task) => self.check(task),
                Step::Start { task, slots } => self.start(task, slots),
            }
        }
    }

    fn handle(&mut self, message: Message) -> Result<(), ExecutorError> {
        match message {
            Message::Progress { task, unit, done, total } => {
                self.say_progress(task, unit, done, total);
            }
            Message::Step { task, step, metrics } => self.say_step(task, step, metrics),
            Message::Warning { task, message } => {
                let event = Event::Warning { stage: Some(self.stage_name(task)), message };
                self.say(&event);
            }
            Message::Checked { task, check } => {
                self.awaited -= 1;
                self.checked(task, *check);
            }
            Message::Ended { task, end } => {
                self.awaited -= 1;
                self.ended(task, end);
            }
            Message::Free { task } => {
                self.awaited -= 1;
                self.schedule.recheck(task);
            }
            Message::Placed(placed) => {
                self.awaited -= 1;
                self.say_placed(placed?);
            }
        }
        Ok(())
    }

    /// First Ctrl-C: begin nothing more and let workers stop at a good point. Second: kill.
    fn interrupt(&mut self) {
        if *self.cancel.borrow() != Cancel::None {
            self.cancel.send_replace(Cancel::Kill);
            return;
        }
        self.cancel.send_replace(Cancel::Stop);
        let cancelled = self.schedule.cancel();
        self.end_unstarted(cancelled);
        self.close_studies();
    }

    /// Finds out on a blocking thread whether the store has a task's outputs.
    fn check(&mut self, task: TaskId) {
        let work: Box<dyn FnOnce() -> Check + Send> = match &self.tasks[task.index()] {
            Task::Trial(trial) => {
                let store = Arc::clone(&self.store);
                trial.check(store, self.is_forced(&trial.stage, trial.fingerprint))
            }
            Task::Stage(StageTask { stage, .. }) => {
                let (pipeline, stage) = (Arc::clone(&self.pipeline), Arc::clone(stage));
                let (root, store) = (self.root.clone(), Arc::clone(&self.store));
                let known = self.known_digests(&stage);
                Box::new(move || check_stage(&pipeline, &stage, &root, &store, &known))
            }
        };
        let title = self.stage_name(task);
        self.spawn(move || {
            let _span = tracing::debug_span!("check", title).entered();
            Message::Checked { task, check: Box::new(work()) }
        });
    }

    /// Gives the digests of the outputs that a stage reads.
    fn known_digests(&self, stage: &Stage) -> OutputDigests {
        let sources = stage.inputs.values().filter_map(|input| match &input.from {
            Source::Output { stage, output } => Some((stage.clone(), output.clone())),
            Source::File(_) => None,
        });
        sources.filter_map(|source| Some((source.clone(), *self.done.get(&source)?))).collect()
    }

    fn checked(&mut self, task: TaskId, check: Check) {
        match check {
            Check::Failed(failure) => self.fail(task, failure),
            Check::Trial(check) => self.trial_checked(task, check),
            Check::Stage { manifest, digests, found } => {
                self.stage_checked(task, manifest, digests, found);
            }
        }
    }

    fn stage_checked(
        &mut self,
        id: TaskId,
        manifest: Manifest,
        digests: freshness::InputDigests,
        found: Found,
    ) {
        let Task::Stage(task) = &self.tasks[id.index()] else { return };
        let stage = Arc::clone(&task.stage);
        let fingerprint = manifest.fingerprint();
        let forced = self.is_forced(&stage, fingerprint);
        let (reasons, entry) = match found {
            _ if forced => (vec![DirtyReason::Forced], None),
            Found::Fresh(entry) => (Vec::new(), Some(entry)),
            Found::Troubled(reasons) => (reasons, None),
            Found::Absent => {
                let (pipeline, store) = (&self.pipeline, &self.store);
                (freshness::explain(pipeline, &stage, &manifest, store, &self.history), None)
            }
        };
        self.say_damage(&stage, &reasons);
        let Task::Stage(task) = &mut self.tasks[id.index()] else { return };
        // A task that waited for another that ran its action keeps the reason for which it did.
        if !reasons.is_empty() {
            task.reasons = reasons;
        }
        task.manifest = Some(manifest);
        task.digests = digests;
        match entry {
            Some(entry) => self.succeed(id, Outcome::Cached, &entry),
            None => self.queue(id, fingerprint),
        }
    }

    /// Queues a task for slots, or joins it to the one that runs the same action.
    fn queue(&mut self, task: TaskId, fingerprint: Fingerprint) {
        let ended = match self.in_flight.get_mut(&fingerprint) {
            Some((_, waiting)) => {
                waiting.push(task);
                self.schedule.join(task)
            }
            None => {
                self.in_flight.insert(fingerprint, (task, Vec::new()));
                self.schedule.queue(task)
            }
        };
        self.end_unstarted(ended);
    }

    fn is_forced(&self, stage: &Stage, fingerprint: Fingerprint) -> bool {
        self.options.force.contains(&stage.name) && !self.ran.contains(&fingerprint)
    }

    fn start(&mut self, id: TaskId, slots: usize) {
        match &mut self.tasks[id.index()] {
            Task::Trial(trial) => {
                trial.started = Instant::now();
                let event = Event::TrialStarted {
                    stage: trial.stage.name.clone(),
                    number: trial.number,
                    params: trial.point.clone(),
                };
                let (tune, params) = (trial.tune, trial.params.clone());
                let manifest = trial.manifest.clone();
                let (rule, keep) = (trial.stop_rule.clone(), trial.keep.clone());
                let outputs = trial.outputs.clone();
                self.say(&event);
                let mut job = self.job(id, tune, params, manifest, slots);
                job.outputs = outputs;
                job.stop_rule = rule;
                job.keep = keep;
                self.work(job);
            }
            Task::Stage(task) => {
                task.started = Instant::now();
                let (stage, reasons) = (Arc::clone(&task.stage), task.reasons.clone());
                // Only a checked task is started, and the check leaves its manifest.
                let manifest = task.manifest.clone().expect("a started stage was checked");
                let (name, kind) = (stage.name.clone(), stage.kind());
                self.say(&Event::StageStarted { stage: name, kind, reasons });
                match stage.kind() {
                    StageKind::Tune => self.start_study(id, &manifest),
                    _ => {
                        let job = self.job(id, id, stage.params.clone(), manifest, slots);
                        self.work(job);
                    }
                }
            }
        }
    }

    /// Makes the job of a task: a stage's own, or that of a trial of the stage `of`.
    fn job(
        &self,
        task: TaskId,
        of: TaskId,
        params: Params,
        manifest: Manifest,
        threads: usize,
    ) -> Job {
        let Task::Stage(StageTask { stage, digests, .. }) = &self.tasks[of.index()] else {
            unreachable!("trials belong to a stage");
        };
        let fingerprint = manifest.fingerprint();
        let title = match &self.tasks[task.index()] {
            Task::Stage(task) => task.stage.name.clone(),
            Task::Trial(trial) => format!("{} trial {}", trial.stage.name, trial.number),
        };
        Job {
            task,
            title,
            outputs: stage.outputs.clone(),
            threads,
            force: self.is_forced(stage, fingerprint),
            inputs: self.input_files(stage, digests),
            params,
            manifest,
            fingerprint,
            stop_rule: None,
            keep: None,
            root: self.root.clone(),
            store: Arc::clone(&self.store),
            sender: self.sender.clone(),
            cancel: self.cancel.subscribe(),
        }
    }

    fn input_files(
        &self,
        stage: &Stage,
        digests: &freshness::InputDigests,
    ) -> BTreeMap<String, InputFile> {
        let file = |(name, digest): (&String, &Digest)| {
            let input = &stage.inputs[name];
            let (path, named) = match &input.from {
                Source::File(file) => (self.root.join(file), file.clone()),
                Source::Output { stage, output } => {
                    (self.store.blob_path(*digest), self.output_file(stage, output))
                }
            };
            let extension = named.extension().and_then(|ending| ending.to_str()).unwrap_or("bin");
            let extension = extension.to_owned();
            (name.clone(), InputFile { path, digest: *digest, format: input.format, extension })
        };
        digests.iter().map(file).collect()
    }

    fn output_file(&self, stage: &str, output: &str) -> PathBuf {
        let stage = self.pipeline.stages.get(stage);
        let spec = stage.and_then(|stage| stage.outputs.iter().find(|spec| spec.name == output));
        spec.map(|spec| PathBuf::from(&spec.file)).unwrap_or_default()
    }

    /// Hands a job to a thread, or a command to a process.
    fn work(&mut self, job: Job) {
        let task = job.task;
        if job.params.kind() == StageKind::Command {
            self.awaited += 1;
            let sender = self.sender.clone();
            tokio::spawn(async move {
                let end = worker::run_command(job).await;
                // The loop listens until nothing is awaited.
                let _ = sender.send(Message::Ended { task, end });
            });
        } else {
            self.spawn(move || Message::Ended { task, end: worker::run(&job) });
        }
    }

    /// Runs something on a blocking thread that ends in one message.
    fn spawn(&mut self, work: impl FnOnce() -> Message + Send + 'static) {
        self.awaited += 1;
        let sender = self.sender.clone();
        // The loop listens until nothing is awaited.
        tokio::task::spawn_blocking(move || drop(sender.send(work())));
    }

    fn ended(&mut self, id: TaskId, end: End) {
        let fingerprint = self.fingerprint(id);
        if matches!(end, End::Busy) {
            self.wait_for_process(id, fingerprint);
            return;
        }
        self.ran.insert(fingerprint);
        if let Task::Trial(_) = &self.tasks[id.index()] {
            self.trial_ended(id, end);
            return;
        }
        match end {
            End::Ran(entry) => self.succeed(id, Outcome::Ran, &entry),
            End::Cached(entry) => self.succeed(id, Outcome::Cached, &entry),
            End::Stopped(Stop::Failed(failure), _) => self.fail(id, failure),
            End::Stopped(Stop::Cancelled | Stop::Pruned, _) => {
                self.finish_stage(id, Outcome::Cancelled, &BTreeMap::new(), None);
            }
            End::Busy => unreachable!("handled above"),
        }
    }

    /// Lets go of a task's slots until the process that runs its action has ended.
    fn wait_for_process(&mut self, task: TaskId, fingerprint: Fingerprint) {
        let ended = self.schedule.join(task);
        self.end_unstarted(ended);
        self.release(task, fingerprint);
        self.awaited += 1;
        let (path, sender) = (self.store.lock_path(fingerprint), self.sender.clone());
        let mut cancel = self.cancel.subscribe();
        tokio::spawn(async move {
            while let Ok(None) = lock::try_action(&path) {
                tokio::select! {
                    () = tokio::time::sleep(LOCK_POLL) => {}
                    _ = cancel.changed() => break,
                }
            }
            let _ = sender.send(Message::Free { task });
        });
    }

    /// Lets the tasks that waited for a task's action look again.
    fn release(&mut self, task: TaskId, fingerprint: Fingerprint) {
        if self.in_flight.get(&fingerprint).is_none_or(|(holder, _)| *holder != task) {
            return;
        }
        let (_, waiting) = self.in_flight.remove(&fingerprint).unwrap_or((task, Vec::new()));
        for other in waiting {
            self.schedule.recheck(other);
        }
    }

    fn succeed(&mut self, id: TaskId, outcome: Outcome, entry: &Entry) {
        let Task::Stage(task) = &self.tasks[id.index()] else { return };
        let stage = Arc::clone(&task.stage);
        for (output, blob) in &entry.outputs {
            self.done.insert((stage.name.clone(), output.clone()), blob.digest);
        }
        self.roots.insert(stage.name.clone(), self.fingerprint(id));
        let (store, root, name) =
            (Arc::clone(&self.store), self.root.clone(), self.pipeline.name.clone());
        let outputs = entry.outputs.clone();
        self.spawn(move || Message::Placed(place::place(&store, &root, &name, &stage, &outputs)));
        self.finish_stage(id, outcome, &entry.metrics, None);
    }

    fn fail(&mut self, id: TaskId, failure: Failure) {
        if self.failed_stage.is_none() {
            self.failed_stage = Some(self.stage_name(id));
        }
        self.finish_stage(id, Outcome::Failed, &BTreeMap::new(), Some(failure));
    }

    fn finish_stage(
        &mut self,
        id: TaskId,
        outcome: Outcome,
        metrics: &BTreeMap<String, f64>,
        failure: Option<Failure>,
    ) {
        self.say_finished(id, outcome, metrics, failure);
        if let Task::Stage(StageTask { manifest: Some(manifest), .. }) = &self.tasks[id.index()] {
            let fingerprint = manifest.fingerprint();
            self.release(id, fingerprint);
        }
        let ended = self.schedule.finish(id, outcome);
        self.end_unstarted(ended);
        self.close_studies();
    }

    /// Tells of tasks that will not start.
    fn end_unstarted(&mut self, ended: Vec<(TaskId, Outcome)>) {
        for (id, outcome) in ended {
            match &self.tasks[id.index()] {
                Task::Stage(_) => self.say_finished(id, outcome, &BTreeMap::new(), None),
                Task::Trial(_) => self.trial_unstarted(id),
            }
        }
    }

    /// Records what the stages are now, and says how the run ended.
    fn end(&mut self, started: Instant) -> Result<RunOutcome, ExecutorError> {
        self.store.put_roots(&self.pipeline.name, &self.roots)?;
        self.store.sweep();
        let count = |outcome| self.counts.get(&outcome).copied().unwrap_or(0);
        let outcome = if *self.cancel.borrow() != Cancel::None {
            RunOutcome::Interrupted
        } else if count(Outcome::Failed) > 0 {
            RunOutcome::Failed
        } else {
            RunOutcome::Done
        };
        let event = Event::RunFinished {
            outcome,
            ran: count(Outcome::Ran),
            cached: count(Outcome::Cached),
            failed: count(Outcome::Failed),
            skipped: count(Outcome::Skipped),
            cancelled: count(Outcome::Cancelled),
            seconds: started.elapsed().as_secs_f64(),
        };
        self.say(&event);
        Ok(outcome)
    }
}

/// Gives the slots that a stage of a kind takes: more than one only where it can use them.
fn demand(kind: StageKind) -> Demand {
    match kind {
        StageKind::Generate | StageKind::Preprocess => Demand::Idle,
        StageKind::Train | StageKind::Evaluate | StageKind::Command => Demand::One,
        StageKind::Tune => Demand::None,
    }
}

/// Hashes a stage's files and looks its action up in the store.
fn check_stage(
    pipeline: &Pipeline,
    stage: &Stage,
    root: &Path,
    store: &Store,
    known: &OutputDigests,
) -> Check {
    match freshness::input_digests(stage, root, store, known) {
        Ok(Some(digests)) => {
            let manifest = freshness::manifest(pipeline, stage, &digests);
            let found = freshness::look_up(&manifest, store);
            Check::Stage { manifest, digests, found }
        }
        Ok(None) => unreachable!("a stage is checked once all that it needs is done"),
        Err(error) => Check::Failed(Failure::new(error.to_string())),
    }
}

/// The signals that interrupt a run.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
