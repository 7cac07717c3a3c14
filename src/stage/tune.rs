//! The `tune` kind: maps points of a search space to params of its base, and finished trials to
//! outputs. The executor asks and tells; this module runs nothing.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, OutputSpec, ParamIssue};
use crate::study::space::{Domain, Param, Space};
use crate::study::{
    Curve, Objective, Point, Pruner, Sampler, SearchParam, Steps, Study, StudyConfig,
    check_sampler, check_space,
};
use crate::suggest;

mod check;
mod outputs;
mod plots;
mod repeats;
mod shape;
mod tables;
#[cfg(test)]
mod tests;

pub use outputs::{RepeatRecord, Results, write_outputs};
pub use repeats::{repeat_params, repeat_seed};
pub use shape::trial_params;

/// The version of the kind's results. 1: the first. 2: which parameters TPE draws together hangs on the
/// trials that have ended. 3: importance and plots beside the trials. 4: CMA-ES weighs the worse half of
/// a small generation, and tells whether it goes fast, as Hansen's tutorial does. 5: the tables are of
/// row groups of 512 rows, without dictionaries.
pub const VERSION: u32 = 5;

/// The params of a `tune` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The base: the stage whose parameters are searched, a `train` or a `command`.
    pub stage: String,
    /// The searched parameters by their dotted path within the base's `params`.
    #[schemars(extend("minProperties" = 1))]
    pub search: BTreeMap<String, SearchParam>,
    /// How the next trial's parameters are chosen.
    #[serde(default = "default_sampler")]
    pub sampler: Sampler,
    /// When a trial is stopped before its end.
    #[serde(default)]
    pub pruner: Pruner,
    /// The metric to make best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
    /// Several metrics to make best at once, in the place of `objective`: the result is a front of
    /// trials that no other beats in all of them, and `best` is the front's best by the first. They
    /// cannot be pruned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 2, max = 6))]
    pub objectives: Vec<Objective>,
    /// Trials in all.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub trials: u64,
    /// Trials in flight at most: part of the study, not of the machine. Trial `k` looks at the
    /// results of trials up to `k - parallel`.
    #[serde(default = "default_parallel")]
    #[schemars(range(min = 1, max = 10_000))]
    pub parallel: u64,
    /// How often each trial runs, each time with the next seed. Its metrics are the means; its
    /// outputs, and the curve that a pruner looks at, are those of the first time.
    #[serde(default = "default_repeats")]
    #[schemars(range(min = 1, max = 1_000))]
    pub repeats: u64,
    /// The base's parameter that the repeats count up from its value; unless given, `seed` of a
    /// `train` and `with.seed` of a `command`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat_by: Option<String>,
    /// How many of the best trials keep all their outputs (with several objectives, of the front);
    /// the others' are dropped from the store.
    #[serde(default = "default_keep")]
    #[schemars(range(min = 1))]
    pub keep: u64,
}

fn default_sampler() -> Sampler {
    Sampler::Tpe { seed: 0, startup: 10 }
}

fn default_parallel() -> u64 {
    4
}

fn default_repeats() -> u64 {
    1
}

fn default_keep() -> u64 {
    1
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        let space = check_space(&self.search, &self.sampler).into_iter();
        let mut issues: Vec<ParamIssue> = space
            .map(|(place, message, help)| {
                ParamIssue::new(&format!("search.{place}"), message, help)
            })
            .collect();
        if let Some((message, help)) = check_sampler(&self.search, &self.sampler) {
            issues.push(ParamIssue::new("sampler.kind", message, help));
        }
        if let Pruner::Hyperband { min_resource, max_resource: Some(max), .. } = self.pruner
            && min_resource > max
        {
            let message = format!("the first rung {min_resource} is above a whole trial's {max}");
            issues.push(ParamIssue::new("pruner.min_resource", message, "give a smaller one"));
        }
        issues.extend(self.check_objectives());
        issues
    }

    /// Gives the objectives, the leading one first; at least one where [`Params::check`] finds no
    /// mistake.
    pub fn all_objectives(&self) -> impl Iterator<Item = &Objective> {
        self.objective.iter().chain(&self.objectives)
    }
}

