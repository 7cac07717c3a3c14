//! Studies of the real binary with repeats, with several objectives, and over a training that is
//! killed at random moments.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, UInt64Type};
use common::{Output, Project, events, shares, wait_until};
use runner::data::table;

/// The larger `x`, the better; each repeat reports its seed after it. The model names both.
const REPEATS: &str = r#"
name: tune
vars: { repeats: 3, limit: 1000 }
stages:
  fit:
    kind: command
    params:
      run: >-
        echo run >> $COUNT; test ${with.x} -lt ${with.limit} -o ${with.seed} -ne 11 || exit 1;
        echo model ${with.x} ${with.seed} > ${outputs.model};
        echo "{\"score\": ${with.x}${with.seed}, \"size\": $(( ${with.x} * 37 % 101 ))}" > ${outputs.metrics}
      with: { x: 5, seed: 10, limit: "${limit}" }
      outputs: { metrics: metrics.json, model: model.txt }
      metrics: metrics
  tune:
    kind: tune
    params:
      stage: fit
      search: { with.x: { int: [1, 99] } }
      sampler: { kind: random, seed: 3 }
      objective: { maximize: score }
      trials: 6
      repeats: "${repeats}"
"#;

fn tune_run(project: &Project, arguments: &[&str]) -> Output {
    let mut all = vec!["run", "tune.yaml", "tune", "--format", "json"];
    all.extend(arguments);
    Output::of(project.command(&all).env("COUNT", project.path("count")))
}

fn commands_run(project: &Project) -> usize {
    fs::read_to_string(project.path("count")).map_or(0, |text| text.lines().count())
}

fn read(path: &Path) -> RecordBatch {
    table::batches(path, None).unwrap().next().unwrap().unwrap()
}

/// The models that the store has the bytes of, by the parameter and the seed that they name.
fn stored_models(project: &Project) -> BTreeSet<String> {
    let files = project.files().into_iter();
    let blobs = files.filter(|(path, _)| path.starts_with(".runner/blobs"));
    let texts = blobs.filter_map(|(_, bytes)| String::from_utf8(bytes).ok());
    texts.filter(|text| text.starts_with("model ")).map(|text| text.trim().to_owned()).collect()
}

#[test]
fn repeats_are_actions_of_their_own_and_a_trial_is_their_mean() {
    let project = Project::new().file("tune.yaml", REPEATS);
    let output = tune_run(&project, &["--jobs", "2"]).expect(0);
    assert_eq!(commands_run(&project), 18);
    let lines = events(&output);
    assert_eq!(lines.iter().filter(|line| line.ends_with(" ran")).count(), 6, "{lines:?}");

    let trials = read(&project.path("artifacts/tune/tune/trials.parquet"));
    let column = |name: &str| trials.column_by_name(name).unwrap().clone();
    let values = column("value").as_primitive::<Float64Type>().clone();
    let xs = column("with.x").as_primitive::<Int64Type>().clone();
    for (x, value) in xs.iter().flatten().zip(values.iter().flatten()) {
        assert_eq!(value, x as f64 * 100.0 + 11.0, "the seeds are 10, 11 and 12");
    }
    let counts = column("repeats").as_primitive::<UInt64Type>().clone();
    assert!(counts.iter().all(|count| count == Some(3)));
    let each = read(&project.path("artifacts/tune/tune/repeats.parquet"));
    assert_eq!(each.num_rows(), 18);
    let scores = each.column_by_name("score").unwrap().as_primitive::<Float64Type>().clone();
    let best = xs.iter().flatten().max().unwrap();
    assert!(scores.iter().any(|score| score == Some(best as f64 * 100.0 + 12.0)));

    // The model is the first repeat's; nothing else is kept but what the base itself would give.
    let model = format!("model {best} 10");
    assert_eq!(project.read("artifacts/tune/tune/model.txt").trim(), model);
    assert_eq!(stored_models(&project), BTreeSet::from(["model 5 10".to_owned(), model]));

    tune_run(&project, &["--set", "repeats=4"]).expect(0);
    assert_eq!(commands_run(&project), 24, "only the fourth of each is new");
    let once = tune_run(&project, &["--set", "repeats=1"]).expect(0);
    assert_eq!(commands_run(&project), 24, "{:?}", events(&once));
}

