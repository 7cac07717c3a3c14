//! `runner predict`: a model's predictions from a raw table, in raw units.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::datatypes::SchemaRef;
use clap::Args;

use super::{CpuArguments, Error, Exit, Session};
use crate::data::DataError;
use crate::data::parallel::stream;
use crate::data::sink::Sink;
use crate::data::source::{self, Table};
use crate::data::stream::{Columns, Counts, Cutter, Short};
use crate::data::writer::ROWS_PER_GROUP;
use crate::executor::signals;
use crate::model::file::{Model, ModelError};
use crate::model::forecast::{Batch, Forecaster};
use crate::report::Meter;
use crate::report::text::{count, counted};

mod output;

use output::Output;

/// The values that are encoded at once.
const CELLS_AT_ONCE: usize = 1 << 20;

/// The arguments of `runner predict`.
#[derive(Args, Debug)]
#[command(after_help = "\
The table has the raw columns of the table that the model's `preprocess` stage read; what the model
does not read may be absent, and so may the target, unless the model reads its past. The rows of a
series come in order of time. An empty target is one to predict.

A row is predicted as soon as its series has the rows of a window. The output has the series and the
time of the window's last row under their own names; with a horizon `step`, the rows from there to
the predicted one; and `predicted`, or with quantiles `predicted_0.1` and so on.

Examples:
  runner predict artifacts/lambda/train/model.safetensors metrics.csv -o predictions.parquet
  runner predict model.safetensors metrics.parquet | head")]
pub struct Predict {
    /// The model: the `model.safetensors` of a `train` or a `tune` stage.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,
    /// The raw table, CSV or Parquet.
    #[arg(value_name = "INPUT")]
    pub input: PathBuf,
    /// Where the predictions go, CSV or Parquet by its ending; `-`, and unless given, is CSV on
    /// standard output.
    #[arg(short, long, value_name = "OUTPUT")]
    pub output: Option<PathBuf>,
    /// The CPUs.
    #[command(flatten)]
    pub cpus: CpuArguments,
}

/// Why there are no predictions.
enum Ended {
    /// The table is not one to predict from.
    Input(DataError),
    /// The predictions cannot be written.
    Output(DataError),
    Interrupted,
}

/// Predicts.
///
/// # Errors
///
/// [`Error::Usage`] where the model, the table or the output is not what it must be.
pub fn run(arguments: &Predict, session: &mut Session<'_>) -> Result<Exit, Error> {
    let output = Output::new(arguments)?;
    let model = load(&arguments.model)?;
    let forecaster = Forecaster::new(&model).map_err(|error| unusable(&arguments.model, &error))?;
    let table = source::open(&arguments.input).map_err(invalid)?;
    if table.rows() == 0 {
        let message = format!("`{}`: the table has no rows", arguments.input.display());
        return Err(Error::usage(message, "give it the rows to predict from"));
    }
    let columns = forecaster.columns().find(&table).map_err(invalid)?;
    let interrupted = signals::watch()
        .map_err(|error| Error::internal(format!("cannot watch for signals: {error}")))?;
    let schema = forecaster.schema(table.schema()).map_err(invalid)?;
    let mut work = Work {
        forecaster: &forecaster,
        table: &table,
        columns,
        schema: schema.clone(),
        threads: arguments.cpus.count(),
        interrupted: &interrupted,
        meter: Meter::new("rows", table.rows(), output.is_terminal()),
    };
    let mut cutter = Cutter::new(forecaster.columns());
    let written = output.write(session.out, schema, |sink| work.all(&mut cutter, sink));
    drop(work);
    match written {
        Err(Ended::Input(error)) => return Err(invalid(error)),
        Err(Ended::Output(error)) => return Err(output.failed(error)),
        Err(Ended::Interrupted) => return Ok(Exit::Interrupted),
        Ok(()) => {}
    }
    for warning in warnings(&cutter, forecaster.columns()) {
        writeln!(session.err, "warning: {warning}")?;
    }
    if let Output::File { path, .. } = &output {
        let Counts { rows, windows, .. } = cutter.counts();
        let predicted = format!("{} of {}", count(windows), counted(rows, "row"));
        writeln!(session.out, "{}: predictions at {predicted}", path.display())?;
    }
    Ok(Exit::Done)
}

/// All that predicting from a table takes.
struct Work<'a> {
    forecaster: &'a Forecaster,
    table: &'a Table,
    columns: Vec<usize>,
    schema: SchemaRef,
    threads: usize,
    interrupted: &'a AtomicBool,
    meter: Meter,
}

impl Work<'_> {
    /// Predicts from all rows, batches side by side and written in order.
    fn all(&mut self, cutter: &mut Cutter<'_>, sink: &mut Sink<'_>) -> Result<(), Ended> {
        let Work { forecaster, table, columns, schema, interrupted, meter, .. } = self;
        let predict = |(batch, row)| (forecaster.predict(batch, schema), row);
        let give = |send: &mut dyn FnMut((Batch, u64)) -> Result<(), Ended>| {
            batches(forecaster, table, columns, cutter, interrupted, send)
        };
        stream(self.threads, predict, give, |(predictions, row): (Result<_, _>, _)| {
            if interrupted.load(Ordering::Relaxed) {
                return Err(Ended::Interrupted);
            }
            sink.write(predictions.map_err(Ended::Input)?).map_err(Ended::Output)?;
            meter.tell(row);
            Ok(())
        })?;
        match cutter.counts().windows {
            0 => Err(Ended::Input(nothing(cutter, forecaster.columns()))),
            _ => Ok(()),
        }
    }
}

