//! Who needs what: entries, as far as collection looks at them, and how many of them need each blob, each
//! conversion and each listing.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use crate::conversion::Conversion;
use crate::fingerprint::{Digest, Fingerprint, Manifest};
use crate::store::verify::digest_in;
use crate::store::{Blob, Entry, Store, StoreError, convert, files, listings};

/// An entry, as far as collection looks at it.
pub(super) struct Item {
    pub(super) fingerprint: Fingerprint,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) modified: SystemTime,
    pub(super) of_trial: bool,
    /// What trials of one base have in common.
    pub(super) likeness: Digest,
    pub(super) base: Option<Digest>,
    pub(super) outputs: Vec<(Digest, u64)>,
    /// The records of conversions of what it reads and gives, of those that are there.
    pub(super) conversions: Vec<Digest>,
    /// The listings of what it reads, of those that are there.
    pub(super) listings: Vec<Digest>,
}

/// How many things need each blob, each conversion and each listing.
pub(super) struct Needs {
    /// With the size of each.
    pub(super) blobs: HashMap<Digest, (u64, u64)>,
    /// With what each gave.
    pub(super) conversions: HashMap<Digest, (u64, Blob)>,
    pub(super) listings: HashMap<Digest, u64>,
    /// The bytes of the blobs that nothing needs.
    pub(super) dead: u64,
}

impl Store {
    /// Finds every blob, conversion and listing, needed by nothing yet.
    pub(super) fn needs(&self) -> Needs {
        let sharded = |kind| {
            let shards = files::list(&self.path(kind)).into_iter();
            let files = shards.flat_map(|shard| files::list(&shard));
            files.filter_map(|path| Some((digest_in(&path)?, path)))
        };
        let blobs = sharded("blobs").map(|(digest, path)| (digest, (0, files::size(&path))));
        let blobs: HashMap<Digest, (u64, u64)> = blobs.collect();
        let record = |(key, path): (Digest, PathBuf)| {
            let blob: Blob = files::read_sealed(&path)?;
            Some((key, (0, blob)))
        };
        Needs {
            dead: blobs.values().map(|(_, bytes)| bytes).sum(),
            blobs,
            conversions: sharded("conversions").filter_map(record).collect(),
            listings: files::list(&self.path(listings::FOLDER))
                .iter()
                .filter_map(|path| Some((path.file_name()?.to_str()?.parse().ok()?, 0)))
                .collect(),
        }
    }

    pub(super) fn items(&self, needs: &Needs) -> Result<Vec<Item>, StoreError> {
        let mut items = Vec::new();
        for path in files::list(&self.path("entries")).iter().flat_map(|shard| files::list(shard)) {
            // What cannot be read may be needed: nothing is removed on a guess.
            let bytes = fs::read(&path).map_err(StoreError::io("read", &path))?;
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let modified = modified.map_err(StoreError::io("read", &path))?;
            if let Some(entry) = files::unseal::<Entry>(&bytes) {
                items.push(Item::new(entry, path, bytes.len() as u64, modified, needs));
            }
        }
        Ok(items)
    }
}

impl Item {
    fn new(entry: Entry, path: PathBuf, bytes: u64, modified: SystemTime, needs: &Needs) -> Item {
        let Entry { manifest, outputs, of_trial, .. } = entry;
        let of_base = manifest.base.iter().flat_map(|base| base.inputs.values());
        let read = manifest.inputs.values().chain(of_base).map(|input| input.digest);
        let read: HashSet<Digest> = read.collect();
        let given = outputs.values().map(|blob| blob.digest);
        let sources = read.iter().copied().chain(given);
        let keys = sources.flat_map(|digest| {
            Conversion::ALL.into_iter().map(move |conversion| convert::key(digest, conversion))
        });
        let conversions: HashSet<Digest> =
            keys.filter(|key| needs.conversions.contains_key(key)).collect();
        let kept = outputs.values().filter(|blob| !blob.dropped);
        Item {
            fingerprint: manifest.fingerprint(),
            path,
            bytes,
            modified,
            of_trial,
            likeness: likeness(&manifest),
            base: manifest.base.as_deref().map(likeness),
            outputs: kept.map(|blob| (blob.digest, blob.size)).collect(),
            conversions: conversions.into_iter().collect(),
            listings: read.into_iter().filter(|one| needs.listings.contains_key(one)).collect(),
        }
    }
}

impl Item {
    pub(super) fn output_bytes(&self) -> u64 {
        self.outputs.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Needs {
    pub(super) fn add(&mut self, item: &Item) {
        for (digest, _) in &item.outputs {
            self.change_blob(*digest, 1);
        }
        for key in &item.conversions {
            let Some((users, blob)) = self.conversions.get_mut(key) else { continue };
            *users += 1;
            if *users == 1 {
                let digest = blob.digest;
                self.change_blob(digest, 1);
            }
        }
        for digest in &item.listings {
            *self.listings.entry(*digest).or_default() += 1;
        }
    }

    pub(super) fn release(&mut self, item: &Item) {
        for (digest, _) in &item.outputs {
            self.change_blob(*digest, -1);
        }
        for key in &item.conversions {
            let Some((users, blob)) = self.conversions.get_mut(key) else { continue };
            *users -= 1;
            if *users == 0 {
                let digest = blob.digest;
                self.change_blob(digest, -1);
            }
        }
        for digest in &item.listings {
            *self.listings.entry(*digest).or_default() -= 1;
        }
    }

    fn change_blob(&mut self, digest: Digest, by: i64) {
        let Some((users, bytes)) = self.blobs.get_mut(&digest) else { return };
        let before = *users;
        *users = users.saturating_add_signed(by);
        match (before, *users) {
            (0, 1..) => self.dead -= *bytes,
            (1.., 0) => self.dead += *bytes,
            _ => {}
        }
    }
}

/// Gives the fingerprints that stay: the roots, and the trials of the studies among them.
pub(super) fn protected(items: &[Item], roots: &HashSet<Fingerprint>) -> HashSet<Fingerprint> {
    let is_root = |item: &&Item| roots.contains(&item.fingerprint);
    let bases: HashSet<Digest> =
        items.iter().filter(is_root).filter_map(|item| item.base).collect();
    let trials = items.iter().filter(|item| item.of_trial && bases.contains(&item.likeness));
    items.iter().filter(is_root).chain(trials).map(|item| item.fingerprint).collect()
}

/// Hashes what the trials of one study have in common: all but their params.
fn likeness(manifest: &Manifest) -> Digest {
    let common = (manifest.kind.name(), manifest.version, &manifest.inputs, &manifest.env);
    // Names, numbers and digests, which JSON can always hold.
    Digest::of(&serde_json::to_vec(&common).expect("a manifest serializes to JSON"))
}
