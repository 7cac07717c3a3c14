//! `runner runs`: the latest runs, of one pipeline or of all.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::listing::{self, Output};
use super::{Error, Exit, PipelineArguments, Session};
use crate::history::records::RunRecord;
use crate::report::table::{Cell, Table};

/// The arguments of `runner runs`.
#[derive(Args, Debug)]
pub struct Runs {
    /// The pipeline file whose runs to list; all runs unless given.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How many to list.
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = 20)]
    pub limit: u32,
    /// How to write them.
    #[command(flatten)]
    pub output: Output,
}

/// Lists the runs, the latest first.
///
/// # Errors
///
/// Every mistake of the file, and a history that cannot be read.
pub fn run(arguments: &Runs, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = match &arguments.file {
        Some(file) => {
            let file = PipelineArguments { file: file.clone(), sets: Vec::new(), vars: Vec::new() };
            Some(session.load(&file)?.name.clone())
        }
        None => None,
    };
    let runs = match listing::open(session)? {
        Some(records) => records.runs(pipeline.as_deref(), arguments.limit)?,
        None => Vec::new(),
    };
    if runs.is_empty() && arguments.output.is_for_people() {
        let what = pipeline.map_or("nothing".to_owned(), |name| format!("nothing of `{name}`"));
        listing::say_nothing_ran(session, &what)?;
        return Ok(Exit::Done);
    }
    let table = table(&runs);
    listing::write(arguments.output, &table, |rows| json!({ "runs": rows.to_values() }), session)?;
    Ok(Exit::Done)
}

/// Makes the table of runs.
pub(super) fn table(runs: &[RunRecord]) -> Table {
    let mut table = Table::new([
        "run",
        "started",
        "pipeline",
        "outcome",
        "seconds",
        "ran",
        "cached",
        "failed",
        "unfinished",
        "set",
        "file",
    ]);
    for run in runs {
        let sets = run.sets.as_ref().map(|sets| (sets.join(" "), json!(sets)));
        let unfinished = run.unfinished > 0;
        table.push([
            Cell::Both(run.id.to_string(), run.id.into()),
            Cell::Time(run.started.clone()),
            Cell::Text(run.pipeline.clone()),
            Cell::Outcome(outcome(run).to_owned()),
            Cell::maybe(run.seconds, Cell::Seconds),
            Cell::Count(run.ran.into()),
            Cell::Count(run.cached.into()),
            Cell::Count(run.failed.into()),
            if unfinished {
                Cell::Count(run.unfinished.into())
            } else {
                Cell::Both(String::new(), 0.into())
            },
            Cell::maybe(sets, |(text, value)| Cell::Both(text, value)),
            Cell::maybe(run.file.clone(), Cell::Text),
        ]);
    }
    table
}

/// Says how a run ended; one that is under way or was killed has not.
pub(super) fn outcome(run: &RunRecord) -> &str {
    run.outcome.as_deref().unwrap_or("unfinished")
}
