//! `defaults:`: fields that every stage of a kind has unless it says otherwise.

use std::collections::HashMap;

use super::diagnostic::{Place, Problem, Sources, did_you_mean};
use super::draft;
use super::node::{Data, Entry, Node};
use super::schema::schemas;
use super::variables::Variables;
use super::walk::Walk;
use crate::stage::StageKind;

/// The defaults of each kind, checked and with variables put in.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    kinds: Vec<(StageKind, Node)>,
}

/// The fields that name one stage's own doings, and so have no default.
const NONE: [&str; 6] = ["kind", "description", "needs", "export", "when", "matrix"];

/// The most values that the defaults of all stages may hold.
const LARGEST: usize = 4_000_000;

/// Checks `defaults` by itself, so that a mistake is said once and not at each stage.
pub(super) fn read(
    node: Node,
    variables: &mut Variables,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Defaults {
    let mut defaults = Defaults::default();
    let Data::Map(entries) = node.data else { return defaults };
    for Entry { key, place, mut value } in entries {
        let Some(kind) = StageKind::from_name(&key) else {
            let kinds = StageKind::ALL.map(StageKind::name);
            let help = did_you_mean(&key, "kinds", kinds);
            problems.push(Problem::new(place, format!("there is no kind `{key}`")).help(help));
            continue;
        };
        match value.data {
            Data::Map(_) => {}
            Data::Null => continue,
            _ => {
                let described = value.describe();
                let message = format!("the default for `{key}` must be a map, not {described}");
                let help = format!("write `{key}: {{ params: {{ … }} }}`");
                problems.push(Problem::new(value.place, message).help(help));
                continue;
            }
        }
        draft::substitute_fields(
            &mut value,
            kind == StageKind::Command,
            variables,
            sources,
            problems,
        );
        check(kind, &mut value, problems);
        defaults.kinds.push((kind, value));
    }
    defaults
}

/// Reports the fields and params that stages of the kind do not have, and takes them out.
fn check(kind: StageKind, node: &mut Node, problems: &mut Vec<Problem>) {
    let Data::Map(fields) = &mut node.data else { return };
    fields.retain(|field| {
        let known = draft::FIELDS.iter().copied().filter(|name| !NONE.contains(name));
        let known: Vec<&str> = known.collect();
        if known.contains(&field.key.as_str()) {
            return true;
        }
        let message = format!("the default for `{}` has no field `{}`", kind.name(), field.key);
        let help = match NONE.contains(&field.key.as_str()) {
            true => format!("`{}` is given at each stage", field.key),
            false if schemas().of(kind)["properties"].get(&field.key).is_some() => {
                format!(
                    "it is a param: write it under `params:`, as `params: {{ {}: … }}`",
                    field.key
                )
            }
            false => did_you_mean(&field.key, "fields", known),
        };
        problems.push(Problem::new(field.place, message).help(help));
        false
    });
    fields.retain(|field| {
        if field.key != "params" || matches!(field.value.data, Data::Null) {
            return true;
        }
        let schemas = schemas();
        let subject = format!("the default for `{}`", kind.name());
        let mut walk = Walk { schemas, subject, partial: true, problems: Vec::new() };
        walk.params(&field.value, field.place, schemas.of(kind));
        let good = walk.problems.is_empty();
        problems.extend(walk.problems);
        good
    });
}

impl Defaults {
    /// Gives the places at which a mistake would be found once for each stage.
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.kinds.iter().flat_map(|(_, node)| node.entries()).map(|field| {
            let (key, value) = (field.place, field.value.place);
            if key.source == value.source {
                return Place::new(key.source, key.start, value.end.max(key.end));
            }
            key
        })
    }

    /// Puts the defaults under every stage of the map of stages.
    pub fn apply(&self, stages: &mut Node, problems: &mut Vec<Problem>) {
        let Data::Map(entries) = &mut stages.data else { return };
        let mut room = LARGEST;
        for entry in entries {
            let stage = &mut entry.value;
            let kind =
                stage.entry("kind").and_then(|kind| StageKind::from_name(kind.value.text()?));
            let Some((_, default)) = self.kinds.iter().find(|(default, _)| Some(*default) == kind)
            else {
                continue;
            };
            let Some(left) = room.checked_sub(default.weight()) else {
                let message = format!("the defaults of all stages hold more than {LARGEST} values");
                problems.push(Problem::new(default.place, message).help("make them smaller"));
                return;
            };
            room = left;
            fill(stage, default, true);
        }
    }
}

/// Puts what is not there yet under a node, maps within maps.
fn fill(node: &mut Node, default: &Node, top: bool) {
    let Data::Map(own) = &mut node.data else { return };
    let at = own.iter().enumerate().map(|(index, entry)| (entry.key.clone(), index));
    let at: HashMap<String, usize> = at.collect();
    for given in default.entries() {
        match at.get(&given.key).map(|index| &mut own[*index]) {
            None => own.push(given.clone()),
            // `params:` with nothing below it says nothing.
            Some(entry) if top && matches!(entry.value.data, Data::Null) => {
                entry.value = given.value.clone();
            }
            Some(entry) if same_kind(&entry.value, &given.value) => {
                fill(&mut entry.value, &given.value, false);
            }
            Some(_) => {}
        }
    }
}

/// Says whether two maps may be mixed: the fields of an `lstm` are not those of an `mlp`.
fn same_kind(own: &Node, default: &Node) -> bool {
    let kind = |node: &Node| Some(node.entry("kind")?.value.text()?.to_owned());
    let maps = matches!((&own.data, &default.data), (Data::Map(_), Data::Map(_)));
    maps && kind(own).is_none_or(|own| kind(default).is_none_or(|default| own == default))
}
