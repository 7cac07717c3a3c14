//! What the processes of one command did to files, from the calls that they made.
//!
//! Knows no stage and no root. What a command wrote itself it does not read from outside; what it
//! wrote and removed it did not write.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use super::strace::{Call, annotated, calls, quoted};

/// The calls that are looked at; those with `?` are not known to every machine.
pub const CALLS: &str = "?open,?openat,?openat2,?creat,?execve,?execveat,?rename,?renameat,\
    ?renameat2,?unlink,?unlinkat,?rmdir,?mkdir,?mkdirat,?link,?linkat,?truncate,?truncate64,?chdir,\
    ?fchdir,?getdents,?getdents64,?clone,?clone2,?clone3,?fork,?vfork";

/// The files that a command used, by absolute path with links followed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Accesses {
    /// What it opened to read, or executed.
    pub read: BTreeSet<PathBuf>,
    /// The folders whose content it listed before it read a file in them by name.
    pub listed: BTreeSet<PathBuf>,
    /// What it made or changed, and left.
    pub written: BTreeSet<PathBuf>,
}

/// Works out what a command that began in `folder` did; `resolve` follows the links of a path.
pub fn accesses(trace: &[u8], folder: &Path, resolve: &dyn Fn(&Path) -> PathBuf) -> Accesses {
    let mut made = Made {
        files: Accesses::default(),
        folders: BTreeSet::new(),
        read_in: HashSet::new(),
        known: Folders::new(trace, folder),
        resolve,
    };
    for call in calls(trace).filter(|call| call.result >= 0) {
        made.note(&call);
    }
    made.files
}

/// What was done up to some call.
struct Made<'a> {
    files: Accesses,
    /// The folders that the command made.
    folders: BTreeSet<PathBuf>,
    /// The folders in which it has read a file.
    read_in: HashSet<PathBuf>,
    known: Folders,
    resolve: &'a dyn Fn(&Path) -> PathBuf,
}

impl Made<'_> {
    fn note(&mut self, call: &Call<'_>) {
        self.known.learn(call);
        match &*call.name {
            "open" => self.open(call, self.at(call, None, 0), 1),
            "openat" | "openat2" => self.open(call, self.at(call, Some(0), 1), 2),
            "creat" | "truncate" | "truncate64" => self.write(self.at(call, None, 0)),
            "execve" => self.read(self.at(call, None, 0).map(|path| (self.resolve)(&path))),
            "execveat" => self.read(self.at(call, Some(0), 1).map(|path| (self.resolve)(&path))),
            "rename" => self.rename(self.at(call, None, 0), self.at(call, None, 1)),
            "renameat" | "renameat2" => {
                self.rename(self.at(call, Some(0), 1), self.at(call, Some(2), 3));
            }
            "link" => self.write(self.at(call, None, 1)),
            "linkat" => self.write(self.at(call, Some(2), 3)),
            "unlink" | "rmdir" => self.remove(self.at(call, None, 0)),
            "unlinkat" => self.remove(self.at(call, Some(0), 1)),
            "mkdir" => self.folders.extend(self.at(call, None, 0)),
            "mkdirat" => self.folders.extend(self.at(call, Some(0), 1)),
            "getdents" | "getdents64" => self.list(call),
            "chdir" => {
                if let Some(folder) = self.at(call, None, 0) {
                    self.known.change(call.thread, (self.resolve)(&folder));
                }
            }
            "fchdir" => {
                if let Some(folder) = annotated(call.argument(0)) {
                    self.known.change(call.thread, folder);
                }
            }
            _ => {}
        }
    }

    /// Gives the path in an argument, absolute: relative to the folder in another, or to that in
    /// which the process is. The links of its folders are followed, and not its own.
    fn at(&self, call: &Call<'_>, folder: Option<usize>, path: usize) -> Option<PathBuf> {
        let path = quoted(call.argument(path))?;
        let folder = folder.and_then(|index| annotated(call.argument(index)));
        let whole = folder.as_deref().unwrap_or(self.known.of(call.thread)).join(path);
        Some(match (whole.parent(), whole.file_name()) {
            (Some(parent), Some(name)) => (self.resolve)(parent).join(name),
            _ => (self.resolve)(&whole),
        })
    }

    fn open(&mut self, call: &Call<'_>, path: Option<PathBuf>, flags: usize) {
        let has = |flag| call.has_flag(flags, flag);
        if has("O_PATH") || has("O_DIRECTORY") {
            return;
        }
        let path = call.path.clone().or_else(|| path.map(|path| (self.resolve)(&path)));
        let is_new = has("O_CREAT") || has("O_TRUNC");
        if has("O_RDONLY") || has("O_RDWR") && !is_new {
            self.read(path.clone());
        }
        // Read-only with O_TRUNC or O_CREAT empties or makes a file all the same.
        if has("O_WRONLY") || has("O_RDWR") || has("O_TRUNC") {
            self.write(path);
        }
    }

    fn read(&mut self, path: Option<PathBuf>) {
        let Some(path) = path.filter(|path| !self.files.written.contains(path)) else { return };
        self.read_in.extend(path.parent().map(Path::to_owned));
        self.files.read.insert(path);
    }

    fn write(&mut self, path: Option<PathBuf>) {
        self.files.written.extend(path);
    }

    /// Takes note of a listing, but of a folder of its own making, or in which it has read a file by
    /// name: interpreters list the folder of the program that they were given.
    fn list(&mut self, call: &Call<'_>) {
        let Some(path) = annotated(call.argument(0)) else { return };
        let is_own = path.ancestors().any(|folder| self.folders.contains(folder));
        if !is_own && !self.read_in.contains(&path) {
            self.files.listed.insert(path);
        }
    }

    fn remove(&mut self, path: Option<PathBuf>) {
        let Some(path) = path else { return };
        self.files.written.remove(&path);
        self.folders.remove(&path);
    }

    /// Moves what was made with its folder, and counts a file under its last name as written.
    fn rename(&mut self, from: Option<PathBuf>, to: Option<PathBuf>) {
        let (Some(from), Some(to)) = (from, to) else { return };
        move_below(&mut self.files.written, &from, &to);
        move_below(&mut self.folders, &from, &to);
        self.files.written.insert(to);
    }
}

