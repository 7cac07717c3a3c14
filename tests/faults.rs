//! Stages of the real binary that fail, are interrupted, or spoil what is not theirs.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use common::machine::{Disk, as_nobody, command_in, may_mount};
use common::{Output, Project, events, processes_in, run, wait_until};

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

/// Makes a table, reads it as CSV in a command, and exports both.
const SMALL: &str = r#"
name: small
stages:
  table:
    kind: generate
    params: { dataset: lambda, rows: 2000, seed: 3 }
    export: { data: table.csv }
  pad:
    kind: command
    inputs: { table: { from: table.data, as: csv } }
    params:
      run: "cat ${inputs.table} ${inputs.table} > ${outputs.out}"
      outputs: { out: out.txt }
"#;

fn artifacts(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.join("artifacts")];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_owned();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn a_full_disk_loses_nothing_wherever_it_is_full() {
    if !may_mount("a_full_disk_loses_nothing_wherever_it_is_full") {
        return;
    }
    let clean = Project::new().file("small.yaml", SMALL);
    run(&clean, &["small.yaml"]);
    let whole = artifacts(clean.root());
    let project = Project::new();
    let disk = Disk::new(project.path("disk"), "64m");
    let in_disk =
        |arguments: &[&str]| Output::of(&mut command_in(&project, disk.path(), arguments));
    let (mut failed, mut done) = (0, 0);
    for pages in (5..).step_by(12) {
        for entry in fs::read_dir(disk.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap()
            } else {
                fs::remove_file(path).unwrap()
            }
        }
        fs::write(disk.path().join("small.yaml"), SMALL).unwrap();
        disk.remount(&format!("size={}k", pages * 4));
        let full = in_disk(&["run", "small.yaml", "--format", "plain"]);
        let said = full.stdout + &full.stderr;
        assert!([0, 1, 70].contains(&full.code), "{}: {said}", full.code);
        if full.code != 0 {
            let told = said.contains("No space left") || said.contains("the disk is full");
            assert!(told, "{pages} pages: {said}");
            failed += 1;
        }
        disk.remount("size=64m");
        if disk.path().join(".runner").exists() {
            in_disk(&["store", "verify"]).expect(0);
        }
        in_disk(&["run", "small.yaml"]).expect(0);
        assert_eq!(artifacts(disk.path()), whole, "{pages} pages");
        if full.code == 0 {
            done += 1;
        }
        if done == 2 {
            break;
        }
    }
    assert!(failed > 10, "the disk was full at many places: {failed}");
}

#[test]
fn a_store_that_is_read_only_serves_what_it_has_and_says_what_it_cannot() {
    if !may_mount("a_store_that_is_read_only_serves_what_it_has_and_says_what_it_cannot") {
        return;
    }
    let project = Project::new();
    let disk = Disk::new(project.path("disk"), "64m");
    let in_disk =
        |arguments: &[&str]| Output::of(&mut command_in(&project, disk.path(), arguments));
    fs::write(disk.path().join("small.yaml"), SMALL).unwrap();
    in_disk(&["run", "small.yaml"]).expect(0);
    disk.remount("ro");
    let output = in_disk(&["run", "small.yaml", "--format", "json"]).expect(0);
    assert_eq!(events(&output).last().unwrap(), "done: 0 ran, 2 cached");
    in_disk(&["plan", "small.yaml"]).expect(0);
    in_disk(&["store", "verify"]).expect(0);
    in_disk(&["store", "stats"]).expect(0);
    for arguments in [
        &["run", "small.yaml", "--force", "--format", "plain"][..],
        &["store", "gc", "--keep-runs", "1"],
    ] {
        let output = in_disk(arguments).expect(1);
        let said = output.stdout + &output.stderr;
        assert!(said.contains("Read-only file system") && said.contains("help:"), "{said}");
    }
    let fresh = Disk::new(project.path("fresh"), "1m");
    fs::write(fresh.path().join("small.yaml"), SMALL).unwrap();
    fresh.remount("ro");
    let output = Output::of(&mut command_in(&project, fresh.path(), &["run", "small.yaml"]));
    let said = output.expect(70).stderr;
    assert!(said.contains("Read-only file system") && said.contains("help:"), "{said}");
}

