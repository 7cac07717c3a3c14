//! A table that is written while it is made, as CSV or as Parquet.
//!
//! Knows nothing of what the columns mean, nor where the file will lie in the end.

use std::io::Write;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::SchemaRef;

use super::writer::{self, Appender, Encoder, ROWS_PER_GROUP};
use super::{DataError, Format, time};

/// A table that is being written.
pub enum Sink<'a> {
    /// Comma-separated values.
    Csv {
        /// Where they go.
        out: Box<dyn Write + 'a>,
        /// What that is called in messages.
        name: PathBuf,
        /// The columns, whose names are still to be written.
        header: Option<SchemaRef>,
    },
    /// Apache Parquet.
    Parquet(Box<Groups>),
}

/// A Parquet file and the rows that wait for their row group.
pub struct Groups {
    encoder: Encoder,
    appender: Appender,
    waiting: Vec<RecordBatch>,
    rows: usize,
}

impl<'a> Sink<'a> {
    /// Creates the file at `path` for rows of `schema`.
    ///
    /// # Errors
    ///
    /// [`DataError`] where it cannot be created.
    pub fn create(path: &Path, format: Format, schema: SchemaRef) -> Result<Sink<'a>, DataError> {
        match format {
            Format::Csv => {
                let file = std::fs::File::create(path)
                    .map_err(|e| DataError::file(path, "create the file", e))?;
                Ok(Sink::csv(Box::new(file), path, schema))
            }
            Format::Parquet => Ok(Sink::Parquet(Box::new(Groups::create(path, schema)?))),
        }
    }

    /// Begins CSV on a stream, which messages call `name`; nothing is written yet.
    pub fn csv(out: Box<dyn Write + 'a>, name: &Path, schema: SchemaRef) -> Sink<'a> {
        Sink::Csv { out, name: name.to_owned(), header: Some(schema) }
    }

    /// Writes the rows of a batch behind those that are there.
    ///
    /// # Errors
    ///
    /// [`DataError`] where they cannot be written.
    pub fn write(&mut self, batch: RecordBatch) -> Result<(), DataError> {
        match self {
            Sink::Csv { out, name, header } => write_csv(out, name, header.take(), Some(&batch)),
            Sink::Parquet(groups) => groups.write(batch),
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// [`DataError`] where it cannot be written.
    pub fn finish(self) -> Result<(), DataError> {
        match self {
            Sink::Csv { mut out, name, header } => {
                write_csv(&mut out, &name, header, None)?;
                out.flush().map_err(|e| DataError::file(&name, "write the rows", e))
            }
            Sink::Parquet(groups) => groups.finish().map(|_| ()),
        }
    }
}

/// Writes the header and the rows that are given, as text that is made in memory first, so that a
/// stream's own error is what is told.
fn write_csv(
    out: &mut dyn Write,
    name: &Path,
    header: Option<SchemaRef>,
    rows: Option<&RecordBatch>,
) -> Result<(), DataError> {
    let mut text = Vec::new();
    let mut writer = WriterBuilder::new().with_header(header.is_some()).build(&mut text);
    if let Some(schema) = header {
        writer.write(&RecordBatch::new_empty(schema))?;
    }
    if let Some(rows) = rows {
        writer.write(&time::in_utc(rows)?)?;
    }
    drop(writer);
    out.write_all(&text).map_err(|e| DataError::file(name, "write the rows", e))
}

impl Groups {
    /// Creates the file at `path` for rows of `schema`.
    ///
    /// # Errors
    ///
    /// [`DataError`] where it cannot be created.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Groups, DataError> {
        let (encoder, appender) = writer::create(path, schema)?;
        Ok(Groups { encoder, appender, waiting: Vec::new(), rows: 0 })
    }

    /// Writes the rows of a batch behind those that are there.
    ///
    /// # Errors
    ///
    /// [`DataError`] where they cannot be written.
    pub fn write(&mut self, batch: RecordBatch) -> Result<(), DataError> {
        let mut rest = batch;
        while self.rows + rest.num_rows() >= ROWS_PER_GROUP {
            let head = ROWS_PER_GROUP - self.rows;
            self.waiting.push(rest.slice(0, head));
            rest = rest.slice(head, rest.num_rows() - head);
            self.append()?;
        }
        self.rows += rest.num_rows();
        self.waiting.push(rest);
        Ok(())
    }

    fn append(&mut self) -> Result<(), DataError> {
        let waiting = std::mem::take(&mut self.waiting);
        self.rows = 0;
        self.appender.append(self.encoder.encode(&waiting)?)
    }

    /// Writes the rows that wait and the footer, and gives the number of rows.
    ///
    /// # Errors
    ///
    /// [`DataError`] where they cannot be written.
    pub fn finish(mut self) -> Result<u64, DataError> {
        if self.rows > 0 {
            self.append()?;
        }
        self.appender.finish()
    }
}
