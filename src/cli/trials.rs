//! `runner trials`: the trials of a study, one that has ended or one under way.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use clap::Args;
use serde_json::{Value, json};

use super::listing::{self, Output};
use super::{Error, Exit, PipelineArguments, Session};
use crate::data::table;
use crate::history::records::{RUNNING, Records};
use crate::report::table::{Cell, Table};
use crate::stage::{Params, tune};
use crate::store::Store;
use crate::study::Objective;
use crate::suggest;

/// The arguments of `runner trials`.
#[derive(Args, Debug)]
pub struct Trials {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The tune stage.
    #[arg(value_name = "STAGE")]
    pub stage: String,
    /// List only so many, the best first.
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// Sort by a column: an objective with the best first, anything else with the least first; by
    /// number unless given.
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    /// How to write them.
    #[command(flatten)]
    pub output: Output,
}

/// Lists the trials.
///
/// # Errors
///
/// Every mistake of the file, a stage that is not there or has no trials, an unknown column, and
/// what cannot be read.
pub fn run(arguments: &Trials, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = session.load(&arguments.pipeline)?;
    let stage = listing::one_stage(&pipeline, &arguments.stage)?;
    let Params::Tune(params) = &stage.params else {
        return Err(no_tune(&stage.name, &pipeline));
    };
    let records = listing::open(session)?;
    let store = session.store()?;
    let study = match &records {
        Some(records) => study(records, &store, &pipeline.name, &stage.name)?,
        None => None,
    };
    let Some(mut study) = study else {
        if arguments.output.is_for_people() {
            let stage = &arguments.stage;
            writeln!(session.err, "`{stage}` has not run yet: it has no trials")?;
            return Ok(Exit::Done);
        }
        let rows = Study { columns: Vec::new(), rows: Vec::new(), state: State::Open };
        return write(arguments, rows, session);
    };
    if let Some(column) = arguments.sort.as_deref().or(arguments.top.map(|_| "value")) {
        study.sort(column, params)?;
    }
    study.rows.truncate(arguments.top.unwrap_or(usize::MAX));
    write(arguments, study, session)
}

fn no_tune(stage: &str, pipeline: &crate::pipeline::Pipeline) -> Error {
    let tunes = pipeline.stages.values().filter(|stage| matches!(stage.params, Params::Tune(_)));
    let tunes: Vec<String> = tunes.map(|stage| format!("`{}`", stage.name)).collect();
    let help = match tunes.as_slice() {
        [] => "the pipeline has no tune stage".to_owned(),
        tunes => format!("its tune stages are {}", tunes.join(", ")),
    };
    Error::usage(format!("`{stage}` is no tune stage: it has no trials"), help)
}

/// A study as a table.
struct Study {
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    state: State,
}

/// How far a study has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has its outputs.
    Done,
    /// It ended without them.
    Failed,
    /// It runs, or goes on when it is run again.
    Open,
}

impl Study {
    /// Sorts the trials by a column; those without a value stand last.
    fn sort(&mut self, column: &str, params: &tune::Params) -> Result<(), Error> {
        let Some(at) = self.columns.iter().position(|name| name == column) else {
            let names = self.columns.iter().map(String::as_str);
            let help = suggest::did_you_mean(column, names)
                .unwrap_or_else(|| format!("the columns are {}", self.columns.join(", ")));
            return Err(Error::usage(format!("trials have no column `{column}`"), help));
        };
        let objective = params
            .all_objectives()
            .find(|objective| objective.metric() == column || column == "value");
        let sign = if let Some(Objective::Maximize(_)) = objective { -1.0 } else { 1.0 };
        self.rows.sort_by(|a, b| order(&a[at], &b[at], sign));
        Ok(())
    }
}

/// Orders two cells: numbers by size, the rest by text, and what is absent last.
fn order(a: &Cell, b: &Cell, sign: f64) -> Ordering {
    let number = |value: &Value| value.as_f64().map(|number| number * sign);
    match (a.to_value(), b.to_value()) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (a, b) => match (number(&a), number(&b)) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.to_string().cmp(&b.to_string()),
        },
    }
}

/// Finds the latest study of a stage: its table where it has ended, else what the history tells.
fn study(
    records: &Records,
    store: &Store,
    pipeline: &str,
    stage: &str,
) -> Result<Option<Study>, Error> {
    let latest = records.latest(pipeline, stage, None)?;
    let stored = latest.as_ref().filter(|row| row.outcome == "ran" || row.outcome == "cached");
    let entry = stored.and_then(|row| store.entry(row.fingerprint?));
    if let Some(blob) = entry.and_then(|entry| entry.outputs.get("trials").cloned()) {
        let path = store.blob_path(blob.digest);
        if path.exists() {
            let seconds = records.trial_seconds(pipeline, stage)?;
            return of_table(&path, &seconds).map(Some);
        }
    }
    let run = match &latest {
        Some(row) if row.outcome == RUNNING => Some(row.run),
        _ => records.latest_study(pipeline, stage)?,
    };
    let Some(run) = run else { return Ok(None) };
    let has_failed = latest.is_some_and(|row| row.run == run && row.outcome == "failed");
    let state = if has_failed { State::Failed } else { State::Open };
    of_history(records, store, pipeline, stage, run).map(|study| Some(Study { state, ..study }))
}

