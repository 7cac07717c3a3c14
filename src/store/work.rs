//! The working folders of actions, and the links to what they read.
//!
//! A folder is emptied and handed on, not removed: a run of ten thousand commands would make and
//! remove seven files and folders for each, and a file system has more to do with that than the
//! commands have to do. A folder has another name for each attempt, so that a program that was left
//! behind writes into none that is in use.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, linkat};

use super::{Store, StoreError, files, lock};
use crate::fingerprint::Fingerprint;

/// The folders within an attempt's.
const FOLDERS: [&str; 2] = ["outputs", "inputs"];

/// The file for a command's intermediate metrics.
pub const METRICS: &str = "metrics.jsonl";

/// What the names of folders begin with that wait for another action, and of those of links.
const SPARE: &str = "spare-";
const LINKS: &str = "links-";

/// A folder that waits for another action.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    /// The attempt that its inner folder is named for.
    attempt: String,
}

impl Store {
    /// Makes the folder of an action's attempt with empty folders for its inputs and outputs;
    /// whatever an earlier attempt left is removed. The caller holds the action's lock.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be made.
    pub fn begin_work(&self, fingerprint: Fingerprint, attempt: &str) -> Result<(), StoreError> {
        let folder = self.work_path(fingerprint);
        files::remove_folder(&folder)?;
        let own = folder.join(attempt);
        let spare = self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop();
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
        for folder in [folder, own.clone()].into_iter().chain(FOLDERS.map(|name| own.join(name))) {
            files::create_folder(&folder)?;
        }
        Ok(())
    }

    /// Empties the folder of an attempt that has ended and keeps it for another; removes it where it
    /// is no longer as it was made.
    pub fn end_work(&self, fingerprint: Fingerprint, attempt: &str) {
        let folder = self.work_path(fingerprint);
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path("work").join(format!("{SPARE}{}-{}", self.session, spares.len()));
        let kept = empty(&folder.join(attempt)).and_then(|()| fs::rename(&folder, &path));
        match kept {
            Ok(()) => spares.push(Spare { path, attempt: attempt.to_owned() }),
            // What cannot be removed either is swept when nobody has worked there for long.
            Err(_) => drop(files::remove_folder(&folder)),
        }
    }

    /// Links a file of the store into an action's folder under another name.
    ///
    /// The links of a run to one file are one link with many names: a name costs no file.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn link(&self, file: &Path, link: &Path) -> io::Result<()> {
        let folder = self.path("work").join(format!("{LINKS}{}", self.session));
        let Some(name) = file.file_name() else { return std::os::unix::fs::symlink(file, link) };
        let shared = folder.join(name);
        let add_name = || linkat(CWD, &shared, CWD, link, AtFlags::empty());
        if add_name().is_ok() {
            return Ok(());
        }
        let made = match std::os::unix::fs::symlink(file, &shared) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&folder).and_then(|()| std::os::unix::fs::symlink(file, &shared))
            }
            other => other,
        };
        let is_there = made.is_ok() || shared.is_symlink();
        // A file system that gives links no second name, or no more, gets one of its own.
        if is_there && add_name().is_ok() {
            return Ok(());
        }
        std::os::unix::fs::symlink(file, link)
    }

    /// Removes what this process keeps for its actions.
    pub fn leave_work(&self) {
        let spares =
            std::mem::take(&mut *self.spares.lock().unwrap_or_else(PoisonError::into_inner));
        for spare in spares {
            let _ = files::remove_folder(&spare.path);
        }
        let _ = files::remove_folder(&self.path("work").join(format!("{LINKS}{}", self.session)));
    }

    /// Removes the working folders that killed runs left behind.
    pub(super) fn sweep_work(&self, abandoned: Duration) {
        for folder in files::list(&self.path("work")) {
            let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with(SPARE) || name.starts_with(LINKS) {
                if is_older(&folder, abandoned) {
                    let _ = files::remove_folder(&folder);
                }
                continue;
            }
            let Ok(digest) = name.parse() else { continue };
            // Whoever works there holds the action's lock.
            if let Ok(Some(_lock)) = lock::try_action(&self.lock_path(Fingerprint(digest))) {
                let _ = files::remove_folder(&folder);
            }
        }
    }
}

/// Empties the folder of an attempt, but for its folders and an empty file of metrics.
fn empty(attempt: &Path) -> io::Result<()> {
    let mode = |path: &Path| fs::symlink_metadata(path).map(|one| one.permissions().mode());
    let made = mode(attempt)?;
    for name in FOLDERS {
        let folder = attempt.join(name);
        // A program may have put anything in its place, or taken rights away.
        if mode(&folder)? != made {
            return Err(io::ErrorKind::InvalidData.into());
        }
        for entry in fs::read_dir(&folder)? {
            remove(&entry?)?;
        }
    }
    for entry in fs::read_dir(attempt)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_ours = FOLDERS.iter().any(|folder| name == *folder);
        let is_unused = || name == METRICS && entry.metadata().is_ok_and(|one| one.len() == 0);
        if !is_ours && !is_unused() {
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

fn is_older(path: &Path, age: Duration) -> bool {
    let written = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|elapsed| elapsed > age))
}
