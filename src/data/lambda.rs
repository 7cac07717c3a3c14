//! A made data set: metrics of serverless functions like those of AWS Lambda.
//!
//! A row is one function's interval, as its monitoring shows it: averages of the interval and one
//! traced request. Rows are in order of time, all functions of an interval before the next
//! interval. Where the functions do not divide the rows, the last interval is cut short: the first
//! functions have one row more than the others.
//!
//! There are two profiles. `uniform` draws each value alone, so that nothing can be learned.
//! `workload` simulates a system; `workload.rs` tells its model in equations. A second table, `truth`, gives
//! for each row the mean of `ResponseTime` given the row's other columns and all that is hidden:
//! what is left is noise, which no model can beat.
//!
//! Every row is made from its number alone (see `draws.rs`), so rows can be made in any pieces, on
//! any threads, and are the same. Knows nothing of stages; what a reader will do with the columns
//! is not its business.

use std::fmt::Write;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DataError;
use super::parallel::ordered;
use super::writer::{self, ROWS_PER_GROUP};

mod draws;
mod hidden;
#[cfg(test)]
mod tests;
mod uniform;
mod workload;

/// How the values of a data set come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// A simulated system: load cycles, bursts, containers, cold starts, contention, throttling.
    #[default]
    Workload,
    /// Each value drawn alone, so that there is nothing to learn.
    Uniform,
}

/// What identifies a data set: equal specs give equal rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// How the values come about.
    pub profile: Profile,
    /// Rows in all.
    pub rows: u64,
    /// How many functions take turns; at least 1.
    pub functions: u32,
    /// Seconds between two rows of a function; at least 1.
    pub interval: u32,
    /// The time of the first row, in seconds since 1970.
    pub start: i64,
    /// The seed of all that is drawn.
    pub seed: u64,
}

/// The values of a row beside its function and its time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Row {
    /// `ResponseTime` of the traced request, in seconds.
    response: f64,
    /// Its mean given all else, in seconds.
    mean: f64,
    /// `CPUUtilization`, in percent.
    cpu: f64,
    /// `MemoryUtilization`, in MB.
    memory: f64,
    /// `ColdStart`: whether the traced request had to wait for a new container.
    cold: bool,
    /// `ColdStartLatency`: how long, in seconds.
    cold_latency: f64,
    /// `ThrottlingRate`: requests refused in the interval's last minute.
    throttled: i64,
    /// `ErrorRate`: whether the traced request ended in an error.
    error: bool,
}

/// What is in a data set that was written.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// Rows.
    pub rows: u64,
    /// Rows with a cold start.
    pub cold_starts: u64,
    /// Rows with throttled requests.
    pub throttled: u64,
    /// Rows with an error.
    pub errors: u64,
    response: f64,
    response_squared: f64,
    noise_squared: f64,
}

impl Summary {
    /// Gives the part of the variance of `ResponseTime` that is noise; of one row there is none.
    pub fn noise_share(&self) -> Option<f64> {
        let rows = self.rows as f64;
        let variance = self.response_squared / rows - (self.response / rows).powi(2);
        (self.rows > 1).then_some(self.noise_squared / rows / variance)
    }

    fn of(rows: &[Row]) -> Summary {
        rows.iter().fold(Summary::default(), |sum, row| Summary {
            rows: sum.rows + 1,
            cold_starts: sum.cold_starts + u64::from(row.cold),
            throttled: sum.throttled + u64::from(row.throttled > 0),
            errors: sum.errors + u64::from(row.error),
            response: sum.response + row.response,
            response_squared: sum.response_squared + row.response * row.response,
            noise_squared: sum.noise_squared + (row.response - row.mean).powi(2),
        })
    }

    fn plus(self, other: Summary) -> Summary {
        Summary {
            rows: self.rows + other.rows,
            cold_starts: self.cold_starts + other.cold_starts,
            throttled: self.throttled + other.throttled,
            errors: self.errors + other.errors,
            response: self.response + other.response,
            response_squared: self.response_squared + other.response_squared,
            noise_squared: self.noise_squared + other.noise_squared,
        }
    }
}