/// Sends the windows of a table in batches, each with the number of its last row.
fn batches(
    forecaster: &Forecaster,
    table: &Table,
    columns: &[usize],
    cutter: &mut Cutter<'_>,
    interrupted: &AtomicBool,
    send: &mut dyn FnMut((Batch, u64)) -> Result<(), Ended>,
) -> Result<(), Ended> {
    let width = forecaster.columns().inputs() + columns.len();
    let step = (CELLS_AT_ONCE / width).clamp(1024, ROWS_PER_GROUP);
    for block in 0..table.blocks() {
        let raw = table.read(block, columns).map_err(Ended::Input)?;
        for start in (0..raw.num_rows()).step_by(step) {
            // Where no window comes, nothing else asks.
            if interrupted.load(Ordering::Relaxed) {
                return Err(Ended::Interrupted);
            }
            let part = raw.slice(start, step.min(raw.num_rows() - start));
            let first_row = cutter.counts().rows;
            let cut = cutter.cut(&part).map_err(Ended::Input)?;
            for batch in 0..forecaster.batches(&cut) {
                let batch = forecaster.gather(&part, &cut, batch).map_err(Ended::Input)?;
                let row = first_row + batch.row() as u64;
                send((batch, row))?;
            }
        }
    }
    Ok(())
}

/// Says why no row has a window.
fn nothing(cutter: &Cutter<'_>, columns: &Columns) -> DataError {
    let Counts { rows, left_out, gaps, .. } = cutter.counts();
    let needed = counted(columns.needed(), "row");
    if gaps > 0 {
        let message = "no window is without a gap in the past of what is predicted";
        return DataError::rows(message)
            .with_help(format!("give `{}` a value in more rows", columns.spec().target));
    }
    if left_out == rows {
        let message = "each row lacks a value, and the model leaves such rows out";
        return DataError::rows(message).with_help("fill the gaps of the columns that it reads");
    }
    let longest = cutter.short().map_or(String::new(), |short| longest(&short));
    let message = format!("no series has the {needed} that a prediction needs{longest}");
    let spec = columns.spec();
    let before = (columns.needed() > spec.window as u64)
        .then_some(" and the row before it, whose target is known by then");
    let window = counted(spec.window as u64, "row");
    let help = format!("the model reads a window of {window}{}", before.unwrap_or_default());
    DataError::rows(message).with_help(help)
}

fn longest(Short { name, rows, .. }: &Short) -> String {
    match name.as_str() {
        "" => format!(": there are {}", count(*rows)),
        name => format!(": the longest, `{name}`, has {}", count(*rows)),
    }
}

/// Says which rows have no prediction and should have one for all that the reader knows.
fn warnings(cutter: &Cutter<'_>, columns: &Columns) -> Vec<String> {
    let Counts { left_out, gaps, .. } = cutter.counts();
    let short = cutter.short().map(|short| {
        let series = match short.count {
            1 => "a series has".to_owned(),
            many => format!("{} series have", count(many as u64)),
        };
        let needed = counted(columns.needed(), "row");
        format!(
            "{series} no prediction, for want of the {needed} that one needs{}",
            longest(&short)
        )
    });
    let left_out = (left_out > 0).then(|| {
        format!("{} left out for a missing value, as in training", counted(left_out, "row"))
    });
    let gaps = (gaps > 0).then(|| {
        let target = &columns.spec().target;
        let rows = counted(gaps, "row");
        format!("{rows} without a prediction, whose window has a gap in the past of `{target}`")
    });
    short.into_iter().chain(left_out).chain(gaps).collect()
}

/// Reads the model, and says what a file is that is none.
fn load(path: &Path) -> Result<Model, Error> {
    Model::load(path).map_err(|error| {
        let help = match &error {
            ModelError::Content { .. } => {
                "give the `model.safetensors` of a `train` or a `tune` stage"
            }
            _ => "the model comes first, then the table",
        };
        match start(path) {
            Some([0x89, b'H', b'D', b'F'] | [b'P', b'K', 3, 4]) => Error::usage(
                format!("`{}`: this is Keras's format", path.display()),
                "give the pipeline's own `model.safetensors`: it lies at \
                 `artifacts/<pipeline>/<stage>/`",
            ),
            Some([b'P', b'A', b'R', b'1']) => Error::usage(
                format!("`{}`: this is a table", path.display()),
                "the model comes first, then the table",
            ),
            _ => Error::usage(error.to_string(), help),
        }
    })
}

/// Gives the first bytes of a file.
fn start(path: &Path) -> Option<[u8; 4]> {
    let mut bytes = [0; 4];
    File::open(path).ok()?.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn unusable(path: &Path, error: &DataError) -> Error {
    let message = format!("`{}`: the model does not fit itself: {error}", path.display());
    Error::usage(message, "make it again with this `runner`")
}

/// Makes an error of the command line of one of the table.
fn invalid(error: DataError) -> Error {
    Error::Usage { message: error.to_string(), help: error.help().map(str::to_owned) }
}
