//! A file system in memory, mounted through FUSE, on which a chosen write fails or is the last thing
//! that a process does.
//!
//! The program under test knows nothing of it: faults come from where they come from in life. Calls
//! that change anything in a folder named `.runner` are counted from 1, in the order in which the
//! kernel hands them over; reads and everything outside are not. Knows nothing of pipelines.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};

use rustix::io::{Errno, FdFlags};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

mod fuse;
mod tree;

use fuse::{Answer, Request, call};
use tree::{Data, Tree};

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and those after it go well.
    Once(Errno),
    /// It fails, and so do all after it.
    From(Errno),
    /// It is done by half where it is a write, and the process that was named is killed.
    Kill,
    /// The same, with its whole process group.
    KillGroup,
}

/// The file system, mounted as long as this lives.
pub struct Disk {
    shared: Arc<Shared>,
    folder: TempDir,
    server: Option<JoinHandle<()>>,
}

impl Disk {
    /// Mounts an empty one.
    ///
    /// # Panics
    ///
    /// Where it cannot be mounted: it takes `/dev/fuse` and the right to mount.
    pub fn mount() -> Disk {
        let folder = TempDir::new().expect("a folder to mount on");
        let mut device = File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .expect("/dev/fuse can be opened");
        // `mount` inherits it.
        rustix::io::fcntl_setfd(&device, FdFlags::empty()).expect("a flag can be set");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", &options, "disk"])
            .arg(folder.path())
            .status()
            .expect("`mount` can be started");
        assert!(mounted.success(), "a FUSE file system can be mounted");
        rustix::io::fcntl_setfd(&device, FdFlags::CLOEXEC).expect("a flag can be set");
        let shared = Arc::new(Shared::default());
        let server = Server { shared: Arc::clone(&shared), listings: HashMap::new(), opened: 0 };
        let server = thread::spawn(move || server.serve(&mut device));
        Disk { shared, folder, server: Some(server) }
    }

    /// Gives where it is mounted.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Begins to count anew, and lets `fault` happen at the call of that number; at none where it is
    /// 0.
    pub fn arm(&self, at: u64, fault: Fault) {
        self.shared.victim.store(0, Ordering::SeqCst);
        *self.shared.plan() = Plan { count: 0, at, fault: Some(fault), struck: None };
    }

    /// Lets nothing happen any more, and gives what was struck.
    pub fn disarm(&self) -> Option<String> {
        let mut plan = self.shared.plan();
        plan.fault = None;
        plan.struck.take()
    }

    /// Names the process that a fault kills; the fault waits for that.
    pub fn set_victim(&self, pid: u32) {
        self.shared.victim.store(pid.cast_signed(), Ordering::SeqCst);
    }

    /// Counts the calls that changed something since it was armed.
    pub fn count(&self) -> u64 {
        self.shared.plan().count
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.folder.path()).status();
        if let Some(server) = self.server.take()
            && unmounted.is_ok_and(|status| status.success())
        {
            let _ = server.join();
        }
    }
}

#[derive(Default)]
struct Shared {
    plan: Mutex<Plan>,
    victim: AtomicI32,
}

#[derive(Default)]
struct Plan {
    count: u64,
    at: u64,
    fault: Option<Fault>,
    struck: Option<String>,
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that changes `path`, and gives what is to happen at it.
    fn strike(&self, what: &str, path: &Path) -> Option<Fault> {
        // SQLite maps this file, and when the kernel writes the pages is left to chance.
        let is_mapped = path.as_os_str().as_encoded_bytes().ends_with(b"-shm");
        if is_mapped || !path.iter().any(|name| name == ".runner") {
            return None;
        }
        let mut plan = self.plan();
        plan.count += 1;
        let fault = plan.fault?;
        let is_struck = match fault {
            Fault::From(_) => plan.at > 0 && plan.count >= plan.at,
            Fault::Once(_) | Fault::Kill | Fault::KillGroup => plan.count == plan.at,
        };
        if is_struck && plan.struck.is_none() {
            plan.struck = Some(format!("{what} {} (call {})", path.display(), plan.count));
        }
        is_struck.then_some(fault)
    }

