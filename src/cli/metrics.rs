//! `runner metrics`: what stages came to, run by run, beside the params that differ.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use serde_json::{Value, json};

use super::listing::{self, Output, RunName};
use super::{Error, Exit, PipelineArguments, Session};
use crate::history;
use crate::history::records::{Records, RunRecord, StageRecord};
use crate::report::table::{Cell, Table};
use crate::report::text::{self, Digits};
use crate::store::Store;

/// The arguments of `runner metrics`.
#[derive(Args, Debug)]
pub struct Metrics {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// The stage to look at; all that have metrics unless given. For people, metrics with a dot in
    /// their name are shown of a stage that is named.
    #[arg(value_name = "STAGE")]
    pub stage: Option<String>,
    /// Compare this run (its number, `last`, or `last~2`) with the latest.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["all", "limit"])]
    pub diff: Option<RunName>,
    /// List every run, not only the latest one with each result.
    #[arg(long)]
    pub all: bool,
    /// How many results of a stage to list.
    #[arg(short = 'n', long = "limit", value_name = "N", default_value_t = 20)]
    pub limit: u32,
    /// How to write them.
    #[command(flatten)]
    pub output: Output,
}

/// Lists or compares metrics.
///
/// # Errors
///
/// Every mistake of the file, a stage or run that is not there, a history that cannot be read.
pub fn run(arguments: &Metrics, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = session.load(&arguments.pipeline)?;
    let stages: Vec<String> = match &arguments.stage {
        Some(stage) => {
            super::plan_of(&pipeline, std::slice::from_ref(stage))?;
            pipeline.select(stage).into_iter().map(|stage| stage.name.clone()).collect()
        }
        None => pipeline.stages.keys().cloned().collect(),
    };
    let records = listing::open(session)?;
    if let Some(old) = arguments.diff {
        let old = listing::find(records.as_ref(), Some(&pipeline.name), old)?;
        let new = listing::find(records.as_ref(), Some(&pipeline.name), RunName::Last(0))?;
        // The runs were found in it.
        let records = records.expect("runs were found in the history");
        return diff(arguments, &records, &stages, [&old, &new], session);
    }
    let store = session.store()?;
    let mut results = Vec::new();
    for stage in &stages {
        let Some(records) = &records else { break };
        let limit = if arguments.all { u32::MAX } else { arguments.limit };
        let rows = records.results(&pipeline.name, stage, arguments.all, limit)?;
        if arguments.stage.is_some() || rows.iter().any(|row| !row.metrics.is_empty()) {
            results.push(StageResults::of(stage, rows, &store));
        }
    }
    list(arguments, &pipeline.name, &results, session)
}

/// The results of a stage, with the params in which they differ.
struct StageResults<'a> {
    stage: &'a str,
    rows: Vec<(StageRecord, Leaves)>,
    differing: BTreeSet<String>,
}

/// Params by dotted path.
type Leaves = BTreeMap<String, Value>;

impl<'a> StageResults<'a> {
    fn of(stage: &'a str, rows: Vec<StageRecord>, store: &Store) -> StageResults<'a> {
        let rows: Vec<(StageRecord, Leaves)> =
            rows.into_iter().map(|row| with_params(row, store)).collect();
        let paths: BTreeSet<&String> = rows.iter().flat_map(|(_, leaves)| leaves.keys()).collect();
        // Of a row whose params nobody knows any more, none differs.
        let known: Vec<&Leaves> =
            rows.iter().map(|(_, leaves)| leaves).filter(|leaves| !leaves.is_empty()).collect();
        let differs = |path: &&&String| {
            known.iter().any(|leaves| leaves.get(path.as_str()) != known[0].get(path.as_str()))
        };
        let differing = paths.iter().filter(differs).map(|path| (*path).clone()).collect();
        StageResults { stage, rows, differing }
    }

    /// Gives the names of the metrics that any result has; those with a dot are details.
    fn metrics(&self, with_details: bool) -> BTreeSet<&str> {
        let names = self.rows.iter().flat_map(|(row, _)| row.metrics.keys());
        names.map(String::as_str).filter(|name| with_details || !name.contains('.')).collect()
    }

    /// Makes the table of the stage alone, for people.
    fn table(&self, with_details: bool) -> Table {
        let metrics = self.metrics(with_details);
        let head = ["run", "started", "outcome"];
        let names = metrics.iter().copied().chain(self.differing.iter().map(String::as_str));
        let mut table = Table::new(head.into_iter().chain(names));
        for (row, leaves) in &self.rows {
            let head = [
                Cell::Both(row.run.to_string(), row.run.into()),
                Cell::Time(row.run_started.clone()),
                Cell::Outcome(row.outcome.clone()),
            ];
            let metric = |name: &&str| Cell::maybe(row.metrics.get(*name).copied(), Cell::Number);
            let param = |path: &String| Cell::maybe(leaves.get(path).cloned(), Cell::Param);
            let cells = metrics.iter().map(metric).chain(self.differing.iter().map(param));
            table.push(head.into_iter().chain(cells));
        }
        table
    }

    fn document(&self) -> Value {
        let row = |(row, leaves): &(StageRecord, Leaves)| {
            let params = leaves.iter().filter(|(path, _)| self.differing.contains(*path));
            json!({
                "run": row.run,
                "started": Cell::Time(row.run_started.clone()).to_value(),
                "outcome": row.outcome,
                "fingerprint": row.fingerprint.map(|fingerprint| fingerprint.to_string()),
                "metrics": row.metrics,
                "params": params.collect::<BTreeMap<_, _>>(),
            })
        };
        json!({ "stage": self.stage, "results": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

fn with_params(row: StageRecord, store: &Store) -> (StageRecord, Leaves) {
    let leaves = params_of(&row, store);
    (row, leaves)
}

/// Gives the params of a stage run: as the history has them, else as the store has.
fn params_of(row: &StageRecord, store: &Store) -> Leaves {
    let stored = || Some(history::params(&store.entry(row.fingerprint?)?.manifest));
    let mut leaves = Leaves::new();
    if let Some(params) = row.params.clone().or_else(stored) {
        walk(&params, "", &mut leaves);
    }
    leaves
}

fn walk(value: &Value, path: &str, leaves: &mut Leaves) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, &path, leaves);
            }
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf.clone());
        }
    }
}

