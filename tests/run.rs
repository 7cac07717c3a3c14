//! Runs of the real binary: event logs compared whole, and what is left on disk.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use common::{Project, blob, events, run};

/// Two chains over one file: `upper` and `count` read what `copy` gives, `report` reads `count`.
const CHAIN: &str = r#"
name: chain
vars: { word: "b" }
stages:
  copy:
    kind: command
    inputs: { text: { file: input.txt } }
    params:
      run: "sort ${inputs.text} > ${outputs.text}"
      outputs: { text: text.txt }
  count:
    kind: command
    inputs: { text: copy.text }
    params:
      run: "grep -c ${with.word} ${inputs.text} > ${outputs.lines}"
      with: { word: "${word}" }
      outputs: { lines: lines.txt }
    export: { lines: count.txt }
  report:
    kind: command
    inputs: { lines: count.lines }
    params:
      run: [cp, "${inputs.lines}", "${outputs.report}"]
      outputs: { report: report.txt }
"#;

fn chain() -> Project {
    Project::new().file("chain.yaml", CHAIN).file("input.txt", "b\na\nb\n")
}

#[test]
fn a_second_run_is_all_cached_and_a_change_reruns_what_it_reaches() {
    let project = chain();
    assert_eq!(
        run(&project, &["chain.yaml"]),
        [
            "copy ran never_ran",
            "count ran never_ran",
            "report ran never_ran",
            "done: 3 ran, 0 cached"
        ]
    );
    assert_eq!(project.read("artifacts/chain/report/report.txt"), "2\n");
    assert_eq!(project.read("artifacts/chain/count.txt"), "2\n");
    let cached = ["copy cached", "count cached", "report cached", "done: 0 ran, 3 cached"];
    assert_eq!(run(&project, &["chain.yaml"]), cached);

    assert_eq!(
        run(&project, &["chain.yaml", "--set", "word=a"]),
        [
            "copy cached",
            "count ran param_changed",
            "report ran input_changed",
            "done: 2 ran, 1 cached"
        ]
    );
    assert_eq!(run(&project, &["chain.yaml"]), cached, "going back is a hit");
    assert_eq!(project.read("artifacts/chain/count.txt"), "2\n");
}

#[test]
fn comments_key_order_and_names_of_variables_change_nothing() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    let text = CHAIN.replace("word", "needle").replace("with.needle", "with.word");
    let text = text.replace("with: { needle:", "with: { word:").replace("copy:", "copy: # comment");
    let (kind, rest) = ("    kind: command\n", "    inputs: { lines: count.lines }\n");
    let text = text.replace(&format!("{kind}{rest}"), &format!("{rest}{kind}"));
    project.write("chain.yaml", text);
    let again = run(&project, &["chain.yaml"]);
    assert_eq!(again.last().unwrap(), "done: 0 ran, 3 cached", "{again:?}");
}

#[test]
fn the_wave_stops_where_the_bytes_are_the_same() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    project.write("input.txt", "a\nb\nb\n");
    assert_eq!(
        run(&project, &["chain.yaml"]),
        ["copy ran input_changed", "count cached", "report cached", "done: 1 ran, 2 cached"]
    );
}

#[test]
fn lost_artifacts_are_put_back_and_edited_ones_set_aside() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    fs::remove_dir_all(project.path("artifacts")).unwrap();
    assert_eq!(run(&project, &["chain.yaml"]).last().unwrap(), "done: 0 ran, 3 cached");
    assert_eq!(project.read("artifacts/chain/count/lines.txt"), "2\n");
    project.write("artifacts/chain/count.txt", "mine");
    let output = project.run(&["run", "chain.yaml"]).expect(0);
    let said = output.stdout + &output.stderr;
    assert!(said.contains("count.txt.edited"), "it is said aloud: {said}");
    assert_eq!(project.read("artifacts/chain/count.txt.edited"), "mine");
    assert_eq!(project.read("artifacts/chain/count.txt"), "2\n");
}

