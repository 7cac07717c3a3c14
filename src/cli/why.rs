//! `runner why`: the reasons of one stage in full.

use clap::Args;

use super::{Error, Exit, PipelineArguments, Session};

/// The arguments of `runner why`.
#[derive(Args, Debug)]
pub struct Why {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The stage to explain.
    #[arg(value_name = "STAGE")]
    pub stage: String,
}

/// Explains the stage.
///
/// # Errors
///
/// Every mistake of the file, and a store that cannot be read.
pub fn run(arguments: &Why, session: &mut Session<'_>) -> Result<Exit, Error> {
    let _pipeline = session.load(&arguments.pipeline)?;
    Err(Error::internal("`why` is not joined to the store yet"))
}
