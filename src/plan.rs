//! The immutable DAG of the stages that the targets need.
//!
//! Knows nothing of what is cached: [`crate::freshness`] says that of a plan.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use petgraph::Incoming;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, Reversed};

use crate::pipeline::{Pipeline, Selector, Source, Stage};
use crate::suggest;

/// The stages that the targets need, in an order in which they can run.
#[derive(Debug)]
pub struct Plan<'p> {
    /// The pipeline that this is a part of.
    pub pipeline: &'p Arc<Pipeline>,
    /// The stages, each after all that it needs.
    pub order: Vec<&'p Stage>,
    graph: DiGraph<&'p Stage, ()>,
    nodes: HashMap<&'p str, NodeIndex>,
}

/// A target that the pipeline does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{target}` is no stage of pipeline `{pipeline}`")]
pub struct UnknownTarget {
    /// What was asked for.
    pub target: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// The stage that was perhaps meant, or all of them.
    pub help: String,
}

impl<'p> Plan<'p> {
    /// Makes the plan for `targets`; for all stages where none is given.
    ///
    /// # Errors
    ///
    /// [`UnknownTarget`] where a target is no stage.
    pub fn new(pipeline: &'p Arc<Pipeline>, targets: &[String]) -> Result<Plan<'p>, UnknownTarget> {
        let whole = graph(pipeline);
        let nodes: HashMap<&str, NodeIndex> =
            whole.node_indices().map(|node| (whole[node].name.as_str(), node)).collect();
        let mut needed = vec![targets.is_empty(); whole.node_count()];
        // What one target has brought is not gone through again for the next.
        let mut search = Dfs::empty(Reversed(&whole));
        for target in targets {
            let stages = pipeline.select(target);
            if stages.is_empty() {
                return Err(unknown(pipeline, target));
            }
            for stage in stages {
                search.move_to(nodes[stage.name.as_str()]);
                while let Some(node) = search.next(Reversed(&whole)) {
                    needed[node.index()] = true;
                }
            }
        }
        let graph = whole
            .filter_map(|node, stage| needed[node.index()].then_some(*stage), |_, ()| Some(()));
        let nodes = graph.node_indices().map(|node| (graph[node].name.as_str(), node)).collect();
        let order = order(&graph);
        Ok(Plan { pipeline, order, graph, nodes })
    }

    /// Gives the stages that `stage` needs directly.
    pub fn needs(&self, stage: &str) -> impl Iterator<Item = &'p Stage> + '_ {
        let node = self.nodes.get(stage).copied();
        node.into_iter()
            .flat_map(|node| self.graph.neighbors_directed(node, Incoming))
            .map(|node| self.graph[node])
    }
}

fn graph(pipeline: &Pipeline) -> DiGraph<&Stage, ()> {
    let mut graph = DiGraph::new();
    let nodes: HashMap<&str, NodeIndex> = pipeline
        .stages
        .values()
        .map(|stage| (stage.name.as_str(), graph.add_node(stage)))
        .collect();
    for stage in pipeline.stages.values() {
        for upstream in upstream(stage) {
            graph.update_edge(nodes[upstream], nodes[stage.name.as_str()], ());
        }
    }
    graph
}

/// Sorts the stages so that each stands after all that it needs; else as in the file.
fn order<'p>(graph: &DiGraph<&'p Stage, ()>) -> Vec<&'p Stage> {
    let mut missing: Vec<usize> =
        graph.node_indices().map(|node| graph.neighbors_directed(node, Incoming).count()).collect();
    let mut ready: BTreeSet<NodeIndex> =
        graph.node_indices().filter(|node| missing[node.index()] == 0).collect();
    let mut order = Vec::with_capacity(graph.node_count());
    while let Some(node) = ready.pop_first() {
        order.push(graph[node]);
        for next in graph.neighbors(node) {
            missing[next.index()] -= 1;
            if missing[next.index()] == 0 {
                ready.insert(next);
            }
        }
    }
    // Only the checker makes pipelines, and it refuses cycles.
    assert_eq!(order.len(), graph.node_count(), "a checked pipeline has no cycle");
    order
}

/// Gives the names of the stages that a stage needs directly.
fn upstream(stage: &Stage) -> impl Iterator<Item = &str> {
    let inputs = stage.inputs.values().filter_map(|input| match &input.from {
        Source::Output { stage, .. } => Some(stage.as_str()),
        Source::File(_) | Source::Folder(_) | Source::Glob(_) | Source::Table(_) => None,
    });
    inputs.chain(stage.needs.iter().map(String::as_str))
}

fn unknown(pipeline: &Pipeline, target: &str) -> UnknownTarget {
    let names = pipeline.stages.keys().map(String::as_str);
    let is_off = |name: &&String| {
        Selector::parse(target).is_some_and(|target| target.names(name)) || *name == target
    };
    let help = match pipeline.off.iter().find(is_off) {
        Some(off) => format!("`{off}` is off: its `when` is `false`"),
        None => suggest::did_you_mean(target, names.clone()).unwrap_or_else(|| all(names)),
    };
    UnknownTarget { target: target.to_owned(), pipeline: pipeline.name.clone(), help }
}

/// Lists the stages of a pipeline, as many as a person reads.
fn all<'p>(names: impl Iterator<Item = &'p str>) -> String {
    const LISTED: usize = 20;
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match names.len() {
        0..=LISTED => format!("its stages are {}", names.join(", ")),
        count => {
            let shown = names[..LISTED].join(", ");
            format!("its stages are {shown} and {} more", count - LISTED)
        }
    }
}
