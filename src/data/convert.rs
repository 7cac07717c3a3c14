//! A table from one format to the other.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;

use super::source::{self, Table};
use super::{DataError, Format, table, time};

/// The version of what [`convert`] writes: it enters the fingerprint of whoever asks for a
/// converted input. 1: the first.
pub const CONVERTER_VERSION: u32 = 1;

/// Converts the table at `from` to `format` at `to`, a block at a time.
///
/// A table that is in that format already is copied byte by byte. In CSV a missing value is an
/// empty cell, floats have as many digits as tell them apart, and times are ISO 8601 in UTC.
///
/// # Errors
///
/// [`DataError`] where `from` is not a table, has a type that CSV cannot hold, or `to` cannot be
/// written.
pub fn convert(from: &Path, to: &Path, format: Format) -> Result<(), DataError> {
    if source::format_of(from)? == format {
        std::fs::copy(from, to).map_err(|e| DataError::file(to, "copy to it", e))?;
        return Ok(());
    }
    let table = source::open(from)?;
    match format {
        Format::Csv => write_csv(&table, to),
        Format::Parquet => {
            let columns: Vec<usize> = (0..table.schema().fields().len()).collect();
            let read = |block| table.read(block, &columns);
            let go_on = |_| ControlFlow::Continue(());
            let schema = table.schema().clone();
            table::write_row_groups(to, schema, table.blocks(), 1, read, &go_on)?;
            Ok(())
        }
    }
}

fn write_csv(table: &Table, to: &Path) -> Result<(), DataError> {
    let file = File::create(to).map_err(|e| DataError::file(to, "create the file", e))?;
    let failed = |e| DataError::table(to, format!("cannot write CSV: {e}"));
    let mut writer = WriterBuilder::new().with_header(true).build(BufWriter::new(file));
    let columns: Vec<usize> = (0..table.schema().fields().len()).collect();
    // Without any block the header is still due.
    let empty = RecordBatch::new_empty(table.schema().clone());
    writer.write(&time::in_utc(&empty)?).map_err(failed)?;
    for block in 0..table.blocks() {
        let batch = table.read(block, &columns)?;
        writer.write(&time::in_utc(&batch)?).map_err(failed)?;
    }
    writer.into_inner().flush().map_err(|e| DataError::file(to, "write the file", e))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampMillisecondArray,
    };

    use super::*;

    #[test]
    fn a_table_goes_to_csv_and_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let columns: [(&str, ArrayRef); 5] = [
            ("id", Arc::new(StringArray::from(vec![Some("a, \"b\""), None, Some("c")]))),
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(-3)]))),
            ("x", Arc::new(Float64Array::from(vec![Some(0.1), Some(1e300), None]))),
            ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
            (
                "when",
                Arc::new(
                    TimestampMillisecondArray::from(vec![0, 1500, 86_400_000]).with_timezone("UTC"),
                ),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        table::write(&path("a.parquet"), batch.schema(), [Ok(batch.clone())]).unwrap();
        convert(&path("a.parquet"), &path("b.csv"), Format::Csv).unwrap();
        let text = std::fs::read_to_string(path("b.csv")).unwrap();
        assert_eq!(
            text,
            "id,n,x,flag,when\n\
             \"a, \"\"b\"\"\",1,0.1,true,1970-01-01T00:00:00Z\n\
             ,,1e300,,1970-01-01T00:00:01.500Z\n\
             c,-3,,false,1970-01-02T00:00:00Z\n"
        );
        convert(&path("b.csv"), &path("c.parquet"), Format::Parquet).unwrap();
        let mut back = table::batches(&path("c.parquet"), None).unwrap();
        let back = back.next().unwrap().unwrap();
        assert_eq!(back.columns()[..4], batch.columns()[..4]);
    }

    #[test]
    fn a_table_of_that_format_is_copied_and_an_empty_one_keeps_its_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.csv"), "x,y\n").unwrap();
        convert(&path("a.csv"), &path("b.csv"), Format::Csv).unwrap();
        convert(&path("a.csv"), &path("c.parquet"), Format::Parquet).unwrap();
        convert(&path("c.parquet"), &path("d.csv"), Format::Csv).unwrap();
        for name in ["b.csv", "d.csv"] {
            assert_eq!(std::fs::read_to_string(path(name)).unwrap(), "x,y\n");
        }
    }
}
