//! What the store holds, by kind of thing.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Serialize;

use super::collect::Limits;
use super::{Store, StoreError, files, links, listings};

/// How many, and how many bytes they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Files, or folders where a thing is a folder.
    pub count: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    /// Adds one thing.
    pub fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What the store holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// By kind of thing; together they are the whole folder.
    pub kinds: BTreeMap<&'static str, Amount>,
    /// Outputs whose bytes were given up: what they would take.
    pub dropped: Amount,
    /// How many fingerprints are roots, by pipeline.
    pub roots: BTreeMap<String, usize>,
    /// What collection could free, keeping no more than what pipelines have as they were last.
    pub collectable: u64,
}

/// The folders that hold one thing each file, or each folder.
const FLAT: [(&str, &str); 7] = [
    ("checkpoints", "checkpoints"),
    ("links", links::FOLDER),
    ("listings", listings::FOLDER),
    ("logs", "logs"),
    ("temporary", "tmp"),
    ("temporary", "work"),
    ("damaged", "damaged"),
];

/// The folders that hold things in folders by the first letters of their names.
const SHARDED: [&str; 3] = ["blobs", "entries", "conversions"];

impl Store {
    /// Counts what the store holds; changes nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Store::collect`].
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let mut kinds: BTreeMap<&'static str, Amount> = BTreeMap::new();
        for kind in SHARDED {
            let shards = files::list(&self.path(kind));
            let amount = kinds.entry(kind).or_default();
            shards.iter().for_each(|shard| count(shard, amount));
        }
        for (kind, folder) in FLAT {
            count(&self.path(folder), kinds.entry(kind).or_default());
        }
        let known: HashSet<&str> =
            SHARDED.into_iter().chain(FLAT.map(|(_, folder)| folder)).collect();
        let other = kinds.entry("other").or_default();
        for path in files::list_all(&self.folder) {
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| known.contains(name)) {
                other.add(files::size(&path));
            }
        }
        let mut dropped = Amount::default();
        let blobs = self.entries().flat_map(|entry| entry.outputs.into_values());
        blobs.filter(|blob| blob.dropped).for_each(|blob| dropped.add(blob.size));
        let roots = self.pipelines();
        let limits = Limits { keep_runs: Some(1), dry_run: true, ..Limits::default() };
        let collected = self.collect(&limits, &|_| None)?;
        Ok(Usage {
            kinds,
            dropped,
            roots: roots.into_iter().map(|(name, roots)| (name, roots.len())).collect(),
            collectable: collected.bytes(),
        })
    }
}

fn count(folder: &Path, amount: &mut Amount) {
    files::list_all(folder).iter().for_each(|path| amount.add(files::size(path)));
}
