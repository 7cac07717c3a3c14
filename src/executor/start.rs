//! Starting a checked task: a thread for a built-in kind, a process for a command, a study for a
//! tune.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::limits::Limits;
use super::worker::{self, InputFile, Job, Message, Placing, Terms};
use super::{Run, Task, command};
use crate::fingerprint::{Digest, Manifest};
use crate::freshness::InputDigests;
use crate::pipeline::{Source, Stage};
use crate::schedule::TaskId;
use crate::stage::{Params, StageKind};
use crate::store::stat_cache;

impl Run<'_> {
    pub(super) fn start(&mut self, id: TaskId, slots: usize) {
        self.say_curbed(id);
        match &mut self.tasks[id.index()] {
            Task::Trial(trial) => {
                // What is started has not ended.
                let work = trial.work.as_ref().expect("a trial that starts has its work");
                let (tune, params) = (trial.tune, work.params.clone());
                let manifest = work.manifest.clone();
                let (rule, keep) = (work.stop_rule.clone(), work.keep.clone());
                let (outputs, wants_outputs) = (work.outputs.clone(), trial.rebuild);
                let mut job = self.job(id, tune, params, manifest, slots);
                job.outputs = outputs;
                (job.of_trial, job.wants_outputs) = (true, wants_outputs);
                job.stop_rule = rule;
                job.keep = keep;
                self.work(job);
            }
            Task::Stage(task) => {
                task.started = Instant::now();
                let stage = task.stage.clone();
                // Only a checked task is started, and the check leaves its manifest.
                let manifest = task.manifest.clone().expect("a started stage was checked");
                match stage.kind() {
                    StageKind::Tune => {
                        self.say_begun(id);
                        self.limit_study(id, stage.options.timeout);
                        self.start_study(id, &manifest);
                    }
                    _ => {
                        let verify = task.verify.clone();
                        let mut job = self.job(id, id, stage.params.clone(), manifest, slots);
                        job.verify = verify;
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
        let Task::Stage(stage_task) = &self.tasks[of.index()] else {
            unreachable!("trials belong to a stage");
        };
        let (stage, digests) = (&stage_task.stage, &stage_task.digests);
        let fingerprint = self.fingerprint(task);
        let title = match &self.tasks[task.index()] {
            Task::Stage(task) => task.stage.name.clone(),
            Task::Trial(trial) if trial.repeat > 0 => {
                format!("{} trial {} repeat {}", trial.stage.name, trial.number, trial.repeat)
            }
            Task::Trial(trial) => format!("{} trial {}", trial.stage.name, trial.number),
        };
        Job {
            task,
            title,
            attempt: format!("{:x}-{}", stat_cache::now(), task.index()),
            outputs: stage.outputs.clone(),
            threads,
            terms: self.terms(task),
            force: self.must_run(stage, fingerprint),
            verify: None,
            audit: self.audit.as_ref().map(|audit| Arc::clone(&audit.artifacts)),
            inputs: self.input_files(stage, digests),
            params,
            manifest,
            fingerprint,
            stop_rule: None,
            wants_outputs: true,
            of_trial: false,
            keep: None,
            root: self.root.clone(),
            created: Instant::now(),
            store: Arc::clone(&self.store),
            placing: (task == of)
                .then(|| Placing { stage: stage.clone(), pipeline: self.pipeline.name.clone() }),
            sender: self.sender.clone(),
            cancel: self.cancel.subscribe(),
        }
    }

    /// Gives how the action of a task is executed: that of a trial as its base says.
    fn terms(&self, id: TaskId) -> Terms {
        let options = self.options_of(id);
        let (deadline, base) = match &self.tasks[id.index()] {
            Task::Stage(task) => (None, &task.stage),
            Task::Trial(trial) => {
                // A trial lives no longer than its study; all that is left of one whose best trial
                // runs again is that.
                let deadline = self.deadlines.get(&trial.tune).filter(|_| !trial.rebuild);
                let deadline = deadline.map(|deadline| deadline.at);
                (deadline, self.studies.get(&trial.tune).map_or(&trial.stage, |run| &run.base))
            }
        };
        let failed = self.attempts.get(&id).copied().unwrap_or(0);
        let secrets = self.vault.of(&base.name);
        let ids = self.schedule.gpus(id).iter();
        let ids: Vec<&str> = ids.map(|gpu| self.options.means.gpus[*gpu].as_str()).collect();
        Terms {
            limits: Limits { timeout: options.timeout, deadline },
            attempt: failed + 1,
            has_more: failed < options.retries.attempts && !self.schedule.is_closed(),
            hidden: self.vault.hidden_from(&secrets),
            secrets,
            gpus: options.resources.gpus.map(|_| ids.join(",")),
        }
    }

    fn input_files(&self, stage: &Stage, digests: &InputDigests) -> BTreeMap<String, InputFile> {
        let file = |(name, digest): (&String, &Digest)| {
            let input = &stage.inputs[name];
            let (path, named) = match &input.from {
                Source::File(file) | Source::Folder(file) => (self.root.join(file), file.clone()),
                Source::Glob(pattern) => (self.root.join(pattern), PathBuf::new()),
                Source::Table(_) => (PathBuf::new(), PathBuf::from("table.csv")),
                Source::Output { stage, output } => {
                    (self.store.blob_path(*digest), self.output_file(stage, output))
                }
            };
            let extension = named.extension().and_then(|ending| ending.to_str()).unwrap_or("bin");
            let extension = extension.to_owned();
            let (from, format) = (input.from.clone(), input.format);
            (name.clone(), InputFile { path, from, digest: *digest, format, extension })
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
            let running = tokio::spawn(command::run_command(job));
            tokio::spawn(async move {
                let message = match running.await {
                    Ok(message) => message,
                    Err(error) => {
                        let failure = worker::panicked(&*error.into_panic());
                        Message::Panicked { task, failure }
                    }
                };
                // The loop listens until nothing is awaited.
                let _ = sender.send(message);
            });
        } else {
            self.spawn_thread(task, move || Message::Ended { task, end: worker::run(&job) });
        }
    }
}
