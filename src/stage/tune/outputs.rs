//! Writes what a finished study gives beside the best trial's own outputs: tables of its trials and
//! their repeats, of the front and of the parameters' importance, the best parameters, and plots.
//! None of them holds a clock or a path.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;

use super::{Params, plots, shape, tables};
use crate::data::DataError;
use crate::stage::{self, Failure};
use crate::study::{Rows, Study, Trial, TrialState, importance};

/// What one repeat of a trial came to.
#[derive(Clone, Debug, PartialEq)]
pub struct RepeatRecord {
    /// The trial's number.
    pub number: u64,
    /// Which repeat it is, from 0.
    pub repeat: u64,
    /// How it ended.
    pub state: TrialState,
    /// The steps that it reported.
    pub steps: u64,
    /// Its action's fingerprint.
    pub fingerprint: [u8; 32],
}

impl RepeatRecord {
    /// Gives its place among all repeats of all trials, of which each has `repeats`.
    pub fn place(&self, repeats: u64) -> usize {
        (self.number * repeats + self.repeat) as usize
    }
}

/// A study that is done, with all that its outputs tell.
#[derive(Clone, Copy, Debug)]
pub struct Results<'a> {
    /// The study.
    pub study: &'a Study,
    /// The tune's params.
    pub params: &'a Params,
    /// The params of its base.
    pub base: &'a stage::Params,
    /// The metrics of each complete trial, by number; the others' are empty.
    pub metrics: &'a Rows<f64>,
    /// The fingerprint of each trial's action, by number; none where its params made no action.
    pub fingerprints: &'a [Option<[u8; 32]>],
    /// What it knows of each repeat, in order of trial and repeat.
    pub repeats: &'a [RepeatRecord],
    /// The metrics of each complete repeat, by its place; the others' are empty.
    pub repeat_metrics: &'a Rows<f64>,
}

/// Writes what a study that is done gives beside the best trial's own outputs.
///
/// `trials.parquet` has a row for each trial in order of number: `number`, `state`, `value`, `front`
/// (with several objectives: whether no other trial dominates it), each parameter under its path
/// (typed; lists and maps as JSON text; null where it did not exist), each metric of complete trials
/// (as `metric.NAME` where that name is taken), `repeats` (where there are several: how many ran to
/// their end), `steps` and `fingerprint`. `pareto.parquet` has the rows of the front, best first by
/// the first objective, and `repeats.parquet` one for each repeat. `best.yaml` has the best params
/// nested as they would be under the base's `params`, so that they can be copied there; the trial's
/// number and value stand above them in a comment.
///
/// # Errors
///
/// A failure where no trial is complete, or a file cannot be written.
pub fn write_outputs(folder: &Path, results: &Results<'_>) -> Result<(), Failure> {
    let study = results.study;
    let Some(best) = study.best() else {
        let message = format!("none of the {} trials is complete", study.total());
        return Err(Failure::new(message).help("look at why the trials failed"));
    };
    let importance = importance(study);
    write_text(&folder.join("best.yaml"), &best_yaml(study, best))?;
    tables::write_trials(
        &folder.join("trials.parquet"),
        results,
        &study.trials().iter().collect::<Vec<_>>(),
    )?;
    tables::write_importance(&folder.join("importance.parquet"), &importance)?;
    if results.params.repeats > 1 {
        tables::write_repeats(&folder.join("repeats.parquet"), results)?;
    }
    if !results.params.objectives.is_empty() {
        tables::write_trials(&folder.join("pareto.parquet"), results, &study.front())?;
    }
    plots::each(study, &importance, |file, text| write_text(&folder.join(file), text))
}

fn write_text(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text)
        .map_err(|error| Failure::new(DataError::file(path, "write it", error).to_string()))
}

fn best_yaml(study: &Study, best: &Trial) -> String {
    let mut text = String::new();
    let metric = study.config().objective.metric();
    let value = best.value.unwrap_or(f64::NAN);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# The best of {} trials: number {},", study.total(), best.number);
    let others = study.config().others.iter().zip(&best.others);
    let others = others.map(|(other, value)| format!(", and {value} as its `{}`", other.metric()));
    let others: String = others.collect();
    let _ = writeln!(text, "# with {value} as its `{metric}`{others}.");
    let mut params = Value::Null;
    for (path, value) in study.point(best.number).iter() {
        // The path was checked against the base; one below a scalar cannot be there.
        let _ = shape::set(&mut params, path, value);
    }
    // JSON values are plain data, which YAML can always hold.
    text + &serde_yaml::to_string(&params).expect("params serialize to YAML")
}
