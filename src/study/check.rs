//! Finds what is wrong with a search space before anything runs.

use std::collections::BTreeMap;

use super::space::{Domain, order};
use super::{Sampler, SearchParam};
use crate::suggest::did_you_mean;

/// Finds the mistakes in a search space: the place (a parameter's path, or `path.field`), what is
/// wrong, and a way out.
pub fn check_space(
    space: &BTreeMap<String, SearchParam>,
    sampler: &Sampler,
) -> Vec<(String, String, String)> {
    let mut issues = Vec::new();
    for (path, param) in space {
        match param.domain() {
            Err(("", message, help)) => issues.push((path.clone(), message, help)),
            Err((field, message, help)) => issues.push((format!("{path}.{field}"), message, help)),
            Ok(domain) if *sampler == Sampler::Grid && domain.count().is_none() => {
                let help = "give it a `step`, or a `choice` of values";
                let message = "a grid cannot count the values of this range".to_owned();
                issues.push((path.clone(), message, help.to_owned()));
            }
            Ok(_) => {}
        }
        issues.extend(condition_issues(space, path, param));
    }
    if let Err(cycle) = order(space) {
        let names: Vec<String> = cycle.iter().map(|path| format!("`{path}`")).collect();
        let message = format!("the conditions of {} go in a circle", names.join(", "));
        let help = "let one of them exist whatever the others are".to_owned();
        issues.push((format!("{}.when", cycle[0]), message, help));
    }
    issues
}

/// Finds why a sampler cannot search a space: what is wrong, and a way out.
pub fn check_sampler(
    space: &BTreeMap<String, SearchParam>,
    sampler: &Sampler,
) -> Option<(String, String)> {
    let moves = |param: &SearchParam| {
        param.when.is_empty() && !matches!(param.domain(), Ok(Domain::Choice(_)))
    };
    let is_idle = matches!(sampler, Sampler::Cmaes { .. }) && !space.values().any(moves);
    let message = "`cmaes` moves numbers that have no `when`, and this space has none";
    is_idle.then(|| (message.to_owned(), "use `tpe`, or search a number".to_owned()))
}

fn condition_issues(
    space: &BTreeMap<String, SearchParam>,
    path: &str,
    param: &SearchParam,
) -> Vec<(String, String, String)> {
    let mut issues = Vec::new();
    for (parent, allowed) in &param.when {
        let place = format!("{path}.when.{parent}");
        let Some(searched) = space.get(parent) else {
            let message = format!("the condition names `{parent}`, which is not searched");
            issues.push((place, message, nearest(space, parent)));
            continue;
        };
        if allowed.is_empty() {
            let message = format!("the condition allows `{parent}` no value");
            issues.push((place, message, "list the values that it must have".to_owned()));
            continue;
        }
        let Ok(domain) = searched.domain() else { continue };
        for value in allowed.iter().filter(|value| !domain.contains(value)) {
            let message = format!("`{parent}` never has the value `{value}`");
            issues.push((place.clone(), message, values_of(&domain)));
        }
    }
    issues
}

fn nearest(space: &BTreeMap<String, SearchParam>, name: &str) -> String {
    did_you_mean(name, space.keys().map(String::as_str))
        .unwrap_or_else(|| "name a parameter of this search".to_owned())
}

fn values_of(domain: &Domain) -> String {
    let values: Vec<String> = domain.ends().iter().map(|value| format!("`{value}`")).collect();
    match domain {
        Domain::Choice(_) => format!("it is one of {}", values.join(", ")),
        Domain::Number(_) => format!("it is from {}", values.join(" to ")),
    }
}
