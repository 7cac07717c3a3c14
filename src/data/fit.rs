//! Fitting a [`Transform`]: which raw column plays which role, and the statistics of the train
//! rows.
//!
//! What is found in a block of rows is found from these alone, and blocks are merged in their
//! order, so that a fit does not depend on threads. Memory is a few numbers a column, the
//! categories, and for `scale: robust` a sample of the train rows.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};

use super::error::quoted;
use super::split::Part;
use super::transform::{Holds, Number, OneHot, SPLIT_COLUMN, TRANSFORM_VERSION, column};
use super::values::{self, Codes, Key, MISSING};
use super::{Cyclical, DataError, Missing, Scale, TimeColumn, Transform, Unseen, sample};

/// More categories than this are a mistaken column, not features.
const MOST_CATEGORIES: usize = 1024;

/// What is asked of a transform before it is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// The column that names a row's series.
    pub series: Option<String>,
    /// The column that says when a row was.
    pub time: TimeColumn,
    /// The cycles that become features.
    pub cyclical: Vec<Cyclical>,
    /// The columns of categories.
    pub one_hot: Vec<String>,
    /// How numbers are scaled; booleans never are.
    pub scale: Scale,
    /// The columns that are left out.
    pub drop: Vec<String>,
    /// What happens to a row with a missing value.
    pub missing: Missing,
    /// What happens to a category that the train rows do not have.
    pub unseen: Unseen,
}

/// The raw columns that a recipe reads, by their role.
#[derive(Clone, Debug, PartialEq)]
pub struct Roles {
    /// The numeric and boolean columns, in the order of the table.
    pub numbers: Vec<(String, Holds)>,
    /// The columns of categories, in the order of the recipe.
    pub categories: Vec<(String, Holds)>,
}

impl Recipe {
    /// Finds the role of each column of a table.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a column that the recipe names is absent or of a wrong type, or one that
    /// it does not name is neither numeric nor boolean.
    pub fn roles(&self, table: &Schema) -> Result<Roles, DataError> {
        let names = || table.fields().iter().map(|field| field.name().as_str());
        let named = self.series.iter().chain([&self.time.column]);
        for name in named.chain(&self.one_hot).chain(&self.drop) {
            if !names().any(|there| there == name) {
                return Err(DataError::absent(name, names()));
            }
        }
        let kind = |name: &str| table.field_with_name(name).map(|field| field.data_type().clone());
        for name in self.series.iter().chain(&self.one_hot) {
            check_names(name, &kind(name)?)?;
        }
        let holds = |name: &String| {
            Ok::<_, DataError>((name.clone(), Holds::of(&kind(name)?).unwrap_or(Holds::Text)))
        };
        let categories = self.one_hot.iter().map(holds).collect::<Result<_, _>>()?;
        Ok(Roles { numbers: self.numbers(table)?, categories })
    }

    /// Finds the columns that are features under their own names: all that nothing else claims.
    fn numbers(&self, table: &Schema) -> Result<Vec<(String, Holds)>, DataError> {
        let claimed = |name: &String| {
            self.series.as_ref() == Some(name)
                || self.time.column == *name
                || self.one_hot.contains(name)
                || self.drop.contains(name)
        };
        let free = || table.fields().iter().filter(|field| !claimed(field.name()));
        let texts: Vec<&String> = free()
            .filter(|field| Holds::of(field.data_type()) == Some(Holds::Text))
            .map(|field| field.name())
            .collect();
        if let [first, ..] = texts.as_slice() {
            let message = match texts.len() {
                1 => "it holds text, which is no feature".to_owned(),
                _ => format!("text is no feature, and these hold it: {}", quoted(&texts)),
            };
            return Err(DataError::column(first, message)
                .with_help("name the column under `one_hot` or `drop` (or as `series`)"));
        }
        let number = |field: &std::sync::Arc<arrow::datatypes::Field>| match (
            field.name().as_str(),
            Holds::of(field.data_type()),
        ) {
            (SPLIT_COLUMN, _) => Err(DataError::column(
                SPLIT_COLUMN,
                "the output has a column of this name of its own",
            )
            .with_help("name the column under `drop`")),
            (name, Some(holds)) => Ok((name.to_owned(), holds)),
            (name, None) => {
                let message = format!("its type {} is no feature", field.data_type());
                Err(DataError::column(name, message).with_help("name the column under `drop`"))
            }
        };
        free().map(number).collect()
    }

    /// Gives every column that the recipe reads from a table, in the table's order.
    pub fn columns<'a>(&self, table: &'a Schema) -> Vec<&'a str> {
        let names = table.fields().iter().map(|field| field.name().as_str());
        names.filter(|name| !self.drop.iter().any(|dropped| dropped == name)).collect()
    }
}

fn check_names(name: &str, kind: &DataType) -> Result<(), DataError> {
    match values::can_name(kind) {
        true => Ok(()),
        false => Err(DataError::column(name, format!("it has the type {kind}"))
            .with_help("text, whole numbers and booleans can name series and categories")),
    }
}

