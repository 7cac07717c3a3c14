//! Windows over a raw table, cut while its rows come by: for a prediction, what [`super::window`]
//! cuts from a preprocessed split.
//!
//! Only columns that the windows read are read: a gap elsewhere leaves no row out. Of a series no
//! more is kept than its last rows, so that memory does not grow with the table. The rows of a
//! series come in order of time; series may take turns.
//!
//! A row whose target is missing is a row to predict: with a horizon of 0 its window needs all but
//! that value. What the gap is to later windows follows the transform's rule:
//!
//! | `missing` | where the target's past has a gap |
//! |---|---|
//! | `error` | no window reads over it |
//! | `drop` | its row is left out of later windows, as in training |
//! | `mean`, `forward_fill` | the mean or the last value stands in, as in training |
//!
//! Knows nothing of networks.

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::Float64Type;

use super::encode::{Encoded, Encoder};
use super::fill::Filler;
use super::transform::column;
use super::values::{self, Names};
use super::window::Layout;
use super::{DataError, Missing, time};

mod columns;
#[cfg(test)]
mod tests;

pub use columns::Columns;

/// Cuts windows out of the raw rows of a table, block by block.
pub struct Cutter<'a> {
    columns: &'a Columns,
    encoder: Encoder<'a>,
    filler: Option<Filler>,
    names: Names,
    series: Vec<Series>,
    counts: Counts,
}

/// What became of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All rows.
    pub rows: u64,
    /// Those that end a window.
    pub windows: u64,
    /// Those left out under `missing: drop`.
    pub left_out: u64,
    /// Those whose window would read over a gap in the target's past.
    pub gaps: u64,
}

/// Series that are too short for a window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// How many.
    pub count: usize,
    /// The name of the longest; empty where all rows are one series.
    pub name: String,
    /// Its rows.
    pub rows: u64,
}

/// The windows that end in a block of rows, in the order of these.
pub struct Cut<'c> {
    series: &'c [Series],
    windows: Vec<Window>,
    /// `[rows, inputs]`: rows that end a window and are in no later one.
    guests: Vec<f32>,
    window: usize,
    inputs: usize,
}

#[derive(Clone, Copy)]
struct Window {
    series: u32,
    /// Its first row among those of its series.
    start: usize,
    /// Its last row among the guests, where it is one of them.
    guest: Option<usize>,
    /// Its last row's place in the block.
    row: usize,
}

/// The newest rows of a series.
struct Series {
    /// `[rows, inputs]`: what later windows may read, then the rows of the block.
    rows: Vec<f32>,
    /// How many rows up to the newest have no gap in the target's past.
    whole: usize,
    /// The target of the newest row as it is scaled; NaN where there is none.
    target: f32,
    /// Microseconds since 1970.
    time: i64,
    /// How many rows there have been that later windows may read.
    seen: u64,
    windows: u64,
}

/// The columns of a block, encoded.
struct Block {
    first_row: u64,
    /// Which rows have all their features; all where `None`.
    whole: Option<Vec<bool>>,
    series: Vec<u32>,
    times: Int64Array,
    features: Vec<ScalarBuffer<f64>>,
    /// The target as it is scaled, NaN where it is missing; `None` where no window reads it.
    target: Option<Vec<f32>>,
}