#[test]
fn a_store_or_an_input_of_another_user_is_told() {
    if !may_mount("a_store_or_an_input_of_another_user_is_told") {
        return;
    }
    let project = Project::new().file("small.yaml", SMALL);
    fs::set_permissions(project.root(), Permissions::from_mode(0o755)).unwrap();
    let run_as_nobody = |arguments: &[&str]| {
        let mut all = vec!["run", "small.yaml"];
        all.extend(arguments);
        Output::of(&mut as_nobody(&project, &all))
    };
    let said = run_as_nobody(&[]).expect(70).stderr;
    assert!(said.contains("Permission denied") && said.contains("help:"), "{said}");
    run(&project, &["small.yaml"]);
    let output = run_as_nobody(&["--format", "json"]).expect(0);
    assert_eq!(events(&output).last().unwrap(), "done: 0 ran, 2 cached");
    let output = run_as_nobody(&["--force", "--format", "plain"]).expect(1);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("Permission denied") && said.contains("another user"), "{said}");
    assert_eq!(run(&project, &["small.yaml"]).last().unwrap(), "done: 0 ran, 2 cached");

    let secret = project.path("secret.txt");
    fs::write(&secret, "1\n").unwrap();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let text = "
name: secret
stages:
  copy:
    kind: command
    inputs: { in: { file: secret.txt } }
    params: { run: 'cat ${inputs.in} > ${outputs.out}', outputs: { out: out.txt } }
";
    project.write("secret.yaml", text);
    let output = Output::of(&mut as_nobody(&project, &["run", "secret.yaml", "--format", "plain"]));
    let said = output.stdout + &output.stderr;
    assert_eq!(output.code, 1, "{said}");
    for word in ["`copy`", "secret.txt", "Permission denied", "help:"] {
        assert!(said.contains(word), "`{word}`: {said}");
    }
}

#[test]
fn an_input_that_vanishes_during_the_run_fails_its_stage() {
    let text = "
name: vanish
stages:
  own:
    kind: command
    inputs: { in: { file: own.txt } }
    params: { run: 'rm -f own.txt later.txt; echo 1 > ${outputs.out}', outputs: { out: out.txt } }
  later:
    kind: command
    needs: [own]
    inputs: { in: { file: later.txt } }
    params: { run: 'cat ${inputs.in} > ${outputs.out}', outputs: { out: out.txt } }
  after:
    kind: command
    inputs: { in: { file: later.txt }, first: beside.out }
    params: { run: 'cat ${inputs.in} > ${outputs.out}', outputs: { out: out.txt } }
  beside:
    kind: command
    params: { run: 'rm -f later.txt; echo 1 > ${outputs.out}', outputs: { out: out.txt } }
";
    let project = Project::new().file("vanish.yaml", text);
    project.write("own.txt", "1\n");
    project.write("later.txt", "1\n");
    let output =
        project.run(&["run", "vanish.yaml", "--format", "plain", "--keep-going"]).expect(1);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("its input `in`") && said.contains("changed while it ran"), "{said}");
    assert!(said.contains("later.txt") && said.contains("No such file"), "{said}");
    project.write("own.txt", "1\n");
    project.write("later.txt", "1\n");
    project.run(&["run", "vanish.yaml", "after"]).expect(0);
}

#[test]
fn files_from_the_future_are_noticed_when_they_change() {
    let text = "
name: future
stages:
  copy:
    kind: command
    inputs: { in: { file: in.txt } }
    params: { run: 'cat ${inputs.in} > ${outputs.out}', outputs: { out: out.txt } }
";
    let project = Project::new().file("future.yaml", text);
    let future = SystemTime::now() + Duration::from_secs(3 * 24 * 60 * 60);
    let write = |content: &str| {
        project.write("in.txt", content);
        let file = fs::File::options().write(true).open(project.path("in.txt")).unwrap();
        file.set_modified(future).unwrap();
    };
    write("1\n");
    assert_eq!(run(&project, &["future.yaml"])[0], "copy ran never_ran");
    assert_eq!(run(&project, &["future.yaml"])[0], "copy cached");
    write("2\n");
    assert_eq!(run(&project, &["future.yaml"])[0], "copy ran input_changed");
    // The clock jumps back: what the store wrote is from the future.
    for path in project.files().into_keys().filter(|path| path.starts_with(".runner/")) {
        let file = fs::File::open(project.path(&path)).unwrap();
        file.set_modified(future).unwrap();
    }
    assert_eq!(run(&project, &["future.yaml"])[0], "copy cached");
    project.run(&["store", "gc", "--older-than", "1h"]).expect(0);
    write("1\n");
    assert_eq!(run(&project, &["future.yaml"])[0], "copy cached", "an old value is a hit");
}

