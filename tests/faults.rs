//! Stages of the real binary that fail, are interrupted, or spoil what is not theirs.

mod common;

use std::fs;
use std::time::Duration;

use common::{Project, processes_in, run, wait_until};

/// `bad` fails; `below` needs it, `beside` does not.
const FAILING: &str = r#"
name: failing
stages:
  bad:
    kind: command
    params:
      run: "echo the reason >&2; exit 3"
      outputs: { out: out.txt }
  below:
    kind: command
    inputs: { in: bad.out }
    params: { run: "cp ${inputs.in} ${outputs.out}", outputs: { out: out.txt } }
  beside:
    kind: command
    params: { run: "echo 1 > ${outputs.out}", outputs: { out: out.txt } }
"#;

#[test]
fn a_failure_says_why_and_what_was_skipped() {
    let project = Project::new().file("failing.yaml", FAILING);
    let output = project.run(&["run", "failing.yaml", "--jobs", "1"]).expect(1);
    let said = output.stdout + &output.stderr;
    for word in ["`bad`", "exit code 3", "the reason", ".runner/logs/", "below"] {
        assert!(said.contains(word), "`{word}` is said: {said}");
    }
    let log = said.split_whitespace().find(|word| word.contains(".runner/logs/")).unwrap();
    let log = log
        .trim_matches(|letter: char| !letter.is_alphanumeric() && letter != '.' && letter != '/');
    assert!(fs::read_to_string(project.root().join(log)).unwrap().contains("the reason"));
    let project = Project::new().file("failing.yaml", FAILING);
    // Which of two independent stages is looked at first is left open.
    let mut lines = run(&project, &["failing.yaml", "--keep-going"]);
    lines.sort();
    assert_eq!(
        lines,
        [
            "bad failed never_ran",
            "below skipped",
            "beside ran never_ran",
            "failed: 1 ran, 0 cached"
        ]
    );
}

#[test]
fn an_output_that_was_not_written_is_a_failure() {
    let text = "name: none\nstages:\n  a:\n    kind: command\n    params: { run: 'true', outputs: { out: out.txt } }\n";
    let project = Project::new().file("none.yaml", text);
    let output = project.run(&["run", "none.yaml"]).expect(1);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("`out`") && said.contains("not written"), "{said}");
}

#[test]
fn an_export_that_cannot_be_made_fails_its_stage_and_no_more() {
    let text = "
name: ragged
stages:
  bad:
    kind: command
    params: { run: 'printf \"a,b\\n1\\n1,2,3\\n\" > ${outputs.out}', outputs: { out: out.csv } }
    export: { out: out.parquet }
  good:
    kind: command
    params: { run: 'echo 1 > ${outputs.out}', outputs: { out: out.txt } }
";
    let project = Project::new().file("ragged.yaml", text);
    let mut lines = run(&project, &["ragged.yaml", "--keep-going"]);
    lines.sort();
    assert_eq!(lines, ["bad failed never_ran", "failed: 1 ran, 0 cached", "good ran never_ran"]);
}

#[test]
fn a_second_interrupt_ends_a_stubborn_command_at_once() {
    let text = "
name: stubborn
stages:
  wait:
    kind: command
    params: { run: \"trap '' TERM; touch begun; sleep 60 & wait; sleep 60\" }
";
    let project = Project::new().file("stubborn.yaml", text);
    let mut child = project.command(&["run", "stubborn.yaml", "--format", "json"]).spawn().unwrap();
    wait_until("the command runs", || project.path("begun").exists());
    let pid = rustix::process::Pid::from_child(&child);
    for _ in 0..2 {
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_until("no process is left", || processes_in(project.root()).is_empty());
}

#[test]
fn what_a_program_spoils_in_the_store_is_not_believed() {
    let text = "
name: spoil
stages:
  make:
    kind: generate
    params: { dataset: lambda, rows: 50 }
  spoil:
    kind: command
    inputs: { table: { from: make.data, as: csv } }
    params:
      run: 'f=$(readlink -f ${inputs.table}); chmod u+w $f; echo junk >> $f; echo 1 > ${outputs.out}'
      outputs: { out: out.txt }
";
    let project = Project::new().file("spoil.yaml", text);
    let output = project.run(&["run", "spoil.yaml", "--format", "plain"]).expect(1);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("`table`") && said.contains("changed while it ran"), "{said}");
}

#[test]
fn a_program_that_a_killed_run_left_writes_nowhere() {
    let text = "
name: orphan
stages:
  slow:
    kind: command
    params:
      run: 'for i in 1 2 3 4 5 6; do echo $i >> ${outputs.out}; touch begun; sleep 0.2; done; true'
      outputs: { out: out.txt }
";
    let project = Project::new().file("orphan.yaml", text);
    let mut child = project.command(&["run", "orphan.yaml", "--format", "json"]).spawn().unwrap();
    wait_until("the command runs", || project.path("begun").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    project.run(&["run", "orphan.yaml"]).expect(0);
    assert_eq!(project.read("artifacts/orphan/slow/out.txt"), "1\n2\n3\n4\n5\n6\n");
}

#[test]
fn a_stage_that_kills_runner_is_run_again_by_the_next() {
    let text = "
name: parricide
stages:
  first:
    kind: command
    params: { run: 'echo 1 > ${outputs.out}', outputs: { out: out.txt } }
  kill:
    kind: command
    inputs: { in: first.out }
    params:
      run: 'echo half > ${outputs.out}; test -e killed || { touch killed; kill -9 $PPID; exec sleep 60; }; echo whole > ${outputs.out}'
      outputs: { out: out.txt }
";
    let project = Project::new().file("parricide.yaml", text);
    project.run(&["run", "parricide.yaml"]).expect(-1);
    wait_until("the command has died with it", || processes_in(project.root()).is_empty());
    assert_eq!(
        run(&project, &["parricide.yaml"]),
        ["first cached", "kill ran never_ran", "done: 1 ran, 1 cached"]
    );
    assert_eq!(project.read("artifacts/parricide/kill/out.txt"), "whole\n");
}