/// Gives the outputs that a tune has beside its base's; without params, all that any tune has.
pub fn own_outputs(params: Option<&Params>) -> Vec<OutputSpec> {
    let mut outputs = vec![
        OutputSpec::new("trials", "trials.parquet"),
        OutputSpec::new("best", "best.yaml"),
        OutputSpec::new("importance", "importance.parquet"),
        OutputSpec::new("trials_plot", "trials.svg"),
        OutputSpec::new("importance_plot", "importance.svg"),
        OutputSpec::new("parallel_plot", "parallel.svg"),
    ];
    if params.is_none_or(|params| params.repeats > 1) {
        outputs.push(OutputSpec::new("repeats", "repeats.parquet"));
    }
    if params.is_none_or(|params| !params.objectives.is_empty()) {
        outputs.push(OutputSpec::new("pareto", "pareto.parquet"));
        outputs.push(OutputSpec::new("pareto_plot", "pareto.svg"));
    }
    outputs
}

/// Gives the base's own values as a point, where the space holds every one that exists.
///
/// It is a study's first trial, so that a tuned result is never worse than the base for want of
/// trying it. The search must be one in which [`Params::check`] finds no mistake.
pub fn base_point(base: &super::Params, search: &BTreeMap<String, SearchParam>) -> Option<Point> {
    let own = base.to_value();
    let mut point = Point::new();
    for param in Space::new(search).params {
        if param.is_active(&point) {
            point.insert(param.path.clone(), own_value(base, &own, &param)?);
        }
    }
    Some(point)
}

/// Gives a parameter's value in the base, as the space writes it.
fn own_value(base: &super::Params, own: &Value, param: &Param) -> Option<Value> {
    match &param.domain {
        // A choice may leave fields to their defaults, so it is compared after it has been read.
        Domain::Choice(choices) => {
            let is_own = |choice: &&Value| {
                let point = Point::from([(param.path.clone(), (*choice).clone())]);
                trial_params(base, &point).is_ok_and(|params| params == *base)
            };
            choices.iter().find(is_own).cloned()
        }
        Domain::Number(_) => {
            let value = shape::get(own, &param.path)?;
            param.domain.contains(value).then(|| value.clone())
        }
    }
}

/// Makes the study of a tune over its base; both must have been checked.
pub fn study(params: &Params, base: &super::Params) -> Study {
    let mut objectives = params.all_objectives().cloned();
    Study::new(StudyConfig {
        space: params.search.clone(),
        sampler: params.sampler.clone(),
        pruner: params.pruner.clone(),
        objective: objectives.next().expect("a checked tune has an objective"),
        others: objectives.collect(),
        trials: params.trials,
        parallel: params.parallel,
        first: base_point(base, &params.search),
        steps: steps(base),
    })
}

/// Finds that the pruner has nothing to judge a whole trial by, which only its curve can show where
/// the base is a program.
pub fn curve_failure(params: &Params, curve: &Curve) -> Option<Failure> {
    let metric = params.objective.as_ref()?.metric();
    let names: BTreeSet<&String> =
        curve.points.iter().flat_map(|point| point.metrics.keys()).collect();
    if params.pruner == Pruner::None || names.iter().any(|name| *name == metric) {
        return None;
    }
    let message = format!("its curve has no `{metric}`, by which the pruner judges it");
    let help = if names.is_empty() {
        format!(
            "let it append lines such as {{\"step\": 1, \"{metric}\": 0.5}} to the file that \
             `RUNNER_METRICS` names, or leave out `pruner`"
        )
    } else {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        format!("its curve has {}", names.join(", "))
    };
    Some(Failure::new(message).help(help).deterministic())
}

/// Says how many steps a trial has, where the base does.
fn steps(base: &super::Params) -> Option<Steps> {
    let super::Params::Train(train) = base else { return None };
    Some(Steps { path: "epochs".to_owned(), base: train.epochs })
}

/// Finds the mistakes of a tune that can only be seen beside its base, by trying the ends of each
/// domain on it before anything runs.
pub fn check_search(params: &Params, base: &super::Params) -> Vec<ParamIssue> {
    let mut issues = check::metric_issues(params, base);
    issues.extend(repeats::issues(params, base));
    if matches!(params.pruner, Pruner::Hyperband { max_resource: None, .. })
        && !matches!(base, super::Params::Train(_))
    {
        let message = format!("a `{}` has no `epochs` to take it from", base.kind().name());
        let help = "give the steps of a whole trial as its `max_resource`";
        issues.push(ParamIssue::new("pruner.max_resource", message, help));
    }
    let known = shape::paths(base);
    let absent = params.search.keys().filter(|path| !known.contains(path.as_str()));
    let absent: Vec<ParamIssue> = absent.map(|path| absent_issue(path, &known, base)).collect();
    issues.extend(absent);
    let search = sound_part(params, &known);
    let is_whole = search.len() == params.search.len();
    // What is left may lean on what was left out, by a condition.
    if !check_space(&search, &params.sampler).is_empty() {
        return issues;
    }
    let space = Space::new(&search);
    let alone = probe_issues(&space, base, |forced| forced.clone());
    // A mistake that shows in one parameter alone would show beside the others everywhere.
    if is_whole && alone.is_empty() {
        issues.extend(rung_issue(params, &space, base));
        issues.extend(probe_issues(&space, base, |forced| whole_point(&space, forced)));
    }
    issues.extend(alone);
    issues
}

