//! Conversions: a blob in another format, computed once for each content.

use std::path::{Path, PathBuf};

use super::{Blob, Store, StoreError, files};
use crate::conversion::Conversion;
use crate::fingerprint::Digest;

impl Store {
    /// Gives `file`, whose content has `digest`, in another format; it lies in the store then.
    ///
    /// # Errors
    ///
    /// [`StoreError::Convert`] where the file is not what the conversion takes,
    /// [`StoreError::Changed`] where its content is another by now, [`StoreError::Io`] where the
    /// store cannot be written.
    pub fn converted(
        &self,
        file: &Path,
        digest: Digest,
        conversion: Conversion,
    ) -> Result<Digest, StoreError> {
        let record = self.conversion_path(digest, conversion);
        if let Some(blob) = files::read_sealed::<Blob>(&record)
            && self.has_blob(blob.digest)
        {
            return Ok(blob.digest);
        }
        let target = files::temporary_in(&self.temporaries())?;
        let result = conversion.run(file, target.path());
        // What was read is recorded for good: it must be what was hashed.
        if self.digest(file).map_err(StoreError::io("read", file))? != digest {
            return Err(StoreError::Changed { path: file.to_owned() });
        }
        result?;
        let blob = self.put_blob(target.path())?;
        self.write_sealed(&record, &blob)?;
        Ok(blob.digest)
    }

    /// Says whether the store has the content `digest` in another format, undamaged.
    pub fn has_converted(&self, digest: Digest, conversion: Conversion) -> bool {
        let blob = files::read_sealed::<Blob>(&self.conversion_path(digest, conversion));
        blob.is_some_and(|blob| self.has_blob(blob.digest))
    }

    fn conversion_path(&self, digest: Digest, conversion: Conversion) -> PathBuf {
        self.sharded("conversions", key(digest, conversion))
    }
}

/// Gives the name of the record of what the content `digest` is in another format.
pub(super) fn key(digest: Digest, conversion: Conversion) -> Digest {
    let key = format!("{digest} as {} v{}", conversion.name(), conversion.version());
    Digest::of(key.as_bytes())
}
