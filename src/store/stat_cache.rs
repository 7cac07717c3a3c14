//! The stat cache: an unchanged file costs one `stat`.
//!
//! A record is believed only while the file's size, mtime, inode and ctime are those at which it
//! was hashed, and only if the file was older than the clock's grain by then: an edit within the
//! same tick would leave all four as they were.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::{StoreError, files};
use crate::fingerprint::Digest;

/// File systems stamp with the kernel's tick, 10 ms at the coarsest; twice that is safe.
const GRAIN: i128 = 20_000_000;

/// What `stat` says of a file, and the digest that it had then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    size: u64,
    mtime: i128,
    ctime: i128,
    inode: u64,
    digest: Digest,
}

/// Paths with what `stat` said when their content was hashed.
#[derive(Debug, Default)]
pub struct StatCache {
    records: HashMap<PathBuf, Record>,
    changed: bool,
}

/// Gives the present in nanoseconds since 1970.
pub fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

impl StatCache {
    /// Reads a saved cache; an absent or damaged one is empty.
    pub fn load(path: &Path) -> StatCache {
        let records: Vec<(PathBuf, Record)> = files::read_sealed(path).unwrap_or_default();
        StatCache { records: records.into_iter().collect(), changed: false }
    }

    /// Says whether it is otherwise than it was saved.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Forgets all other paths than those that are to be kept; it counts as changed, that it may be
    /// saved as what is believed from now on.
    pub fn keep(&mut self, is_kept: impl Fn(&Path) -> bool) {
        self.records.retain(|path, _| is_kept(path));
        self.changed = true;
    }

    /// Writes the cache where it changed, aside in `folder` first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be written.
    pub fn save(&mut self, folder: &Path, path: &Path) -> Result<(), StoreError> {
        if !self.changed {
            return Ok(());
        }
        let mut records: Vec<(&PathBuf, &Record)> = self
            .records
            .iter()
            .filter(|(path, _)| path.to_str().is_some() && path.exists())
            .collect();
        records.sort_by_key(|(path, _)| *path);
        files::write_sealed_through(folder, path, &records)?;
        self.changed = false;
        Ok(())
    }

    /// Gives the digest of a file that is as it was when it was hashed.
    ///
    /// # Errors
    ///
    /// The operating system's, where there is no such file.
    pub fn lookup(&self, path: &Path) -> io::Result<Option<Digest>> {
        let metadata = fs::metadata(path)?;
        let Some(record) = self.records.get(path) else { return Ok(None) };
        Ok((*record == Record::new(&metadata, record.digest)).then_some(record.digest))
    }

    /// Records the digest of a file that was hashed after the moment `before`.
    pub fn record(&mut self, path: &Path, digest: Digest, before: i128) {
        let Ok(metadata) = fs::metadata(path) else { return };
        let record = Record::new(&metadata, digest);
        if before - record.mtime.max(record.ctime) > GRAIN {
            self.changed |= self.records.insert(path.to_owned(), record) != Some(record);
        }
    }

    /// Records the digest of a file that we have just written aside and renamed into place: nobody
    /// else had it open, so its age does not matter.
    pub fn record_own(&mut self, path: &Path, digest: Digest) {
        let Ok(metadata) = fs::metadata(path) else { return };
        self.records.insert(path.to_owned(), Record::new(&metadata, digest));
        self.changed = true;
    }
}

impl Record {
    fn new(metadata: &fs::Metadata, digest: Digest) -> Record {
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Record {
            size: metadata.len(),
            mtime: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            digest,
        }
    }
}
