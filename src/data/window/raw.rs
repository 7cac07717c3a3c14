//! The rows behind windows: read from tables, ordered by series and time, and cut into windows.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use super::{WindowSpec, Windows};
use crate::data::{DataError, TimeColumn, time};

/// Rows as they stand in the file.
#[derive(Default)]
pub(super) struct Raw {
    /// Numbers of a row: the features, and the target last.
    width: usize,
    /// `[rows, width]`.
    values: Vec<f32>,
    times: Vec<i64>,
    series: Vec<u32>,
    codes: BTreeMap<String, u32>,
    /// How many of them, the first, are of the split before.
    earlier: usize,
}

impl Raw {
    /// Makes no rows of `width` numbers each.
    pub(super) fn new(width: usize) -> Raw {
        Raw { width, ..Raw::default() }
    }

    /// Adds a batch whose first columns are numbers, followed by the time and, where there is one,
    /// the series.
    pub(super) fn add(&mut self, batch: &RecordBatch, time: &TimeColumn) -> Result<(), DataError> {
        let first = self.times.len() - self.earlier;
        let (width, start, rows) = (self.width, self.values.len(), batch.num_rows());
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

    /// Takes the rows so far for those of the split before, and keeps the last `count` of each
    /// series.
    pub(super) fn keep_as_earlier(&mut self, count: usize) {
        let mut order = self.order();
        let series = order
            .chunk_by(|left, right| self.series[*left as usize] == self.series[*right as usize]);
        let kept = series.flat_map(|rows| &rows[rows.len().saturating_sub(count)..]);
        order = kept.copied().collect();
        order.sort_unstable();
        let values = order.iter().flat_map(|&row| self.row(row)).copied().collect();
        *self = Raw {
            width: self.width,
            values,
            times: order.iter().map(|&row| self.times[row as usize]).collect(),
            series: order.iter().map(|&row| self.series[row as usize]).collect(),
            codes: std::mem::take(&mut self.codes),
            earlier: order.len(),
        };
    }

    fn row(&self, row: u32) -> &[f32] {
        &self.values[row as usize * self.width..][..self.width]
    }

    /// Gives the place of each code's series in the order of names.
    fn ranks(&self) -> Vec<u32> {
        let mut ranks = vec![0; self.codes.len()];
        for (rank, code) in (0..).zip(self.codes.values()) {
            ranks[*code as usize] = rank;
        }
        ranks
    }

    /// Gives the rows ordered by series, by the split before first, and by time.
    fn order(&self) -> Vec<u32> {
        let ranks = self.ranks();
        let mut order: Vec<u32> = (0..self.times.len() as u32).collect();
        order.sort_by_key(|&row| {
            let at = row as usize;
            (ranks[self.series[at] as usize], at >= self.earlier, self.times[at], row)
        });
        order
    }

    /// Orders the rows, puts the target's history beside them, and lists the windows.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a row of the split before is not before the others in time.
    pub(super) fn into_windows(
        self,
        spec: &WindowSpec,
        features: Vec<String>,
    ) -> Result<Windows, DataError> {
        let width = self.width;
        let inputs = features.len() + usize::from(spec.target_history);
        let (ranks, order) = (self.ranks(), self.order());
        let is_earlier = |row: u32| (row as usize) < self.earlier;
        let series: Vec<u32> =
            order.iter().map(|&row| ranks[self.series[row as usize] as usize]).collect();
        let times: Vec<i64> = order.iter().map(|&row| self.times[row as usize]).collect();
        let mut earlier = vec![0; self.codes.len()];
        for (place, &row) in order.iter().enumerate() {
            earlier[series[place] as usize] += u32::from(is_earlier(row));
            let follows = place > 0 && series[place] == series[place - 1];
            if follows && is_earlier(order[place - 1]) && times[place] <= times[place - 1] {
                let message = "a row of the split before is not earlier than this split's rows";
                let help = "split `by: time` or `by: rows`, or leave `across_splits` out";
                return Err(DataError::column(&spec.time.column, message).with_help(help));
            }
        }
        let target: Vec<f32> = order.iter().map(|&row| self.row(row)[width - 1]).collect();
        let mut rows = Vec::with_capacity(order.len() * inputs);
        for (place, &row) in order.iter().enumerate() {
            rows.extend_from_slice(&self.row(row)[..width - 1]);
            if spec.target_history {
                let known = if spec.horizon == 0 { place.checked_sub(1) } else { Some(place) };
                // Beside the first row of a series stands another's value, which no window reads.
                rows.push(known.map_or(0.0, |place| target[place]));
            }
        }
        let starts = starts(spec, &series, &earlier);
        earlier.iter_mut().fold(0, |sum, count| {
            *count += sum;
            *count
        });
        Ok(Windows {
            spec: spec.clone(),
            features,
            inputs,
            rows,
            target,
            times,
            series,
            names: self.codes.into_keys().collect(),
            earlier,
            starts,
        })
    }
}

/// Lists the first rows of the windows that lie within one series with their predicted rows, of
/// which none is among the series' `earlier` ones.
fn starts(spec: &WindowSpec, series: &[u32], earlier: &[u32]) -> Vec<u32> {
    let skipped = usize::from(spec.target_history && spec.horizon == 0);
    let reach = spec.window + spec.horizon;
    // From a window's first row to its first predicted one.
    let ahead = reach - spec.steps;
    let mut starts = Vec::new();
    let mut first = 0;
    for run in series.chunk_by(|left, right| left == right) {
        let end = first + run.len();
        let own = first + earlier[run[0] as usize] as usize;
        let from = usize::max(first + skipped, own.saturating_sub(ahead));
        starts.extend(from as u32..(end + 1).saturating_sub(reach) as u32);
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
