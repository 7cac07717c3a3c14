//! `runner watch` through the real binary: what makes it run again, and what does not.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use common::{Project, processes_in, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PIPELINE: &str = r#"
name: watched
stages:
  copy:
    kind: command
    inputs: { text: { file: data/in.txt } }
    params: { run: "cat ${inputs.text} > ${outputs.text}", outputs: { text: t.txt } }
  last:
    kind: command
    inputs: { text: copy.text }
    params: { run: "cat < ${inputs.text} > ${outputs.text}", outputs: { text: t.txt } }
"#;

/// How long nothing must happen to be called quiet.
const QUIET: Duration = Duration::from_millis(700);

/// A watch under way, killed when it goes out of scope.
struct Watching {
    child: Child,
    /// How each run ended: the outcome, how many stages ran, and how many were cached.
    runs: Receiver<(String, u64, u64)>,
    errors: Receiver<String>,
}

impl Watching {
    fn start(project: &Project, debounce: &str) -> Watching {
        let words = ["watch", "p.yaml", "--format", "json", "--debounce", debounce];
        let mut child =
            project.command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, runs) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap();
                if event["event"] == "run_finished" {
                    let count = |name: &str| event[name].as_u64().unwrap();
                    let outcome = event["outcome"].as_str().unwrap().to_owned();
                    let _ = sender.send((outcome, count("ran"), count("cached")));
                }
            }
        });
        let (sender, errors) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Watching { child, runs, errors }
    }

    #[track_caller]
    fn next(&self) -> (String, u64, u64) {
        self.runs.recv_timeout(Duration::from_secs(60)).expect("it runs again")
    }

    /// Waits until a line of standard error holds these words.
    #[track_caller]
    fn says(&self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut said = Vec::new();
        while let Ok(line) = self.errors.recv_timeout(deadline - Instant::now()) {
            if line.contains(words) {
                return;
            }
            said.push(line);
        }
        panic!("it never said {words:?} but {said:?}");
    }

    #[track_caller]
    fn is_quiet(&self) {
        assert_eq!(self.runs.recv_timeout(QUIET), Err(RecvTimeoutError::Timeout));
    }

    fn interrupt(&mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.child), Signal::INT).unwrap();
        self.child.wait().unwrap().code()
    }

    /// The memory of the process in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn project() -> Project {
    Project::new().file("p.yaml", PIPELINE).file("data/in.txt", "a")
}

fn done(ran: u64, cached: u64) -> (String, u64, u64) {
    ("done".to_owned(), ran, cached)
}

#[test]
fn it_runs_again_whatever_way_an_editor_writes_and_is_quiet_otherwise() {
    let project = project();
    let mut watching = Watching::start(&project, "50ms");
    assert_eq!(watching.next(), done(2, 0));
    watching.says("watching 2 files");
    // Its own writes, a reader, and a file beside are no changes.
    project.write("data/other.txt", "x");
    project.write("artifacts/watched/note.txt", "x");
    let _ = project.read("data/in.txt");
    watching.is_quiet();

    project.write("data/in.txt", "b");
    assert_eq!(watching.next(), done(2, 0), "written in place");
    project.write("data/in.txt~", "c");
    fs::rename(project.path("data/in.txt~"), project.path("data/in.txt")).unwrap();
    assert_eq!(watching.next(), done(2, 0), "written aside and renamed");
    fs::remove_file(project.path("data/in.txt")).unwrap();
    // The input is gone, which is a mistake of the pipeline.
    watching.says("does not exist");
    project.write("data/in.txt", "b");
    assert_eq!(watching.next(), done(0, 2), "made again, as it was before");

    fs::rename(project.path("data"), project.path("old")).unwrap();
    // With its folder.
    watching.says("does not exist");
    project.write("data/in.txt", "d");
    assert_eq!(watching.next(), done(2, 0), "in another folder of the same name");
    project.write("data/in.txt", "e");
    assert_eq!(watching.next(), done(2, 0), "that one is watched now");
    // The one that is called otherwise now is not.
    project.write("old/in.txt", "z");
    watching.is_quiet();
    assert_eq!(watching.interrupt(), Some(130));
}

