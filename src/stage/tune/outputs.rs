//! Writes what a finished study gives beside the best trial's own outputs: the table of its trials
//! and the best parameters. Neither holds a clock or a path.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::{Field, Schema};
use serde_json::Value;

use super::shape;
use crate::data::{DataError, table};
use crate::stage::Failure;
use crate::study::space::{Domain, Space};
use crate::study::{Study, Trial};

/// What the executor knows of a trial beside what the study does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TrialRecord {
    /// Its number.
    pub number: u64,
    /// The metrics of its finished action; empty unless it is complete.
    pub metrics: BTreeMap<String, f64>,
    /// The steps that it reported, up to where the study stopped it.
    pub steps: u64,
    /// Its action's fingerprint in hexadecimal digits.
    pub fingerprint: String,
}

/// Writes `trials.parquet` and `best.yaml` of a study that is done.
///
/// The table has a row for each trial in order of number: `number`, `state`, `value`, each
/// parameter under its path (typed; lists and maps as JSON text; null where it did not exist), each
/// metric of complete trials (as `metric.NAME` where that name is taken), `steps` and
/// `fingerprint`. The best params are nested as they would be under the base's `params`, so that
/// they can be copied there; the trial's number and value stand above them in a comment.
///
/// # Errors
///
/// A failure where no trial is complete, or a file cannot be written.
pub fn write_outputs(folder: &Path, study: &Study, trials: &[TrialRecord]) -> Result<(), Failure> {
    let Some(best) = study.best() else {
        let message = format!("none of the {} trials is complete", study.total());
        return Err(Failure::new(message).help("look at why the trials failed"));
    };
    // Only files may be at fault here, and nothing cancels.
    let failed = |error: DataError| Failure::new(error.to_string());
    let path = folder.join("best.yaml");
    std::fs::write(&path, best_yaml(study, best))
        .map_err(|error| failed(DataError::file(&path, "write the best params", error)))?;
    let batch = trials_batch(study, trials)
        .map_err(|error| Failure::new(format!("cannot make the table of trials: {error}")))?;
    table::write(&folder.join("trials.parquet"), batch.schema(), [Ok(batch)]).map_err(failed)?;
    Ok(())
}

fn best_yaml(study: &Study, best: &Trial) -> String {
    let mut text = String::new();
    let metric = study.config().objective.metric();
    let value = best.value.unwrap_or(f64::NAN);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# The best of {} trials: number {},", study.total(), best.number);
    let _ = writeln!(text, "# with {value} as its `{metric}`.");
    let mut params = Value::Null;
    for (path, value) in &best.point {
        // The path was checked against the base; one below a scalar cannot be there.
        let _ = shape::set(&mut params, path, value);
    }
    // JSON values are plain data, which YAML can always hold.
    text + &serde_yaml::to_string(&params).expect("params serialize to YAML")
}

fn trials_batch(
    study: &Study,
    records: &[TrialRecord],
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let trials = study.trials();
    let by_number: BTreeMap<u64, &TrialRecord> =
        records.iter().map(|record| (record.number, record)).collect();
    let record = |trial: &Trial| by_number.get(&trial.number).copied();
    let mut columns: Vec<(String, ArrayRef)> = vec![
        (
            "number".to_owned(),
            Arc::new(trials.iter().map(|t| Some(t.number)).collect::<UInt64Array>()),
        ),
        (
            "state".to_owned(),
            Arc::new(trials.iter().map(|t| Some(t.state.name())).collect::<StringArray>()),
        ),
        ("value".to_owned(), Arc::new(trials.iter().map(|t| t.value).collect::<Float64Array>())),
    ];
    for param in Space::new(&study.config().space).params_by_path() {
        let values: Vec<Option<&Value>> =
            trials.iter().map(|trial| trial.point.get(&param.path)).collect();
        columns.push((param.path.clone(), column(&param.domain, &values)));
    }
    let complete = |trial: &&Trial| trial.value.is_some();
    let metrics: BTreeSet<&String> = trials
        .iter()
        .filter(complete)
        .filter_map(record)
        .flat_map(|record| record.metrics.keys())
        .collect();
    for name in metrics {
        let value = |trial: &Trial| record(trial)?.metrics.get(name).copied();
        let values = trials.iter().map(|trial| trial.value.and_then(|_| value(trial)));
        let taken = ["steps", "fingerprint"].contains(&name.as_str())
            || columns.iter().any(|(other, _)| other == name);
        let name = if taken { format!("metric.{name}") } else { name.clone() };
        columns.push((name, Arc::new(values.collect::<Float64Array>())));
    }
    let steps: UInt64Array = trials.iter().map(|trial| Some(record(trial)?.steps)).collect();
    let fingerprints: StringArray =
        trials.iter().map(|trial| Some(record(trial)?.fingerprint.as_str())).collect();
    columns.push(("steps".to_owned(), Arc::new(steps)));
    columns.push(("fingerprint".to_owned(), Arc::new(fingerprints)));
    let field = |(name, array): &(String, ArrayRef)| {
        // Types alone decide what may be null, so that studies of one config have one schema.
        let required = ["number", "state"].contains(&name.as_str());
        Field::new(name, array.data_type().clone(), !required)
    };
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect())
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
