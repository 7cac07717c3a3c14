//! The `preprocess` kind: encodes, scales and splits a table.
//!
//! The table is read a block at a time: a look at the times (and under `missing: drop` at all) deals
//! the rows to the splits, a pass over the train rows fits, and a pass over all rows writes.
//! Under `missing: forward_fill` a filled copy is made first. Between the passes nine bytes a row
//! are held, thirteen where the split counts rows of series; all else is bounded.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, Schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{Context, Finished, InputSpec, OutputSpec, ParamIssue, Stop};
pub use crate::data::Unseen;
use crate::data::encode::Encoder;
use crate::data::fill::Filler;
use crate::data::fit::{self, Found, Recipe, Roles};
use crate::data::parallel::ordered;
use crate::data::sample::Stride;
use crate::data::source::{self, Table};
use crate::data::split::Part;
use crate::data::transform::SPLIT_COLUMN;
use crate::data::writer::{self, Group, ROWS_PER_GROUP};
use crate::data::{Cyclical, DataError, Missing, Scale, Split, TimeColumn, Transform, look};

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The inputs of a `preprocess` stage.
pub const INPUTS: &[InputSpec] = &[InputSpec {
    name: "data",
    required: true,
    parts: &[],
    doc: "The table: an output of another stage, or `{ file: … }` with CSV or Parquet.",
}];

/// The values that are encoded at once, on each thread.
const CELLS_AT_ONCE: usize = 1 << 21;

/// The params of a `preprocess` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The column that names a row's series; without it all rows are one series.
    #[serde(default)]
    pub series: Option<String>,
    /// The column that says when a row was.
    pub time: TimeColumn,
    /// Features made from the time (in UTC), each as a sine and a cosine.
    #[serde(default)]
    pub cyclical: Vec<Cyclical>,
    /// Columns that become one 0-or-1 feature for each value seen in the train rows.
    #[serde(default)]
    pub one_hot: Vec<String>,
    /// How numeric columns are scaled; booleans become 0 and 1. A column that has one value alone
    /// in the train rows is shifted so that this value is 0, with a warning.
    #[serde(default)]
    pub scale: Scale,
    /// Columns that are left out. Text that is neither a key, `one_hot` nor left out is an error.
    #[serde(default)]
    pub drop: Vec<String>,
    /// What happens to a row with a missing or non-finite value.
    #[serde(default)]
    pub missing: Missing,
    /// What happens to a value of a `one_hot` column that the train rows do not have.
    #[serde(default)]
    pub unseen: Unseen,
    /// How rows are dealt to train, validation and test.
    pub split: Split,
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        let mut issues = self.check_split();
        let cyclical: Vec<&str> = self.cyclical.iter().map(|cycle| cycle.name()).collect();
        let one_hot: Vec<&str> = self.one_hot.iter().map(String::as_str).collect();
        let drop: Vec<&str> = self.drop.iter().map(String::as_str).collect();
        for (path, names) in [("cyclical", cyclical), ("one_hot", one_hot), ("drop", drop)] {
            let twice =
                names.iter().enumerate().filter(|(place, name)| names[..*place].contains(name));
            issues.extend(twice.map(|(_, name)| {
                ParamIssue::new(path, format!("`{name}` is listed twice"), "list it once")
            }));
        }
        let time = &self.time.column;
        let mut clash = |path: &str, message: String| {
            issues.push(ParamIssue::new(path, message, "give each column one role"));
        };
        if self.series.as_ref() == Some(time) {
            clash("series", format!("`{time}` is the time column too"));
        }
        if self.one_hot.contains(time) {
            clash("one_hot", format!("`{time}` is the time column too"));
        }
        let keys = self.series.iter().chain([time]);
        for name in keys.chain(&self.one_hot).filter(|name| self.drop.contains(name)) {
            clash("drop", format!("`{name}` is dropped and used"));
        }
        issues
    }

    fn check_split(&self) -> Vec<ParamIssue> {
        let (Split::Time { train, validation, test }
        | Split::Random { train, validation, test, .. }) = self.split
        else {
            return Vec::new();
        };
        let mut issues = Vec::new();
        let sum = train + validation + test;
        if sum.is_nan() || (sum - 1.0).abs() > 1e-9 {
            let message = format!("the shares sum to {sum}");
            issues.push(ParamIssue::new("split", message, "let them sum to 1"));
        }
        if train <= 0.0 {
            let message = "nothing would train";
            issues.push(ParamIssue::new("split.train", message, "give it a share above 0"));
        }
        issues
    }

    /// Gives the three splits, all rows with a `split` column, and the fitted transform.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("train", "train.parquet"),
            OutputSpec::new("validation", "validation.parquet"),
            OutputSpec::new("test", "test.parquet"),
            OutputSpec::new("data", "data.parquet"),
            OutputSpec::new("transform", "transform.json"),
        ]
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            series: self.series.clone(),
            time: self.time.clone(),
            cyclical: self.cyclical.clone(),
            one_hot: self.one_hot.clone(),
            scale: self.scale,
            drop: self.drop.clone(),
            missing: self.missing,
            unseen: self.unseen,
        }
    }
}

