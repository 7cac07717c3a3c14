//! The real binary is killed at random moments and within its writes, and each of its writes fails in
//! turn: whatever happens, nothing that a run would trust wrongly stays behind, and the next run gives
//! what an undisturbed one gives.
//!
//! The short forms run by default; the long ones are ignored and run by `.ci/run`.

mod common;
mod disk;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::{Output, Project, shares};
use disk::{Disk, Fault};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Stages of every kind; a tenth of a second or two each.
const WHOLE: &str = r#"
name: whole
stages:
  generate:
    kind: generate
    params: { dataset: lambda, profile: workload, rows: 600, functions: 2, interval: 300, seed: 1 }
    export: { data: sample.csv }
  preprocess:
    kind: preprocess
    inputs: { data: generate.data }
    params:
      series: FunctionID
      time: { column: Timestamp, unit: s }
      one_hot: [FunctionID]
      scale: minmax
      split: { by: time, train: 0.7, validation: 0.15, test: 0.15 }
  count:
    kind: command
    inputs: { data: { from: preprocess.train, as: csv } }
    params:
      run: sleep 0.05; wc -l < ${inputs.data} > ${outputs.lines}
      outputs: { lines: lines.txt }
  train:
    kind: train
    inputs: { data: preprocess }
    params: { target: ResponseTime, window: 6, network: { kind: lstm, units: [4] }, epochs: 12 }
    export: { model: model.h5 }
  tune:
    kind: tune
    params:
      stage: train
      search: { optimizer.learning_rate: { log_float: [1.0e-4, 1.0e-1] } }
      pruner: { kind: hyperband, min_resource: 3 }
      objective: { minimize: validation_loss }
      trials: 6
  evaluate:
    kind: evaluate
    inputs: { model: tune.model, data: preprocess }
"#;

/// Every way of writing to the store in a few small files.
const SMALL: &str = r#"
name: small
stages:
  generate:
    kind: generate
    params: { dataset: lambda, profile: workload, rows: 40, functions: 1, interval: 300, seed: 1 }
    export: { data: sample.csv }
  fit:
    kind: command
    inputs: { data: { from: generate.data, as: csv } }
    params:
      run: >-
        head -n ${with.rows} ${inputs.data} > ${outputs.model} &&
        echo "{\"score\": ${with.rows}}" > ${outputs.metrics}
      with: { rows: 3 }
      outputs: { metrics: metrics.json, model: model.csv }
      metrics: metrics
  tune:
    kind: tune
    params:
      stage: fit
      search: { with.rows: { int: [1, 30] } }
      sampler: { kind: random, seed: 1 }
      objective: { maximize: score }
      trials: 3
      parallel: 1
"#;

type Artifacts = BTreeMap<String, Vec<u8>>;

fn artifacts(project: &Project) -> Artifacts {
    let mut files = project.files();
    files.retain(|path, _| path.starts_with("artifacts/"));
    files
}

/// What an undisturbed run leaves, and how long it takes.
fn undisturbed(pipeline: &str) -> (Artifacts, Duration) {
    let project = Project::new().file("p.yaml", pipeline);
    let started = Instant::now();
    project.run(&["run", "p.yaml", "--jobs", "2"]).expect(0);
    (artifacts(&project), started.elapsed())
}

fn start(project: &Project) -> Child {
    let mut command = project.command(&["run", "p.yaml", "--jobs", "2"]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().expect("the binary can be started")
}

/// Fails where a disturbed run left what the next trusts wrongly, or where the next does not give
/// what an undisturbed one does.
fn expect_sound(project: &Project, wanted: &Artifacts, what: &str) {
    let verified = project.run(&["store", "verify"]);
    // The first call of all may be the one that was struck.
    let has_none = verified.stderr.contains("there is no store");
    assert!(verified.code == 0 || has_none, "{what}: {}{}", verified.stdout, verified.stderr);
    let next = project.run(&["run", "p.yaml", "--jobs", "2"]);
    assert_eq!(next.code, 0, "{what}: {}{}", next.stdout, next.stderr);
    assert_same(&artifacts(project), wanted, what);
}

#[track_caller]
fn assert_same(found: &Artifacts, wanted: &Artifacts, what: &str) {
    let names = |all: &Artifacts| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(wanted), "{what}");
    let differing = wanted.iter().filter(|(name, bytes)| found[*name] != **bytes);
    let differing: Vec<&String> = differing.map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "{what}: {differing:?}");
}

