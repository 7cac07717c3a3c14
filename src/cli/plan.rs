//! `runner plan`: what would run, what is cached, why, and about how long it takes; writes nothing.

use std::collections::HashMap;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{CpuArguments, Error, Exit, PipelineArguments, Session};
use crate::fingerprint::DirtyReason;
use crate::freshness::Freshness;
use crate::history::History;
use crate::pipeline::Stage;
use crate::report::text;
use crate::stage::{Params, StageKind};

pub mod forecast;

use forecast::{Forecast, Work};

/// The arguments of `runner plan`.
#[derive(Args, Debug)]
pub struct Plan {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The stages to look at, with what they need; all unless given.
    #[arg(value_name = "STAGE")]
    pub stages: Vec<String>,
    /// The CPUs for which to foretell the time.
    #[command(flatten)]
    pub cpus: CpuArguments,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    expected: Option<Forecast>,
}

/// How long the whole plan will take.
#[derive(Serialize)]
struct Expected {
    /// Where no stage that may have to run does; in seconds.
    seconds: f64,
    /// Where all of them do.
    at_most: f64,
    /// Stages that would or may run and of which nothing is known.
    unknown: usize,
}

/// Shows the plan.
///
/// # Errors
///
/// Every mistake of the file, and an input that cannot be read.
pub fn run(arguments: &Plan, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = session.load(&arguments.pipeline)?;
    let judged = super::judge(&pipeline, &arguments.stages, session)?;
    let slots = arguments.cpus.count();
    let history = History::look(&session.root.join(".runner/history.sqlite"));
    let forecast = |stage: &Stage| Forecast::of(stage, &pipeline, &history, slots);
    let rows: Vec<Row> =
        judged.iter().map(|(stage, freshness)| row(stage, freshness, forecast)).collect();
    let plan = super::plan_of(&pipeline, &arguments.stages)?;
    let expected = expected(&rows, &plan, slots);
    if arguments.json {
        let object = json!({ "pipeline": pipeline.name, "stages": rows, "expected": expected });
        writeln!(session.out, "{object}")?;
    } else {
        write_rows(&rows, &expected, session)?;
    }
    let stale = rows.iter().any(|row| row.freshness != "cached");
    Ok(if arguments.exit_code && stale { Exit::Stale } else { Exit::Done })
}

fn row<'a>(
    stage: &'a Stage,
    freshness: &'a Freshness,
    forecast: impl FnOnce(&Stage) -> Option<Forecast>,
) -> Row<'a> {
    let (word, reasons): (_, &[DirtyReason]) = match freshness {
        Freshness::Fresh(_) => ("cached", &[]),
        Freshness::Dirty(reasons) => ("run", reasons),
        Freshness::Maybe(reasons) => ("maybe", reasons),
    };
    let trials = match &stage.params {
        Params::Tune(params) if word != "cached" => Some(params.trials),
        _ => None,
    };
    let expected = if word == "cached" { None } else { forecast(stage) };
    Row { stage: &stage.name, kind: stage.kind(), freshness: word, reasons, trials, expected }
}

/// Foretells the time of the whole, with and without the stages that may have to run.
fn expected(rows: &[Row<'_>], plan: &crate::plan::Plan<'_>, slots: usize) -> Expected {
    let place: HashMap<&str, usize> =
        rows.iter().enumerate().map(|(at, row)| (row.stage, at)).collect();
    let span = |with_maybe: bool| {
        let work = |row: &Row<'_>| {
            let seconds = row.expected.filter(|_| with_maybe || row.freshness == "run");
            let seconds = seconds.map_or(0.0, |expected| expected.seconds);
            Work {
                needs: plan.needs(row.stage).map(|need| place[need.name.as_str()]).collect(),
                time: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
                takes_slot: row.kind != StageKind::Tune,
            }
        };
        forecast::span(&rows.iter().map(work).collect::<Vec<_>>(), slots).as_secs_f64()
    };
    let is_unknown = |row: &&Row<'_>| row.freshness != "cached" && row.expected.is_none();
    let unknown = rows.iter().filter(is_unknown).count();
    Expected { seconds: span(false), at_most: span(true), unknown }
}

/// Writes a line for each stage, and one that counts them.
fn write_rows(
    rows: &[Row<'_>],
    expected: &Expected,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    let width = rows.iter().map(|row| row.stage.chars().count()).max().unwrap_or(0);
    for row in rows {
        let trials = row.trials.map(|trials| format!("up to {}", text::counted(trials, "trial")));
        let why = Some(text::reasons(row.reasons)).filter(|why| !why.is_empty());
        let time = row.expected.map(|expected| expected.phrase());
        let rest: Vec<String> = trials.into_iter().chain(why).chain(time).collect();
        let line = format!("{:<6}  {:<width$}  {}", row.freshness, row.stage, rest.join("; "));
        writeln!(session.out, "{}", line.trim_end())?;
    }
    let count = |word: &str| rows.iter().filter(|row| row.freshness == word).count();
    let (run, maybe, cached) = (count("run"), count("maybe"), count("cached"));
    let time = if run + maybe == 0 {
        String::new()
    } else {
        format!("; {}", phrase(expected, run + maybe))
    };
    writeln!(session.out, "{run} to run, {maybe} maybe, {cached} cached{time}")?;
    Ok(())
}

/// Says how long the whole takes, and how much of it nobody knows; `stale` stages are not cached.
fn phrase(expected: &Expected, stale: usize) -> String {
    let (least, most) = (text::duration(expected.seconds), text::duration(expected.at_most));
    let known = match least == most {
        true => format!("about {least}"),
        false => format!("about {least} to {most}"),
    };
    match expected.unknown {
        0 => known,
        unknown if unknown == stale => "time unknown".to_owned(),
        1 => format!("{known}, and a stage that never ran"),
        unknown => {
            format!("{known}, and {} that never ran", text::counted(unknown as u64, "stage"))
        }
    }
}
