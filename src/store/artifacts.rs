//! Artifacts: outputs as people see them, placed from the store and put back when they are gone.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::stat_cache::Stamp;
use super::{Store, StoreError, files, lock};
use crate::fingerprint::Digest;

/// Bytes of a blob that is copied by way of memory.
const SMALL: u64 = 64 * 1024;

/// What was last placed where.
type Record = BTreeMap<PathBuf, Digest>;

/// What is known of a pipeline's artifacts.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// As it was read, with what this process has placed since.
    record: Record,
    /// What this process has placed since, and the file does not tell.
    news: Record,
    /// The file as it was read.
    stamp: Option<Stamp>,
}

/// An output and the place where people look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The stage that gives it.
    pub stage: String,
    /// Its path under the pipeline's folder.
    pub path: PathBuf,
    /// The digest of its bytes.
    pub digest: Digest,
}

/// What [`Store::place`] did with one artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The stage that gives it.
    pub stage: String,
    /// Where it lies now.
    pub path: PathBuf,
    /// Where a file that somebody had edited was set aside.
    pub set_aside: Option<PathBuf>,
}

impl Store {
    /// Makes the artifacts of a pipeline be what the store says, and tells which had to be written.
    ///
    /// They are placed as a set under the pipeline's lock. A file that is neither what it should be
    /// nor what was last placed there nor any bytes of the store has been edited: it is set aside and
    /// not overwritten. [`Store::keep_placed`] writes down what was placed: once a run, since the
    /// store has the bytes of what a killed run placed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where a file cannot be written.
    pub fn place(
        &self,
        pipeline: &str,
        folder: &Path,
        artifacts: &[Artifact],
    ) -> Result<Vec<Placed>, StoreError> {
        let is_placed = |one: &Artifact| self.is_placed(&folder.join(&one.path), one);
        if artifacts.iter().all(is_placed) && self.is_recorded(pipeline, artifacts) {
            return Ok(Vec::new());
        }
        let _lock = lock::exclusive(&self.path("locks").join(format!("artifacts-{pipeline}")))?;
        let mut placed = Vec::new();
        for artifact in artifacts {
            let path = folder.join(&artifact.path);
            let mut set_aside = None;
            if fs::symlink_metadata(&path).is_ok() {
                if is_placed(artifact) {
                    continue;
                }
                let last = self.last_placed(pipeline, artifact);
                set_aside = self.set_edited_aside(&path, last.as_ref())?;
            }
            self.write_artifact(&path, artifact.digest)?;
            placed.push(Placed { stage: artifact.stage.clone(), path, set_aside });
        }
        self.with_places(pipeline, |places| {
            for artifact in artifacts {
                places.record.insert(artifact.path.clone(), artifact.digest);
                places.news.insert(artifact.path.clone(), artifact.digest);
            }
        });
        Ok(placed)
    }

    /// Writes down what [`Store::place`] has placed for a pipeline since the last time.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be written.
    pub fn keep_placed(&self, pipeline: &str) -> Result<(), StoreError> {
        let news = self.with_places(pipeline, |places| std::mem::take(&mut places.news));
        if news.is_empty() {
            return Ok(());
        }
        let _lock = lock::exclusive(&self.path("locks").join(format!("artifacts-{pipeline}")))?;
        // Read anew: another process may have written down its own.
        let mut record = self.read_record(pipeline);
        record.extend(news);
        self.write_sealed(&self.record_path(pipeline), &record)
    }

    fn is_placed(&self, path: &Path, artifact: &Artifact) -> bool {
        self.digest(path).is_ok_and(|digest| digest == artifact.digest)
    }

    /// Says whether all of these are recorded.
    pub fn is_recorded(&self, pipeline: &str, artifacts: &[Artifact]) -> bool {
        self.with_places(pipeline, |places| {
            artifacts.iter().all(|one| places.record.get(&one.path) == Some(&one.digest))
        })
    }

    /// Says whether neither this process nor, by the record, another has placed anything for a
    /// pipeline since the record was read.
    pub fn is_unplaced(&self, pipeline: &str) -> bool {
        let stamp = Stamp::of(&self.record_path(pipeline)).ok();
        self.with_places(pipeline, |places| {
            places.news.is_empty() && stamp.is_some() && stamp == places.stamp
        })
    }

    /// Gives what was last placed where an artifact is to lie.
    fn last_placed(&self, pipeline: &str, artifact: &Artifact) -> Option<Digest> {
        self.with_places(pipeline, |places| places.record.get(&artifact.path).copied())
    }

