//! Studies of the real binary: trials that are cached, killed, interrupted, failed and shared.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use common::{Output, Project, events, processes_in, wait_until};
use serde_json::Value;

/// A tune over a command: ten trials of a parabola, each of which takes a while.
const TUNE: &str = r#"
name: tune
vars: { trials: 6, pause: 0 }
stages:
  fit:
    kind: command
    params:
      run: "sleep ${with.pause}; echo run >> $COUNT; echo \"{\\\"loss\\\": ${with.x}}\" > ${outputs.metrics}"
      with: { x: 5, pause: "${pause}" }
      outputs: { metrics: metrics.json }
      metrics: metrics
  tune:
    kind: tune
    params:
      stage: fit
      search: { with.x: { int: [1, 100] } }
      sampler: { kind: random, seed: 3 }
      objective: { minimize: loss }
      trials: "${trials}"
"#;

fn tune() -> Project {
    Project::new().file("tune.yaml", TUNE)
}

fn tune_run(project: &Project, arguments: &[&str]) -> Output {
    let mut all = vec!["run", "tune.yaml", "tune", "--format", "json"];
    all.extend(arguments);
    Output::of(project.command(&all).env("COUNT", project.path("count")))
}

/// Starts a run of two slots that says nothing.
fn tune_start(project: &Project, set: &str) -> Child {
    project
        .command(&["run", "tune.yaml", "tune", "--jobs", "2", "--set", set])
        .env("COUNT", project.path("count"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn commands_run(project: &Project) -> usize {
    fs::read_to_string(project.path("count")).map_or(0, |text| text.lines().count())
}

#[test]
fn a_pruner_without_a_curve_says_what_is_missing() {
    let pruned = TUNE.replace("      objective:", "      pruner: { kind: asha }\n      objective:");
    let project = Project::new().file("tune.yaml", &pruned);
    let output = tune_run(&project, &[]);
    let output = output.expect(1);
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("its curve has no `loss`, by which the pruner judges it"), "{said}");
    assert!(said.contains("RUNNER_METRICS"), "{said}");
    // With a curve it runs.
    let echo = "run: \"echo '{\\\"step\\\": 1, \\\"loss\\\": ${with.x}}' >> $RUNNER_METRICS; ";
    let curved = pruned.replacen("run: \"", echo, 1);
    let project = Project::new().file("tune.yaml", &curved);
    tune_run(&project, &[]).expect(0);
}

#[test]
fn more_trials_run_only_the_new_ones() {
    let project = tune();
    tune_run(&project, &[]).expect(0);
    assert_eq!(commands_run(&project), 6);
    let output = tune_run(&project, &["--set", "trials=8"]).expect(0);
    assert_eq!(commands_run(&project), 8);
    let mut lines = events(&output);
    // Trials are looked up side by side, and told as they are found.
    lines[..6].sort();
    let expected: Vec<String> = (0..6).map(|number| format!("tune {number} cached")).collect();
    assert_eq!(lines[..6], expected, "{lines:?}");
    assert!(lines.contains(&"tune ran param_changed".to_owned()), "{lines:?}");
    // The base is trial 0, so its stage is a hit.
    let base = Output::of(
        project.command(&["run", "tune.yaml", "fit", "--format", "json"]).env("COUNT", "/dev/null"),
    );
    assert_eq!(events(&base), ["fit cached", "done: 0 ran, 1 cached"]);
}

#[test]
fn a_failure_elsewhere_ends_a_running_study() {
    let bad = "  bad:\n    kind: command\n    params: { run: 'sleep 0.2; exit 1' }\n";
    let project = Project::new().file("tune.yaml", format!("{TUNE}{bad}"));
    let arguments = ["run", "tune.yaml", "--format", "json", "--jobs", "2", "--set", "pause=0.3"];
    let output = Output::of(project.command(&arguments).env("COUNT", "/dev/null")).expect(1);
    let lines = events(&output);
    assert!(lines.contains(&"tune cancelled never_ran".to_owned()), "{lines:?}");
}

#[test]
fn a_failure_elsewhere_ends_several_studies_at_once() {
    let bad = "  bad:\n    kind: command\n    params: { run: 'sleep 0.2; exit 1' }\n";
    let (head, tune) = TUNE.split_at(TUNE.find("  tune:\n").unwrap());
    let other = |name, seed| {
        let tune = tune.replace("  tune:\n", &format!("  {name}:\n"));
        tune.replace("seed: 3", &format!("seed: {seed}"))
    };
    let studies = [other("second", 4), other("third", 5), other("fourth", 6)].concat();
    let project = Project::new().file("tune.yaml", format!("{head}{tune}{studies}{bad}"));
    let arguments = ["run", "tune.yaml", "--format", "json", "--jobs", "2", "--set", "pause=0.3"];
    let output = Output::of(project.command(&arguments).env("COUNT", "/dev/null")).expect(1);
    let lines = events(&output);
    for study in ["tune", "second", "third", "fourth"] {
        assert!(lines.contains(&format!("{study} cancelled never_ran")), "{lines:?}");
    }
}

#[test]
fn a_studys_trials_do_not_depend_on_the_number_of_slots() {
    let trials = |jobs| {
        let project = tune();
        tune_run(&project, &["--jobs", jobs]).expect(0);
        fs::read(project.path("artifacts/tune/tune/trials.parquet")).unwrap()
    };
    assert_eq!(trials("1"), trials("3"));
}

#[test]
fn a_trial_that_fails_by_accident_is_tried_again() {
    let text = TUNE.replace("run: \"", "run: \"test ${with.x} -lt 50 -o -e $MENDED || exit 1; ");
    let project = Project::new().file("tune.yaml", text);
    let go = || {
        let arguments = ["run", "tune.yaml", "tune", "--format", "json", "--jobs", "2"];
        let mut command = project.command(&arguments);
        command.env("COUNT", project.path("count")).env("MENDED", project.path("mended"));
        events(&Output::of(&mut command).expect(0))
    };
    let first = go();
    let failed = first.iter().filter(|line| line.ends_with(" failed")).count();
    assert!(failed > 0 && failed < 6, "{first:?}");
    project.write("mended", "");
    let second = go();
    assert!(second.contains(&"tune ran trials_failed".to_owned()), "{second:?}");
    assert!(second.iter().all(|line| !line.ends_with(" failed")), "{second:?}");
    assert_eq!(go(), ["tune cached", "done: 0 ran, 1 cached"]);
}

#[test]
fn a_study_does_not_drop_what_others_ran() {
    let project = tune();
    let base = |x: &str| {
        let set = format!("fit.params.with.x={x}");
        let arguments = ["run", "tune.yaml", "fit", "--set", &set, "--format", "json"];
        events(&Output::of(project.command(&arguments).env("COUNT", project.path("count"))))
    };
    // The worst value that a trial of the study has: run by hand first, it is a hit of the study.
    let worst = {
        let other = tune();
        let output = tune_run(&other, &[]).expect(0);
        let trials = output.stdout.lines().filter(|line| line.contains("trial_finished"));
        let values = trials.map(|line| serde_json::from_str::<Value>(line).unwrap());
        values.map(|event| event["params"]["with.x"].as_i64().unwrap()).max().unwrap().to_string()
    };
    assert_eq!(base(&worst)[0], "fit ran never_ran");
    tune_run(&project, &[]).expect(0);
    assert_eq!(base(&worst)[0], "fit cached");
}

#[test]
fn an_interrupted_study_leaves_no_process_and_goes_on_from_its_finished_trials() {
    let project = tune();
    let mut child = tune_start(&project, "pause=0.3");
    wait_until("two trials are done", || commands_run(&project) >= 2);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(processes_in(project.root()), Vec::<PathBuf>::new());
    let before = commands_run(&project);
    tune_run(&project, &["--set", "pause=0.3"]).expect(0);
    assert!(before >= 2);
    assert!(commands_run(&project) < before + 6, "finished trials are not run again");
}

#[test]
fn a_killed_run_leaves_a_store_from_which_the_next_goes_on() {
    let clean = tune();
    tune_run(&clean, &["--set", "pause=0.05"]).expect(0);
    let expected = fs::read(clean.path("artifacts/tune/tune/trials.parquet")).unwrap();
    let project = tune();
    for trials in 1..4 {
        let mut child = tune_start(&project, "pause=0.05");
        wait_until("some trials are done", || {
            commands_run(&project) >= trials || child.try_wait().unwrap().is_some()
        });
        let _ = child.kill();
        child.wait().unwrap();
    }
    tune_run(&project, &["--set", "pause=0.05"]).expect(0);
    let trials = fs::read(project.path("artifacts/tune/tune/trials.parquet")).unwrap();
    assert_eq!(trials, expected);
    assert!(!project.files().keys().any(|path| path.starts_with(".runner/work/")));
}

#[test]
fn two_runs_at_once_run_each_action_once() {
    let project = tune();
    let start = || tune_start(&project, "pause=0.2");
    let (mut first, mut second) = (start(), start());
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert_eq!(commands_run(&project), 6);
}