#[test]
fn a_flipped_byte_is_said_and_computed_again() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    let path = blob(&project, b"a\nb\nb\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&path, b"a\nb\nc\n").unwrap();
    let output = project.run(&["run", "chain.yaml", "--format", "json", "--jobs", "1"]).expect(0);
    assert_eq!(
        events(&output),
        ["copy ran output_damaged", "count cached", "report cached", "done: 1 ran, 2 cached"]
    );
    let warning = output.stdout.lines().find(|line| line.contains("\"warning\"")).unwrap();
    assert!(warning.contains("`text`") && warning.contains("damaged"), "{warning}");
    assert_eq!(fs::read(&path).unwrap(), b"a\nb\nb\n");
}

#[test]
fn a_deleted_store_file_is_a_miss_and_a_lost_history_loses_nothing() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    fs::remove_file(blob(&project, b"a\nb\nb\n")).unwrap();
    assert_eq!(run(&project, &["chain.yaml"])[0], "copy ran output_missing");
    fs::write(project.path(".runner/history.sqlite"), b"no database").unwrap();
    fs::remove_file(project.path(".runner/stat-cache")).unwrap();
    assert_eq!(run(&project, &["chain.yaml"]).last().unwrap(), "done: 0 ran, 3 cached");
}

#[test]
fn force_runs_the_stages_named_whatever_the_store_has() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    assert_eq!(
        run(&project, &["chain.yaml", "count", "--force"]),
        ["copy cached", "count ran forced", "done: 1 ran, 1 cached"]
    );
    assert_eq!(run(&project, &["chain.yaml", "--force"]).last().unwrap(), "done: 3 ran, 0 cached");
}

#[test]
fn plan_and_why_leave_no_trace() {
    let project = chain();
    project.run(&["plan", "chain.yaml"]).expect(0);
    assert_eq!(project.files().len(), 2);
    run(&project, &["chain.yaml"]);
    let before = project.files();
    project.run(&["plan", "chain.yaml", "--set", "word=a"]).expect(0);
    project.run(&["why", "chain.yaml", "count"]).expect(0);
    assert!(project.files() == before, "nothing is written");
}

#[test]
fn plan_tells_a_stages_own_change_below_a_dirty_one() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    project.write("input.txt", "b\nb\nb\na\n");
    let output = project.run(&["plan", "chain.yaml", "--set", "word=a"]).expect(0);
    // The times that it foretells are of this machine.
    let lines: Vec<&str> =
        output.stdout.lines().filter_map(|line| line.split("; about").next()).collect();
    assert_eq!(
        lines,
        [
            "run     copy    input text changed: 52d7b16cf2f0 -> 5fe0072b2568",
            "run     count   param with.word changed: \"b\" -> \"a\" (variable word), and 1 more",
            "maybe   report  stage count may give other outputs",
            "2 to run, 1 maybe, 0 cached"
        ]
    );
}

#[test]
fn every_epoch_is_told_however_short() {
    let text = r"
stages:
  made:
    kind: generate
    params: { dataset: lambda, rows: 200, functions: 2 }
  prepared:
    kind: preprocess
    inputs: { data: made.data }
    params:
      series: FunctionID
      time: { column: Timestamp }
      one_hot: [FunctionID]
      split: { by: time, train: 0.7, validation: 0.15, test: 0.15 }
  fit:
    kind: train
    inputs: { data: prepared }
    params: { target: ResponseTime, window: 4, network: { kind: lstm, units: [2] }, epochs: 6 }
";
    let project = Project::new().file("fit.yaml", text);
    let output = project.run(&["run", "fit.yaml", "--format", "json"]).expect(0);
    let lines = output.stdout.lines().map(|line| serde_json::from_str(line).unwrap());
    let counts = lines.filter(|event: &serde_json::Value| event["unit"] == "epochs");
    let told = counts.filter(|event| event["metrics"]["train_loss"].is_number());
    let mut epochs: Vec<u64> = told.map(|event| event["done"].as_u64().unwrap()).collect();
    epochs.dedup();
    assert_eq!(epochs, [1, 2, 3, 4, 5, 6]);
}
