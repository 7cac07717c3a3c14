//! Parquet files as Arrow batches, in and out.
//!
//! Knows nothing of what the columns mean. A user's own file, of either format, is read through
//! [`super::source`].

use std::fs::File;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};

use super::DataError;
use super::parallel::ordered;
use super::sink::Groups;
use super::writer::{self, Appender, Encoder};

/// The rows of a batch that is read.
const ROWS_PER_BATCH: usize = 16_384;

/// Gives the schema of a Parquet file.
///
/// # Errors
///
/// [`DataError`] where the file cannot be read as Parquet.
pub fn schema(path: &Path) -> Result<SchemaRef, DataError> {
    Ok(open_parquet(path)?.1.schema().clone())
}

/// Gives the number of rows of a Parquet file, from its footer.
///
/// # Errors
///
/// [`DataError`] where the file cannot be read as Parquet.
pub fn rows(path: &Path) -> Result<u64, DataError> {
    let rows = open_parquet(path)?.1.metadata().file_metadata().num_rows();
    u64::try_from(rows).map_err(|_| DataError::table(path, "the footer counts less than 0 rows"))
}

/// Opens a Parquet file and reads its footer.
pub(super) fn open_parquet(path: &Path) -> Result<(File, ArrowReaderMetadata), DataError> {
    let file = File::open(path).map_err(|e| DataError::file(path, "open the file", e))?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())
        .map_err(|e| DataError::table(path, format!("cannot read it as Parquet: {e}")))?;
    Ok((file, metadata))
}

/// Reads the rows of a Parquet file in order: all columns, or those named, in the order named.
///
/// # Errors
///
/// [`DataError`] where the file cannot be read or a column is absent; each batch may fail too.
pub fn batches(path: &Path, columns: Option<&[&str]>) -> Result<Batches, DataError> {
    let (file, metadata) = open_parquet(path)?;
    let (mask, order) = match columns {
        None => (ProjectionMask::all(), None),
        Some(names) => {
            let roots = find(metadata.schema(), names)?;
            let mask = ProjectionMask::roots(metadata.parquet_schema(), roots.iter().copied());
            (mask, Some(places(&roots)))
        }
    };
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata)
        .with_projection(mask)
        .with_batch_size(ROWS_PER_BATCH)
        .build()
        .map_err(|e| DataError::table(path, format!("cannot read it as Parquet: {e}")))?;
    Ok(Batches { path: path.to_owned(), reader, order })
}

/// Finds the index of each named column.
pub(super) fn find(schema: &SchemaRef, names: &[&str]) -> Result<Vec<usize>, DataError> {
    let there = || schema.fields().iter().map(|field| field.name().as_str());
    let place = |name: &&str| {
        there().position(|field| field == *name).ok_or_else(|| DataError::absent(name, there()))
    };
    names.iter().map(place).collect()
}

/// Gives, for each index, its place among the distinct indices in ascending order: where a
/// projection, which keeps the order of the file, has put it.
pub(super) fn places(indices: &[usize]) -> Vec<usize> {
    let mut ascending = indices.to_vec();
    ascending.sort_unstable();
    ascending.dedup();
    indices.iter().map(|index| ascending.partition_point(|other| other < index)).collect()
}

/// The batches of a Parquet file, read one at a time.
pub struct Batches {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    order: Option<Vec<usize>>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.and_then(|batch| match &self.order {
            Some(order) => batch.project(order),
            None => Ok(batch),
        });
        Some(batch.map_err(|e| DataError::table(&self.path, format!("cannot read a batch: {e}"))))
    }
}

/// Writes batches as a Parquet file and gives the number of rows.
///
/// # Errors
///
/// The first error among the batches, or [`DataError`] where the file cannot be written.
pub fn write(
    path: &Path,
    schema: SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch, DataError>>,
) -> Result<u64, DataError> {
    let mut groups = Groups::create(path, schema)?;
    for batch in batches {
        groups.write(batch?)?;
    }
    groups.finish()
}

