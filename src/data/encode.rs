//! Applying a [`Transform`]: raw rows in, keys and features out.
//!
//! Columns are worked one by one, each as one vector. The keys come first (series, time), then the
//! features as `Float64`, in the order of [`Transform::features`].

use std::collections::HashMap;
use std::f64::consts::TAU;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::fill::Filler;
use super::fit::{Recipe, missing};
use super::transform::{Number, OneHot, column};
use super::values::{self, MISSING};
use super::{DataError, Missing, Scale, Transform, Unseen, time};

/// The place of a category that is not among those known.
const UNSEEN: u32 = MISSING - 1;

/// A transform made ready for many batches.
pub struct Encoder<'a> {
    transform: &'a Transform,
    /// The place of each category among its column's.
    places: Vec<HashMap<&'a str, u32>>,
}

/// Encoded rows.
pub struct Encoded {
    /// Keys and features, one row for each raw row.
    pub batch: RecordBatch,
    /// Under `missing: drop`, which rows have all their values; the others hold zeros. `None` where
    /// all have.
    pub whole: Option<Vec<bool>>,
}

impl Transform {
    /// Turns raw rows into keys and features.
    ///
    /// Raw columns are found by name and may have any order; others are left aside. Rows are left
    /// out under `missing: drop`, and filled from the earlier rows of the batch under
    /// `forward_fill`.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a column is absent or a value breaks a rule.
    pub fn apply(&self, raw: &RecordBatch) -> Result<RecordBatch, DataError> {
        let filled = match self.missing {
            Missing::ForwardFill => {
                Filler::default().fill(&self.recipe(), &self.read_by(raw)?, 0)?
            }
            Missing::Error | Missing::Drop | Missing::Mean => raw.clone(),
        };
        let Encoded { batch, whole } = Encoder::new(self).encode(&filled, &|row| row as u64)?;
        match whole {
            Some(whole) => Ok(filter_record_batch(&batch, &BooleanArray::from(whole))?),
            None => Ok(batch),
        }
    }

    /// Gives the schema of encoded rows, for raw rows of a schema.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a key column is absent.
    pub fn schema(&self, raw: &Schema) -> Result<SchemaRef, DataError> {
        let mut fields = Vec::new();
        let field = |name: &str| {
            let there = raw.fields().iter().map(|field| field.name().as_str());
            raw.field_with_name(name).map_err(|_| DataError::absent(name, there))
        };
        if let Some(series) = &self.series {
            let series = field(series)?;
            fields.push(Field::new(series.name(), series_type(series.data_type()), false));
        }
        fields.push(time::stored_field(field(&self.time.column)?));
        let features = self.features.iter();
        fields.extend(features.map(|feature| Field::new(feature, DataType::Float64, false)));
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Keeps the raw columns that the transform reads.
    pub(super) fn read_by(&self, raw: &RecordBatch) -> Result<RecordBatch, DataError> {
        let keys = self.series.iter().chain([&self.time.column]);
        let numbers = self.numbers.iter().map(|number| &number.column);
        let categories = self.one_hot.iter().map(|one_hot| &one_hot.column);
        let mut columns: Vec<(&String, ArrayRef)> = Vec::new();
        for name in keys.chain(numbers).chain(categories) {
            if columns.iter().all(|(there, _)| *there != name) {
                columns.push((name, column(raw, name)?));
            }
        }
        Ok(RecordBatch::try_from_iter(columns)?)
    }

    /// Gives the recipe that the transform was fitted to, as far as applying it needs one.
    pub(super) fn recipe(&self) -> Recipe {
        Recipe {
            series: self.series.clone(),
            time: self.time.clone(),
            cyclical: self.cyclical.clone(),
            one_hot: self.one_hot.iter().map(|one_hot| one_hot.column.clone()).collect(),
            scale: Scale::None,
            drop: Vec::new(),
            missing: self.missing,
            unseen: self.unseen,
        }
    }
}

/// Gives the type of a series key: text in every representation becomes `Utf8`.
fn series_type(raw: &DataType) -> DataType {
    match raw {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, values) => series_type(values),
        kind => kind.clone(),
    }
}

impl<'a> Encoder<'a> {
    /// Makes a transform ready.
    pub fn new(transform: &'a Transform) -> Encoder<'a> {
        let places = |one_hot: &'a OneHot| {
            let categories = one_hot.categories.iter().enumerate();
            categories.map(|(place, category)| (category.as_str(), place as u32)).collect()
        };
        Encoder { transform, places: transform.one_hot.iter().map(places).collect() }
    }

    /// Gives the number of columns of encoded rows.
    pub fn width(&self) -> usize {
        self.transform.features.len() + 1 + usize::from(self.transform.series.is_some())
    }

