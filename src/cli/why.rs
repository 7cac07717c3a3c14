//! `runner why`: the reasons of one stage in full.

use std::collections::HashSet;

use clap::Args;

use super::{Error, Exit, PipelineArguments, Session};
use crate::fingerprint::DirtyReason;
use crate::freshness::Freshness;
use crate::report::text;

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
/// Every mistake of the file, and an input that cannot be read.
pub fn run(arguments: &Why, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = session.load(&arguments.pipeline)?;
    let judged = super::judge(&pipeline, std::slice::from_ref(&arguments.stage), session)?;
    let named = pipeline.select(&arguments.stage);
    let named: HashSet<&str> = named.iter().map(|stage| stage.name.as_str()).collect();
    for (stage, freshness) in judged.iter().filter(|(stage, _)| named.contains(&*stage.name)) {
        explain(&stage.name, freshness, session)?;
    }
    Ok(Exit::Done)
}

fn explain(stage: &str, freshness: &Freshness, session: &mut Session<'_>) -> Result<(), Error> {
    let (line, reasons): (_, &[DirtyReason]) = match freshness {
        Freshness::Fresh(_) => ("is cached: nothing that it depends on has changed", &[]),
        Freshness::Dirty(reasons) => ("would run:", reasons),
        Freshness::Maybe(reasons) => {
            ("may have to run, if what is above it gives other outputs:", reasons)
        }
    };
    writeln!(session.out, "`{stage}` {line}")?;
    for reason in reasons {
        writeln!(session.out, "  {}", text::reason(reason))?;
    }
    Ok(())
}
