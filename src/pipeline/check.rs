//! A tree -> a checked [`Pipeline`]: our own walk, which reports every mistake of a file at once.
//!
//! This is the only place that makes a [`Pipeline`]. Its rooms: `draft` reads one stage alone,
//! `inputs`, `exports`, `tuning` and `commands` look at stages beside each other, `cycle` at all.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use indexmap::IndexMap;

use super::diagnostic::{Place, Problem, Sources};
use super::draft::Draft;
use super::gather::{self, EXAMPLE, Gathered};
use super::groups::Groups;
use super::inputs::Wiring;
use super::listing::{self, ListingError};
use super::matrix;
use super::node::{Data, Node};
use super::variables::Variables;
use super::{Invalid, Loaded, Pipeline, Settings, Severity, SourceFile, Stage};
use super::{commands, cycle, defaults, draft, exports, inputs, options, set, tuning};

/// What the checks of stages share.
pub(super) struct Checks<'a> {
    /// The folder that relative paths start from.
    pub root: &'a Path,
    pub sources: &'a Sources,
    /// The stages in the order of the file, each matrix written out.
    pub drafts: IndexMap<&'a str, Draft<'a>>,
    /// Which of them are combinations of a matrix.
    pub groups: &'a Groups,
    /// How many files lists may still hold, in all stages.
    pub room: Cell<usize>,
    /// The files that patterns fit, since many stages may have the same.
    patterns: RefCell<HashMap<String, Rc<Vec<PathBuf>>>>,
}

impl Checks<'_> {
    /// Gives the files that a pattern fits.
    ///
    /// # Errors
    ///
    /// [`ListingError`] where it is no pattern, or a folder cannot be read.
    pub fn fitting(&self, pattern: &str) -> Result<Rc<Vec<PathBuf>>, ListingError> {
        if let Some(files) = self.patterns.borrow().get(pattern) {
            return Ok(Rc::clone(files));
        }
        let files = Rc::new(listing::glob(self.root, pattern)?);
        self.patterns.borrow_mut().insert(pattern.to_owned(), Rc::clone(&files));
        Ok(files)
    }
}

/// The most files that the lists of all stages may hold.
const LISTED: usize = 1_000_000;

/// Checks a file's text.
///
/// # Errors
///
/// Every mistake; a syntax error stands alone.
pub(super) fn check(
    file: &Arc<SourceFile>,
    root: &Path,
    settings: &Settings,
) -> Result<Loaded, Invalid> {
    let mut problems = Vec::new();
    let mut sources = Sources::new(Arc::clone(file));
    let gathered = gather::gather(&settings.vars, &mut sources, &mut problems);
    let sets = set::read(&settings.sets, &mut sources, &mut problems);
    let pipeline = gathered.and_then(|all| top(all, file, root, sets, &sources, &mut problems));
    problems.sort_by_key(|problem| problem.labels.first().map(|(place, _)| *place));
    let diagnostics = problems.into_iter().map(|problem| problem.diagnose(&sources));
    let (errors, warnings): (Vec<_>, Vec<_>) =
        diagnostics.partition(|diagnostic| diagnostic.severity == Severity::Error);
    match pipeline {
        Some(pipeline) if errors.is_empty() => Ok(Loaded { pipeline, warnings, keeper: None }),
        _ => Err(Invalid { errors, warnings }),
    }
}

