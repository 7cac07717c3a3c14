//! The fitted transform of a table: how raw columns become features, and back.
//!
//! It is plain data, kept as JSON beside the tables and within a model, so that a prediction takes
//! raw columns and gives raw units. [`super::fit`] makes it; [`super::encode`] applies it.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use serde::{Deserialize, Serialize};

use super::{Cyclical, DataError, Missing, Scale, TimeColumn, Unseen};

/// The version of the JSON's form. 1: the first.
pub const TRANSFORM_VERSION: u32 = 1;

/// The name of the column that says which part a row plays, in a table of all parts.
pub const SPLIT_COLUMN: &str = "split";

/// How raw columns become features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// The version of this form.
    pub version: u32,
    /// The key column that names a row's series, if there is one.
    pub series: Option<String>,
    /// The key column that says when a row was.
    pub time: TimeColumn,
    /// Every feature, in the order of the encoded columns: numbers, categories, cycles.
    pub features: Vec<String>,
    /// The numeric and boolean columns, each a feature under its own name.
    pub numbers: Vec<Number>,
    /// The columns that become a feature for each of their categories.
    pub one_hot: Vec<OneHot>,
    /// The cycles that become a sine and a cosine.
    pub cyclical: Vec<Cyclical>,
    /// What happens to a row with a missing value.
    pub missing: Missing,
    /// What happens to a category that is not among those known.
    pub unseen: Unseen,
}

/// A numeric column and how it is scaled: the feature is `(raw - offset) / scale`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// The column, and the feature.
    pub column: String,
    /// What the raw column holds.
    pub holds: Holds,
    /// The way in which it was fitted.
    pub scaler: Scale,
    /// What is subtracted.
    pub offset: f64,
    /// What is divided by; never 0.
    pub scale: f64,
    /// The mean over the train rows, in raw units.
    pub mean: f64,
}

/// A column of categories.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OneHot {
    /// The column.
    pub column: String,
    /// What the raw column holds.
    pub holds: Holds,
    /// The categories of the train rows in order; each is the feature `column_category`.
    pub categories: Vec<String>,
}

/// What a raw column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holds {
    /// `true` and `false`, which are the numbers 1 and 0.
    Booleans,
    /// Whole numbers.
    Integers,
    /// Numbers.
    Floats,
    /// Text.
    Text,
}

impl Holds {
    /// Finds what a column of an Arrow type holds, if it is something that can be encoded.
    pub fn of(kind: &DataType) -> Option<Holds> {
        match kind {
            DataType::Boolean => Some(Holds::Booleans),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(Holds::Text),
            kind if kind.is_integer() => Some(Holds::Integers),
            kind if kind.is_numeric() => Some(Holds::Floats),
            _ => None,
        }
    }
}

impl Number {
    /// Gives the feature of a raw value.
    pub fn scaled(&self, raw: f64) -> f64 {
        (raw - self.offset) / self.scale
    }

    /// Gives the raw value of a feature.
    pub fn raw(&self, scaled: f64) -> f64 {
        scaled * self.scale + self.offset
    }
}

impl OneHot {
    /// Gives the names of its features, in the order of its categories.
    pub fn features(&self) -> impl Iterator<Item = String> {
        self.categories.iter().map(|category| format!("{}_{category}", self.column))
    }
}

