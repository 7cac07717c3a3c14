//! Where a stage's outputs lie for people: its folder under `artifacts/`, and its exports.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::worker::Message;
use crate::conversion::Conversion;
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

/// Gives the artifacts of a stage of which none has to be converted; `None` where one has, or where
/// an output is not known.
pub fn plain_artifacts(stage: &Stage, outputs: &BTreeMap<String, Blob>) -> Option<Vec<Artifact>> {
    let artifact = |(output, path, conversion): (&String, PathBuf, Option<Conversion>)| {
        let blob = outputs.get(output).filter(|_| conversion.is_none())?;
        Some(Artifact { stage: stage.name.clone(), path, digest: blob.digest })
    };
    places(stage).map(artifact).collect()
}

/// Gives the artifacts of a stage: its outputs and its exports, converted where an export asks for
/// it.
fn artifacts(
    store: &Store,
    stage: &Stage,
    outputs: &BTreeMap<String, Blob>,
) -> Result<Vec<Artifact>, StoreError> {
    let artifact = |(output, path, conversion): (&String, PathBuf, Option<Conversion>)| {
        let digest = outputs[output].digest;
        let digest = match conversion {
            Some(conversion) => store.converted(&store.blob_path(digest), digest, conversion)?,
            None => digest,
        };
        Ok(Artifact { stage: stage.name.clone(), path, digest })
    };
    places(stage).map(artifact).collect()
}

/// Gives each output of a stage with where it lies in the pipeline's folder, and each once more that
/// is exported, with what it is turned into.
fn places(stage: &Stage) -> impl Iterator<Item = (&String, PathBuf, Option<Conversion>)> {
    let own = stage.outputs.iter();
    let own = own.map(|spec| (&spec.name, Path::new(&stage.name).join(&spec.file), None));
    let exports = stage.exports.iter();
    own.chain(exports.map(|(output, export)| (output, export.file.clone(), export.conversion)))
}
