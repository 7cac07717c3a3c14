//! A tree -> a checked [`Pipeline`]: our own walk, which reports every mistake of a file at once.
//!
//! This is the only place that makes a [`Pipeline`]. Its rooms: `draft` reads one stage alone,
//! `inputs`, `exports`, `tuning` and `commands` look at stages beside each other, `cycle` at all.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::diagnostic::{Place, Problem, Sources, did_you_mean};
use super::draft::Draft;
use super::inputs::Wiring;
use super::node::{Data, Node};
use super::tree;
use super::variables::Variables;
use super::{Invalid, Loaded, Pipeline, Severity, SourceFile, Stage};
use super::{commands, cycle, draft, exports, inputs, set, tuning};

/// What the checks of stages share.
pub(super) struct Checks<'a> {
    /// The folder that relative paths start from.
    pub root: &'a Path,
    pub sources: &'a Sources,
    /// The stages in the order of the file.
    pub drafts: IndexMap<&'a str, Draft<'a>>,
}

/// Checks a file's text.
///
/// # Errors
///
/// Every mistake; a syntax error stands alone.
pub(super) fn check(
    file: &Arc<SourceFile>,
    root: &Path,
    sets: &[String],
) -> Result<Loaded, Invalid> {
    let mut problems = Vec::new();
    let mut sources = Sources::new(Arc::clone(file));
    let sets = set::read(sets, &mut sources, &mut problems);
    let pipeline = match tree::parse(&file.text, 0, 0) {
        Ok((node, flaws)) => {
            problems.extend(flaws);
            top(node, file, root, sets, &sources, &mut problems)
        }
        Err(problem) => {
            problems.push(problem);
            None
        }
    };
    problems.sort_by_key(|problem| problem.labels.first().map(|(place, _)| *place));
    let diagnostics = problems.into_iter().map(|problem| problem.diagnose(&sources));
    let (errors, warnings): (Vec<_>, Vec<_>) =
        diagnostics.partition(|diagnostic| diagnostic.severity == Severity::Error);
    match pipeline {
        Some(pipeline) if errors.is_empty() => Ok(Loaded { pipeline, warnings, to_keep: None }),
        _ => Err(Invalid { errors, warnings }),
    }
}

/// The fields of a pipeline file.
pub(super) const FIELDS: [&str; 4] = ["name", "description", "vars", "stages"];

