//! The tables of a finished study, written a few hundred rows at a time.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use serde_json::Value;

use super::outputs::{RepeatRecord, Results};
use super::repeat_seed;
use crate::data::{DataError, table};
use crate::stage::Failure;
use crate::study::space::{Domain, Space};
use crate::study::{Row, Trial, TrialState};

/// The rows of a row group: those of one are in memory at a time, as arrays and as they are encoded.
const ROWS_PER_GROUP: usize = 512;

/// Writes a table of trials, as `write_outputs` describes it.
///
/// # Errors
///
/// A failure where the file cannot be written.
pub(super) fn write_trials(
    path: &Path,
    results: &Results<'_>,
    trials: &[&Trial],
) -> Result<(), Failure> {
    let of = |trial: &&Trial| metrics_of(results, trial);
    let names = names(trials.iter().map(of));
    let front = match results.params.objectives.is_empty() {
        true => None,
        false => Some(results.study.front().iter().map(|trial| trial.number).collect()),
    };
    write_table(path, trials.len(), &["number", "state"], |range| {
        trials_columns(results, &trials[range], &names, front.as_ref())
    })
}

/// Gives the metrics of a complete trial.
fn metrics_of<'a>(results: &Results<'a>, trial: &Trial) -> Option<Row<'a, f64>> {
    trial.value.map(|_| results.metrics.get(trial.number as usize))
}

fn trials_columns(
    results: &Results<'_>,
    trials: &[&Trial],
    names: &BTreeSet<&String>,
    front: Option<&BTreeSet<u64>>,
) -> Columns {
    let study = results.study;
    let numbers: UInt64Array = trials.iter().map(|trial| Some(trial.number)).collect();
    let states: StringArray = trials.iter().map(|trial| Some(trial.state.name())).collect();
    let values: Float64Array = trials.iter().map(|trial| trial.value).collect();
    let mut columns = Columns::default();
    columns.push("number", numbers);
    columns.push("state", states);
    columns.push("value", values);
    if let Some(front) = front {
        let is_on = |trial: &&Trial| Some(front.contains(&trial.number));
        columns.push("front", trials.iter().map(is_on).collect::<BooleanArray>());
    }
    for param in Space::new(&study.config().space).params_by_path() {
        let value = |trial: &&Trial| study.point(trial.number).get(&param.path);
        let values: Vec<Option<&Value>> = trials.iter().map(value).collect();
        columns.0.push((param.path.clone(), column(&param.domain, &values)));
    }
    let metrics: Vec<_> = trials.iter().map(|trial| metrics_of(results, trial)).collect();
    columns.push_metrics(names, &metrics, &["repeats", "steps", "fingerprint"]);
    if results.params.repeats > 1 {
        let done = |trial: &&Trial| {
            let of_trial = |one: &&RepeatRecord| one.number == trial.number;
            let done = |one: &&RepeatRecord| one.state == TrialState::Complete;
            let start = results.repeats.partition_point(|one| one.number < trial.number);
            Some(results.repeats[start..].iter().take_while(of_trial).filter(done).count() as u64)
        };
        columns.push("repeats", trials.iter().map(done).collect::<UInt64Array>());
    }
    let steps = trials.iter().map(|trial| Some(trial.steps));
    columns.push("steps", steps.collect::<UInt64Array>());
    // What made no action has no digits.
    let digits = |fingerprint: &Option<[u8; 32]>| fingerprint.map(hexadecimal).unwrap_or_default();
    let fingerprint = |trial: &&Trial| results.fingerprints.get(trial.number as usize).map(digits);
    columns.push("fingerprint", trials.iter().map(fingerprint).collect::<StringArray>());
    columns
}

/// Writes the table of repeats: `number`, `repeat`, `seed`, `state`, each metric, `steps` and
/// `fingerprint`.
///
/// # Errors
///
/// A failure where the file cannot be written.
pub(super) fn write_repeats(path: &Path, results: &Results<'_>) -> Result<(), Failure> {
    let names = names(results.repeats.iter().map(|one| metrics_of_repeat(results, one)));
    write_table(path, results.repeats.len(), &["number", "repeat", "state"], |range| {
        repeats_columns(results, &results.repeats[range], &names)
    })
}

/// Gives the metrics of a complete repeat.
fn metrics_of_repeat<'a>(results: &Results<'a>, one: &RepeatRecord) -> Option<Row<'a, f64>> {
    let place = one.place(results.params.repeats);
    (one.state == TrialState::Complete).then(|| results.repeat_metrics.get(place))
}

