//! Roots: what collection must keep, by pipeline.
//!
//! `roots/PIPELINE` holds the fingerprint of each stage as it was last. What a run replaces there
//! goes to `past/PIPELINE/NUMBER`, so that the results of the last N runs are the roots and the last
//! N - 1 of those files: a run that changed nothing writes nothing, and a file is as small as what
//! changed. They are files and no rows of the history: losing the history must not lose a result.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use super::{Store, StoreError, files, lock};
use crate::fingerprint::Fingerprint;

/// Fingerprints by stage.
pub(super) type Roots = BTreeMap<String, Fingerprint>;

impl Store {
    /// Records the fingerprints of a pipeline's stages: what [`Store::drop_outputs`] and
    /// [`Store::collect`] must keep. Stages that the pipeline no longer has are let go.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where the file cannot be written.
    pub fn put_roots(
        &self,
        pipeline: &str,
        roots: &BTreeMap<String, Fingerprint>,
        is_stage: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        let path = self.path("roots").join(pipeline);
        let read = || files::read_sealed::<Roots>(&path).unwrap_or_default();
        let is_recorded = |all: &Roots| {
            roots.iter().all(|(stage, fingerprint)| all.get(stage) == Some(fingerprint))
                && all.keys().all(|stage| is_stage(stage))
        };
        if is_recorded(&read()) {
            return Ok(());
        }
        // Another run of the pipeline may add its own stages at the same time.
        let _lock = lock::exclusive(&self.path("locks").join(format!("roots-{pipeline}")))?;
        let mut all = read();
        let mut replaced = Roots::new();
        all.retain(|stage, fingerprint| {
            let stays = is_stage(stage);
            if !stays || roots.get(stage).is_some_and(|new| new != fingerprint) {
                replaced.insert(stage.clone(), *fingerprint);
            }
            stays
        });
        all.extend(roots.iter().map(|(stage, fingerprint)| (stage.clone(), *fingerprint)));
        // The past first: a kill in between leaves a root twice, and never loses one.
        self.put_past(pipeline, replaced)?;
        self.write_sealed(&path, &all)
    }

    /// Adds what this run replaces to the run's own file; the caller holds the lock of the roots.
    fn put_past(&self, pipeline: &str, replaced: Roots) -> Result<(), StoreError> {
        if replaced.is_empty() {
            return Ok(());
        }
        let mut own = self.own_past();
        let (number, all) = own.entry(pipeline.to_owned()).or_insert_with(|| {
            let last = self.past(pipeline).pop();
            (last.map_or(1, |last| number_of(&last) + 1), Roots::new())
        });
        // The first that a run replaces of a stage is what the run before left.
        for (stage, fingerprint) in replaced {
            all.entry(stage).or_insert(fingerprint);
        }
        self.write_sealed(&self.path("past").join(pipeline).join(format!("{number:08}")), all)
    }

    /// Gives the files of what past runs of a pipeline replaced, the latest last.
    fn past(&self, pipeline: &str) -> Vec<PathBuf> {
        files::list(&self.path("past").join(pipeline))
    }

    pub(super) fn roots(&self) -> impl Iterator<Item = Fingerprint> {
        files::list(&self.path("roots"))
            .into_iter()
            .filter_map(|path| files::read_sealed::<Roots>(&path))
            .flat_map(BTreeMap::into_values)
    }

    /// Gives the roots of the last `runs` runs of every pipeline, and the files of earlier ones.
    ///
    /// # Errors
    ///
    /// [`StoreError::Roots`] where a file is damaged: nobody knows then what must be kept.
    pub(super) fn roots_of_last(
        &self,
        runs: usize,
    ) -> Result<(HashSet<Fingerprint>, Vec<PathBuf>), StoreError> {
        let (mut files, mut forgotten) = (files::list(&self.path("roots")), Vec::new());
        for pipeline in files::list(&self.path("past")) {
            let mut past = files::list(&pipeline);
            let latest = past.split_off(past.len().saturating_sub(runs.saturating_sub(1)));
            files.extend(latest);
            forgotten.extend(past);
        }
        let mut kept = HashSet::new();
        for path in files {
            let roots: Option<Roots> = files::read_sealed(&path);
            kept.extend(roots.ok_or(StoreError::Roots { path })?.into_values());
        }
        Ok((kept, forgotten))
    }

    /// Gives the pipelines that have run here, with the fingerprints of their stages as they were
    /// last.
    pub fn pipelines(&self) -> Vec<(String, BTreeMap<String, Fingerprint>)> {
        let read = |path: PathBuf| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, files::read_sealed(&path)?))
        };
        files::list(&self.path("roots")).into_iter().filter_map(read).collect()
    }
}

fn number_of(path: &Path) -> u64 {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.parse().ok()).unwrap_or(0)
}
