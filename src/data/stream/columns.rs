//! The columns that windows read, found and checked before the first row is.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Schema};

use super::super::error::quoted;
use super::super::source::Table;
use super::super::transform::{Holds, Number, column};
use super::super::values;
use super::super::window::WindowSpec;
use super::super::{DataError, Missing, Transform, csv};
use crate::suggest;

/// The columns that windows read, and how they become inputs.
#[derive(Clone, Debug)]
pub struct Columns {
    spec: WindowSpec,
    features: Vec<String>,
    /// What makes the features, and nothing else.
    transform: Transform,
    /// How the target is scaled.
    number: Number,
}

impl Columns {
    /// Finds what windows of `spec` read, where `transform` was fitted; features that are not named
    /// are all but the target.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the transform makes no such feature or target.
    pub fn new(spec: WindowSpec, transform: &Transform) -> Result<Columns, DataError> {
        let all = || transform.features.iter().filter(|name| **name != spec.target);
        let features = spec.features.clone().unwrap_or_else(|| all().cloned().collect());
        let number = transform.number(&spec.target)?.clone();
        Ok(Columns { transform: transform.making(&features)?, features, number, spec })
    }

    /// Gives the spec of the windows.
    pub fn spec(&self) -> &WindowSpec {
        &self.spec
    }

    /// Gives the transform that makes the features.
    pub(super) fn transform(&self) -> &Transform {
        &self.transform
    }

    /// Gives the features in the order of the inputs.
    pub(super) fn features(&self) -> &[String] {
        &self.features
    }

    /// Gives how the target is scaled.
    pub fn number(&self) -> &Number {
        &self.number
    }

    /// Gives the number of inputs of each step.
    pub fn inputs(&self) -> usize {
        self.features.len() + usize::from(self.spec.target_history)
    }

    /// Gives the rows of a series up to the end of its first window.
    pub fn needed(&self) -> u64 {
        let before = self.spec.target_history && self.spec.horizon == 0;
        (self.spec.window + usize::from(before)) as u64
    }

    /// Gives the raw columns that are read, each once: keys, numbers, categories, then the target
    /// where its past is read.
    pub fn names(&self) -> Vec<&str> {
        let Transform { series, time, numbers, one_hot, .. } = &self.transform;
        let keys = series.iter().chain([&time.column]);
        let columns = keys.chain(numbers.iter().map(|number| &number.column));
        let columns = columns.chain(one_hot.iter().map(|one_hot| &one_hot.column));
        let target = self.spec.target_history.then_some(&self.spec.target);
        let mut names: Vec<&str> = Vec::new();
        for name in columns.chain(target) {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    /// Finds the columns in a table, for [`Table::read`], in the order of [`Columns::names`].
    ///
    /// # Errors
    ///
    /// [`DataError`] with the columns that are absent, or the first that holds what it must not.
    pub fn find(&self, table: &Table) -> Result<Vec<usize>, DataError> {
        self.check(table.schema()).map_err(|wrong| match wrong {
            Wrong::Text(name) => first_text(table, name).unwrap_or_else(|error| error),
            Wrong::Other(error) => error,
        })?;
        table.find(&self.names())
    }

    fn check(&self, table: &Schema) -> Result<(), Wrong<'_>> {
        let there = || table.fields().iter().map(|field| field.name().as_str());
        let names = self.names();
        let absent: Vec<&str> =
            names.iter().copied().filter(|name| there().all(|other| other != *name)).collect();
        match absent.as_slice() {
            [] => {}
            [name] if *name == self.spec.target => return Err(self.without_target(there()).into()),
            [name] => return Err(DataError::absent(name, there()).into()),
            _ => return Err(lacking(&absent, there()).into()),
        }
        let kind = |name: &str| table.field_with_name(name).map(|field| field.data_type());
        let numbers = self.transform.numbers.iter().map(|number| &number.column);
        for name in numbers.chain(self.spec.target_history.then_some(&self.spec.target)) {
            let kind = kind(name).map_err(DataError::from)?;
            match Holds::of(kind) {
                Some(Holds::Booleans | Holds::Integers | Holds::Floats) => {}
                Some(Holds::Text) => return Err(Wrong::Text(name)),
                None => return Err(of_type(name, kind, "the model reads numbers there").into()),
            }
        }
        let categories = self.transform.one_hot.iter().map(|one_hot| &one_hot.column);
        for name in self.spec.series.iter().chain(categories) {
            let kind = kind(name).map_err(DataError::from)?;
            if !values::can_name(kind) {
                let rule = "text, whole numbers and booleans can name series and categories";
                return Err(of_type(name, kind, rule).into());
            }
        }
        Ok(())
    }

    fn without_target<'a>(&self, there: impl Iterator<Item = &'a str>) -> DataError {
        let target = &self.spec.target;
        let help = suggest::did_you_mean(target, there).unwrap_or_else(|| {
            "the model reads past values of what it predicts: keep the column, with empty cells \
             where they are not known"
                .to_owned()
        });
        DataError::column(target, "the table has no such column").with_help(help)
    }

