//! Plan + store + history -> what is fresh, what is dirty and why; serves plan, why and run alike.
//!
//! A stage's manifest can be made once the content of all its inputs is known. It is fresh where
//! the store has the entry of that manifest and every output's bytes; else the reasons say what is
//! otherwise than in the nearest earlier entry of that stage.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::data;
use crate::fingerprint::{Digest, DirtyReason, Fingerprint, InputContent, Manifest};
use crate::history::History;
use crate::pipeline::{Input, Pipeline, Source, Stage};
use crate::plan::Plan;
use crate::stage::{OutputSpec, Params};
use crate::store::{Entry, Store};

pub mod content;

/// What a plan and the store say of a stage.
#[derive(Clone, Debug, PartialEq)]
pub enum Freshness {
    /// The store has its outputs.
    Fresh(Box<Entry>),
    /// It must run, for these reasons.
    Dirty(Vec<DirtyReason>),
    /// It may have to run: a stage above must, and might give other outputs.
    Maybe(Vec<DirtyReason>),
}

/// What the store has of an action.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Its entry, with the bytes of every output.
    Fresh(Box<Entry>),
    /// Its entry, without the bytes of some outputs.
    Troubled(Vec<DirtyReason>),
    /// Nothing.
    Absent,
}

/// An input's file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("stage `{stage}`: cannot read its input `{input}`, `{path}`: {source}", path = path.display())]
pub struct UnreadableInput {
    /// The stage.
    pub stage: String,
    /// The input's name.
    pub input: String,
    /// The file.
    pub path: PathBuf,
    /// Why it cannot be read.
    pub source: io::Error,
}

impl UnreadableInput {
    /// Gives a way out.
    pub fn help(&self) -> &'static str {
        match self.source.kind() {
            io::ErrorKind::NotFound => "make the file, or name another in the pipeline",
            io::ErrorKind::PermissionDenied => "give yourself the right to read it",
            _ => "see that it can be read, or name another in the pipeline",
        }
    }
}

/// The digests of the outputs of stages that are done, by stage and by output.
pub type OutputDigests = HashMap<String, BTreeMap<String, Digest>>;

/// The digests of the files that a stage reads, by the input's full name.
pub type InputDigests = BTreeMap<String, Digest>;

/// Gives the content of each input of a stage: outputs from `done`, files by the stat cache. `None`
/// where a stage above is not done.
///
/// # Errors
///
/// [`UnreadableInput`] where a file of the user's cannot be read.
pub fn input_digests(
    stage: &Stage,
    root: &Path,
    store: &Store,
    done: &OutputDigests,
) -> Result<Option<InputDigests>, UnreadableInput> {
    let mut digests = BTreeMap::new();
    for (name, input) in &stage.inputs {
        let digest = match &input.from {
            Source::Output { stage, output } => {
                match done.get(stage).and_then(|outputs| outputs.get(output)) {
                    Some(digest) => *digest,
                    None => return Ok(None),
                }
            }
            source => content::digest(source, root, store).map_err(|error| UnreadableInput {
                stage: stage.name.clone(),
                input: name.clone(),
                path: error.path,
                source: error.source,
            })?,
        };
        digests.insert(name.clone(), digest);
    }
    Ok(Some(digests))
}

/// Does what [`input_digests`] does, as far as it can without reading a file: `None` where one
/// `stat` does not tell a file's content.
pub fn known_input_digests(
    stage: &Stage,
    root: &Path,
    store: &Store,
    done: &OutputDigests,
) -> Option<InputDigests> {
    let digest = |(name, input): (&String, &Input)| {
        let digest = match &input.from {
            Source::Output { stage, output } => *done.get(stage)?.get(output)?,
            Source::File(file) => store.known_digest(&root.join(file))?,
            Source::Table(_) => content::digest(&input.from, root, store).ok()?,
            Source::Folder(_) | Source::Glob(_) => return None,
        };
        Some((name.clone(), digest))
    };
    stage.inputs.iter().map(digest).collect()
}