/// Kills runs at moments spread over an undisturbed one's life, every other time with all the
/// processes that they started.
fn kill_at_random_moments(times: u32) {
    let (wanted, life) = undisturbed(WHOLE);
    let mut shares = shares();
    for time in 0..times {
        let moment = life.mul_f64(shares.next().expect("they never end"));
        let whole_group = time % 2 == 1;
        let project = Project::new().file("p.yaml", WHOLE);
        let mut child = start(&project);
        std::thread::sleep(moment);
        let pid = Pid::from_child(&child);
        let _ = match whole_group {
            true => kill_process_group(pid, Signal::KILL),
            false => kill_process(pid, Signal::KILL),
        };
        child.wait().expect("it was started");
        expect_sound(&project, &wanted, &format!("killed after {moment:?}, group: {whole_group}"));
    }
}

/// Kills runs in the middle of calls that write to the store.
fn kill_within_writes(times: u32) {
    let (wanted, _) = undisturbed(WHOLE);
    let disk = Disk::mount();
    let writes = {
        let project = Project::within(disk.path()).file("p.yaml", WHOLE);
        disk.arm(0, Fault::Kill);
        project.run(&["run", "p.yaml", "--jobs", "2"]).expect(0);
        assert_same(&artifacts(&project), &wanted, "on the file system of the test");
        disk.count()
    };
    assert!(writes > 100, "only {writes} calls change the store");
    let mut shares = shares();
    for time in 0..times {
        let at = 1 + (writes as f64 * 0.95 * shares.next().expect("they never end")) as u64;
        let fault = if time % 2 == 1 { Fault::KillGroup } else { Fault::Kill };
        let project = Project::within(disk.path()).file("p.yaml", WHOLE);
        disk.arm(at, fault);
        let mut child = start(&project);
        disk.set_victim(child.id());
        child.wait().expect("it was started");
        let struck = disk.disarm().unwrap_or_else(|| panic!("there was no call {at} of {writes}"));
        expect_sound(&project, &wanted, &format!("{fault:?} within: {struck}"));
    }
}

/// Lets writes to the store fail, each in turn or so many of them, in each of three ways.
fn fail_writes(most: u64) {
    let (wanted, _) = undisturbed(SMALL);
    let disk = Disk::mount();
    let run = |project: &Project| project.run(&["run", "p.yaml", "--jobs", "1"]);
    let writes = {
        let project = Project::within(disk.path()).file("p.yaml", SMALL);
        disk.arm(0, Fault::Once(Errno::IO));
        run(&project).expect(0);
        assert_same(&artifacts(&project), &wanted, "on the file system of the test");
        disk.count()
    };
    let faults = [Fault::From(Errno::NOSPC), Fault::Once(Errno::IO), Fault::Once(Errno::ACCESS)];
    let step = writes.div_ceil(most).max(1);
    for (number, fault) in faults.into_iter().enumerate() {
        for at in (1 + number as u64..=writes).step_by(step as usize) {
            let project = Project::within(disk.path()).file("p.yaml", SMALL);
            disk.arm(at, fault);
            let output = run(&project);
            // A call that is left to chance may be missing in this run.
            let Some(struck) = disk.disarm() else { continue };
            let what = format!("{fault:?} at: {struck}");
            expect_clear(&output, &wanted, &project, &what);
            expect_sound(&project, &wanted, &what);
        }
    }
}

/// Fails unless a run either did all that it should or said what went wrong.
fn expect_clear(output: &Output, wanted: &Artifacts, project: &Project, what: &str) {
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(!said.contains("panicked"), "{what}: {said}");
    assert!([0, 1, 70].contains(&output.code), "{what}: it ended with {}: {said}", output.code);
    // What a command's own writes come to is in its log.
    let words =
        ["No space left", "Input/output error", "Permission denied", "I/O error", " failed: "];
    if !words.iter().any(|words| said.contains(words)) {
        assert_eq!(output.code, 0, "{what}: {said}");
        assert_same(&artifacts(project), wanted, what);
    }
}

#[test]
fn a_run_killed_at_any_moment_leaves_nothing_wrong() {
    kill_at_random_moments(6);
}

#[test]
fn a_run_killed_within_a_write_leaves_nothing_wrong() {
    kill_within_writes(6);
}

#[test]
fn a_write_that_fails_is_told_and_leaves_nothing_wrong() {
    fail_writes(12);
}

#[test]
#[ignore = "takes minutes"]
fn runs_killed_at_160_random_moments_leave_nothing_wrong() {
    kill_at_random_moments(160);
}

#[test]
#[ignore = "takes minutes"]
fn runs_killed_within_40_writes_leave_nothing_wrong() {
    kill_within_writes(40);
}

#[test]
#[ignore = "takes minutes"]
fn every_write_that_fails_is_told_and_leaves_nothing_wrong() {
    fail_writes(u64::MAX);
}
