//! The store of the real binary: its version, a loss of power, `runner store`, and runs at once.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use common::machine::{after_boot, may_mount};
use common::{Output, Project, blob, events, run, wait_until};
use serde_json::Value;

/// Three stages in a row; `word` decides what they give.
const CHAIN: &str = r#"
name: chain
vars: { word: one }
stages:
  table:
    kind: generate
    params: { dataset: lambda, rows: 60, seed: 3 }
    export: { data: table.csv }
  first:
    kind: command
    params: { run: "printf x >> ran-first; echo ${word} > ${outputs.out}", outputs: { out: out.txt } }
  second:
    kind: command
    inputs: { in: first.out, table: { from: table.data, as: csv } }
    params:
      run: "printf x >> ran-second; cat ${inputs.in} ${inputs.table} > ${outputs.out}"
      outputs: { out: out.txt }
"#;

fn chain() -> Project {
    Project::new().file("chain.yaml", CHAIN)
}

fn artifacts(project: &Project) -> BTreeMap<String, Vec<u8>> {
    let files = project.files().into_iter();
    files.filter(|(path, _)| path.starts_with("artifacts/") && !path.contains(".edited")).collect()
}

/// Every file of the store by its path, with what tells one writing of it from another.
fn stamps(project: &Project) -> BTreeMap<String, (u64, i64, i64)> {
    let stamp = |path: &String| {
        let metadata = fs::metadata(project.path(path)).unwrap();
        (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    let files = project.files().into_keys().filter(|path| !path.ends_with(".yaml"));
    files.map(|path| (path.clone(), stamp(&path))).collect()
}

fn last(lines: &[String]) -> &str {
    lines.last().map_or("", String::as_str)
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_an_older_one_taken_over() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    let version = project.read(".runner/version");
    project.write(".runner/version", "99\n");
    let before = project.files();
    for arguments in [
        &["run", "chain.yaml"][..],
        &["plan", "chain.yaml"],
        &["why", "chain.yaml", "first"],
        &["store", "gc"],
        &["store", "verify"],
        &["store", "stats"],
    ] {
        let output = project.run(arguments).expect(2);
        assert!(output.stderr.contains("`99`"), "{}", output.stderr);
        assert!(output.stderr.contains("help: use the `runner` that wrote it"));
    }
    assert_eq!(project.files(), before, "nothing is touched");
    fs::remove_file(project.path(".runner/version")).unwrap();
    fs::remove_dir_all(project.path(".runner/durable")).unwrap();
    assert_eq!(last(&run(&project, &["chain.yaml"])), "done: 0 ran, 3 cached");
    assert_eq!(project.read(".runner/version"), version);
}

#[test]
fn a_loss_of_power_costs_what_was_not_synced_and_no_more() {
    if !may_mount("a_loss_of_power_costs_what_was_not_synced_and_no_more") {
        return;
    }
    let (project, clean) = (chain(), chain());
    let two = ["chain.yaml", "--set", "word=two"];
    run(&project, &["chain.yaml"]);
    let synced = stamps(&project);
    let mark: Vec<(&str, Vec<u8>)> = [".runner/durable/mark", ".runner/durable/stat-cache"]
        .into_iter()
        .map(|path| (path, fs::read(project.path(path)).unwrap()))
        .collect();
    run(&project, &two);
    run(&clean, &two);
    // The second run's sync never came: whatever it wrote is zeroed, cut off, or whole by luck.
    let written = stamps(&project);
    let lost = written.iter().filter(|(path, stamp)| synced.get(*path) != Some(stamp));
    let mut count = 0;
    for (number, (path, _)) in lost.enumerate() {
        let path = project.path(path);
        let mut bytes = fs::read(&path).unwrap();
        match number % 3 {
            0 => bytes.fill(0),
            1 => bytes.truncate(bytes.len() / 2),
            _ => bytes.clear(),
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, bytes).unwrap();
        count += 1;
    }
    assert!(count > 8, "the second run wrote files: {count}");
    for (path, bytes) in mark {
        fs::write(project.path(path), bytes).unwrap();
    }
    let boot = project.path("boot");
    fs::write(&boot, "00000000-0000-0000-0000-000000000001\n").unwrap();
    let after = |arguments: &[&str]| {
        let mut all = vec!["run"];
        all.extend(arguments);
        all.extend(["--format", "json", "--jobs", "1"]);
        events(&Output::of(&mut after_boot(&project, &boot, &all)).expect(0))
    };
    let plan = Output::of(&mut after_boot(&project, &boot, &["plan", "chain.yaml"])).expect(0);
    assert!(!plan.stdout.is_empty());
    assert_eq!(last(&after(&two)), "done: 2 ran, 1 cached");
    assert_eq!(artifacts(&project), artifacts(&clean));
    assert_eq!(last(&after(&["chain.yaml"])), "done: 0 ran, 3 cached", "what was synced is a hit");
    let verify = project.run(&["store", "verify"]);
    assert!(!verify.stdout.contains("missing"), "{}", verify.stdout);
}

#[test]
fn damage_that_no_stat_shows_is_found_and_mended() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    let sound = project.run(&["store", "verify"]).expect(0);
    assert!(sound.stdout.contains("all sound"), "{}", sound.stdout);
    let file = blob(&project, b"one\n");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&file, b"oen\n").unwrap();
    let output = project.run(&["store", "verify", "--json"]).expect(1);
    let found: Value = serde_json::from_str(&output.stdout).unwrap();
    let problems: Vec<&str> = found["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["problem"].as_str().unwrap())
        .collect();
    assert_eq!(problems, ["damaged", "missing"]);
    assert!(!file.exists());
    assert_eq!(fs::read_dir(project.path(".runner/damaged")).unwrap().count(), 1);
    let text = project.run(&["store", "verify"]).expect(1).stdout;
    assert!(text.contains("missing: blob") && text.contains("help:"), "{text}");
    assert_eq!(
        run(&project, &["chain.yaml"]),
        ["first ran output_missing", "second cached", "table cached", "done: 1 ran, 2 cached"]
    );
    project.run(&["store", "verify"]).expect(0);
}

#[test]
fn collection_keeps_what_pipelines_have_and_says_what_it_frees() {
    let project = chain();
    for word in ["one", "two", "three"] {
        run(&project, &["chain.yaml", "--set", &format!("word={word}")]);
    }
    let before = project.files();
    let dry = project.run(&["store", "gc", "--keep-runs", "1", "--dry-run", "--json"]).expect(0);
    assert_eq!(project.files(), before);
    let dry: Value = serde_json::from_str(&dry.stdout).unwrap();
    assert_eq!(dry["removed"]["entries"]["count"], 4);
    let said = project.run(&["store", "gc", "--keep-runs", "2"]).expect(0).stdout;
    assert!(said.contains("freed") && said.contains("entries"), "{said}");
    let ran = |word: &str| {
        let plan =
            project.run(&["plan", "chain.yaml", "--exit-code", "--set", &format!("word={word}")]);
        plan.code == 3
    };
    assert_eq!(["one", "two", "three"].map(ran), [true, false, false]);
    project.run(&["store", "gc", "--max-size", "0"]).expect(0);
    assert_eq!(["two", "three"].map(ran), [true, false]);
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    let last_word = ["chain.yaml", "--set", "word=three"];
    assert_eq!(last(&run(&project, &last_word)), "done: 0 ran, 3 cached");
    project.run(&["store", "verify"]).expect(0);

    let stats = project.run(&["store", "stats"]).expect(0).stdout;
    for word in ["blobs", "entries", "conversions", "roots of `chain`: 3", "could free 0 B"] {
        assert!(stats.contains(word), "`{word}`: {stats}");
    }
    for (option, value, word) in [
        ("--max-size", "10 parsecs", "10GiB"),
        ("--older-than", "soon", "30d"),
        ("--keep-runs", "0", "0"),
    ] {
        let output = project.run(&["store", "gc", option, value]).expect(2);
        assert!(output.stderr.contains(word), "{}", output.stderr);
    }
    let elsewhere = Project::new();
    let output = elsewhere.run(&["store", "stats"]).expect(2);
    assert!(output.stderr.contains("there is no store"), "{}", output.stderr);
}

#[test]
fn collection_beside_a_run_leaves_it_whole() {
    let text = "
name: slow
stages:
  first:
    kind: command
    params: { run: 'echo 1 > ${outputs.out}', outputs: { out: out.txt } }
  wait:
    kind: command
    inputs: { in: first.out }
    params:
      run: 'touch begun; while ! test -e go; do sleep 0.05; done; cat ${inputs.in} > ${outputs.out}'
      outputs: { out: out.txt }
";
    let project = Project::new().file("slow.yaml", text);
    let mut child = project.command(&["run", "slow.yaml", "--format", "json"]).spawn().unwrap();
    wait_until("the command runs", || project.path("begun").exists());
    let output = project.run(&["store", "gc", "--keep-runs", "1", "--max-size", "0"]).expect(0);
    assert!(output.stderr.contains("a run is under way"), "{}", output.stderr);
    project.write("go", "");
    assert!(child.wait().unwrap().success());
    assert_eq!(project.read("artifacts/slow/wait/out.txt"), "1\n");
    assert_eq!(last(&run(&project, &["slow.yaml"])), "done: 0 ran, 2 cached");
}

#[test]
fn two_runs_of_a_pipeline_at_once_run_each_action_once() {
    let project = chain();
    let start = || project.command(&["run", "chain.yaml", "--format", "json"]).spawn().unwrap();
    let children = [start(), start(), start()];
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!((project.read("ran-first"), project.read("ran-second")), ("x".into(), "x".into()));
    assert_eq!(last(&run(&project, &["chain.yaml"])), "done: 0 ran, 3 cached");
    project.run(&["store", "verify"]).expect(0);
}

#[test]
fn eight_pipelines_at_once_share_a_store() {
    let names: Vec<String> = (0..8).map(|number| format!("chain{number}")).collect();
    let mut project = Project::new();
    for name in &names {
        let text = CHAIN
            .replace("name: chain", &format!("name: {name}"))
            .replace("word: one", &format!("word: {name}"));
        project = project.file(&format!("{name}.yaml"), text);
    }
    let start = |name: &String| {
        project.command(&["run", &format!("{name}.yaml"), "--format", "json"]).spawn().unwrap()
    };
    let children: Vec<_> = names.iter().map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    for name in &names {
        assert_eq!(project.read(&format!("artifacts/{name}/first/out.txt")), format!("{name}\n"));
        assert_eq!(last(&run(&project, &[&format!("{name}.yaml")])), "done: 0 ran, 3 cached");
    }
    assert_eq!(project.read("ran-first").len(), 8);
    project.run(&["store", "verify"]).expect(0);
}

#[test]
fn results_outlive_the_history() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    let history = project.path(".runner/history.sqlite");
    fs::remove_file(&history).unwrap();
    assert_eq!(last(&run(&project, &["chain.yaml"])), "done: 0 ran, 3 cached");
    assert!(history.exists());
    for damage in [&b"no database at all"[..], b"", &[0; 8192]] {
        fs::write(&history, damage).unwrap();
        assert_eq!(last(&run(&project, &["chain.yaml"])), "done: 0 ran, 3 cached");
        project.run(&["store", "gc", "--max-size", "0"]).expect(0);
        assert_eq!(last(&run(&project, &["chain.yaml"])), "done: 0 ran, 3 cached");
    }
}