fn repeats_columns(
    results: &Results<'_>,
    repeats: &[RepeatRecord],
    names: &BTreeSet<&String>,
) -> Columns {
    let seed = |one: &RepeatRecord| repeat_seed(results.params, results.base, one.repeat);
    let states: StringArray = repeats.iter().map(|one| Some(one.state.name())).collect();
    let metrics: Vec<_> = repeats.iter().map(|one| metrics_of_repeat(results, one)).collect();
    let fingerprints = repeats.iter().map(|one| Some(hexadecimal(one.fingerprint)));
    let mut columns = Columns::default();
    columns.push("number", repeats.iter().map(|one| Some(one.number)).collect::<UInt64Array>());
    columns.push("repeat", repeats.iter().map(|one| Some(one.repeat)).collect::<UInt64Array>());
    columns.push("seed", repeats.iter().map(seed).collect::<UInt64Array>());
    columns.push("state", states);
    columns.push_metrics(names, &metrics, &["steps", "fingerprint"]);
    columns.push("steps", repeats.iter().map(|one| Some(one.steps)).collect::<UInt64Array>());
    columns.push("fingerprint", fingerprints.collect::<StringArray>());
    columns
}

/// Writes a table of `rows` rows; `columns` makes those of a range of them.
fn write_table(
    path: &Path,
    rows: usize,
    required: &[&str],
    columns: impl Fn(Range<usize>) -> Columns,
) -> Result<(), Failure> {
    let batch = |range: Range<usize>| columns(range).batch(required).map_err(DataError::from);
    let starts = (0..rows).step_by(ROWS_PER_GROUP);
    let batches = starts.map(|start| batch(start..rows.min(start + ROWS_PER_GROUP)));
    batch(0..0)
        .and_then(|none| table::write_plain(path, none.schema(), batches))
        .map(drop)
        .map_err(|error| Failure::new(error.to_string()))
}

fn hexadecimal(fingerprint: [u8; 32]) -> String {
    blake3::Hash::from_bytes(fingerprint).to_hex().to_string()
}

/// Writes the table of the parameters' importance: `parameter` and `importance`.
///
/// # Errors
///
/// A failure where the file cannot be written.
pub(super) fn write_importance(path: &Path, all: &[(String, f64)]) -> Result<(), Failure> {
    write_table(path, all.len(), &["parameter", "importance"], |range| {
        let (names, shares): (Vec<&str>, Vec<f64>) =
            all[range].iter().map(|(path, share)| (path.as_str(), *share)).unzip();
        let mut columns = Columns::default();
        columns.push("parameter", StringArray::from(names));
        columns.push("importance", Float64Array::from(shares));
        columns
    })
}

/// Gives the names of all metrics that some row has.
fn names<'a>(rows: impl Iterator<Item = Option<Row<'a, f64>>>) -> BTreeSet<&'a String> {
    rows.flatten().flat_map(Row::keys).collect()
}

/// The columns of a table that is being made.
#[derive(Default)]
struct Columns(Vec<(String, ArrayRef)>);

impl Columns {
    fn push(&mut self, name: &str, array: impl Array + 'static) {
        self.0.push((name.to_owned(), Arc::new(array)));
    }

    /// Adds a column for each metric; `later` names columns that are still to come.
    fn push_metrics(
        &mut self,
        names: &BTreeSet<&String>,
        rows: &[Option<Row<'_, f64>>],
        later: &[&str],
    ) {
        for &name in names {
            let values = rows.iter().map(|row| row.and_then(|row| row.get(name).copied()));
            let is_taken =
                later.contains(&name.as_str()) || self.0.iter().any(|(other, _)| other == name);
            let name = if is_taken { format!("metric.{name}") } else { name.clone() };
            self.0.push((name, Arc::new(values.collect::<Float64Array>())));
        }
    }

    /// Makes the table. Which columns may hold nulls is given and not found out, so that studies of
    /// one config have one schema.
    fn batch(self, required: &[&str]) -> Result<RecordBatch, ArrowError> {
        let field = |(name, array): &(String, ArrayRef)| {
            Field::new(name, array.data_type().clone(), !required.contains(&name.as_str()))
        };
        let schema = Schema::new(self.0.iter().map(field).collect::<Vec<_>>());
        let arrays = self.0.into_iter().map(|(_, array)| array).collect();
        RecordBatch::try_new(Arc::new(schema), arrays)
    }
}

/// Makes the column of a parameter: of one type where all its values are, else of JSON text.
fn column(domain: &Domain, values: &[Option<&Value>]) -> ArrayRef {
    let all = |is: fn(&Value) -> bool| match domain {
        Domain::Choice(choices) => choices.iter().all(is),
        Domain::Number(_) => domain.ends().iter().all(is),
    };
    let values = values.iter().copied();
    if all(Value::is_i64) {
        return Arc::new(values.map(|value| value?.as_i64()).collect::<Int64Array>());
    }
    if all(Value::is_number) {
        return Arc::new(values.map(|value| value?.as_f64()).collect::<Float64Array>());
    }
    if all(Value::is_boolean) {
        return Arc::new(values.map(|value| value?.as_bool()).collect::<BooleanArray>());
    }
    if all(Value::is_string) {
        return Arc::new(values.map(|value| value?.as_str()).collect::<StringArray>());
    }
    Arc::new(values.map(|value| Some(value?.to_string())).collect::<StringArray>())
}
