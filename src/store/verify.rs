//! Verification: everything in the store against its digest, whatever the stat cache believes.
//!
//! What is damaged is moved to `damaged/`, where nothing looks for it: a run then misses it and
//! makes it anew. Nothing is deleted.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use serde_json::Value;

use super::usage::Amount;
use super::{Entry, Store, StoreError, files, lock};
use crate::fingerprint::Digest;

/// What is wrong with one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum Problem {
    /// It is not what its name or its checksum says.
    Damaged {
        /// Where it lies now.
        set_aside: PathBuf,
    },
    /// The system cannot read it.
    Unreadable {
        /// The system's words.
        message: String,
    },
    /// An entry names bytes that are not there.
    Missing {
        /// The output.
        output: String,
        /// The digest of its bytes.
        digest: Digest,
    },
}

/// One thing with which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind of thing, as its folder is called.
    pub thing: &'static str,
    /// Where it lies, or lay.
    pub path: PathBuf,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
}

/// What a verification looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verified {
    /// How much was looked at, by kind of thing.
    pub checked: BTreeMap<&'static str, Amount>,
    /// What is wrong, by path.
    pub findings: Vec<Finding>,
}

/// What a file's content must agree with.
#[derive(Clone, Copy)]
enum Kind {
    Blob,
    Entry,
    Sealed,
}

impl Store {
    /// Checks everything in the store on `threads` threads and sets aside what is damaged.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where something damaged cannot be set aside.
    pub fn verify(&self, threads: usize) -> Result<Verified, StoreError> {
        let files = self.everything_with_a_digest();
        let (next, checks) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..threads.clamp(1, files.len().max(1)) {
                scope.spawn(|| {
                    while let Some((thing, kind, path)) =
                        files.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        let check = (*thing, *kind, path, check(*kind, path));
                        // The lock is held for a push, which does not panic.
                        checks.lock().expect("an unpoisoned list").push(check);
                    }
                });
            }
        });
        let mut verified = Verified::default();
        // Every thread has ended, and none panics while it holds the lock.
        for (thing, kind, path, result) in checks.into_inner().expect("an unpoisoned list") {
            self.add(&mut verified, (thing, kind, path), result)?;
        }
        // Only now, when the damaged ones are gone.
        verified.findings.extend(self.missing());
        verified.findings.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(verified)
    }

    fn add(
        &self,
        verified: &mut Verified,
        (thing, kind, path): (&'static str, Kind, &Path),
        result: io::Result<Option<u64>>,
    ) -> Result<(), StoreError> {
        let problem = match result {
            Ok(Some(bytes)) => {
                verified.checked.entry(thing).or_default().add(bytes);
                return Ok(());
            }
            // A run may have removed it meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => Problem::Unreadable { message: error.to_string() },
            Ok(None) => match self.set_aside(thing, kind, path)? {
                Some(set_aside) => Problem::Damaged { set_aside },
                None => return Ok(()),
            },
        };
        verified.checked.entry(thing).or_default().add(0);
        verified.findings.push(Finding { thing, path: path.to_owned(), problem });
        Ok(())
    }

    /// Moves a damaged file away; `None` where a run has put a sound one there meanwhile.
    fn set_aside(
        &self,
        thing: &str,
        kind: Kind,
        path: &Path,
    ) -> Result<Option<PathBuf>, StoreError> {
        let _lock = lock::exclusive(&self.path("locks/publish"))?;
        if matches!(check(kind, path), Ok(Some(_))) {
            return Ok(None);
        }
        let relative = path.strip_prefix(&self.folder).unwrap_or(path);
        let name = relative.to_string_lossy().replace('/', "-");
        let folder = self.path("damaged");
        let free = (1..).map(|number| match number {
            1 => folder.join(&name),
            _ => folder.join(format!("{name}.{number}")),
        });
        // The numbers never end, so one is free.
        let aside =
            free.into_iter().find(|path| fs::symlink_metadata(path).is_err()).expect("a free name");
        files::create_parent(&aside)?;
        fs::rename(path, &aside).map_err(StoreError::io("set aside", path))?;
        tracing::debug!("set aside a damaged file of {thing}: {}", aside.display());
        Ok(Some(aside))
    }

    fn everything_with_a_digest(&self) -> Vec<(&'static str, Kind, PathBuf)> {
        let sharded = |thing: &'static str, kind| {
            let shards = files::list(&self.path(thing));
            let files = shards.into_iter().flat_map(|shard| files::list(&shard));
            files.map(move |path| (thing, kind, path)).collect::<Vec<_>>()
        };
        let flat = |thing: &'static str| {
            let files = files::list(&self.path(thing)).into_iter();
            files.map(move |path| (thing, Kind::Sealed, path)).collect::<Vec<_>>()
        };
        let past = files::list(&self.path("past")).into_iter().flat_map(|one| files::list(&one));
        let mut all = sharded("blobs", Kind::Blob);
        all.extend(sharded("entries", Kind::Entry));
        all.extend(sharded("conversions", Kind::Sealed));
        all.extend(flat("roots"));
        all.extend(flat("placed"));
        all.extend(past.map(|path| ("past", Kind::Sealed, path)));
        all
    }

    /// Finds the outputs of entries that are neither there nor given up.
    fn missing(&self) -> Vec<Finding> {
        let mut told = HashSet::new();
        let mut findings = Vec::new();
        for entry in self.entries() {
            let path = self.sharded("entries", entry.manifest.fingerprint().0);
            for (output, blob) in entry.outputs {
                let is_there = blob.dropped || self.blob_path(blob.digest).exists();
                if !is_there && told.insert((path.clone(), output.clone())) {
                    let problem = Problem::Missing { output, digest: blob.digest };
                    findings.push(Finding { thing: "entries", path: path.clone(), problem });
                }
            }
        }
        findings
    }
}

/// Says how large a sound file is; `None` where it is damaged.
fn check(kind: Kind, path: &Path) -> io::Result<Option<u64>> {
    if let Kind::Blob = kind {
        let (digest, size) = files::digest(path)?;
        return Ok((digest_in(path) == Some(digest)).then_some(size));
    }
    let bytes = fs::read(path)?;
    let is_sound = match kind {
        Kind::Entry => files::unseal::<Entry>(&bytes)
            .is_some_and(|entry| digest_in(path) == Some(entry.manifest.fingerprint().0)),
        Kind::Sealed | Kind::Blob => files::unseal::<Value>(&bytes).is_some(),
    };
    Ok(is_sound.then_some(bytes.len() as u64))
}

/// Gives the digest that a file in a folder by first letters is named for.
pub(super) fn digest_in(path: &Path) -> Option<Digest> {
    let rest = path.file_name()?.to_str()?;
    let shard = path.parent()?.file_name()?.to_str()?;
    format!("{shard}{rest}").parse().ok()
}

#[cfg(test)]
mod tests;