    fn kill(&self, whole_group: bool) {
        let pid = loop {
            match Pid::from_raw(self.victim.load(Ordering::SeqCst)) {
                Some(pid) => break pid,
                None => thread::sleep(Duration::from_millis(1)),
            }
        };
        let _ = match whole_group {
            true => rustix::process::kill_process_group(pid, Signal::KILL),
            false => rustix::process::kill_process(pid, Signal::KILL),
        };
    }
}

struct Server {
    shared: Arc<Shared>,
    /// What each open folder had when it was opened.
    listings: HashMap<u64, Vec<(u64, u32, OsString)>>,
    opened: u64,
}

impl Server {
    fn serve(mut self, device: &mut File) {
        let mut tree = Tree::new();
        while let Some(mut request) = Request::next(device) {
            let unique = request.unique;
            match request.call {
                call::FORGET | call::BATCH_FORGET | call::INTERRUPT => {}
                call::INIT => fuse::reply(device, unique, Ok(Answer::init())),
                _ => {
                    let answer = self.strike_or_do(&mut tree, &mut request);
                    fuse::reply(device, unique, answer);
                }
            }
        }
    }

    /// Does a call, or what the plan has for it.
    fn strike_or_do(&mut self, tree: &mut Tree, request: &mut Request) -> Result<Answer, Errno> {
        let changed = change(tree, request);
        let fault = changed.and_then(|(what, path)| self.shared.strike(what, &path));
        match fault {
            None => self.handle(tree, request),
            Some(Fault::Once(errno) | Fault::From(errno)) => Err(errno),
            Some(fault @ (Fault::Kill | Fault::KillGroup)) => {
                if request.call == call::WRITE {
                    let node = request.node;
                    let (offset, data) = write_of(request);
                    tree.write(node, offset, &data[..data.len() / 2])?;
                }
                self.shared.kill(fault == Fault::KillGroup);
                Err(Errno::IO)
            }
        }
    }

    fn handle(&mut self, tree: &mut Tree, request: &mut Request) -> Result<Answer, Errno> {
        let node = request.node;
        match request.call {
            call::LOOKUP => {
                let number = tree.find(node, &request.name())?;
                entry(tree, number)
            }
            call::GETATTR => Ok(Answer::of_attributes(node, tree.node(node)?)),
            call::SETATTR => set_attributes(tree, request),
            call::READLINK => match &tree.node(node)?.data {
                Data::Link(target) => Ok(Answer::bytes(target.as_encoded_bytes())),
                _ => Err(Errno::INVAL),
            },
            call::SYMLINK => {
                let (name, target) = (request.name(), request.name());
                let number = tree.add(node, &name, Data::Link(target), 0o777)?;
                entry(tree, number)
            }
            call::MKDIR => {
                let mode = request.u32();
                request.skip(4);
                let folder = Data::Folder(std::collections::BTreeMap::new());
                let number = tree.add(node, &request.name(), folder, mode)?;
                entry(tree, number)
            }
            call::UNLINK | call::RMDIR => {
                tree.remove(node, &request.name()).map(|()| Answer::default())
            }
            call::RENAME | call::RENAME2 => rename(tree, request),
            call::LINK => {
                let old = request.u64();
                tree.link(old, node, &request.name())?;
                entry(tree, old)
            }
            call::CREATE => {
                request.skip(4);
                let mode = request.u32();
                request.skip(8);
                let number = tree.add(node, &request.name(), Data::File(Vec::new()), mode)?;
                Ok(Answer::created(number, tree.node(number)?))
            }
            call::OPEN => Ok(Answer::opened(0)),
            call::READ => {
                request.skip(8);
                let (start, size) = (request.u64() as usize, request.u32() as usize);
                let bytes = tree.file(node)?;
                let start = start.min(bytes.len());
                Ok(Answer::bytes(&bytes[start..(start + size).min(bytes.len())]))
            }
            call::WRITE => {
                let (offset, data) = write_of(request);
                tree.write(node, offset, data)?;
                Ok(Answer::written(data.len()))
            }
            call::OPENDIR => {
                self.opened += 1;
                self.listings.insert(self.opened, tree.list(node)?);
                Ok(Answer::opened(self.opened))
            }
            call::READDIR => Ok(self.list(request)),
            call::RELEASEDIR => {
                self.listings.remove(&request.u64());
                Ok(Answer::default())
            }
            call::STATFS => Ok(Answer::statfs()),
            call::RELEASE | call::FLUSH | call::FSYNC | call::FSYNCDIR | call::ACCESS => {
                Ok(Answer::default())
            }
            _ => Err(Errno::NOSYS),
        }
    }

