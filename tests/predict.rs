//! `runner predict` through the real binary: a model is trained, and predicts from raw tables.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use runner::data::{TimeColumn, source, time};

use common::{Output, Project, wait_until};

const PIPELINE: &str = "name: p
stages:
  generate:
    kind: generate
    params: { dataset: lambda, rows: 900, functions: 3, interval: 3600, seed: 7 }
    export: { data: raw.csv }
  preprocess:
    kind: preprocess
    inputs: { data: generate.data }
    params:
      series: FunctionID
      time: { column: Timestamp, unit: s }
      cyclical: [hour, weekday]
      one_hot: [FunctionID]
      scale: standard
      split: { by: time, train: 0.70, validation: 0.15, test: 0.15 }
  train:
    kind: train
    inputs: { data: preprocess }
    params: { target: ResponseTime, window: 6, network: { kind: lstm, units: [8] }, epochs: 1 }
  evaluate:
    kind: evaluate
    inputs: { model: train.model, data: preprocess }
  alone:
    kind: train
    inputs: { data: preprocess }
    params:
      target: ResponseTime
      features: [CPUUtilization, hour_sin]
      target_history: false
      window: 3
      network: { kind: mlp, units: [8] }
      epochs: 1
  path:
    kind: train
    inputs: { data: preprocess }
    params:
      target: ResponseTime
      window: 6
      horizon: 4
      outputs: path
      loss: quantile
      quantiles: [0.1, 0.5, 0.9]
      network: { kind: gru, units: [8] }
      epochs: 1
";

const MODEL: &str = "artifacts/p/train/model.safetensors";
const RAW: &str = "artifacts/p/raw.csv";

/// A project whose stages have run.
fn trained() -> Project {
    let project = Project::new().file("p.yaml", PIPELINE);
    project.run(&["run", "p.yaml"]).expect(0);
    project
}

/// The numbers of a column by series and time in microseconds.
fn by_key(path: &Path, keys: [&str; 2], column: &str) -> BTreeMap<(String, i64), f64> {
    let table = source::open(path).unwrap();
    let columns = table.find(&[keys[0], keys[1], column]).unwrap();
    let unit = TimeColumn { column: keys[1].to_owned(), unit: Default::default() };
    let mut found = BTreeMap::new();
    for block in 0..table.blocks() {
        let batch = table.read(block, &columns).unwrap();
        let names = cast(batch.column(0), &DataType::Utf8).unwrap();
        let times = time::micros(batch.column(1), &unit, 0).unwrap();
        let values = batch.column(2).as_primitive::<Float64Type>();
        for row in (0..batch.num_rows()).filter(|row| values.is_valid(*row)) {
            let name = names.as_string::<i32>().value(row).to_owned();
            found.insert((name, times.value(row)), values.value(row));
        }
    }
    found
}

#[test]
fn predictions_are_those_of_evaluate_in_either_format_at_any_thread_count() {
    let project = trained();
    let predict = |input: &str, output: &str, jobs: &str| {
        project.run(&["predict", MODEL, input, "-o", output, "--jobs", jobs]).expect(0)
    };
    let said = predict(RAW, "a.csv", "1");
    assert_eq!(
        (said.stdout.as_str(), said.stderr.as_str()),
        ("a.csv: predictions at 882 of 900 rows\n", "",)
    );
    predict("artifacts/p/generate/data.parquet", "b.csv", "2");
    predict(RAW, "c.parquet", "3");
    assert_eq!(project.read("a.csv"), project.read("b.csv"));
    let piped = project.run(&["predict", MODEL, RAW]).expect(0);
    assert_eq!(piped.stdout, project.read("a.csv"));

    let keys = ["FunctionID", "Timestamp"];
    let ours = by_key(&project.path("a.csv"), keys, "predicted");
    assert_eq!(ours, by_key(&project.path("c.parquet"), keys, "predicted"));
    assert_eq!(ours.len(), 882);
    let predictions = project.path("artifacts/p/evaluate/predictions.parquet");
    let theirs = by_key(&predictions, ["series", "time"], "predicted");
    assert!(theirs.len() > 100);
    for (key, value) in &theirs {
        assert_eq!(ours.get(key), Some(value), "{key:?}");
    }
}

/// Empties a column's cells from a row on, of all rows or of those of one series.
fn emptied(csv: &str, column: &str, first: usize) -> String {
    let mut lines = csv.lines();
    let header = lines.next().unwrap();
    let place = header.split(',').position(|name| name == column).unwrap();
    let mut text = format!("{header}\n");
    for (row, line) in lines.enumerate() {
        let mut cells: Vec<&str> = line.split(',').collect();
        if row >= first {
            cells[place] = "";
        }
        text += &(cells.join(",") + "\n");
    }
    text
}