impl<'a> Cutter<'a> {
    /// Begins before a table's first row.
    pub fn new(columns: &'a Columns) -> Cutter<'a> {
        let fills = columns.transform().missing == Missing::ForwardFill;
        Cutter {
            columns,
            encoder: Encoder::new(columns.transform()),
            filler: fills.then(Filler::default),
            names: Names::default(),
            series: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Gives what became of the rows so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Tells of the series that have been too short for a window so far, if there are any.
    pub fn short(&self) -> Option<Short> {
        let needed = self.columns.needed();
        let is_short = |series: &Series| series.windows == 0 && series.seen < needed;
        let without = || self.series.iter().zip(0..).filter(|(series, _)| is_short(series));
        let (longest, number) = without().max_by_key(|(series, _)| series.seen)?;
        let name = self.names.name(number).unwrap_or_default();
        Some(Short { count: without().count(), name, rows: longest.seen })
    }

    /// Cuts the windows that end in the next block of raw rows.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a value breaks a rule of the transform, or a series is out of the order
    /// of time.
    pub fn cut(&mut self, raw: &RecordBatch) -> Result<Cut<'_>, DataError> {
        let (window, inputs) = (self.columns.spec().window, self.columns.inputs());
        self.series.iter_mut().for_each(|series| series.forget(window - 1, inputs));
        let block = self.encode(raw, self.counts.rows)?;
        self.series.resize_with(self.names.count().max(1), Series::new);
        let (mut windows, mut guests) = (Vec::new(), Vec::new());
        for row in 0..raw.num_rows() {
            if block.whole.as_ref().is_some_and(|whole| !whole[row]) {
                self.counts.left_out += 1;
            } else if let Some(window) = self.row(&block, row, &mut guests)? {
                windows.push(window);
            }
        }
        self.counts.rows += raw.num_rows() as u64;
        self.counts.windows += windows.len() as u64;
        Ok(Cut { series: &self.series, windows, guests, window, inputs })
    }

    /// Takes in one row, and gives the window that ends there, if one does.
    fn row(
        &mut self,
        block: &Block,
        row: usize,
        guests: &mut Vec<f32>,
    ) -> Result<Option<Window>, DataError> {
        let (spec, missing) = (self.columns.spec(), self.columns.transform().missing);
        let number = block.series[row];
        let series = &mut self.series[number as usize];
        if block.times.value(row) < series.time {
            return Err(self.columns.out_of_order(block.first_row + row as u64));
        }
        series.time = block.times.value(row);
        let target = match block.target.as_ref().map(|targets| targets[row]) {
            Some(target) if target.is_nan() && missing == Missing::ForwardFill => series.target,
            Some(target) => target,
            None => 0.0,
        };
        let known = if spec.horizon == 0 { series.target } else { target };
        let history = spec.target_history.then_some(known);
        let input = block.features.iter().map(|feature| feature[row] as f32).chain(history);
        let left_out = target.is_nan() && missing == Missing::Drop;
        let (start, guest) = if !left_out {
            series.rows.extend(input);
            series.target = target;
            series.seen += 1;
            let is_whole = history.is_none_or(|known| !known.is_nan());
            series.whole = if is_whole { series.whole + 1 } else { 0 };
            (series.start(spec.window, self.columns.inputs()), None)
        } else if spec.horizon == 0 && !known.is_nan() {
            let guest = guests.len() / self.columns.inputs();
            guests.extend(input);
            (series.start(spec.window - 1, self.columns.inputs()), Some(guest))
        } else {
            (None, None)
        };
        match start {
            Some(_) => series.windows += 1,
            None if left_out => self.counts.left_out += 1,
            None if series.seen >= self.columns.needed() => self.counts.gaps += 1,
            None => {}
        }
        Ok(start.map(|start| Window { series: number, start, guest, row }))
    }

    /// Encodes the columns of a block.
    fn encode(&mut self, raw: &RecordBatch, first_row: u64) -> Result<Block, DataError> {
        let (spec, transform) = (self.columns.spec(), self.columns.transform());
        let mut read = transform.read_by(raw)?;
        if let Some(filler) = &mut self.filler {
            let filled = filler.fill(&transform.recipe(), &read, first_row);
            read = filled.map_err(|error| self.columns.explained(error))?;
        }
        let encoded = self.encoder.encode(&read, &|row| first_row + row as u64);
        let Encoded { batch, whole } = encoded.map_err(|error| self.columns.explained(error))?;
        let series = match &spec.series {
            Some(name) => self.names.number(&values::codes(name, &column(raw, name)?)?),
            None => vec![0; raw.num_rows()],
        };
        let feature = |name: &String| {
            let values = column(&batch, name)?.as_primitive::<Float64Type>().values().clone();
            self.columns.check_floats(name, &values, first_row)?;
            Ok::<_, DataError>(values)
        };
        Ok(Block {
            first_row,
            whole,
            series,
            times: time::micros(&column(raw, &spec.time.column)?, &spec.time, first_row)?,
            features: self.columns.features().iter().map(feature).collect::<Result<_, _>>()?,
            target: self.columns.target(raw, first_row)?,
        })
    }
}

impl Series {
    fn new() -> Series {
        let (target, time) = (f32::NAN, i64::MIN);
        Series { rows: Vec::new(), whole: 0, target, time, seen: 0, windows: 0 }
    }

    /// Gives the first of the newest `count` rows where none of these has a gap.
    fn start(&self, count: usize, inputs: usize) -> Option<usize> {
        (self.whole >= count).then(|| self.rows.len() / inputs - count)
    }

    /// Keeps the rows that a later window may read, at most `count`, and the memory of these.
    fn forget(&mut self, count: usize, inputs: usize) {
        let kept = count.min(self.whole) * inputs;
        if self.rows.len() > kept {
            self.rows.drain(..self.rows.len() - kept);
            self.rows.shrink_to(2 * kept);
        }
    }
}

impl Cut<'_> {
    /// Gives the number of windows.
    pub fn len(&self) -> usize {
        self.windows.len()
    }

    /// Tells whether no window ends in the block.
    pub fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Gives the place in the block of a window's last row.
    pub fn row(&self, window: usize) -> usize {
        self.windows[window].row
    }

    /// Gathers windows in a layout.
    pub fn gather(&self, windows: &[u32], layout: Layout) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.window * windows.len() * self.inputs);
        match layout {
            Layout::StepsFirst => {
                for step in 0..self.window {
                    windows
                        .iter()
                        .for_each(|&window| values.extend(self.input(window as usize, step)));
                }
            }
            Layout::WindowsFirst => {
                for &window in windows {
                    (0..self.window)
                        .for_each(|step| values.extend(self.input(window as usize, step)));
                }
            }
        }
        values
    }

    /// Gives the inputs of one row of a window.
    fn input(&self, window: usize, step: usize) -> &[f32] {
        let window = &self.windows[window];
        let (rows, row) = match window.guest {
            Some(guest) if step + 1 == self.window => (&self.guests, guest),
            _ => (&self.series[window.series as usize].rows, window.start + step),
        };
        &rows[row * self.inputs..][..self.inputs]
    }
}
