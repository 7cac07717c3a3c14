//! The content-addressed store under `.runner/`: blobs, entries, conversions, the stat cache.
//!
//! A blob is one file's bytes under their BLAKE3 digest; an entry is the record "this fingerprint
//! gave these outputs". Everything is written to a temporary file and renamed, blobs before the
//! entry that names them, so that whatever is killed at whatever moment, a later run sees a whole
//! entry or none. Knows nothing of pipelines or of running.
//!
//! ```text
//! .runner/blobs/ab/cdef…          bytes by digest, read-only
//! .runner/entries/ab/cdef…        entries by fingerprint, each with its own checksum
//! .runner/conversions/ab/cdef…    digest of a blob in another format, with a checksum
//! .runner/checkpoints/abcdef…/    what an unfinished action goes on from
//! .runner/tmp/                    files that are being written
//! .runner/links/abcdef…-NAME.csv   links to blobs, for programs that go by names and endings
//! .runner/listings/abcdef…        what a folder held that an action read
//! .runner/work/pool-…/            the working folders of a process
//! .runner/work/abcdef…/           the folder of a study whose outputs are written
//! .runner/logs/abcdef….log        the output of a command
//! .runner/locks/…                 the operating system's advisory locks
//! .runner/roots/PIPELINE          fingerprints of a pipeline's stages as they were last
//! .runner/past/PIPELINE/NUMBER    fingerprints that a run replaced there
//! .runner/placed/PIPELINE         digests of a pipeline's artifacts as they were last written
//! .runner/stat-cache              path -> size, mtime, inode, ctime -> digest
//! .runner/seen/PIPELINE           what the last run saw of each stage: a cache
//! .runner/pipelines/abcdef…       a large pipeline as it was checked, by its path: a cache
//! .runner/durable/                the durability mark, and the stat cache as it was then
//! .runner/damaged/                what a verification set aside
//! .runner/version                 the version of this layout
//! .runner/history.sqlite          the history of runs
//! ```

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fingerprint::{self, Digest, DirtyReason, Fingerprint, Manifest};
use crate::stage::Failure;
use crate::study::Curve;

pub mod artifacts;
pub mod collect;
pub mod convert;
mod drop;
pub mod durability;
pub mod error;
pub mod files;
mod layout;
mod links;
mod listings;
pub mod lock;
pub mod packed;
mod roots;
pub mod seen;
pub mod stat_cache;
pub mod usage;
pub mod verify;
pub mod work;

pub use error::StoreError;
use stat_cache::{Stamp, StatCache};

/// How long nobody has written to a temporary file that was left behind.
const ABANDONED: Duration = Duration::from_secs(60 * 60);

/// A store on disk.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    stats: Mutex<StatCache>,
    /// What is known to be recorded of artifacts, by pipeline.
    placed: Mutex<BTreeMap<String, artifacts::Places>>,
    /// The files of the entries that this process has read or written, as they were then.
    stamps: Mutex<HashMap<Fingerprint, Stamp>>,
    /// The device of the folder of temporary files, once it was asked for.
    device: OnceLock<Option<u64>>,
    /// The working folders of this process.
    pool: work::Pool,
    /// What this run has replaced of a pipeline's roots, and the number of its file.
    past: Mutex<BTreeMap<String, (u64, roots::Roots)>>,
    /// The version of the layout that was found.
    version: u32,
    /// The boot of the machine; empty where that is not known.
    boot: String,
    /// What was written since the last sync.
    unsynced: durability::Unsynced,
}

/// The record "this fingerprint gave these outputs".
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What was done.
    pub manifest: Manifest,
    /// What it gave, by output.
    pub outputs: BTreeMap<String, Blob>,
    /// Scalar results by name.
    pub metrics: BTreeMap<String, f64>,
    /// The intermediate metrics that it reported.
    pub curve: Curve,
    /// Why it gives nothing and never will; then `outputs` is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Of a tune, how many trials failed in a way that another try might not: then its outputs are
    /// there, but it is not fresh.
    #[serde(default, skip_serializing_if = "fingerprint::is_zero")]
    pub accidents: u64,
    /// Whether it ran as a trial: then its outputs are its study's to drop.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub of_trial: bool,
}

/// One output of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    /// The digest of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Whether the bytes were given up: the entry is a hit unless they are needed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dropped: bool,
}