    fn list(&self, request: &mut Request) -> Answer {
        let (handle, offset, most) = (request.u64(), request.u64(), request.u32());
        let mut answer = Answer::default();
        let listing = self.listings.get(&handle).map_or(&[][..], Vec::as_slice);
        for (place, one) in (1..).zip(listing).skip(offset as usize) {
            if !answer.add_to_listing(one, place, most as usize) {
                break;
            }
        }
        answer
    }
}

/// Names what a call changes, and where, if it does.
fn change(tree: &Tree, request: &Request) -> Option<(&'static str, PathBuf)> {
    let named = |skipped: usize| {
        let rest = &request.rest()[skipped..];
        let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        tree.path_of(request.node).join(String::from_utf8_lossy(name).as_ref())
    };
    match request.call {
        call::SETATTR => Some(("set attributes of", tree.path_of(request.node))),
        call::SYMLINK => Some(("link", named(0))),
        call::MKDIR => Some(("make the folder", named(8))),
        call::UNLINK => Some(("remove", named(0))),
        call::RMDIR => Some(("remove the folder", named(0))),
        call::RENAME => Some(("rename", named(8))),
        call::RENAME2 => Some(("rename", named(16))),
        call::LINK => Some(("link", named(8))),
        call::CREATE => Some(("create", named(16))),
        call::WRITE => Some(("write", tree.path_of(request.node))),
        call::FSYNC | call::FSYNCDIR => Some(("sync", tree.path_of(request.node))),
        _ => None,
    }
}

fn entry(tree: &mut Tree, number: u64) -> Result<Answer, Errno> {
    Ok(Answer::entry(number, tree.node(number)?))
}

/// Gives where a write begins, and its bytes.
fn write_of(request: &mut Request) -> (usize, &[u8]) {
    request.skip(8);
    let offset = request.u64() as usize;
    request.skip(24);
    (offset, request.rest())
}

fn rename(tree: &mut Tree, request: &mut Request) -> Result<Answer, Errno> {
    /// Refuse where the new name is there.
    const NOREPLACE: u32 = 1;
    let to = request.u64();
    let flags = if request.call == call::RENAME2 { request.u64() as u32 } else { 0 };
    let (name, new_name) = (request.name(), request.name());
    match flags {
        0 => {}
        NOREPLACE if tree.find(to, &new_name).is_ok() => return Err(Errno::EXIST),
        NOREPLACE => {}
        _ => return Err(Errno::INVAL),
    }
    tree.rename((request.node, &name), (to, &new_name)).map(|()| Answer::default())
}

fn set_attributes(tree: &mut Tree, request: &mut Request) -> Result<Answer, Errno> {
    const MODE: u32 = 1;
    const SIZE: u32 = 8;
    const MODIFIED: u32 = 32;
    const MODIFIED_NOW: u32 = 256;
    let which = request.u32();
    request.skip(12);
    let size = request.u64();
    request.skip(16);
    let seconds = request.u64();
    request.skip(12);
    let nanoseconds = request.u32();
    request.skip(4);
    let mode = request.u32();
    if which & SIZE != 0 {
        tree.file(request.node)?.resize(size as usize, 0);
    }
    let node = tree.node(request.node)?;
    if which & (SIZE | MODIFIED_NOW) != 0 {
        node.touch();
    } else if which & MODIFIED != 0 {
        node.modified = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    }
    if which & MODE != 0 {
        node.mode = mode & 0o7777;
    }
    node.changed = std::time::SystemTime::now();
    Ok(Answer::of_attributes(request.node, node))
}