/// Gives the searched parameters in which nothing is wrong by itself.
fn sound_part(params: &Params, known: &BTreeSet<String>) -> BTreeMap<String, SearchParam> {
    let wrong = check_space(&params.search, &params.sampler);
    let is_wrong = |path: &str| {
        wrong.iter().any(|(place, ..)| {
            place.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    let is_sound = |(path, _): &(&String, &SearchParam)| known.contains(*path) && !is_wrong(path);
    let sound = params.search.iter().filter(is_sound);
    sound.map(|(path, param)| (path.clone(), param.clone())).collect()
}

/// Finds a first rung that no trial gets to, so that nothing would ever be pruned.
fn rung_issue(params: &Params, space: &Space, base: &super::Params) -> Option<ParamIssue> {
    let (min_resource, max_resource) = match params.pruner {
        Pruner::Hyperband { min_resource, max_resource, .. } => (min_resource, max_resource),
        Pruner::Asha { min_resource, .. } => (min_resource, None),
        Pruner::None | Pruner::Median { .. } => return None,
    };
    let most = steps(base)?.most(space);
    // Where it is above `max_resource` as well, the params alone say so.
    let is_idle = min_resource > most && max_resource.is_none_or(|max| min_resource <= max);
    let message = format!(
        "the first rung {min_resource} is above the {most} epochs of the longest trial, so nothing \
         would be pruned"
    );
    let help = format!("give one below {most}, or `pruner: {{ kind: none }}`");
    is_idle.then(|| ParamIssue::new("pruner.min_resource", message, help))
}

fn absent_issue(path: &str, known: &BTreeSet<String>, base: &super::Params) -> ParamIssue {
    let help = suggest::did_you_mean(path, known.iter().map(String::as_str))
        .unwrap_or_else(|| "name a parameter of the base by its dotted path".to_owned());
    let message = format!("the base, a `{}`, has no parameter `{path}`", base.kind().name());
    ParamIssue::new(&format!("search.{path}"), message, help)
}

/// Tries each end of each domain; `point` makes the point to try from the values that must be in
/// it. Gives the first mistake of each parameter.
fn probe_issues(
    space: &Space,
    base: &super::Params,
    point: impl Fn(&Point) -> Point,
) -> Vec<ParamIssue> {
    let issue = |param: &Param| {
        param.domain.ends().into_iter().find_map(|end| {
            let mut forced = ancestors(space, param);
            forced.insert(param.path.clone(), end.clone());
            let issue = trial_params(base, &point(&forced)).err()?;
            let message = format!("the base cannot be run with `{end}`: {}", issue.message);
            let path = format!("search.{}", param.path);
            Some(ParamIssue { path, message, help: issue.help })
        })
    };
    space.params.iter().filter_map(issue).collect()
}

/// Gives values of the parameters that must have one of some for `param` to exist.
fn ancestors(space: &Space, param: &Param) -> Point {
    let mut point = Point::new();
    for (parent, allowed) in &param.when {
        let found = space.params.iter().find(|other| other.path == *parent);
        // A checked condition names a parameter of the space, and at least one value.
        point.extend(found.into_iter().flat_map(|parent| ancestors(space, parent)));
        point.extend(allowed.first().map(|value| (parent.clone(), value.clone())));
    }
    point
}

/// Fills a point up with the first value of every other parameter that exists beside it.
fn whole_point(space: &Space, forced: &Point) -> Point {
    let mut point = Point::new();
    for param in &space.params {
        if param.is_active(&point) {
            let first = || param.domain.ends().swap_remove(0);
            let value = forced.get(&param.path).cloned().unwrap_or_else(first);
            point.insert(param.path.clone(), value);
        }
    }
    point
}