/// Writes a Parquet file whose row groups are made and encoded in parallel, and gives the number
/// of rows.
///
/// `make` gives the rows of a group from its number alone, so the bytes do not depend on
/// `threads`. A few groups are in flight at a time. `progress` hears the rows done after each.
///
/// # Errors
///
/// The first error of `make`; [`DataError::Cancelled`] where `progress` breaks; [`DataError`]
/// where the file cannot be written.
pub fn write_row_groups(
    path: &Path,
    schema: SchemaRef,
    groups: usize,
    threads: usize,
    make: impl Fn(usize) -> Result<RecordBatch, DataError> + Sync,
    progress: &(dyn Fn(u64) -> ControlFlow<()> + Sync),
) -> Result<u64, DataError> {
    let (encoder, mut appender): (Encoder, Appender) = writer::create(path, schema)?;
    let encode = |group| encoder.encode(&[make(group)?]);
    ordered(groups, threads, encode, |group| {
        appender.append(group)?;
        match progress(appender.rows()) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(DataError::Cancelled),
        }
    })?;
    appender.finish()
}

/// Writes a Parquet file of plain types, as [`writer::create_plain`] has them, and gives the number of
/// rows; each batch becomes a row group, so no more than one is held.
///
/// # Errors
///
/// The first error among the batches, or [`DataError`] where the file cannot be written.
pub fn write_plain(
    path: &Path,
    schema: SchemaRef,
    batches: impl IntoIterator<Item = Result<RecordBatch, DataError>>,
) -> Result<u64, DataError> {
    let (encoder, mut appender) = writer::create_plain(path, schema)?;
    for batch in batches {
        appender.append(encoder.encode(&[batch?])?)?;
    }
    appender.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn example_schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("series", DataType::Utf8, false),
            Field::new("time", DataType::Int64, false),
            Field::new("value", DataType::Float64, true),
        ]))
    }

    fn example(start: i64, rows: i64) -> RecordBatch {
        let times = || start..start + rows;
        let series = StringArray::from_iter_values(times().map(|time| format!("f{}", time % 3)));
        let values: Float64Array =
            times().map(|time| (time % 5 != 0).then_some(time as f64 / 7.0)).collect();
        let time = Int64Array::from_iter_values(times());
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(series), Arc::new(time), Arc::new(values)];
        RecordBatch::try_new(example_schema(), columns).unwrap()
    }

    #[test]
    fn rows_come_back_in_order_and_columns_in_the_order_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let parts = [(0, 50_000), (50_000, 100_000), (150_000, 1)];
        let input = parts.map(|(start, rows)| Ok(example(start, rows)));
        assert_eq!(write(&path, example_schema(), input).unwrap(), 150_001);
        assert_eq!(rows(&path).unwrap(), 150_001);
        assert_eq!(schema(&path).unwrap(), example_schema());

        let back: Vec<RecordBatch> =
            batches(&path, None).unwrap().collect::<Result<_, _>>().unwrap();
        let back = arrow::compute::concat_batches(&example_schema(), &back).unwrap();
        assert_eq!(back, example(0, 150_001));

        let names = ["value", "series"];
        for batch in batches(&path, Some(&names)).unwrap() {
            let batch = batch.unwrap();
            let given: Vec<_> =
                batch.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
            assert_eq!(given, names);
        }
        let Err(error) = batches(&path, Some(&["vaule"])) else {
            panic!("there is no such column")
        };
        assert_eq!(error.help(), Some("did you mean `value`?"));
    }

    #[test]
    fn row_groups_are_the_same_bytes_at_any_thread_count() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = |threads: usize| {
            let path = folder.path().join(format!("{threads}.parquet"));
            let make = |group: usize| Ok(example(group as i64 * 1000, 1000));
            let go_on = |_| ControlFlow::Continue(());
            write_row_groups(&path, example_schema(), 20, threads, make, &go_on).unwrap();
            std::fs::read(path).unwrap()
        };
        assert_eq!(bytes(1), bytes(2));
        assert_eq!(bytes(1), bytes(7));
    }

    #[test]
    fn a_break_cancels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let make = |group: usize| Ok(example(group as i64, 10));
        let stop =
            |rows| if rows >= 30 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
        let result = write_row_groups(&path, example_schema(), 20, 2, make, &stop);
        assert!(matches!(result, Err(DataError::Cancelled)));
    }

    #[test]
    fn a_batch_of_another_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let other = example(0, 3).project(&[0, 2, 1]).unwrap();
        assert!(write(&path, example_schema(), [Ok(other)]).is_err());
    }
}
