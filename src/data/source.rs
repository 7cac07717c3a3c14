//! A user's own table, CSV or Parquet: one schema, and blocks of rows that can be read again, in
//! any order and from any thread.
//!
//! Text of every Arrow representation (dictionaries, views) is read as `Utf8`; other types stay.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};

use super::table::{find, open_parquet, places};
use super::writer::ROWS_PER_GROUP;
use super::{DataError, Format, csv};

/// The bytes with which a Parquet file begins.
const PARQUET_MAGIC: &[u8] = b"PAR1";

/// An opened table.
pub struct Table {
    path: PathBuf,
    schema: SchemaRef,
    blocks: Vec<Block>,
    inside: Inside,
}

enum Inside {
    Parquet(ArrowReaderMetadata),
    Csv(csv::Layout),
}

/// A run of rows that is read at once.
#[derive(Clone, Copy)]
struct Block {
    /// Its first row in the table.
    first: u64,
    rows: usize,
    /// The row group that it is in and its first row there; 0 in CSV.
    group: usize,
    offset: usize,
}

/// Opens a table of either format, found by its content.
///
/// A CSV file is scanned once from end to end for the types of its columns.
///
/// # Errors
///
/// [`DataError`] where the file cannot be read as a table.
pub fn open(path: &Path) -> Result<Table, DataError> {
    match format_of(path)? {
        Format::Parquet => open_as_parquet(path),
        Format::Csv => open_as_csv(path),
    }
}