/// Reads the table that a study has stored, and adds how long each trial took.
fn of_table(path: &Path, seconds: &BTreeMap<String, f64>) -> Result<Study, Error> {
    let failed = |error: crate::data::DataError| Error::Failed { message: error.to_string() };
    let mut study = Study { columns: Vec::new(), rows: Vec::new(), state: State::Done };
    for batch in table::batches(path, None).map_err(failed)? {
        let batch = batch.map_err(failed)?;
        if study.columns.is_empty() {
            let names = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
            study.columns = names;
            study.columns.push("seconds".to_owned());
        }
        for row in 0..batch.num_rows() {
            let mut cells: Vec<Cell> =
                (0..batch.num_columns()).map(|column| cell(&batch, column, row)).collect();
            let took = batch.column_by_name("fingerprint").and_then(|fingerprints| {
                seconds.get(fingerprints.as_string::<i32>().value(row)).copied()
            });
            cells.push(Cell::maybe(took, Cell::Seconds));
            study.rows.push(cells);
        }
    }
    Ok(study)
}

/// Gives a cell of a study's table, of which every column has one of these types.
fn cell(batch: &RecordBatch, column: usize, row: usize) -> Cell {
    let (schema, array) = (batch.schema(), batch.column(column));
    if array.is_null(row) {
        return Cell::Absent;
    }
    match (schema.field(column).name().as_str(), array.data_type()) {
        (_, DataType::UInt64) => Cell::Count(array.as_primitive::<UInt64Type>().value(row)),
        (_, DataType::Int64) => Cell::Param(array.as_primitive::<Int64Type>().value(row).into()),
        (_, DataType::Float64) => Cell::Number(array.as_primitive::<Float64Type>().value(row)),
        (_, DataType::Boolean) => Cell::Param(array.as_boolean().value(row).into()),
        ("state", _) => Cell::Outcome(array.as_string::<i32>().value(row).to_owned()),
        ("fingerprint", _) => fingerprint(array.as_string::<i32>().value(row)),
        _ => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
    }
}

fn fingerprint(text: &str) -> Cell {
    Cell::Both(text.get(..12).unwrap_or(text).to_owned(), text.into())
}

/// Reads the trials of a study that has no outputs, with the metrics that the store has of them.
fn of_history(
    records: &Records,
    store: &Store,
    pipeline: &str,
    stage: &str,
    run: i64,
) -> Result<Study, Error> {
    let trials = records.trials(pipeline, stage, run)?;
    let metrics: Vec<BTreeMap<String, f64>> = trials
        .iter()
        .map(|trial| {
            let entry = trial.value.and_then(|_| store.entry(trial.fingerprint?));
            entry.map(|entry| entry.metrics).unwrap_or_default()
        })
        .collect();
    let paths: BTreeSet<&String> = trials.iter().flat_map(|trial| trial.params.keys()).collect();
    let names: BTreeSet<&String> = metrics.iter().flat_map(BTreeMap::keys).collect();
    let head = ["number", "state", "value"].map(str::to_owned);
    let columns = head.into_iter().chain(paths.iter().map(|path| (*path).clone()));
    let named = |name: &&String| match paths.contains(*name) {
        true => format!("metric.{name}"),
        false => (*name).clone(),
    };
    let columns = columns.chain(names.iter().map(named));
    let tail = ["fingerprint", "seconds"].map(str::to_owned);
    let row = |(trial, metrics): (&_, &BTreeMap<String, f64>)| {
        let trial: &crate::history::records::TrialRecord = trial;
        let head = [
            Cell::Count(trial.number),
            Cell::Outcome(trial.outcome.clone()),
            Cell::maybe(trial.value, Cell::Number),
        ];
        let params =
            paths.iter().map(|path| Cell::maybe(trial.params.get(*path).cloned(), Cell::Param));
        let metrics =
            names.iter().map(|name| Cell::maybe(metrics.get(*name).copied(), Cell::Number));
        let tail = [
            Cell::maybe(trial.fingerprint, |text| fingerprint(&text.to_string())),
            Cell::Seconds(trial.seconds),
        ];
        head.into_iter().chain(params).chain(metrics).chain(tail).collect()
    };
    let rows = trials.iter().zip(&metrics).map(row).collect();
    Ok(Study { columns: columns.chain(tail).collect(), rows, state: State::Open })
}

fn write(arguments: &Trials, study: Study, session: &mut Session<'_>) -> Result<Exit, Error> {
    let mut table = Table::new(study.columns);
    for row in study.rows {
        table.push(row);
    }
    let note = match study.state {
        State::Done => None,
        State::Failed => Some("failed"),
        State::Open => Some("has not ended"),
    };
    if let Some(note) = note.filter(|_| arguments.output.is_for_people()) {
        writeln!(session.err, "the study of `{}` {note}", arguments.stage)?;
    }
    let ended = study.state != State::Open;
    let document = |rows: &Table| json!({ "stage": arguments.stage, "ended": ended, "trials": rows.to_values() });
    listing::write(arguments.output, &table, document, session)?;
    Ok(Exit::Done)
}
