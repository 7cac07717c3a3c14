//! `runner run`: runs what changed, and what depends on it.

use std::num::NonZeroUsize;

use clap::{Args, ValueEnum};

use super::{Error, Exit, PipelineArguments, Session};

/// The arguments of `runner run`.
#[derive(Args, Debug)]
pub struct Run {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The stages to bring up to date, with what they need; all unless given.
    #[arg(value_name = "STAGE")]
    pub stages: Vec<String>,
    /// How many CPUs to use; all unless given.
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    /// Execute the stages named, or all, whatever the cache says.
    #[arg(long)]
    pub force: bool,
    /// After a failure, still run all that does not descend from it.
    #[arg(long)]
    pub keep_going: bool,
    /// How to report what happens.
    #[arg(long, value_enum, default_value = "auto")]
    pub format: RunFormat,
}

/// How a run is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunFormat {
    /// Bars on a terminal, plain lines elsewhere.
    Auto,
    /// A bar for each running stage.
    Bars,
    /// A line for each event.
    Plain,
    /// A JSON object a line.
    Json,
}

/// Runs the pipeline.
///
/// # Errors
///
/// Every mistake of the file, and what the executor cannot go on from.
pub fn run(arguments: &Run, session: &mut Session<'_>) -> Result<Exit, Error> {
    let _pipeline = session.load(&arguments.pipeline)?;
    Err(Error::internal("`run` is not joined to the executor yet"))
}
