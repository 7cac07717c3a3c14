//! Names with endings for blobs, since many programs tell a format by the name of a file.
//!
//! A link stays as long as its blob at least, until a collection: the path of an input is then the
//! same in each run, and a program that writes down what it read writes the same each time. Inputs of
//! the same bytes have paths of their own, by their names.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Store, StoreError, files, sharded};
use crate::fingerprint::Digest;

/// The folder of the links.
pub(super) const FOLDER: &str = "links";

/// Letters of an input's name that stand in the name of a link.
const NAME: usize = 100;

impl Store {
    /// Gives a path of the blob of `digest` for the input `name`, which is no path, that ends in
    /// `extension`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where the link cannot be made.
    pub fn link(&self, digest: Digest, name: &str, extension: &str) -> Result<PathBuf, StoreError> {
        // The name of a combination may be longer than that of a file may be.
        let name: String = name.chars().take(NAME).collect();
        let link = self.path(FOLDER).join(format!("{digest}-{name}.{extension}"));
        // Relative, so that it holds where the project is moved.
        let target = sharded(Path::new("../blobs"), digest);
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            return Ok(link);
        }
        let made = match symlink(&target, &link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                files::create_parent(&link)?;
                symlink(&target, &link)
            }
            // A program may have put a file in the place of what it read.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.link_anew(&target, &link)
            }
            made => made,
        };
        made.map_err(StoreError::io("link", &link))?;
        Ok(link)
    }

    fn link_anew(&self, target: &Path, link: &Path) -> io::Result<()> {
        let make = |temporary: &Path| symlink(target, temporary);
        let folder = self.temporaries();
        fs::create_dir_all(&folder)?;
        let made = tempfile::Builder::new().prefix(files::TEMPORARY).make_in(folder, make)?;
        made.persist(link).map_err(|failed| failed.error)
    }
}

/// Gives the digest of the blob to which a link leads.
pub(super) fn digest_of(link: &Path) -> Option<Digest> {
    link.file_name()?.to_str()?.split('-').next()?.parse().ok()
}