/// Gives a path, and those below it, their new names.
fn move_below(paths: &mut BTreeSet<PathBuf>, from: &Path, to: &Path) {
    let below = paths.range(from.to_owned()..).take_while(|path| path.starts_with(from));
    let below: Vec<PathBuf> = below.cloned().collect();
    for path in below {
        paths.remove(&path);
        let rest = path.strip_prefix(from).unwrap_or(Path::new(""));
        let is_itself = rest.as_os_str().is_empty();
        paths.insert(if is_itself { to.to_owned() } else { to.join(rest) });
    }
}

/// The folder in which each thread is; threads of a process share one.
struct Folders {
    /// Who started a thread, and whether they share their folder, as it says at the start's end.
    parents: HashMap<u32, (u32, bool)>,
    of: HashMap<u32, usize>,
    paths: Vec<PathBuf>,
}

impl Folders {
    fn new(trace: &[u8], first: &Path) -> Folders {
        let mut parents = HashMap::new();
        for call in calls(trace).filter(is_start) {
            if let Ok(child) = u32::try_from(call.result) {
                let shares = (0..call.arguments.len()).any(|at| call.has_flag(at, "CLONE_FS"));
                parents.insert(child, (call.thread, shares));
            }
        }
        Folders { parents, of: HashMap::new(), paths: vec![first.to_owned()] }
    }

    /// Places a thread that is seen for the first time, and believes what the trace says of where
    /// one is.
    fn learn(&mut self, call: &Call<'_>) {
        let thread = call.thread;
        self.place(thread);
        if is_start(call)
            && let Ok(child) = u32::try_from(call.result)
        {
            self.place(child);
        }
        let said = call.arguments.iter().find(|argument| argument.starts_with(b"AT_FDCWD<"));
        if let Some(folder) = said.and_then(|argument| annotated(argument))
            && folder != self.of(thread)
        {
            self.change(thread, folder);
        }
    }

    fn place(&mut self, thread: u32) {
        if self.of.contains_key(&thread) {
            return;
        }
        let (parent, shares) = self.parents.get(&thread).copied().unwrap_or((thread, true));
        let place = self.of.get(&parent).copied().unwrap_or(0);
        let place = if shares { place } else { self.copy(place) };
        self.of.insert(thread, place);
    }

    fn copy(&mut self, place: usize) -> usize {
        self.paths.push(self.paths[place].clone());
        self.paths.len() - 1
    }

    fn of(&self, thread: u32) -> &Path {
        &self.paths[self.of.get(&thread).copied().unwrap_or(0)]
    }

    fn change(&mut self, thread: u32, folder: PathBuf) {
        let place = self.of.get(&thread).copied().unwrap_or(0);
        self.paths[place] = folder;
    }
}

fn is_start(call: &Call<'_>) -> bool {
    matches!(&*call.name, "clone" | "clone2" | "clone3" | "fork" | "vfork") && call.result > 0
}

