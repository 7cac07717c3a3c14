//! What is watched, and the folders in which the system is asked to tell of changes.
//!
//! A file is watched by its folder, and a folder by those above it up to the root, so that whatever
//! is removed, renamed or made again is noticed. Knows nothing of runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::{Wake, absolute, paths_of};
use crate::cli::Error;
use crate::pipeline::Pipeline;

/// The paths whose changes count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    root: PathBuf,
    /// The pipeline file, with what it names: kept while it has mistakes.
    paths: Paths,
    /// The same behind links, where they lead elsewhere.
    behind: BTreeSet<PathBuf>,
}

/// Files, and folders all of whose content counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Each by itself.
    pub files: BTreeSet<PathBuf>,
    /// With all below.
    pub trees: BTreeSet<PathBuf>,
}

impl Watched {
    /// Watches a pipeline file that has not been read.
    pub fn of_file(file: &Path, root: &Path) -> Watched {
        let paths = Paths { files: BTreeSet::from([absolute(file)]), trees: BTreeSet::new() };
        Watched::new(paths, root)
    }

    /// Watches a pipeline: its file and what it reads.
    pub fn of_pipeline(pipeline: &Pipeline, root: &Path) -> Watched {
        Watched::new(paths_of(pipeline, root), root)
    }

    fn new(paths: Paths, root: &Path) -> Watched {
        let real = |path: &PathBuf| path.canonicalize().ok().filter(|real| real != path);
        let behind = paths.files.iter().filter_map(real).collect();
        Watched { root: root.to_owned(), paths, behind }
    }

    /// Says how many files and folders the pipeline names.
    pub fn count(&self) -> usize {
        self.paths.files.len() + self.paths.trees.len()
    }

    /// Says whether a change at this path counts: at what is watched, below a tree, or at a folder
    /// in which something watched lies.
    fn counts(&self, path: &Path) -> bool {
        // Our own writes.
        if [".runner", "artifacts"].iter().any(|own| path.starts_with(self.root.join(own))) {
            return false;
        }
        let is_above = |all: &BTreeSet<PathBuf>| all.iter().any(|one| one.starts_with(path));
        [&self.paths.files, &self.paths.trees, &self.behind].into_iter().any(is_above)
            || self.paths.trees.iter().any(|tree| path.starts_with(tree))
    }

    /// Gives the folders to watch, each with whether all below it are to be watched too.
    fn folders(&self) -> BTreeMap<PathBuf, bool> {
        let mut folders = BTreeMap::new();
        for path in self.paths.files.iter().chain(&self.behind).chain(&self.paths.trees) {
            for folder in path.ancestors().skip(1) {
                folders.insert(folder.to_owned(), false);
                // Above the root, or where a file lies elsewhere, one folder is enough.
                if folder == self.root || !folder.starts_with(&self.root) {
                    break;
                }
            }
        }
        folders.extend(self.paths.trees.iter().map(|tree| (tree.clone(), true)));
        folders
    }
}

/// The folders that the system watches for us.
pub struct Folders {
    watcher: RecommendedWatcher,
    watched: Arc<Mutex<Watched>>,
    /// Those that are watched now, and whether with all below.
    now: BTreeMap<PathBuf, bool>,
}

impl Folders {
    /// Begins to watch nothing; what changes later wakes `sender`'s other end.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] where the system cannot watch.
    pub fn new(sender: SyncSender<Wake>) -> Result<Folders, Error> {
        let watched: Arc<Mutex<Watched>> = Arc::default();
        let shared = Arc::clone(&watched);
        let tell = move |event: notify::Result<Event>| {
            if let Some(wake) = wake(event, &lock(&shared)) {
                // Where it is full, whoever listens has enough to wake by.
                let _ = sender.try_send(wake);
            }
        };
        let watcher = notify::recommended_watcher(tell).map_err(|error| cannot(&error))?;
        Ok(Folders { watcher, watched, now: BTreeMap::new() })
    }

