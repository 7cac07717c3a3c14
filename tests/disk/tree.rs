//! The files and folders of the file system in memory.
//!
//! Knows neither the kernel's protocol nor faults. No permissions are checked, and a removed file's
//! bytes stay until the end, for whoever still has it open.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::io::Errno;

/// The number of the topmost folder.
pub const ROOT: u64 = 1;

/// All files and folders, by their numbers.
pub struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
}

/// A file, a folder or a symbolic link.
pub struct Node {
    pub data: Data,
    /// The twelve bits of its rights.
    pub mode: u32,
    pub links: u32,
    pub modified: SystemTime,
    pub changed: SystemTime,
    /// Where it was last put, to tell what is in which folder.
    pub parent: u64,
    name: OsString,
}

/// What is in a node.
pub enum Data {
    File(Vec<u8>),
    Folder(BTreeMap<OsString, u64>),
    Link(OsString),
}

impl Node {
    fn new(data: Data, mode: u32, parent: u64, name: &OsStr) -> Node {
        let now = SystemTime::now();
        Node {
            data,
            mode: mode & 0o7777,
            links: 1,
            modified: now,
            changed: now,
            parent,
            name: name.to_owned(),
        }
    }

    /// Gives the bits of `st_mode` that tell what it is.
    pub fn kind(&self) -> u32 {
        match self.data {
            Data::File(_) => 0o100_000,
            Data::Folder(_) => 0o040_000,
            Data::Link(_) => 0o120_000,
        }
    }

    pub fn size(&self) -> u64 {
        match &self.data {
            Data::File(bytes) => bytes.len() as u64,
            Data::Folder(_) => 4096,
            Data::Link(target) => target.len() as u64,
        }
    }

    pub fn touch(&mut self) {
        self.modified = SystemTime::now();
        self.changed = self.modified;
    }
}

impl Tree {
    pub fn new() -> Tree {
        let root = Node::new(Data::Folder(BTreeMap::new()), 0o755, ROOT, OsStr::new(""));
        Tree { nodes: HashMap::from([(ROOT, root)]), next: ROOT + 1 }
    }

    pub fn node(&mut self, number: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&number).ok_or(Errno::NOENT)
    }

    pub fn folder(&mut self, number: u64) -> Result<&mut BTreeMap<OsString, u64>, Errno> {
        match &mut self.node(number)?.data {
            Data::Folder(entries) => Ok(entries),
            _ => Err(Errno::NOTDIR),
        }
    }

    pub fn file(&mut self, number: u64) -> Result<&mut Vec<u8>, Errno> {
        match &mut self.node(number)?.data {
            Data::File(bytes) => Ok(bytes),
            _ => Err(Errno::ISDIR),
        }
    }

    pub fn find(&mut self, folder: u64, name: &OsStr) -> Result<u64, Errno> {
        self.folder(folder)?.get(name).copied().ok_or(Errno::NOENT)
    }

    /// Puts a new node into a folder, and gives its number.
    pub fn add(&mut self, folder: u64, name: &OsStr, data: Data, mode: u32) -> Result<u64, Errno> {
        if self.folder(folder)?.contains_key(name) {
            return Err(Errno::EXIST);
        }
        let number = self.next;
        self.next += 1;
        self.nodes.insert(number, Node::new(data, mode, folder, name));
        self.put(folder, name, number)?;
        Ok(number)
    }

    /// Gives a node one more name.
    pub fn link(&mut self, number: u64, folder: u64, name: &OsStr) -> Result<(), Errno> {
        if self.folder(folder)?.contains_key(name) {
            return Err(Errno::EXIST);
        }
        self.put(folder, name, number)?;
        self.node(number)?.links += 1;
        Ok(())
    }

    pub fn remove(&mut self, folder: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.find(folder, name)?;
        if let Data::Folder(entries) = &self.node(number)?.data
            && !entries.is_empty()
        {
            return Err(Errno::NOTEMPTY);
        }
        self.folder(folder)?.remove(name);
        self.node(folder)?.touch();
        let node = self.node(number)?;
        node.links = node.links.saturating_sub(1);
        node.changed = SystemTime::now();
        Ok(())
    }

    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let number = self.find(from.0, from.1)?;
        if self.find(to.0, to.1).is_ok() {
            self.remove(to.0, to.1)?;
        }
        self.folder(from.0)?.remove(from.1);
        self.node(from.0)?.touch();
        self.put(to.0, to.1, number)
    }

    pub fn write(&mut self, number: u64, start: usize, data: &[u8]) -> Result<(), Errno> {
        let bytes = self.file(number)?;
        let end = start + data.len();
        bytes.resize(bytes.len().max(end), 0);
        bytes[start..end].copy_from_slice(data);
        self.node(number)?.touch();
        Ok(())
    }

    /// Gives a folder's entries, each with its number and the bits that tell what it is.
    pub fn list(&mut self, number: u64) -> Result<Vec<(u64, u32, OsString)>, Errno> {
        let parent = self.node(number)?.parent;
        let entries: Vec<(u64, OsString)> =
            self.folder(number)?.iter().map(|(name, number)| (*number, name.clone())).collect();
        let dots = [(number, ".".into()), (parent, "..".into())];
        let kind = |number: u64| self.nodes.get(&number).map_or(0, Node::kind);
        Ok(dots.into_iter().chain(entries).map(|(at, name)| (at, kind(at), name)).collect())
    }

    pub fn path_of(&self, number: u64) -> PathBuf {
        let mut names = Vec::new();
        let mut at = number;
        while let Some(node) = self.nodes.get(&at).filter(|_| at != ROOT) {
            names.push(node.name.clone());
            at = node.parent;
        }
        names.iter().rev().collect()
    }

    fn put(&mut self, folder: u64, name: &OsStr, number: u64) -> Result<(), Errno> {
        self.folder(folder)?.insert(name.to_owned(), number);
        self.node(folder)?.touch();
        let node = self.node(number)?;
        (node.parent, node.name, node.changed) = (folder, name.to_owned(), SystemTime::now());
        Ok(())
    }
}
