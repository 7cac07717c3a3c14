//! The paths at which a command reads its inputs: files under names with endings, folders where they
//! lie, lists of files, and the tables that tell the files of a list apart.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::executor::worker::{InputFile, Job, blob_of, store_failure};
use crate::freshness::content;
use crate::pipeline::{Source, Table};
use crate::stage::{Failure, Stop};
use crate::store::{StoreError, files};

/// Gives the paths of each input by name, and writes the tables to `folder`.
pub fn paths(job: &Job, folder: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>, Stop> {
    let mut paths = BTreeMap::new();
    for (name, input) in &job.inputs {
        let found = match &input.from {
            Source::Table(_) => continue,
            Source::Folder(_) => vec![input.path.clone()],
            Source::Glob(_) => pattern(job, name, input)?,
            Source::File(_) | Source::Output { .. } => vec![file(job, name, input)?],
        };
        paths.insert(name.clone(), found);
    }
    for (name, input) in &job.inputs {
        if let Source::Table(table) = &input.from {
            let members = table.members.iter().filter_map(|member| paths.remove(member));
            let members: Vec<PathBuf> = members.flatten().collect();
            let path = folder.join(format!("{name}.csv"));
            let written = files::create_folder(folder).and_then(|()| {
                std::fs::write(&path, csv(table, &members)).map_err(StoreError::io("write", &path))
            });
            written.map_err(|error| store_failure(&error))?;
            paths.insert(name.clone(), vec![path]);
            paths.insert(table.list.clone(), members);
        }
    }
    one_line_each(&paths)?;
    Ok(paths)
}

/// Gives the files that a pattern fits; that they are those that were hashed is seen at the end.
fn pattern(job: &Job, name: &str, input: &InputFile) -> Result<Vec<PathBuf>, Stop> {
    let files = content::files(&job.root, &input.from)
        .map_err(|error| Failure::new(format!("its input `{name}`: {error}")))?;
    Ok(files.into_iter().map(|file| job.root.join(file)).collect())
}

/// Gives a file of the store a name that a program can tell the format of.
fn file(job: &Job, name: &str, input: &InputFile) -> Result<PathBuf, Stop> {
    let Some(digest) = blob_of(job, input)? else { return Ok(input.path.clone()) };
    let extension = input.format.map_or(input.extension.as_str(), |format| format.name());
    job.store.link(digest, name, extension).map_err(|error| store_failure(&error))
}

/// Refuses what a variable that holds a path a line cannot hold.
fn one_line_each(paths: &BTreeMap<String, Vec<PathBuf>>) -> Result<(), Stop> {
    let lists = paths.iter().filter(|(_, paths)| paths.len() > 1);
    for (name, paths) in lists {
        let broken = paths.iter().find(|path| path.as_os_str().as_bytes().contains(&b'\n'));
        if let Some(path) = broken {
            let message = format!("a path of its input `{name}` holds a line feed: {path:?}");
            return Err(Failure::new(message).help("rename the file").into());
        }
    }
    Ok(())
}

/// Writes a table: the keys of the matrix and the path of each file.
fn csv(table: &Table, members: &[PathBuf]) -> Vec<u8> {
    let mut head = String::new();
    for key in &table.keys {
        let _ = write!(head, "{},", cell(key));
    }
    head.push_str("path\n");
    let mut text = head.into_bytes();
    for (row, path) in table.rows.iter().zip(members) {
        for value in row {
            text.extend_from_slice(cell(&plain(value.as_ref())).as_bytes());
            text.push(b',');
        }
        text.extend_from_slice(&quoted(path.as_os_str()));
        text.push(b'\n');
    }
    text
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn cell(text: &str) -> String {
    String::from_utf8_lossy(&quoted(OsStr::new(text))).into_owned()
}

/// Quotes what holds a sign of CSV's own.
fn quoted(text: &OsStr) -> Vec<u8> {
    let bytes = text.as_bytes();
    if !bytes.iter().any(|byte| b",\"\r\n".contains(byte)) {
        return bytes.to_vec();
    }
    let mut quoted = vec![b'"'];
    for byte in bytes {
        quoted.push(*byte);
        if *byte == b'"' {
            quoted.push(b'"');
        }
    }
    quoted.push(b'"');
    quoted
}
