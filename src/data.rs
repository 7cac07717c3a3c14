//! Tables: Arrow batches, Parquet and CSV in and out, split, window, encode, scale.
//!
//! Knows nothing of stages, the store or runs: functions take paths and batches, and a closure to
//! report to.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod convert;
mod csv;
pub mod encode;
mod error;
pub mod fill;
pub mod fit;
pub mod lambda;
pub mod look;
pub mod parallel;
pub mod sample;
pub mod sink;
pub mod source;
pub mod split;
pub mod stream;
pub mod table;
pub mod time;
pub mod transform;
mod values;
pub mod window;
pub mod writer;

pub use convert::{CONVERTER_VERSION, convert};
pub use error::DataError;
pub use transform::Transform;

/// A format of tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Comma-separated values with a header.
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl Format {
    /// Gives the format's word, which is also its files' ending.
    pub fn name(self) -> &'static str {
        match self {
            Format::Csv => "csv",
            Format::Parquet => "parquet",
        }
    }

    /// Finds the format that a file's ending names.
    pub fn from_extension(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?;
        if ending.eq_ignore_ascii_case("csv") {
            Some(Format::Csv)
        } else if ending.eq_ignore_ascii_case("parquet") {
            Some(Format::Parquet)
        } else {
            None
        }
    }
}

/// A feature made from the time of a row as a sine and a cosine, so that its end meets its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cyclical {
    /// The minute of the hour, 0 to 59.
    Minute,
    /// The hour of the day with its fraction, 0 to 24.
    Hour,
    /// The day of the week, Monday first.
    Weekday,
    /// The month of the year.
    Month,
}

/// How numeric columns are scaled; fitted on the train rows alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// To 0 and 1 at the smallest and largest train values.
    #[default]
    Minmax,
    /// To mean 0 and standard deviation 1.
    Standard,
    /// To median 0 and inter-quartile range 1.
    Robust,
    /// Not at all.
    None,
}

/// What happens to a row with a missing or non-finite value; under all but `drop`, a missing time
/// or series is an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The stage fails and names the row and the column.
    #[default]
    Error,
    /// The row is left out, before the split is made.
    Drop,
    /// The column's mean over the train rows stands in; a missing category is an error.
    Mean,
    /// The series' last value before the gap stands in; a gap at its start is an error. The rows of
    /// each series must be in order of time in the file.
    ForwardFill,
}

/// What happens to a category that the train rows do not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// The stage fails and names it.
    #[default]
    Error,
    /// All of the column's features are 0.
    Zero,
}

/// The unit of a numeric time column; date strings need none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Seconds since 1970-01-01 UTC.
    #[default]
    S,
    /// Milliseconds since 1970-01-01 UTC.
    Ms,
    /// Microseconds since 1970-01-01 UTC.
    Us,
    /// Nanoseconds since 1970-01-01 UTC.
    Ns,
}

/// The column that says when a row was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeColumn {
    /// The column's name. Numbers are since 1970 in `unit`; strings are dates (ISO 8601, or
    /// `YYYY-MM-DD HH:MM:SS`), taken as UTC where they name no zone.
    pub column: String,
    /// The unit of a numeric column.
    #[serde(default)]
    pub unit: TimeUnit,
}

/// How rows are dealt to train, validation and test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "by", rename_all = "snake_case", deny_unknown_fields)]
pub enum Split {
    /// By time: the earliest rows train, the latest test. The cut is the same time for every series,
    /// and rows of one time are never parted.
    Time {
        /// The share of all rows that trains.
        #[schemars(range(min = 0.0, max = 1.0))]
        train: f64,
        /// The share that validates.
        #[schemars(range(min = 0.0, max = 1.0))]
        validation: f64,
        /// The share that tests.
        #[schemars(range(min = 0.0, max = 1.0))]
        test: f64,
    },
    /// By row counts, in each series in order of time; rows beyond their sum are left out.
    Rows {
        /// Rows of a series that train.
        #[schemars(range(min = 1))]
        train: u64,
        /// Rows that validate.
        validation: u64,
        /// Rows that test.
        test: u64,
    },
    /// At random by row, in exact shares; for rows that do not depend on their neighbours.
    Random {
        /// The share of the rows that trains.
        #[schemars(range(min = 0.0, max = 1.0))]
        train: f64,
        /// The share that validates.
        #[schemars(range(min = 0.0, max = 1.0))]
        validation: f64,
        /// The share that tests.
        #[schemars(range(min = 0.0, max = 1.0))]
        test: f64,
        /// The seed of the draw.
        #[serde(default)]
        seed: u64,
    },
}
