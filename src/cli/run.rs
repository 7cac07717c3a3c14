//! `runner run`: runs what changed, and what depends on it.

use std::collections::HashSet;
use std::mem::ManuallyDrop;

use clap::Args;

use super::{CpuArguments, Error, Exit, PipelineArguments, Session};
use crate::event::RunOutcome;
use crate::executor::{self, Options};
use crate::pipeline::Stage;
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
    /// Execute the stages named, or all, whatever the cache says.
    #[arg(long)]
    pub force: bool,
    /// After a failure, still run all that does not descend from it.
    #[arg(long)]
    pub keep_going: bool,
    /// How to report what happens.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: Format,
}

/// Runs the pipeline.
///
/// # Errors
///
/// Every mistake of the file, and what the executor cannot go on from.
pub fn run(arguments: &Run, session: &mut Session<'_>) -> Result<Exit, Error> {
    // The program ends with the run: to free a hundred thousand stages one by one only takes time.
    let pipeline = ManuallyDrop::new(session.load_and_keep(&arguments.pipeline)?);
    let plan = ManuallyDrop::new(super::plan_of(&pipeline, &arguments.stages)?);
    let named =
        |stage: &&&Stage| arguments.stages.is_empty() || arguments.stages.contains(&stage.name);
    let forced = plan.order.iter().filter(named).map(|stage| stage.name.clone());
    let options = Options {
        jobs: arguments.cpus.count(),
        keep_going: arguments.keep_going,
        force: if arguments.force { forced.collect() } else { HashSet::new() },
    };
    let mut reporter = report::reporter(arguments.format, session.color);
    let outcome = executor::run(&plan, &session.root, &options, &mut |event| reporter.event(event))
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(match outcome {
        RunOutcome::Done => Exit::Done,
        RunOutcome::Failed => Exit::Failed,
        RunOutcome::Interrupted => Exit::Interrupted,
    })
}
