//! The files of an input that is a folder or a pattern.
//!
//! Links are followed, to files and to folders, since what a program reads there decides its result;
//! a link that leads back above itself is refused. All files of a folder count, hidden ones too; a
//! pattern passes over names that begin with a dot. Knows nothing of what is in the files.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::Source;

/// Why the files of an input cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The pattern is none.
    #[error("{0}")]
    Pattern(String),
    /// The operating system's.
    #[error("{}: {source}", path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
}

/// The deepest nesting of folders that is followed.
const DEPTH: usize = 128;
/// The most files and folders that are looked at.
const MOST: usize = 1_000_000;

/// How patterns fit: as in a shell, upper and lower case apart.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Lists the files of a folder or a pattern; none for any other source. Each has its path relative to
/// the folder, or to the root, by whose bytes they are sorted.
///
/// # Errors
///
/// [`ListingError`] where a folder cannot be read, or holds what is no file.
pub fn files(root: &Path, source: &Source) -> Result<Option<Vec<PathBuf>>, ListingError> {
    match source {
        Source::Folder(folder) => self::folder(&root.join(folder)).map(Some),
        Source::Glob(pattern) => glob(root, pattern).map(Some),
        Source::Output { .. } | Source::File(_) | Source::Table(_) => Ok(None),
    }
}

/// Gives the folder to which the paths of a listing are relative.
pub fn base(root: &Path, source: &Source) -> PathBuf {
    match source {
        Source::Folder(folder) => root.join(folder),
        _ => root.to_owned(),
    }
}

/// Lists all files below a folder, relative to it.
///
/// # Errors
///
/// [`ListingError::Io`] where a folder cannot be read, or holds what is no file.
pub fn folder(folder: &Path) -> Result<Vec<PathBuf>, ListingError> {
    let mut files = Vec::new();
    let mut seen = |path: &Path, kind| {
        if kind == Kind::File {
            files.push(path.to_owned());
        }
        true
    };
    Walk { seen: &mut seen, left: MOST }.folder(folder, Path::new(""), 0)?;
    sort(&mut files);
    Ok(files)
}

/// Lists the files that a pattern fits, relative to the root unless the pattern is absolute.
///
/// # Errors
///
/// [`ListingError`] where it is no pattern, or a folder cannot be read.
pub fn glob(root: &Path, pattern: &str) -> Result<Vec<PathBuf>, ListingError> {
    let clean: PathBuf = Path::new(pattern)
        .components()
        .filter(|component| !matches!(component, std::path::Component::CurDir))
        .collect();
    let clean = clean.to_string_lossy();
    let fits = Pattern::new(&clean).map_err(|error| ListingError::Pattern(error.msg.to_owned()))?;
    let parts: Vec<Pattern> = clean
        .split('/')
        .map(|part| Pattern::new(part).map_err(|error| ListingError::Pattern(error.msg.to_owned())))
        .collect::<Result<_, _>>()?;
    // The folders above the first `*` are known: nothing beside them is looked at.
    let plain = parts.iter().take_while(|part| !part.as_str().contains(['*', '?', '['])).count();
    let start: PathBuf = match plain < parts.len() {
        true => clean
            .split('/')
            .take(plain)
            .map(|part| if part.is_empty() { "/" } else { part })
            .collect(),
        false => PathBuf::from(&*clean),
    };
    let mut files = Vec::new();
    match fs::metadata(root.join(&start)) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Ok(if plain == parts.len() { vec![start] } else { Vec::new() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        Err(source) => return Err(ListingError::Io { path: start, source }),
    }
    let mut seen = |path: &Path, kind| match kind {
        Kind::Folder => path == start || may_hold(path, &parts),
        Kind::Other => fits.matches_path_with(path, OPTIONS),
        Kind::File => {
            let found = fits.matches_path_with(path, OPTIONS);
            if found {
                files.push(path.to_owned());
            }
            found
        }
    };
    Walk { seen: &mut seen, left: MOST }.folder(&root.join(&start), &start, 0)?;
    sort(&mut files);
    Ok(files)
}

/// Says whether files below a folder may fit, so that others need not be read.
fn may_hold(folder: &Path, parts: &[Pattern]) -> bool {
    let names = folder.iter().map(|name| name.to_string_lossy());
    let names: Vec<_> = names.map(|name| if name == "/" { "".into() } else { name }).collect();
    for (name, part) in names.iter().zip(parts) {
        if part.as_str() == "**" {
            let last = names.last().map_or("", |name| name.as_ref());
            return !last.starts_with('.');
        }
        if !part.matches_with(name, OPTIONS) {
            return false;
        }
    }
    names.len() < parts.len()
}

fn sort(files: &mut [PathBuf]) {
    files.sort_by(|one, other| {
        one.as_os_str().as_encoded_bytes().cmp(other.as_os_str().as_encoded_bytes())
    });
}

/// What a walk meets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    File,
    /// A socket, a pipe, a device.
    Other,
}

