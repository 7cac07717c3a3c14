//! What can go wrong with a store, in words for whoever must mend it.

use std::io;
use std::path::{Path, PathBuf};

use super::layout;

/// What went wrong with the store's files.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file-system call failed.
    #[error("cannot {act} `{path}`: {source}", path = path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file was changed while it was being read.
    #[error("`{path}` changed while it was converted: run it again", path = path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be converted.
    #[error(transparent)]
    Convert(#[from] crate::conversion::ConversionError),
    /// The store was written by another `runner` than this one can follow.
    #[error(
        "the store `{folder}` says of its version `{found}`; this `runner` knows 1 to {known}",
        folder = folder.display(), known = layout::VERSION
    )]
    Version {
        /// The store.
        folder: PathBuf,
        /// What it says.
        found: String,
    },
    /// What must be kept is not known.
    #[error("the roots `{path}` are damaged, so what must be kept is not known", path = path.display())]
    Roots {
        /// The damaged file.
        path: PathBuf,
    },
}

impl StoreError {
    /// Makes the error of a file-system call; for `map_err`.
    pub fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_owned();
        move |source| StoreError::Io { act, path, source }
    }

    /// Gives a way out, where there is one to tell.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            StoreError::Version { .. } => Some(
                "use the `runner` that wrote it, or move the folder away: its results are then \
                 computed anew",
            ),
            StoreError::Roots { .. } => {
                Some("run the pipeline of that name once more, or remove the file")
            }
            StoreError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    Some("make room, perhaps by `runner store gc`, and run it again")
                }
                io::ErrorKind::ReadOnlyFilesystem => Some("mount its file system for writing"),
                io::ErrorKind::PermissionDenied => {
                    Some("is it another user's? give yourself the right to read and write it")
                }
                _ => None,
            },
            StoreError::Changed { .. } | StoreError::Convert(_) => None,
        }
    }
}
