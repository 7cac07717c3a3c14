//! What a stage reads and needs: references, which are the edges of the graph.

use std::collections::BTreeMap;

use indexmap::IndexSet;

use super::Input;
use super::check::Checks;
use super::diagnostic::{Place, Problem, did_you_mean};
use super::draft::{self, Draft};
use super::node::{Data, Entry};
use super::references::{self, From, Givers, Reader, Role};
use crate::stage::StageKind;

/// How a stage is joined to others.
#[derive(Debug, Default)]
pub(super) struct Wiring<'a> {
    pub inputs: BTreeMap<String, Input>,
    pub needs: Vec<&'a str>,
    pub edges: Vec<Edge<'a>>,
}

/// That a stage comes after another, and where the file says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge<'a> {
    pub to: &'a str,
    pub place: Place,
    /// Such as "reads".
    pub verb: &'static str,
}

/// Checks the inputs and the needs of a stage.
pub(super) fn wire<'a>(
    draft: &Draft<'a>,
    checks: &Checks<'a>,
    problems: &mut Vec<Problem>,
) -> Wiring<'a> {
    let mut wiring = Wiring::default();
    let entries = input_entries(draft, problems);
    match draft.kind {
        Some(StageKind::Tune) => refuse_inputs_of_a_tune(draft, entries, problems),
        Some(kind) => check_names(draft, kind, entries, problems),
        None => {}
    }
    for entry in entries.iter().filter(|_| draft.kind != Some(StageKind::Tune)) {
        let reader = Reader { draft, input: &entry.key, role: role(draft.kind, &entry.key) };
        let Some(wanted) = references::read(&reader, entry, problems) else { continue };
        if let From::Stage { stage, .. } = wanted.from
            && let Some(givers) =
                references::givers(stage, draft.matrix, &checks.drafts, checks.groups)
        {
            let others = givers.names().iter().filter(|name| **name != draft.name);
            let place = wanted.place;
            wiring.edges.extend(others.map(|to| Edge { to, place, verb: "reads" }));
        }
        match references::resolve(&reader, &wanted, checks) {
            Ok(inputs) => wiring.inputs.extend(inputs),
            Err(problem) => problems.push(problem),
        }
    }
    for (stage, place) in draft::words(draft, "needs", problems) {
        match need(draft, stage, place, checks) {
            Ok(givers) => {
                for to in givers.names() {
                    if !wiring.needs.contains(to) {
                        wiring.needs.push(to);
                        wiring.edges.push(Edge { to, place, verb: "needs" });
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    if let Some((base, place)) = draft.base()
        && let Some(giver) = checks.drafts.get(base)
        && base != draft.name
    {
        if giver.off && !draft.off {
            problems.push(references::is_off(draft, base, place, "tunes"));
        }
        wiring.edges.push(Edge { to: base, place, verb: "tunes" });
    }
    wiring
}

fn role(kind: Option<StageKind>, input: &str) -> Role {
    match kind {
        Some(StageKind::Command) => Role::OneFile,
        Some(kind) => match kind.inputs().iter().find(|spec| spec.name == input) {
            Some(spec) if spec.parts.is_empty() => Role::OneFile,
            Some(spec) => Role::Parts(spec),
            None => Role::Unclear,
        },
        None => Role::Unclear,
    }
}

fn input_entries<'a>(draft: &Draft<'a>, problems: &mut Vec<Problem>) -> &'a [Entry] {
    let Some(entry) = draft.node.entry("inputs") else { return &[] };
    match &entry.value.data {
        Data::Map(entries) => entries,
        Data::Null | Data::Unknown => &[],
        _ => {
            let message = format!(
                "`inputs` of {} must be a map, not {}",
                draft.subject(),
                entry.value.describe()
            );
            problems.push(
                Problem::new(entry.value.place, message).help("write `{ data: stage.output }`"),
            );
            &[]
        }
    }
}

fn refuse_inputs_of_a_tune(draft: &Draft<'_>, entries: &[Entry], problems: &mut Vec<Problem>) {
    if !entries.is_empty() {
        let message = format!("{} is a tune, which reads the inputs of its base", draft.subject());
        problems.push(
            Problem::new(draft.field_place("inputs"), message)
                .help("remove `inputs`, or give them to the base"),
        );
    }
}

fn check_names(draft: &Draft<'_>, kind: StageKind, entries: &[Entry], problems: &mut Vec<Problem>) {
    let declared = kind.inputs();
    let names = declared.iter().map(|spec| spec.name);
    for entry in entries {
        if kind == StageKind::Command {
            if !super::check::is_name(&entry.key) {
                let message = format!("`{}` cannot be the name of an input", entry.key);
                problems.push(Problem::new(entry.place, message).help(super::check::NAMES));
            }
        } else if !names.clone().any(|name| name == entry.key) {
            let message = format!(
                "{} has no input `{}`: its kind is `{}`",
                draft.subject(),
                entry.key,
                kind.name()
            );
            let help = did_you_mean(&entry.key, "inputs", names.clone());
            problems.push(Problem::new(entry.place, message).help(help));
        }
    }
    for spec in declared.iter().filter(|spec| spec.required) {
        if !entries.iter().any(|entry| entry.key == spec.name) {
            let message = format!("{} lacks the input `{}`", draft.subject(), spec.name);
            problems.push(
                Problem::new(draft.field_place("inputs"), message)
                    .help(format!("`{}`: {}", spec.name, spec.doc)),
            );
        }
    }
}

/// Finds the stages that an item of `needs` names.
fn need<'a>(
    draft: &Draft<'a>,
    stage: &str,
    place: Place,
    checks: &Checks<'a>,
) -> Result<Givers<'a>, Problem> {
    let Some(givers) = references::givers(stage, draft.matrix, &checks.drafts, checks.groups)
    else {
        let others = checks.drafts.values().filter(|other| other.name != draft.name);
        let others: IndexSet<&str> = others.map(Draft::template).collect();
        let message = format!("{} needs `{stage}`, which is no stage", draft.subject());
        return Err(Problem::new(place, message).help(did_you_mean(stage, "stages", others)));
    };
    if givers.names().contains(&draft.name) {
        let message = format!("{} needs itself", draft.subject());
        return Err(Problem::new(place, message).help("remove it"));
    }
    if givers.names().is_empty() {
        return Err(references::none_matches(draft, stage, place, checks));
    }
    let off = givers.names().iter().find(|name| checks.drafts[**name].off && !draft.off);
    match off {
        Some(name) => Err(references::is_off(draft, name, place, "needs")),
        None => Ok(givers),
    }
}
