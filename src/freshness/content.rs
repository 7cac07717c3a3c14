//! The content of an input that is no output of a stage: one digest for a file, a folder, the files
//! that a pattern fits, or a table of combinations.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::fingerprint::{Digest, FileChange};
use crate::pipeline::listing::{self, ListingError};
use crate::pipeline::{Source, Table};
use crate::store::Store;

/// An input cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct Unreadable {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it cannot be read.
    pub source: io::Error,
}

/// Gives the digest of what an input holds now. A file that is as it was when it was hashed costs
/// one `stat`, within a folder too.
///
/// # Errors
///
/// [`Unreadable`] where a file cannot be read, or a pattern fits none.
pub fn digest(source: &Source, root: &Path, store: &Store) -> Result<Digest, Unreadable> {
    match source {
        // Whoever asks knows the digests of outputs; they are files of the store.
        Source::Output { .. } => unreachable!("an output's digest is in its entry"),
        Source::File(file) => of_file(root.join(file), store),
        Source::Table(table) => Ok(Digest::of(identity(table).as_bytes())),
        Source::Folder(_) | Source::Glob(_) => Ok(Digest::of(&listed(source, root, store)?)),
    }
}

/// Lists the files of a folder or a pattern, each path with its content's digest: the text of which
/// [`digest`] is the hash.
///
/// # Errors
///
/// Those of [`digest`].
pub fn listed(source: &Source, root: &Path, store: &Store) -> Result<Vec<u8>, Unreadable> {
    let base = listing::base(root, source);
    let mut text = Vec::new();
    for file in files(root, source)? {
        let digest = of_file(base.join(&file), store)?;
        text.extend_from_slice(digest.to_string().as_bytes());
        text.push(b' ');
        // No path holds a zero byte, so no two lists have the same text.
        text.extend_from_slice(file.as_os_str().as_bytes());
        text.push(0);
    }
    Ok(text)
}

/// Says what became of the files of a folder or a pattern since it had the digest `old`; `None` where
/// the store does not know what it held then.
pub fn changes(
    source: &Source,
    old: Digest,
    root: &Path,
    store: &Store,
) -> Option<Vec<FileChange>> {
    let (before, now) = (store.listing(old)?, listed(source, root, store).ok()?);
    let (before, now) = (by_path(&before), by_path(&now));
    let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    let other = now.iter().filter_map(|(path, digest)| match before.get(path) {
        None => Some(FileChange::Added(name(path))),
        Some(before) if before != digest => Some(FileChange::Changed(name(path))),
        Some(_) => None,
    });
    Some(other.chain(gone.map(|path| FileChange::Removed(name(path)))).collect())
}

/// Reads what [`listed`] wrote: digests by path.
fn by_path(text: &[u8]) -> BTreeMap<&[u8], &[u8]> {
    let lines = text.split(|byte| *byte == 0);
    let pairs = lines.filter_map(|line| {
        let space = line.iter().position(|byte| *byte == b' ')?;
        Some((&line[space + 1..], &line[..space]))
    });
    pairs.collect()
}

/// Lists the files of a folder or a pattern, relative to [`listing::base`].
///
/// # Errors
///
/// [`Unreadable`] where a folder cannot be read, or a pattern fits no file.
pub fn files(root: &Path, source: &Source) -> Result<Vec<PathBuf>, Unreadable> {
    let files = listing::files(root, source).map_err(|error| match error {
        ListingError::Io { path, source } => Unreadable { path, source },
        ListingError::Pattern(message) => {
            Unreadable { path: root.to_owned(), source: io::Error::other(message) }
        }
    })?;
    let files = files.unwrap_or_default();
    match source {
        Source::Glob(pattern) if files.is_empty() => {
            let source = io::Error::new(io::ErrorKind::NotFound, "the pattern fits no file");
            Err(Unreadable { path: root.join(pattern), source })
        }
        _ => Ok(files),
    }
}

fn of_file(path: PathBuf, store: &Store) -> Result<Digest, Unreadable> {
    store.digest(&path).map_err(|source| Unreadable { path, source })
}

/// Writes down what a table tells, but for the paths, which are never the same twice.
fn identity(table: &Table) -> String {
    serde_json::json!([table.keys, table.rows, table.members]).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_its_files_names_and_bytes() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let store = Store::open(&root.join(".runner")).unwrap();
        fs::create_dir_all(root.join("d/e")).unwrap();
        fs::write(root.join("d/a"), "1").unwrap();
        fs::write(root.join("d/e/b"), "2").unwrap();
        let source = Source::Folder("d".into());
        let now = || digest(&source, root, &store).unwrap();
        let first = now();
        fs::create_dir(root.join("d/empty")).unwrap();
        assert_eq!(now(), first, "an empty folder holds nothing");
        fs::rename(root.join("d/e/b"), root.join("d/e/c")).unwrap();
        let renamed = now();
        assert_ne!(renamed, first);
        fs::write(root.join("d/e/c"), "3").unwrap();
        assert_ne!(now(), renamed);
        fs::write(root.join("d/e/c"), "2").unwrap();
        fs::rename(root.join("d/e/c"), root.join("d/e/b")).unwrap();
        assert_eq!(now(), first);
    }

    #[test]
    fn what_became_of_a_folders_files_is_known_where_its_listing_was_kept() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let store = Store::open(&root.join(".runner")).unwrap();
        fs::create_dir_all(root.join("d/e")).unwrap();
        for file in ["d/a", "d/b b", "d/e/c"] {
            fs::write(root.join(file), file).unwrap();
        }
        let source = Source::Folder("d".into());
        let text = listed(&source, root, &store).unwrap();
        let old = digest(&source, root, &store).unwrap();
        assert_eq!(old, Digest::of(&text));
        let now = || changes(&source, old, root, &store);
        assert_eq!(now(), None);
        store.keep_listing(old, &text).unwrap();
        assert_eq!(now(), Some(Vec::new()));
        fs::write(root.join("d/b b"), "other").unwrap();
        fs::rename(root.join("d/e/c"), root.join("d/e/d")).unwrap();
        let [b, c, d] = ["b b", "e/c", "e/d"].map(str::to_owned);
        let expected = [FileChange::Changed(b), FileChange::Added(d), FileChange::Removed(c)];
        assert_eq!(now().unwrap(), expected);
        let kept = root.join(".runner/listings").join(old.to_string());
        fs::write(kept, &text[1..]).unwrap();
        assert_eq!(now(), None, "one that is damaged tells nothing");
    }

    #[test]
    fn a_pattern_that_fits_nothing_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(&root.path().join(".runner")).unwrap();
        let error = digest(&Source::Glob("*.csv".into()), root.path(), &store).unwrap_err();
        assert!(error.to_string().ends_with("*.csv: the pattern fits no file"), "{error}");
    }
}
