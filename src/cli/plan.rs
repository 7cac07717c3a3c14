//! `runner plan`: what would run, what is cached, and why; writes nothing.

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Error, Exit, PipelineArguments, Session};
use crate::fingerprint::DirtyReason;
use crate::freshness::Freshness;
use crate::pipeline::Stage;
use crate::report::text;
use crate::stage::{Params, StageKind};

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

/// One stage of a plan, as `--json` prints it.
#[derive(Serialize)]
struct Row<'a> {
    stage: &'a str,
    kind: StageKind,
    freshness: &'static str,
    reasons: &'a [DirtyReason],
    #[serde(skip_serializing_if = "Option::is_none")]
    trials: Option<u64>,
}

/// Shows the plan.
///
/// # Errors
///
/// Every mistake of the file, and an input that cannot be read.
pub fn run(arguments: &Plan, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = session.load(&arguments.pipeline)?;
    let judged = super::judge(&pipeline, &arguments.stages, session)?;
    let rows: Vec<Row> = judged.iter().map(|(stage, freshness)| row(stage, freshness)).collect();
    if arguments.json {
        let object = json!({ "pipeline": pipeline.name, "stages": rows });
        writeln!(session.out, "{object}")?;
    } else {
        write_rows(&rows, session)?;
    }
    let stale = rows.iter().any(|row| row.freshness != "cached");
    Ok(if arguments.exit_code && stale { Exit::Stale } else { Exit::Done })
}

fn row<'a>(stage: &'a Stage, freshness: &'a Freshness) -> Row<'a> {
    let (word, reasons): (_, &[DirtyReason]) = match freshness {
        Freshness::Fresh(_) => ("cached", &[]),
        Freshness::Dirty(reasons) => ("run", reasons),
        Freshness::Maybe(reasons) => ("maybe", reasons),
    };
    let trials = match &stage.params {
        Params::Tune(params) if word != "cached" => Some(params.trials),
        _ => None,
    };
    Row { stage: &stage.name, kind: stage.kind(), freshness: word, reasons, trials }
}

/// Writes a line for each stage, and one that counts them.
fn write_rows(rows: &[Row<'_>], session: &mut Session<'_>) -> Result<(), Error> {
    let width = rows.iter().map(|row| row.stage.chars().count()).max().unwrap_or(0);
    for row in rows {
        let trials = row.trials.map(|trials| format!("up to {}", text::counted(trials, "trial")));
        let why = Some(text::reasons(row.reasons)).filter(|why| !why.is_empty());
        let rest: Vec<String> = trials.into_iter().chain(why).collect();
        let line = format!("{:<6}  {:<width$}  {}", row.freshness, row.stage, rest.join("; "));
        writeln!(session.out, "{}", line.trim_end())?;
    }
    let count = |word: &str| rows.iter().filter(|row| row.freshness == word).count();
    let (run, maybe, cached) = (count("run"), count("maybe"), count("cached"));
    writeln!(session.out, "{run} to run, {maybe} maybe, {cached} cached")?;
    Ok(())
}
