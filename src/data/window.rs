//! Windows over a preprocessed table: what a network sees of the past of each row it predicts.
//!
//! A window is `window` rows of one series in order of time. Its *predicted row* is its own last
//! row where `horizon` is 0, and else the row `horizon` rows after its last; with more `steps` than
//! one, so many rows up to that one are predicted. The features beside a
//! row of the window are that row's own columns, never the target; with `target_history` one more
//! is the newest value of the target that may be known there. It ends before the predicted row:
//!
//! | `horizon` | the target's value beside row `t` of the window | beside its last row |
//! |---|---|---|
//! | 0 | that of row `t - 1` | the row before the predicted one |
//! | 1 | that of row `t` | the row before the predicted one |
//! | 5 | that of row `t` | five rows before the predicted one |
//!
//! So with a window of 3 and a horizon of 0, the prediction of row 7 sees the columns of rows 5, 6
//! and 7 and the target of rows 4, 5 and 6; with a horizon of 1, the columns and the target of rows
//! 4, 5 and 6. The first row of a series has no value before it, so with a horizon of 0 no window
//! that asks for history starts there.
//!
//! Knows nothing of networks. A file is one split, so no window crosses a split; a window that
//! would cross the end of its series is not made.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::{DataError, TimeColumn, table, time};

/// How a table becomes windows.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowSpec {
    /// The key column that names a row's series; without one all rows are one series.
    pub series: Option<String>,
    /// The key column that says when a row was.
    pub time: TimeColumn,
    /// The column to predict.
    pub target: String,
    /// The feature columns in order; unless given, all but the keys and the target.
    pub features: Option<Vec<String>>,
    /// Rows of a window.
    pub window: usize,
    /// Rows from the window's last row to the last predicted one.
    pub horizon: usize,
    /// How many rows are predicted, the last of which is the horizon's: 1, or as many as the
    /// horizon where all up to it are.
    pub steps: usize,
    /// Whether past values of the target are one more feature, the last.
    pub target_history: bool,
}

/// How gathered windows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[window, windows, inputs]`: the rows of one step lie together, as recurrent layers read.
    StepsFirst,
    /// `[windows, window, inputs]`: the rows of one window lie together.
    WindowsFirst,
}

/// The windows of one split, over rows held once in `f32`.
#[derive(Clone, Debug)]
pub struct Windows {
    spec: WindowSpec,
    features: Vec<String>,
    inputs: usize,
    /// `[rows, inputs]`, ordered by series and time.
    rows: Vec<f32>,
    target: Vec<f32>,
    /// Microseconds since 1970.
    times: Vec<i64>,
    /// For each row the place of its series in `names`.
    series: Vec<u32>,
    names: Vec<String>,
    starts: Vec<usize>,
}

impl Windows {
    /// Reads a split that `preprocess` wrote and lists its windows, which may be none.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the file cannot be read, a column is absent or not a number, or a value
    /// is missing or not finite.
    pub fn read(path: &Path, spec: &WindowSpec) -> Result<Windows, DataError> {
        let schema = table::schema(path)?;
        let there: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let features = features(spec, &there)?;
        let mut columns: Vec<&str> = features.iter().map(String::as_str).collect();
        columns.push(&spec.target);
        columns.push(&spec.time.column);
        columns.extend(spec.series.as_deref());
        let mut raw = Raw::default();
        for batch in table::batches(path, Some(&columns))? {
            raw.add(&batch?, features.len() + 1, &spec.time)?;
        }
        Ok(raw.into_windows(spec, features))
    }

    /// Gives the spec that the windows were made by.
    pub fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    /// Gives the feature columns in the order of the inputs; the target's history is not among
    /// them, and is the last input where the spec asks for it.
    pub fn features(&self) -> &[String] {
        &self.features
    }

    /// Gives the number of inputs of each step.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Gives the number of windows.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Tells whether no series is long enough for a window.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// Gives the last predicted row of a window, by its place among the rows in order.
    pub fn row(&self, window: usize) -> usize {
        self.last_row(window) + self.spec.horizon
    }