#[test]
fn what_a_killed_run_stored_of_trials_is_dropped_at_the_end() {
    let kills = "test -e calm -o $(wc -l < $COUNT) -lt 4 || { kill -9 $PPID; exec sleep 60; };";
    let text = REPEATS.replace("test ${with.x}", &format!("{kills} test ${{with.x}}"));
    let project = Project::new().file("tune.yaml", &text);
    let arguments = ["--jobs", "1", "--set", "repeats=1"];
    let killed = tune_run(&project, &arguments);
    assert_eq!(killed.code, -1, "{}", killed.stderr);
    let before = stored_models(&project);
    let project = project.file("calm", "");
    tune_run(&project, &arguments).expect(0);
    let best = project.read("artifacts/tune/tune/model.txt").trim().to_owned();
    assert_eq!(stored_models(&project), BTreeSet::from(["model 5 10".to_owned(), best]));
    assert!(!before.is_subset(&stored_models(&project)), "nothing to drop: {before:?}");
}

#[test]
fn a_failed_repeat_fails_its_trial() {
    let project = Project::new().file("tune.yaml", REPEATS);
    let output = tune_run(&project, &["--set", "limit=50", "--jobs", "2"]).expect(0);
    let trials = read(&project.path("artifacts/tune/tune/trials.parquet"));
    let column = |name: &str| trials.column_by_name(name).unwrap().clone();
    let (xs, states) = (column("with.x"), column("state"));
    let pairs = xs.as_primitive::<Int64Type>().iter().zip(states.as_string::<i32>().iter());
    let mut failed = 0;
    for (x, state) in pairs {
        failed += usize::from(state == Some("failed"));
        assert_eq!(state == Some("failed"), x.unwrap() >= 50, "{x:?}");
    }
    assert!(failed > 0 && failed < 6);
    assert!(output.stdout.contains("repeat 1: "), "{}", output.stdout);
}

#[test]
fn a_front_is_the_same_whatever_the_slots() {
    let text = REPEATS
        .replace(
            "objective: { maximize: score }",
            "objectives: [{ maximize: score }, { minimize: size }]",
        )
        .replace("kind: random, seed: 3", "kind: tpe, startup: 5")
        .replace("trials: 6", "trials: 25");
    let artifacts = |jobs: &str| {
        let project = Project::new().file("tune.yaml", &text);
        tune_run(&project, &["--jobs", jobs, "--set", "repeats=1"]).expect(0);
        let mut files = project.files();
        files.retain(|path, _| path.starts_with("artifacts/"));
        (files, read(&project.path("artifacts/tune/tune/pareto.parquet")))
    };
    let (alone, front) = artifacts("1");
    let (together, _) = artifacts("3");
    assert_eq!(alone, together);
    assert!(alone.contains_key("artifacts/tune/tune/pareto.svg"));
    let column = |name: &str| front.column_by_name(name).unwrap().as_primitive::<Float64Type>();
    let (scores, sizes) = (column("score").clone(), column("size").clone());
    // Along the front both go down together, but for trials that came out alike.
    let points: Vec<[f64; 2]> =
        (0..front.num_rows()).map(|row| [scores.value(row), sizes.value(row)]).collect();
    for pair in points.windows(2) {
        let lower = pair[1][0] < pair[0][0] && pair[1][1] < pair[0][1];
        assert!(lower || pair[0] == pair[1], "{points:?}");
    }
    let model = String::from_utf8(alone["artifacts/tune/tune/model.txt"].clone()).unwrap();
    assert_eq!(model.trim(), format!("model {} 10", (scores.value(0) / 100.0).floor()));
}

/// A tuned training in which some trials are pruned, and each takes a while.
const LEARN: &str = r#"
name: learn
vars: { repeats: 1 }
stages:
  generate:
    kind: generate
    params: { dataset: lambda, profile: workload, rows: 600, functions: 2, interval: 300, seed: 1 }
  preprocess:
    kind: preprocess
    inputs: { data: generate.data }
    params:
      series: FunctionID
      time: { column: Timestamp, unit: s }
      one_hot: [FunctionID]
      scale: minmax
      split: { by: time, train: 0.7, validation: 0.15, test: 0.15 }
  train:
    kind: train
    inputs: { data: preprocess }
    params: { target: ResponseTime, window: 6, network: { kind: lstm, units: [4] }, epochs: 120 }
  tune:
    kind: tune
    params:
      stage: train
      search:
        network.units: { choice: [[4], [8], [4, 4]] }
        optimizer.learning_rate: { log_float: [1.0e-4, 1.0e-1] }
      pruner: { kind: hyperband, min_resource: 10 }
      objective: { minimize: validation_loss }
      trials: 8
      repeats: "${repeats}"
"#;

fn learn(project: &Project, jobs: &str, repeats: &str) -> Child {
    let set = format!("repeats={repeats}");
    let log = File::options().create(true).append(true).open(project.path("log")).unwrap();
    project
        .command(&["run", "learn.yaml", "--jobs", jobs, "--set", &set])
        .env("RUST_LOG", "runner=info")
        .stdout(Stdio::null())
        .stderr(log)
        .process_group(0)
        .spawn()
        .unwrap()
}