/// Makes the manifest of a stage from the content of its inputs.
pub fn manifest(pipeline: &Pipeline, stage: &Stage, digests: &InputDigests) -> Manifest {
    let Params::Tune(params) = &stage.params else {
        return action_manifest(&stage.params, stage, digests);
    };
    let base = &pipeline.stages[&params.stage];
    let mut own = stage.params.to_value();
    // The base enters whole, by what it does: its name decides nothing.
    if let Value::Object(fields) = &mut own {
        fields.remove("stage");
    }
    Manifest {
        kind: stage.kind(),
        version: stage.kind().version(),
        params: own,
        inputs: BTreeMap::new(),
        env: BTreeMap::new(),
        base: Some(Box::new(action_manifest(&base.params, stage, digests))),
    }
}

/// Makes the manifest of an action with these params on the inputs of `stage`: the stage itself, or
/// a trial of it.
pub fn action_manifest(params: &Params, stage: &Stage, digests: &InputDigests) -> Manifest {
    let content = |(name, digest): (&String, &Digest)| {
        let format = stage.inputs[name].format.map(|format| (format, data::CONVERTER_VERSION));
        (name.clone(), InputContent { digest: *digest, format })
    };
    let env = match params {
        Params::Command(command) => command.resolve_env(|name| std::env::var(name).ok()),
        _ => BTreeMap::new(),
    };
    Manifest {
        kind: params.kind(),
        version: params.kind().version(),
        params: params.to_value(),
        inputs: digests.iter().map(content).collect(),
        env,
        base: None,
    }
}

/// Judges one stage whose manifest is known.
fn judge(
    pipeline: &Pipeline,
    stage: &Stage,
    manifest: &Manifest,
    root: &Path,
    store: &Store,
    history: &History,
) -> Freshness {
    if stage.options.runs_each_time {
        return Freshness::Dirty(vec![DirtyReason::RunsEachTime]);
    }
    match look_up(manifest, &stage.outputs, store) {
        Found::Fresh(entry) => Freshness::Fresh(entry),
        Found::Troubled(reasons) => Freshness::Dirty(reasons),
        Found::Absent => Freshness::Dirty(explain(pipeline, stage, manifest, root, store, history)),
    }
}

/// Looks for the outputs that an action declares in the store.
pub fn look_up(manifest: &Manifest, declared: &[OutputSpec], store: &Store) -> Found {
    let entry = store.entry(manifest.fingerprint());
    let Some(entry) = entry.filter(|entry| entry.failure.is_none()) else { return Found::Absent };
    let mut troubles = store.troubles(&entry);
    // A kind that has learnt to give one more output.
    let absent = declared.iter().filter(|spec| !entry.outputs.contains_key(&spec.name));
    troubles.extend(absent.map(|spec| DirtyReason::OutputMissing { output: spec.name.clone() }));
    if entry.accidents > 0 {
        troubles.push(DirtyReason::TrialsFailed { trials: entry.accidents });
    }
    if troubles.is_empty() { Found::Fresh(Box::new(entry)) } else { Found::Troubled(troubles) }
}

/// Says why the store has no entry for a stage's manifest.
pub fn explain(
    pipeline: &Pipeline,
    stage: &Stage,
    manifest: &Manifest,
    root: &Path,
    store: &Store,
    history: &History,
) -> Vec<DirtyReason> {
    let earlier = history.fingerprints(&pipeline.name, &stage.name);
    if earlier.contains(&manifest.fingerprint()) {
        return vec![DirtyReason::EntryMissing];
    }
    match nearest(manifest, &earlier, store) {
        Some(differences) => {
            name_files(name_variables(differences, pipeline, stage), stage, root, store)
        }
        None => vec![never(pipeline, stage, history)],
    }
}

/// Says of a stage without an earlier result whether it was ever begun.
fn never(pipeline: &Pipeline, stage: &Stage, history: &History) -> DirtyReason {
    let failed = history.has_failed(&pipeline.name, &stage.name);
    if failed { DirtyReason::Failed } else { DirtyReason::NeverRan }
}

/// Gives the differences from that earlier entry from which there are fewest; the latest of equals.
fn nearest(
    manifest: &Manifest,
    earlier: &[Fingerprint],
    store: &Store,
) -> Option<Vec<DirtyReason>> {
    earlier
        .iter()
        .filter_map(|fingerprint| store.entry(*fingerprint))
        .map(|entry| manifest.differences(&entry.manifest))
        .min_by_key(Vec::len)
}

