//! CSV files: what is in them, found in one scan, and their rows, read in blocks.
//!
//! The types of the columns are those of the whole file, never of its first rows: whole numbers,
//! floats (where one value has a fraction, all are floats), `true`/`false`, and else text. Dates
//! stay text; whoever knows which column is the time reads them. An empty cell is a missing value,
//! and in a column of numbers or booleans so are `NA`, `N/A`, `null`, `None` and `-`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::{Decoder, Format};
use arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema, SchemaRef};
use arrow::error::ArrowError;

use super::DataError;
use super::writer::ROWS_PER_GROUP;

/// The mark with which some programs begin a UTF-8 file.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What one scan finds in a CSV file.
pub(super) struct Layout {
    /// The columns with the types of the whole file.
    pub schema: SchemaRef,
    /// The blocks of rows, in order.
    pub blocks: Vec<Block>,
}

/// A run of whole rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its length in bytes.
    pub length: u64,
    /// Its number of rows.
    pub rows: usize,
}

/// Scans a file for its columns, their types and its blocks.
pub(super) fn scan(path: &Path) -> Result<Layout, DataError> {
    let failed = |e: ArrowError| DataError::table(path, format!("cannot read it as CSV: {e}"));
    let (mut reader, start) = open_after_mark(path)?;
    let names = header(&mut reader).map_err(failed)?;
    check_names(path, &names)?;
    let (mut reader, _) = open_after_mark(path)?;
    let text = text_schema(&names);
    let mut decoder = decoder(text, true, ROWS_PER_GROUP, None);
    let mut seen = vec![Seen::default(); names.len()];
    let (mut blocks, mut begin, mut here) = (Vec::new(), start, start);
    loop {
        let bytes = reader.fill_buf().map_err(|e| DataError::file(path, "read the file", e))?;
        let used = decoder.decode(bytes).map_err(failed)?;
        reader.consume(used);
        here += used as u64;
        if used > 0 && decoder.capacity() > 0 {
            continue;
        }
        let Some(batch) = decoder.flush().map_err(failed)? else { break };
        seen.iter_mut()
            .zip(batch.columns())
            .for_each(|(seen, column)| seen.add(column.as_string()));
        blocks.push(Block { start: begin, length: here - begin, rows: batch.num_rows() });
        begin = here;
    }
    let fields: Vec<Field> =
        names.iter().zip(&seen).map(|(name, seen)| Field::new(name, seen.kind(), true)).collect();
    Ok(Layout { schema: Arc::new(Schema::new(fields)), blocks })
}

