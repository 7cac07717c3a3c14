//! Reads the rows of the splits with their keys and the target in its own units, and puts them on
//! one timeline.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};

use crate::data::{DataError, Transform, table, time};
use crate::model::baseline::Timeline;

/// The rows of one split, ordered by series and time, as windows have them.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// The place of each row's series among the names.
    pub(super) series: Vec<u32>,
    /// Microseconds since 1970.
    pub(super) micros: Vec<i64>,
    /// The target as it was scaled.
    pub(super) scaled: Vec<f64>,
    /// The target in its own units.
    pub(super) target: Vec<f64>,
}

/// All splits' rows.
pub(super) struct Splits {
    /// The names of the series, in order.
    pub(super) names: Vec<String>,
    /// The train rows.
    pub(super) train: Rows,
    /// The test rows.
    pub(super) test: Rows,
    /// The rows of all splits.
    pub(super) timeline: Timeline,
    /// The place of each test row on the timeline.
    pub(super) places: Vec<usize>,
}

impl Splits {
    /// Reads the three splits of a preprocessed table.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a file cannot be read or lacks the keys or the target.
    pub(super) fn read(
        [train, validation, test]: [&Path; 3],
        transform: &Transform,
        target: &str,
    ) -> Result<Splits, DataError> {
        let mut codes = BTreeMap::new();
        let mut read = |path| read_rows(path, transform, target, &mut codes);
        let mut splits = [read(train)?, read(validation)?, read(test)?];
        let mut ranks = vec![0; codes.len()];
        for (rank, code) in (0..).zip(codes.values()) {
            ranks[*code as usize] = rank;
        }
        splits.iter_mut().for_each(|rows| rows.order(&ranks));
        let (timeline, places) = join(&splits);
        let [train, _, test] = splits;
        Ok(Splits { names: codes.into_keys().collect(), train, test, timeline, places })
    }
}

impl Rows {
    fn order(&mut self, ranks: &[u32]) {
        self.series.iter_mut().for_each(|code| *code = ranks[*code as usize]);
        let mut order: Vec<usize> = (0..self.series.len()).collect();
        order.sort_by_key(|&row| (self.series[row], self.micros[row], row));
        *self = Rows {
            series: order.iter().map(|&row| self.series[row]).collect(),
            micros: order.iter().map(|&row| self.micros[row]).collect(),
            scaled: order.iter().map(|&row| self.scaled[row]).collect(),
            target: order.iter().map(|&row| self.target[row]).collect(),
        };
    }
}

fn read_rows(
    path: &Path,
    transform: &Transform,
    target: &str,
    codes: &mut BTreeMap<String, u32>,
) -> Result<Rows, DataError> {
    let number = transform.number(target)?;
    let mut columns = vec![target, transform.time.column.as_str()];
    columns.extend(transform.series.as_deref());
    let mut rows = Rows::default();
    for batch in table::batches(path, Some(&columns))? {
        let batch = batch?;
        let first = rows.micros.len() as u64;
        let scaled = cast(batch.column(0), &DataType::Float64)?;
        let scaled = scaled.as_primitive::<Float64Type>().values();
        rows.scaled.extend_from_slice(scaled);
        rows.target.extend(scaled.iter().map(|value| whole_zero(number.raw(*value), number)));
        let times = time::micros(batch.column(1), &transform.time, first)?;
        rows.micros.extend_from_slice(times.values());
        let series = transform.series.as_ref().map(|_| cast(batch.column(2), &DataType::Utf8));
        let names = series.transpose()?;
        for row in 0..batch.num_rows() {
            let name = names.as_ref().map_or("", |names| names.as_string::<i32>().value(row));
            let next = codes.len() as u32;
            let known = codes.get(name).copied();
            rows.series
                .push(known.unwrap_or_else(|| *codes.entry(name.to_owned()).or_insert(next)));
        }
    }
    Ok(rows)
}

/// Takes the dust of scaling there and back off a 0, by which errors are divided.
fn whole_zero(raw: f64, number: &crate::data::transform::Number) -> f64 {
    let dust = 1e-12 * number.scale.abs().max(number.offset.abs());
    if raw.abs() < dust { 0.0 } else { raw }
}

/// Puts the rows of all splits in order, and finds the places of the last's.
fn join(splits: &[Rows; 3]) -> (Timeline, Vec<usize>) {
    let rows = |split: usize| (0..splits[split].series.len()).map(move |row| (split, row));
    let mut order: Vec<(usize, usize)> = (0..splits.len()).flat_map(rows).collect();
    order.sort_by_key(|&(split, row)| (splits[split].series[row], splits[split].micros[row]));
    let mut places = vec![0; splits[2].series.len()];
    for (place, &(split, row)) in order.iter().enumerate() {
        if split == 2 {
            places[row] = place;
        }
    }
    let timeline = Timeline {
        series: order.iter().map(|&(split, row)| splits[split].series[row]).collect(),
        seconds: order.iter().map(|&(split, row)| splits[split].micros[row] as f64 / 1e6).collect(),
        target: order.iter().map(|&(split, row)| splits[split].target[row]).collect(),
    };
    (timeline, places)
}

/// Gives the conditional mean of each of the scored test rows from a table of `mean` by the keys
/// that the data has. A row that the table lacks is the error, as its series and microseconds.
///
/// # Errors
///
/// [`DataError`] where the table cannot be read or lacks a column.
pub(super) fn truth(
    path: &Path,
    transform: &Transform,
    splits: &Splits,
    scored: &[usize],
) -> Result<Result<Vec<f64>, (String, i64)>, DataError> {
    let test = &splits.test;
    let key = |row: usize| (splits.names[test.series[row] as usize].as_str(), test.micros[row]);
    let wanted: HashMap<(&str, i64), usize> =
        scored.iter().enumerate().map(|(place, &row)| (key(row), place)).collect();
    let mut means = vec![None; scored.len()];
    let mut columns = vec!["mean", transform.time.column.as_str()];
    columns.extend(transform.series.as_deref());
    let mut first = 0;
    for batch in table::batches(path, Some(&columns))? {
        let batch = batch?;
        let values = cast(batch.column(0), &DataType::Float64)?;
        let times = time::micros(batch.column(1), &transform.time, first)?;
        let series = transform.series.as_ref().map(|_| cast(batch.column(2), &DataType::Utf8));
        let names = series.transpose()?;
        for row in 0..batch.num_rows() {
            let name = names.as_ref().map_or("", |names| names.as_string::<i32>().value(row));
            if let Some(place) = wanted.get(&(name, times.value(row))) {
                means[*place] = Some(values.as_primitive::<Float64Type>().value(row));
            }
        }
        first += batch.num_rows() as u64;
    }
    let mean = |(place, mean): (usize, Option<f64>)| {
        let (series, micros) = key(scored[place]);
        mean.filter(|mean| mean.is_finite()).ok_or_else(|| (series.to_owned(), micros))
    };
    Ok(means.into_iter().enumerate().map(mean).collect())
}
