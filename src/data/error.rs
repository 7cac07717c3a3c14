//! What can go wrong with a table: one enum, with the place first and a way out.

use std::path::{Path, PathBuf};

use arrow::error::ArrowError;

use crate::suggest;

/// Why a table could not be read, made or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file system refused.
    #[error("`{}`: cannot {act}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What was tried, such as `read the file`.
        act: &'static str,
        /// The system's words.
        source: std::io::Error,
    },
    /// The file is there and is not a table that can be used.
    #[error("`{}`: {message}", path.display())]
    Table {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// A way out.
        help: Option<String>,
    },
    /// A column is absent, or cannot be what it is asked to be.
    #[error("column `{column}`: {message}")]
    Column {
        /// Its name.
        column: String,
        /// What is wrong.
        message: String,
        /// A way out.
        help: Option<String>,
    },
    /// A value breaks a rule.
    #[error("row {row}, column `{column}`: {message}")]
    Value {
        /// The row, from 1; a header is not counted.
        row: u64,
        /// The column's name.
        column: String,
        /// What is wrong.
        message: String,
        /// A way out.
        help: Option<String>,
    },
    /// The rows do not allow what was asked of them as a whole.
    #[error("{message}")]
    Rows {
        /// What is wrong.
        message: String,
        /// A way out.
        help: Option<String>,
    },
    /// A batch could not be made.
    #[error("cannot make a batch of rows: {0}")]
    Batch(#[from] ArrowError),
    /// Whoever listens asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl DataError {
    /// Makes the error of a file-system call on `path`.
    pub fn file(path: &Path, act: &'static str, source: std::io::Error) -> DataError {
        DataError::File { path: path.to_owned(), act, source }
    }

    /// Makes the error of a file at `path` whose content is not as it must be.
    pub fn table(path: &Path, message: impl Into<String>) -> DataError {
        DataError::Table { path: path.to_owned(), message: message.into(), help: None }
    }

    /// Makes the error of a column.
    pub fn column(column: &str, message: impl Into<String>) -> DataError {
        DataError::Column { column: column.to_owned(), message: message.into(), help: None }
    }

    /// Makes the error of a value; `row` is counted from 0 and shown from 1.
    pub fn value(row: u64, column: &str, message: impl Into<String>) -> DataError {
        let (column, message) = (column.to_owned(), message.into());
        DataError::Value { row: row + 1, column, message, help: None }
    }

    /// Makes the error of the rows as a whole.
    pub fn rows(message: impl Into<String>) -> DataError {
        DataError::Rows { message: message.into(), help: None }
    }

    /// Makes the error of a column that is not in the table, with the nearest name that is.
    pub fn absent<'a>(column: &str, there: impl IntoIterator<Item = &'a str>) -> DataError {
        let there: Vec<&str> = there.into_iter().collect();
        let way_out = suggest::did_you_mean(column, there.iter().copied())
            .unwrap_or_else(|| format!("the table has {}", quoted(&there)));
        DataError::column(column, "the table has no such column").with_help(way_out)
    }

    /// Adds a way out, where the error has room for one.
    pub fn with_help(mut self, way_out: impl Into<String>) -> DataError {
        match &mut self {
            DataError::Table { help, .. }
            | DataError::Column { help, .. }
            | DataError::Value { help, .. }
            | DataError::Rows { help, .. } => *help = Some(way_out.into()),
            DataError::File { .. } | DataError::Batch(_) | DataError::Cancelled => {}
        }
        self
    }

    /// Gives the way out, if one is known.
    pub fn help(&self) -> Option<&str> {
        match self {
            DataError::Table { help, .. }
            | DataError::Column { help, .. }
            | DataError::Value { help, .. }
            | DataError::Rows { help, .. } => help.as_deref(),
            DataError::File { .. } | DataError::Batch(_) | DataError::Cancelled => None,
        }
    }

    /// Tells whether the same input would give the same error again.
    pub fn deterministic(&self) -> bool {
        matches!(self, DataError::Column { .. } | DataError::Value { .. } | DataError::Rows { .. })
    }
}

/// Lists names in backticks, the first dozen of them.
pub(super) fn quoted(names: &[impl AsRef<str>]) -> String {
    let mut list: Vec<String> =
        names.iter().take(12).map(|name| format!("`{}`", name.as_ref())).collect();
    if names.len() > list.len() {
        list.push(format!("{} more", names.len() - list.len()));
    }
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::DataError;

    #[test]
    fn an_absent_column_is_answered_with_the_nearest_name() {
        let there = ["FunctionID", "Timestamp", "ResponseTime"];
        let error = DataError::absent("TimeStamp", there);
        assert_eq!(error.to_string(), "column `TimeStamp`: the table has no such column");
        assert_eq!(error.help(), Some("did you mean `Timestamp`?"));
        let error = DataError::absent("wind", there);
        assert_eq!(error.help(), Some("the table has `FunctionID`, `Timestamp`, `ResponseTime`"));
    }
}
