//! What only root may do to a machine: small disks, read-only ones, other users, another boot.
//!
//! A test that needs it and may not do it says so and passes.

#![allow(dead_code, reason = "no test program uses all of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Project;

/// Says whether this process may mount file systems; tells it aloud where it may not.
pub fn may_mount(test: &str) -> bool {
    let may = succeeds(Command::new("unshare").args(["-m", "true"]));
    if !may {
        eprintln!("SKIPPED {test}: it needs root, with the right to mount");
    }
    may
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A file system in memory that is gone when it is dropped.
pub struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Mounts one of a size such as `2m` at a path.
    pub fn new(path: PathBuf, size: &str) -> Disk {
        fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        assert!(succeeds(mount.args(["-t", "tmpfs", "-o", &options, "runner-test"]).arg(&path)));
        Disk { path }
    }

    /// Gives where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Mounts it again with other options: a size, or `ro`.
    pub fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(
            succeeds(Command::new("mount").args(["-o", &options]).arg(&self.path)),
            "{options}"
        );
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        succeeds(Command::new("umount").arg("-l").arg(&self.path));
    }
}

/// Gives the command of the real binary in another folder.
pub fn command_in(project: &Project, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = project.command(arguments);
    command.current_dir(folder);
    command
}

/// Wraps a command of the real binary: `words` come before it.
fn wrapped(project: &Project, words: &[&str], arguments: &[&str]) -> Command {
    let inner = project.command(arguments);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(inner.get_program()).args(inner.get_args());
    command.current_dir(project.root()).env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// Gives the command of the real binary after another boot of the machine.
pub fn after_boot(project: &Project, boot: &Path, arguments: &[&str]) -> Command {
    let script = "mount --bind \"$0\" /proc/sys/kernel/random/boot_id && exec \"$@\"";
    let boot = boot.to_str().expect("a temporary folder's name is UTF-8");
    wrapped(project, &["unshare", "-m", "sh", "-c", script, boot], arguments)
}

/// Gives the command of the real binary as the user `nobody`.
pub fn as_nobody(project: &Project, arguments: &[&str]) -> Command {
    let words =
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"];
    wrapped(project, &words, arguments)
}