    /// Watches these paths from now on.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] where a folder that is there cannot be watched.
    pub fn watch(&mut self, watched: &Watched) -> Result<(), Error> {
        lock(&self.watched).clone_from(watched);
        let wanted = watched.folders();
        let gone: Vec<PathBuf> = self
            .now
            .iter()
            .filter(|(folder, deep)| wanted.get(*folder) != Some(*deep) || !folder.is_dir())
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in gone {
            self.now.remove(&folder);
            // The system forgets a folder that is gone by itself.
            let _ = self.watcher.unwatch(&folder);
        }
        for (folder, deep) in wanted {
            if self.now.contains_key(&folder) || !folder.is_dir() {
                continue;
            }
            let mode = if deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
            match self.watcher.watch(&folder, mode) {
                Ok(()) => {
                    self.now.insert(folder, deep);
                }
                // It went between the look and now: the folder above it tells when it is back.
                Err(_) if !folder.is_dir() => {}
                Err(error) => return Err(cannot(&error)),
            }
        }
        Ok(())
    }

    /// Watches everything anew: a folder of the same name may be another one now.
    ///
    /// # Errors
    ///
    /// [`Error::Internal`] where a folder that is there cannot be watched.
    pub fn renew(&mut self, watched: &Watched) -> Result<(), Error> {
        for folder in std::mem::take(&mut self.now).into_keys() {
            let _ = self.watcher.unwatch(&folder);
        }
        self.watch(watched)
    }
}

/// Says what an event of the system means for what is watched, if anything.
fn wake(event: notify::Result<Event>, watched: &Watched) -> Option<Wake> {
    let Ok(event) = event else { return Some(Wake::Folder) };
    if event.need_rescan() {
        return Some(Wake::Folder);
    }
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
        // To read is not to change.
        EventKind::Access(_) => return None,
        _ => {}
    }
    let path = event.paths.iter().find(|path| watched.counts(path))?;
    let is_file = watched.paths.files.contains(path) || watched.behind.contains(path);
    Some(if is_file { Wake::Changed } else { Wake::Folder })
}

fn cannot(error: &notify::Error) -> Error {
    let help = match error.kind {
        notify::ErrorKind::MaxFilesWatch => {
            "; the system allows no more watches: raise `fs.inotify.max_user_watches`"
        }
        _ => "",
    };
    let paths: Vec<String> =
        error.paths.iter().map(|path| format!(" `{}`", path.display())).collect();
    Error::internal(format!("cannot watch{}: {}{help}", paths.join(","), error))
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    // A panic under this lock leaves the paths as they were or as they are to be.
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watched() -> Watched {
        let set = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        let paths = Paths {
            files: set(&["/p/pipe.yaml", "/p/data/in/x.csv", "/else/deep/y.csv"]),
            trees: set(&["/p/images"]),
        };
        Watched { root: "/p".into(), paths, behind: BTreeSet::new() }
    }

    #[test]
    fn what_is_named_and_the_folders_above_it_count_and_our_own_writes_do_not() {
        let counts = |path: &str| watched().counts(Path::new(path));
        for path in ["/p/pipe.yaml", "/p/data/in/x.csv", "/p/data/in", "/p/data", "/p/images/a/b"] {
            assert!(counts(path), "{path}");
        }
        for path in ["/p/other.yaml", "/p/data/in/x.csv~", "/p/.runner/tmp/a", "/p/artifacts/x"] {
            assert!(!counts(path), "{path}");
        }
        let all = Watched {
            paths: Paths { files: BTreeSet::new(), trees: BTreeSet::from(["/p".into()]) },
            ..watched()
        };
        assert!(all.counts(Path::new("/p/x")) && !all.counts(Path::new("/p/.runner/x")));
    }

    #[test]
    fn folders_are_watched_up_to_the_root() {
        let folders = watched().folders();
        let expected = ["/else/deep", "/p", "/p/data", "/p/data/in", "/p/images"];
        assert_eq!(folders.keys().map(|path| path.to_str().unwrap()).collect::<Vec<_>>(), expected);
        assert!(folders[Path::new("/p/images")] && !folders[Path::new("/p/data")]);
    }

    #[test]
    fn to_read_is_not_to_change() {
        let event = |kind| Ok(Event::new(kind).add_path("/p/pipe.yaml".into()));
        let of = |kind| wake(event(kind), &watched());
        assert_eq!(of(EventKind::Access(AccessKind::Open(AccessMode::Any))), None);
        assert_eq!(of(EventKind::Access(AccessKind::Close(AccessMode::Read))), None);
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert_eq!(of(written), Some(Wake::Changed));
        assert_eq!(of(EventKind::Any), Some(Wake::Changed));
    }
}