fn top(
    mut node: Node,
    file: &Arc<SourceFile>,
    root: &Path,
    sets: set::Sets,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Option<Pipeline> {
    match node.data {
        Data::Map(_) => {}
        Data::Null => {
            problems.push(Problem::new(Place::new(0, 0, 0), "the file is empty").help(EXAMPLE));
            return None;
        }
        _ => {
            let message = format!("a pipeline file must be a map, not {}", node.describe());
            problems.push(Problem::new(node.place, message).help(EXAMPLE));
            return None;
        }
    }
    for entry in node.entries().iter().filter(|entry| !FIELDS.contains(&entry.key.as_str())) {
        let message = format!("a pipeline has no field `{}`", entry.key);
        problems.push(
            Problem::new(entry.place, message).help(did_you_mean(&entry.key, "fields", FIELDS)),
        );
    }
    draft::text_field(&node, "description", "the pipeline", problems);
    let name = name(&node, file, problems);
    let vars = node.entry("vars").map(|entry| &entry.value);
    let mut variables = Variables::read(vars, sets.variables, sources, problems);
    let values = variables.values();
    let mut stages = stages_node(&mut node, problems)?;
    draft::substitute(&mut stages, &mut variables, sources, problems);
    let mut param_sets = sets.params;
    for set in &mut param_sets {
        variables.substitute(&mut set.value, false, sources, problems);
    }
    set::apply(param_sets, &mut stages, problems);
    let stages = check_stages(&stages, root, sources, problems);
    variables.warn_of_unused(problems);
    Some(Pipeline { name: name?, source: Arc::clone(file), vars: values, stages: stages? })
}

const EXAMPLE: &str =
    "a pipeline is a map with `stages:`, such as `stages: { hello: { kind: command, params: … } }`";

/// Takes the map of stages out of the tree.
fn stages_node(node: &mut Node, problems: &mut Vec<Problem>) -> Option<Node> {
    let place = node.place;
    let Data::Map(entries) = &mut node.data else { return None };
    let Some(index) = entries.iter().position(|entry| entry.key == "stages") else {
        problems.push(Problem::new(place, "a pipeline needs `stages`").help(EXAMPLE));
        return None;
    };
    let entry = entries.swap_remove(index);
    match &entry.value.data {
        Data::Map(stages) if !stages.is_empty() => Some(entry.value),
        Data::Map(_) | Data::Null => {
            let message = "a pipeline needs at least one stage";
            problems.push(Problem::new(entry.place, message).help(EXAMPLE));
            None
        }
        _ => {
            let described = entry.value.describe();
            let message = format!("`stages` must be a map of names and stages, not {described}");
            problems.push(Problem::new(entry.value.place, message).help(EXAMPLE));
            None
        }
    }
}

/// Gives the pipeline's name: that in the file, or else the file's own.
fn name(node: &Node, file: &SourceFile, problems: &mut Vec<Problem>) -> Option<String> {
    let Some(entry) = node.entry("name") else {
        let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
        if is_name(&stem) {
            return Some(stem.into_owned());
        }
        let message = format!("the file's name `{stem}` cannot be the pipeline's");
        let help = format!("give it one: `name: my-pipeline`; {NAMES}");
        let place = Place::new(0, node.place.start, node.place.start + 1);
        problems.push(Problem::new(place, message).help(help));
        return None;
    };
    match entry.value.text() {
        Some(text) if is_name(text) => Some(text.to_owned()),
        _ => {
            let described = entry.value.describe();
            let message = format!("a pipeline's name cannot be {described}");
            problems.push(Problem::new(entry.value.place, message).help(NAMES));
            None
        }
    }
}

/// What names are made of, for messages.
pub(super) const NAMES: &str = "names are up to 100 letters, digits, `_` and `-`";

/// Says whether a word can name a pipeline, a stage or an output: it becomes a folder's name,
/// and file systems bear 255 bytes of one.
pub(super) fn is_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && !name.starts_with('-')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Checks the stages, and makes them where there is no mistake.
fn check_stages(
    stages: &Node,
    root: &Path,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Option<IndexMap<String, Stage>> {
    let drafts = stages.entries().iter();
    let drafts = drafts.map(|entry| (entry.key.as_str(), draft::read(entry, problems))).collect();
    let mut checks = Checks { root, sources, drafts };
    tuning::give_outputs(&mut checks, problems);
    let mut wiring: IndexMap<&str, Wiring<'_>> = IndexMap::with_capacity(checks.drafts.len());
    for draft in checks.drafts.values() {
        wiring.insert(draft.name, inputs::wire(draft, &checks, problems));
    }
    tuning::take_over_wiring(&checks, &mut wiring);
    cycle::check(&wiring, problems);
    tuning::check_searches(&checks, problems);
    for draft in checks.drafts.values() {
        commands::check(draft, &wiring[draft.name], &checks, problems);
    }
    let mut exports = exports::check(&checks, problems);
    let mut made = IndexMap::with_capacity(checks.drafts.len());
    for (name, draft) in checks.drafts {
        let Wiring { inputs, needs, .. } = wiring.swap_remove(name)?;
        made.insert(
            name.to_owned(),
            Stage {
                name: name.to_owned(),
                params: draft.params?,
                inputs,
                needs: needs.into_iter().map(str::to_owned).collect(),
                outputs: draft.outputs?,
                exports: exports.remove(name).unwrap_or_default(),
                options: draft.options,
                variables: draft.variables,
                place: draft.place.start..draft.place.end,
            },
        );
    }
    Some(made)
}
