//! The operating system's advisory locks: they die with their holder, so none is ever stale.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{StoreError, files};

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// The file to remove when the lock is let go, for locks of which there are many.
    remove: Option<PathBuf>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still held: whoever waits on this very file finds it gone and opens anew.
        if let Some(path) = &self.remove {
            let _ = fs::remove_file(path);
        }
        let _ = self.file.unlock();
    }
}

/// Takes the lock of one action; `None` while another process or task holds it.
///
/// # Errors
///
/// [`StoreError::Io`] where the lock's file cannot be opened.
pub fn try_action(path: &Path) -> Result<Option<Lock>, StoreError> {
    loop {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) if is_still(path, &file) => {
                return Ok(Some(Lock { file, remove: Some(path.to_owned()) }));
            }
            // The holder removed the file between our opening and our locking.
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path)(error)),
        }
    }
}

/// Waits for a lock that keeps all others out.
///
/// # Errors
///
/// [`StoreError::Io`] where the lock's file cannot be opened.
pub fn exclusive(path: &Path) -> Result<Lock, StoreError> {
    let file = open(path)?;
    file.lock().map_err(StoreError::io("lock", path))?;
    Ok(Lock { file, remove: None })
}

/// Takes a lock that keeps all others out; `None` while anybody holds it.
///
/// # Errors
///
/// [`StoreError::Io`] where the lock's file cannot be opened.
pub fn try_exclusive(path: &Path) -> Result<Option<Lock>, StoreError> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file, remove: None })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", path)(error)),
    }
}

/// Waits for a lock that keeps only exclusive ones out.
///
/// # Errors
///
/// [`StoreError::Io`] where the lock's file cannot be opened.
pub fn shared(path: &Path) -> Result<Lock, StoreError> {
    // Whoever may not write to the store may still hold others off.
    let file = open(path).or_else(|error| File::open(path).map_err(|_| error))?;
    file.lock_shared().map_err(StoreError::io("lock", path))?;
    Ok(Lock { file, remove: None })
}

fn open(path: &Path) -> Result<File, StoreError> {
    files::create_parent(path)?;
    File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(StoreError::io("open the lock", path))
}

fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(there), Ok(ours)) = (fs::metadata(path), file.metadata()) else { return false };
    (there.dev(), there.ino()) == (ours.dev(), ours.ino())
}
