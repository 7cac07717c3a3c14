//! The order in which variables can be given their values, since one may refer to another.

use indexmap::IndexMap;

use super::{Definition, Piece, Variables, pieces};
use crate::pipeline::diagnostic::Problem;
use crate::pipeline::node::{Data, Node};

impl Variables {
    /// Orders the variables so that each comes after those that its value refers to; says which
    /// refer to each other in a cycle, and leaves those out.
    pub(super) fn order(
        &self,
        vars: &IndexMap<String, Definition>,
        problems: &mut Vec<Problem>,
    ) -> Vec<usize> {
        let refers = |index: usize| {
            let mut found = Vec::new();
            // A value of `--set` is taken as it is.
            if self.known[index].value.is_none() {
                self.references(&vars[index].value, &mut found);
            }
            found.into_iter()
        };
        let mut states = vec![State::New; vars.len()];
        let mut order = Vec::with_capacity(vars.len());
        for start in 0..vars.len() {
            let mut way = Vec::new();
            if states[start] == State::New {
                states[start] = State::Open;
                way.push((start, refers(start)));
            }
            while let Some((index, rest)) = way.last_mut() {
                let index = *index;
                match rest.next().map(|next| (next, states[next])) {
                    None => {
                        if states[index] == State::Open {
                            order.push(index);
                            states[index] = State::Done;
                        }
                        way.pop();
                    }
                    Some((next, State::New)) => {
                        states[next] = State::Open;
                        way.push((next, refers(next)));
                    }
                    Some((next, State::Open)) => {
                        let from = way.iter().position(|(one, _)| *one == next).unwrap_or_default();
                        let cycle: Vec<usize> = way[from..].iter().map(|(one, _)| *one).collect();
                        cycle.iter().for_each(|one| states[*one] = State::Cyclic);
                        problems.push(self.cycle(&cycle));
                    }
                    Some((_, State::Done | State::Cyclic)) => {}
                }
            }
        }
        order
    }

    fn cycle(&self, cycle: &[usize]) -> Problem {
        let names = cycle.iter().chain(cycle.first());
        let names: Vec<String> = names
            .filter_map(|index| Some(format!("`{}`", self.known.get_index(*index)?.0)))
            .collect();
        let message = format!("variables refer to each other in a cycle: {}", names.join(" -> "));
        Problem::new(self.known[cycle[0]].place, message)
            .help("give one of them a value of its own")
    }

    /// Collects the variables to which a value refers.
    fn references(&self, node: &Node, found: &mut Vec<usize>) {
        match &node.data {
            Data::List(items) => items.iter().for_each(|item| self.references(item, found)),
            Data::Map(entries) => {
                entries.iter().for_each(|entry| self.references(&entry.value, found));
            }
            Data::Text(text) if text.contains("${") => {
                for piece in pieces(text).unwrap_or_default() {
                    if let Piece::Reference(name) = piece {
                        found.extend(self.find(name).map(|(index, _)| index));
                    }
                }
            }
            _ => {}
        }
    }
}

/// How far the order of a variable is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
    Cyclic,
}