fn top(
    gathered: Gathered,
    file: &Arc<SourceFile>,
    root: &Path,
    sets: set::Sets,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Option<Pipeline> {
    let Gathered { main, vars, defaults, stages } = gathered;
    let name = name(&main, file, problems);
    let mut variables = Variables::read(vars, sets.variables, sources, problems);
    let values = variables.values();
    if stages.is_empty() {
        no_stages(&main, problems);
        return None;
    }
    let defaults = defaults::read(defaults, &mut variables, sources, problems);
    let begin = problems.len();
    let mut expanded = matrix::expand(stages, &mut variables, sources, problems);
    defaults.apply(&mut expanded.stages, problems);
    let mut param_sets = sets.params;
    let in_sets: Vec<Place> = param_sets.iter().map(set::ParamSet::place).collect();
    for set in &mut param_sets {
        variables.substitute(&mut set.value, false, sources, problems);
    }
    set::apply(param_sets, &mut expanded.stages, problems);
    tuning::name_bases(&mut expanded.stages, &expanded.groups);
    let stages = check_stages(&expanded.stages, &expanded.groups, root, sources, problems);
    let many: Vec<Place> =
        expanded.copied.into_iter().chain(defaults.places()).chain(in_sets).collect();
    say_once(problems, begin, &many);
    variables.warn_of_unused(problems);
    let (stages, off) = stages?;
    if stages.is_empty() && problems.iter().all(|problem| problem.severity != Severity::Error) {
        let place = main.entry("stages").map_or(main.place, |entry| entry.place);
        let problem = Problem::new(place, "every stage is off");
        problems.push(problem.help("let the `when` of one of them be `true`"));
        return None;
    }
    Some(Pipeline { name: name?, sources: sources.files().to_vec(), vars: values, stages, off })
}

/// Leaves one of the mistakes that a text has at each of the stages that are made of it.
fn say_once(problems: &mut Vec<Problem>, begin: usize, places: &[Place]) {
    let mut ranges: Vec<Place> = places.to_vec();
    ranges.sort_unstable();
    let is_within = |place: Place| {
        let after = ranges
            .partition_point(|range| (range.source, range.start) <= (place.source, place.start));
        // Stages do not overlap, and defaults do not either.
        after > 0 && ranges[after - 1].source == place.source && place.end <= ranges[after - 1].end
    };
    let mut said = HashSet::new();
    let late = problems.split_off(begin);
    problems.extend(late.into_iter().filter(|problem| {
        let Some((place, _)) = problem.labels.first() else { return true };
        !is_within(*place) || said.insert((*place, problem.severity, problem.help.clone()))
    }));
}

/// Says why there are no stages.
fn no_stages(main: &Node, problems: &mut Vec<Problem>) {
    problems.push(match main.entry("stages") {
        None => Problem::new(main.place, "a pipeline needs `stages`").help(EXAMPLE),
        Some(entry) if matches!(entry.value.data, Data::Map(_) | Data::Null) => {
            Problem::new(entry.place, "a pipeline needs at least one stage").help(EXAMPLE)
        }
        Some(entry) => gather::not_a_map_of_stages(&entry.value),
    });
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

/// The stages that are on, and the names of those that are off.
type Stages = (IndexMap<String, Stage>, Vec<String>);

/// Checks the stages, and makes them where there is no mistake.
fn check_stages(
    stages: &Node,
    groups: &Groups,
    root: &Path,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Option<Stages> {
    let drafts = stages.entries().iter().map(|entry| {
        let name = entry.key.as_str();
        (name, draft::read(entry, groups.combination(name), problems))
    });
    let drafts = drafts.collect();
    let mut checks = Checks {
        root,
        sources,
        drafts,
        groups,
        room: Cell::new(LISTED),
        patterns: RefCell::default(),
    };
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
    options::check_secrets(&checks, problems);
    let mut exports = exports::check(&checks, problems);
    let mut made = IndexMap::with_capacity(checks.drafts.len());
    let mut off = Vec::new();
    for (name, draft) in checks.drafts {
        if draft.off {
            off.push(name.to_owned());
            continue;
        }
        let wiring = std::mem::take(wiring.get_mut(name)?);
        made.insert(
            name.to_owned(),
            Stage {
                name: name.to_owned(),
                params: draft.params?,
                inputs: wiring.inputs,
                needs: wiring.needs.into_iter().map(str::to_owned).collect(),
                outputs: draft.outputs?,
                exports: exports.remove(name).unwrap_or_default(),
                options: draft.options,
                variables: draft.variables,
                matrix: draft.matrix.cloned(),
                place: draft.place,
            },
        );
    }
    Some((made, off))
}