/// Takes `.` and `..` out of a path, as if there were no links.
pub fn normalised(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(trace: &str) -> [Vec<String>; 3] {
        let found = accesses(trace.as_bytes(), Path::new("/r"), &normalised);
        let texts = |paths: &BTreeSet<PathBuf>| {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        [texts(&found.read), texts(&found.listed), texts(&found.written)]
    }

    #[test]
    fn what_is_opened_to_read_or_executed_is_read() {
        let [read, listed, written] = of(r#"
1 execve("./tool", ["..."], 0x7f /* 3 vars */) = 0
1 open("a", O_RDONLY|O_CLOEXEC) = 3</r/real/a>
1 openat(AT_FDCWD</r>, "b", O_RDWR) = 3</r/b>
1 openat2(4</r/d>, "c", {flags=O_RDONLY, resolve=0}, 24) = 5</r/d/c>
1 openat(AT_FDCWD</r>, "gone", O_RDONLY) = -1 ENOENT (No such file or directory)
1 openat(AT_FDCWD</r>, "p", O_RDONLY|O_PATH) = 5</r/p>
1 stat("s", {st_mode=S_IFREG|0644, st_size=3, ...}) = 0
1 access("s", R_OK) = 0
"#);
        assert_eq!(read, ["/r/b", "/r/d/c", "/r/real/a", "/r/tool"]);
        assert_eq!(written, ["/r/b"]);
        assert_eq!(listed, Vec::<String>::new());
    }

    #[test]
    fn what_is_written_is_known_by_its_last_name_and_is_not_read() {
        let [read, _, written] = of(r#"
1 creat("a.tmp", 0644) = 3</r/a.tmp>
1 rename("a.tmp", "a") = 0
1 openat(AT_FDCWD</r>, "a", O_RDONLY) = 3</r/a>
1 openat(AT_FDCWD</r>, "scratch", O_RDWR|O_CREAT|O_EXCL, 0600) = 3</r/scratch>
1 unlink("scratch") = 0
1 mkdir("new", 0777) = 0
1 openat(AT_FDCWD</r>, "new/x", O_WRONLY|O_CREAT, 0666) = 4</r/new/x>
1 renameat2(AT_FDCWD</r>, "new", AT_FDCWD</r>, "out", RENAME_NOREPLACE) = 0
1 unlinkat(3</r/out>, "y", 0) = -1 ENOENT (No such file or directory)
1 link("a", "hard") = 0
"#);
        assert_eq!(read, Vec::<String>::new());
        assert_eq!(written, ["/r/a", "/r/hard", "/r/out", "/r/out/x"]);
    }

    #[test]
    fn a_process_is_where_it_or_its_parent_went() {
        let [read, _, written] = of(r#"
1 chdir("sub") = 0
1 vfork( <unfinished ...>
2 execve("../tool", [...], 0x7f /* 3 vars */) = 0
2 chdir("/r/other") = 0
1 <... vfork resumed>) = 2
2 unlink("x") = 0
2 creat("two", 0644) = 3
1 creat("one", 0644) = 3
1 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD, stack=0x7f}, 88) = 3
3 fchdir(4</r/last>) = 0
1 creat("three", 0644) = 3
1 openat(AT_FDCWD</r/seen>, "..", O_RDONLY|O_DIRECTORY) = 5</r>
1 creat("four", 0644) = 3
"#);
        assert_eq!(read, ["/r/tool"]);
        assert_eq!(written, ["/r/last/three", "/r/other/two", "/r/seen/four", "/r/sub/one"]);
    }

    #[test]
    fn a_folder_is_listed_unless_a_file_in_it_was_read_by_name_or_it_is_new() {
        let [read, listed, _] = of(r#"
1 openat(AT_FDCWD</r>, "data", O_RDONLY|O_DIRECTORY) = 3</r/data>
1 getdents64(3</r/data>, 0x55c /* 2 entries */, 32768) = 48
1 openat(AT_FDCWD</r>, "data/a", O_RDONLY) = 3</r/data/a>
1 openat(AT_FDCWD</r>, "bin/tool.py", O_RDONLY) = 3</r/bin/tool.py>
1 getdents64(4</r/bin>, 0x55c /* 2 entries */, 32768) = 48
1 mkdirat(AT_FDCWD</r>, "new", 0777) = 0
1 getdents64(4</r/new>, 0x55c /* 2 entries */, 32768) = 48
"#);
        assert_eq!(read, ["/r/bin/tool.py", "/r/data/a"]);
        assert_eq!(listed, ["/r/data"]);
    }
}
