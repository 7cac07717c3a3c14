//! Where the file of a program is looked for.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Where programs are looked for where `PATH` is not set, as `execvp` has it.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// Gives the files that a program may be, in the order in which the system tries them; those that
/// are relative start where the program is to run.
pub fn candidates(program: &OsStr, path: Option<&OsStr>) -> Vec<PathBuf> {
    if program.as_bytes().contains(&b'/') {
        return vec![program.into()];
    }
    let folders = std::env::split_paths(path.unwrap_or(OsStr::new(DEFAULT_PATH)));
    folders.map(|folder| folder.join(program)).collect()
}

/// Says whether a file can be run, as far as its kind and its rights tell.
pub fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|one| one.is_file() && one.permissions().mode() & 0o111 != 0)
}
