use std::fs;

use serde_json::json;

use super::*;

fn params(value: Value) -> Params {
    serde_json::from_value(value).unwrap()
}

fn messages(issues: &[ParamIssue]) -> Vec<String> {
    let line = |issue: &ParamIssue| {
        format!("{}: {} ({})", issue.path, issue.message, issue.help.as_deref().unwrap_or("-"))
    };
    issues.iter().map(line).collect()
}

#[test]
fn every_mistake_is_found_with_its_place_and_a_way_out() {
    let params = params(json!({
        "run": ["python3", "fit.py"],
        "outputs": { "model": "a.bin", "up": "../a.bin", "twin": "a.bin", "a-b": "x/y", "a_b": "z" },
        "with": { "depth": 3 },
        "env": ["SEED", "SEED=2", "1X", "RUNNER_JOBS=2"],
        "metrics": "model",
        "dir": "a/../..",
    }));
    assert_eq!(
        messages(&params.check()),
        [
            "outputs: `a-b` and `a_b` would both be the variable `…_A_B` (rename one of the two)",
            "outputs.a-b: output `a-b` has `x/y`, which is no plain file name \
             (name it without folders: `y`)",
            "outputs.twin: outputs `model` and `twin` have one file, `a.bin` \
             (give each output a file of its own)",
            "outputs.up: output `up` has `../a.bin`, which is no plain file name \
             (name it without folders: `a.bin`)",
            "metrics: the metrics are read as JSON, and output `model` is `a.bin` \
             (name an output whose file ends in `.json`)",
            "env: `SEED` is declared twice (leave one of the two out)",
            "env: `1X` is no environment variable (write `NAME`, or `NAME=VALUE`)",
            "env: `RUNNER_JOBS` is one of runner's own variables (take another name)",
            "dir: `a/../..` is no folder within the root \
             (give a path without `..`, relative to the root)",
        ]
    );
    assert_eq!(
        messages(&params.check_inputs(&["a.b", "table", "a_b"])),
        ["inputs: `a.b` and `a_b` would both be the variable `…_A_B` (rename one of the two)"]
    );
}

#[test]
fn a_placeholder_that_names_nothing_is_found_with_its_word() {
    let params = params(json!({
        "run": ["python3", "${outputs.modle}", "${with.rate}", "--in=${inputs.tabel}", "${HOME}"],
        "outputs": { "model": "a.bin" },
        "env": ["DEPTH=${with.depth}"],
    }));
    let mentions = params.check_references(&["table"]);
    let words: Vec<_> = mentions.iter().map(|mention| mention.word.as_str()).collect();
    assert_eq!(words, ["${outputs.modle}", "${with.rate}", "${inputs.tabel}", "${with.depth}"]);
    let issues: Vec<_> = mentions.into_iter().map(|mention| mention.issue).collect();
    assert_eq!(
        messages(&issues),
        [
            "run: `${outputs.modle}` names an output that the stage does not have \
             (did you mean `model`?)",
            "run: `${with.rate}` names a parameter that the stage does not have \
             (declare `rate` under `with`)",
            "run: `${inputs.tabel}` names an input that the stage does not have \
             (did you mean `table`?)",
            "env: `${with.depth}` names a parameter that the stage does not have \
             (declare `depth` under `with`)",
        ]
    );
}

#[test]
fn a_sound_command_has_no_issue() {
    let params = params(json!({
        "run": "fit ${inputs.data} --depth ${with.net.depth} -o ${outputs.m}",
        "outputs": { "m": "metrics.json" }, "metrics": "m",
        "with": { "net": { "depth": 3 } }, "env": ["SEED", "MODE=fast=er"], "dir": "./work",
    }));
    assert_eq!(params.check(), []);
    assert_eq!(params.check_references(&["data"]), []);
    assert_eq!(params.check_inputs(&["data"]), []);
    let env = params.resolve_env(|name| (name == "SEED").then(|| "7".to_owned()));
    assert_eq!(env["SEED"].as_deref(), Some("7"));
    assert_eq!(env["MODE"].as_deref(), Some("fast=er"));
    assert_eq!(params.resolve_env(|_| None)["SEED"], None);
}