#[test]
fn paths_may_hold_spaces_letters_of_all_kinds_and_newlines() {
    let text = r#"
name: paths
stages:
  table:
    kind: generate
    params: { dataset: lambda, rows: 20 }
    export: { data: "ü b\n/tab le.csv" }
  copy:
    kind: command
    inputs: { in: { file: "in 'put\"\nß.txt" }, table: { from: table.data, as: csv } }
    params:
      run: "cat ${inputs.in} > ${outputs.out}; head -c 1 ${inputs.table} > /dev/null"
      outputs: { out: "o ut\nß.txt" }
"#;
    let project = Project::new();
    let folder = project.path("a b/ü\nd $HOME");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("paths.yaml"), text).unwrap();
    fs::write(folder.join("in 'put\"\nß.txt"), "1\n").unwrap();
    let in_folder =
        |arguments: &[&str]| Output::of(&mut command_in(&project, &folder, arguments)).expect(0);
    for last in ["done: 2 ran, 0 cached", "done: 0 ran, 2 cached"] {
        let output = in_folder(&["run", "paths.yaml", "--format", "json"]);
        assert_eq!(events(&output).last().unwrap(), last);
    }
    assert_eq!(fs::read(folder.join("artifacts/paths/copy/o ut\nß.txt")).unwrap(), b"1\n");
    assert!(folder.join("artifacts/paths/ü b\n/tab le.csv").exists());
    in_folder(&["store", "verify"]);
    in_folder(&["store", "gc", "--keep-runs", "1"]);
    in_folder(&["plan", "paths.yaml", "--exit-code"]);
}

#[test]
fn an_output_that_is_no_plain_file_is_refused() {
    for (make, word) in [
        ("ln -s /etc/passwd", "is a symbolic link"),
        ("mkdir", "is a folder"),
        ("mkfifo", "is a pipe or socket"),
    ] {
        let text = format!(
            "name: odd\nstages:\n  a:\n    kind: command\n    params:\n      run: '{make} ${{outputs.out}}'\n      outputs: {{ out: out.txt }}\n"
        );
        let project = Project::new().file("odd.yaml", text);
        let output = project.run(&["run", "odd.yaml", "--format", "plain"]).expect(1);
        let said = output.stdout + &output.stderr;
        assert!(said.contains(word) && said.contains("help: write a plain file"), "{said}");
    }
}

#[test]
fn ten_thousand_outputs_of_one_stage_are_kept() {
    let outputs: String = (0..10_000).map(|one| format!("        o{one}: o{one}.txt\n")).collect();
    let text = format!(
        "name: many\nstages:\n  many:\n    kind: command\n    params:\n      run: 'cd $(dirname ${{outputs.o0}}); for i in $(seq 0 9999); do echo $i > o$i.txt; done'\n      outputs:\n{outputs}"
    );
    let project = Project::new().file("many.yaml", text);
    assert_eq!(run(&project, &["many.yaml"])[0], "many ran never_ran");
    assert_eq!(project.read("artifacts/many/many/o9999.txt"), "9999\n");
    assert_eq!(run(&project, &["many.yaml"])[0], "many cached");
}

#[test]
#[ignore = "it hashes 5 GB three times; the long suite runs it"]
fn an_output_of_5_gb_is_kept() {
    let text = "
name: large
stages:
  make:
    kind: command
    params: { run: 'truncate -s 5G ${outputs.out}; printf end >> ${outputs.out}', outputs: { out: out.bin } }
  size:
    kind: command
    inputs: { in: make.out }
    params: { run: 'stat -Lc %s ${inputs.in} > ${outputs.out}', outputs: { out: out.txt } }
";
    let project = Project::new().file("large.yaml", text);
    assert_eq!(run(&project, &["large.yaml"]).last().unwrap(), "done: 2 ran, 0 cached");
    assert_eq!(project.read("artifacts/large/size/out.txt"), "5368709123\n");
    assert_eq!(run(&project, &["large.yaml"]).last().unwrap(), "done: 0 ran, 2 cached");
    project.run(&["store", "verify"]).expect(0);
}