/// Fits on the train rows and writes the encoded splits.
///
/// # Errors
///
/// [`Stop`] where the table does not fit the params.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    let recipe = params.recipe();
    let table = source::open(context.input("data")?)?;
    let roles = recipe.roles(table.schema())?;
    if table.rows() == 0 {
        return Err(DataError::rows("the table has no rows").into());
    }
    let passes = if recipe.missing == Missing::ForwardFill { 4 } else { 3 };
    let meter = Meter { context, rows: table.rows(), passes, done: Cell::new(0) };
    // The folder of a filled copy goes when this function ends.
    let (_folder, table) = match recipe.missing {
        Missing::ForwardFill => fill(&recipe, &table, &meter)?,
        Missing::Error | Missing::Drop | Missing::Mean => (None, table),
    };
    let parts = deal(params, &recipe, &roles, &table, &meter)?;
    let transform = fit(&recipe, &roles, &table, &parts, &meter)?;
    write(&recipe, &transform, &table, &parts, &meter)?;
    transform.write(&context.outputs.join("transform.json"))?;
    let count = |part| parts.iter().filter(|other| **other == part).count() as f64;
    let counted = Part::USED.map(|part| (format!("{}_rows", part.name()), count(part)));
    let mut metrics = BTreeMap::from(counted);
    metrics.insert("left_out_rows".to_owned(), count(Part::Out));
    Ok(Finished { metrics })
}

/// Counts rows over all passes, as rows of the table.
struct Meter<'a> {
    context: &'a Context<'a>,
    rows: u64,
    passes: u64,
    done: Cell<u64>,
}

impl Meter<'_> {
    fn add(&self, rows: u64) -> Result<(), DataError> {
        self.done.set(self.done.get() + rows);
        match self.context.progress.count("rows", self.done.get() / self.passes, self.rows) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(DataError::Cancelled),
        }
    }
}

/// Writes a copy of the table whose gaps are filled to a temporary folder, and opens it.
fn fill(
    recipe: &Recipe,
    table: &Table,
    meter: &Meter<'_>,
) -> Result<(Option<TempDir>, Table), DataError> {
    let outputs = meter.context.outputs;
    let folder = tempfile::tempdir_in(outputs)
        .map_err(|e| DataError::file(outputs, "make a folder in it", e))?;
    let path = folder.path().join("filled.parquet");
    let columns = table.find(&recipe.columns(table.schema()))?;
    let schema = Arc::new(table.schema().project(&columns)?);
    let (encoder, mut appender) = writer::create(&path, schema)?;
    let (mut filler, mut first_row) = (Filler::default(), 0);
    let read = |block| table.read(block, &columns);
    ordered(table.blocks(), meter.context.threads, read, |raw| {
        let filled = filler.fill(recipe, &raw, first_row)?;
        appender.append(encoder.encode(&[filled])?)?;
        first_row += raw.num_rows() as u64;
        meter.add(raw.num_rows() as u64)
    })?;
    appender.finish()?;
    Ok((Some(folder), source::open(&path)?))
}

/// Deals every row to a split, or to none.
fn deal(
    params: &Params,
    recipe: &Recipe,
    roles: &Roles,
    table: &Table,
    meter: &Meter<'_>,
) -> Result<Vec<Part>, DataError> {
    let all = recipe.columns(table.schema());
    let columns = table.find(&look::columns(recipe, &params.split, &all))?;
    let look = |block| {
        let raw = table.read(block, &columns)?;
        let looked = look::look(recipe, roles, &params.split, &raw, table.first_row(block))?;
        Ok((raw.num_rows(), looked))
    };
    let mut rows = look::Rows::default();
    ordered(table.blocks(), meter.context.threads, look, |(read, looked)| {
        rows.add(looked);
        meter.add(read as u64)
    })?;
    let (parts, warnings) = rows.deal(&params.split)?;
    warnings.into_iter().for_each(|warning| meter.context.progress.warn(warning));
    Ok(parts)
}

/// Fits the transform on the train rows.
fn fit(
    recipe: &Recipe,
    roles: &Roles,
    table: &Table,
    parts: &[Part],
    meter: &Meter<'_>,
) -> Result<Transform, DataError> {
    let columns = table.find(&recipe.columns(table.schema()))?;
    let trains = |parts: &[Part]| parts.iter().filter(|part| **part == Part::Train).count() as u64;
    let mut before = Vec::with_capacity(table.blocks());
    let mut train_rows = 0;
    for block in 0..table.blocks() {
        before.push(train_rows);
        train_rows += trains(&parts[range(table, block)]);
    }
    let stride = Stride::for_rows(train_rows);
    let gather = |block: usize| {
        let raw = table.read(block, &columns)?;
        let (first, parts) = (table.first_row(block), &parts[range(table, block)]);
        let found = fit::gather(recipe, roles, &raw, first, parts, stride.at(before[block]))?;
        Ok((raw.num_rows(), found))
    };
    let mut found = Found::nothing(roles);
    ordered(table.blocks(), meter.context.threads, gather, |(rows, next)| {
        found.add(roles, next)?;
        meter.add(rows as u64)
    })?;
    let (transform, warnings) = found.into_transform(recipe, roles)?;
    warnings.into_iter().for_each(|warning| meter.context.progress.warn(warning));
    Ok(transform)
}

