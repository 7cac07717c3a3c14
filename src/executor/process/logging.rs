//! Where a program's output goes: straight into the log, or where values must be masked through us.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::task::JoinHandle;
use tokio::time;

use crate::executor::secrets::{Mask, Secrets};

/// How long what is left of the output is waited for once the program and its group are gone: only
/// what has left the group can still hold the other end.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most that is read at once, in bytes.
const CHUNK: usize = 64 * 1024;

/// How the log of a running program comes about.
pub(super) struct Logging(Option<JoinHandle<()>>);

impl Logging {
    /// Makes the empty log, and gives what the program writes its output and its errors to. Both are
    /// one open file: what comes first stands first.
    pub(super) fn begin(log: &Path, secrets: &Secrets) -> io::Result<((File, File), Logging)> {
        let open = || {
            let truncated = OFlags::TRUNC.bits().cast_signed();
            File::options().create(true).append(true).custom_flags(truncated).open(log)
        };
        let file = match (open(), log.parent()) {
            (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder)?;
                open()?
            }
            (opened, _) => opened?,
        };
        if secrets.is_empty() {
            return Ok(((file.try_clone()?, file), Logging(None)));
        }
        let (reader, writer) = io::pipe()?;
        let reader = std::process::ChildStdout::from(OwnedFd::from(reader));
        let reader = ChildStdout::from_std(reader)?;
        let copying = tokio::spawn(copy(reader, file, secrets.clone()));
        let streams = [writer.try_clone()?, writer].map(|one| File::from(OwnedFd::from(one)));
        let [output, errors] = streams;
        Ok(((output, errors), Logging(Some(copying))))
    }

    /// Waits until all that was said is in the log.
    pub(super) async fn end(self) {
        let Some(mut copying) = self.0 else { return };
        if time::timeout(PATIENCE, &mut copying).await.is_err() {
            copying.abort();
        }
    }
}

/// Copies what a program says into its log, with the values masked.
async fn copy(mut from: ChildStdout, mut log: File, secrets: Secrets) {
    let mut mask = Mask::new(&secrets);
    let mut piece = vec![0; CHUNK];
    loop {
        let read = from.read(&mut piece).await.unwrap_or(0);
        let shown = if read == 0 { mask.finish() } else { mask.push(&piece[..read]) };
        // A log that cannot be written must not stop the program.
        let _ = log.write_all(&shown);
        if read == 0 {
            return;
        }
    }
}
