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
use std::mem::take;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use crate::event::{Event, Outcome, RunOutcome};
use crate::fingerprint::Fingerprint;
use crate::freshness::OutputDigests;
use crate::history::{Beginning, History};
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::schedule::{Schedule, Step, TaskId};
use crate::stage::{StageKind, Stop};
use crate::store::artifacts::Artifact;
use crate::store::seen::SeenStages;
use crate::store::{Store, StoreError};
use crate::study::Curve;

mod actions;
mod audit;
mod check;
mod command;
mod finish;
mod forerun;
mod limits;
mod listener;
pub mod machine;
mod means;
pub mod memory;
mod place;
mod recall;
pub mod process;
mod repeats;
mod retry;
mod secrets;
pub mod signals;
mod spawn;
mod stage_ref;
mod start;
mod study_end;
mod study_outputs;
mod task;
mod tell;
mod trial;
mod tuning;
mod verify;
mod worker;

pub use audit::Untraceable;
pub use means::Unmet;

use actions::Actions;
use audit::Audit;
use forerun::Forerun;
use means::Vault;
use process::Cancel;
use retry::{Deadline, Ways};
use signals::Signals;
use stage_ref::StageRef;
use task::{StageTask, Task};
use tuning::StudyRun;
use verify::Verification;
use worker::{End, Message};

/// The most messages that are handled before what they allow is begun.
const BATCH: usize = 1000;

/// How a run is executed.
#[derive(Clone, Debug)]
pub struct Options {
    /// What may be in use at once.
    pub means: Means,
    /// Whether what does not descend from a failure still runs.
    pub keep_going: bool,
    /// The stages that run whatever the store has.
    pub force: HashSet<String>,
    /// Whether commands are traced, and what they use and do not declare is told.
    pub audit: bool,
    /// The share of the cached actions that are run again and compared, from 0 to 1.
    pub verify: Option<f64>,
    /// What `--set` has set in the pipeline, for the history alone.
    pub sets: Vec<String>,
}

impl Options {
    /// Says whether anything may run of which the store has the results.
    fn may_repeat(&self, plan: &Plan<'_>) -> bool {
        let is_declared = plan.order.iter().any(|stage| stage.options.runs_each_time);
        is_declared || self.verify.is_some() || !self.force.is_empty()
    }
}

/// What a run may use of the machine at once.
#[derive(Clone, Debug)]
pub struct Means {
    /// Slots.
    pub jobs: usize,
    /// Bytes of memory.
    pub memory: u64,
    /// The ids of the GPUs, as `CUDA_VISIBLE_DEVICES` has them.
    pub gpus: Vec<String>,
}

