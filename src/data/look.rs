//! The first look at a table: when each row was, of which series, and whether it is left out.
//!
//! What it holds is nine bytes a row, and four more where series count.

use arrow::array::{Array, RecordBatch};

use super::fit::{Recipe, Roles, missing};
use super::split::{self, Part, Shares};
use super::transform::column;
use super::values::{self, Codes, MISSING, Names};
use super::{DataError, Missing, Split, time};

/// What is known of the rows so far.
#[derive(Default)]
pub struct Rows {
    times: Vec<i64>,
    parts: Vec<Part>,
    series: Vec<u32>,
    names: Names,
}

/// What a look at one block of raw rows gives.
pub struct Block {
    times: Vec<i64>,
    parts: Vec<Part>,
    series: Option<Codes>,
}

/// Gives the columns that a look must read, among those of the recipe.
pub fn columns<'a>(recipe: &'a Recipe, split: &Split, all: &[&'a str]) -> Vec<&'a str> {
    if recipe.missing == Missing::Drop {
        return all.to_vec();
    }
    let series = recipe.series.as_deref().filter(|_| counts_series(split));
    series.into_iter().chain([recipe.time.column.as_str()]).collect()
}

fn counts_series(split: &Split) -> bool {
    matches!(split, Split::Rows { .. })
}

/// Looks at a block of raw rows; `first_row` is the number of its first.
///
/// # Errors
///
/// [`DataError`] where a time or, where it counts, a series is missing and may not be.
pub fn look(
    recipe: &Recipe,
    roles: &Roles,
    split: &Split,
    raw: &RecordBatch,
    first_row: u64,
) -> Result<Block, DataError> {
    let mut parts = vec![Part::Train; raw.num_rows()];
    let mut leave_out = |name: &str, is_gap: &dyn Fn(usize) -> bool| {
        for (row, part) in parts.iter_mut().enumerate().filter(|(row, _)| is_gap(*row)) {
            if recipe.missing != Missing::Drop {
                return Err(missing(first_row + row as u64, name));
            }
            *part = Part::Out;
        }
        Ok(())
    };
    let name = &recipe.time.column;
    let times = time::micros(&column(raw, name)?, &recipe.time, first_row)?;
    leave_out(name, &|row| times.is_null(row))?;
    if recipe.missing == Missing::Drop {
        if let Some(name) = &recipe.series {
            let series = column(raw, name)?;
            leave_out(name, &|row| series.is_null(row))?;
        }
        for (name, _) in &roles.numbers {
            let numbers = values::numbers(name, &column(raw, name)?)?;
            leave_out(name, &|row| numbers[row].is_nan())?;
        }
        for (name, _) in &roles.categories {
            let categories = column(raw, name)?;
            leave_out(name, &|row| categories.is_null(row))?;
        }
    }
    let series = match recipe.series.as_ref().filter(|_| counts_series(split)) {
        Some(name) => {
            let codes = values::codes(name, &column(raw, name)?)?;
            leave_out(name, &|row| codes.rows[row] == MISSING)?;
            Some(codes)
        }
        None => None,
    };
    Ok(Block { times: times.values().to_vec(), parts, series })
}

impl Rows {
    /// Adds the next block.
    pub fn add(&mut self, block: Block) {
        self.times.extend(block.times);
        self.parts.extend(block.parts);
        if let Some(series) = block.series {
            // A row without a series is out, and counts nowhere: any number will do.
            let numbers = self.names.number(&series);
            self.series.extend(numbers.into_iter().map(|n| if n == MISSING { 0 } else { n }));
        }
    }

    /// Deals the rows to the parts, and says what a person should know.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a part that was asked for has no rows, or none is left.
    pub fn deal(mut self, split: &Split) -> Result<(Vec<Part>, Vec<String>), DataError> {
        if self.parts.iter().all(|part| *part == Part::Out) {
            return Err(DataError::rows("each row lacks a value and is left out")
                .with_help("fill the gaps, or name a column without values under `drop`"));
        }
        let mut warnings = Vec::new();
        let asked = match *split {
            Split::Time { train, validation, test } => {
                split::by_key(&self.times, Shares { train, validation, test }, &mut self.parts);
                [train, validation, test].map(|share| share > 0.0)
            }
            Split::Random { train, validation, test, seed } => {
                let keys = split::draw(self.parts.len(), seed);
                split::by_key(&keys, Shares { train, validation, test }, &mut self.parts);
                [train, validation, test].map(|share| share > 0.0)
            }
            Split::Rows { train, validation, test } => {
                let counts = [train, validation, test];
                self.series.resize(self.parts.len(), 0);
                let short = split::by_count(&self.times, &self.series, counts, &mut self.parts);
                if short > 0 {
                    let rows = train.saturating_add(validation).saturating_add(test);
                    warnings.push(format!("{short} series have fewer than the {rows} rows asked"));
                }
                counts.map(|count| count > 0)
            }
        };
        for (part, _) in Part::USED.into_iter().zip(asked).filter(|(_, asked)| *asked) {
            if !self.parts.contains(&part) {
                return Err(DataError::rows(format!("the {} split has no rows", part.name()))
                    .with_help("change the shares under `split`, or give more rows"));
            }
        }
        Ok((self.parts, warnings))
    }
}
