//! `--audit`, which tells what a command uses and does not declare, and `--verify`, which tells what
//! is not deterministic; through the real binary and the real `strace`.

#![cfg(target_os = "linux")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use common::{Output, Project, events_of, processes_in, run, wait_until};
use serde_json::{Value, json};

fn json_run(project: &Project, arguments: &[&str]) -> Command {
    let mut command = common::json_run(project, arguments);
    command.args(["--jobs", "1"]);
    command
}

/// What is told of a stage: the access, the path and the line of each file.
fn undeclared(output: &Output, stage: &str) -> Vec<String> {
    let events = events_of(output, "stage_audited");
    let event = events.iter().find(|event| event["stage"] == stage).expect("it was audited");
    let text = |one: &Value, name: &str| one[name].as_str().unwrap().to_owned();
    let line = |one: &Value| {
        format!("{} {}: {}", text(one, "access"), text(one, "path"), text(one, "line"))
    };
    event["undeclared"].as_array().unwrap().iter().map(line).collect()
}

const READS: &str = "
name: p
stages:
  make:
    kind: command
    params: { run: 'echo a > ${outputs.made}', outputs: { made: made.txt } }
  fit:
    kind: command
    needs: [make]
    inputs:
      named: { file: named.txt }
      folder: { file: folder }
      matched: { glob: \"m/*.in\" }
    params:
      run: >-
        cat named.txt ${inputs.folder}/deep/x m/a.in link.toml sub/../.git/HEAD artifacts/p/make/made.txt
        > ${outputs.all};
        cd sub; cat ../m/b.other > tmp; mv tmp kept; cat kept; rm -f missing; echo x > gone; rm gone;
        cat missing ../nothing; ls ../listed; cat ../listed/one; cat 'é \"q\".txt'; ./tool; true
      outputs: { all: all.txt }
";

fn reads() -> Project {
    let project = Project::new().file("p.yaml", READS).file("sub/tool", "#!/bin/sh\ntrue\n");
    let files = [
        "named.txt",
        "folder/deep/x",
        "m/a.in",
        "m/b.other",
        "config.toml",
        ".git/HEAD",
        "listed/one",
        "listed/deep/two",
        "sub/é \"q\".txt",
    ];
    files.iter().for_each(|file| project.write(file, "x\n"));
    symlink("config.toml", project.path("link.toml")).unwrap();
    fs::set_permissions(project.path("sub/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    project
}

#[test]
fn files_that_a_command_uses_and_does_not_declare_are_told_with_the_line_to_add() {
    let project = reads();
    let output = Output::of(&mut json_run(&project, &["p.yaml", "--audit"])).expect(0);
    assert_eq!(undeclared(&output, "make"), Vec::<String>::new());
    assert_eq!(
        undeclared(&output, "fit"),
        [
            "read artifacts/p/make/made.txt: inputs: { made: make.made }",
            "read config.toml: inputs: { config: { file: config.toml } }",
            "read m/b.other: inputs: { b: { file: m/b.other } }",
            "read sub/tool: inputs: { tool: { file: sub/tool } }",
            r#"read sub/é "q".txt: inputs: { q: { file: "sub/é \"q\".txt" } }"#,
            "listed listed: inputs: { listed: { file: listed } }",
            "written sub/kept: params: { outputs: { kept: kept } }",
        ]
    );
    let end = &events_of(&output, "audit_finished")[0];
    assert_eq!(
        (&end["audited"], &end["cached"], &end["undeclared"]),
        (&2.into(), &0.into(), &7.into())
    );
    // The trace is gone, and nothing of the action is otherwise for it.
    assert!(!project.files().keys().any(|path| path.starts_with(".runner/work")));
    assert_eq!(run(&project, &["p.yaml"]).last().unwrap(), "done: 0 ran, 2 cached");
    let output = project.run(&["run", "p.yaml", "--audit", "--format", "plain"]).expect(0);
    let last = "2 command stages cached and so not traced";
    assert!(output.stdout.contains(last), "{}", output.stdout);
    let output = project.run(&["run", "p.yaml", "--audit", "--force", "--format", "plain"]);
    let told = "warning: fit: reads `config.toml`, which is no input of it; add: inputs: { config: { file: config.toml } }";
    let stdout = output.expect(0).stdout;
    assert_eq!(stdout.matches(told).count(), 2, "at the stage's end and at the run's: {stdout}");
}

#[test]
fn what_is_declared_as_told_is_told_no_more() {
    let text = |inputs: &str| {
        format!(
            "name: p\nstages:\n  a:\n    kind: command\n    inputs: {{ {inputs} }}\n    params: {{ \
             run: 'cat config.toml; ls data' }}\n"
        )
    };
    let project =
        Project::new().file("p.yaml", text("")).file("config.toml", "1").file("data/x", "");
    let output = Output::of(&mut json_run(&project, &["p.yaml", "--audit"])).expect(0);
    let told = undeclared(&output, "a");
    let lines = told.iter().map(|line| line.split_once("inputs: { ").unwrap().1);
    let inputs: Vec<&str> = lines.map(|line| line.strip_suffix(" }").unwrap()).collect();
    assert_eq!(inputs.len(), 2, "{told:?}");
    project.write("p.yaml", text(&inputs.join(", ")));
    let output = Output::of(&mut json_run(&project, &["p.yaml", "--audit"])).expect(0);
    assert_eq!(undeclared(&output, "a"), Vec::<String>::new());
}

#[test]
fn a_traced_command_ends_as_it_would() {
    let text = "
name: p
stages:
  code: { kind: command, params: { run: 'exit 7' } }
  killed: { kind: command, params: { run: 'kill -9 $$' } }
  absent: { kind: command, params: { run: [no-such-program-here] } }
  slow: { kind: command, timeout: 300ms, params: { run: 'sleep 60 & sleep 60; :' } }
  plain: { kind: command, inputs: { s: { file: plain } }, params: { run: [./plain] } }
";
    let project = Project::new().file("p.yaml", text).file("plain", "echo ran as $0\n");
    fs::set_permissions(project.path("plain"), fs::Permissions::from_mode(0o755)).unwrap();
    let ends = |arguments: &[&str]| {
        let output = Output::of(&mut json_run(&project, arguments)).expect(1);
        let ends = events_of(&output, "stage_finished").into_iter();
        let message = |end: Value| (end["stage"].to_string(), end["failure"]["message"].clone());
        ends.map(message).collect::<BTreeMap<_, _>>()
    };
    let without = ends(&["p.yaml", "--keep-going"]);
    assert_eq!(without["\"code\""], "`exit 7` ended with exit code 7");
    assert_eq!(ends(&["p.yaml", "--keep-going", "--force", "--audit"]), without);
    wait_until("no process is left", || processes_in(project.root()).is_empty());
}

#[test]
fn an_interrupt_ends_a_traced_command_and_its_trace() {
    let text =
        "name: p\nstages:\n  slow: { kind: command, params: { run: 'touch begun; sleep 60' } }\n";
    let project = Project::new().file("p.yaml", text);
    let mut child =
        json_run(&project, &["p.yaml", "--audit"]).stdout(Stdio::null()).spawn().unwrap();
    wait_until("it runs", || project.path("begun").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    wait_until("no process is left", || processes_in(project.root()).is_empty());
}

#[test]
fn a_studys_trials_are_told_once_and_for_their_base() {
    let text = "
name: p
stages:
  fit:
    kind: command
    params:
      run: >-
        cat config.toml; echo '{\"loss\": ${with.x}}' > ${outputs.metrics}
      with: { x: 1 }
      metrics: metrics
      outputs: { metrics: m.json }
  tune:
    kind: tune
    params:
      stage: fit
      search: { with.x: { int: [1, 5] } }
      sampler: { kind: random }
      objective: { minimize: loss }
      trials: 3
";
    let project = Project::new().file("p.yaml", text).file("config.toml", "");
    let output = Output::of(&mut json_run(&project, &["p.yaml", "tune", "--audit"])).expect(0);
    let events = events_of(&output, "stage_audited");
    assert_eq!(events.len(), 1, "{}", output.stdout);
    assert_eq!((&events[0]["stage"], &events[0]["base"]), (&json!("tune"), &json!("fit")));
    let told = undeclared(&output, "tune");
    assert_eq!(told, ["read config.toml: inputs: { config: { file: config.toml } }"]);
}

#[test]
fn without_strace_nothing_is_run() {
    let project = Project::new()
        .file("p.yaml", "name: p\nstages:\n  a: { kind: command, params: { run: 'touch ran' } }\n");
    let output = Output::of(json_run(&project, &["p.yaml", "--audit"]).env("PATH", "/nowhere"));
    let output = output.expect(2);
    assert!(output.stderr.contains("apt-get install strace"), "{}", output.stderr);
    assert!(!project.path("ran").exists() && !project.path(".runner").exists());
}

const TWICE: &str = "
name: p
stages:
  same: { kind: command, params: { run: 'echo 1 > ${outputs.a}', outputs: { a: a } } }
  other:
    kind: command
    params:
      run: >-
        echo x >> runs; wc -l < runs > ${outputs.n}; echo 1 > ${outputs.a};
        echo \"{\\\"loss\\\": $(wc -l < runs)}\" > ${outputs.m}
      metrics: m
      outputs: { n: n, a: a, m: m.json }
  below: { kind: command, inputs: { n: other.n }, params: { run: 'cp ${inputs.n} ${outputs.b}', outputs: { b: b } } }
  rows: { kind: generate, params: { dataset: lambda, rows: 100 } }
";

#[test]
fn a_cached_action_that_gives_something_else_is_told_and_the_store_keeps_what_it_has() {
    let project = Project::new().file("p.yaml", TWICE);
    project.run(&["run", "p.yaml"]).expect(0);
    let kept = |project: &Project| {
        let mut files = project.files();
        let is_kept = |path: &str| {
            [".runner/entries", ".runner/blobs", ".runner/logs", "artifacts"]
                .iter()
                .any(|folder| path.starts_with(folder) && !path.contains(".verify."))
        };
        files.retain(|path, _| is_kept(path));
        files
    };
    let before = kept(&project);
    let output = Output::of(&mut json_run(&project, &["p.yaml", "--verify"])).expect(1);
    let told = events_of(&output, "stage_verified");
    let differing: Vec<_> = told
        .iter()
        .filter(|event| event["outputs"] != json!([]) || event["metrics"] != json!([]))
        .map(|event| (&event["stage"], &event["outputs"], &event["metrics"]))
        .collect();
    assert_eq!(told.len(), 4, "commands and built-in kinds alike: {}", output.stdout);
    assert_eq!(differing, [(&json!("other"), &json!(["m", "n"]), &json!(["loss"]))]);
    let end = &events_of(&output, "run_finished")[0];
    assert_eq!(
        (&end["outcome"], &end["ran"], &end["cached"]),
        (&json!("failed"), &0.into(), &4.into())
    );
    assert!(kept(&project) == before, "the store and the artifacts are as they were");
    // It was no run of theirs: nothing is left to do.
    assert_eq!(run(&project, &["p.yaml"]).last().unwrap(), "done: 0 ran, 4 cached");
    let output = project.run(&["run", "p.yaml", "--verify", "--format", "plain"]).expect(1);
    let said =
        "warning: other: not deterministic: run again it gave other outputs m, n and metric loss";
    assert!(output.stdout.contains(said), "{}", output.stdout);
    assert!(output.stdout.contains("verify: 4 cached actions run again, 1 not deterministic"));
}

#[test]
fn of_a_share_some_are_run_again_and_a_study_never() {
    let text = "
name: p
stages:
  a:
    kind: command
    matrix: { x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20] }
    params: { run: 'echo ${matrix.x} > ${outputs.o}', outputs: { o: o } }
  fit:
    kind: command
    params:
      run: 'date +%N > ${outputs.t}; echo \"{\\\"loss\\\": ${with.x}}\" > ${outputs.m}'
      with: { x: 1 }
      metrics: m
      outputs: { m: m.json, t: t }
  tune:
    kind: tune
    params:
      stage: fit
      search: { with.x: { int: [2, 5] } }
      sampler: { kind: random }
      objective: { minimize: loss }
      trials: 2
";
    let project = Project::new().file("p.yaml", text);
    let names = ["run", "p.yaml", "a", "tune"];
    project.run(&names).expect(0);
    let count = |share: &str| {
        let output =
            Output::of(&mut json_run(&project, &["p.yaml", "a", "tune", "--verify", share]))
                .expect(0);
        let end = events_of(&output, "verify_finished").remove(0);
        assert_eq!(events_of(&output, "stage_verified").len() as u64, end["verified"]);
        assert_eq!(end["tunes"], 1);
        (end["verified"].as_u64().unwrap(), end["left"].as_u64().unwrap())
    };
    assert_eq!(count("100%"), (20, 1));
    assert_eq!(count("0%"), (0, 21));
    // All or none of twenty: once in half a million.
    let (verified, left) = count("50%");
    assert!(verified > 0 && left > 1 && verified + left == 21, "{verified} {left}");
    project.run(&["run", "p.yaml", "--verify", "most"]).expect(2);
}

#[test]
fn a_secret_in_the_name_of_a_file_is_not_told() {
    let text = "
name: p
stages:
  a:
    kind: command
    secrets: [TOKEN]
    params: { run: 'cat $TOKEN; echo x > new-$TOKEN' }
";
    let project = Project::new().file("p.yaml", text).file("hunter2-hunter2", "");
    let mut command = json_run(&project, &["p.yaml", "--audit"]);
    let output = Output::of(command.env("TOKEN", "hunter2-hunter2")).expect(0);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(!said.contains("hunter2"), "{said}");
    let told = undeclared(&output, "a");
    assert!(told.iter().any(|one| one.starts_with("read ***:")), "{told:?}");
}
