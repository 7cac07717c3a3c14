//! Inputs that are files of the user's: one, all of a folder, or those that a pattern fits.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{From, Reader, Wanted, conversion, within};
use crate::pipeline::check::Checks;
use crate::pipeline::diagnostic::Problem;
use crate::pipeline::listing::ListingError;
use crate::pipeline::{Input, Source};
use crate::stage::StageKind;

/// Finds what an input names among the user's files. Of a stage that is off nothing need be there.
pub fn resolve(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    checks: &Checks<'_>,
) -> Result<Option<Input>, Problem> {
    if reader.draft.off {
        return Ok(None);
    }
    let from = match wanted.from {
        From::Glob => Source::Glob(pattern(wanted, reader, checks)?),
        _ => file_or_folder(wanted, reader, checks)?,
    };
    let format = match &from {
        Source::File(path) => conversion(path, wanted, reader)?,
        _ => {
            one_file_only(wanted, reader)?;
            None
        }
    };
    Ok(Some(Input { from, format }))
}

/// Refuses several files where one is read.
fn one_file_only(wanted: &Wanted<'_>, reader: &Reader<'_, '_>) -> Result<(), Problem> {
    let what =
        if matches!(wanted.from, From::Glob) { "the files of a pattern" } else { "a folder" };
    if reader.draft.kind.is_some_and(|kind| kind != StageKind::Command) {
        let message = format!("{} takes one file, not {what}", reader.name());
        let help = "name one file, or join them in a `command` stage before";
        return Err(Problem::new(wanted.place, message).help(help));
    }
    match wanted.format {
        None => Ok(()),
        Some((_, place)) => {
            let message = format!("{} is {what}, which `as` cannot convert", reader.name());
            Err(Problem::new(place, message).help("remove `as`"))
        }
    }
}

fn wrong(wanted: &Wanted<'_>, reader: &Reader<'_, '_>, what: &str, help: &str) -> Problem {
    let kind = if matches!(wanted.from, From::Glob) { "pattern" } else { "file" };
    let message = format!("the {kind} `{}` of {} {what}", wanted.text, reader.name());
    Problem::new(wanted.place, message).help(help)
}

const OUTSIDE: (&str, &str) =
    ("lies outside the root", "paths start at the root; give the absolute path");

/// Checks the path of a user's file or folder: it exists, and does not leave the root unless it is
/// absolute.
fn file_or_folder(
    wanted: &Wanted<'_>,
    reader: &Reader<'_, '_>,
    checks: &Checks<'_>,
) -> Result<Source, Problem> {
    let wrong = |what: &str, help: &str| wrong(wanted, reader, what, help);
    let path = Path::new(wanted.text);
    let own = || wrong("holds the root, and so all that a run writes", "name a folder below");
    let path: PathBuf = match path.is_absolute() {
        true => path.to_owned(),
        false => within(path).ok_or_else(|| match holds(&checks.root.join(path), checks.root) {
            true => own(),
            false => wrong(OUTSIDE.0, OUTSIDE.1),
        })?,
    };
    let full = checks.root.join(&path);
    match std::fs::metadata(&full) {
        Ok(metadata) if metadata.is_file() => Ok(Source::File(path)),
        Ok(metadata) if metadata.is_dir() => {
            if holds(&full, checks.root) {
                return Err(own());
            }
            Ok(Source::Folder(path))
        }
        Ok(_) => Err(wrong("is neither a regular file nor a folder", "name a file")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(wrong("does not exist", "paths start at the root, the folder that holds `.runner`"))
        }
        Err(error) => {
            Err(wrong(&format!("cannot be read: {error}"), "look at the rights of its folders"))
        }
    }
}

/// Says whether a folder is the root or above it.
fn holds(folder: &Path, root: &Path) -> bool {
    match (folder.canonicalize(), root.canonicalize()) {
        (Ok(folder), Ok(root)) => root.starts_with(folder),
        _ => false,
    }
}

/// Checks a pattern: it can be read, does not leave the root unless it is absolute, and fits a file.
fn pattern(
    wanted: &Wanted<'_>,
    reader: &Reader<'_, '_>,
    checks: &Checks<'_>,
) -> Result<String, Problem> {
    let wrong = |what: &str, help: &str| wrong(wanted, reader, what, help);
    let path = Path::new(wanted.text);
    if !path.is_absolute() && within(path).is_none() {
        return Err(wrong(OUTSIDE.0, OUTSIDE.1));
    }
    match checks.fitting(wanted.text) {
        Ok(files) if files.is_empty() => Err(wrong(
            "fits no file",
            "paths start at the root; `*` leaves out names that begin with a dot",
        )),
        Ok(_) => Ok(wanted.text.to_owned()),
        Err(error @ ListingError::Pattern(_)) => Err(wrong(
            &format!("cannot be read: {error}"),
            "`*` stands for a part of a name, `**/` for folders, `?` for a letter, `[ab]` for one of several",
        )),
        Err(error) => {
            Err(wrong(&format!("cannot be read: {error}"), "look at the rights of its folders"))
        }
    }
}
