//! What the folders and patterns held that actions read: `why` names the files that changed since.
//!
//! A listing is named by the digest of its text, which is the digest of the input. It is there to be
//! told of alone: where one is missing, nothing else is.

use std::fs;

use super::{Store, StoreError, files};
use crate::fingerprint::Digest;

/// The folder of the listings.
pub(super) const FOLDER: &str = "listings";

/// The largest that is kept, in bytes: some ten thousand files.
const LARGEST: usize = 1 << 20;

impl Store {
    /// Keeps the listing of `digest`, unless it is there whole or large.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be written.
    pub fn keep_listing(&self, digest: Digest, text: &[u8]) -> Result<(), StoreError> {
        let path = self.path(FOLDER).join(digest.to_string());
        if text.len() > LARGEST || self.listing(digest).is_some() {
            return Ok(());
        }
        files::write_through(&self.temporaries(), &path, text)?;
        self.wrote();
        Ok(())
    }

    /// Gives the listing of `digest`, if it is there and whole.
    pub fn listing(&self, digest: Digest) -> Option<Vec<u8>> {
        let text = fs::read(self.path(FOLDER).join(digest.to_string())).ok()?;
        (Digest::of(&text) == digest).then_some(text)
    }
}
