//! What a tune takes from its base: outputs, inputs, and the params that its search names.

use indexmap::IndexMap;

use super::check::Checks;
use super::diagnostic::{Place, Problem, did_you_mean};
use super::draft::Draft;
use super::groups::Groups;
use super::inputs::Wiring;
use super::node::{Data, Entry, Node};
use super::{Selector, references};
use crate::stage::{Params, StageKind, tune};

/// Puts the full name of a combination in the place of a base's name, where a tune means one: the one
/// that it names (`train[seed=1]`), or the one with its own values.
pub(super) fn name_bases(stages: &mut Node, groups: &Groups) {
    let Data::Map(entries) = &mut stages.data else { return };
    for Entry { key, value, .. } in entries {
        let tune = value.entry("kind").and_then(|kind| kind.value.text()) == Some("tune");
        let Some(base) = tune.then(|| field_mut(field_mut(value, "params")?, "stage")).flatten()
        else {
            continue;
        };
        let Data::Text(name) = &base.data else { continue };
        let Some(selector) = Selector::parse(name) else { continue };
        if let Some((found, _)) = groups.matching(&selector, groups.combination(key))
            && let [only] = found[..]
        {
            base.data = Data::Text(only.to_owned());
        }
    }
}

fn field_mut<'n>(node: &'n mut Node, key: &str) -> Option<&'n mut Node> {
    let Data::Map(entries) = &mut node.data else { return None };
    entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
}

/// Checks each tune's base, and gives the tune its base's outputs and its own.
pub(super) fn give_outputs(checks: &mut Checks<'_>, problems: &mut Vec<Problem>) {
    let mut given = Vec::new();
    for draft in checks.drafts.values().filter(|draft| draft.kind == Some(StageKind::Tune)) {
        let base = match base_problem(draft.name, checks) {
            Some(problem) => {
                problems.push(problem);
                None
            }
            None => draft.base().and_then(|(base, _)| checks.drafts.get(base)),
        };
        let params = match &draft.params {
            Some(Params::Tune(params)) => Some(params),
            _ => None,
        };
        let outputs = base.and_then(|base| base.outputs.clone()).map(|mut outputs| {
            for own in tune::own_outputs(params) {
                if outputs.iter().any(|output| output.name == own.name) {
                    let message = format!(
                        "{} gives `{}` itself, which its base gives too",
                        draft.subject(),
                        own.name
                    );
                    let place = draft.param_place("stage");
                    problems.push(Problem::new(place, message).help("rename the base's output"));
                } else {
                    outputs.push(own);
                }
            }
            outputs
        });
        given.push((draft.name, outputs));
    }
    for (name, outputs) in given {
        if let Some(draft) = checks.drafts.get_mut(name) {
            draft.outputs = outputs;
        }
    }
}

fn base_problem(name: &str, checks: &Checks<'_>) -> Option<Problem> {
    let draft = &checks.drafts[name];
    // Where the params lack the base's name, the walk has said so.
    let (base, place) = draft.base()?;
    let bases = checks
        .drafts
        .values()
        .filter(|other| matches!(other.kind, Some(StageKind::Train | StageKind::Command)));
    let names = bases.map(|other| other.name);
    let problem = |message| {
        Problem::new(place, message).help(did_you_mean(base, "stages that can be tuned", names))
    };
    match checks.drafts.get(base).map(|base| base.kind) {
        None if Selector::parse(base)
            .is_some_and(|base| checks.groups.get(base.stage).is_some()) =>
        {
            Some(of_several(draft, base, place, checks))
        }
        None => Some(problem(format!("{} tunes `{base}`, which is no stage", draft.subject()))),
        Some(None | Some(StageKind::Train | StageKind::Command)) => None,
        Some(Some(kind)) => Some(problem(format!(
            "{} cannot tune `{base}`, whose kind is `{}`",
            draft.subject(),
            kind.name()
        ))),
    }
}

/// Says that a base is several combinations of a matrix, or none.
fn of_several(draft: &Draft<'_>, base: &str, place: Place, checks: &Checks<'_>) -> Problem {
    let selector = Selector::parse(base);
    let found = selector.and_then(|selector| checks.groups.matching(&selector, draft.matrix));
    let found = found.map_or_else(Vec::new, |(found, _)| found);
    let Some(first) = found.first() else {
        return references::none_matches(draft, base, place, checks);
    };
    let subject = draft.subject();
    let message =
        format!("{subject} tunes one stage, and `{base}` has {} combinations", found.len());
    let help = format!("name one: `\"{first}\"`, or give the tune the same `matrix`");
    Problem::new(place, message).help(help)
}

/// Gives each tune its base's inputs and needs: a trial is the base's action with other params.
pub(super) fn take_over_wiring(checks: &Checks<'_>, wiring: &mut IndexMap<&str, Wiring<'_>>) {
    for draft in checks.drafts.values() {
        let Some((base, _)) = draft.base() else { continue };
        let Some(of_base) = wiring.get(base) else { continue };
        let (inputs, needs) = (of_base.inputs.clone(), of_base.needs.clone());
        let own = &mut wiring[draft.name];
        own.inputs = inputs;
        let missing: Vec<_> = needs.into_iter().filter(|need| !own.needs.contains(need)).collect();
        own.needs.extend(missing);
    }
}

/// Checks each search against the params of its base.
pub(super) fn check_searches(checks: &Checks<'_>, problems: &mut Vec<Problem>) {
    for draft in checks.drafts.values() {
        let (Some(Params::Tune(params)), Some((base, _))) = (&draft.params, draft.base()) else {
            continue;
        };
        let base = checks.drafts.get(base).and_then(|base| base.params.as_ref());
        // A base with mistakes of its own would show them again at every point that is tried.
        let Some(base) = base.filter(|base| base.check().is_empty()) else { continue };
        if matches!(base.kind(), StageKind::Train | StageKind::Command) {
            let issues = tune::check_search(params, base);
            problems.extend(issues.into_iter().map(|issue| draft.param_problem(issue)));
        }
    }
}