/// Why a run could not be carried through.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// A stage asks for what it cannot have; nothing was run.
    #[error(transparent)]
    Unmet(#[from] Unmet),
    /// Commands cannot be traced; nothing was run.
    #[error(transparent)]
    Untraceable(#[from] Untraceable),
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
    let vault = means::look(plan, &options.means)?;
    if options.audit {
        audit::look()?;
    }
    if plan.order.iter().any(|stage| stage.kind() == StageKind::Tune) {
        memory::share_heap();
    }
    let store = Arc::new(Store::open(&root.join(".runner"))?);
    store.create()?;
    process::orphans::adopt();
    let _lease = store.lease();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (outcome, history) = runtime.block_on(async {
        let mut run = Run::new(plan, root, options, Arc::clone(&store), emit);
        run.vault = vault;
        let outcome = run.execute(plan).await;
        run.history.close();
        (outcome, run.history)
    });
    // After a second Ctrl-C workers may still be at it; nobody waits for them.
    runtime.shutdown_background();
    let synced = std::thread::scope(|scope| {
        // To remove folders takes long while the disk is written to.
        let leave = || store.leave_work();
        if std::thread::Builder::new().spawn_scoped(scope, leave).is_err() {
            leave();
        }
        match outcome {
            Ok(RunOutcome::Done | RunOutcome::Failed) => store.sync(),
            // Whoever interrupts a run does not want to wait.
            _ => Ok(()),
        }
    });
    if let Err(error) = synced.and_then(|()| store.save_stats()) {
        // Neither loses a result: the next run hashes more, and that is all.
        tracing::warn!("{error}");
    }
    // Its last rows were written meanwhile.
    drop(history);
    outcome
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
    studies: BTreeMap<TaskId, StudyRun>,
    /// When the study of a tune task with a timeout is over.
    deadlines: HashMap<TaskId, Deadline>,
    /// Failed attempts of the tasks that are tried again.
    attempts: HashMap<TaskId, u32>,
    /// Stages of which it was said that they get fewer CPUs than they ask for.
    curbed: HashSet<String>,
    vault: Vault,
    ways: Ways,
    done: OutputDigests,
    actions: Actions,
    roots: BTreeMap<String, Fingerprint>,
    artifacts: Vec<Artifact>,
    /// What the last run saw of each stage.
    seen: Arc<SeenStages>,
    /// What this one sees otherwise; written at the end.
    news: SeenStages,
    /// What is found of the stages' files ahead of the loop.
    forerun: Forerun,
    /// Whether an action has begun.
    has_started: bool,
    /// Whether neither the history nor the store has ever heard of the pipeline.
    is_first: bool,
    /// Commands that have let go of their slots while their outputs are stored.
    storing: HashSet<TaskId>,
    /// Whether there was a history before this run: a new one is told of every stage.
    has_history: bool,
    sender: UnboundedSender<Message>,
    receiver: UnboundedReceiver<Message>,
    cancel: watch::Sender<Cancel>,
    /// Messages still to come from workers.
    awaited: usize,
    counts: BTreeMap<Outcome, usize>,
    failed_stage: Option<String>,
    audit: Option<Audit>,
    verification: Option<Verification>,
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
        let has_history = store.path("history.sqlite").exists();
        let has_roots = store.path("roots").join(&plan.pipeline.name).exists();
        let history = History::open(&store.path("history.sqlite"));
        let seen = Arc::new(store.seen(&plan.pipeline.name));
        let stages = plan.order.iter().map(|stage| StageRef::new(plan.pipeline, &stage.name));
        let folder = place::folder(root, &plan.pipeline.name);
        let forerun = Forerun::start(stages, &seen, &store, folder);
        let mut run = Run {
            pipeline: Arc::clone(plan.pipeline),
            root: root.to_owned(),
            options,
            store,
            history,
            emit,
            schedule: Schedule::new(&options.means.machine(), options.keep_going),
            tasks: Vec::new(),
            studies: BTreeMap::new(),
            deadlines: HashMap::new(),
            attempts: HashMap::new(),
            curbed: HashSet::new(),
            vault: Vault::default(),
            ways: Ways::Unasked,
            done: OutputDigests::new(),
            actions: Actions::new(options.may_repeat(plan)),
            roots: BTreeMap::new(),
            artifacts: Vec::new(),
            seen,
            has_history,
            news: SeenStages::new(),
            forerun,
            has_started: false,
            is_first: !has_history && !has_roots,
            storing: HashSet::new(),
            sender,
            receiver,
            cancel: watch::Sender::new(Cancel::None),
            awaited: 0,
            counts: BTreeMap::new(),
            failed_stage: None,
            audit: options.audit.then(|| Audit::new(plan.pipeline)),
            verification: options.verify.map(Verification::new),
        };
        run.add_stages(plan);
        run
    }

    fn add_stages(&mut self, plan: &Plan<'_>) {
        let mut ids: HashMap<&str, TaskId> = HashMap::new();
        for stage in &plan.order {
            let needs: Vec<TaskId> =
                plan.needs(&stage.name).map(|need| ids[need.name.as_str()]).collect();
            let id = self.schedule.add_stage(&needs, means::request(stage));
            ids.insert(&stage.name, id);
            let stage = StageRef::new(&self.pipeline, &stage.name);
            self.tasks.push(Task::Stage(Box::new(StageTask::new(stage))));
        }
    }

    /// Drives the schedule to its end.
    async fn execute(&mut self, plan: &Plan<'_>) -> Result<RunOutcome, ExecutorError> {
        let started = Instant::now();
        let given = &self.pipeline.sources[0].path;
        let whole = std::path::absolute(given).unwrap_or_else(|_| given.clone());
        // A file elsewhere is named without its folders, which are of this machine.
        let elsewhere = given.file_name().unwrap_or_default();
        self.history.begin(&Beginning {
            pipeline: &self.pipeline.name,
            file: whole.strip_prefix(&self.root).unwrap_or(Path::new(elsewhere)),
            sets: &self.options.sets,
            jobs: self.options.means.jobs,
        });
        let stages = self.tasks.iter().filter_map(|task| match task {
            Task::Stage(task) => Some(task.stage.name.clone()),
            Task::Trial(_) => None,
        });
        let event = Event::RunStarted {
            pipeline: self.pipeline.name.clone(),
            stages: stages.collect(),
            jobs: self.options.means.jobs,
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
                Some(message) = self.receiver.recv() => self.handle_all(message, plan),
                () = signals.next() => self.interrupt(),
            }
            if *self.cancel.borrow() == Cancel::Kill {
                // The runtime's end kills the processes, and the program's end the threads.
                self.abandon();
                break;
            }
        }
        // Whoever interrupts a run does not want to wait.
        if *self.cancel.borrow() == Cancel::None {
            self.store.begin_sync();
        }
        let outcome = self.end(started);
        self.free_aside();
        Ok(outcome)
    }

    /// Frees what is large on a thread that nobody waits for: a program that ends with the run need
    /// not free a hundred thousand tasks first.
    fn free_aside(&mut self) {
        let large = (take(&mut self.tasks), take(&mut self.done), take(&mut self.artifacts));
        // Without the thread they are freed here.
        let _ = std::thread::Builder::new().name("free".to_owned()).spawn(move || drop(large));
    }

    /// Does all that the schedule allows now.
    fn dispatch(&mut self) {
        while let Some(step) = self.schedule.next_step() {
            match step {
                Step::Check(task) if self.recall(task) => {}
                Step::Check(task) => self.check(task),
                Step::Start { task, slots } => {
                    self.has_started = true;
                    self.start(task, slots);
                }
            }
        }
    }

    /// Handles what has come by now before anything is started: of those that could, the best is to
    /// start, and not that whose check ended first.
    fn handle_all(&mut self, first: Message, plan: &Plan<'_>) {
        let mut next = Some(first);
        let mut handled = 0;
        while let Some(message) = next {
            self.handle(message);
            // While it reads, other checks end.
            if self.ways == Ways::Wanted {
                self.learn_ways(plan);
            }
            handled += 1;
            next = if handled < BATCH { self.receiver.try_recv().ok() } else { None };
        }
    }

    /// Lets another command begin while the outputs of one that ended well are stored; a single slot
    /// does one thing after the other.
    fn exited(&mut self, task: TaskId) {
        let jobs = self.options.means.jobs;
        if jobs > 1 && self.storing.len() < jobs {
            self.storing.insert(task);
            self.schedule.release(task);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Begun { task } => self.say_begun(task),
            Message::Progress { task, unit, done, total } => {
                self.say_progress(task, unit, done, total);
            }
            Message::Step { task, step, metrics } => self.say_step(task, step, metrics),
            Message::Warning { task, message } => {
                let event = Event::Warning { stage: Some(self.stage_name(task)), message };
                self.say(&event);
            }
            Message::Audited { task, uses } => self.audited(task, uses),
            Message::Checked { task, check } => {
                self.awaited -= 1;
                self.checked(task, *check);
            }
            Message::Exited { task } => self.exited(task),
            Message::Ended { task, end } => {
                self.awaited -= 1;
                self.storing.remove(&task);
                self.ended(task, end);
            }
            Message::Free { task } => self.schedule.recheck(task),
            Message::StudyOverdue { task } => self.end_overdue_study(task),
            Message::Placed { task, outcome, entry, placed } => {
                self.awaited -= 1;
                self.storing.remove(&task);
                self.placed(task, outcome, &entry, placed);
            }
            Message::Rebuild { task, study } => {
                self.awaited -= 1;
                self.rebuild_best(task, *study);
            }
            Message::Dropped => self.awaited -= 1,
            Message::Panicked { task, failure } => {
                self.awaited -= 1;
                self.storing.remove(&task);
                match &self.tasks[task.index()] {
                    Task::Stage(_) => self.fail(task, failure),
                    Task::Trial(_) => {
                        let end = End::Stopped(Stop::Failed(failure), Curve::default());
                        self.trial_ended(task, end);
                    }
                }
            }
        }
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
}
