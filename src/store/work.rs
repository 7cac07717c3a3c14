//! The working folders of actions, and the links to what they read.
//!
//! A folder is emptied and handed on, not removed: a run of ten thousand commands would make and
//! remove seven files and folders for each, and a file system has more to do with that than the
//! commands have to do. A folder has another name for each attempt, so that a program that was left
//! behind writes into none that is in use.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::{MutexGuard, PoisonError};

use super::{Store, StoreError, files, lock, stat_cache};
use crate::fingerprint::Fingerprint;

/// The folder for what a program writes.
pub const OUTPUTS: &str = "outputs";

/// The folder of links in a pool.
const LINKS: &str = "links";

/// The file for a command's intermediate metrics.
pub const METRICS: &str = "metrics.jsonl";

/// What the name of a pool begins with.
const POOL: &str = "pool-";

/// What one process keeps for its next actions, in a folder of its own: folders that wait for another
/// action, and links to what actions read.
#[derive(Debug)]
pub(super) struct Pool {
    folder: PathBuf,
    spares: Vec<Spare>,
    /// Says to a sweep that the process lives.
    _lock: lock::Lock,
}

/// A folder that waits for another action.
#[derive(Debug)]
struct Spare {
    path: PathBuf,
    /// The attempt that its inner folder is named for.
    attempt: String,
}

impl Store {
    /// Makes the folder of an action's attempt with an empty one for its outputs; whatever an earlier attempt left is removed. The caller holds the action's lock.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be made.
    pub fn begin_work(&self, fingerprint: Fingerprint, attempt: &str) -> Result<(), StoreError> {
        let folder = self.work_path(fingerprint);
        files::remove_folder(&folder)?;
        let own = folder.join(attempt);
        let spare = self.pool().as_mut().and_then(|pool| pool.spares.pop());
        if let Some(spare) = spare {
            let renamed = fs::rename(&spare.path, &folder)
                .and_then(|()| fs::rename(folder.join(&spare.attempt), &own));
            if renamed.is_ok() {
                return Ok(());
            }
            files::remove_folder(&spare.path)?;
            files::remove_folder(&folder)?;
        }
        files::create_folder(&self.path("work"))?;
        for folder in [&folder, &own, &own.join(OUTPUTS)] {
            files::create_folder(folder)?;
        }
        Ok(())
    }

    /// Empties the folder of an attempt that has ended and keeps it for another; removes it where it
    /// is no longer as it was made.
    pub fn end_work(&self, fingerprint: Fingerprint, attempt: &str) {
        let folder = self.work_path(fingerprint);
        let kept = empty(&folder.join(attempt)).map_err(StoreError::io("empty", &folder));
        let kept = kept.and_then(|()| {
            let mut pool = self.pool();
            let pool = self.filled(&mut pool)?;
            let path = pool.folder.join(pool.spares.len().to_string());
            fs::rename(&folder, &path).map_err(StoreError::io("keep", &folder))?;
            pool.spares.push(Spare { path, attempt: attempt.to_owned() });
            Ok(())
        });
        if kept.is_err() {
            // What cannot be removed either is swept by a later run.
            let _ = files::remove_folder(&folder);
        }
    }

    /// Gives a path of a blob whose name begins with `name` and ends in `extension`, for a program
    /// that goes by names; it leads to the blob until [`Store::leave_work`].
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where the link cannot be made.
    pub fn link(&self, blob: &Path, name: &str, extension: &str) -> Result<PathBuf, StoreError> {
        let digest = blob.file_name().unwrap_or_default().to_string_lossy();
        let folder = self.filled(&mut self.pool())?.folder.join(LINKS);
        let link = folder.join(format!("{name}-{digest}.{extension}"));
        match symlink(blob, &link) {
            // Another action reads the same.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(link),
            made => made.map(|()| link.clone()).map_err(StoreError::io("link", &link)),
        }
    }

    /// Removes what this process keeps for its actions.
    pub fn leave_work(&self) {
        if let Some(pool) = self.pool().take() {
            let _ = files::remove_folder(&pool.folder);
        }
    }

    fn pool(&self) -> MutexGuard<'_, Option<Pool>> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives this process's pool; makes it where there is none yet.
    fn filled<'p>(&self, pool: &'p mut Option<Pool>) -> Result<&'p mut Pool, StoreError> {
        if pool.is_none() {
            let name = format!("{POOL}{}-{:x}", std::process::id(), stat_cache::now());
            let folder = self.path("work").join(&name);
            let lock = lock::try_action(&self.path("locks").join(name))?;
            let busy = || StoreError::io("lock", &folder)(io::ErrorKind::WouldBlock.into());
            let lock = lock.ok_or_else(busy)?;
            files::create_folder(&folder.join(LINKS))?;
            *pool = Some(Pool { folder, spares: Vec::new(), _lock: lock });
        }
        Ok(pool.as_mut().expect("it was made above"))
    }

    /// Removes the working folders that killed runs left behind.
    pub(super) fn sweep_work(&self) {
        for folder in files::list(&self.path("work")) {
            let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
            let lock = match name.parse() {
                Ok(digest) => self.lock_path(Fingerprint(digest)),
                Err(_) if name.starts_with(POOL) => self.path("locks").join(name),
                Err(_) => continue,
            };
            // Whoever works there holds the lock.
            if let Ok(Some(_lock)) = lock::try_action(&lock) {
                let _ = files::remove_folder(&folder);
            }
        }
    }
}

/// Empties the folder of an attempt, but for its own folder and an empty file of metrics.
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
        let name = entry.file_name();
        let is_unused = || name == METRICS && entry.metadata().is_ok_and(|one| one.len() == 0);
        if name != OUTPUTS && !is_unused() {
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
