//! Where a stage's outputs lie for people: its folder under `artifacts/`, and its exports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::worker::Message;
use crate::event::Outcome;
use crate::pipeline::Stage;
use crate::schedule::TaskId;
use crate::store::artifacts::Artifact;
use crate::store::{Blob, Entry, Store, StoreError};

/// Places the artifacts of a stage whose outputs are there, and tells it.
pub fn message(
    task: TaskId,
    outcome: Outcome,
    entry: Box<Entry>,
    store: &Store,
    stage: &Stage,
    root: &Path,
    pipeline: &str,
) -> Message {
    let placed = artifacts(store, stage, &entry.outputs).and_then(|artifacts| {
        let written = store.place(pipeline, &folder(root, pipeline), &artifacts)?;
        Ok((artifacts, written))
    });
    Message::Placed { task, outcome, entry, placed }
}

/// Gives the folder of a pipeline's artifacts.
pub fn folder(root: &Path, pipeline: &str) -> PathBuf {
    root.join("artifacts").join(pipeline)
}

/// Gives the artifacts of a stage of which none has to be converted; `None` where one has.
pub fn plain_artifacts(stage: &Stage, outputs: &BTreeMap<String, Blob>) -> Option<Vec<Artifact>> {
    let own =
        stage.outputs.iter().map(|spec| (&spec.name, Path::new(&stage.name).join(&spec.file)));
    let exports = stage.exports.iter().map(|(output, export)| (output, export.file.clone()));
    if stage.exports.values().any(|export| export.conversion.is_some()) {
        return None;
    }
    let artifact = |(output, path): (&String, PathBuf)| {
        let digest = outputs.get(output)?.digest;
        Some(Artifact { stage: stage.name.clone(), path, digest })
    };
    own.chain(exports).map(artifact).collect()
}

/// Gives the artifacts of a stage: its outputs and its exports, converted where an export asks for
/// it.
pub fn artifacts(
    store: &Store,
    stage: &Stage,
    outputs: &BTreeMap<String, Blob>,
) -> Result<Vec<Artifact>, StoreError> {
    let mut artifacts = Vec::new();
    for spec in &stage.outputs {
        let digest = outputs[&spec.name].digest;
        let path = Path::new(&stage.name).join(&spec.file);
        artifacts.push(Artifact { stage: stage.name.clone(), path, digest });
    }
    for (output, export) in &stage.exports {
        let digest = outputs[output].digest;
        let digest = match export.conversion {
            Some(conversion) => store.converted(&store.blob_path(digest), digest, conversion)?,
            None => digest,
        };
        let path = export.file.clone();
        artifacts.push(Artifact { stage: stage.name.clone(), path, digest });
    }
    Ok(artifacts)
}
