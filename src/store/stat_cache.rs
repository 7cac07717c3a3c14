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

use super::StoreError;
use super::packed::{self, Packer, Unpacker};
use crate::fingerprint::Digest;

/// File systems stamp with the kernel's tick, 10 ms at the coarsest; twice that is safe.
const GRAIN: i128 = 20_000_000;

/// What the file says of itself; another number where its form changes.
const TITLE: &str = "runner stat cache 2\n";

/// What `stat` says of a file: while it says the same, the content is believed to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i128,
    /// Nanoseconds since 1970; no program can set it.
    pub ctime: i128,
    /// Another for another file at the same path.
    pub inode: u64,
}

impl Stamp {
    /// Looks at a file.
    ///
    /// # Errors
    ///
    /// The operating system's, where there is no such file.
    pub fn of(path: &Path) -> io::Result<Stamp> {
        fs::metadata(path).map(|metadata| Stamp::new(&metadata))
    }

    /// Takes from `stat`'s answer what tells one content from another.
    pub fn new(metadata: &fs::Metadata) -> Stamp {
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Stamp {
            size: metadata.len(),
            mtime: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Says whether an edit from `moment` on would give another stamp: where the file is younger
    /// than the clock's grain, one within the same tick would not.
    fn is_settled(&self, moment: i128) -> bool {
        moment - self.mtime.max(self.ctime) > GRAIN
    }
}

/// The digest that a file had when `stat` said this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    stamp: Stamp,
    digest: Digest,
    /// Whether anybody may write to it: not to the store's own files.
    is_open: bool,
    /// Whether this process has looked at the file itself.
    is_news: bool,
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
        let bytes = packed::read(path, TITLE).unwrap_or_default();
        StatCache { records: unpack(&bytes).unwrap_or_default(), changed: false }
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
        let now = now();
        // An artifact that we have just written is the user's from now on: an edit within the tick
        // of our writing would not show, so it is hashed once more at its next use.
        let is_kept = |(path, record): &(&PathBuf, &Record)| {
            (!record.is_open || record.stamp.is_settled(now))
                && (record.is_news || fs::symlink_metadata(path).is_ok())
        };
        let mut records: Vec<(&PathBuf, &Record)> = self.records.iter().filter(is_kept).collect();
        records.sort_by_key(|(path, _)| *path);
        packed::write(folder, path, TITLE, &pack(&records))?;
        self.changed = false;
        Ok(())
    }

    /// Gives the digest of a file that is as it was when it was hashed; `stamp` is what it is now.
    ///
    /// Whoever asks has looked already, so that nobody waits for a look of another.
    pub fn lookup(&self, path: &Path, stamp: Stamp) -> Option<Digest> {
        let record = self.records.get(path).filter(|record| record.stamp == stamp);
        record.map(|record| record.digest)
    }

    /// Records the digest of a file that was hashed after the moment `before`.
    pub fn record(&mut self, path: &Path, digest: Digest, before: i128) {
        let Ok(stamp) = Stamp::of(path) else { return };
        if stamp.is_settled(before) {
            self.insert(path, Record { stamp, digest, is_open: true, is_news: true });
        }
    }

    /// Records the digest of a file of the store's own that we have just put into place: nobody
    /// else writes to it, so its age does not matter.
    pub fn record_own(&mut self, path: &Path, digest: Digest) {
        let Ok(stamp) = Stamp::of(path) else { return };
        self.insert(path, Record { stamp, digest, is_open: false, is_news: true });
    }

    /// Records the digest of an artifact that we have just written aside and renamed into place:
    /// nobody else had it open until then.
    pub fn record_placed(&mut self, path: &Path, digest: Digest) {
        let Ok(stamp) = Stamp::of(path) else { return };
        self.insert(path, Record { stamp, digest, is_open: true, is_news: true });
    }

    fn insert(&mut self, path: &Path, record: Record) {
        let before = self.records.insert(path.to_owned(), record);
        self.changed |= before.map(|before| Record { is_news: true, ..before }) != Some(record);
    }
}

fn pack(records: &[(&PathBuf, &Record)]) -> Vec<u8> {
    let mut packer = Packer::default();
    for (path, record) in records {
        packer.path(path);
        packer.stamp(&record.stamp);
        packer.digest(record.digest);
        packer.number(u64::from(record.is_open));
    }
    packer.0
}

fn unpack(bytes: &[u8]) -> Option<HashMap<PathBuf, Record>> {
    /// Bytes of a record beside those of its path.
    const RECORD: usize = 8 + 48 + 32 + 8;
    let mut unpacker = Unpacker(bytes);
    let mut records = HashMap::with_capacity(bytes.len() / (RECORD + 64));
    while !unpacker.is_empty() {
        let path = unpacker.path()?;
        let (stamp, digest) = (unpacker.stamp()?, unpacker.digest()?);
        let is_open = unpacker.number()? != 0;
        records.insert(path, Record { stamp, digest, is_open, is_news: false });
    }
    Some(records)
}
