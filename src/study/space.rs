//! The values that a searched parameter may take, and beside which values of others it exists.
//!
//! A [`Space`] holds its parameters in an order in which every parent of a condition stands before
//! its children, so one walk builds a point. Knows no sampler.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Point, SearchParam};

/// The parameters of a search, parents before children, otherwise by name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Space {
    /// The parameters in that order.
    pub(crate) params: Vec<Param>,
}

/// One parameter of a [`Space`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Param {
    /// Its dotted path within the base's params.
    pub(crate) path: String,
    /// The values that it may take.
    pub(crate) domain: Domain,
    /// The values that others must have for it to exist.
    pub(crate) when: BTreeMap<String, Vec<Value>>,
}

/// The values that a parameter may take.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Domain {
    /// One of these.
    Choice(Vec<Value>),
    /// A number.
    Number(Range),
}

/// An interval of numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Range {
    /// The smallest value.
    pub(crate) low: f64,
    /// The largest value, which lies on a step.
    pub(crate) high: f64,
    /// The distance of neighbouring values, from `low`; any value where there is none.
    pub(crate) step: Option<f64>,
    /// Whether distances are those of the logarithms.
    pub(crate) log: bool,
    /// Whether values are written as whole numbers.
    pub(crate) whole: bool,
}

impl Space {
    /// Makes the space of checked parameters.
    ///
    /// # Panics
    ///
    /// Where `check_space` would have found a mistake.
    pub(crate) fn new(search: &BTreeMap<String, SearchParam>) -> Space {
        let order = order(search).expect("a checked space has no cycle of conditions");
        let param = |path: &str| Param {
            path: path.to_owned(),
            domain: search[path].domain().expect("a checked parameter has one domain"),
            when: search[path].when.clone(),
        };
        Space { params: order.into_iter().map(param).collect() }
    }
}

impl Space {
    /// Gives the parameters by name.
    pub(crate) fn params_by_path(&self) -> Vec<&Param> {
        let mut params: Vec<&Param> = self.params.iter().collect();
        params.sort_by(|a, b| a.path.cmp(&b.path));
        params
    }

    /// Says whether a point has exactly the parameters that exist beside its others, each with one
    /// of its values.
    pub(crate) fn holds(&self, point: &Point) -> bool {
        let fits = |param: &Param| match point.get(&param.path) {
            Some(value) => param.is_active(point) && param.domain.contains(value),
            None => !param.is_active(point),
        };
        self.params.iter().all(fits)
            && point.keys().all(|path| self.params.iter().any(|param| param.path == *path))
    }
}

/// Orders the parameters so that those named by a condition stand first; the first by name among
/// those that are free. Gives the paths of a circle where there is one.
pub(super) fn order(search: &BTreeMap<String, SearchParam>) -> Result<Vec<&str>, Vec<&str>> {
    let mut placed: Vec<&str> = Vec::new();
    let mut left: Vec<&str> = search.keys().map(String::as_str).collect();
    while !left.is_empty() {
        let free = left.iter().position(|path| {
            let parents = search[*path].when.keys();
            // A parent that does not exist is another mistake, found elsewhere.
            parents
                .filter(|parent| search.contains_key(*parent))
                .all(|parent| placed.contains(&parent.as_str()))
        });
        match free {
            Some(index) => placed.push(left.remove(index)),
            None => return Err(circle(search, left)),
        }
    }
    Ok(placed)
}

/// Leaves out, of paths that wait for each other, those for which no other waits.
fn circle<'a>(search: &BTreeMap<String, SearchParam>, mut left: Vec<&'a str>) -> Vec<&'a str> {
    let waited_for =
        |path: &str, left: &[&str]| left.iter().any(|other| search[*other].when.contains_key(path));
    while let Some(index) = left.iter().position(|path| !waited_for(path, &left)) {
        left.remove(index);
    }
    left
}

impl Param {
    /// Says whether the parameter exists beside the values that `point` has so far.
    pub(crate) fn is_active(&self, point: &Point) -> bool {
        self.when.iter().all(|(parent, allowed)| {
            point.get(parent).is_some_and(|value| allowed.iter().any(|one| same(one, value)))
        })
    }
}

impl Domain {
    /// Gives the value at a share `0 ..= 1` of the way through the domain's widened range: uniform
    /// shares give every value (and every logarithm) the same chance.
    pub(super) fn at_share(&self, share: f64) -> Value {
        match self {
            Domain::Choice(choices) => {
                let index = (share * choices.len() as f64) as usize;
                choices[index.min(choices.len() - 1)].clone()
            }
            Domain::Number(range) => {
                let (low, high) = range.widened();
                range.value(low + share * (high - low))
            }
        }
    }