fn list(
    arguments: &Metrics,
    pipeline: &str,
    results: &[StageResults<'_>],
    session: &mut Session<'_>,
) -> Result<Exit, Error> {
    if !arguments.output.is_for_people() {
        let stages: Vec<Value> = results.iter().map(StageResults::document).collect();
        let document = |_: &Table| json!({ "pipeline": pipeline, "stages": stages });
        listing::write(arguments.output, &long(results), document, session)?;
        return Ok(Exit::Done);
    }
    let mut is_first = true;
    for stage in results.iter().filter(|stage| !stage.rows.is_empty()) {
        let gap = if is_first { "" } else { "\n" };
        writeln!(session.out, "{gap}{}", stage.stage)?;
        let table = stage.table(arguments.stage.is_some());
        listing::write_lines(&table.lines(session.out_look.colour), session)?;
        is_first = false;
    }
    if is_first {
        match &arguments.stage {
            Some(stage) => writeln!(session.err, "`{stage}` has not run to its end yet")?,
            None => writeln!(session.err, "no stage of `{pipeline}` has given metrics yet")?,
        }
    }
    Ok(Exit::Done)
}

/// Makes one table of all stages: a row for each metric and each differing param of each result.
fn long(results: &[StageResults<'_>]) -> Table {
    let mut table = Table::new(["stage", "run", "started", "what", "name", "value"]);
    for stage in results {
        for (row, leaves) in &stage.rows {
            let mut push = |what: &str, name: &str, value: Cell| {
                table.push([
                    Cell::Text(stage.stage.to_owned()),
                    Cell::Both(row.run.to_string(), row.run.into()),
                    Cell::Time(row.run_started.clone()),
                    Cell::Text(what.to_owned()),
                    Cell::Text(name.to_owned()),
                    value,
                ]);
            };
            for (name, value) in &row.metrics {
                push("metric", name, Cell::Number(*value));
            }
            for (path, value) in leaves.iter().filter(|(path, _)| stage.differing.contains(*path)) {
                push("param", path, Cell::Param(value.clone()));
            }
        }
    }
    table
}

/// Compares a run with the latest.
fn diff(
    arguments: &Metrics,
    records: &Records,
    stages: &[String],
    [old, new]: [&RunRecord; 2],
    session: &mut Session<'_>,
) -> Result<Exit, Error> {
    let store = session.store()?;
    let (before, after) = (records.stages(old.id)?, records.stages(new.id)?);
    let mut table = Table::new(["stage", "what", "name", "old", "new", "change"]);
    for stage in stages {
        let find = |rows: &[StageRecord]| rows.iter().find(|row| row.stage == *stage).cloned();
        if let (Some(before), Some(after)) = (find(&before), find(&after)) {
            compare(&before, &after, &store, &mut table);
        }
    }
    if arguments.output.is_for_people() {
        if table.is_empty() {
            let message = "have the same metrics and params";
            writeln!(session.out, "runs {} and {} {message}", old.id, new.id)?;
            return Ok(Exit::Done);
        }
        writeln!(session.out, "run {} -> run {}", old.id, new.id)?;
    }
    let document =
        |rows: &Table| json!({ "old": old.id, "new": new.id, "differences": rows.to_values() });
    listing::write(arguments.output, &table, document, session)?;
    Ok(Exit::Done)
}

/// Adds a row for each metric and each param in which two runs of a stage differ.
fn compare(before: &StageRecord, after: &StageRecord, store: &Store, table: &mut Table) {
    let mut push = |what: &str, name: &str, cells: [Cell; 3]| {
        let head = [&after.stage, what, name].map(|text| Cell::Text(text.to_owned()));
        table.push(head.into_iter().chain(cells));
    };
    let names: BTreeSet<&String> = before.metrics.keys().chain(after.metrics.keys()).collect();
    for name in names {
        let (old, new) = (before.metrics.get(name).copied(), after.metrics.get(name).copied());
        if old.map(f64::to_bits) == new.map(f64::to_bits) {
            continue;
        }
        let change = old.zip(new).map(|(old, new)| new - old);
        let cells = [old, new].map(|value| Cell::maybe(value, Cell::Number));
        let [old, new] = cells;
        push("metric", name, [old, new, Cell::maybe(change, Cell::Change)]);
    }
    let (before, after) = (params_of(before, store), params_of(after, store));
    if before.is_empty() || after.is_empty() {
        return;
    }
    let paths: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for path in paths.into_iter().filter(|path| before.get(*path) != after.get(*path)) {
        let change = (before.get(path).and_then(Value::as_f64))
            .zip(after.get(path).and_then(Value::as_f64))
            .map(|(old, new)| new - old);
        let cell = |leaves: &Leaves| {
            Cell::maybe(leaves.get(path).cloned(), |value| {
                Cell::Both(text::value(&value, Digits::Few), value)
            })
        };
        push("param", path, [cell(&before), cell(&after), Cell::maybe(change, Cell::Change)]);
    }
}
