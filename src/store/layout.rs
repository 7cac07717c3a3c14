//! The version of the store's layout: which `runner` may work in a folder that it finds.
//!
//! Knows one number and one file. A version is raised where an older `runner` would misread what a
//! newer one writes, or a newer one has to convert what an older one left.
//!
//! | version | what changed |
//! |---|---|
//! | 1 | without a file: as first released |
//! | 2 | the file `version`; `durable/` with the durability mark; `past/` with roots of past runs |
//!
//! Version 1 needs no conversion but the file: what has no mark is checked at its first use.

use std::io::ErrorKind;
use std::path::Path;

use super::{StoreError, files};

/// The version that this program writes.
pub const VERSION: u32 = 2;

/// The file that says it.
const FILE: &str = "version";

/// Finds the version of the store in `folder`: 1 where no file says it, and where there is no store.
///
/// # Errors
///
/// [`StoreError::Version`] where this program does not know it, [`StoreError::Io`] where the file
/// cannot be read.
pub fn find(folder: &Path) -> Result<u32, StoreError> {
    let path = folder.join(FILE);
    let text = match std::fs::read(&path) {
        Ok(text) => String::from_utf8_lossy(&text).trim().to_owned(),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(1),
        Err(error) => return Err(StoreError::io("read", &path)(error)),
    };
    match text.parse() {
        Ok(version @ 1..=VERSION) => Ok(version),
        _ => Err(StoreError::Version { folder: folder.to_owned(), found: text }),
    }
}

/// Writes the version, durably: a store whose version is lost would be refused.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be written.
pub fn write(folder: &Path) -> Result<(), StoreError> {
    let text = format!("{VERSION}\n");
    files::write_durably(&folder.join("tmp"), &folder.join(FILE), text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_that_is_not_known_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path()).unwrap(), 1);
        write(folder.path()).unwrap();
        assert_eq!(find(folder.path()).unwrap(), VERSION);
        for text in ["3", "0", "", "two"] {
            std::fs::write(folder.path().join(FILE), text).unwrap();
            let error = find(folder.path()).unwrap_err();
            assert!(matches!(error, StoreError::Version { .. }), "`{text}`: {error}");
            assert!(error.help().is_some());
        }
    }
}
