//! What would survive a loss of power, and what is believed after one.
//!
//! A rename without a sync survives any kill, but a loss of power may leave a file empty or zeroed
//! under its new name. Sealed files (entries, roots, conversions) say so themselves whenever they
//! are read. A blob's digest is asked of the stat cache, so the stat cache is what must not be
//! believed too far: a copy of it lies in `durable/` that was made *before* a sync of the whole file
//! system, so all that it names is on the disk. `durable/mark` counts these syncs and names the boot
//! in which the stat cache was last written. In that boot the stat cache holds, for nothing was
//! lost; in any other, the copy does, and all that is newer is hashed at its first use.
//!
//! A sync costs more than most stages, so it is made for many at once: after a stage that took long
//! and at a run's end, and never where nothing was written. What has gathered in a long run begins to
//! be written down meanwhile, so that little is left to wait for.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::stat_cache::StatCache;
use super::{Store, StoreError, files, lock};

/// Files after which the system is asked to write down what has gathered.
const GATHERED: usize = 500;

/// What was written since the last sync.
#[derive(Debug, Default)]
pub(super) struct Unsynced {
    is_any: AtomicBool,
    /// Files that were written in all.
    files: AtomicUsize,
    /// Whether a thread has the system write down what has gathered.
    is_under_way: Arc<AtomicBool>,
    /// The store's folder, open since before the first write: the system tells each open file once
    /// of what it could not write since it was opened, and what was told to another is not told here.
    folder: OnceLock<File>,
    /// Whether the system could not write something: it does not say what, and says it once.
    has_failed: AtomicBool,
}

/// How far syncing has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// How often the store was synced.
    pub sequence: u64,
    /// The boot in which the stat cache was last written; empty where that is not known.
    pub boot: String,
}

impl Mark {
    /// Reads the mark of the store in `folder`; an absent or damaged one names no boot.
    pub(super) fn read(folder: &Path) -> Mark {
        files::read_sealed(&folder.join("durable/mark")).unwrap_or_default()
    }
}

/// Gives the id of this boot of the machine; empty where the system has none.
pub(super) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// Reads the stat cache as far as it is believed in `boot`.
pub(super) fn load_stats(folder: &Path, boot: &str) -> StatCache {
    if !boot.is_empty() && Mark::read(folder).boot == boot {
        return StatCache::load(&folder.join("stat-cache"), folder);
    }
    let mut stats = StatCache::load(&folder.join("durable/stat-cache"), folder);
    // What lies on another file system was not synced with the store.
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    let own = device(folder);
    stats.keep(|path| device(path) == own);
    stats
}

impl Store {
    /// Syncs all that was written to the store and moves the durability mark; does nothing where
    /// nothing was written since the last time.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where the system cannot sync; then the mark stays where it is.
    pub fn sync(&self) -> Result<(), StoreError> {
        if !self.unsynced.is_any.load(Ordering::Acquire) {
            return Ok(());
        }
        let _lock = lock::exclusive(&self.path("locks/sync"))?;
        // Whoever held the lock may have synced what we wrote, too.
        if !self.unsynced.is_any.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let synced = self.sync_now();
        if synced.is_err() {
            self.unsynced.is_any.store(true, Ordering::Release);
        }
        synced
    }

    /// Takes note of a file that was written and is to be synced.
    pub(super) fn wrote(&self) {
        self.unsynced.is_any.store(true, Ordering::Release);
        if self.unsynced.files.fetch_add(1, Ordering::Relaxed) % GATHERED == GATHERED - 1 {
            self.begin_sync();
        }
    }

    /// Gives the store's folder to sync by.
    pub(super) fn synced_folder(&self) -> std::io::Result<&File> {
        match self.unsynced.folder.get() {
            Some(folder) => Ok(folder),
            None => File::open(&self.folder).map(|own| self.unsynced.folder.get_or_init(|| own)),
        }
    }

