//! The stat cache: an unchanged file costs one `stat`.
//!
//! A record is believed only while the file's size, mtime, inode and ctime are those at which it
//! was hashed, and only if the file was older than the clock's grain by then: an edit within the
//! same tick would leave all four as they were.
//!
//! A store has far more blobs than a project has files, and each is named by its digest: of a blob
//! that is what its name says, no path is kept.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::packed::{self, Packer, Unpacker};
use super::{StoreError, sharded};
use crate::fingerprint::Digest;

/// File systems stamp with the kernel's tick, 10 ms at the coarsest; twice that is safe.
const GRAIN: i128 = 20_000_000;

/// What the file says of itself; another number where its form changes.
const TITLE: &str = "runner stat cache 3\n";

/// What `stat` says of a file: while it says the same, the content is believed to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i128,
    /// Nanoseconds since 1970; no program can set it.
    pub ctime: i128,
    /// Another for another file at the same path.
    pub inode: u64,
}

impl Stamp {
    /// Looks at a file.
    ///
    /// # Errors
    ///
    /// The operating system's, where there is no such file.
    pub fn of(path: &Path) -> io::Result<Stamp> {
        fs::metadata(path).map(|metadata| Stamp::new(&metadata))
    }

    /// Takes from `stat`'s answer what tells one content from another.
    pub fn new(metadata: &fs::Metadata) -> Stamp {
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Stamp {
            size: metadata.len(),
            mtime: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            ctime: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Says whether an edit from `moment` on would give another stamp: where the file is younger
    /// than the clock's grain, one within the same tick would not.
    fn is_settled(&self, moment: i128) -> bool {
        moment - self.mtime.max(self.ctime) > GRAIN
    }
}

/// What `stat` said of a file when its content was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    stamp: Stamp,
    /// Whether this process has looked itself.
    is_news: bool,
}

impl Look {
    fn now(stamp: Stamp) -> Look {
        Look { stamp, is_news: true }
    }

    fn earlier(stamp: Stamp) -> Look {
        Look { stamp, is_news: false }
    }
}

/// Files with what `stat` said when their content was hashed.
#[derive(Debug, Default)]
pub struct StatCache {
    /// The folder of the blobs.
    folder: PathBuf,
    /// Blobs whose content is what their names say; nobody writes to them.
    blobs: HashMap<Digest, Look>,
    /// All other files by path, with the digests of their content; anybody may write to them.
    files: HashMap<PathBuf, (Digest, Look)>,
    changed: bool,
}

/// Gives the present in nanoseconds since 1970.
pub fn now() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128)
}

impl StatCache {
    /// Reads the saved cache of the store in `folder`; an absent or damaged one is empty.
    pub fn load(path: &Path, folder: &Path) -> StatCache {
        let bytes = packed::read(path, TITLE).unwrap_or_default();
        let (blobs, files) = unpack(&bytes).unwrap_or_default();
        StatCache { folder: folder.join("blobs"), blobs, files, changed: false }
    }

    /// Says whether it is otherwise than it was saved.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    /// Forgets all other paths than those that are to be kept; it counts as changed, that it may be
    /// saved as what is believed from now on.
    pub fn keep(&mut self, is_kept: impl Fn(&Path) -> bool) {
        self.blobs.retain(|digest, _| is_kept(&sharded(&self.folder, *digest)));
        self.files.retain(|path, _| is_kept(path));
        self.changed = true;
    }

    /// Writes the cache where it changed, aside in `folder` first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] where it cannot be written.
    pub fn save(&mut self, folder: &Path, path: &Path) -> Result<(), StoreError> {
        if !self.changed {
            return Ok(());
        }
        let now = now();
        let is_there =
            |look: &Look, path: &Path| look.is_news || fs::symlink_metadata(path).is_ok();
        let blobs = self.blobs.iter().map(|(digest, look)| (*digest, look));
        let blobs = blobs.filter(|(digest, look)| is_there(look, &sharded(&self.folder, *digest)));
        let mut blobs: Vec<(Digest, &Look)> = blobs.collect();
        blobs.sort_by_key(|(digest, _)| *digest);
        // An artifact that we have just written is the user's from now on: an edit within the tick
        // of our writing would not show, so it is hashed once more at its next use.
        let is_kept = |(path, (_, look)): &(&PathBuf, &(Digest, Look))| {
            look.stamp.is_settled(now) && is_there(look, path)
        };
        let mut files: Vec<(&PathBuf, &(Digest, Look))> =
            self.files.iter().filter(is_kept).collect();
        files.sort_by_key(|(path, _)| *path);
        packed::write(folder, path, TITLE, &pack(&blobs, &files))?;
        self.changed = false;
        Ok(())
    }