    /// Gives the target of a block of raw rows as it is scaled, NaN where it is missing and nothing
    /// stands in; `None` where no window reads it.
    pub(super) fn target(
        &self,
        raw: &RecordBatch,
        first_row: u64,
    ) -> Result<Option<Vec<f32>>, DataError> {
        if !self.spec.target_history {
            return Ok(None);
        }
        let name = &self.spec.target;
        let raw = values::numbers(name, &column(raw, name)?)?;
        let mean = self.transform.missing == Missing::Mean;
        let scaled = |value: &f64| match mean && value.is_nan() {
            true => self.number.scaled(self.number.mean),
            false => self.number.scaled(*value),
        };
        let scaled: Vec<f64> = raw.iter().map(scaled).collect();
        self.check_floats(name, &scaled, first_row)?;
        Ok(Some(scaled.into_iter().map(|value| value as f32).collect()))
    }

    /// Fails at the first value that is too large for the network's floats; NaN passes.
    pub(super) fn check_floats(
        &self,
        name: &str,
        values: &[f64],
        first_row: u64,
    ) -> Result<(), DataError> {
        match values.iter().position(|value| (*value as f32).is_infinite()) {
            None => Ok(()),
            Some(row) => {
                let message = "it is too far from the train rows to scale";
                let error = DataError::value(first_row + row as u64, name, message);
                Err(self.explained(error))
            }
        }
    }

    /// Gives an error of a row the way out that a prediction has: the rules are the model's.
    pub(super) fn explained(&self, error: DataError) -> DataError {
        match error {
            DataError::Value { .. } => error.with_help(
                "correct the value or leave the row out; what a model takes is said by `missing` \
                 and `unseen` of the `preprocess` stage that it was trained behind",
            ),
            other => other,
        }
    }

    /// Makes the error of a row that is earlier than the row before it in its series.
    pub(super) fn out_of_order(&self, row: u64) -> DataError {
        let time = &self.spec.time.column;
        let keys: Vec<&String> = self.spec.series.iter().chain([time]).collect();
        let message = match keys.len() {
            1 => "it is earlier than the row before it",
            _ => "it is earlier than the row before it in its series",
        };
        DataError::value(row, time, message).with_help(format!(
            "windows need rows in order of time: sort the table by {}",
            quoted(&keys)
        ))
    }
}

fn lacking<'a>(absent: &[&str], there: impl Iterator<Item = &'a str>) -> DataError {
    let there: Vec<&str> = there.collect();
    let near = absent.iter().filter_map(|name| {
        let near = suggest::nearest(name, there.iter().copied())?;
        Some(format!("did you mean `{near}` by `{name}`?"))
    });
    let near: Vec<String> = near.collect();
    let help = match near.is_empty() {
        true => format!("the table has {}", quoted(&there)),
        false => near.join(" "),
    };
    DataError::rows(format!("the table has no columns {}", quoted(absent))).with_help(help)
}

fn of_type(name: &str, kind: &DataType, rule: &str) -> DataError {
    DataError::column(name, format!("it has the type {kind}")).with_help(rule)
}

/// Makes the error of the first value of a column of text that is no number.
fn first_text(table: &Table, name: &str) -> Result<DataError, DataError> {
    let column = table.find(&[name])?;
    for block in 0..table.blocks() {
        let batch = table.read(block, &column)?;
        let text = batch.column(0).as_string::<i32>();
        let is_number = |value: &str| csv::is_missing(value) || value.parse::<f64>().is_ok();
        let value = |row: usize| text.is_valid(row).then(|| text.value(row).trim());
        let other = |row: &usize| value(*row).is_some_and(|value| !is_number(value));
        if let Some(row) = (0..text.len()).find(other) {
            let message = format!("`{}` is not a number", text.value(row));
            return Ok(DataError::value(table.first_row(block) + row as u64, name, message)
                .with_help("the model reads numbers there: correct the value, or leave it empty"));
        }
    }
    Ok(DataError::column(name, "it holds numbers as text")
        .with_help("the model reads numbers there: give them as such"))
}

/// What is wrong with a table's columns.
enum Wrong<'a> {
    /// A column of numbers holds text.
    Text(&'a str),
    Other(DataError),
}

impl From<DataError> for Wrong<'_> {
    fn from(error: DataError) -> Self {
        Wrong::Other(error)
    }
}