/// Adds to each changed param the variables that it comes from.
fn name_variables(
    mut reasons: Vec<DirtyReason>,
    pipeline: &Pipeline,
    stage: &Stage,
) -> Vec<DirtyReason> {
    for reason in &mut reasons {
        let DirtyReason::ParamChanged { path, variables, .. } = reason else { continue };
        let base = match &stage.params {
            Params::Tune(params) => pipeline.stages.get(&params.stage),
            _ => None,
        };
        let found = match (base, path.strip_prefix("base.")) {
            (Some(base), Some(path)) => base.variables.get(path),
            _ => stage.variables.get(path.as_str()),
        };
        variables.extend(found.into_iter().flatten().cloned());
    }
    reasons
}

/// Adds to each folder or pattern that changed what became of its files.
fn name_files(
    mut reasons: Vec<DirtyReason>,
    stage: &Stage,
    root: &Path,
    store: &Store,
) -> Vec<DirtyReason> {
    /// Files of an input that are named at most: a reason is kept in the history.
    const NAMED: usize = 20;

    for reason in &mut reasons {
        let DirtyReason::InputChanged { input, old, files, more, .. } = reason else { continue };
        let Some(Input { from, .. }) = stage.inputs.get(input) else { continue };
        let (Source::Folder(_) | Source::Glob(_), Ok(old)) = (from, old.parse()) else { continue };
        *files = content::changes(from, old, root, store).unwrap_or_default();
        *more = files.len().saturating_sub(NAMED) as u64;
        files.truncate(NAMED);
    }
    reasons
}

/// Judges every stage of a plan; writes nothing.
///
/// # Errors
///
/// [`UnreadableInput`] where a file of the user's cannot be read.
pub fn of_plan<'p>(
    plan: &Plan<'p>,
    root: &Path,
    store: &Store,
    history: &History,
) -> Result<Vec<(&'p Stage, Freshness)>, UnreadableInput> {
    let mut done = OutputDigests::new();
    let mut fresh: HashSet<&str> = HashSet::new();
    let mut judged: Vec<(&Stage, Freshness)> = Vec::new();
    for stage in &plan.order {
        let freshness = match input_digests(stage, root, store, &done)? {
            Some(digests) => {
                let manifest = manifest(plan.pipeline, stage, &digests);
                judge(plan.pipeline, stage, &manifest, root, store, history)
            }
            None => below_dirty(plan, stage, &fresh, store, history),
        };
        if let Freshness::Fresh(entry) = &freshness {
            fresh.insert(&stage.name);
            let outputs = entry.outputs.iter().map(|(name, blob)| (name.clone(), blob.digest));
            done.insert(stage.name.clone(), outputs.collect());
        }
        judged.push((stage, freshness));
    }
    Ok(judged)
}

/// Judges a stage some of whose inputs are not known yet: dirty where no earlier entry has its
/// params, whatever the inputs will be.
fn below_dirty(
    plan: &Plan<'_>,
    stage: &Stage,
    fresh: &HashSet<&str>,
    store: &Store,
    history: &History,
) -> Freshness {
    let above = plan.needs(&stage.name).filter(|above| !fresh.contains(above.name.as_str()));
    let above = above.map(|above| DirtyReason::UpstreamDirty { stage: above.name.clone() });
    if stage.options.runs_each_time {
        return Freshness::Dirty([DirtyReason::RunsEachTime].into_iter().chain(above).collect());
    }
    let manifest = manifest(plan.pipeline, stage, &InputDigests::new());
    let earlier = history.fingerprints(&plan.pipeline.name, &stage.name);
    let own = earlier
        .iter()
        .filter_map(|fingerprint| store.entry(*fingerprint))
        .map(|entry| manifest.differences(&entry.manifest))
        .map(|differences| differences.into_iter().filter(|one| !one.is_of_input()).collect())
        .min_by_key(Vec::len);
    match own {
        None => Freshness::Dirty(vec![never(plan.pipeline, stage, history)]),
        Some(own) if own.is_empty() => Freshness::Maybe(above.collect()),
        Some(own) => {
            let own = name_variables(own, plan.pipeline, stage);
            Freshness::Dirty(own.into_iter().chain(above).collect())
        }
    }
}