    /// Counts the values; `None` where they are a continuum.
    pub(super) fn count(&self) -> Option<u64> {
        match self {
            Domain::Choice(choices) => Some(choices.len() as u64),
            Domain::Number(range) => {
                range.step.map(|step| ((range.high - range.low) / step).round() as u64 + 1)
            }
        }
    }

    /// Gives the `index`-th value of a countable domain, from its low end.
    pub(super) fn nth(&self, index: u64) -> Value {
        match self {
            Domain::Choice(choices) => choices[index as usize].clone(),
            Domain::Number(range) => range.to_json(range.nth(index)),
        }
    }

    /// Says whether `value` is one of the domain's.
    pub(crate) fn contains(&self, value: &Value) -> bool {
        match self {
            Domain::Choice(choices) => choices.iter().any(|choice| same(choice, value)),
            Domain::Number(range) => value.as_f64().is_some_and(|number| range.contains(number)),
        }
    }

    /// Gives the values at which a mistake shows first: every choice, or the two ends.
    pub(crate) fn ends(&self) -> Vec<Value> {
        match self {
            Domain::Choice(choices) => choices.clone(),
            Domain::Number(range) => vec![range.to_json(range.low), range.to_json(range.high)],
        }
    }

    /// Gives the value nearest to a coordinate.
    pub(super) fn at_coordinate(&self, coordinate: f64) -> Value {
        match self {
            Domain::Choice(choices) => choices[coordinate as usize].clone(),
            Domain::Number(range) => range.value(coordinate),
        }
    }

    /// Gives the coordinate of a value: the index of a choice, a number, or its logarithm.
    pub(crate) fn coordinate(&self, value: &Value) -> f64 {
        match self {
            Domain::Choice(choices) => {
                let index = choices.iter().position(|choice| same(choice, value));
                index.expect("a trial's value is one of the choices") as f64
            }
            Domain::Number(range) => {
                range.coordinate(value.as_f64().expect("a trial's value is a number"))
            }
        }
    }
}

impl Range {
    /// Gives the place of a number on the axis on which distances count.
    pub(super) fn coordinate(&self, number: f64) -> f64 {
        if self.log { libm::log(number) } else { number }
    }

    /// Gives the axis' ends, half a step beyond the outer values, so that each value's cell is
    /// equally wide.
    pub(super) fn widened(&self) -> (f64, f64) {
        let half = self.step.unwrap_or(0.0) / 2.0;
        (self.coordinate(self.low - half), self.coordinate(self.high + half))
    }

    /// Gives the ends of the cell of the value at `coordinate`; `None` on a continuum.
    pub(super) fn cell(&self, coordinate: f64) -> Option<(f64, f64)> {
        let half = self.step? / 2.0;
        let number = self.number(coordinate);
        Some((self.coordinate(number - half), self.coordinate(number + half)))
    }

    /// Gives the coordinate of the value nearest to a coordinate.
    pub(super) fn nearest(&self, coordinate: f64) -> f64 {
        self.coordinate(self.number(coordinate))
    }

    fn value(&self, coordinate: f64) -> Value {
        self.to_json(self.number(coordinate))
    }

    fn number(&self, coordinate: f64) -> f64 {
        let number = if self.log { libm::exp(coordinate) } else { coordinate };
        match self.step {
            None => number.clamp(self.low, self.high),
            Some(step) => {
                let last = (self.high - self.low) / step;
                self.nth(((number - self.low) / step).round().clamp(0.0, last.round()) as u64)
            }
        }
    }

    fn nth(&self, index: u64) -> f64 {
        let step = self.step.unwrap_or(1.0);
        rounded(self.low + index as f64 * step, step).clamp(self.low, self.high)
    }

    fn contains(&self, number: f64) -> bool {
        let on_step = |step: f64| {
            let steps = (number - self.low) / step;
            (steps - steps.round()).abs() < 1e-9
        };
        (self.low..=self.high).contains(&number) && self.step.is_none_or(on_step)
    }

    fn to_json(self, number: f64) -> Value {
        if self.whole { Value::from(number as i64) } else { Value::from(number) }
    }
}

/// Takes the dust of binary fractions off a value on a step: 0.1 + 2 × 0.1 is 0.3 then.
pub(super) fn rounded(number: f64, step: f64) -> f64 {
    let short = format!("{number:.11e}").parse().unwrap_or(number);
    if (short - number).abs() < step.abs() * 1e-9 { short } else { number }
}

/// Compares two values as a person would: 1 and 1.0 are the same.
pub(crate) fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => one == other,
    }
}