    /// Encodes raw rows, one for one; `number` gives a row's number in the table, for messages.
    ///
    /// Rows of `forward_fill` must have been filled.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a column is absent or a value breaks a rule.
    pub fn encode(
        &self,
        raw: &RecordBatch,
        number: &dyn Fn(usize) -> u64,
    ) -> Result<Encoded, DataError> {
        let transform = self.transform;
        let schema = transform.schema(raw.schema_ref())?;
        let mut rows = Rows { number, missing: transform.missing, whole: None };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        if let Some(name) = &transform.series {
            let series = cast(&column(raw, name)?, schema.field(0).data_type())?;
            rows.check_key(name, &series)?;
            columns.push(without_nulls(&series)?);
        }
        let name = &transform.time.column;
        let raw_times = column(raw, name)?;
        let micros = time::micros(&raw_times, &transform.time, number(0))?;
        rows.check_key(name, &micros)?;
        columns.push(without_nulls(&time::stored(&raw_times, &micros)?)?);
        for number in &transform.numbers {
            columns.push(rows.number(number, &column(raw, &number.column)?)?);
        }
        for (one_hot, places) in transform.one_hot.iter().zip(&self.places) {
            let places = rows.places(transform, one_hot, places, &column(raw, &one_hot.column)?)?;
            for category in 0..one_hot.categories.len() as u32 {
                let flag = |place: &u32| f64::from(u8::from(*place == category));
                columns.push(Arc::new(Float64Array::from_iter_values(places.iter().map(flag))));
            }
        }
        for cycle in &transform.cyclical {
            columns.extend(wave(&micros, |micros| cycle.phase(micros)));
        }
        let batch = RecordBatch::try_new(schema, columns)?;
        Ok(Encoded { batch, whole: rows.whole })
    }
}

/// Gives the sine and the cosine of a phase from 0 to 1.
fn wave(micros: &Int64Array, phase: impl Fn(i64) -> f64) -> [ArrayRef; 2] {
    let angles: Vec<f64> = micros.values().iter().map(|time| phase(*time) * TAU).collect();
    let sines = Float64Array::from_iter_values(angles.iter().map(|angle| angle.sin()));
    let cosines = Float64Array::from_iter_values(angles.iter().map(|angle| angle.cos()));
    [Arc::new(sines), Arc::new(cosines)]
}

/// Puts the type's zero in place of nulls, which only rows that are left out still have.
fn without_nulls(keys: &ArrayRef) -> Result<ArrayRef, DataError> {
    if keys.null_count() == 0 {
        return Ok(keys.clone());
    }
    Ok(arrow::array::make_array(keys.to_data().into_builder().nulls(None).build()?))
}

/// The rows of a batch while they are encoded.
struct Rows<'a> {
    /// Gives a row's number in the table.
    number: &'a dyn Fn(usize) -> u64,
    missing: Missing,
    whole: Option<Vec<bool>>,
}

impl Rows<'_> {
    /// Leaves a row out where the rule says so, and fails else.
    fn leave_out(&mut self, name: &str, row: usize, rows: usize) -> Result<(), DataError> {
        if self.missing != Missing::Drop {
            return Err(missing((self.number)(row), name));
        }
        self.whole.get_or_insert_with(|| vec![true; rows])[row] = false;
        Ok(())
    }

    fn check_key(&mut self, name: &str, keys: &dyn Array) -> Result<(), DataError> {
        let Some(nulls) = keys.nulls().filter(|nulls| nulls.null_count() > 0) else {
            return Ok(());
        };
        let mut gaps = (0..keys.len()).filter(|row| nulls.is_null(*row));
        gaps.try_for_each(|row| self.leave_out(name, row, keys.len()))
    }

    /// Scales a numeric column.
    fn number(&mut self, number: &Number, raw: &ArrayRef) -> Result<ArrayRef, DataError> {
        let values = values::numbers(&number.column, raw)?;
        let mut scaled: Vec<f64> = values.iter().map(|value| number.scaled(*value)).collect();
        if scaled.iter().all(|value| value.is_finite()) {
            return Ok(Arc::new(Float64Array::from(scaled)));
        }
        for row in 0..scaled.len() {
            if values[row].is_nan() && self.missing == Missing::Mean {
                scaled[row] = number.scaled(number.mean);
            } else if values[row].is_nan() {
                scaled[row] = 0.0;
                self.leave_out(&number.column, row, values.len())?;
            } else if !scaled[row].is_finite() {
                let message = format!("{} is too far from the train rows to scale", values[row]);
                return Err(DataError::value((self.number)(row), &number.column, message)
                    .with_help("correct the value, or drop the column"));
            }
        }
        Ok(Arc::new(Float64Array::from(scaled)))
    }

    /// Finds the place of each row's category among those of the column.
    fn places(
        &mut self,
        transform: &Transform,
        one_hot: &OneHot,
        places: &HashMap<&str, u32>,
        raw: &ArrayRef,
    ) -> Result<Vec<u32>, DataError> {
        let codes = values::codes(&one_hot.column, raw)?;
        let place = |key: &values::Key| places.get(key.to_string().as_str()).copied();
        let by_code: Vec<u32> = codes.keys.iter().map(|key| place(key).unwrap_or(UNSEEN)).collect();
        let mut found = Vec::with_capacity(codes.rows.len());
        for (row, code) in codes.rows.iter().enumerate() {
            let place = by_code.get(*code as usize).copied().unwrap_or(MISSING);
            match place {
                MISSING => self.leave_out(&one_hot.column, row, codes.rows.len())?,
                UNSEEN if transform.unseen == Unseen::Error => {
                    let key = &codes.keys[*code as usize];
                    let message = format!("no train row has the category `{key}`");
                    let row = (self.number)(row);
                    return Err(DataError::value(row, &one_hot.column, message)
                        .with_help("choose `unseen: zero`, or split otherwise"));
                }
                _ => {}
            }
            found.push(place);
        }
        Ok(found)
    }
}