#[test]
fn a_burst_of_changes_is_one_run_and_a_change_during_a_run_another() {
    let slow = PIPELINE.replace("run: \"cat", "run: \"sleep 0.3; cat");
    let project = Project::new().file("p.yaml", &slow).file("data/in.txt", "a");
    let watching = Watching::start(&project, "50ms");
    // The first run is at its second stage when this is written.
    let first = project.path("artifacts/watched/copy/t.txt");
    wait_until("the first stage has ended", || first.exists());
    project.write("data/in.txt", "b");
    assert_eq!(watching.next(), done(2, 0), "what is under way is not stopped");
    assert_eq!(watching.next(), done(2, 0), "and is followed by another");
    assert_eq!(project.read("artifacts/watched/last/t.txt"), "b");
    watching.is_quiet();
    for n in 0..40 {
        project.write("data/in.txt", n.to_string());
    }
    assert_eq!(watching.next(), done(2, 0));
    watching.is_quiet();
    assert_eq!(project.read("artifacts/watched/last/t.txt"), "39");
}

#[test]
fn a_broken_file_is_told_and_mended_and_may_read_other_files() {
    let project = project();
    let mut watching = Watching::start(&project, "50ms");
    assert_eq!(watching.next(), done(2, 0));
    project.write("p.yaml", PIPELINE.replace("kind: command", "kind: comand"));
    watching.says("did you mean `command`?");
    project.write("b.txt", "b");
    project.write("p.yaml", PIPELINE.replace("data/in.txt", "b.txt"));
    assert_eq!(watching.next(), done(2, 0));
    project.write("data/in.txt", "nobody reads it any more");
    watching.is_quiet();
    project.write("b.txt", "c");
    assert_eq!(watching.next(), done(2, 0));
    assert_eq!(watching.interrupt(), Some(130));
}

#[test]
fn an_interrupt_ends_a_run_under_way_and_its_programs() {
    let slow = PIPELINE.replace("run: \"cat", "dir: ., run: \"sleep 600; cat");
    let project = Project::new().file("p.yaml", &slow).file("data/in.txt", "a");
    let mut watching = Watching::start(&project, "50ms");
    wait_until("the program runs", || processes_in(project.root()).len() > 1);
    assert_eq!(watching.interrupt(), Some(130));
    wait_until("no program is left", || processes_in(project.root()).is_empty());
}

#[test]
fn a_file_that_is_not_there_is_a_mistake_and_one_with_mistakes_is_waited_for() {
    let project = project();
    let output = project.run(&["watch", "q.yaml"]).expect(2);
    assert!(output.stderr.contains("there is no such file"), "{}", output.stderr);
    let output = project.run(&["watch", "p.yaml", "--debounce", "fast"]).expect(2);
    assert!(output.stderr.contains("`200ms`"), "{}", output.stderr);
    project.write("p.yaml", "stages: {");
    let watching = Watching::start(&project, "50ms");
    watching.says("watching 1 file");
    project.write("p.yaml", PIPELINE);
    assert_eq!(watching.next(), done(2, 0));
}

/// Changes an input and waits for the run, so many times; gives the memory after the first tenth and
/// at the end.
fn rerun(times: u64) -> (u64, u64) {
    let project = project();
    let mut watching = Watching::start(&project, "1ms");
    assert_eq!(watching.next(), done(2, 0));
    let mut early = 0;
    for n in 1..=times {
        // Once it is said to watch again, nothing is under way.
        watching.says("watching 2 files");
        project.write("data/in.txt", n.to_string());
        while watching.next() != done(2, 0) {
            // Emptied, and not yet written.
        }
        if n == times.div_ceil(10) {
            early = watching.memory();
        }
    }
    let late = watching.memory();
    assert_eq!(project.read("artifacts/watched/last/t.txt"), times.to_string());
    assert_eq!(watching.interrupt(), Some(130));
    (early, late)
}

#[test]
fn it_runs_again_fifty_times() {
    rerun(50);
}

#[test]
#[ignore = "long: two thousand runs"]
fn memory_does_not_grow_over_two_thousand_runs() {
    let (early, late) = rerun(2000);
    println!("{early} KiB after the first tenth, {late} KiB at the end");
    assert!(late as f64 <= 1.2 * early as f64, "{early} KiB early, {late} KiB late");
}
