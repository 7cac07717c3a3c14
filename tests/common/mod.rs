//! A small project on disk and the real binary run in it, for the tests that look at whole output.
//!
//! `Project::new().file("p.yaml", text).run(&["check", "p.yaml"])` gives exit code, standard output
//! and standard error. Nothing of the tester's environment that changes output gets through.

// Each test program uses its own part of this module.
#![allow(dead_code, reason = "no test program uses all of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use tempfile::TempDir;

pub mod machine;

/// A folder of its own that is the root of a pipeline's paths; deleted when dropped.
pub struct Project {
    folder: TempDir,
}

/// What one run of the binary gave.
#[derive(Debug)]
pub struct Output {
    /// The exit code; -1 where a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Project {
    /// Makes an empty one.
    pub fn new() -> Project {
        Project { folder: TempDir::new().expect("a temporary folder can be made") }
    }

    /// Makes an empty one in a folder.
    pub fn within(folder: &Path) -> Project {
        Project { folder: TempDir::new_in(folder).expect("a temporary folder can be made") }
    }

    /// Writes a file, and the folders that it needs.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Project {
        self.write(path, content);
        self
    }

    /// Writes a file of a project that is in use.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a file has a folder"))
            .and_then(|()| fs::write(&path, content))
            .unwrap_or_else(|error| panic!("cannot write `{}`: {error}", path.display()));
    }

    /// Reads a text file.
    pub fn read(&self, path: &str) -> String {
        let path = self.path(path);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()))
    }

    /// Gives where a path of the project lies.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Gives the project's own folder.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Gives a command of the real binary in the project's folder, not yet started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_runner"));
        command
            .args(arguments)
            .current_dir(self.root())
            .stdin(Stdio::null())
            .env_remove("RUST_LOG")
            .env_remove("NO_COLOR")
            .env_remove("CLICOLOR_FORCE")
            .env_remove("LC_ALL")
            .env_remove("LC_CTYPE")
            .env_remove("LANG")
            .env("TERM", "xterm");
        command
    }

    /// Runs the real binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Output::of(&mut self.command(arguments))
    }

    /// Gives every file under the project by its path, with its bytes.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.root(), self.root(), &mut files);
        files
    }
}

impl Output {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Output {
        let output = command.output().expect("the binary can be started");
        Output {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    /// Panics with all that was said unless the exit code is `code`; gives itself.
    #[track_caller]
    pub fn expect(self, code: i32) -> Output {
        assert_eq!(self.code, code, "\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("the project's folder can be read") {
        let path = entry.expect("its entries too").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("it lies under the root").to_string_lossy();
            files.insert(name.into_owned(), fs::read(&path).expect("a file can be read"));
        }
    }
}

/// Runs with one slot and JSON events, and gives those of stages and trials as short lines.
pub fn run(project: &Project, arguments: &[&str]) -> Vec<String> {
    events(&Output::of(json_run(project, arguments).args(["--jobs", "1"])))
}

/// Gives the command that runs a pipeline with JSON events.
pub fn json_run(project: &Project, arguments: &[&str]) -> Command {
    let mut command = project.command(&["run"]);
    command.args(arguments).args(["--format", "json"]);
    command
}

/// The JSON events of one name in an output.
pub fn events_of(output: &Output, name: &str) -> Vec<Value> {
    let events = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["event"] == name).collect()
}

/// Gives the JSON events of stages and trials in an output as short lines.
pub fn events(output: &Output) -> Vec<String> {
    let line = |text: &str| {
        let event: Value = serde_json::from_str(text).unwrap();
        let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap() {
            "stage_finished" => {
                let kinds = event["reasons"].as_array().unwrap().iter();
                let kinds: Vec<&str> = kinds.map(|r| r["kind"].as_str().unwrap()).collect();
                Some(format!("{} {} {}", word("stage"), word("outcome"), kinds.join(",")))
            }
            "trial_finished" => {
                Some(format!("{} {} {}", word("stage"), event["number"], word("outcome")))
            }
            "run_finished" => {
                let count = |name: &str| event[name].as_u64().unwrap();
                let (ran, cached) = (count("ran"), count("cached"));
                Some(format!("{}: {ran} ran, {cached} cached", word("outcome")))
            }
            _ => None,
        }
    };
    output.stdout.lines().filter_map(line).map(|line| line.trim().to_owned()).collect()
}

/// The only blob with these bytes.
pub fn blob(project: &Project, bytes: &[u8]) -> PathBuf {
    let files = project.files();
    let is_it = |(path, content): &(&String, &Vec<u8>)| {
        path.starts_with(".runner/blobs") && content.as_slice() == bytes
    };
    let found: Vec<&String> = files.iter().filter(is_it).map(|(path, _)| path).collect();
    assert_eq!(found.len(), 1, "one blob has these bytes: {found:?}");
    project.path(found[0])
}

/// The processes whose working directory is `folder`.
pub fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let folder = fs::canonicalize(folder).unwrap();
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    all.filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == folder))
        .collect()
}

/// Gives numbers from 0 to 1 that differ from run to run.
pub fn shares() -> impl Iterator<Item = f64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut state = since.expect("it is later than 1970").as_nanos() as u64 | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    })
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to pass: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
