//! Files of the store: hashed, sealed with a checksum, written aside and renamed.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use crate::fingerprint::Digest;

/// What the name of a temporary file begins with.
pub const TEMPORARY: &str = ".tmp-";

/// Bytes that are read at once.
const BUFFER: usize = 256 * 1024;

/// Hashes a file; gives its digest and its size in bytes.
///
/// # Errors
///
/// The operating system's, where the file cannot be read.
pub fn digest(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    // Most files are small, and to clear a large buffer takes longer than to hash one.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(BUFFER);
    let mut buffer = vec![0; length.saturating_add(1).min(BUFFER)];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((Digest(*hasher.finalize().as_bytes()), size));
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

/// Reads a value that [`write_sealed`] wrote; `None` where it is absent, damaged or of another shape.
pub fn read_sealed<T: DeserializeOwned>(path: &Path) -> Option<T> {
    Some(read_sealed_file(path)?.0)
}

/// Does what [`read_sealed`] does, and tells what `stat` said of the very file that was read.
pub fn read_sealed_file<T: DeserializeOwned>(path: &Path) -> Option<(T, fs::Metadata)> {
    let mut file = File::open(path).ok()?;
    let metadata = file.metadata().ok()?;
    let mut text = Vec::with_capacity(usize::try_from(metadata.len()).ok()? + 1);
    file.read_to_end(&mut text).ok()?;
    Some((unseal(&text)?, metadata))
}

/// Gives the value in the bytes that [`write_sealed`] wrote; `None` where they are damaged.
pub fn unseal<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    let split = text.iter().position(|byte| *byte == b'\n')?;
    let (seal, body) = (&text[..split], &text[split + 1..]);
    if seal != Digest::of(body).to_string().as_bytes() {
        return None;
    }
    serde_json::from_slice(body).ok()
}

/// Writes a value as JSON under a line with the digest of that JSON, aside in the same folder first.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be written.
pub fn write_sealed(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    write_sealed_through(parent(path), path, value)
}

/// Does what [`write_sealed`] does, aside in `folder` first.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be written.
pub fn write_sealed_through(
    folder: &Path,
    path: &Path,
    value: &impl Serialize,
) -> Result<(), StoreError> {
    write_through(folder, path, &seal(value))
}

/// Gives a value as JSON under a line with the digest of that JSON.
fn seal(value: &impl Serialize) -> Vec<u8> {
    // Entries, roots and caches are plain data with string keys, which JSON can always hold.
    let body = serde_json::to_vec(value).expect("a record serializes to JSON");
    let mut bytes = Digest::of(&body).to_string().into_bytes();
    bytes.push(b'\n');
    bytes.extend(body);
    bytes
}

/// Writes a file aside in `folder`, which is on the same file system, and renames it into place.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be written.
pub fn write_through(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = temporary_in(folder)?;
    file.write_all(bytes).map_err(StoreError::io("write", path))?;
    persist(file, path)
}

/// Does what [`write_sealed_through`] does, and comes back when it would survive a loss of power.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be written or synced.
pub fn write_sealed_durably(
    folder: &Path,
    path: &Path,
    value: &impl Serialize,
) -> Result<(), StoreError> {
    write_durably(folder, path, &seal(value))
}

/// Writes a file aside in `folder`, syncs it, renames it into place, and syncs where it lies: in
/// that order, since a name must not come to the disk before the bytes that it names.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be written or synced.
pub fn write_durably(folder: &Path, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    create_parent(path)?;
    let mut file = temporary_in(folder)?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(StoreError::io("write", path))?;
    persist(file, path)?;
    let parent = parent(path);
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(StoreError::io("sync the folder", parent))
}

/// Makes a temporary file in a folder, and the folder where it is absent.
///
/// # Errors
///
/// [`StoreError::Io`] where the folder cannot be written.
pub fn temporary_in(folder: &Path) -> Result<tempfile::NamedTempFile, StoreError> {
    let create = || {
        tempfile::Builder::new()
            .prefix(TEMPORARY)
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)
    };
    let file = match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_folder(folder)?;
            create()
        }
        other => other,
    };
    file.map_err(StoreError::io("create a file in", folder))
}

/// Renames a temporary file into place.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be renamed.
pub fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<(), StoreError> {
    let failed = match file.persist(path) {
        Ok(_) => return Ok(()),
        Err(failed) => failed,
    };
    // Mostly the folder is there: it is made where that turns out to be wrong.
    if failed.error.kind() == io::ErrorKind::NotFound {
        create_parent(path)?;
        let persisted = failed.file.persist(path);
        return persisted.map(|_| ()).map_err(|failed| StoreError::io("write", path)(failed.error));
    }
    Err(StoreError::io("write", path)(failed.error))
}

/// Renames a file, and makes the folder in which it will lie where it is absent.
///
/// # Errors
///
/// The operating system's.
pub fn rename_in(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(parent(to)).and_then(|()| fs::rename(from, to))
        }
        other => other,
    }
}

/// Creates the folder in which a file will lie.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be created.
pub fn create_parent(path: &Path) -> Result<(), StoreError> {
    create_folder(parent(path))
}

/// Creates a folder, with those that it lies in, where it is absent; one call where it is there.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be created.
pub fn create_folder(folder: &Path) -> Result<(), StoreError> {
    let created = match fs::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir_all(folder),
        // What is no folder there is told by whoever puts a file in it.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    };
    created.map_err(StoreError::io("create the folder", folder))
}

/// Gives the folder in which a file lies.
pub fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// Removes the files of a folder that nobody has written to for that long.
pub fn remove_older(folder: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        // A file from the future, by a clock that was set back, is young.
        let elapsed = written.ok().and_then(|written| written.elapsed().ok());
        if elapsed.is_some_and(|elapsed| elapsed > age) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Makes an empty folder, whatever lay there.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be emptied or created.
pub fn fresh_folder(path: &Path) -> Result<(), StoreError> {
    remove_folder(path)?;
    fs::create_dir_all(path).map_err(StoreError::io("create the folder", path))
}

/// Removes a folder and all in it; one that is absent is no error.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be removed.
pub fn remove_folder(path: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove the folder", path)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file; one that is absent is no error.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be removed.
pub fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a file read-only, so that nobody writes into the store by mistake.
///
/// # Errors
///
/// [`StoreError::Io`] where its mode cannot be set.
pub fn make_read_only(path: &Path) -> Result<(), StoreError> {
    fs::set_permissions(path, Permissions::from_mode(0o444))
        .map_err(StoreError::io("set the mode of", path))
}

/// Lists a folder by name; an absent one is empty. Temporary files are left out.
pub fn list(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        })
        .collect();
    paths.sort();
    paths
}

/// Lists a folder, temporary files too; an absent one is empty.
pub fn list_all(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.flatten().map(|entry| entry.path()).collect()
}

/// Gives the bytes of a file, or of all files in a folder, without following links.
pub fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries.flatten().map(|entry| size(&entry.path())).sum()
}

/// Says whether the file system of a file has no room left for a page.
pub fn is_full(path: &Path) -> bool {
    const PAGE: u64 = 4096;
    rustix::fs::statvfs(path).is_ok_and(|all| all.f_bavail.saturating_mul(all.f_frsize) < PAGE)
}