    /// Gives the digest of a file that is as it was when it was hashed; `stamp` is what it is now.
    ///
    /// Whoever asks has looked already, so that nobody waits for a look of another.
    pub fn lookup(&self, path: &Path, stamp: Stamp) -> Option<Digest> {
        let (digest, look) = match self.blob_at(path) {
            Some(digest) => (digest, self.blobs.get(&digest)?),
            None => self.files.get(path).map(|(digest, look)| (*digest, look))?,
        };
        (look.stamp == stamp).then_some(digest)
    }

    /// Records the digest of a file that was hashed after the moment `before`.
    pub fn record(&mut self, path: &Path, digest: Digest, before: i128) {
        let Ok(stamp) = Stamp::of(path) else { return };
        if stamp.is_settled(before) {
            self.insert(path, digest, stamp);
        }
    }

    /// Records a file that we have just put into place by renaming it, a blob or an artifact: nobody
    /// else had it open until then, so its age does not matter.
    pub fn record_placed(&mut self, path: &Path, digest: Digest) {
        let Ok(stamp) = Stamp::of(path) else { return };
        self.insert(path, digest, stamp);
    }

    fn insert(&mut self, path: &Path, digest: Digest, stamp: Stamp) {
        let look = Look::now(stamp);
        let before = match self.blob_at(path) {
            Some(name) if name == digest => {
                self.blobs.insert(digest, look).map(|look| (digest, look.stamp))
            }
            // A damaged one is hashed whenever it is asked for.
            Some(name) => self.blobs.remove(&name).map(|look| (name, look.stamp)),
            None => {
                let before = self.files.insert(path.to_owned(), (digest, look));
                before.map(|(digest, look)| (digest, look.stamp))
            }
        };
        self.changed |= before != Some((digest, stamp));
    }

    /// Gives the digest that names the blob at a path; `None` of another file.
    fn blob_at(&self, path: &Path) -> Option<Digest> {
        let name = path.as_os_str().as_bytes().strip_prefix(self.folder.as_os_str().as_bytes())?;
        let [b'/', a, b, b'/', rest @ ..] = name else { return None };
        let hash = blake3::Hash::from_hex([&[*a, *b], rest].concat()).ok()?;
        Some(Digest(*hash.as_bytes()))
    }
}

type Blobs = HashMap<Digest, Look>;
type Files = HashMap<PathBuf, (Digest, Look)>;

fn pack(blobs: &[(Digest, &Look)], files: &[(&PathBuf, &(Digest, Look))]) -> Vec<u8> {
    let mut packer = Packer::default();
    packer.number(blobs.len() as u64);
    for (digest, look) in blobs {
        packer.digest(*digest);
        packer.stamp(&look.stamp);
    }
    for (path, (digest, look)) in files {
        packer.path(path);
        packer.stamp(&look.stamp);
        packer.digest(*digest);
    }
    packer.0
}

fn unpack(bytes: &[u8]) -> Option<(Blobs, Files)> {
    /// Bytes of a blob.
    const BLOB: u64 = 32 + 48;
    let mut unpacker = Unpacker(bytes);
    let count = unpacker.number()?;
    // No more room than the bytes can fill.
    let mut blobs = Blobs::with_capacity(count.min(bytes.len() as u64 / BLOB) as usize);
    for _ in 0..count {
        blobs.insert(unpacker.digest()?, Look::earlier(unpacker.stamp()?));
    }
    let mut files = Files::new();
    while !unpacker.is_empty() {
        let path = unpacker.path()?;
        let look = Look::earlier(unpacker.stamp()?);
        files.insert(path, (unpacker.digest()?, look));
    }
    Some((blobs, files))
}