    /// Gives the last row that a window sees, by its place among the rows in order.
    pub fn last_row(&self, window: usize) -> usize {
        self.starts[window] + self.spec.window - 1
    }

    /// Gives the predicted rows of a window, by their places among the rows in order.
    pub fn predicted_rows(&self, window: usize) -> Range<usize> {
        let end = self.row(window) + 1;
        end - self.spec.steps..end
    }

    /// Gives the series of a window's predicted row.
    pub fn series(&self, window: usize) -> &str {
        self.series_of_row(self.row(window))
    }

    /// Gives the time of a window's predicted row in microseconds since 1970.
    pub fn time(&self, window: usize) -> i64 {
        self.times[self.row(window)]
    }

    /// Gives the targets of a window's predicted rows.
    pub fn actual(&self, window: usize) -> &[f32] {
        &self.target[self.predicted_rows(window)]
    }

    /// Gives the targets of all rows, ordered by series and time.
    pub fn targets(&self) -> &[f32] {
        &self.target
    }

    /// Gives the times of all rows, in the same order.
    pub fn times(&self) -> &[i64] {
        &self.times
    }

    /// Gives the series of a row.
    pub fn series_of_row(&self, row: usize) -> &str {
        &self.names[self.series[row] as usize]
    }

    /// Gives the inputs beside a row: its features, and the target's history where that is asked.
    pub fn inputs_of_row(&self, row: usize) -> &[f32] {
        &self.rows[row * self.inputs..][..self.inputs]
    }

    /// Gathers windows side by side.
    pub fn gather(&self, windows: &[usize], layout: Layout) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.spec.window * windows.len() * self.inputs);
        match layout {
            Layout::StepsFirst => {
                for step in 0..self.spec.window {
                    for &window in windows {
                        values.extend_from_slice(self.inputs_of_row(self.starts[window] + step));
                    }
                }
            }
            Layout::WindowsFirst => {
                let length = self.spec.window * self.inputs;
                for &window in windows {
                    values.extend_from_slice(
                        &self.rows[self.starts[window] * self.inputs..][..length],
                    );
                }
            }
        }
        values
    }

    /// Gathers the targets of windows' predicted rows as `[windows.len(), steps]`.
    pub fn gather_actual(&self, windows: &[usize]) -> Vec<f32> {
        windows.iter().flat_map(|&window| self.actual(window)).copied().collect()
    }
}

/// Resolves the feature columns and checks them and the target against those that are there.
fn features(spec: &WindowSpec, there: &[&str]) -> Result<Vec<String>, DataError> {
    let is_key = |name: &str| name == spec.time.column || spec.series.as_deref() == Some(name);
    let offered = || there.iter().copied().filter(|name| !is_key(name));
    if !offered().any(|name| name == spec.target) {
        return Err(DataError::absent(&spec.target, offered()));
    }
    let Some(named) = &spec.features else {
        let features: Vec<String> =
            offered().filter(|name| *name != spec.target).map(str::to_owned).collect();
        return Ok(features);
    };
    for name in named {
        if *name == spec.target {
            let message = "the target cannot be one of its own features";
            let help = "leave it out of `features`; `target_history: true` gives its past values";
            return Err(DataError::column(name, message).with_help(help));
        }
        if !offered().any(|other| other == name) {
            return Err(DataError::absent(name, offered()));
        }
    }
    Ok(named.clone())
}

/// Rows as they stand in the file.
#[derive(Default)]
struct Raw {
    /// `[rows, features + 1]`, the target last.
    values: Vec<f32>,
    times: Vec<i64>,
    series: Vec<u32>,
    codes: BTreeMap<String, u32>,
}

