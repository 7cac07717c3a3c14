//! `runner graph`: the stages and what they read, as text, Mermaid or DOT.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use super::{Error, Exit, PipelineArguments, Session};
use crate::pipeline::{Pipeline, Source, Stage};
use crate::stage::Params;

/// The arguments of `runner graph`.
#[derive(Args, Debug)]
pub struct Graph {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
    /// How to draw.
    #[arg(long, value_enum, default_value = "text")]
    pub format: GraphFormat,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Lines of text, each stage after what it reads.
    Text,
    /// Mermaid, as in Markdown on GitHub.
    Mermaid,
    /// DOT, for Graphviz.
    Dot,
}

/// Draws the graph.
///
/// # Errors
///
/// Every mistake of the file.
pub fn run(arguments: &Graph, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = session.load(&arguments.pipeline)?;
    let text = match arguments.format {
        GraphFormat::Text => text(&pipeline),
        GraphFormat::Mermaid => mermaid(&pipeline),
        GraphFormat::Dot => dot(&pipeline),
    };
    session.out.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// A line between two stages.
struct Edge {
    from: String,
    to: String,
    /// Such as the outputs that are read.
    label: String,
    dashed: bool,
}

/// Gives the lines into a stage: outputs that it reads, stages that it needs, the base that it
/// tunes.
fn edges(stage: &Stage) -> Vec<Edge> {
    let mut reads: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for input in stage.inputs.values() {
        if let Source::Output { stage, output } = &input.from {
            reads.entry(stage).or_default().insert(output);
        }
    }
    let edge = |from: &str, label: String, dashed| Edge {
        from: from.to_owned(),
        to: stage.name.clone(),
        label,
        dashed,
    };
    let read = reads.into_iter().map(|(from, outputs)| {
        edge(from, outputs.into_iter().collect::<Vec<_>>().join(", "), false)
    });
    let mut edges: Vec<Edge> = read.collect();
    edges.extend(stage.needs.iter().map(|from| edge(from, "needs".to_owned(), true)));
    if let Params::Tune(params) = &stage.params {
        edges.push(edge(&params.stage, "tunes".to_owned(), true));
    }
    edges
}

/// Names the user's files that a stage reads.
fn files(stage: &Stage) -> Vec<String> {
    let files = stage.inputs.values().filter_map(|input| match &input.from {
        Source::File(path) => Some(format!("the file {}", path.display())),
        Source::Folder(path) => Some(format!("the folder {}", path.display())),
        Source::Glob(pattern) => Some(format!("the files {pattern}")),
        Source::Output { .. } | Source::Table(_) => None,
    });
    files.collect()
}

fn text(pipeline: &Pipeline) -> String {
    let mut text = String::new();
    for stage in in_order(pipeline) {
        let _ = writeln!(text, "{} ({})", stage.name, stage.kind().name());
        for Edge { from, label, dashed, .. } in edges(stage) {
            let _ = match dashed {
                true => writeln!(text, "  {label} {from}"),
                false => writeln!(text, "  reads {from}: {label}"),
            };
        }
        for file in files(stage) {
            let _ = writeln!(text, "  reads {file}");
        }
        for (output, export) in &stage.exports {
            let _ = writeln!(text, "  exports {output} as {}", export.file.display());
        }
    }
    for stage in &pipeline.off {
        let _ = writeln!(text, "{stage} is off");
    }
    text
}

/// Gives the stages so that each comes after what it waits for, else in the order of the file.
fn in_order(pipeline: &Pipeline) -> Vec<&Stage> {
    let mut seen = BTreeSet::new();
    let mut order = Vec::with_capacity(pipeline.stages.len());
    // A stage is met twice: first to put what it waits for above it, then to be placed itself.
    let mut stack: Vec<(&str, bool)> =
        pipeline.stages.keys().rev().map(|name| (name.as_str(), false)).collect();
    while let Some((name, placed)) = stack.pop() {
        let Some(stage) = pipeline.stages.get(name) else { continue };
        if placed {
            order.push(stage);
        } else if seen.insert(name) {
            stack.push((name, true));
            let names = edges(stage).into_iter().rev();
            let names = names.filter_map(|edge| pipeline.stages.get(&edge.from));
            stack.extend(names.map(|stage| (stage.name.as_str(), false)));
        }
    }
    order
}

fn mermaid(pipeline: &Pipeline) -> String {
    let mut text = String::from("flowchart LR\n");
    let number = |name: &str| pipeline.stages.get_index_of(name).unwrap_or_default();
    for (index, stage) in pipeline.stages.values().enumerate() {
        let _ = writeln!(text, "  s{index}[\"{}<br/><i>{}</i>\"]", stage.name, stage.kind().name());
    }
    for stage in pipeline.stages.values() {
        for Edge { from, to, label, dashed } in edges(stage) {
            let arrow = if dashed { "-.->" } else { "-->" };
            let _ = writeln!(text, "  s{} {arrow}|\"{label}\"| s{}", number(&from), number(&to));
        }
    }
    text
}

fn dot(pipeline: &Pipeline) -> String {
    let mut text =
        format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box];\n", pipeline.name);
    for stage in pipeline.stages.values() {
        let _ = writeln!(text, "  \"{0}\" [label=\"{0}\\n{1}\"];", stage.name, stage.kind().name());
    }
    for stage in pipeline.stages.values() {
        for Edge { from, to, label, dashed } in edges(stage) {
            let style = if dashed { ", style=dashed" } else { "" };
            let _ = writeln!(text, "  \"{from}\" -> \"{to}\" [label=\"{label}\"{style}];");
        }
    }
    text.push_str("}\n");
    text
}
