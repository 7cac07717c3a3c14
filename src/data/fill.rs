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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{BooleanArray, Float64Array, Int64Array, StringArray};
    use arrow::compute::concat_batches;
    use proptest::prelude::*;

    use super::*;
    use crate::data::{Missing, Scale, TimeColumn, Unseen};

    fn recipe() -> Recipe {
        Recipe {
            series: Some("id".to_owned()),
            time: TimeColumn { column: "t".to_owned(), unit: Default::default() },
            cyclical: Vec::new(),
            one_hot: vec!["c".to_owned()],
            scale: Scale::None,
            drop: Vec::new(),
            missing: Missing::ForwardFill,
            unseen: Unseen::Error,
        }
    }

    /// A row's series, `x`, `flag` and `c`.
    type Row = (u8, Option<f64>, Option<bool>, Option<&'static str>);

    fn raw(rows: &[Row]) -> RecordBatch {
        let ids = StringArray::from_iter_values(rows.iter().map(|row| format!("f{}", row.0)));
        let times = Int64Array::from_iter_values(0..rows.len() as i64);
        let columns: [(&str, ArrayRef); 5] = [
            ("id", Arc::new(ids)),
            ("t", Arc::new(times)),
            ("x", Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>())),
            ("flag", Arc::new(rows.iter().map(|row| row.2).collect::<BooleanArray>())),
            ("c", Arc::new(rows.iter().map(|row| row.3).collect::<StringArray>())),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, c)| (name, c, true))).unwrap()
    }

    proptest! {
        #[test]
        fn each_gap_takes_the_last_value_of_its_series_whatever_the_blocks(
            rows in prop::collection::vec(
                (
                    0..3_u8,
                    prop::option::of(prop_oneof![Just(f64::NAN), -9.0..9.0]),
                    any::<Option<bool>>(),
                    prop::option::of(prop_oneof![Just("u"), Just("v")]),
                ),
                1..60,
            ),
            cuts in prop::collection::vec(0..60_usize, 0..4),
        ) {
            // Every series begins with values.
            let start = (0..3).map(|id| (id, Some(0.5), Some(true), Some("u")));
            let rows: Vec<_> = start.chain(rows).collect();
            let raw = raw(&rows);
            let mut last = [(0.0, false, ""); 3];
            let expected: Vec<_> = rows
                .iter()
                .map(|(id, x, flag, c)| {
                    let last = &mut last[usize::from(*id)];
                    last.0 = x.filter(|x| x.is_finite()).unwrap_or(last.0);
                    last.1 = flag.unwrap_or(last.1);
                    last.2 = c.unwrap_or(last.2);
                    (*id, Some(last.0), Some(last.1), Some(last.2))
                })
                .collect();
            let mut ends: Vec<usize> = cuts.into_iter().filter(|cut| *cut < rows.len()).collect();
            ends.push(rows.len());
            ends.sort_unstable();
            let (mut filler, mut start, mut blocks) = (Filler::default(), 0, Vec::new());
            for end in ends {
                let block = raw.slice(start, end - start);
                blocks.push(filler.fill(&recipe(), &block, start as u64).unwrap());
                start = end;
            }
            let filled = concat_batches(&raw.schema(), &blocks).unwrap();
            prop_assert_eq!(filled, super::tests::raw(&expected));
        }
    }
}