/// Gives the rows of a block among all.
fn range(table: &Table, block: usize) -> std::ops::Range<usize> {
    let first = table.first_row(block) as usize;
    first..first + table.block_rows(block)
}

/// Encodes all used rows and writes them, each to its split and to all.
fn write(
    recipe: &Recipe,
    transform: &Transform,
    table: &Table,
    parts: &[Part],
    meter: &Meter<'_>,
) -> Result<(), DataError> {
    let columns = table.find(&recipe.columns(table.schema()))?;
    let schema = transform.schema(table.schema())?;
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(SPLIT_COLUMN, DataType::Utf8, false)));
    let with_split = Arc::new(Schema::new(fields));
    let names = Part::USED.map(|part| (part.name(), schema.clone()));
    let (mut encoders, mut appenders) = (Vec::new(), Vec::new());
    for (name, schema) in names.into_iter().chain([("data", with_split.clone())]) {
        let path = meter.context.outputs.join(format!("{name}.parquet"));
        let (encoder, appender) = writer::create(&path, schema)?;
        encoders.push(encoder);
        appenders.push(appender);
    }
    let encoder = Encoder::new(transform);
    let encode = |block: usize| {
        let raw = table.read(block, &columns)?;
        let (first, parts) = (table.first_row(block), &parts[range(table, block)]);
        let groups = encode_block(&encoder, &encoders, &raw, first, parts)?;
        Ok((raw.num_rows(), groups))
    };
    ordered(table.blocks(), meter.context.threads, encode, |(rows, groups)| {
        for (appender, group) in appenders.iter_mut().zip(groups) {
            group.map_or(Ok(()), |group| appender.append(group))?;
        }
        meter.add(rows as u64)
    })?;
    appenders.into_iter().try_for_each(|appender| appender.finish().map(|_| ()))
}

/// Encodes the rows of a block as a row group for each file, or none where it has no rows.
fn encode_block(
    encoder: &Encoder<'_>,
    files: &[writer::Encoder],
    raw: &RecordBatch,
    first_row: u64,
    parts: &[Part],
) -> Result<Vec<Option<Group>>, DataError> {
    let used: Vec<usize> = (0..parts.len()).filter(|row| parts[*row] != Part::Out).collect();
    let raw = filter(raw, &parts.iter().map(|part| *part != Part::Out).collect::<Vec<_>>())?;
    let used_parts: Vec<Part> = used.iter().map(|row| parts[*row]).collect();
    let mut groups = files.iter().map(writer::Encoder::begin).collect::<Result<Vec<_>, _>>()?;
    let width = files.len().max(encoder.width());
    let step = (CELLS_AT_ONCE / width).clamp(1024, ROWS_PER_GROUP);
    for start in (0..used.len()).step_by(step) {
        let rows = step.min(used.len() - start);
        let number = |row: usize| first_row + used[start + row] as u64;
        let encoded = encoder.encode(&raw.slice(start, rows), &number)?.batch;
        let parts = &used_parts[start..start + rows];
        for (part, group) in Part::USED.into_iter().zip(&mut groups) {
            let of_part: Vec<bool> = parts.iter().map(|other| *other == part).collect();
            group.write(&filter(&encoded, &of_part)?)?;
        }
        if let [.., all] = groups.as_mut_slice() {
            all.write(&with_split(&encoded, parts)?)?;
        }
    }
    let group = |group: writer::OpenGroup<'_>| match group.rows() {
        0 => Ok(None),
        _ => group.finish().map(Some),
    };
    groups.into_iter().map(group).collect()
}

/// Keeps the rows that are wanted; all of them cost nothing.
fn filter(batch: &RecordBatch, wanted: &[bool]) -> Result<RecordBatch, DataError> {
    match wanted.iter().all(|wanted| *wanted) {
        true => Ok(batch.clone()),
        false => Ok(filter_record_batch(batch, &BooleanArray::from(wanted.to_vec()))?),
    }
}

/// Adds the column that names each row's split.
fn with_split(encoded: &RecordBatch, parts: &[Part]) -> Result<RecordBatch, DataError> {
    let names = StringArray::from_iter_values(parts.iter().map(|part| part.name()));
    let mut fields = encoded.schema_ref().fields().to_vec();
    fields.push(Arc::new(Field::new(SPLIT_COLUMN, DataType::Utf8, false)));
    let mut columns = encoded.columns().to_vec();
    columns.push(Arc::new(names) as ArrayRef);
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

#[cfg(test)]
mod tests;
