//! Caches of the store as bytes under a seal: read many times faster than JSON.
//!
//! A cache may be absent, cut short, flipped or of another version: then it reads as nothing, and
//! all that is lost is time. What must not be lost is never written so.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::stat_cache::Stamp;
use super::{StoreError, files};
use crate::fingerprint::Digest;

/// Bytes of a digest.
const DIGEST: usize = 32;

/// Reads what [`write()`] wrote under the same title; `None` where it is anything else.
pub fn read(path: &Path, title: &str) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path).ok()?;
    let (seal, sealed) = bytes.split_at_checked(DIGEST)?;
    let is_whole = *seal == Digest::of(sealed).0 && sealed.starts_with(title.as_bytes());
    is_whole.then(|| {
        bytes.drain(..DIGEST + title.len());
        bytes
    })
}

/// Writes bytes under their digest and a title that names what they are and in which version, aside
/// in `folder` first.
///
/// # Errors
///
/// [`StoreError::Io`] where it cannot be written.
pub fn write(folder: &Path, path: &Path, title: &str, body: &[u8]) -> Result<(), StoreError> {
    let mut bytes = vec![0; DIGEST];
    bytes.extend(title.as_bytes());
    bytes.extend(body);
    let seal = Digest::of(&bytes[DIGEST..]);
    bytes[..DIGEST].copy_from_slice(&seal.0);
    files::write_through(folder, path, &bytes)
}

/// Writes values one after another.
#[derive(Debug, Default)]
pub struct Packer(pub Vec<u8>);

impl Packer {
    /// Adds a number.
    pub fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    /// Adds bytes of any length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// Adds a path, whatever bytes it is made of.
    pub fn path(&mut self, path: &Path) {
        self.bytes(path.as_os_str().as_bytes());
    }

    /// Adds a digest.
    pub fn digest(&mut self, digest: Digest) {
        self.0.extend(digest.0);
    }

    /// Adds what `stat` said of a file.
    pub fn stamp(&mut self, stamp: &Stamp) {
        self.number(stamp.size);
        self.0.extend(stamp.mtime.to_le_bytes());
        self.0.extend(stamp.ctime.to_le_bytes());
        self.number(stamp.inode);
    }
}

/// Reads values in the order in which they were written; `None` where they end too soon.
#[derive(Debug)]
pub struct Unpacker<'a>(pub &'a [u8]);

impl<'a> Unpacker<'a> {
    /// Says whether all was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a number.
    pub fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Reads bytes of any length.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    /// Reads a text.
    pub fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.bytes()?).ok()?.to_owned())
    }

    /// Reads a path.
    pub fn path(&mut self) -> Option<PathBuf> {
        Some(PathBuf::from(std::ffi::OsStr::from_bytes(self.bytes()?)))
    }

    /// Reads a digest.
    pub fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest)
    }

    /// Reads what `stat` said of a file.
    pub fn stamp(&mut self) -> Option<Stamp> {
        Some(Stamp {
            size: self.number()?,
            mtime: self.array().map(i128::from_le_bytes)?,
            ctime: self.array().map(i128::from_le_bytes)?,
            inode: self.number()?,
        })
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}
