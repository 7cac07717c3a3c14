//! `runner plan`: what would run, what is cached, and why; writes nothing.

use clap::Args;

use super::{Error, Exit, PipelineArguments, Session};

/// The arguments of `runner plan`.
#[derive(Args, Debug)]
pub struct Plan {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The stages to look at, with what they need; all unless given.
    #[arg(value_name = "STAGE")]
    pub stages: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
    /// Exit with 0 when nothing would run, and with 3 otherwise.
    #[arg(long)]
    pub exit_code: bool,
}

/// Shows the plan.
///
/// # Errors
///
/// Every mistake of the file, and a store that cannot be read.
pub fn run(arguments: &Plan, session: &mut Session<'_>) -> Result<Exit, Error> {
    let _pipeline = session.load(&arguments.pipeline)?;
    Err(Error::internal("`plan` is not joined to the store yet"))
}
