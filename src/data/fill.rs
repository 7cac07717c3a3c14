//! Filling gaps with the last value of the same series, block by block.
//!
//! Works on raw columns of any type, and remembers one value a series and column from block to
//! block. The blocks must come in order, and the rows of a series in order of time.

use arrow::array::{
    Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_empty_array, new_null_array,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{cast, concat, take};
use arrow::datatypes::{DataType, Float64Type};

use super::fit::{Recipe, missing};
use super::transform::column;
use super::values::{self, MISSING, Names};
use super::{DataError, time};

/// Fills gaps, and holds the last value of each series and column meanwhile.
#[derive(Default)]
pub struct Filler {
    names: Names,
    /// The last time of each series.
    times: Vec<i64>,
    /// The last value of each series, by column.
    last: Vec<ArrayRef>,
}

impl Filler {
    /// Fills the gaps of the next block of raw rows.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a series begins with a gap, is out of the order of time, or a row's time
    /// or series is missing.
    pub fn fill(
        &mut self,
        recipe: &Recipe,
        raw: &RecordBatch,
        first_row: u64,
    ) -> Result<RecordBatch, DataError> {
        let series = self.series(recipe, raw, first_row)?;
        self.check_order(recipe, raw, first_row, &series)?;
        let schema = raw.schema();
        let names = schema.fields().iter().map(|field| field.name());
        if self.last.is_empty() {
            self.last = raw.columns().iter().map(|c| new_empty_array(c.data_type())).collect();
        }
        let mut columns = Vec::with_capacity(raw.num_columns());
        for ((name, column), last) in names.zip(raw.columns()).zip(&mut self.last) {
            let is_key = recipe.series.as_ref() == Some(name) || recipe.time.column == *name;
            columns.push(if is_key {
                column.clone()
            } else {
                let gap = |row| missing_at_start(first_row + row as u64, name);
                fill_column(column, &series, self.times.len(), last, gap)?
            });
        }
        Ok(RecordBatch::try_new(schema, columns)?)
    }

    /// Numbers the series of each row; without a series column all are one.
    fn series(
        &mut self,
        recipe: &Recipe,
        raw: &RecordBatch,
        first_row: u64,
    ) -> Result<Vec<u32>, DataError> {
        let Some(name) = &recipe.series else {
            self.times.resize(1, i64::MIN);
            return Ok(vec![0; raw.num_rows()]);
        };
        let series = self.names.number(&values::codes(name, &column(raw, name)?)?);
        self.times.resize(self.names.count(), i64::MIN);
        match series.iter().position(|code| *code == MISSING) {
            Some(row) => Err(missing(first_row + row as u64, name)),
            None => Ok(series),
        }
    }

    fn check_order(
        &mut self,
        recipe: &Recipe,
        raw: &RecordBatch,
        first_row: u64,
        series: &[u32],
    ) -> Result<(), DataError> {
        let name = &recipe.time.column;
        let times = time::micros(&column(raw, name)?, &recipe.time, first_row)?;
        for (row, (time, series)) in times.iter().zip(series).enumerate() {
            let Some(time) = time else { return Err(missing(first_row + row as u64, name)) };
            let last = &mut self.times[*series as usize];
            if time < *last {
                let message = "it is earlier than the row before it in its series";
                return Err(DataError::value(first_row + row as u64, name, message).with_help(
                    "`missing: forward_fill` needs rows in order of time: sort the table",
                ));
            }
            *last = time;
        }
        Ok(())
    }
}

fn missing_at_start(row: u64, column: &str) -> DataError {
    let message = "its series has no earlier value that could stand in";
    DataError::value(row, column, message)
        .with_help("choose `missing: drop` or `mean`, or drop the column")
}

/// Fills one column, and moves `last` on to the last value of each series.
fn fill_column(
    values: &ArrayRef,
    series: &[u32],
    names: usize,
    last: &mut ArrayRef,
    gap: impl Fn(usize) -> DataError,
) -> Result<ArrayRef, DataError> {
    let unknown = new_null_array(values.data_type(), names - last.len());
    // First the last values, one a series, then the rows: a place in this is a value.
    let all = concat(&[last, &unknown, values])?;
    let mut place: Vec<Option<u32>> =
        (0..names).map(|name| all.is_valid(name).then_some(name as u32)).collect();
    let present = presence(values)?;
    let mut places = Vec::with_capacity(values.len());
    for (row, name) in series.iter().enumerate() {
        let place = &mut place[*name as usize];
        if present.value(row) {
            *place = Some((names + row) as u32);
        }
        places.push(place.ok_or_else(|| gap(row))?);
    }
    *last = take(&all, &UInt32Array::from(place), None)?;
    match present.count_set_bits() == values.len() {
        true => Ok(values.clone()),
        false => Ok(take(&all, &UInt32Array::from(places), None)?),
    }
}

/// Tells which values are there: not null, and where they are floats, finite.
fn presence(values: &ArrayRef) -> Result<BooleanBuffer, DataError> {
    if values.data_type().is_floating() {
        let floats = cast(values, &DataType::Float64)?;
        let floats = floats.as_primitive::<Float64Type>();
        let finite = |row| floats.is_valid(row) && floats.value(row).is_finite();
        return Ok(BooleanBuffer::collect_bool(values.len(), finite));
    }
    Ok(match values.logical_nulls() {
        Some(nulls) => nulls.into_inner(),
        None => BooleanBuffer::new_set(values.len()),
    })
}