    /// Hands over what is known of a pipeline's artifacts; the file is read once a process.
    fn with_places<T>(&self, pipeline: &str, work: impl FnOnce(&mut Places) -> T) -> T {
        let mut placed = self.placed();
        if !placed.contains_key(pipeline) {
            let stamp = Stamp::of(&self.record_path(pipeline)).ok();
            let record = self.read_record(pipeline);
            let places = Places { record, news: Record::new(), stamp };
            placed.insert(pipeline.to_owned(), places);
        }
        // It was put there just now if it was not there before.
        work(placed.get_mut(pipeline).expect("the pipeline's places"))
    }

    fn read_record(&self, pipeline: &str) -> Record {
        files::read_sealed(&self.record_path(pipeline)).unwrap_or_default()
    }

    fn record_path(&self, pipeline: &str) -> PathBuf {
        self.path("placed").join(pipeline)
    }

    /// Renames what is there, if it is neither what was last placed at its path nor in the store.
    ///
    /// Bytes that the store has are its own: a run that was killed may have placed them without a
    /// record, and nobody loses them.
    fn set_edited_aside(
        &self,
        path: &Path,
        last: Option<&Digest>,
    ) -> Result<Option<PathBuf>, StoreError> {
        let is_ours = |found: &Digest| Some(found) == last || self.has_blob(*found);
        if self.digest(path).is_ok_and(|found| is_ours(&found)) {
            return Ok(None);
        }
        let aside = (1..)
            .map(|number| {
                let mut name = path.as_os_str().to_owned();
                name.push(if number == 1 {
                    ".edited".to_owned()
                } else {
                    format!(".edited-{number}")
                });
                PathBuf::from(name)
            })
            .find(|candidate| fs::symlink_metadata(candidate).is_err());
        // The numbers never end, so one is free.
        let aside = aside.expect("a free name");
        fs::rename(path, &aside).map_err(StoreError::io("set aside", path))?;
        Ok(Some(aside))
    }

    /// Copies a blob to its artifact's path; a reflink where the file system can.
    fn write_artifact(&self, path: &Path, digest: Digest) -> Result<(), StoreError> {
        files::create_parent(path)?;
        let (folder, temporaries) = (files::parent(path), self.temporaries());
        let device = |folder: &Path| fs::metadata(folder).map(|metadata| metadata.dev()).ok();
        // The store's folders stay where they are while it is open.
        let own = *self.device.get_or_init(|| {
            files::create_folder(&temporaries).ok()?;
            device(&temporaries)
        });
        let mut written = Err(io::ErrorKind::CrossesDevices.into());
        if own.is_some() && device(folder) == own {
            written = self.write_artifact_through(&temporaries, path, digest);
        }
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            files::create_folder(&temporaries)?;
            written = self.write_artifact_through(&temporaries, path, digest);
        }
        // One device may hold two file systems, as bind mounts do.
        if written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::CrossesDevices) {
            written = self.write_artifact_through(folder, path, digest);
        }
        written.map_err(StoreError::io("copy from the store to", path))?;
        self.stats().record_placed(path, digest);
        self.wrote();
        Ok(())
    }

    /// Copies a blob to a temporary file in `folder` and renames that.
    fn write_artifact_through(&self, folder: &Path, path: &Path, digest: Digest) -> io::Result<()> {
        let blob = self.blob_path(digest);
        let copy = |temporary: &Path| copy(&blob, temporary);
        let temporary = tempfile::Builder::new().prefix(files::TEMPORARY).make_in(folder, copy)?;
        temporary.persist(path).map_err(|failed| failed.error)
    }
}

/// Copies a blob to a file that is not there: blobs are read-only, a copy is the user's to edit.
///
/// On Linux a large one is a reflink, where the file system can.
fn copy(blob: &Path, to: &Path) -> io::Result<()> {
    let from = File::open(blob)?;
    let made = File::options().write(true).create_new(true).open(to)?;
    // On a full disk, half a copy would take the room that is wanted.
    fill(from, made).inspect_err(|_| drop(fs::remove_file(to)))
}

fn fill(mut from: File, mut to: File) -> io::Result<()> {
    let length = from.metadata()?.len();
    if length > SMALL {
        return io::copy(&mut from, &mut to).map(|_| ());
    }
    // Takes half as long as to ask the kernel for it.
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    to.write_all(&bytes)
}