#[test]
fn the_rows_whose_target_is_not_known_yet_are_predicted() {
    let project = trained();
    project.run(&["predict", MODEL, RAW, "-o", "whole.csv"]).expect(0);
    // The series take turns, so the last three rows are the newest of each.
    project.write("next.csv", emptied(&project.read(RAW), "ResponseTime", 897));
    let said = project.run(&["predict", MODEL, "next.csv", "-o", "next_out.csv"]).expect(0);
    assert_eq!(said.stderr, "");
    assert_eq!(project.read("whole.csv"), project.read("next_out.csv"));
    // Later ones would read what is not known.
    project.write("later.csv", emptied(&project.read(RAW), "ResponseTime", 891));
    let said = project.run(&["predict", MODEL, "later.csv", "-o", "later_out.csv"]).expect(0);
    let warning = "warning: 6 rows without a prediction, whose window has a gap in the past of \
                   `ResponseTime`\n";
    assert_eq!(said.stderr, warning);
    let whole: Vec<String> = project.read("whole.csv").lines().map(str::to_owned).collect();
    let later: Vec<String> = project.read("later_out.csv").lines().map(str::to_owned).collect();
    assert_eq!(later, whole[..whole.len() - 6]);
}

#[test]
fn a_model_without_history_needs_its_features_alone() {
    let project = trained();
    let model = "artifacts/p/alone/model.safetensors";
    let whole = project.run(&["predict", model, RAW]).expect(0).stdout;
    let raw = project.read(RAW);
    let header: Vec<&str> = raw.lines().next().unwrap().split(',').collect();
    let kept = ["CPUUtilization", "Timestamp", "FunctionID"];
    let places = kept.map(|name| header.iter().position(|other| *other == name).unwrap());
    let line = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        places.map(|place| cells[place]).join(",") + "\n"
    };
    project.write("few.csv", raw.lines().map(line).collect::<String>());
    assert_eq!(project.run(&["predict", model, "few.csv"]).expect(0).stdout, whole);
    assert_eq!(whole.lines().count(), 1 + 900 - 3 * 2);
}

#[test]
fn a_path_has_a_row_for_each_step_and_a_column_for_each_quantile() {
    let project = trained();
    let model = "artifacts/p/path/model.safetensors";
    project.run(&["predict", model, RAW, "-o", "path.csv"]).expect(0);
    let text = project.read("path.csv");
    let mut lines = text.lines();
    let header = "FunctionID,Timestamp,step,predicted_0.1,predicted_0.5,predicted_0.9";
    assert_eq!(lines.next(), Some(header));
    let raw = project.read(RAW);
    let newest = raw.lines().last().unwrap();
    let mut rows = 0;
    for (number, line) in lines.enumerate() {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells[2], (number % 4 + 1).to_string());
        let quantiles: Vec<f64> = cells[3..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!(quantiles.is_sorted(), "{line}");
        rows += 1;
    }
    // With a horizon the newest row of each series predicts too.
    assert_eq!(rows, 4 * (900 - 3 * 5));
    let last = text.lines().last().unwrap();
    assert!(newest.split(',').any(|cell| cell == last.split(',').nth(1).unwrap()), "{last}");
}

/// Predicts from a table to `out.csv` and gives what is said; the old file must stay.
fn refused(project: &Project, arguments: &[&str]) -> String {
    project.write("out.csv", "old");
    let mut all = vec!["predict"];
    all.extend(arguments);
    let Output { stdout, stderr, .. } = project.run(&all).expect(2);
    assert_eq!((stdout.as_str(), project.read("out.csv").as_str()), ("", "old"));
    assert!(project.files().keys().all(|name| !name.starts_with(".tmp-")));
    stderr
}