impl Entry {
    /// Says whether any of its outputs still has bytes to give up.
    pub fn has_bytes(&self) -> bool {
        self.outputs.values().any(|blob| !blob.dropped)
    }
}

impl Store {
    /// Opens the store in `folder` (`.runner`) without creating anything.
    ///
    /// # Errors
    ///
    /// [`StoreError::Version`] where another `runner` wrote it that this one cannot follow,
    /// [`StoreError::Io`] where its version cannot be read.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        Store::open_in(folder, durability::boot_id())
    }

    /// Opens the store in a given boot of the machine.
    fn open_in(folder: &Path, boot: String) -> Result<Store, StoreError> {
        let version = layout::find(folder)?;
        Ok(Store {
            folder: folder.to_owned(),
            stats: Mutex::new(durability::load_stats(folder, &boot)),
            placed: Mutex::default(),
            stamps: Mutex::default(),
            device: OnceLock::new(),
            pool: work::Pool::new(folder),
            past: Mutex::default(),
            version,
            boot,
            unsynced: durability::Unsynced::default(),
        })
    }

    /// Creates the store's folder where it is absent, and tells version control to leave it alone;
    /// brings a store of an older version up to this one's.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be written.
    pub fn create(&self) -> Result<(), StoreError> {
        if self.version != layout::VERSION {
            let ignore = self.path(".gitignore");
            if !ignore.exists() {
                files::write_through(&self.temporaries(), &ignore, b"*\n")?;
            }
            layout::write(&self.folder)?;
        }
        // Where it cannot be opened, `sync` says so.
        let _ = self.synced_folder();
        Ok(())
    }

    /// Says whether the store in `folder` is one that this program may write to.
    pub fn is_known(folder: &Path) -> bool {
        layout::find(folder).is_ok()
    }

    /// Holds off [`Store::collect`] until the lock is dropped; `None` where the store is not ours to
    /// write to, as a store that nobody may change needs no such lock.
    pub fn lease(&self) -> Option<lock::Lock> {
        lock::shared(&self.path("locks/run")).ok()
    }

    /// Removes the temporary files and working folders that killed runs left behind.
    pub fn sweep(&self) {
        files::remove_older(&self.temporaries(), ABANDONED);
        self.sweep_work();
    }

    /// Gives the path of a file or folder of the store.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Gives the path at which the bytes of `digest` lie, or would lie.
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.sharded("blobs", digest)
    }

    /// Gives the folder in which the action of `fingerprint` keeps what it goes on from.
    pub fn checkpoint_path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.folder.join("checkpoints").join(fingerprint.to_string())
    }

    /// Gives the folder in which the outputs of the study of `fingerprint` are written.
    pub fn work_path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.folder.join("work").join(fingerprint.to_string())
    }

    /// Gives the file on which whoever runs the action of `fingerprint` holds a lock.
    pub fn lock_path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.folder.join("locks").join(fingerprint.to_string())
    }

    /// Gives the file of the log of the command of `fingerprint`.
    pub fn log_path(&self, fingerprint: Fingerprint) -> PathBuf {
        self.folder.join("logs").join(format!("{fingerprint}.log"))
    }

    /// Reads the entry of `fingerprint`; a damaged one is a miss, as an absent one is.
    pub fn entry(&self, fingerprint: Fingerprint) -> Option<Entry> {
        let (entry, metadata) = files::read_sealed_file(&self.sharded("entries", fingerprint.0))?;
        self.stamps().insert(fingerprint, Stamp::new(&metadata));
        Some(entry)
    }

    /// Reads the entry of a trial: its stamp is not kept, since there are thousands of trials, and what
    /// is remembered of entries is for the stages.
    pub fn trial_entry(&self, fingerprint: Fingerprint) -> Option<Entry> {
        files::read_sealed(&self.sharded("entries", fingerprint.0))
    }

    /// Says whether there is a file of the entry of `fingerprint`, be it whole or not.
    pub fn has_entry(&self, fingerprint: Fingerprint) -> bool {
        self.sharded("entries", fingerprint.0).exists()
    }

    /// Writes an entry; its blobs lie in the store already.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be written.
    pub fn put_entry(&self, entry: &Entry) -> Result<(), StoreError> {
        let fingerprint = entry.manifest.fingerprint();
        let path = self.sharded("entries", fingerprint.0);
        self.write_sealed(&path, entry)?;
        // Whoever puts an entry holds the lock of its action or of publishing.
        // Of a trial's nothing is seen: there are thousands, and no stage of the run has left it.
        match Stamp::of(&path) {
            Ok(stamp) if !entry.of_trial => self.stamps().insert(fingerprint, stamp),
            _ => self.stamps().remove(&fingerprint),
        };
        Ok(())
    }

    /// Moves a file into the store under its digest.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be read or moved.
    pub fn put_blob(&self, file: &Path) -> Result<Blob, StoreError> {
        let (digest, size) = files::digest(file).map_err(StoreError::io("read", file))?;
        let path = self.blob_path(digest);
        if !self.has_blob(digest) {
            files::make_read_only(file)?;
            files::rename_in(file, &path).map_err(StoreError::io("move into the store", file))?;
            self.stats().record_placed(&path, digest);
            self.wrote();
        }
        Ok(Blob { digest, size, dropped: false })
    }

    /// Names a file as if it were moved into the store, and leaves its bytes out.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be read.
    pub fn name_blob(&self, file: &Path) -> Result<Blob, StoreError> {
        let (digest, size) = files::digest(file).map_err(StoreError::io("read", file))?;
        Ok(Blob { digest, size, dropped: true })
    }

    /// Says whether the store has these bytes undamaged.
    pub fn has_blob(&self, digest: Digest) -> bool {
        self.digest(&self.blob_path(digest)).is_ok_and(|found| found == digest)
    }

    /// Gives the digest of a file's content, at the cost of one `stat` where it is known already.
    ///
    /// # Errors
    ///
    /// The operating system's, where the file cannot be read.
    pub fn digest(&self, path: &Path) -> io::Result<Digest> {
        let stamp = Stamp::of(path)?;
        if let Some(digest) = self.stats().lookup(path, stamp) {
            return Ok(digest);
        }
        // Hashed outside the lock: a large file must not hold up the others.
        let before = stat_cache::now();
        let (digest, _) = files::digest(path)?;
        self.stats().record(path, digest, before);
        Ok(digest)
    }

    /// Says what keeps an entry's outputs from being used: each that is missing, damaged or dropped.
    pub fn troubles(&self, entry: &Entry) -> Vec<DirtyReason> {
        let trouble = |(output, blob): (&String, &Blob)| {
            let path = self.blob_path(blob.digest);
            let output = output.clone();
            match self.digest(&path) {
                Ok(digest) if digest == blob.digest => None,
                Ok(_) => {
                    Some(DirtyReason::OutputDamaged { output, path: path.display().to_string() })
                }
                Err(_) if blob.dropped => Some(DirtyReason::OutputDropped { output }),
                Err(_) => Some(DirtyReason::OutputMissing { output }),
            }
        };
        entry.outputs.iter().filter_map(trouble).collect()
    }

    /// Reads every entry, one after another.
    fn entries(&self) -> impl Iterator<Item = Entry> {
        files::list(&self.path("entries"))
            .into_iter()
            .flat_map(|shard| files::list(&shard))
            .filter_map(|path| files::read_sealed(&path))
    }

    fn stats(&self) -> MutexGuard<'_, StatCache> {
        // A panic under this lock leaves a cache that is at worst incomplete.
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stamps(&self) -> MutexGuard<'_, HashMap<Fingerprint, Stamp>> {
        // A panic under this lock leaves whole stamps, at worst too few.
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn placed(&self) -> MutexGuard<'_, BTreeMap<String, artifacts::Places>> {
        // A panic under this lock leaves records as they were read or written.
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn own_past(&self) -> MutexGuard<'_, BTreeMap<String, (u64, roots::Roots)>> {
        // A panic under this lock leaves roots too many at worst.
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the folder of files that are being written: one, so that a sweep costs nothing.
    fn temporaries(&self) -> PathBuf {
        self.path("tmp")
    }

    fn write_sealed(&self, path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
        files::write_sealed_through(&self.temporaries(), path, value)?;
        self.wrote();
        Ok(())
    }

    fn sharded(&self, kind: &str, digest: Digest) -> PathBuf {
        sharded(&self.folder.join(kind), digest)
    }
}

/// Gives the path of what a digest names, in a folder by its first letters.
fn sharded(folder: &Path, digest: Digest) -> PathBuf {
    let name = digest.to_string();
    folder.join(&name[..2]).join(&name[2..])
}

#[cfg(test)]
mod tests;
