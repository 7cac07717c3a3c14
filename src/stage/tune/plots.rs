//! Makes a finished study's plots of what it knows; `plot` draws them.

use serde_json::Value;

use crate::plot::{self, Column, PlotError, Scale, Tried};
use crate::stage::Failure;
use crate::study::space::{Domain, Param, Space};
use crate::study::{Study, Trial, TrialState};

/// Gives each plot's file and content, one after another: those of thousands of trials are large.
pub(super) fn each(
    study: &Study,
    importance: &[(String, f64)],
    mut write: impl FnMut(&str, &str) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut keep = |file, drawn: Result<String, PlotError>| {
        write(file, &drawn.map_err(|error| Failure::new(error.to_string()))?)
    };
    keep("trials.svg", trials(study))?;
    keep("importance.svg", plot::importance(importance))?;
    keep("parallel.svg", parallel(study, importance))?;
    if !study.config().others.is_empty() {
        keep("pareto.svg", pareto(study))?;
    }
    Ok(())
}

fn complete(study: &Study) -> Vec<&Trial> {
    study.trials().iter().filter(|trial| trial.state == TrialState::Complete).collect()
}

fn trials(study: &Study) -> Result<String, PlotError> {
    let objective = &study.config().objective;
    let tried = |trial: &Trial| {
        let is_pruned = trial.state == TrialState::Pruned;
        let value = if is_pruned { trial.reported } else { trial.value };
        Tried { number: trial.number, value, is_pruned }
    };
    let all: Vec<Tried> = study.trials().iter().map(tried).collect();
    plot::trials(objective.metric(), &all, |one, other| objective.loss(one) < objective.loss(other))
}

/// The most important parameter stands first.
fn parallel(study: &Study, importance: &[(String, f64)]) -> Result<String, PlotError> {
    let objective = &study.config().objective;
    let trials = complete(study);
    let values: Vec<f64> = trials.iter().filter_map(|trial| trial.value).collect();
    let losses: Vec<f64> = values.iter().map(|value| objective.loss(*value)).collect();
    let space = Space::new(&study.config().space);
    let param = |path: &str| space.params.iter().find(|param| param.path == path);
    let columns = importance.iter().filter_map(|(path, _)| param(path));
    let columns: Vec<Column> = columns.map(|param| column(param, study, &trials)).collect();
    plot::parallel(objective.metric(), &values, &losses, &columns)
}

fn column(param: &Param, study: &Study, trials: &[&Trial]) -> Column {
    let values = trials.iter().map(|trial| study.point(trial.number).get(&param.path));
    let (scale, values) = match &param.domain {
        Domain::Choice(choices) => {
            let coordinate = |value: Option<&Value>| Some(param.domain.coordinate(value?));
            (Scale::Words(choices.iter().map(word).collect()), values.map(coordinate).collect())
        }
        Domain::Number(range) => {
            let (low, high) = (range.low, range.high);
            let scale = Scale::Numbers { low, high, is_log: range.log, is_whole: range.whole };
            (scale, values.map(|value| value?.as_f64()).collect())
        }
    };
    Column { name: param.path.clone(), scale, values }
}

/// Writes a choice as people would.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Shows the first two objectives of any number of them.
fn pareto(study: &Study) -> Result<String, PlotError> {
    let config = study.config();
    let front = study.front();
    let is_on = |trial: &Trial| front.iter().any(|other| other.number == trial.number);
    let point = |trial: &&Trial| Some((trial.value?, *trial.others.first()?, is_on(trial)));
    let points: Vec<_> = complete(study).iter().filter_map(point).collect();
    let second = config.others.first().map_or("", |objective| objective.metric());
    let best = front.first().and_then(|trial| Some((trial.value?, *trial.others.first()?)));
    let best = best.unwrap_or((f64::NAN, f64::NAN));
    plot::pareto((config.objective.metric(), second), &points, best)
}