#[test]
fn what_cannot_be_predicted_from_is_refused_with_a_way_out_and_the_old_file_stays() {
    let project = trained();
    let raw = project.read(RAW);
    let head = |rows: usize| raw.split_inclusive('\n').take(rows + 1).collect::<String>();
    let table = |text: &str| {
        project.write("in.csv", text);
        refused(&project, &[MODEL, "in.csv", "-o", "out.csv"])
    };
    let said = table(&raw.replacen("MemoryUtilization", "MemoryUtilisation", 1));
    assert_eq!(
        said,
        "error: column `MemoryUtilization`: the table has no such column\n  \
         help: did you mean `MemoryUtilisation`?\n"
    );
    let mut broken: Vec<String> = raw.lines().map(str::to_owned).collect();
    let place = broken[0].split(',').position(|name| name == "CPUUtilization").unwrap();
    let mut cells: Vec<&str> = raw.lines().nth(41).unwrap().split(',').collect();
    cells[place] = "high";
    broken[41] = cells.join(",");
    let said = table(&broken.join("\n"));
    assert!(
        said.starts_with("error: row 41, column `CPUUtilization`: `high` is not a number\n"),
        "{said}"
    );
    assert!(table(&head(0)).starts_with("error: `in.csv`: the table has no rows\n"));
    let said = table(&head(16));
    assert!(said.starts_with("error: no series has the 7 rows that a prediction needs"), "{said}");
    let mut turned: Vec<&str> = raw.lines().collect();
    turned.swap(301, 304);
    let said = table(&turned.join("\n"));
    assert!(said.starts_with("error: row 304, column `Timestamp`: it is earlier"), "{said}");
    assert!(said.ends_with("sort the table by `FunctionID`, `Timestamp`\n"), "{said}");

    project.write("keras.h5", b"\x89HDF\r\n\x1a\n rest");
    let said = refused(&project, &["keras.h5", RAW, "-o", "out.csv"]);
    assert_eq!(
        said,
        "error: `keras.h5`: this is Keras's format\n  help: give the pipeline's own \
         `model.safetensors`: it lies at `artifacts/<pipeline>/<stage>/`\n"
    );
    let said = refused(&project, &[RAW, MODEL, "-o", "out.csv"]);
    assert!(said.starts_with(&format!("error: `{RAW}`: not a whole safetensors file")), "{said}");
    let said = refused(&project, &["no.safetensors", RAW, "-o", "out.csv"]);
    assert!(said.starts_with("error: `no.safetensors`: cannot read the model"), "{said}");
    let said = refused(&project, &[MODEL, RAW, "-o", "out.xlsx"]);
    assert!(said.contains("name it `.csv` or `.parquet`"), "{said}");
    let said = refused(&project, &[MODEL, "out.csv", "-o", "./out.csv"]);
    assert!(said.contains("would replace the table they are made from"), "{said}");
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let project = trained();
    let made = Command::new("mkfifo").arg(project.path("pipe.csv")).status();
    assert!(made.expect("mkfifo runs").success());
    let said = project.run(&["predict", MODEL, "pipe.csv"]).expect(2).stderr;
    assert!(said.starts_with("error: `pipe.csv`: a table is read more than once"), "{said}");
}

#[test]
fn an_interrupt_leaves_the_old_file_and_nothing_else() {
    let pipeline = PIPELINE.replace("units: [8] }, epochs", "units: [64, 64] }, epochs");
    let big = "name: big
stages:
  generate:
    kind: generate
    params: { dataset: lambda, rows: 300000, functions: 3, interval: 60 }
";
    let project =
        Project::new().file("p.yaml", pipeline).file("big.yaml", big).file("out.csv", "old");
    project.run(&["run", "p.yaml", "train"]).expect(0);
    project.run(&["run", "big.yaml"]).expect(0);
    let input = "artifacts/big/generate/data.parquet";
    let mut command = project.command(&["predict", MODEL, input, "-o", "out.csv", "--jobs", "1"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary can be started");
    let aside = |name: &String| name.starts_with(".tmp-");
    wait_until("predictions are written", || project.files().keys().any(aside));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert_eq!(project.read("out.csv"), "old");
    assert!(!project.files().keys().any(aside));
}

#[test]
fn an_interrupt_is_heard_where_no_window_comes() {
    let pipeline = PIPELINE.replace("      scale: standard\n", "      missing: drop\n");
    let project = Project::new().file("p.yaml", pipeline);
    project.run(&["run", "p.yaml", "alone"]).expect(0);
    // Each row lacks a value, and so each is left out.
    let rows = (0..3_000_000).map(|row| format!("f,{},\n", 1_700_000_000 + row));
    let table: String =
        std::iter::once("FunctionID,Timestamp,CPUUtilization\n".to_owned()).chain(rows).collect();
    // Apart from the project, whose files are looked at below.
    let folder = tempfile::tempdir().expect("a folder can be made");
    let input = folder.path().join("in.csv");
    std::fs::write(&input, table).expect("it can be written");
    let input = input.to_str().expect("it is text");
    let model = "artifacts/p/alone/model.safetensors";
    let mut command = project.command(&["predict", model, input, "-o", "out.csv"]);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary can be started");
    let aside = |name: &String| name.starts_with(".tmp-");
    wait_until("the table is read", || project.files().keys().any(aside));
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill runs").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
}
