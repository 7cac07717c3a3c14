//! `runner run`: runs what changed, and what depends on it.

use std::collections::HashSet;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use clap::Args;

use super::{CpuArguments, Error, Exit, PipelineArguments, Session};
use crate::event::RunOutcome;
use crate::executor::{self, ExecutorError, Means, Options, machine};
use crate::pipeline::{Pipeline, Stage};
use crate::quantity::parse_size;
use crate::report::{self, Format};

/// The arguments of `runner run`.
#[derive(Args, Debug)]
pub struct Run {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The stages to bring up to date, with what they need; all unless given.
    #[arg(value_name = "STAGE")]
    pub stages: Vec<String>,
    /// The CPUs.
    #[command(flatten)]
    pub cpus: CpuArguments,
    /// How much memory the running stages may ask for together, such as `16GiB`; what the machine
    /// has unless given.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// How many GPUs to use, or which by their ids (`0,2`); those that `CUDA_VISIBLE_DEVICES` names
    /// or the machine has, unless given.
    #[arg(long, value_name = "N|IDS", value_parser = gpus)]
    pub gpus: Option<Gpus>,
    /// Execute the stages named, or all, whatever the cache says.
    #[arg(long)]
    pub force: bool,
    /// Trace the commands that run, with `strace`, and report files that they read or write and
    /// that their stages do not declare.
    #[arg(long)]
    pub audit: bool,
    /// Run a share of what is cached again (`10%`; all unless given), and report what gives other
    /// outputs: it is not deterministic. What the store has stays.
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "100%",
        value_parser = share)]
    pub verify: Option<f64>,
    /// After a failure, still run all that does not descend from it.
    #[arg(long)]
    pub keep_going: bool,
    /// How to report what happens.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: Format,
}

/// The GPUs that `--gpus` names.
#[derive(Clone, Debug)]
pub struct Gpus(Vec<String>);

/// Reads `--memory`.
fn memory(text: &str) -> Result<u64, String> {
    let found = parse_size(text).filter(|bytes| *bytes > 0);
    found.ok_or_else(|| "a size is a number with its unit, such as `500MB` or `16GiB`".to_owned())
}

/// Reads `--verify`.
fn share(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let found = number.filter(|percent| (0.0..=100.0).contains(percent));
    found.map(|percent| percent / 100.0).ok_or_else(|| {
        "a share is a number of percent, such as `10%`; before FILE or STAGE, write `--verify=100%`"
            .to_owned()
    })
}

/// Reads `--gpus`.
fn gpus(text: &str) -> Result<Gpus, String> {
    let found = machine::parse_gpus(text, visible_gpus().as_deref());
    let help = "it is how many, such as `2`, or their ids, such as `0,2` (`2,` for one by its id)";
    found.map(Gpus).ok_or_else(|| help.to_owned())
}

fn visible_gpus() -> Option<String> {
    std::env::var("CUDA_VISIBLE_DEVICES").ok()
}

/// Gives what the run may use at once.
fn means(arguments: &Run) -> Means {
    Means {
        jobs: arguments.cpus.count(),
        memory: arguments.memory.unwrap_or_else(machine::memory),
        gpus: match &arguments.gpus {
            Some(Gpus(ids)) => ids.clone(),
            None => machine::gpus(visible_gpus().as_deref()),
        },
    }
}

/// Runs the pipeline.
///
/// # Errors
///
/// Every mistake of the file, and what the executor cannot go on from.
pub fn run(arguments: &Run, session: &mut Session<'_>) -> Result<Exit, Error> {
    let (pipeline, keeping) = session.load_and_keep(&arguments.pipeline)?;
    // The program ends with the run: to free a hundred thousand stages one by one only takes time.
    let pipeline = ManuallyDrop::new(pipeline);
    let exit = execute(&pipeline, arguments, true, session);
    if let Some(keeping) = keeping {
        // A panic has told itself, and the next run checks the file again.
        let _ = keeping.join();
    }
    exit
}

/// Runs a pipeline that was read; what `--force` and `--verify` ask for is done the first time.
///
/// # Errors
///
/// A stage that is not there, and what the executor cannot go on from.
pub(super) fn execute(
    pipeline: &Arc<Pipeline>,
    arguments: &Run,
    is_first: bool,
    session: &Session<'_>,
) -> Result<Exit, Error> {
    let plan = super::plan_of(pipeline, &arguments.stages)?;
    let forced: Box<dyn Iterator<Item = &Stage>> = match arguments.stages.is_empty() {
        true => Box::new(plan.order.iter().copied()),
        false => Box::new(arguments.stages.iter().flat_map(|name| pipeline.select(name))),
    };
    let forced = forced.map(|stage| stage.name.clone());
    let options = Options {
        means: means(arguments),
        keep_going: arguments.keep_going,
        audit: arguments.audit,
        verify: arguments.verify.filter(|_| is_first),
        force: if arguments.force && is_first { forced.collect() } else { HashSet::new() },
        sets: arguments.pipeline.sets.clone(),
    };
    let mut reporter = report::reporter(arguments.format, session.color);
    let outcome = executor::run(&plan, &session.root, &options, &mut |event| reporter.event(event))
        .map_err(|error| match error {
            ExecutorError::Unmet(unmet) => Error::usage(unmet.to_string(), unmet.help()),
            ExecutorError::Untraceable(error) => Error::usage(error.to_string(), error.help()),
            ExecutorError::Store(error) => super::store_error(error, Error::internal),
            other => Error::internal(other.to_string()),
        })?;
    Ok(match outcome {
        RunOutcome::Done => Exit::Done,
        RunOutcome::Failed => Exit::Failed,
        RunOutcome::Interrupted => Exit::Interrupted,
    })
}
