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
//! would cross the end of its series is not made. Where windows may begin in the split before
//! ([`Windows::read_after`]), no row of that split is predicted.

use std::ops::Range;
use std::path::Path;

use super::{DataError, TimeColumn, table};

mod raw;

use raw::Raw;

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
    /// For each series, how many rows of it and of the series before it are of the split before.
    earlier: Vec<u32>,
    /// The first row of each window.
    starts: Vec<u32>,
}

impl Windows {
    /// Reads a split that `preprocess` wrote and lists its windows, which may be none.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the file cannot be read, a column is absent or not a number, or a value
    /// is missing or not finite.
    pub fn read(path: &Path, spec: &WindowSpec) -> Result<Windows, DataError> {
        read(None, path, spec)
    }

    /// Does what [`Windows::read`] does, and lets windows begin in the rows of the split before.
    ///
    /// What a window predicts is always of the split itself. So the first rows of a split can be
    /// predicted, as whoever runs a model on the newest rows does.
    ///
    /// # Errors
    ///
    /// As [`Windows::read`]; and where the rows of `before` do not come before the others of their
    /// series in time.
    pub fn read_after(before: &Path, path: &Path, spec: &WindowSpec) -> Result<Windows, DataError> {
        read(Some(before), path, spec)
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
        self.starts[window] as usize + self.spec.window - 1
    }

    /// Gives the predicted rows of a window, by their places among the rows in order.
    pub fn predicted_rows(&self, window: usize) -> Range<usize> {
        let end = self.row(window) + 1;
        end - self.spec.steps..end
    }

    /// Gives the place of a predicted row among the rows of the split itself.
    pub fn place_in_split(&self, row: usize) -> usize {
        row - self.earlier[self.series[row] as usize] as usize
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
    pub fn gather(&self, windows: &[u32], layout: Layout) -> Vec<f32> {
        let length = self.spec.window * self.inputs;
        let mut values = Vec::with_capacity(length * windows.len());
        let start = |window: u32| self.starts[window as usize] as usize * self.inputs;
        match layout {
            Layout::StepsFirst => {
                for step in (0..length).step_by(self.inputs) {
                    for &window in windows {
                        values.extend_from_slice(&self.rows[start(window) + step..][..self.inputs]);
                    }
                }
            }
            Layout::WindowsFirst => {
                for &window in windows {
                    values.extend_from_slice(&self.rows[start(window)..][..length]);
                }
            }
        }
        values
    }

    /// Gathers the targets of windows' predicted rows as `[windows.len(), steps]`.
    pub fn gather_actual(&self, windows: &[u32]) -> Vec<f32> {
        windows.iter().flat_map(|&window| self.actual(window as usize)).copied().collect()
    }
}

fn read(before: Option<&Path>, path: &Path, spec: &WindowSpec) -> Result<Windows, DataError> {
    let schema = table::schema(path)?;
    let there: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    let features = features(spec, &there)?;
    let mut columns: Vec<&str> = features.iter().map(String::as_str).collect();
    columns.push(&spec.target);
    columns.push(&spec.time.column);
    columns.extend(spec.series.as_deref());
    let mut raw = Raw::new(features.len() + 1);
    if let Some(before) = before {
        for batch in table::batches(before, Some(&columns))? {
            raw.add(&batch?, &spec.time)?;
        }
        raw.keep_as_earlier(spec.window + spec.horizon);
    }
    for batch in table::batches(path, Some(&columns))? {
        raw.add(&batch?, &spec.time)?;
    }
    raw.into_windows(spec, features)
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
        if features.is_empty() && !spec.target_history {
            let message = "there is no feature beside the target to learn from";
            let help = "set `target_history: true`";
            return Err(DataError::column(&spec.target, message).with_help(help));
        }
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

#[cfg(test)]
mod tests;
