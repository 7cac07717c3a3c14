//! Repeats of a trial: the same params but for the seed, which counts up from the base's.
//!
//! So the first repeat is the trial as it would be without repeats, and a study that had fewer of
//! them is a hit for one that has more.

use serde_json::Value;

use super::{Params, shape, trial_params};
use crate::stage::{self, ParamIssue, StageKind};
use crate::study::Point;

/// Gives the seed of a repeat, counted from 0: the base's own and those after it.
pub fn repeat_seed(params: &Params, base: &stage::Params, repeat: u64) -> Option<u64> {
    shape::get(&base.to_value(), seed_path(params, base))?.as_u64()?.checked_add(repeat)
}

/// Gives the params of a trial's repeat, counted from 0; those of the first are the trial's own.
///
/// # Errors
///
/// The mistake, which a checked tune rules out.
pub fn repeat_params(
    params: &Params,
    base: &stage::Params,
    trial: &stage::Params,
    repeat: u64,
) -> Result<stage::Params, ParamIssue> {
    match (repeat, repeat_seed(params, base, repeat)) {
        (0, _) => Ok(trial.clone()),
        (_, Some(seed)) => {
            let path = seed_path(params, base).to_owned();
            trial_params(trial, &Point::from([(path, Value::from(seed))]))
        }
        (_, None) => Err(no_seed(params, base)),
    }
}

/// Names the parameter that the repeats count up, by its dotted path within the base's params.
fn seed_path<'a>(params: &'a Params, base: &stage::Params) -> &'a str {
    match (&params.repeat_by, base.kind()) {
        (Some(path), _) => path,
        (None, StageKind::Command) => "with.seed",
        (None, _) => "seed",
    }
}

/// Finds what is wrong with the repeats of a tune beside its base.
pub(super) fn issues(params: &Params, base: &stage::Params) -> Vec<ParamIssue> {
    if params.repeats <= 1 {
        return Vec::new();
    }
    let path = seed_path(params, base);
    let Some(last) = repeat_seed(params, base, params.repeats - 1) else {
        return vec![no_seed(params, base)];
    };
    let of_it = |searched: &&String| {
        path.strip_prefix(searched.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if let Some(searched) = params.search.keys().find(of_it) {
        let message = format!("`{path}` tells the repeats apart, so it cannot be searched as well");
        let help = "leave it out of the search, or name another parameter in `repeat_by`";
        return vec![ParamIssue::new(&format!("search.{searched}"), message, help)];
    }
    let point = Point::from([(path.to_owned(), Value::from(last))]);
    let issue = trial_params(base, &point).err();
    let issue = issue.map(|issue| {
        let message = format!("the base cannot be run with `{path}: {last}`: {}", issue.message);
        ParamIssue { path: place(params).to_owned(), message, help: issue.help }
    });
    issue.into_iter().collect()
}

fn no_seed(params: &Params, base: &stage::Params) -> ParamIssue {
    let path = seed_path(params, base);
    let message = match shape::get(&base.to_value(), path) {
        None => format!("the base has no `{path}` for the repeats to count up"),
        Some(value) => format!("the repeats cannot count up from the base's `{path}`, `{value}`"),
    };
    let help = match (base.kind(), &params.repeat_by) {
        (StageKind::Command, None) => {
            "give the base `with: { seed: 0 }`, or name another parameter in `repeat_by`"
        }
        _ => "name a parameter in `repeat_by` that is a whole number from 0",
    };
    ParamIssue::new(place(params), message, help)
}

fn place(params: &Params) -> &'static str {
    if params.repeat_by.is_some() { "repeat_by" } else { "repeats" }
}
