//! `runner logs`: what a command wrote at its latest attempt.
//!
//! A log lies under the fingerprint of its action, so a later attempt of the same action has
//! written over an earlier one's.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::listing::{self, Output, RunName};
use super::{Error, Exit, PipelineArguments, Session};
use crate::fingerprint::Fingerprint;
use crate::history::records::{RUNNING, Records, StageRecord};
use crate::pipeline::{Pipeline, Stage};
use crate::report::table::{Cell, Table};
use crate::stage::{Params, StageKind};

/// How often a log that is followed is looked at.
const POLL: Duration = Duration::from_millis(100);

/// The arguments of `runner logs`.
#[derive(Args, Debug)]
pub struct Logs {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The command stage, or the tune stage of a command.
    #[arg(value_name = "STAGE")]
    pub stage: String,
    /// The run whose log to print: its number, `last`, or `last~2`; the latest that got to the stage
    /// unless given.
    #[arg(long, value_name = "RUN")]
    pub run: Option<RunName>,
    /// Of a tune stage, the trial whose log to print.
    #[arg(long, value_name = "N")]
    pub trial: Option<u64>,
    /// Go on printing until the stage has ended.
    #[arg(short, long, conflicts_with_all = ["json", "csv", "trial"])]
    pub follow: bool,
    /// How to write it.
    #[command(flatten)]
    pub output: Output,
}

/// Prints the log.
///
/// # Errors
///
/// Every mistake of the file, a stage or run that is not there, a history that cannot be read.
pub fn run(arguments: &Logs, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = session.load(&arguments.pipeline)?;
    let stage = listing::one_stage(&pipeline, &arguments.stage)?;
    if let Some(why) = without_log(&pipeline, stage, arguments.trial) {
        writeln!(session.err, "{why}")?;
        return Ok(Exit::Done);
    }
    let records = listing::open(session)?;
    let Some(attempt) = attempt(arguments, &pipeline, &stage.name, records.as_ref())? else {
        let of_run = arguments.run.map(|run| format!(" in run `{run}`")).unwrap_or_default();
        writeln!(session.err, "`{}` has not run yet{of_run}: it has no log", stage.name)?;
        return Ok(Exit::Done);
    };
    let store = session.store()?;
    let log = store.log_path(attempt.fingerprint);
    if arguments.follow {
        let ended = || has_ended(records.as_ref(), &pipeline.name, &attempt);
        follow(&log, ended, session)?;
        return Ok(Exit::Done);
    }
    match fs::read(&log) {
        Ok(bytes) => write(arguments, &attempt, &log, &bytes, session)?,
        Err(_) => {
            let run = attempt.run;
            let message = "another run of the same action had it cached, or it was removed";
            writeln!(session.err, "`{}` left no log in run {run}: {message}", stage.name)?;
        }
    }
    Ok(Exit::Done)
}

/// Says why a stage can have no log; `None` where it can.
fn without_log(pipeline: &Pipeline, stage: &Stage, trial: Option<u64>) -> Option<String> {
    let name = &stage.name;
    let kind_of = |stage: &str| pipeline.stages.get(stage).map(Stage::kind);
    match &stage.params {
        Params::Command(_) if trial.is_none() => None,
        Params::Command(_) => Some(format!("`{name}` is no tune stage: it has no trials")),
        Params::Tune(params) if kind_of(&params.stage) != Some(StageKind::Command) => {
            let base = &params.stage;
            Some(format!("the trials of `{name}` have no logs: `{base}` is no command"))
        }
        Params::Tune(_) if trial.is_some() => None,
        Params::Tune(_) => {
            Some(format!("`{name}` has a log for each trial: name one with `--trial N`"))
        }
        params => {
            let kind = params.kind().name();
            Some(format!("`{name}` has no log: only commands have one, and it is a `{kind}` stage"))
        }
    }
}

/// One attempt of an action.
struct Attempt {
    run: i64,
    stage: String,
    fingerprint: Fingerprint,
}

fn attempt(
    arguments: &Logs,
    pipeline: &Pipeline,
    stage: &str,
    records: Option<&Records>,
) -> Result<Option<Attempt>, Error> {
    let name = &pipeline.name;
    let of_run = match arguments.run {
        Some(run) => Some(listing::find(records, Some(name), run)?.id),
        None => None,
    };
    let Some(records) = records else { return Ok(None) };
    let Some(number) = arguments.trial else {
        let row = records.latest(name, stage, of_run)?;
        let attempt = |StageRecord { run, stage, fingerprint, .. }| {
            Some(Attempt { run, stage, fingerprint: fingerprint? })
        };
        return Ok(row.and_then(attempt));
    };
    let study = match of_run {
        Some(run) => Some(run),
        None => records.latest_study(name, stage)?,
    };
    let Some(run) = study else { return Ok(None) };
    let trials = records.trials(name, stage, run)?;
    match trials.iter().rev().find(|trial| trial.number == number) {
        Some(trial) => Ok(trial.fingerprint.map(|fingerprint| Attempt {
            run,
            stage: stage.to_owned(),
            fingerprint,
        })),
        None => Err(Error::usage(
            format!("run {run} told of no trial {number} of `{stage}`"),
            "`runner trials` lists the trials",
        )),
    }
}

/// Says whether an attempt is over; one whose row is gone is.
fn has_ended(records: Option<&Records>, pipeline: &str, attempt: &Attempt) -> bool {
    let row = records.map(|records| records.latest(pipeline, &attempt.stage, Some(attempt.run)));
    !matches!(row, Some(Ok(Some(row))) if row.outcome == RUNNING)
}

fn write(
    arguments: &Logs,
    attempt: &Attempt,
    log: &Path,
    bytes: &[u8],
    session: &mut Session<'_>,
) -> Result<(), Error> {
    if arguments.output.is_for_people() {
        return Ok(session.out.write_all(bytes)?);
    }
    let text = String::from_utf8_lossy(bytes);
    let mut table = Table::new(["number", "line"]);
    for (number, line) in (1..).zip(text.lines()) {
        table.push([Cell::Count(number), Cell::Text(line.to_owned())]);
    }
    let shown = log.strip_prefix(&session.root).unwrap_or(log).to_string_lossy().into_owned();
    let document = |_: &Table| {
        json!({
            "run": attempt.run,
            "stage": attempt.stage,
            "trial": arguments.trial,
            "fingerprint": attempt.fingerprint.to_string(),
            "log": shown,
            "text": text,
        })
    };
    listing::write(arguments.output, &table, document, session)
}

/// Prints a log as it grows, until `ended` says that nothing more comes.
fn follow(log: &Path, ended: impl Fn() -> bool, session: &mut Session<'_>) -> Result<(), Error> {
    let mut at = 0;
    loop {
        // Asked first: what is written before the end is read after it.
        let is_over = ended();
        if let Ok(mut file) = File::open(log) {
            let length = file.metadata().map(|metadata| metadata.len()).unwrap_or(0);
            if length < at {
                // Another attempt has begun it anew.
                at = 0;
            }
            let mut bytes = Vec::new();
            if length > at
                && file.seek(SeekFrom::Start(at)).is_ok()
                && file.take(length - at).read_to_end(&mut bytes).is_ok()
            {
                at += bytes.len() as u64;
                session.out.write_all(&bytes)?;
                session.out.flush()?;
            }
        }
        if is_over {
            return Ok(());
        }
        std::thread::sleep(POLL);
    }
}
