//! A checked pipeline as bytes, so that a large file need not be checked twice.
//!
//! What is kept is bound to all that entered its check: the program, the root, the file's path and
//! text, those of the files that it names, and the settings. What the check asked the disk is asked again, and where the answer would be
//! a mistake or a warning, the file is checked anew: a pipeline with a warning is never kept. Knows
//! nothing of where the bytes lie; whoever keeps them must see that they come back whole.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Input, Loaded, Pipeline, Settings, Source, SourceFile, Stage};
use crate::stage::Params;

/// Stages from which on it is worth a file: fewer are checked in a few milliseconds.
const FEWEST: usize = 100;

/// Names a check by all that entered it; `None` where the program cannot tell itself from another.
pub(super) fn key(file: &SourceFile, root: &Path, settings: &Settings) -> Option<blake3::Hash> {
    let program = std::env::current_exe().and_then(|path| path.metadata()).ok()?;
    let (size, inode, built) = (program.len(), program.ino(), program.modified().ok()?);
    let program = format!("{} {size} {inode} {built:?}", env!("CARGO_PKG_VERSION"));
    let settings = serde_json::to_vec(&(&settings.sets, &settings.vars)).ok()?;
    let paths = [root, &file.path].map(|path| path.as_os_str().as_encoded_bytes());
    let mut hasher = blake3::Hasher::new();
    for part in [program.as_bytes(), file.text.as_bytes(), &settings].into_iter().chain(paths) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    Some(hasher.finalize())
}

/// Makes a pipeline that was checked into bytes to keep; it takes a quarter of the check's time, so
/// it is for whoever keeps them.
#[derive(Clone, Copy, Debug)]
pub struct Keeper {
    key: blake3::Hash,
}

impl Keeper {
    /// `None` where there is something to say of the pipeline each time, or little to spare.
    pub(super) fn of(loaded: &Loaded, key: blake3::Hash) -> Option<Keeper> {
        let is_worth_it = loaded.warnings.is_empty() && loaded.pipeline.stages.len() >= FEWEST;
        is_worth_it.then_some(Keeper { key })
    }

    /// Makes the bytes of the pipeline that it came with; `None` where they would not give it back.
    pub fn bytes(&self, pipeline: &Pipeline) -> Option<Vec<u8>> {
        let others = pipeline.sources.iter().skip(1).map(|source| Other::new(source)).collect();
        let mut bytes = self.key.as_bytes().to_vec();
        serde_json::to_writer(&mut bytes, &Kept { others, pipeline }).ok()?;
        // Whatever a type's form in JSON may be, only what comes back as it was is kept.
        let main = pipeline.sources.first()?;
        (parse(&bytes, self.key, main).as_ref() == Some(pipeline)).then_some(bytes)
    }
}

/// Reads what [`Keeper::bytes`] made, if it is of this check and the disk still says nothing of it.
pub(super) fn read(
    bytes: &[u8],
    key: blake3::Hash,
    file: &Arc<SourceFile>,
    root: &Path,
) -> Option<Pipeline> {
    let pipeline = parse(bytes, key, file)?;
    let mut folders = Folders::default();
    let is_sound = |stage| is_sound(stage, root, &mut folders);
    pipeline.stages.values().all(is_sound).then_some(pipeline)
}

/// What is kept; `P` is the pipeline, borrowed or owned.
#[derive(Serialize, Deserialize)]
struct Kept<P> {
    others: Vec<Other>,
    pipeline: P,
}

/// A source beside the pipeline file.
#[derive(Serialize, Deserialize)]
enum Other {
    /// A word of the command line, which the key holds.
    Word { option: PathBuf, word: String },
    /// A file, by the hash of its text.
    File { path: PathBuf, text: String },
}

impl Other {
    fn new(source: &SourceFile) -> Other {
        let path = source.path.clone();
        // The words of the command line stand under the name of their option.
        if [Path::new("--set"), Path::new("--vars")].contains(&path.as_path()) {
            return Other::Word { option: path, word: source.text.clone() };
        }
        Other::File { path, text: hash(&source.text) }
    }

    /// Gives the source as it is now, if it is as it was.
    fn source(self) -> Option<SourceFile> {
        match self {
            Other::Word { option, word } => Some(SourceFile { path: option, text: word }),
            Other::File { path, text } => {
                SourceFile::read(&path).ok().filter(|file| hash(&file.text) == text)
            }
        }
    }
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_string()
}

fn parse(bytes: &[u8], key: blake3::Hash, file: &Arc<SourceFile>) -> Option<Pipeline> {
    let json = bytes.strip_prefix(key.as_bytes())?;
    let Kept::<Pipeline> { others, mut pipeline } = serde_json::from_slice(json).ok()?;
    pipeline.sources.push(Arc::clone(file));
    for other in others {
        pipeline.sources.push(Arc::new(other.source()?));
    }
    Some(pipeline)
}

/// Asks the disk what the check asks it of a stage: whether its files are there, and whether its
/// command names others.
fn is_sound(stage: &Stage, root: &Path, folders: &mut Folders) -> bool {
    let files = stage.inputs.values().filter_map(|input| match &input.from {
        Source::File(path) => Some(path.clone()),
        _ => None,
    });
    let files: Vec<PathBuf> = files.collect();
    let is_file = |path: &PathBuf| root.join(path).is_file();
    // What the check asks of folders and patterns is more than is asked here.
    let is_plain = |input: &Input| !matches!(input.from, Source::Folder(_) | Source::Glob(_));
    stage.inputs.values().all(is_plain)
        && files.iter().all(is_file)
        && match &stage.params {
            Params::Command(params) => {
                !params.names_any_file(root, |path| folders.may_have(&path))
                    || params.undeclared_files(root, &files).is_empty()
            }
            _ => true,
        }
}

/// The names in folders that were asked about: of the words of ten thousand commands hardly any is a
/// file, and to list the one folder in which they would lie is faster than to ask for each.
#[derive(Default)]
struct Folders(HashMap<PathBuf, Option<HashSet<OsString>>>);

/// Names in a folder up to which it is listed.
const LISTED: usize = 10_000;

impl Folders {
    /// Says whether there may be a file at a path: a no is certain.
    fn may_have(&mut self, path: &Path) -> bool {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return true };
        if !self.0.contains_key(folder) {
            self.0.insert(folder.to_owned(), names(folder));
        }
        self.0[folder].as_ref().is_none_or(|names| names.contains(name))
    }
}

/// Lists a folder; `None` where that is not possible or takes too long.
fn names(folder: &Path) -> Option<HashSet<OsString>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(HashSet::new()),
        Err(_) => return None,
    };
    let names = entries.take(LISTED + 1).map(|entry| entry.map(|entry| entry.file_name()));
    names.collect::<Result<HashSet<_>, _>>().ok().filter(|names| names.len() <= LISTED)
}
