//! What a pipeline's stages were at the end of its last run: one file instead of an entry each.
//!
//! A stage whose fingerprint is the one that was seen needs no entry read where `stat` says that
//! the entry's file, the blobs of its outputs and its artifacts are all as they were. Where any of
//! it is otherwise, or the file is absent or damaged, the stage is checked in full: what was seen
//! decides nothing by itself. After a loss of power an entry may be of the size and time that was seen
//! and yet hold nothing: what another boot of the machine saw is not believed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::artifacts::Artifact;
use super::packed::{self, Packer, Unpacker};
use super::stat_cache::Stamp;
use super::{Blob, Entry, Store, StoreError};
use crate::fingerprint::{Digest, Fingerprint};

/// What the file says of itself; another number where its form changes.
const TITLE: &str = "runner stages seen 1\n";

/// An entry that gives all outputs, as its stage's run left it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The action.
    pub fingerprint: Fingerprint,
    /// What it gave, by output.
    pub outputs: BTreeMap<String, Blob>,
    /// Its scalar results by name.
    pub metrics: BTreeMap<String, f64>,
    /// The entry's file.
    stamp: Stamp,
}

/// By stage.
pub type SeenStages = HashMap<String, Seen>;

impl Store {
    /// Reads what the last run of a pipeline saw; nothing where that is not known.
    pub fn seen(&self, pipeline: &str) -> SeenStages {
        let bytes = packed::read(&self.path("seen").join(pipeline), TITLE);
        bytes.and_then(|bytes| unpack(&bytes, &self.boot)).unwrap_or_default()
    }

    /// Writes what a run of a pipeline saw.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be written; it is a cache, so nothing is lost.
    pub fn put_seen(&self, pipeline: &str, seen: &SeenStages) -> Result<(), StoreError> {
        // Where no boot can be told from another, nothing is believed of an earlier one.
        if self.boot.is_empty() {
            return Ok(());
        }
        let path = self.path("seen").join(pipeline);
        packed::write(&self.temporaries(), &path, TITLE, &pack(seen, &self.boot))
    }

    /// Makes the record of an entry that this process has read or written; `None` where it does
    /// not know what the entry's file was then, or where the entry is not a plain hit.
    pub fn see(&self, fingerprint: Fingerprint, entry: &Entry) -> Option<Seen> {
        let stamp = self.stamps().get(&fingerprint).copied()?;
        (entry.failure.is_none() && entry.accidents == 0).then(|| Seen {
            fingerprint,
            outputs: entry.outputs.clone(),
            metrics: entry.metrics.clone(),
            stamp,
        })
    }

    /// Says whether what was seen is still so, by `stat` alone: the entry, and its outputs' bytes.
    pub fn is_as_seen(&self, seen: &Seen) -> bool {
        let entry = self.sharded("entries", seen.fingerprint.0);
        Stamp::of(&entry).is_ok_and(|stamp| stamp == seen.stamp)
            && seen
                .outputs
                .values()
                .all(|blob| self.known_digest(&self.blob_path(blob.digest)) == Some(blob.digest))
    }

    /// Gives the digest of a file's content where one `stat` can tell it.
    pub fn known_digest(&self, path: &Path) -> Option<Digest> {
        let stamp = Stamp::of(path).ok()?;
        self.stats().lookup(path, stamp)
    }

    /// Says whether these artifacts lie where they should, by `stat` alone.
    pub fn lie_in_place(&self, folder: &Path, artifacts: &[Artifact]) -> bool {
        let is_there = |artifact: &Artifact| {
            self.known_digest(&folder.join(&artifact.path)) == Some(artifact.digest)
        };
        artifacts.iter().all(is_there)
    }
}

fn pack(seen: &SeenStages, boot: &str) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.bytes(boot.as_bytes());
    for (stage, seen) in seen {
        packer.bytes(stage.as_bytes());
        packer.digest(seen.fingerprint.0);
        packer.stamp(&seen.stamp);
        packer.number(seen.outputs.len() as u64);
        for (name, blob) in &seen.outputs {
            packer.bytes(name.as_bytes());
            packer.digest(blob.digest);
            packer.number(blob.size);
            packer.number(u64::from(blob.dropped));
        }
        packer.number(seen.metrics.len() as u64);
        for (name, value) in &seen.metrics {
            packer.bytes(name.as_bytes());
            packer.number(value.to_bits());
        }
    }
    packer.0
}

fn unpack(bytes: &[u8], boot: &str) -> Option<SeenStages> {
    let mut unpacker = Unpacker(bytes);
    if unpacker.bytes()? != boot.as_bytes() {
        return None;
    }
    let mut stages = SeenStages::new();
    while !unpacker.is_empty() {
        let stage = unpacker.text()?;
        let (fingerprint, stamp) = (Fingerprint(unpacker.digest()?), unpacker.stamp()?);
        let mut outputs = BTreeMap::new();
        for _ in 0..unpacker.number()? {
            let name = unpacker.text()?;
            let (digest, size) = (unpacker.digest()?, unpacker.number()?);
            outputs.insert(name, Blob { digest, size, dropped: unpacker.number()? != 0 });
        }
        let mut metrics = BTreeMap::new();
        for _ in 0..unpacker.number()? {
            metrics.insert(unpacker.text()?, f64::from_bits(unpacker.number()?));
        }
        stages.insert(stage, Seen { fingerprint, outputs, metrics, stamp });
    }
    Some(stages)
}