/// Finds the format of a file: Parquet by its first bytes, all else is CSV.
///
/// # Errors
///
/// [`DataError`] where the file cannot be read, or is named `.parquet` and is not.
pub fn format_of(path: &Path) -> Result<Format, DataError> {
    let mut start = Vec::new();
    let kind = fs::metadata(path).map_err(|e| DataError::file(path, "open the file", e))?;
    if !kind.is_file() && !kind.is_dir() {
        return Err(DataError::table(path, "a table is read more than once, and this is no file")
            .with_help("write what comes through the pipe to a file first"));
    }
    let file = File::open(path).map_err(|e| DataError::file(path, "open the file", e))?;
    file.take(PARQUET_MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(|e| DataError::file(path, "read the file", e))?;
    match (start == PARQUET_MAGIC, Format::from_extension(path)) {
        (true, _) => Ok(Format::Parquet),
        (false, Some(Format::Parquet)) => {
            Err(DataError::table(path, "it is named as Parquet and does not begin like it")
                .with_help("give a file of Parquet, or name a CSV file `.csv`"))
        }
        (false, _) => Ok(Format::Csv),
    }
}

fn open_as_parquet(path: &Path) -> Result<Table, DataError> {
    let (_, metadata) = open_parquet(path)?;
    let mut blocks = Vec::new();
    let mut first = 0;
    for (group, inside) in metadata.metadata().row_groups().iter().enumerate() {
        let in_group = usize::try_from(inside.num_rows())
            .map_err(|_| DataError::table(path, "a row group counts less than 0 rows"))?;
        for offset in (0..in_group).step_by(ROWS_PER_GROUP) {
            let rows = ROWS_PER_GROUP.min(in_group - offset);
            blocks.push(Block { first, rows, group, offset });
            first += rows as u64;
        }
    }
    let schema = plain_schema(metadata.schema());
    Ok(Table { path: path.to_owned(), schema, blocks, inside: Inside::Parquet(metadata) })
}

fn open_as_csv(path: &Path) -> Result<Table, DataError> {
    let layout = csv::scan(path)?;
    let mut first = 0;
    let block = |block: &csv::Block| {
        let here = Block { first, rows: block.rows, group: 0, offset: 0 };
        first += block.rows as u64;
        here
    };
    let blocks = layout.blocks.iter().map(block).collect();
    let schema = layout.schema.clone();
    Ok(Table { path: path.to_owned(), schema, blocks, inside: Inside::Csv(layout) })
}

/// Replaces every representation of text by `Utf8`.
fn plain_schema(schema: &Schema) -> SchemaRef {
    let plain = |field: &Arc<Field>| match is_text(field.data_type()) {
        true => Field::new(field.name(), DataType::Utf8, field.is_nullable()),
        false => Field::new(field.name(), field.data_type().clone(), field.is_nullable()),
    };
    Arc::new(Schema::new(schema.fields().iter().map(plain).collect::<Vec<_>>()))
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

impl Table {
    /// Gives the schema.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Gives the number of rows.
    pub fn rows(&self) -> u64 {
        self.blocks.last().map_or(0, |block| block.first + block.rows as u64)
    }

    /// Gives the number of blocks; each has at most [`ROWS_PER_GROUP`] rows.
    pub fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// Gives the number of the first row of a block, from 0.
    pub fn first_row(&self, block: usize) -> u64 {
        self.blocks[block].first
    }

    /// Gives the number of rows of a block.
    pub fn block_rows(&self, block: usize) -> usize {
        self.blocks[block].rows
    }

    /// Finds the indices of named columns, for [`Table::read`].
    ///
    /// # Errors
    ///
    /// [`DataError`] where one is absent, with the nearest name that is there.
    pub fn find(&self, names: &[&str]) -> Result<Vec<usize>, DataError> {
        find(&self.schema, names)
    }

    /// Reads the rows of one block: the columns of these indices, in their order.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the file cannot be read.
    pub fn read(&self, block: usize, columns: &[usize]) -> Result<RecordBatch, DataError> {
        match &self.inside {
            Inside::Csv(layout) => csv::read(&self.path, layout, block, columns),
            Inside::Parquet(metadata) => self.read_parquet(metadata, self.blocks[block], columns),
        }
    }

    fn read_parquet(
        &self,
        metadata: &ArrowReaderMetadata,
        block: Block,
        columns: &[usize],
    ) -> Result<RecordBatch, DataError> {
        let path = &self.path;
        let failed = |e| DataError::table(path, format!("cannot read a row group: {e}"));
        let file = File::open(path).map_err(|e| DataError::file(path, "open the file", e))?;
        let mask = ProjectionMask::roots(metadata.parquet_schema(), columns.iter().copied());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![block.group])
            .with_offset(block.offset)
            .with_limit(block.rows)
            .with_batch_size(block.rows)
            .build()
            .map_err(|e| DataError::table(path, format!("cannot read a row group: {e}")))?;
        let batches = reader.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let batch = match <[RecordBatch; 1]>::try_from(batches) {
            Ok([batch]) => batch,
            Err(batches) => {
                let schema = batches
                    .first()
                    .map_or_else(|| Arc::new(Schema::empty()), |batch| batch.schema());
                concat_batches(&schema, &batches)?
            }
        };
        if batch.num_rows() != block.rows {
            return Err(DataError::table(path, "a row group has fewer rows than its footer says"));
        }
        let schema = Arc::new(self.schema.project(columns)?);
        let places = places(columns);
        let plain = schema.fields().iter().zip(places).map(|(field, place)| {
            let column = batch.column(place);
            match column.data_type() == field.data_type() {
                true => Ok(column.clone()),
                false => cast(column, field.data_type()),
            }
        });
        Ok(RecordBatch::try_new(schema.clone(), plain.collect::<Result<_, _>>()?)?)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, DictionaryArray, Int64Array};
    use arrow::datatypes::{Int32Type, Int64Type};

    use super::*;
    use crate::data::table;

    #[test]
    fn a_large_row_group_is_read_in_blocks_and_a_dictionary_as_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let rows = ROWS_PER_GROUP + 100;
        let names: DictionaryArray<Int32Type> =
            (0..rows).map(|row| if row % 2 == 0 { "even" } else { "odd" }).collect();
        let numbers = Int64Array::from_iter_values(0..rows as i64);
        let schema = Arc::new(Schema::new(vec![
            Field::new("n", DataType::Int64, false),
            Field::new("name", names.data_type().clone(), false),
        ]));
        let batch =
            RecordBatch::try_new(schema.clone(), vec![Arc::new(numbers), Arc::new(names)]).unwrap();
        let go_on = |_| std::ops::ControlFlow::Continue(());
        table::write_row_groups(&path, schema, 1, 1, |_| Ok(batch.clone()), &go_on).unwrap();

        let table = open(&path).unwrap();
        assert_eq!((table.rows(), table.blocks()), (rows as u64, 2));
        let last = table.read(1, &table.find(&["name", "n"]).unwrap()).unwrap();
        assert_eq!(last.num_rows(), 100);
        assert_eq!(last.column(0).as_string::<i32>().value(1), "odd");
        let first = table.first_row(1) as i64;
        assert_eq!(last.column(1).as_primitive::<Int64Type>().value(3), first + 3);
    }

    #[test]
    fn a_file_that_only_claims_to_be_parquet_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        std::fs::write(&path, "a,b\n1,2\n").unwrap();
        assert!(open(&path).is_err());
        assert!(open(&folder.path().join("absent.csv")).is_err());
    }
}
