//! Giving up the outputs of actions whose entries stay, as those of trials that are not the best.

use std::collections::HashSet;

use super::{Entry, Store, StoreError, files, lock};
use crate::fingerprint::{Digest, Fingerprint};

impl Store {
    /// Gives up the outputs of those of these actions that ran as trials: their entries stay, with digests.
    /// What ran as a stage is no study's to drop, and bytes that another entry has, or that a pipeline's
    /// stages have as they were last, are kept.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where the store cannot be written.
    pub fn drop_outputs(&self, fingerprints: &[Fingerprint]) -> Result<(), StoreError> {
        let is_to_drop = |entry: &Entry| entry.of_trial && entry.has_bytes();
        // Looked for outside the lock: often there is nothing to drop.
        let fingerprints = fingerprints.iter();
        let fingerprints: Vec<&Fingerprint> = fingerprints
            .filter(|one| self.trial_entry(**one).is_some_and(|entry| is_to_drop(&entry)))
            .collect();
        if fingerprints.is_empty() {
            return Ok(());
        }
        // Nobody may publish an entry that leans on a blob between the look and the removal.
        let _lock = lock::exclusive(&self.path("locks/publish"))?;
        let roots: HashSet<Fingerprint> = self.roots().collect();
        let mut candidates = Vec::new();
        for fingerprint in fingerprints.into_iter().filter(|one| !roots.contains(one)) {
            let Some(mut entry) = self.trial_entry(*fingerprint).filter(is_to_drop) else {
                continue;
            };
            candidates
                .extend(entry.outputs.values().filter(|blob| !blob.dropped).map(|b| b.digest));
            entry.outputs.values_mut().for_each(|blob| blob.dropped = true);
            self.put_entry(&entry)?;
        }
        if candidates.is_empty() {
            return Ok(());
        }
        let used: HashSet<Digest> = self
            .entries()
            .flat_map(|entry| entry.outputs.into_values())
            .filter(|blob| !blob.dropped)
            .map(|blob| blob.digest)
            .collect();
        for digest in candidates.into_iter().filter(|digest| !used.contains(digest)) {
            let path = self.blob_path(digest);
            files::remove_file(&path)?;
        }
        Ok(())
    }
}