fn results(project: &Project) -> BTreeMap<String, Vec<u8>> {
    let mut files = project.files();
    files.retain(|path, _| path.starts_with("artifacts/learn/tune/"));
    files
}

/// Kills the whole process group of runs at random moments and then lets one end.
fn results_after_kills(repeats: &str, moments: &[Duration]) -> (BTreeMap<String, Vec<u8>>, String) {
    let project = Project::new().file("learn.yaml", LEARN);
    for moment in moments {
        let mut child = learn(&project, "2", repeats);
        let checkpoints = project.path(".runner/checkpoints");
        let is_training = || fs::read_dir(&checkpoints).is_ok_and(|mut all| all.next().is_some());
        wait_until("a trial trains", || is_training() || child.try_wait().unwrap().is_some());
        std::thread::sleep(*moment);
        let group = rustix::process::Pid::from_child(&child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        child.wait().unwrap();
    }
    assert_eq!(learn(&project, "2", repeats).wait().unwrap().code(), Some(0));
    (results(&project), project.read("log"))
}

#[test]
fn a_study_killed_five_times_ends_as_one_that_was_not() {
    let most = Duration::from_millis(300);
    let moments: Vec<Duration> = shares().map(|share| most.mul_f64(share)).take(5).collect();
    for repeats in ["1", "2"] {
        let undisturbed = |jobs: &str| {
            let project = Project::new().file("learn.yaml", LEARN);
            assert_eq!(learn(&project, jobs, repeats).wait().unwrap().code(), Some(0));
            results(&project)
        };
        let alone = undisturbed("1");
        let names = ["trials.parquet", "model.safetensors", "best.yaml", "parallel.svg"];
        for name in names {
            assert!(alone.contains_key(&format!("artifacts/learn/tune/{name}")), "{name}");
        }
        assert_eq!(alone, undisturbed("2"));
        let (killed, log) = results_after_kills(repeats, &moments);
        assert_eq!(alone, killed, "killed at {moments:?}");
        assert!(log.contains("goes on from its checkpoint"), "killed at {moments:?}: {log}");
    }
}

/// The memory of a process in KiB.
#[derive(Clone, Copy)]
struct Memory {
    all: u64,
    /// What it allocated.
    own: u64,
    /// What it has of its program's file.
    program: u64,
}

impl Memory {
    /// `None` once the process has ended.
    fn of(child: &Child) -> Option<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
        let number = |name| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse().ok()
        };
        let (all, own) = (number("VmRSS:")?, number("RssAnon:")?);
        Some(Memory { all, own, program: number("RssFile:")? })
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} KiB ({} allocated, {} of its file)", self.all, self.own, self.program)
    }
}

/// Runs a study of trivial commands; gives its memory after the first tenth, when nearly all of them
/// have begun, and before its end, while it writes its outputs.
fn memory_of_a_study(trials: usize) -> [Memory; 3] {
    let text = REPEATS
        .replace("int: [1, 99]", "int: [1, 1000000]")
        .replace("limit: 1000", "limit: 10000000")
        .replace("trials: 6", &format!("trials: {trials}"));
    let project = Project::new().file("tune.yaml", &text);
    let arguments = ["run", "tune.yaml", "tune", "--jobs", "2", "--set", "repeats=1"];
    let mut child = project
        .command(&arguments)
        .env("COUNT", project.path("count"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut early, mut full, mut late) = (None, None, None);
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        let begun = fs::metadata(project.path("count")).map_or(0, |count| count.len() / 4);
        if let Some(now) = Memory::of(&child) {
            if begun as usize >= trials.div_ceil(10) {
                early.get_or_insert(now);
            }
            // A few points are drawn twice, and their commands run once.
            if begun as usize >= trials - trials / 50 {
                full.get_or_insert(now);
            }
            late = Some(now);
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(ended.success());
    assert_eq!(read(&project.path("artifacts/tune/tune/trials.parquet")).num_rows(), trials);
    [early, full, late].map(|memory| memory.expect("the study takes longer than a look at it"))
}

#[test]
#[ignore = "long: five thousand commands"]
fn memory_does_not_grow_over_five_thousand_trials() {
    let [early, full, late] = memory_of_a_study(5000);
    println!("after the first tenth: {early}\nbefore the outputs: {full}\nlast: {late}");
    assert!(late.all as f64 <= 1.2 * early.all as f64, "{early} early, {late} late");
}

/// What the trials themselves leave; the outputs of the study, and the part of the program that writes
/// them, come on top of it at its end.
#[test]
#[ignore = "long: five thousand commands"]
fn five_thousand_trials_leave_little_until_the_outputs_are_written() {
    let [early, full, _] = memory_of_a_study(5000);
    assert!(full.all as f64 <= 1.2 * early.all as f64, "{early} early, {full} full");
}
