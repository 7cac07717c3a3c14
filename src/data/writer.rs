//! A Parquet file in two halves: an encoder that any thread may use, and an appender that puts
//! what is encoded into the file, in order.
//!
//! The same batches give the same bytes: fixed properties, a fixed `created_by`, and no clock.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, ArrowWriterOptions,
    compute_leaves,
};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::file::writer::SerializedFileWriter;

use super::DataError;

/// The rows of a row group, where nothing else decides.
///
/// Small enough that a few groups of a wide table in flight cost tens of megabytes, large enough
/// that the cost of a group does not show.
pub const ROWS_PER_GROUP: usize = 65_536;

/// Bytes after which a column's dictionary is given up: few distinct values are worth one, and
/// measured values are found out soon.
const DICTIONARY_BYTES: usize = 16 * 1024;

/// The half that encodes row groups; threads share it.
pub struct Encoder {
    path: PathBuf,
    schema: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
}

/// The half that holds the file.
pub struct Appender {
    path: PathBuf,
    file: SerializedFileWriter<File>,
    rows: u64,
}

/// A row group that is being encoded: what is written is held as compressed pages.
pub struct OpenGroup<'a> {
    encoder: &'a Encoder,
    rows: u64,
    writers: Vec<ArrowColumnWriter>,
}

/// An encoded row group.
pub struct Group {
    rows: u64,
    columns: Vec<ArrowColumnChunk>,
}

/// Creates the file at `path` for rows of `schema`.
///
/// # Errors
///
/// [`DataError`] where the file cannot be created or Parquet has no place for a type.
pub fn create(path: &Path, schema: SchemaRef) -> Result<(Encoder, Appender), DataError> {
    create_with(path, schema, ArrowWriterOptions::new().with_properties(properties().build()))
}

/// Creates the file at `path` for rows of `schema`, without dictionaries and without a copy of Arrow's
/// schema: for small tables of numbers, texts and booleans, whose types Parquet's own schema tells.
///
/// # Errors
///
/// Those of [`create`].
pub fn create_plain(path: &Path, schema: SchemaRef) -> Result<(Encoder, Appender), DataError> {
    let properties = properties().set_dictionary_enabled(false).build();
    let options = ArrowWriterOptions::new().with_properties(properties);
    create_with(path, schema, options.with_skip_arrow_metadata(true))
}

fn create_with(
    path: &Path,
    schema: SchemaRef,
    options: ArrowWriterOptions,
) -> Result<(Encoder, Appender), DataError> {
    let file = File::create(path).map_err(|e| DataError::file(path, "create the file", e))?;
    let failed = |e| write_failed(path, e);
    let writer = ArrowWriter::try_new_with_options(file, schema.clone(), options);
    let (file, factory) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(failed)?;
    let encoder = Encoder { path: path.to_owned(), schema, factory };
    Ok((encoder, Appender { path: path.to_owned(), file, rows: 0 }))
}

fn properties() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by("runner".to_owned())
        .set_compression(Compression::SNAPPY)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_statistics_enabled(EnabledStatistics::Chunk)
}

fn write_failed(path: &Path, error: ParquetError) -> DataError {
    DataError::table(path, format!("cannot write Parquet: {error}"))
}

impl Encoder {
    /// Begins a row group.
    ///
    /// # Errors
    ///
    /// [`DataError`] where Parquet has no place for a type.
    pub fn begin(&self) -> Result<OpenGroup<'_>, DataError> {
        // The number of the group matters to encryption alone.
        let writers = self.factory.create_column_writers(0);
        let writers = writers.map_err(|e| write_failed(&self.path, e))?;
        Ok(OpenGroup { encoder: self, rows: 0, writers })
    }

    /// Encodes batches as one row group.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a batch is not of the file's schema.
    pub fn encode(&self, batches: &[RecordBatch]) -> Result<Group, DataError> {
        let mut group = self.begin()?;
        batches.iter().try_for_each(|batch| group.write(batch))?;
        group.finish()
    }

    fn check(&self, batch: &RecordBatch) -> Result<(), DataError> {
        let fits =
            batch.num_columns() == self.schema.fields().len()
                && batch.schema_ref().fields().iter().zip(self.schema.fields()).all(
                    |(is, must)| is.name() == must.name() && is.data_type() == must.data_type(),
                );
        if fits {
            return Ok(());
        }
        let message = format!("a batch has {:?}, not {:?}", batch.schema_ref(), self.schema);
        Err(DataError::table(&self.path, message))
    }
}

impl OpenGroup<'_> {
    /// Encodes the rows of a batch behind those that are there.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the batch is not of the file's schema.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), DataError> {
        self.encoder.check(batch)?;
        let failed = |e| write_failed(&self.encoder.path, e);
        let mut writer = self.writers.iter_mut();
        for (field, column) in self.encoder.schema.fields().iter().zip(batch.columns()) {
            for leaf in compute_leaves(field, column).map_err(failed)? {
                let writer = writer.next().expect("the factory made a writer for each leaf");
                writer.write(&leaf).map_err(failed)?;
            }
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Gives the number of rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Ends the row group.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a page cannot be encoded.
    pub fn finish(self) -> Result<Group, DataError> {
        let columns = self.writers.into_iter().map(|writer| writer.close());
        let columns = columns.collect::<Result<_, _>>();
        let columns = columns.map_err(|e| write_failed(&self.encoder.path, e))?;
        Ok(Group { rows: self.rows, columns })
    }
}

impl Group {
    /// Gives the number of its rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl Appender {
    /// Puts an encoded row group behind those that are there.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the file cannot be written.
    pub fn append(&mut self, group: Group) -> Result<(), DataError> {
        let failed = |e| write_failed(&self.path, e);
        let mut target = self.file.next_row_group().map_err(failed)?;
        for column in group.columns {
            column.append_to_row_group(&mut target).map_err(failed)?;
        }
        target.close().map_err(failed)?;
        self.rows += group.rows;
        Ok(())
    }

    /// Gives the rows that are in the file.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes the footer and gives the number of rows.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the file cannot be written.
    pub fn finish(self) -> Result<u64, DataError> {
        self.file.close().map_err(|e| write_failed(&self.path, e))?;
        Ok(self.rows)
    }
}
