//! What can be wrong with a tune's objectives: alone, and beside the metrics of its base.

use super::Params;
use crate::stage::{self, ParamIssue, StageKind};
use crate::study::{Objective, Pruner, Sampler};

/// The metrics of a `train` that say how good it is at each epoch.
const TRAIN_CURVE: [&str; 2] = ["validation_loss", "train_loss"];
/// Those that it has at its end alone.
const TRAIN_END: [&str; 3] = ["parameters", "epochs", "best_epoch"];

impl Params {
    pub(super) fn check_objectives(&self) -> Vec<ParamIssue> {
        let mut issues = Vec::new();
        match (&self.objective, &self.objectives[..]) {
            (None, []) => {
                let help = "give `objective: { minimize: METRIC }`, or several as `objectives`";
                issues.push(ParamIssue::new("", "no `objective` says what is best", help));
            }
            (Some(_), [_, ..]) => {
                let message = "there is an `objective` beside the `objectives`";
                issues.push(ParamIssue::new("objectives", message, "put it in their list"));
            }
            _ => {}
        }
        for (index, objective) in self.objectives.iter().enumerate() {
            let metric = objective.metric();
            if self.objectives[..index].iter().any(|other| other.metric() == metric) {
                let place = format!("objectives.{index}");
                let message = format!("`{metric}` is among the objectives twice");
                issues.push(ParamIssue::new(&place, message, "name each metric once"));
            }
        }
        if !self.objectives.is_empty() && self.pruner != Pruner::None {
            let message = "trials with several objectives cannot be pruned: half of a trial does \
                           not show which front it would come to lie on";
            let help = "leave the pruner out, or give one `objective`";
            issues.push(ParamIssue::new("pruner", message, help));
        }
        if !self.objectives.is_empty() && matches!(self.sampler, Sampler::Cmaes { .. }) {
            let message = "`cmaes` makes one objective best, not several";
            let help = "take `tpe` or `quasi_random`, or give one `objective`";
            issues.push(ParamIssue::new("sampler.kind", message, help));
        }
        issues
    }
}

/// Finds objectives that are no metrics of the base, and pruning by what has no curve.
pub(super) fn metric_issues(params: &Params, base: &stage::Params) -> Vec<ParamIssue> {
    match base.kind() {
        // What a program reports is its own affair.
        StageKind::Command => return Vec::new(),
        StageKind::Train => {}
        kind => {
            let message = format!("a `{}` has no metric to make best", kind.name());
            let help = "name a `train` or a `command` stage";
            return vec![ParamIssue::new("stage", message, help)];
        }
    }
    let alone = params.objective.iter().map(|objective| ("objective".to_owned(), objective));
    let several = params.objectives.iter().enumerate();
    let several = several.map(|(index, one)| (format!("objectives.{index}"), one));
    let mut issues: Vec<ParamIssue> =
        alone.chain(several).filter_map(|(place, one)| metric_issue(&place, one)).collect();
    if let Some(objective) = &params.objective
        && params.pruner != Pruner::None
        && TRAIN_END.contains(&objective.metric())
    {
        let message = format!(
            "a trial cannot be pruned by `{}`, which a `train` has at its end alone",
            objective.metric()
        );
        issues.push(ParamIssue::new("pruner", message, "leave the pruner out"));
    }
    issues
}

fn metric_issue(place: &str, objective: &Objective) -> Option<ParamIssue> {
    let metric = objective.metric();
    let known = || TRAIN_CURVE.iter().chain(&TRAIN_END);
    let field = match objective {
        Objective::Minimize(_) => "minimize",
        Objective::Maximize(_) => "maximize",
    };
    let message = format!("a `train` has no metric `{metric}`");
    let names: Vec<String> = known().map(|name| format!("`{name}`")).collect();
    let help = format!("it has {}", names.join(", "));
    let is_known = known().any(|name| *name == metric);
    (!is_known).then(|| ParamIssue::new(&format!("{place}.{field}"), message, help))
}