/// Writes the rows to `data` and their conditional means to `truth`, as Parquet.
///
/// A few row groups are in flight at a time, whatever the number of rows; the bytes do not depend
/// on `threads`. `progress` hears the rows done.
///
/// # Errors
///
/// [`DataError`] where a file cannot be written; [`DataError::Cancelled`] where `progress` breaks.
pub fn write(
    spec: &Spec,
    data: &Path,
    truth: &Path,
    threads: usize,
    progress: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<Summary, DataError> {
    let (data_encoder, mut data_file) = writer::create(data, data_schema())?;
    let (truth_encoder, mut truth_file) = writer::create(truth, truth_schema())?;
    let size = ROWS_PER_GROUP as u64;
    let make = |group: usize| {
        let start = group as u64 * size;
        let range = start..spec.rows.min(start + size);
        let rows = make_rows(spec, range.clone());
        let (data, truth) = batches(spec, range, &rows)?;
        let groups = (data_encoder.encode(&[data])?, truth_encoder.encode(&[truth])?);
        Ok((groups, Summary::of(&rows)))
    };
    let mut all = Summary::default();
    let groups = usize::try_from(spec.rows.div_ceil(size))
        .map_err(|_| DataError::rows(format!("{} rows are too many", spec.rows)))?;
    ordered(groups, threads, make, |((data, truth), summary)| {
        data_file.append(data)?;
        truth_file.append(truth)?;
        all = all.plus(summary);
        match progress(all.rows) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(DataError::Cancelled),
        }
    })?;
    data_file.finish()?;
    truth_file.finish()?;
    Ok(all)
}

/// Gives the columns of the data.
pub fn data_schema() -> SchemaRef {
    schema(&[
        ("FunctionID", DataType::Utf8),
        ("Timestamp", DataType::Int64),
        ("ResponseTime", DataType::Float64),
        ("CPUUtilization", DataType::Float64),
        ("MemoryUtilization", DataType::Float64),
        ("ColdStart", DataType::Boolean),
        ("ColdStartLatency", DataType::Float64),
        ("ThrottlingRate", DataType::Int64),
        ("ErrorRate", DataType::Int64),
    ])
}

/// Gives the columns of the truth: the keys of a row of the data, and `mean`.
pub fn truth_schema() -> SchemaRef {
    schema(&[
        ("FunctionID", DataType::Utf8),
        ("Timestamp", DataType::Int64),
        ("mean", DataType::Float64),
    ])
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let field = |(name, kind): &(&str, DataType)| Field::new(*name, kind.clone(), false);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// Makes the rows of a range, one function after the other, each into its place.
fn make_rows(spec: &Spec, range: Range<u64>) -> Vec<Row> {
    let mut rows = vec![Row::default(); (range.end - range.start) as usize];
    let functions = spec.functions as usize;
    for offset in 0..functions.min(rows.len()) {
        let first = range.start + offset as u64;
        let (function, step) = (first % functions as u64, first / functions as u64);
        let places = rows[offset..].iter_mut().step_by(functions);
        match spec.profile {
            Profile::Uniform => uniform::fill(spec, function, step, places),
            Profile::Workload => workload::fill(spec, function, step, places),
        }
    }
    rows
}

/// Makes the batches of data and truth from the rows of a range.
fn batches(
    spec: &Spec,
    range: Range<u64>,
    rows: &[Row],
) -> Result<(RecordBatch, RecordBatch), DataError> {
    let functions = u64::from(spec.functions);
    let ids: ArrayRef = Arc::new(function_ids(range.clone().map(|row| row % functions)));
    let time = |row: u64| spec.start + (row / functions) as i64 * i64::from(spec.interval);
    let times: ArrayRef = Arc::new(Int64Array::from_iter_values(range.map(time)));
    let floats = |value: fn(&Row) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(rows.iter().map(value)))
    };
    let integers = |value: fn(&Row) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(value)))
    };
    let cold: Vec<bool> = rows.iter().map(|row| row.cold).collect();
    let columns = vec![
        ids.clone(),
        times.clone(),
        floats(|row| row.response),
        floats(|row| row.cpu),
        floats(|row| row.memory),
        Arc::new(BooleanArray::from(cold)),
        floats(|row| row.cold_latency),
        integers(|row| row.throttled),
        integers(|row| i64::from(row.error)),
    ];
    let data = RecordBatch::try_new(data_schema(), columns)?;
    let truth = RecordBatch::try_new(truth_schema(), vec![ids, times, floats(|row| row.mean)])?;
    Ok((data, truth))
}

fn function_ids(functions: impl Iterator<Item = u64>) -> StringArray {
    let mut ids = StringBuilder::new();
    for function in functions {
        write!(ids, "function_{}", function + 1)
            .expect("a string builder takes all that is written");
        ids.append_value("");
    }
    ids.finish()
}

/// Rounds to a multiple of `1 / per_unit`, as a monitoring system does.
fn round(value: f64, per_unit: f64) -> f64 {
    (value * per_unit).round() / per_unit
}
