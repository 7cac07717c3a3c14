//! Writes what a finished study gives beside the best trial's own outputs: tables of its trials and
//! their repeats, of the front and of the parameters' importance, the best parameters, and plots.
//! None of them holds a clock or a path.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use serde_json::Value;

use super::{Params, plots, repeat_seed, shape};
use crate::data::{DataError, table};
use crate::stage::{self, Failure};
use crate::study::space::{Domain, Space};
use crate::study::{Named, Study, Trial, TrialState, importance};

/// What the executor knows of a trial beside what the study does.
///
/// A study keeps one for each of its trials to the end, so it takes little room.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialRecord {
    /// The metrics of its finished action; empty unless it is complete.
    pub metrics: Named<f64>,
    /// The steps that it reported, up to where the study stopped it.
    pub steps: u64,
    /// Its action's fingerprint; none where its params made no action.
    pub fingerprint: Option<[u8; 32]>,
}

/// What one repeat of a trial came to.
#[derive(Clone, Debug, PartialEq)]
pub struct RepeatRecord {
    /// The trial's number.
    pub number: u64,
    /// Which repeat it is, from 0.
    pub repeat: u64,
    /// How it ended.
    pub state: TrialState,
    /// The metrics of its finished action; empty unless it is complete.
    pub metrics: Named<f64>,
    /// The steps that it reported.
    pub steps: u64,
    /// Its action's fingerprint.
    pub fingerprint: [u8; 32],
}

/// A study that is done, with all that its outputs tell.
#[derive(Clone, Copy, Debug)]
pub struct Results<'a> {
    /// The study.
    pub study: &'a Study,
    /// The tune's params.
    pub params: &'a Params,
    /// The params of its base.
    pub base: &'a stage::Params,
    /// What the executor knows of each trial, by number.
    pub trials: &'a [TrialRecord],
    /// What it knows of each repeat, in order.
    pub repeats: &'a [RepeatRecord],
}

/// Writes what a study that is done gives beside the best trial's own outputs.
///
/// `trials.parquet` has a row for each trial in order of number: `number`, `state`, `value`, `front`
/// (with several objectives: whether no other trial dominates it), each parameter under its path
/// (typed; lists and maps as JSON text; null where it did not exist), each metric of complete trials
/// (as `metric.NAME` where that name is taken), `repeats` (where there are several: how many ran to
/// their end), `steps` and `fingerprint`. `pareto.parquet` has the rows of the front, best first by
/// the first objective, and `repeats.parquet` one for each repeat. `best.yaml` has the best params
/// nested as they would be under the base's `params`, so that they can be copied there; the trial's
/// number and value stand above them in a comment.
///
/// # Errors
///
/// A failure where no trial is complete, or a file cannot be written.
pub fn write_outputs(folder: &Path, results: &Results<'_>) -> Result<(), Failure> {
    let study = results.study;
    let Some(best) = study.best() else {
        let message = format!("none of the {} trials is complete", study.total());
        return Err(Failure::new(message).help("look at why the trials failed"));
    };
    let importance = importance(study);
    write_text(&folder.join("best.yaml"), &best_yaml(study, best))?;
    write_table(&folder.join("trials.parquet"), trials_batch(results, &each(study.trials())))?;
    write_table(&folder.join("importance.parquet"), importance_batch(&importance))?;
    if results.params.repeats > 1 {
        write_table(&folder.join("repeats.parquet"), repeats_batch(results))?;
    }
    if !results.params.objectives.is_empty() {
        write_table(&folder.join("pareto.parquet"), trials_batch(results, &study.front()))?;
    }
    plots::each(study, &importance, |file, text| write_text(&folder.join(file), text))
}

fn each(trials: &[Trial]) -> Vec<&Trial> {
    trials.iter().collect()
}

fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::new(DataError::file(path, "write it", error).to_string()))
}

fn write_table(path: &Path, batch: Result<RecordBatch, ArrowError>) -> Result<(), Failure> {
    let batch = batch.map_err(|error| {
        Failure::new(format!("`{}`: cannot make the table: {error}", path.display()))
    })?;
    // Only files may be at fault here, and nothing cancels.
    table::write(path, batch.schema(), [Ok(batch)])
        .map(drop)
        .map_err(|error: DataError| Failure::new(error.to_string()))
}

fn best_yaml(study: &Study, best: &Trial) -> String {
    let mut text = String::new();
    let metric = study.config().objective.metric();
    let value = best.value.unwrap_or(f64::NAN);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# The best of {} trials: number {},", study.total(), best.number);
    let others = study.config().others.iter().zip(&best.others);
    let others = others.map(|(other, value)| format!(", and {value} as its `{}`", other.metric()));
    let others: String = others.collect();
    let _ = writeln!(text, "# with {value} as its `{metric}`{others}.");
    let mut params = Value::Null;
    for (path, value) in &best.point {
        // The path was checked against the base; one below a scalar cannot be there.
        let _ = shape::set(&mut params, path, value);
    }
    // JSON values are plain data, which YAML can always hold.
    text + &serde_yaml::to_string(&params).expect("params serialize to YAML")
}