#[test]
fn an_empty_program_is_an_issue() {
    for run in [json!([]), json!([""]), json!(" ")] {
        assert_eq!(params(json!({ "run": run })).check().len(), 1);
    }
}

#[test]
fn a_launch_has_paths_and_parameters_in_arguments_and_environment() {
    let params = params(json!({
        "run": ["fit", "--in=${inputs.data.train}", "${with.lr}", "${with.units}", "${outputs.m}"],
        "outputs": { "m": "m.json" },
        "with": { "lr": 0.1, "units": [8, 4], "mode": "fast" },
        "env": ["MODE=x${with.lr}", "HOME"], "dir": "work",
    }));
    let inputs = BTreeMap::from([("data.train".to_owned(), vec![PathBuf::from("/s/a b.csv")])]);
    let paths = Paths {
        root: Path::new("/root dir"),
        inputs: &inputs,
        outputs: Path::new("/out"),
        metrics: Path::new("/tmp/steps"),
    };
    let launch = params.describe(&paths).unwrap();
    assert_eq!(launch.program, "fit");
    assert_eq!(launch.arguments, ["--in=/s/a b.csv", "0.1", "[8,4]", "/out/m.json"]);
    assert_eq!(launch.dir, Path::new("/root dir/work"));
    let env: Vec<_> =
        launch.env.iter().map(|(name, value)| format!("{name}={}", value.display())).collect();
    assert_eq!(
        env,
        [
            "MODE=x0.1",
            "RUNNER_INPUT_DATA_TRAIN=/s/a b.csv",
            "RUNNER_METRICS=/tmp/steps",
            "RUNNER_OUTPUTS=/out",
            "RUNNER_OUTPUT_M=/out/m.json",
            "RUNNER_PARAM_LR=0.1",
            "RUNNER_PARAM_MODE=fast",
            "RUNNER_PARAM_UNITS=[8,4]",
        ]
    );
    let many = (0..40_000).map(|number| (format!("o{number}"), format!("{number}.txt")));
    let run = Program::Shell("fit".to_owned());
    let many = Params { run, outputs: many.collect(), ..params.clone() };
    let env = many.describe(&paths).unwrap().env;
    assert!(env.contains_key("RUNNER_OUTPUTS") && !env.contains_key("RUNNER_OUTPUT_O1"));
    let shell = Params { run: Program::Shell("wc ${inputs.data.train}".to_owned()), ..params };
    let launch = shell.describe(&paths).unwrap();
    assert_eq!(launch.program, "sh");
    assert_eq!(launch.arguments, ["-c", "wc '/s/a b.csv'"]);
    assert_eq!(launch.title, "wc ${inputs.data.train}");
}

#[test]
fn files_that_a_command_names_without_declaring_them_are_found() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("src")).unwrap();
    for file in ["src/fit.py", "conf.json", "data.csv", "out.txt", "seen.py"] {
        fs::write(root.path().join(file), "").unwrap();
    }
    let found = |run: Value| {
        let params = params(json!({ "run": run, "with": { "c": "conf.json" } }));
        let found = params.undeclared_files(root.path(), &["seen.py".into()]);
        found.into_iter().map(|mention| mention.word).collect::<Vec<_>>()
    };
    assert_eq!(
        found(json!(["python3", "src/fit.py", "--c=${with.c}", "seen.py", "src", "/etc/passwd"])),
        ["conf.json", "src/fit.py"]
    );
    assert_eq!(found(json!("sort<'data.csv' >out.txt; cat ${inputs.x} >> out.txt")), ["data.csv"]);
    assert_eq!(found(json!("sort ${inputs.x} > ${outputs.y}")), [] as [&str; 0]);
}
