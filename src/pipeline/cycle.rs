//! Cycles: each is named whole, with the place of every edge.

use std::collections::{HashMap, VecDeque};

use indexmap::IndexMap;
use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::diagnostic::Problem;
use super::inputs::{Edge, Wiring};

/// Reports one shortest cycle of every knot of stages that wait for each other.
pub(super) fn check(wiring: &IndexMap<&str, Wiring<'_>>, problems: &mut Vec<Problem>) {
    let mut graph: DiGraph<&str, Edge<'_>> = DiGraph::new();
    let nodes: HashMap<&str, NodeIndex> =
        wiring.keys().map(|name| (*name, graph.add_node(name))).collect();
    for (name, wiring) in wiring {
        for edge in &wiring.edges {
            if let Some(to) = nodes.get(edge.to) {
                graph.add_edge(nodes[name], *to, *edge);
            }
        }
    }
    for knot in kosaraju_scc(&graph).into_iter().filter(|knot| knot.len() > 1) {
        let first = knot.iter().copied().min().unwrap_or_default();
        problems.push(describe(&graph, &shortest(&graph, first), first));
    }
}

/// Finds a shortest way from a node back to itself, as the edges in order. The node lies on one.
fn shortest<'a>(
    graph: &DiGraph<&'a str, Edge<'a>>,
    start: NodeIndex,
) -> Vec<(NodeIndex, Edge<'a>)> {
    let mut came: HashMap<NodeIndex, (NodeIndex, Edge<'a>)> = HashMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for edge in graph.edges(node) {
            let to = edge.target();
            came.entry(to).or_insert_with(|| {
                queue.push_back(to);
                (node, *edge.weight())
            });
        }
        if came.contains_key(&start) {
            break;
        }
    }
    let mut way = Vec::new();
    let mut at = start;
    while let Some((from, edge)) = came.get(&at).copied() {
        way.push((from, edge));
        at = from;
        if at == start {
            break;
        }
    }
    way.reverse();
    way
}

fn describe(
    graph: &DiGraph<&str, Edge<'_>>,
    way: &[(NodeIndex, Edge<'_>)],
    first: NodeIndex,
) -> Problem {
    let mut names: Vec<String> =
        way.iter().map(|(from, _)| format!("`{}`", graph[*from])).collect();
    names.push(format!("`{}`", graph[first]));
    let message = format!("stages wait for each other in a cycle: {}", names.join(" -> "));
    let said = |(from, edge): &(NodeIndex, Edge<'_>)| {
        format!("`{}` {} `{}`", graph[*from], edge.verb, edge.to)
    };
    let mut problem = Problem::new(way[0].1.place, message).help("remove one of these references");
    problem.labels[0].1 = Some(said(&way[0]));
    way[1..].iter().fold(problem, |problem, step| problem.label(step.1.place, said(step)))
}
