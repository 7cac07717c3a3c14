//! The combinations of every matrix by name, and which of them a reference means to a reader.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use super::Combination;

/// The stages that have a matrix.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// What each copy stands for, by its name.
    combinations: HashMap<String, Combination>,
    /// The copies of each template.
    groups: IndexMap<String, Group>,
}

/// The copies of one template.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Their names, in the order of the matrix.
    pub members: Vec<String>,
    /// The keys that any of them has.
    keys: HashSet<String>,
    /// Members by the values of some keys, made when it is asked for.
    index: RefCell<HashMap<Vec<String>, Index>>,
}

/// Members by the values of some keys.
type Index = HashMap<Vec<Option<String>>, Vec<usize>>;

impl Groups {
    /// Adds the copies of a template.
    pub fn add(&mut self, template: String, copies: Vec<Combination>) {
        let mut group = Group::default();
        for copy in copies {
            group.keys.extend(copy.cells.iter().map(|cell| cell.key.clone()));
            let name = copy.name();
            group.members.push(name.clone());
            self.combinations.insert(name, copy);
        }
        self.groups.insert(template, group);
    }

    /// Gives what a stage stands for, where it is the copy of a template.
    pub fn combination(&self, stage: &str) -> Option<&Combination> {
        self.combinations.get(stage)
    }

    /// Gives the copies of a template.
    pub fn get(&self, template: &str) -> Option<&Group> {
        self.groups.get(template)
    }

    /// Gives the copies that `selector` names and that have the values of `reader` for each further
    /// key that both have; says too whether there is such a key. None where there is no such template.
    pub fn matching(
        &self,
        selector: &Selector<'_>,
        reader: Option<&Combination>,
    ) -> Option<(Vec<&str>, bool)> {
        let group = self.groups.get(selector.stage)?;
        let shared: Vec<String> = reader
            .into_iter()
            .flat_map(|reader| &reader.cells)
            .filter(|cell| group.keys.contains(&cell.key))
            .filter(|cell| !selector.wanted.iter().any(|(key, _)| *key == cell.key))
            .map(|cell| cell.key.clone())
            .collect();
        let mut found: Vec<&str> = match reader {
            Some(reader) if !shared.is_empty() => {
                let wanted: Vec<Option<String>> =
                    shared.iter().map(|key| reader.canonical_of(key).map(str::to_owned)).collect();
                let mut indexes = group.index.borrow_mut();
                let index =
                    indexes.entry(shared.clone()).or_insert_with(|| self.index(group, &shared));
                let members = index.get(&wanted).into_iter().flatten();
                members.map(|member| group.members[*member].as_str()).collect()
            }
            _ => group.members.iter().map(String::as_str).collect(),
        };
        if !selector.wanted.is_empty() {
            found.retain(|name| self.combinations[*name].matches(selector));
        }
        Some((found, !shared.is_empty()))
    }

    fn index(&self, group: &Group, keys: &[String]) -> Index {
        let mut index = Index::new();
        for (number, member) in group.members.iter().enumerate() {
            let combination = &self.combinations[member];
            let values = keys.iter().map(|key| combination.canonical_of(key).map(str::to_owned));
            index.entry(values.collect()).or_default().push(number);
        }
        index
    }
}

/// Stages with a matrix as they are named: `train` for all, `train[seed=1]` for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector<'t> {
    /// The name under which the file has the stage.
    pub stage: &'t str,
    /// Keys and the texts of their values.
    pub wanted: Vec<(&'t str, &'t str)>,
}

impl<'t> Selector<'t> {
    /// Reads a name; none where it has no such form.
    pub fn parse(text: &'t str) -> Option<Selector<'t>> {
        let Some((stage, rest)) = text.split_once('[') else {
            return Some(Selector { stage: text, wanted: Vec::new() });
        };
        let pairs = rest.strip_suffix(']')?.split(',');
        let pair = |pair: &'t str| {
            let (key, value) = pair.split_once('=')?;
            Some((key.trim(), value.trim()))
        };
        Some(Selector { stage, wanted: pairs.map(pair).collect::<Option<_>>()? })
    }

    /// Says whether it names a stage that is one combination of a matrix, by that stage's name.
    pub fn names(&self, stage: &str) -> bool {
        let Some(other) = Selector::parse(stage).filter(|other| !other.wanted.is_empty()) else {
            return false;
        };
        self.stage == other.stage && self.wanted.iter().all(|pair| other.wanted.contains(pair))
    }
}
