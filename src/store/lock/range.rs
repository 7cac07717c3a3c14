//! The locks of actions as one byte each of one file.
//!
//! There is a lock for each action that is in flight, and of a file for each, ten thousand would be
//! made and removed in a run: on ext4, every new file then has to look past the removed ones. A range
//! lock of an open file description dies with its holder as a whole file's lock does.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

/// Gives the byte that stands for a name: two names have the same once in 2^62 times.
pub fn of_name(name: &OsStr) -> i64 {
    let hash = blake3::hash(name.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    i64::from_le_bytes(first) & (i64::MAX >> 1)
}

/// Locks a byte for this open file alone; says whether it could.
///
/// # Errors
///
/// The operating system's, but for that another holds it.
pub fn try_lock(file: &File, byte: i64) -> io::Result<bool> {
    match set(file, byte, libc::F_WRLCK) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Lets go of a byte.
pub fn unlock(file: &File, byte: i64) {
    // What cannot be let go of is, when the file is closed.
    let _ = set(file, byte, libc::F_UNLCK);
}

fn set(file: &File, byte: i64, kind: libc::c_int) -> io::Result<()> {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        // SAFETY: a system call on an open file, with a description that outlives the call.
        let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        let error = io::Error::last_os_error();
        match done {
            -1 if error.kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(error),
            _ => return Ok(()),
        }
    }
}