fn trials_batch(results: &Results<'_>, trials: &[&Trial]) -> Result<RecordBatch, ArrowError> {
    let study = results.study;
    let record = |trial: &&Trial| results.trials.get(trial.number as usize);
    let numbers: UInt64Array = trials.iter().map(|trial| Some(trial.number)).collect();
    let states: StringArray = trials.iter().map(|trial| Some(trial.state.name())).collect();
    let values: Float64Array = trials.iter().map(|trial| trial.value).collect();
    let mut columns = Columns::default();
    columns.push("number", numbers);
    columns.push("state", states);
    columns.push("value", values);
    if !results.params.objectives.is_empty() {
        let front: BTreeSet<u64> = study.front().iter().map(|trial| trial.number).collect();
        let is_on = |trial: &&Trial| Some(front.contains(&trial.number));
        columns.push("front", trials.iter().map(is_on).collect::<BooleanArray>());
    }
    for param in Space::new(&study.config().space).params_by_path() {
        let values: Vec<Option<&Value>> =
            trials.iter().map(|trial| trial.point.get(&param.path)).collect();
        columns.0.push((param.path.clone(), column(&param.domain, &values)));
    }
    let metrics: Vec<Option<&Named<f64>>> = trials
        .iter()
        .map(|trial| trial.value.and_then(|_| record(trial)).map(|record| &record.metrics))
        .collect();
    columns.push_metrics(&metrics, &["repeats", "steps", "fingerprint"]);
    if results.params.repeats > 1 {
        let done = |one: &&RepeatRecord| one.state == TrialState::Complete;
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for repeat in results.repeats.iter().filter(done) {
            *counts.entry(repeat.number).or_default() += 1;
        }
        let count = |trial: &&Trial| Some(counts.get(&trial.number).copied().unwrap_or(0));
        columns.push("repeats", trials.iter().map(count).collect::<UInt64Array>());
    }
    let steps = trials.iter().map(|trial| Some(record(trial)?.steps));
    columns.push("steps", steps.collect::<UInt64Array>());
    // What made no action has no digits.
    let digits = |record: &TrialRecord| record.fingerprint.map(hexadecimal).unwrap_or_default();
    let fingerprints = trials.iter().map(|trial| record(trial).map(digits));
    columns.push("fingerprint", fingerprints.collect::<StringArray>());
    columns.batch(&["number", "state"])
}

/// Makes the table of repeats: `number`, `repeat`, `seed`, `state`, each metric, `steps` and
/// `fingerprint`.
fn repeats_batch(results: &Results<'_>) -> Result<RecordBatch, ArrowError> {
    let all = results.repeats;
    let seed = |one: &RepeatRecord| repeat_seed(results.params, results.base, one.repeat);
    let mut columns = Columns::default();
    columns.push("number", all.iter().map(|one| Some(one.number)).collect::<UInt64Array>());
    columns.push("repeat", all.iter().map(|one| Some(one.repeat)).collect::<UInt64Array>());
    columns.push("seed", all.iter().map(seed).collect::<UInt64Array>());
    columns.push("state", all.iter().map(|one| Some(one.state.name())).collect::<StringArray>());
    let is_complete = |one: &RepeatRecord| one.state == TrialState::Complete;
    let metrics: Vec<_> = all.iter().map(|one| is_complete(one).then_some(&one.metrics)).collect();
    columns.push_metrics(&metrics, &["steps", "fingerprint"]);
    columns.push("steps", all.iter().map(|one| Some(one.steps)).collect::<UInt64Array>());
    let fingerprints = all.iter().map(|one| Some(hexadecimal(one.fingerprint)));
    columns.push("fingerprint", fingerprints.collect::<StringArray>());
    columns.batch(&["number", "repeat", "state"])
}

fn hexadecimal(fingerprint: [u8; 32]) -> String {
    blake3::Hash::from_bytes(fingerprint).to_hex().to_string()
}

fn importance_batch(importance: &[(String, f64)]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::default();
    let names: StringArray = importance.iter().map(|(path, _)| Some(path.as_str())).collect();
    columns.push("parameter", names);
    columns.push(
        "importance",
        importance.iter().map(|(_, share)| *share).map(Some).collect::<Float64Array>(),
    );
    columns.batch(&["parameter", "importance"])
}

/// The columns of a table that is being made.
#[derive(Default)]
struct Columns(Vec<(String, ArrayRef)>);

impl Columns {
    fn push(&mut self, name: &str, array: impl Array + 'static) {
        self.0.push((name.to_owned(), Arc::new(array)));
    }

    /// Adds a column for each metric that any row has; `later` names columns that are still to come.
    fn push_metrics(&mut self, rows: &[Option<&Named<f64>>], later: &[&str]) {
        let names: BTreeSet<&String> = rows.iter().flatten().flat_map(|row| row.keys()).collect();
        for name in names {
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