/// What a block, or several, says of the train rows.
pub struct Found {
    numbers: Vec<Moments>,
    samples: Vec<Vec<f64>>,
    categories: Vec<BTreeSet<Key>>,
}

/// The count, mean, squared deviations and range of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    least: f64,
    most: f64,
}

impl Moments {
    const NONE: Moments = Moments {
        count: 0,
        mean: 0.0,
        squares: 0.0,
        least: f64::INFINITY,
        most: f64::NEG_INFINITY,
    };

    /// Sums in two passes, so that deviations are taken from the mean itself.
    fn of(values: &[f64]) -> Moments {
        if values.is_empty() {
            return Moments::NONE;
        }
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Moments {
            count: values.len() as u64,
            mean,
            squares: values.iter().map(|value| (value - mean) * (value - mean)).sum(),
            least: values.iter().copied().fold(f64::INFINITY, f64::min),
            most: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// Merges two (Chan, Golub and LeVeque 1983).
    fn and(self, other: Moments) -> Moments {
        if self.count == 0 || other.count == 0 {
            return if self.count == 0 { other } else { self };
        }
        let (here, there) = (self.count as f64, other.count as f64);
        let apart = other.mean - self.mean;
        Moments {
            count: self.count + other.count,
            mean: self.mean + apart * (there / (here + there)),
            squares: self.squares
                + other.squares
                + apart * apart * (here * (there / (here + there))),
            least: self.least.min(other.least),
            most: self.most.max(other.most),
        }
    }
}

/// Gathers what a block of raw rows says, from its train rows.
///
/// `first_row` is the number of its first row, `parts` what its rows are for, and `sampling` stands
/// at its first train row.
///
/// # Errors
///
/// [`DataError`] where a used row breaks the rule for missing values, or there are too many
/// categories.
pub fn gather(
    recipe: &Recipe,
    roles: &Roles,
    raw: &RecordBatch,
    first_row: u64,
    parts: &[Part],
    sampling: sample::Stride,
) -> Result<Found, DataError> {
    let mut found = Found { numbers: Vec::new(), samples: Vec::new(), categories: Vec::new() };
    for (name, holds) in &roles.numbers {
        let numbers = values::numbers(name, &column(raw, name)?)?;
        if recipe.missing != Missing::Mean {
            let is_gap = |row: usize| numbers[row].is_nan();
            check_gaps(name, first_row, parts, is_gap)?;
        }
        let train = || numbers.iter().zip(parts).filter(|(_, part)| **part == Part::Train);
        let present: Vec<f64> =
            train().map(|(value, _)| *value).filter(|value| !value.is_nan()).collect();
        found.numbers.push(Moments::of(&present));
        let wanted = recipe.scale == Scale::Robust && *holds != Holds::Booleans;
        let values = train().map(|(value, _)| *value);
        found.samples.push(if wanted { sampling.of(values) } else { Vec::new() });
    }
    for (name, _) in &roles.categories {
        let codes = values::codes(name, &column(raw, name)?)?;
        check_gaps(name, first_row, parts, |row| codes.rows[row] == MISSING)?;
        found.categories.push(train_keys(name, codes, parts)?);
    }
    Ok(found)
}

/// Fails at the first used row that has a gap.
fn check_gaps(
    name: &str,
    first_row: u64,
    parts: &[Part],
    is_gap: impl Fn(usize) -> bool,
) -> Result<(), DataError> {
    match (0..parts.len()).find(|row| parts[*row] != Part::Out && is_gap(*row)) {
        Some(row) => Err(missing(first_row + row as u64, name)),
        None => Ok(()),
    }
}

/// Makes the error of a missing value.
pub(super) fn missing(row: u64, column: &str) -> DataError {
    DataError::value(row, column, "the value is missing or not finite")
        .with_help("choose `missing: drop`, `mean` or `forward_fill`, or drop the column")
}

fn train_keys(name: &str, codes: Codes, parts: &[Part]) -> Result<BTreeSet<Key>, DataError> {
    let mut used = vec![false; codes.keys.len()];
    let train = codes.rows.iter().zip(parts).filter(|(_, part)| **part == Part::Train);
    train.filter(|(code, _)| **code != MISSING).for_each(|(code, _)| used[*code as usize] = true);
    let keys = codes.keys.into_iter().zip(used).filter(|(_, used)| *used);
    let keys: BTreeSet<Key> = keys.map(|(key, _)| key).collect();
    few(name, &keys)?;
    Ok(keys)
}

fn few(name: &str, keys: &BTreeSet<Key>) -> Result<(), DataError> {
    if keys.len() <= MOST_CATEGORIES {
        return Ok(());
    }
    let message = format!("it has more than {MOST_CATEGORIES} categories");
    Err(DataError::column(name, message).with_help("name the column under `drop`"))
}

impl Found {
    /// Starts with nothing found.
    pub fn nothing(roles: &Roles) -> Found {
        Found {
            numbers: vec![Moments::NONE; roles.numbers.len()],
            samples: vec![Vec::new(); roles.numbers.len()],
            categories: vec![BTreeSet::new(); roles.categories.len()],
        }
    }

    /// Adds what the next block says.
    ///
    /// # Errors
    ///
    /// [`DataError`] where there are too many categories.
    pub fn add(&mut self, roles: &Roles, next: Found) -> Result<(), DataError> {
        let numbers = self.numbers.iter_mut().zip(next.numbers);
        numbers.for_each(|(all, next)| *all = all.and(next));
        self.samples.iter_mut().zip(next.samples).for_each(|(all, next)| all.extend(next));
        let categories = self.categories.iter_mut().zip(next.categories).zip(&roles.categories);
        for ((all, next), (name, _)) in categories {
            all.extend(next);
            few(name, all)?;
        }
        Ok(())
    }

    /// Makes the transform, and what a person should know of it.
    ///
    /// A column whose values are all equal is 0 throughout; one whose quartiles are equal is only
    /// shifted.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a column has no value in the train rows, its range is beyond what floats
    /// hold, or two features would have one name.
    pub fn into_transform(
        self,
        recipe: &Recipe,
        roles: &Roles,
    ) -> Result<(Transform, Vec<String>), DataError> {
        let (mut numbers, mut warnings) = (Vec::new(), Vec::new());
        let found = self.numbers.into_iter().zip(self.samples);
        for ((name, holds), (moments, sample)) in roles.numbers.iter().zip(found) {
            let number = scaler(name, *holds, recipe.scale, moments, sample, &mut warnings)?;
            numbers.push(number);
        }
        let categories = roles.categories.iter().zip(self.categories);
        let one_hot: Vec<OneHot> = categories
            .map(|((name, holds), keys)| OneHot {
                column: name.clone(),
                holds: *holds,
                categories: keys.iter().map(Key::to_string).collect(),
            })
            .collect();
        let mut features: Vec<String> =
            numbers.iter().map(|number| number.column.clone()).collect();
        features.extend(one_hot.iter().flat_map(OneHot::features));
        features.extend(recipe.cyclical.iter().flat_map(|cycle| cycle.features()));
        let transform = Transform {
            version: TRANSFORM_VERSION,
            series: recipe.series.clone(),
            time: recipe.time.clone(),
            features,
            numbers,
            one_hot,
            cyclical: recipe.cyclical.clone(),
            missing: recipe.missing,
            unseen: recipe.unseen,
        };
        check_features(&transform)?;
        Ok((transform, warnings))
    }
}

fn scaler(
    name: &str,
    holds: Holds,
    scale: Scale,
    found: Moments,
    mut sample: Vec<f64>,
    warnings: &mut Vec<String>,
) -> Result<Number, DataError> {
    if found.count == 0 {
        return Err(DataError::column(name, "no train row has a value")
            .with_help("name the column under `drop`"));
    }
    let scaler = if holds == Holds::Booleans { Scale::None } else { scale };
    let (offset, factor) = match scaler {
        Scale::None => (0.0, 1.0),
        _ if found.least == found.most => (found.least, 0.0),
        Scale::Minmax => (found.least, found.most - found.least),
        Scale::Standard => (found.mean, (found.squares / found.count as f64).sqrt()),
        Scale::Robust if sample.is_empty() => {
            return Err(DataError::column(name, "too few train rows have a value for quartiles")
                .with_help("choose another `scale`, or name the column under `drop`"));
        }
        Scale::Robust => {
            sample.sort_unstable_by(f64::total_cmp);
            let [low, middle, high] = [0.25, 0.5, 0.75].map(|q| sample::quantile(&sample, q));
            (middle, high - low)
        }
    };
    if ![offset, factor, found.mean].iter().all(|number| number.is_finite()) {
        return Err(DataError::column(name, "its range is beyond what floats hold")
            .with_help("name the column under `drop`, or give it in another unit"));
    }
    if factor == 0.0 && found.least == found.most {
        warnings.push(format!(
            "column `{name}` is {} in every train row: that is scaled to 0",
            found.least
        ));
    } else if factor < f64::MIN_POSITIVE {
        warnings.push(format!("column `{name}` has next to no spread: it is shifted, not scaled"));
    }
    // What is below the normal floats would lose its digits in the quotient.
    let factor = if factor < f64::MIN_POSITIVE { 1.0 } else { factor };
    Ok(Number { column: name.to_owned(), holds, scaler, offset, scale: factor, mean: found.mean })
}

/// Fails where two columns of the output would have one name.
fn check_features(transform: &Transform) -> Result<(), DataError> {
    let mut names = BTreeSet::from([SPLIT_COLUMN, transform.time.column.as_str()]);
    names.extend(transform.series.as_deref());
    match transform.features.iter().find(|name| !names.insert(name)) {
        None => Ok(()),
        Some(twice) => Err(DataError::column(twice, "two columns of the output have this name")
            .with_help("drop or rename a column of the table")),
    }
}