impl Transform {
    /// Reads a transform from its JSON file.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the file cannot be read or is of another version.
    pub fn read(path: &Path) -> Result<Transform, DataError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|e| DataError::file(path, "read the file", e))?;
        let transform: Transform = serde_json::from_str(&text)
            .map_err(|e| DataError::table(path, format!("it is not a transform: {e}")))?;
        match transform.version {
            TRANSFORM_VERSION => Ok(transform),
            other => {
                let message = format!("its version is {other}, not {TRANSFORM_VERSION}");
                Err(DataError::table(path, message).with_help("make it again with this `runner`"))
            }
        }
    }

    /// Gives the transform as JSON.
    pub fn to_json(&self) -> String {
        // Plain data with finite numbers, which JSON can always hold.
        let text = serde_json::to_string_pretty(self).expect("a transform serializes to JSON");
        text + "\n"
    }

    /// Writes the transform to a JSON file.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), DataError> {
        std::fs::write(path, self.to_json()).map_err(|e| DataError::file(path, "write the file", e))
    }

    /// Finds the numeric column of that name.
    ///
    /// # Errors
    ///
    /// [`DataError`] where it is none, with the nearest name that is.
    pub fn number(&self, column: &str) -> Result<&Number, DataError> {
        self.numbers.iter().find(|number| number.column == column).ok_or_else(|| {
            let there = self.numbers.iter().map(|number| number.column.as_str());
            DataError::absent(column, there)
        })
    }

    /// Keeps what makes some of the features, so that no other column is read.
    ///
    /// What makes one of a column's features makes all of them.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a feature is not among those of the transform.
    pub fn making(&self, features: &[String]) -> Result<Transform, DataError> {
        let known = || self.features.iter().map(String::as_str);
        if let Some(other) = features.iter().find(|name| !self.features.contains(name)) {
            return Err(DataError::absent(other, known()));
        }
        let wanted = |name: &String| features.contains(name);
        let mut narrow = self.clone();
        narrow.numbers.retain(|number| wanted(&number.column));
        narrow.one_hot.retain(|one_hot| one_hot.features().any(|name| wanted(&name)));
        narrow.cyclical.retain(|cycle| cycle.features().iter().any(wanted));
        narrow.features = narrow.numbers.iter().map(|number| number.column.clone()).collect();
        narrow.features.extend(narrow.one_hot.iter().flat_map(OneHot::features));
        narrow.features.extend(narrow.cyclical.iter().flat_map(|cycle| cycle.features()));
        Ok(narrow)
    }

    /// Turns the values of a feature back into raw units, in place.
    ///
    /// # Errors
    ///
    /// [`DataError`] where `column` is not a numeric column.
    pub fn invert(&self, column: &str, values: &mut [f64]) -> Result<(), DataError> {
        let number = self.number(column)?;
        values.iter_mut().for_each(|value| *value = number.raw(*value));
        Ok(())
    }

    /// Turns encoded rows back into raw columns: keys, numbers, categories, then what else there
    /// is (such as `split`).
    ///
    /// Columns have the type that the raw ones had: whole numbers are rounded, booleans are cut at
    /// a half. A category is that of the largest feature, and missing where none is above 0.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a feature is absent.
    pub fn invert_batch(&self, encoded: &RecordBatch) -> Result<RecordBatch, DataError> {
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for key in self.series.iter().chain([&self.time.column]) {
            columns.push((key.clone(), column(encoded, key)?));
        }
        for number in &self.numbers {
            let scaled = column(encoded, &number.column)?;
            columns.push((number.column.clone(), raw_numbers(number, &scaled)?));
        }
        for one_hot in self.one_hot.iter().filter(|one| self.series.as_ref() != Some(&one.column)) {
            columns.push((one_hot.column.clone(), raw_categories(one_hot, encoded)?));
        }
        for (field, column) in encoded.schema_ref().fields().iter().zip(encoded.columns()) {
            let known = columns.iter().any(|(name, _)| name == field.name());
            if !known && !self.features.contains(field.name()) {
                columns.push((field.name().clone(), column.clone()));
            }
        }
        Ok(RecordBatch::try_from_iter(columns)?)
    }
}

/// Finds the column of that name in a batch.
///
/// # Errors
///
/// [`DataError`] where it is absent, with the nearest name that is there.
pub fn column(batch: &RecordBatch, name: &str) -> Result<ArrayRef, DataError> {
    let there = || batch.schema_ref().fields().iter().map(|field| field.name().as_str());
    batch.column_by_name(name).cloned().ok_or_else(|| DataError::absent(name, there()))
}

fn raw_numbers(number: &Number, scaled: &ArrayRef) -> Result<ArrayRef, DataError> {
    let scaled = cast(scaled, &DataType::Float64)?;
    let raw: Float64Array = scaled.as_primitive::<Float64Type>().unary(|value| number.raw(value));
    Ok(match number.holds {
        Holds::Booleans => {
            Arc::new(raw.iter().map(|raw| raw.map(|raw| raw >= 0.5)).collect::<BooleanArray>())
        }
        Holds::Integers => Arc::new(
            raw.iter().map(|raw| raw.map(|raw| raw.round() as i64)).collect::<Int64Array>(),
        ),
        Holds::Floats | Holds::Text => Arc::new(raw),
    })
}

fn raw_categories(one_hot: &OneHot, encoded: &RecordBatch) -> Result<ArrayRef, DataError> {
    let mut largest = vec![(0.0, None); encoded.num_rows()];
    for (feature, category) in one_hot.features().zip(&one_hot.categories) {
        let values = cast(&column(encoded, &feature)?, &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>().values().clone();
        for (largest, value) in largest.iter_mut().zip(values.iter()) {
            if *value > largest.0 {
                *largest = (*value, Some(category.as_str()));
            }
        }
    }
    let text: StringArray = largest.into_iter().map(|(_, category)| category).collect();
    let kind = match one_hot.holds {
        Holds::Booleans => DataType::Boolean,
        Holds::Integers => DataType::Int64,
        Holds::Floats | Holds::Text => DataType::Utf8,
    };
    Ok(cast(&text, &kind)?)
}
