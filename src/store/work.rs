//! The working folders of actions.
//!
//! A folder is emptied and handed on, not removed: a run of ten thousand commands would make and
//! remove seven files and folders for each, and a file system has more to do with that than the
//! commands have to do. A folder has another name for each attempt, and is not handed on while a program
//! that was left behind may be at work in it.
//!
//! All of a process lies in its pool, whose lock says to others that the process lives.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Store, StoreError, files, lock, stat_cache};
use crate::fingerprint::Digest;

/// The folder for what a program writes.
pub const OUTPUTS: &str = "outputs";

/// The file for a command's intermediate metrics.
pub const METRICS: &str = "metrics.jsonl";

/// What the name of a pool begins with.
const POOL: &str = "pool-";

/// The folder of one process.
#[derive(Debug)]
pub(super) struct Pool {
    folder: PathBuf,
    made: Mutex<Option<Made>>,
}

/// A pool that is on the disk.
#[derive(Debug)]
struct Made {
    /// Empty folders that wait for another attempt.
    spares: Vec<PathBuf>,
    _lock: lock::Lock,
}

impl Pool {
    /// Names a pool of the store in `folder`, and makes nothing yet.
    pub(super) fn new(folder: &Path) -> Pool {
        let name = format!("{POOL}{}-{:x}", std::process::id(), stat_cache::now());
        Pool { folder: folder.join("work").join(name), made: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Gives the folder of an attempt at an action.
    pub fn attempt_path(&self, attempt: &str) -> PathBuf {
        self.pool.folder.join(attempt)
    }

    /// Makes the folder of an attempt, with an empty one for its outputs.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be made.
    pub fn begin_work(&self, attempt: &str) -> Result<(), StoreError> {
        let folder = self.attempt_path(attempt);
        let spare = self.make_pool()?.as_mut().and_then(|made| made.spares.pop());
        if let Some(spare) = spare {
            if fs::rename(&spare, &folder).is_ok() {
                return Ok(());
            }
            files::remove_folder(&spare)?;
        }
        files::create_folder(&folder)?;
        files::create_folder(&folder.join(OUTPUTS))
    }

    /// Empties the folder of an attempt that has ended and keeps it for another; removes it where it
    /// is no longer as it was made, or where it is not `left` by all who may have been at work in it:
    /// they keep the folder whatever its name is.
    pub fn end_work(&self, attempt: &str, left: bool) {
        let folder = self.attempt_path(attempt);
        if left
            && empty(&folder).is_ok()
            && let Some(made) = self.pool.lock().as_mut()
        {
            return made.spares.push(folder);
        }
        // What cannot be removed either is swept by a later run.
        let _ = files::remove_folder(&folder);
    }

    /// Removes what this process has for its actions.
    pub fn leave_work(&self) {
        if self.pool.lock().take().is_some() {
            let _ = files::remove_folder(&self.pool.folder);
        }
    }

    /// Makes the pool where it is not there yet, and removes those of killed runs.
    fn make_pool(&self) -> Result<MutexGuard<'_, Option<Made>>, StoreError> {
        let mut made = self.pool.lock();
        if made.is_none() {
            self.sweep_work();
            let folder = &self.pool.folder;
            let lock = lock::try_action(&self.work_lock(folder))?;
            let busy = || StoreError::io("lock", folder)(io::ErrorKind::WouldBlock.into());
            let lock = lock.ok_or_else(busy)?;
            files::create_folder(folder)?;
            *made = Some(Made { spares: Vec::new(), _lock: lock });
        }
        Ok(made)
    }

    /// Gives the lock that whoever works in a folder of `work/` holds.
    fn work_lock(&self, folder: &Path) -> PathBuf {
        self.path("locks").join(folder.file_name().unwrap_or_default())
    }

    /// Removes the working folders that killed runs left behind.
    pub(super) fn sweep_work(&self) {
        for folder in files::list(&self.path("work")) {
            let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let is_ours = name.starts_with(POOL) || name.parse::<Digest>().is_ok();
            if is_ours && let Ok(Some(_lock)) = lock::try_action(&self.work_lock(&folder)) {
                let _ = files::remove_folder(&folder);
            }
        }
    }
}

/// Empties the folder of an attempt, but for the folder of its outputs.
fn empty(attempt: &Path) -> io::Result<()> {
    let mode = |path: &Path| fs::symlink_metadata(path).map(|one| one.permissions().mode());
    let outputs = attempt.join(OUTPUTS);
    // A program may have put anything in its place, or taken rights away.
    if mode(&outputs)? != mode(attempt)? {
        return Err(io::ErrorKind::InvalidData.into());
    }
    for entry in fs::read_dir(&outputs)? {
        remove(&entry?)?;
    }
    for entry in fs::read_dir(attempt)? {
        let entry = entry?;
        if entry.file_name() != OUTPUTS {
            remove(&entry)?;
        }
    }
    Ok(())
}

fn remove(entry: &fs::DirEntry) -> io::Result<()> {
    match entry.file_type()?.is_dir() {
        true => fs::remove_dir_all(entry.path()),
        false => fs::remove_file(entry.path()),
    }
}
