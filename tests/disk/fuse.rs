//! The kernel's FUSE protocol, as much of it as one program's files need (`linux/fuse.h`, 7.31).
//!
//! It is spoken by hand: the crates that do bring features for half of our dependencies, and a test
//! build and a release build would then share none of them. Numbers are in the machine's own order.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::tree::Node;

/// The largest write that the kernel hands over in one piece.
const LARGEST: usize = 128 * 1024;

/// The numbers of the calls.
pub mod call {
    pub const LOOKUP: u32 = 1;
    pub const FORGET: u32 = 2;
    pub const GETATTR: u32 = 3;
    pub const SETATTR: u32 = 4;
    pub const READLINK: u32 = 5;
    pub const SYMLINK: u32 = 6;
    pub const MKDIR: u32 = 9;
    pub const UNLINK: u32 = 10;
    pub const RMDIR: u32 = 11;
    pub const RENAME: u32 = 12;
    pub const LINK: u32 = 13;
    pub const OPEN: u32 = 14;
    pub const READ: u32 = 15;
    pub const WRITE: u32 = 16;
    pub const STATFS: u32 = 17;
    pub const RELEASE: u32 = 18;
    pub const FSYNC: u32 = 20;
    pub const FLUSH: u32 = 25;
    pub const INIT: u32 = 26;
    pub const OPENDIR: u32 = 27;
    pub const READDIR: u32 = 28;
    pub const RELEASEDIR: u32 = 29;
    pub const FSYNCDIR: u32 = 30;
    pub const ACCESS: u32 = 34;
    pub const CREATE: u32 = 35;
    pub const INTERRUPT: u32 = 36;
    pub const BATCH_FORGET: u32 = 42;
    pub const RENAME2: u32 = 45;
}

/// One call of the kernel's.
pub struct Request {
    pub call: u32,
    pub unique: u64,
    /// The node that it is about.
    pub node: u64,
    body: Vec<u8>,
    at: usize,
}

impl Request {
    /// Waits for the next call; `None` once nothing is mounted any more.
    pub fn next(device: &mut File) -> Option<Request> {
        let mut bytes = vec![0; LARGEST + 4096];
        let length = device.read(&mut bytes).ok()?;
        bytes.truncate(length);
        let mut request = Request { call: 0, unique: 0, node: 0, body: bytes, at: 4 };
        request.call = request.u32();
        (request.unique, request.node) = (request.u64(), request.u64());
        request.at = 40;
        Some(request)
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take::<4>())
    }

    pub fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take::<8>())
    }

    /// Gives the next name, up to its zero.
    pub fn name(&mut self) -> std::ffi::OsString {
        let rest = &self.body[self.at..];
        let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
        let name = OsStr::from_bytes(&rest[..end]).to_owned();
        self.at += end + 1;
        name
    }

    /// Gives what is left.
    pub fn rest(&self) -> &[u8] {
        &self.body[self.at..]
    }

    pub fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let start = self.at;
        self.at += N;
        self.body[start..self.at].try_into().expect("the kernel sends whole structures")
    }
}

/// An answer's bytes.
#[derive(Default)]
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn bytes(bytes: &[u8]) -> Answer {
        Answer(bytes.to_vec())
    }

    /// What is agreed on at the beginning: the protocol's version, and no feature of it.
    pub fn init() -> Answer {
        let mut answer = Answer::default();
        answer.u32s(&[7, 31, 128 * 1024, 0, 0, LARGEST as u32, 1]);
        answer.u32s(&[0; 9]);
        answer
    }

    /// A name's node.
    pub fn entry(number: u64, node: &Node) -> Answer {
        let mut answer = Answer::default();
        // The kernel may keep what it was told for a minute: nobody else changes anything.
        answer.u64s(&[number, 0, 60, 60]);
        answer.u32s(&[0, 0]);
        answer.attributes(number, node);
        answer
    }

    /// A node that was made, and opened.
    pub fn created(number: u64, node: &Node) -> Answer {
        let mut answer = Answer::entry(number, node);
        answer.0.extend(Answer::opened(0).0);
        answer
    }

    pub fn of_attributes(number: u64, node: &Node) -> Answer {
        let mut answer = Answer::default();
        answer.u64s(&[60]);
        answer.u32s(&[0, 0]);
        answer.attributes(number, node);
        answer
    }

    pub fn opened(handle: u64) -> Answer {
        let mut answer = Answer::default();
        answer.u64s(&[handle]);
        answer.u32s(&[0, 0]);
        answer
    }

    pub fn written(bytes: usize) -> Answer {
        let mut answer = Answer::default();
        answer.u32s(&[bytes as u32, 0]);
        answer
    }

    /// A file system with room.
    pub fn statfs() -> Answer {
        let mut answer = Answer::default();
        answer.u64s(&[1 << 24; 5]);
        answer.u32s(&[4096, 255, 4096, 0, 0, 0, 0, 0, 0, 0]);
        answer
    }

    /// Adds an entry of a folder, where it finds room within `most` bytes.
    pub fn add_to_listing(
        &mut self,
        (number, kind, name): &(u64, u32, std::ffi::OsString),
        next: u64,
        most: usize,
    ) -> bool {
        let length = name.len();
        let padded = (24 + length).next_multiple_of(8);
        if self.0.len() + padded > most {
            return false;
        }
        self.u64s(&[*number, next]);
        self.u32s(&[length as u32, kind >> 12]);
        self.0.extend(name.as_bytes());
        self.0.resize(self.0.len() + padded - 24 - length, 0);
        true
    }

    fn attributes(&mut self, number: u64, node: &Node) {
        let since = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let [modified, changed]: [Duration; 2] = [since(node.modified), since(node.changed)];
        self.u64s(&[number, node.size(), node.size().div_ceil(512)]);
        self.u64s(&[modified.as_secs(), modified.as_secs(), changed.as_secs()]);
        let nanoseconds = [modified, modified, changed].map(|time| time.subsec_nanos());
        self.u32s(&nanoseconds);
        self.u32s(&[node.kind() | node.mode, node.links, 0, 0, 0, 4096, 0]);
    }

    fn u32s(&mut self, numbers: &[u32]) {
        numbers.iter().for_each(|number| self.0.extend(number.to_ne_bytes()));
    }

    fn u64s(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.0.extend(number.to_ne_bytes()));
    }
}

/// Answers a call.
pub fn reply(device: &mut File, unique: u64, answer: Result<Answer, Errno>) {
    let (error, body) = match answer {
        Ok(answer) => (0, answer.0),
        Err(errno) => (-errno.raw_os_error(), Vec::new()),
    };
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend((16 + body.len() as u32).to_ne_bytes());
    bytes.extend(error.to_ne_bytes());
    bytes.extend(unique.to_ne_bytes());
    bytes.extend(body);
    // Whoever called may have been killed meanwhile, and then nobody waits for it.
    let _ = device.write(&bytes);
}