/// Opens a file behind its byte-order mark, if it has one, and gives the place.
fn open_after_mark(path: &Path) -> Result<(BufReader<File>, u64), DataError> {
    let file = File::open(path).map_err(|e| DataError::file(path, "open the file", e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let bytes = reader.fill_buf().map_err(|e| DataError::file(path, "read the file", e))?;
    if !bytes.starts_with(BYTE_ORDER_MARK) {
        return Ok((reader, 0));
    }
    reader.consume(BYTE_ORDER_MARK.len());
    Ok((reader, BYTE_ORDER_MARK.len() as u64))
}

/// Reads the names of the columns; a nameless one, such as the index that pandas writes, is called
/// after its place.
fn header(reader: impl Read) -> Result<Vec<String>, ArrowError> {
    let (schema, _) = Format::default().with_header(true).infer_schema(reader, Some(0))?;
    let name = |(index, field): (usize, &Arc<Field>)| match field.name().trim() {
        "" => format!("column_{}", index + 1),
        name => name.to_owned(),
    };
    Ok(schema.fields().iter().enumerate().map(name).collect())
}

fn check_names(path: &Path, names: &[String]) -> Result<(), DataError> {
    if names.is_empty() {
        return Err(DataError::table(path, "the file is empty")
            .with_help("a CSV file begins with a line of column names"));
    }
    let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
    if let Some((_, name)) = twice {
        return Err(DataError::table(path, format!("two columns have the name `{name}`"))
            .with_help("give each column a name of its own"));
    }
    match names {
        [only] if only.contains([';', '\t', '|']) => {
            let message = format!("its only column would be `{only}`");
            Err(DataError::table(path, message).with_help("separate columns by commas"))
        }
        _ => Ok(()),
    }
}

fn text_schema(names: &[String]) -> SchemaRef {
    let fields = names.iter().map(|name| Field::new(name, DataType::Utf8, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn decoder(schema: SchemaRef, header: bool, rows: usize, columns: Option<Vec<usize>>) -> Decoder {
    let builder = ReaderBuilder::new(schema).with_header(header).with_batch_size(rows);
    match columns {
        Some(columns) => builder.with_projection(columns).build_decoder(),
        None => builder.build_decoder(),
    }
}

/// Reads the `columns` of one block, by index, with the types of `layout`.
pub(super) fn read(
    path: &Path,
    layout: &Layout,
    block: usize,
    columns: &[usize],
) -> Result<RecordBatch, DataError> {
    let failed = |e: ArrowError| DataError::table(path, format!("cannot read it as CSV: {e}"));
    let Block { start, length, rows } = layout.blocks[block];
    let bytes =
        bytes_of(path, start, length).map_err(|e| DataError::file(path, "read the rows", e))?;
    let names: Vec<String> =
        layout.schema.fields().iter().map(|field| field.name().clone()).collect();
    let first_has_header = block == 0;
    let mut decoder = decoder(text_schema(&names), first_has_header, rows, Some(columns.to_vec()));
    let mut rest = bytes.as_slice();
    loop {
        // The empty slice at the end closes a last row that has no line end.
        let used = decoder.decode(rest).map_err(failed)?;
        rest = &rest[used..];
        if decoder.capacity() == 0 || (used == 0 && rest.is_empty()) {
            break;
        }
    }
    let batch = decoder.flush().map_err(failed)?;
    let batch = batch.filter(|batch| batch.num_rows() == rows).ok_or_else(|| {
        DataError::table(path, "the file changed while it was read").with_help("run again")
    })?;
    let schema = Arc::new(layout.schema.project(columns).map_err(failed)?);
    let parse_column = |(field, text): (&Arc<Field>, &ArrayRef)| {
        parse(text.as_string(), field.data_type()).ok_or_else(|| {
            DataError::table(
                path,
                format!("the file changed while it was read: `{}`", field.name()),
            )
            .with_help("run again")
        })
    };
    let parsed = schema.fields().iter().zip(batch.columns()).map(parse_column);
    Ok(RecordBatch::try_new(schema.clone(), parsed.collect::<Result<_, _>>()?)?)
}

fn bytes_of(path: &Path, start: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What the values of a column have been so far.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    whole: bool,
    float: bool,
    boolean: bool,
    text: bool,
}

impl Seen {
    fn add(&mut self, column: &StringArray) {
        for value in column.iter().flatten() {
            if self.text {
                return;
            }
            let value = value.trim();
            if is_missing(value) {
                continue;
            }
            // A float column's whole numbers are floats too, so one look is enough.
            if self.float && Float64Type::parse(value).is_some() {
                continue;
            }
            if Int64Type::parse(value).is_some() {
                self.whole = true;
            } else if Float64Type::parse(value).is_some() {
                self.float = true;
            } else if boolean(value).is_some() {
                self.boolean = true;
            } else {
                self.text = true;
            }
        }
    }

    fn kind(self) -> DataType {
        match self {
            Seen { text: true, .. } => DataType::Utf8,
            Seen { boolean: true, whole: false, float: false, .. } => DataType::Boolean,
            Seen { boolean: true, .. } => DataType::Utf8,
            Seen { float: true, .. } => DataType::Float64,
            Seen { whole: true, .. } => DataType::Int64,
            // A column without any value: one of numbers that are all missing.
            Seen { .. } => DataType::Float64,
        }
    }
}

/// Tells whether a cell says that there is no value, in a column of numbers or booleans.
pub(super) fn is_missing(value: &str) -> bool {
    matches!(value, "" | "-" | "NA" | "N/A" | "null" | "NULL" | "None")
}

fn boolean(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Parses a column of text; `None` where a value is not of the type that the scan found.
fn parse(text: &StringArray, kind: &DataType) -> Option<ArrayRef> {
    Some(match kind {
        DataType::Int64 => Arc::new(numbers::<Int64Type>(text)?),
        DataType::Float64 => Arc::new(numbers::<Float64Type>(text)?),
        DataType::Boolean => {
            let value = |cell: Option<&str>| match cell.map(str::trim) {
                Some(cell) if !is_missing(cell) => boolean(cell).map(Some),
                _ => Some(None),
            };
            Arc::new(text.iter().map(value).collect::<Option<BooleanArray>>()?)
        }
        _ => Arc::new(text.clone()),
    })
}

fn numbers<T: Parser>(text: &StringArray) -> Option<PrimitiveArray<T>> {
    let value = |cell: Option<&str>| match cell.map(str::trim) {
        Some(cell) if !is_missing(cell) => T::parse(cell).map(Some),
        _ => Some(None),
    };
    let values: Option<Vec<Option<T::Native>>> = text.iter().map(value).collect();
    Some(PrimitiveArray::from_iter(values?))
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use arrow::datatypes::DataType::{Boolean, Float64, Int64, Utf8};

    use super::*;

    fn layout_of(text: &[u8]) -> (tempfile::NamedTempFile, Result<Layout, DataError>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let layout = scan(file.path());
        (file, layout)
    }

    #[test]
    fn types_are_those_of_the_whole_file() {
        let text = "\u{feff}id, n ,x,flag,when,mixed,none\r\n\
                    a,1,1,true,2024-01-01 00:00:00,1,\r\n\
                    \"b, c\",NA,2.5e3,FALSE,2024-01-02 00:00:00,true,\r\n\
                    c,-3,NaN,,2024-01-03 00:00:00,x,";
        let (file, layout) = layout_of(text.as_bytes());
        let layout = layout.unwrap();
        let fields = layout.schema.fields();
        let kinds: Vec<DataType> = fields.iter().map(|field| field.data_type().clone()).collect();
        assert_eq!(kinds, [Utf8, Int64, Float64, Boolean, Utf8, Utf8, Float64]);
        assert_eq!(fields[0].name(), "id");
        assert_eq!(fields[1].name(), "n");

        let batch = read(file.path(), &layout, 0, &[2, 0, 1]).unwrap();
        assert_eq!(batch.num_rows(), 3);
        assert_eq!(batch.column(1).as_string::<i32>().value(1), "b, c");
        let whole = batch.column(2).as_primitive::<Int64Type>();
        assert!(whole.is_null(1) && whole.value(2) == -3);
        assert_eq!(batch.column(0).as_primitive::<Float64Type>().value(1), 2500.0);
    }

    #[test]
    fn a_late_fraction_makes_floats_and_blocks_join_seamlessly() {
        let rows = ROWS_PER_GROUP * 2 + 77;
        let mut text = "n,x\n".to_owned();
        (0..rows).for_each(|row| text.push_str(&format!("{row},{row}\n")));
        text.push_str("7,0.5");
        let (file, layout) = layout_of(text.as_bytes());
        let layout = layout.unwrap();
        assert_eq!(layout.schema.field(1).data_type(), &Float64);
        assert_eq!(layout.blocks.len(), 3);
        let mut expected = 0;
        for block in 0..3 {
            let batch = read(file.path(), &layout, block, &[0, 1]).unwrap();
            for row in batch.column(0).as_primitive::<Int64Type>().values() {
                assert!(*row == expected || (expected == rows as i64 && *row == 7));
                expected += 1;
            }
        }
        assert_eq!(expected, rows as i64 + 1);
    }

    #[test]
    fn bad_files_are_refused_with_a_reason() {
        let message = |text: &[u8]| layout_of(text).1.err().expect("it is refused").to_string();
        assert!(message(b"").contains("the file is empty"));
        assert!(message(b"a,b,a\n1,2,3\n").contains("two columns have the name `a`"));
        assert!(message(b"a;b\n1;2\n").contains("only column"));
        assert!(message(b"a,b\n1,2\n3\n").contains("incorrect number of fields for line 3"));
    }
}
