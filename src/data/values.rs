//! Columns as plain numbers and as small codes.
//!
//! Knows Arrow's types and nothing of what becomes of the values.

use std::collections::HashMap;
use std::fmt;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::ScalarBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::DataError;

/// The code of a missing value.
pub(super) const MISSING: u32 = u32::MAX;

/// Gives a numeric or boolean column as floats; missing and infinite values are NaN.
pub(super) fn numbers(name: &str, column: &ArrayRef) -> Result<ScalarBuffer<f64>, DataError> {
    if let Some(flags) = column.as_boolean_opt() {
        let value = |flag: Option<bool>| flag.map_or(f64::NAN, |flag| f64::from(u8::from(flag)));
        return Ok(flags.iter().map(value).collect());
    }
    if !column.data_type().is_numeric() {
        let message = format!("it has the type {} and not numbers", column.data_type());
        return Err(DataError::column(name, message));
    }
    let column = cast(column, &DataType::Float64)?;
    let floats = column.as_primitive::<Float64Type>();
    let whole = floats.null_count() == 0 && floats.values().iter().all(|value| value.is_finite());
    if whole {
        return Ok(floats.values().clone());
    }
    let value = |value: Option<f64>| value.filter(|value| value.is_finite()).unwrap_or(f64::NAN);
    Ok(floats.iter().map(value).collect())
}

/// A value that names something: a series or a category.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Key {
    Boolean(bool),
    Whole(i64),
    Text(String),
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Boolean(flag) => write!(out, "{flag}"),
            Key::Whole(number) => write!(out, "{number}"),
            Key::Text(text) => out.write_str(text),
        }
    }
}

/// The distinct values of a column, in order of appearance, and the place among them of each row's.
pub(super) struct Codes {
    pub keys: Vec<Key>,
    /// [`MISSING`] where a row has none.
    pub rows: Vec<u32>,
}

/// Tells whether a type can name series and categories.
pub(super) fn can_name(kind: &DataType) -> bool {
    kind.is_integer()
        || matches!(
            kind,
            DataType::Boolean | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        )
        || matches!(kind, DataType::Dictionary(_, values) if can_name(values))
}

/// Gives the codes of a column of text, whole numbers or booleans.
pub(super) fn codes(name: &str, column: &ArrayRef) -> Result<Codes, DataError> {
    let plain = match column.data_type() {
        DataType::Dictionary(_, values) => cast(column, values)?,
        _ => column.clone(),
    };
    match plain.data_type() {
        kind if !can_name(kind) => Err(DataError::column(name, format!("it has the type {kind}"))
            .with_help("text, whole numbers and booleans can name series and categories")),
        DataType::Boolean => Ok(code(plain.as_boolean().iter(), Key::Boolean)),
        kind if kind.is_integer() => {
            let numbers = cast(&plain, &DataType::Int64)?;
            if numbers.null_count() > plain.null_count() {
                return Err(DataError::column(name, "it has a number beyond 64 bits with a sign"));
            }
            Ok(code(numbers.as_primitive::<Int64Type>().iter(), Key::Whole))
        }
        _ => {
            let text = cast(&plain, &DataType::Utf8)?;
            Ok(code(text.as_string::<i32>().iter(), |text: &str| Key::Text(text.to_owned())))
        }
    }
}

fn code<T: Eq + std::hash::Hash + Copy>(
    values: impl Iterator<Item = Option<T>>,
    key: impl Fn(T) -> Key,
) -> Codes {
    let (mut known, mut keys) = (HashMap::new(), Vec::new());
    // Tables are often sorted by series, so most values are that of the row before.
    let mut last: Option<(T, u32)> = None;
    let rows = values.map(|value| {
        let Some(value) = value else { return MISSING };
        if let Some((before, code)) = last
            && before == value
        {
            return code;
        }
        let code = *known.entry(value).or_insert_with(|| {
            keys.push(key(value));
            keys.len() as u32 - 1
        });
        last = Some((value, code));
        code
    });
    let rows = rows.collect();
    Codes { keys, rows }
}

/// Numbers for the names of series, in order of appearance over all blocks.
#[derive(Default)]
pub(super) struct Names {
    known: HashMap<Key, u32>,
}

impl Names {
    /// Gives the number of names so far.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Gives the name of a number.
    pub(super) fn name(&self, number: u32) -> Option<String> {
        self.known.iter().find(|(_, other)| **other == number).map(|(key, _)| key.to_string())
    }

    /// Gives the number of each row's name; blocks come in order.
    pub(super) fn number(&mut self, block: &Codes) -> Vec<u32> {
        let numbers: Vec<u32> = block
            .keys
            .iter()
            .map(|key| {
                let next = self.known.len() as u32;
                *self.known.entry(key.clone()).or_insert(next)
            })
            .collect();
        let number = |code: &u32| numbers.get(*code as usize).copied().unwrap_or(MISSING);
        block.rows.iter().map(number).collect()
    }
}