impl Raw {
    /// Adds a batch whose first `width` columns are numbers, followed by the time and, where there
    /// is one, the series.
    fn add(
        &mut self,
        batch: &RecordBatch,
        width: usize,
        time: &TimeColumn,
    ) -> Result<(), DataError> {
        let first = self.times.len();
        let (start, rows) = (self.values.len(), batch.num_rows());
        self.values.resize(start + rows * width, 0.0);
        for index in 0..width {
            let column = numbers(batch, index, first)?;
            for (row, value) in column.as_primitive::<Float64Type>().values().iter().enumerate() {
                let value = *value as f32;
                if !value.is_finite() {
                    let name = batch.schema_ref().field(index).name();
                    let message = format!("the value {value} is not finite");
                    return Err(DataError::value((first + row) as u64, name, message));
                }
                self.values[start + row * width + index] = value;
            }
        }
        let times = time::micros(batch.column(width), time, first as u64)?;
        if let Some(row) = (0..rows).find(|&row| times.is_null(row)) {
            let row = (first + row) as u64;
            return Err(DataError::value(row, &time.column, "the time is missing"));
        }
        self.times.extend_from_slice(times.values());
        self.add_series(batch.columns().get(width + 1), rows)
    }

    fn add_series(&mut self, column: Option<&ArrayRef>, rows: usize) -> Result<(), DataError> {
        let names = column.map(|column| cast(column, &DataType::Utf8)).transpose()?;
        let names = names.as_ref().map(|names| names.as_string::<i32>());
        for row in 0..rows {
            let name = names.map_or("", |names| names.value(row));
            let code = match self.codes.get(name) {
                Some(code) => *code,
                None => {
                    let code = self.codes.len() as u32;
                    self.codes.insert(name.to_owned(), code);
                    code
                }
            };
            self.series.push(code);
        }
        Ok(())
    }

    /// Orders the rows, puts the target's history beside them, and lists the windows.
    fn into_windows(self, spec: &WindowSpec, features: Vec<String>) -> Windows {
        let width = features.len() + 1;
        let inputs = features.len() + usize::from(spec.target_history);
        let mut rank = vec![0; self.codes.len()];
        for (place, code) in self.codes.values().enumerate() {
            rank[*code as usize] = place as u32;
        }
        let mut order: Vec<usize> = (0..self.times.len()).collect();
        order.sort_by_key(|&row| (rank[self.series[row] as usize], self.times[row], row));
        let series: Vec<u32> = order.iter().map(|&row| rank[self.series[row] as usize]).collect();
        let target: Vec<f32> =
            order.iter().map(|&row| self.values[row * width + width - 1]).collect();
        let mut rows = Vec::with_capacity(order.len() * inputs);
        for (place, &row) in order.iter().enumerate() {
            rows.extend_from_slice(&self.values[row * width..][..width - 1]);
            if spec.target_history {
                let known = if spec.horizon == 0 { place.checked_sub(1) } else { Some(place) };
                // Beside the first row of a series stands another's value, which no window reads.
                rows.push(known.map_or(0.0, |place| target[place]));
            }
        }
        Windows {
            starts: starts(spec, &series),
            spec: spec.clone(),
            features,
            inputs,
            rows,
            target,
            times: order.iter().map(|&row| self.times[row]).collect(),
            series,
            names: self.codes.into_keys().collect(),
        }
    }
}

/// Lists the first rows of the windows that lie within one series with their predicted row.
fn starts(spec: &WindowSpec, series: &[u32]) -> Vec<usize> {
    let skipped = usize::from(spec.target_history && spec.horizon == 0);
    let reach = spec.window + spec.horizon;
    let mut starts = Vec::new();
    let mut first = 0;
    for run in series.chunk_by(|left, right| left == right) {
        let end = first + run.len();
        starts.extend(first + skipped..(end + 1).saturating_sub(reach));
        first = end;
    }
    starts
}

/// Gives a column as `Float64` without a missing value.
fn numbers(batch: &RecordBatch, index: usize, first: usize) -> Result<ArrayRef, DataError> {
    let name = batch.schema_ref().field(index).name().clone();
    let column = batch.column(index);
    if !column.data_type().is_numeric() && *column.data_type() != DataType::Boolean {
        let message = format!("a feature must be a number, and this is {}", column.data_type());
        let help = "encode it with `one_hot`, or leave it out of `features`";
        return Err(DataError::column(&name, message).with_help(help));
    }
    let column = cast(column, &DataType::Float64)?;
    match (0..column.len()).find(|&row| column.is_null(row)) {
        Some(row) => Err(DataError::value((first + row) as u64, &name, "the value is missing")),
        None => Ok(column),
    }
}

#[cfg(test)]
mod tests;
