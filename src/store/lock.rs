//! The operating system's advisory locks: they die with their holder, so none is ever stale.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::{StoreError, files};

#[cfg(target_os = "linux")]
mod range;

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    file: File,
    kind: Kind,
}

/// What of its file a lock holds.
#[derive(Debug)]
enum Kind {
    /// All of it.
    Whole,
    /// One byte, for locks of which there are many.
    #[cfg(target_os = "linux")]
    Byte(i64),
    /// All of it, which is removed when it is let go.
    #[cfg(not(target_os = "linux"))]
    Removed(std::path::PathBuf),
}

impl Drop for Lock {
    fn drop(&mut self) {
        match &self.kind {
            Kind::Whole => drop(self.file.unlock()),
            #[cfg(target_os = "linux")]
            Kind::Byte(byte) => range::unlock(&self.file, *byte),
            #[cfg(not(target_os = "linux"))]
            Kind::Removed(path) => {
                // Removed while still held: whoever waits on this very file finds it gone and opens
                // anew.
                let _ = std::fs::remove_file(path);
                drop(self.file.unlock());
            }
        }
    }
}

/// Takes the lock of one action; `None` while another process or task holds it.
///
/// `path` names the action; on Linux its lock is a byte of a file beside.
///
/// # Errors
///
/// [`StoreError::Io`] where the lock's file cannot be opened.
#[cfg(target_os = "linux")]
pub fn try_action(path: &Path) -> Result<Option<Lock>, StoreError> {
    let shared = path.with_file_name("actions");
    let file = open(&shared)?;
    let byte = range::of_name(path.file_name().unwrap_or_default());
    let is_ours = range::try_lock(&file, byte).map_err(StoreError::io("lock", &shared))?;
    Ok(is_ours.then_some(Lock { file, kind: Kind::Byte(byte) }))
}

/// Takes the lock of one action; `None` while another process or task holds it.
///
/// # Errors
///
/// [`StoreError::Io`] where the lock's file cannot be opened.
#[cfg(not(target_os = "linux"))]
pub fn try_action(path: &Path) -> Result<Option<Lock>, StoreError> {
    loop {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) if is_still(path, &file) => {
                return Ok(Some(Lock { file, kind: Kind::Removed(path.to_owned()) }));
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
    Ok(Lock { file, kind: Kind::Whole })
}

/// Takes a lock that keeps all others out; `None` while anybody holds it.
///
/// # Errors
///
/// [`StoreError::Io`] where the lock's file cannot be opened.
pub fn try_exclusive(path: &Path) -> Result<Option<Lock>, StoreError> {
    let file = open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock { file, kind: Kind::Whole })),
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
    Ok(Lock { file, kind: Kind::Whole })
}

fn open(path: &Path) -> Result<File, StoreError> {
    let open = || File::options().create(true).truncate(false).write(true).open(path);
    let file = match open() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            files::create_parent(path)?;
            open()
        }
        other => other,
    };
    file.map_err(StoreError::io("open the lock", path))
}

#[cfg(not(target_os = "linux"))]
fn is_still(path: &Path, file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;

    let (Ok(there), Ok(ours)) = (std::fs::metadata(path), file.metadata()) else { return false };
    (there.dev(), there.ino()) == (ours.dev(), ours.ino())
}