/// A walk through folders.
struct Walk<'w> {
    /// Is told each path and what it is; says whether to go into a folder, and whether what is no
    /// file is wanted all the same.
    seen: &'w mut dyn FnMut(&Path, Kind) -> bool,
    /// How many more paths it may meet: links can make few folders many.
    left: usize,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, shown: &Path, depth: usize) -> Result<(), ListingError> {
        if depth > DEPTH || self.left == 0 {
            let message = match self.left {
                0 => format!("it holds more than {MOST} files"),
                _ => "its folders are nested too deep".to_owned(),
            };
            return Err(failed(folder, io::Error::other(message)));
        }
        if !(self.seen)(shown, Kind::Folder) {
            return Ok(());
        }
        for entry in fs::read_dir(folder).map_err(|source| failed(folder, source))? {
            self.left = self.left.saturating_sub(1);
            let entry = entry.map_err(|source| failed(folder, source))?;
            self.entry(&entry, &shown.join(entry.file_name()), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, shown: &Path, depth: usize) -> Result<(), ListingError> {
        let path = entry.path();
        let own = entry.file_type().map_err(|source| failed(&path, source))?;
        // A link that leads nowhere cannot be read as a file, and that is said where it is wanted.
        let kind = match own.is_symlink() {
            true => fs::metadata(&path).map_or(Kind::File, |metadata| kind(metadata.file_type())),
            false => kind(own),
        };
        match kind {
            Kind::Folder if own.is_symlink() && leads_above(&path) => {
                Err(failed(&path, io::Error::other("the link leads to a folder that holds it")))
            }
            Kind::Folder => self.folder(&path, shown, depth + 1),
            Kind::File => {
                (self.seen)(shown, Kind::File);
                Ok(())
            }
            Kind::Other if (self.seen)(shown, Kind::Other) => {
                Err(failed(&path, io::Error::other("it is neither a file nor a folder")))
            }
            Kind::Other => Ok(()),
        }
    }
}

fn failed(path: &Path, source: io::Error) -> ListingError {
    ListingError::Io { path: path.to_owned(), source }
}

fn kind(kind: fs::FileType) -> Kind {
    match (kind.is_dir(), kind.is_file()) {
        (true, _) => Kind::Folder,
        (_, true) => Kind::File,
        _ => Kind::Other,
    }
}

/// Says whether a link to a folder leads to one in which it lies itself.
fn leads_above(link: &Path) -> bool {
    let holder = link.parent().and_then(|parent| parent.canonicalize().ok());
    match (link.canonicalize(), holder) {
        (Ok(target), Some(holder)) => holder.starts_with(target),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(files: Vec<PathBuf>) -> Vec<String> {
        files.into_iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn folders_and_patterns_are_listed_in_order() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for path in ["d/b.csv", "d/a/x.csv", "d/a.csv", "d/.h.csv", "d/a/deep/y.csv", "e/z.txt"] {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), path).unwrap();
        }
        std::os::unix::fs::symlink(root.join("e"), root.join("d/link")).unwrap();
        assert_eq!(
            names(folder(&root.join("d")).unwrap()),
            [".h.csv", "a.csv", "a/deep/y.csv", "a/x.csv", "b.csv", "link/z.txt"]
        );
        let fits = |pattern: &str| names(glob(root, pattern).unwrap());
        assert_eq!(fits("d/*.csv"), ["d/a.csv", "d/b.csv"]);
        assert_eq!(fits("d/**/*.csv"), ["d/a.csv", "d/a/deep/y.csv", "d/a/x.csv", "d/b.csv"]);
        assert_eq!(fits("**/z.txt"), ["d/link/z.txt", "e/z.txt"]);
        assert_eq!(fits("*/a/*.csv"), ["d/a/x.csv"]);
        assert_eq!(fits("./d/[ab].csv"), ["d/a.csv", "d/b.csv"]);
        assert_eq!(fits("d/b.csv"), ["d/b.csv"]);
        assert_eq!(fits("no/*.csv"), [""; 0]);
        let absolute = format!("{}/e/*.txt", root.display());
        assert_eq!(fits(&absolute), [format!("{}/e/z.txt", root.display())]);
        assert!(glob(root, "d/[").is_err());
    }

    #[test]
    fn a_link_in_a_circle_is_refused() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("d")).unwrap();
        std::os::unix::fs::symlink(root.path(), root.path().join("d/up")).unwrap();
        let error = folder(&root.path().join("d")).unwrap_err();
        assert!(error.to_string().contains("leads to a folder that holds it"), "{error}");
    }
}