    /// Has the system begin to write down what is in the store, while the caller goes on:
    /// [`Store::sync`] has less to wait for then. It makes nothing durable by itself, and a process
    /// cannot end while the system is at it.
    pub fn begin_sync(&self) {
        let is_any = self.unsynced.is_any.load(Ordering::Acquire);
        if !is_any || self.unsynced.is_under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let (folder, is_under_way) = (self.folder.clone(), Arc::clone(&self.unsynced.is_under_way));
        let work = move || {
            // The folder that `sync` has open is told what comes of it, too.
            let _ = File::open(&folder).and_then(|folder| sync_file_system(&folder));
            is_under_way.store(false, Ordering::Release);
        };
        let spawned = std::thread::Builder::new().name("sync".to_owned()).spawn(work);
        if spawned.is_err() {
            self.unsynced.is_under_way.store(false, Ordering::Release);
        }
    }

    fn sync_now(&self) -> Result<(), StoreError> {
        let stats = self.path("stat-cache");
        self.stats().save(&self.temporaries(), &stats)?;
        let copy = self.copy_aside(&stats)?;
        self.sync_files().map_err(StoreError::io("sync", &self.folder))?;
        if let Some(copy) = copy {
            let durable = self.path("durable/stat-cache");
            files::create_parent(&durable)?;
            // A rename onto another link of the same file leaves both; ours goes with `copy`.
            fs::rename(&copy, &durable).map_err(StoreError::io("write", &durable))?;
        }
        let sequence = Mark::read(&self.folder).sequence + 1;
        self.write_mark(&Mark { sequence, boot: self.boot.clone() })
    }

    /// Waits until all is written down; fails for ever once the system could not write something.
    fn sync_files(&self) -> std::io::Result<()> {
        let synced = self.synced_folder().and_then(sync_file_system);
        if synced.is_err() {
            self.unsynced.has_failed.store(true, Ordering::Release);
        }
        if synced.is_ok() && self.unsynced.has_failed.load(Ordering::Acquire) {
            return Err(std::io::Error::other("the system could not write all files"));
        }
        synced
    }

    /// Keeps a file as it is now, whatever another process puts in its place; `None` where there is
    /// none.
    fn copy_aside(&self, file: &Path) -> Result<Option<tempfile::TempPath>, StoreError> {
        let link = |copy: &Path| match fs::hard_link(file, copy) {
            Err(error)
                if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) =>
            {
                Err(error)
            }
            // Some file systems have no links.
            Err(_) => fs::copy(file, copy).map(|_| ()),
            linked => linked,
        };
        let copy =
            tempfile::Builder::new().prefix(files::TEMPORARY).make_in(self.temporaries(), link);
        match copy {
            Ok(copy) => Ok(Some(copy.into_temp_path())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("copy", file)(error)),
        }
    }

    /// Saves the stat cache where it changed; without a sync, so it holds in this boot only.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be written; it is a cache, so nothing is lost.
    pub fn save_stats(&self) -> Result<(), StoreError> {
        if !self.stats().is_changed() {
            return Ok(());
        }
        self.stats().save(&self.temporaries(), &self.path("stat-cache"))?;
        let read = || Mark::read(&self.folder);
        if read().boot == self.boot {
            return Ok(());
        }
        let _lock = lock::exclusive(&self.path("locks/sync"))?;
        self.write_mark(&Mark { boot: self.boot.clone(), ..read() })
    }

    fn write_mark(&self, mark: &Mark) -> Result<(), StoreError> {
        files::write_sealed_durably(&self.temporaries(), &self.path("durable/mark"), mark)
    }
}

#[cfg(target_os = "linux")]
fn sync_file_system(folder: &File) -> std::io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_file_system(folder: &File) -> std::io::Result<()> {
    // There is no telling when `sync` has ended, but it is the best there is.
    rustix::fs::sync();
    folder.sync_all()
}

#[cfg(test)]
mod tests;
