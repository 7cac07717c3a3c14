//! What the history tells, through the real binary: runs, one run, logs, metrics, trials, and times.

mod common;

use std::fs;
use std::process::Stdio;

use common::{Project, wait_until};
use rusqlite::Connection;
use serde_json::Value;

/// A chain whose second stage gives metrics and can fail.
const CHAIN: &str = r#"
name: chain
vars: { n: 3, code: 0 }
stages:
  copy:
    kind: command
    inputs: { text: { file: in.txt } }
    params: { run: "echo copying; cp ${inputs.text} ${outputs.text}", outputs: { text: t.txt } }
  score:
    kind: command
    inputs: { text: copy.text }
    params:
      run: >-
        echo scoring ${with.n}; test ${with.code} -eq 0 || exit ${with.code};
        echo "{\"score\": ${with.n}, \"half.score\": 0.5, \"same\": 1}" > ${outputs.metrics}
      with: { n: "${n}", code: "${code}" }
      outputs: { metrics: metrics.json }
      metrics: metrics
  made:
    kind: generate
    params: { dataset: lambda, rows: 20, functions: 1 }
"#;

#[test]
fn a_new_history_has_only_the_run_that_made_it() {
    for _ in 0..10 {
        let text = "stages:\n  a: { kind: command, params: { run: 'true' } }\n";
        let project = Project::new().file("p.yaml", text);
        project.run(&["run", "p.yaml"]).expect(0);
        let runs = json(&project, &["runs", "--json"]);
        assert!(!runs.to_string().contains("rebuilt"), "{runs}");
    }
}

fn chain() -> Project {
    Project::new().file("chain.yaml", CHAIN).file("in.txt", "a\n")
}

fn json(project: &Project, arguments: &[&str]) -> Value {
    let output = project.run(arguments).expect(0);
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| {
        panic!("{arguments:?} gives one JSON document ({error}): {}", output.stdout)
    })
}

/// Runs the chain thrice: all, with another score, and with a failure.
fn three_runs() -> Project {
    let project = chain();
    project.run(&["run", "chain.yaml"]).expect(0);
    project.run(&["run", "chain.yaml", "--set", "n=5"]).expect(0);
    project.run(&["run", "chain.yaml", "--set", "n=9", "--set", "code=7"]).expect(1);
    project
}

#[test]
fn where_nothing_ran_every_question_has_an_answer_and_nothing_is_written() {
    let project = chain();
    let files = project.files();
    for words in [
        &["runs"][..],
        &["runs", "chain.yaml"],
        &["logs", "chain.yaml", "copy"],
        &["metrics", "chain.yaml"],
        &["metrics", "chain.yaml", "score"],
    ] {
        let output = project.run(words).expect(0);
        assert_eq!(output.stdout, "", "{words:?}");
        assert!(output.stderr.contains(" yet"), "{words:?}: {}", output.stderr);
    }
    assert_eq!(json(&project, &["runs", "--json"]), serde_json::json!({ "runs": [] }));
    assert!(project.run(&["runs", "--csv"]).expect(0).stdout.starts_with("run,started,"));
    for words in [&["show", "last"][..], &["metrics", "chain.yaml", "--diff", "4"]] {
        let output = project.run(words).expect(2);
        assert!(output.stderr.contains("there is no run"), "{}", output.stderr);
    }
    let plan = project.run(&["plan", "chain.yaml"]).expect(0).stdout;
    assert!(plan.ends_with("3 to run, 0 maybe, 0 cached; time unknown\n"), "{plan}");
    assert!(project.files() == files, "nothing is written");
}

#[test]
fn runs_are_listed_and_shown_with_what_was_set_and_why() {
    let project = three_runs();
    let runs = json(&project, &["runs", "--json"]);
    let words = |field: &str| -> Vec<String> {
        runs["runs"].as_array().unwrap().iter().map(|run| run[field].to_string()).collect()
    };
    assert_eq!(words("run"), ["3", "2", "1"]);
    assert_eq!(words("outcome"), [r#""failed""#, r#""done""#, r#""done""#]);
    assert_eq!(words("ran"), ["0", "1", "3"]);
    assert_eq!(words("cached"), ["2", "2", "0"]);
    assert_eq!(words("failed"), ["1", "0", "0"]);
    assert_eq!(words("set"), [r#"["n=9","code=7"]"#, r#"["n=5"]"#, "[]"]);
    assert_eq!(words("file")[0], r#""chain.yaml""#);
    assert_eq!(json(&project, &["runs", "chain.yaml", "-n", "1", "--json"])["runs"][0]["run"], 3);
    let table = project.run(&["runs"]).expect(0).stdout;
    assert!(table.lines().nth(2).unwrap().contains("  n=9 code=7"), "{table}");
    assert!(!table.contains('\x1b'), "no colour but on a terminal");

    let shown = json(&project, &["show", "last~1", "--json"]);
    assert_eq!(shown["run"], 2);
    let stages = shown["stages"].as_array().unwrap();
    let score = stages.iter().find(|stage| stage["stage"] == "score").unwrap();
    assert_eq!(score["outcome"], "ran");
    assert_eq!(score["reasons"][0]["kind"], "param_changed");
    assert_eq!(score["metrics"]["score"], 5.0);
    assert_eq!(score["params"]["with"]["n"], 5);
    let shown = project.run(&["show", "3"]).expect(0).stdout;
    assert!(shown.starts_with("run 3 of `chain` (chain.yaml): failed in "), "{shown}");
    assert!(shown.contains("ended with exit code 7"), "{shown}");
    assert!(project.run(&["show", "4"]).expect(2).stderr.contains("there is no run `4`"));
    assert!(project.run(&["show", "first"]).expect(2).stderr.contains("last~2"));
}

#[test]
fn a_log_is_of_the_latest_attempt_or_of_the_run_that_is_named() {
    let project = three_runs();
    let log = |words: &[&str]| project.run(&[&["logs", "chain.yaml"], words].concat()).expect(0);
    assert_eq!(log(&["score"]).stdout, "scoring 9\n");
    assert_eq!(log(&["score", "--run", "last~2"]).stdout, "scoring 3\n");
    assert_eq!(log(&["score", "--follow"]).stdout, "scoring 9\n", "what has ended is not awaited");
    // It was cached then: its log is that of the run that had made it.
    assert_eq!(log(&["copy"]).stdout, "copying\n");
    assert_eq!(log(&["score", "--csv"]).stdout, "number,line\n1,scoring 9\n");
    let document: Value = serde_json::from_str(&log(&["score", "--json"]).stdout).unwrap();
    assert!(document["log"].as_str().unwrap().starts_with(".runner/logs/"), "{document}");
    let built_in = log(&["made"]);
    assert_eq!(built_in.stdout, "");
    assert!(built_in.stderr.contains("only commands have one"), "{}", built_in.stderr);
    let unknown = project.run(&["logs", "chain.yaml", "scor"]).expect(2);
    assert!(unknown.stderr.contains("did you mean `score`?"), "{}", unknown.stderr);
}

#[test]
fn a_log_is_followed_until_its_stage_ends() {
    let slow = "stages:\n  slow:\n    kind: command\n    params: { run: \"echo one; while test ! \
                -e go; do sleep 0.02; done; echo two\", dir: . }\n";
    let project = Project::new().file("slow.yaml", slow);
    let mut run = project.command(&["run", "slow.yaml"]).stdout(Stdio::null()).spawn().unwrap();
    wait_until("the stage is under way", || {
        let shown = project.run(&["show", "last"]);
        shown.code == 0 && shown.stdout.contains("running")
    });
    assert!(project.run(&["runs"]).expect(0).stdout.contains("unfinished"));
    let follow = project
        .command(&["logs", "slow.yaml", "slow", "--follow"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    project.write("go", "");
    let followed = follow.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(followed.stdout).unwrap(), "one\ntwo\n");
    assert!(run.wait().unwrap().success());
}

#[test]
fn metrics_stand_beside_the_params_that_differ() {
    let project = three_runs();
    // The same again: cached, the same result.
    project.run(&["run", "chain.yaml", "--set", "n=5"]).expect(0);
    let table = project.run(&["metrics", "chain.yaml"]).expect(0).stdout;
    let score = table.lines().take_while(|line| !line.is_empty());
    let rows: Vec<Vec<&str>> = score.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["score"]);
    assert_eq!(rows[1], ["run", "started", "outcome", "same", "score", "with.n"]);
    assert_eq!((rows[3][0], &rows[3][4..]), ("4", &["1", "5", "5"][..]));
    assert_eq!((rows[4][0], &rows[4][4..]), ("1", &["1", "3", "3"][..]));
    assert_eq!(rows.len(), 5, "{table}");
    let all = json(&project, &["metrics", "chain.yaml", "score", "--all", "--json"]);
    assert_eq!(all["stages"][0]["results"].as_array().unwrap().len(), 3);
    assert_eq!(all["stages"][0]["results"][0]["metrics"]["half.score"], 0.5);

    let diff = json(&project, &["metrics", "chain.yaml", "--diff", "1", "--json"]);
    let rows = diff["differences"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{diff}");
    assert_eq!((&rows[0]["what"], &rows[0]["name"]), (&"metric".into(), &"score".into()));
    assert_eq!([&rows[0]["old"], &rows[0]["new"], &rows[0]["change"]], [3.0, 5.0, 2.0]);
    assert_eq!((&rows[1]["what"], &rows[1]["name"]), (&"param".into(), &"with.n".into()));
    let same = project.run(&["metrics", "chain.yaml", "--diff", "2"]).expect(0).stdout;
    assert_eq!(same, "runs 2 and 4 have the same metrics and params\n");
    let csv = project.run(&["metrics", "chain.yaml", "--diff", "1", "--csv"]).expect(0).stdout;
    assert_eq!(csv.lines().next().unwrap(), "stage,what,name,old,new,change");
}

const STUDY: &str = r#"
name: study
vars: { trials: 6, stop: 1000 }
stages:
  fit:
    kind: command
    params:
      run: >-
        echo trial ${with.x}; test $(ls runs | wc -l) -lt ${with.stop} || exec sleep 600;
        touch runs/${with.x}; echo "{\"score\": ${with.x}, \"cost\": 7}" > ${outputs.metrics}
      dir: .
      with: { x: 5, stop: "${stop}" }
      outputs: { metrics: metrics.json }
      metrics: metrics
  tune:
    kind: tune
    params:
      stage: fit
      search: { with.x: { int: [1, 1000] } }
      sampler: { kind: random, seed: 3 }
      objective: { maximize: score }
      trials: "${trials}"
"#;

fn column<'a>(trials: &'a Value, name: &str) -> Vec<&'a Value> {
    trials["trials"].as_array().unwrap().iter().map(|trial| &trial[name]).collect()
}

#[test]
fn trials_are_listed_best_first_from_the_table_that_the_study_stored() {
    let project = Project::new().file("study.yaml", STUDY).file("runs/none", "");
    let none = project.run(&["trials", "study.yaml", "tune"]).expect(0);
    assert!(none.stderr.contains("has not run yet"), "{}", none.stderr);
    project.run(&["run", "study.yaml", "tune", "--jobs", "2"]).expect(0);
    let all = json(&project, &["trials", "study.yaml", "tune", "--json"]);
    assert_eq!(all["ended"], true);
    assert_eq!(column(&all, "number"), [0, 1, 2, 3, 4, 5]);
    assert!(column(&all, "seconds").iter().all(|took| took.as_f64().unwrap() > 0.0), "{all}");
    let top = json(&project, &["trials", "study.yaml", "tune", "--top", "3", "--json"]);
    let values: Vec<f64> = column(&top, "value").iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!(values.len(), 3);
    assert!(values.is_sorted_by(|a, b| a >= b), "the largest is the best: {values:?}");
    let sorted = json(&project, &["trials", "study.yaml", "tune", "--sort", "with.x", "--json"]);
    let xs: Vec<i64> = column(&sorted, "with.x").iter().map(|x| x.as_i64().unwrap()).collect();
    assert!(xs.is_sorted(), "{xs:?}");
    // A later run of the cached study changes nothing of what its trials took.
    project.run(&["run", "study.yaml", "tune"]).expect(0);
    assert_eq!(json(&project, &["trials", "study.yaml", "tune", "--json"]), all);
    let wrong = project.run(&["trials", "study.yaml", "tune", "--sort", "scor"]).expect(2);
    assert!(wrong.stderr.contains("did you mean `score`?"), "{}", wrong.stderr);
    let wrong = project.run(&["trials", "study.yaml", "fit"]).expect(2);
    assert!(wrong.stderr.contains("its tune stages are `tune`"), "{}", wrong.stderr);
    let log = project.run(&["logs", "study.yaml", "tune", "--trial", "0"]).expect(0).stdout;
    assert_eq!(log, "trial 5\n", "trial 0 has the base's own params");
    let plan = project.run(&["plan", "study.yaml", "tune", "--set", "trials=9"]).expect(0).stdout;
    assert!(plan.contains(" earlier trials)"), "{plan}");
    let shown = project.run(&["show", "1"]).expect(0).stdout;
    assert!(shown.contains("tune: 6 trials: 6 ran; best "), "{shown}");
}

#[test]
fn the_trials_of_a_study_under_way_are_told_by_the_history() {
    let project = Project::new().file("study.yaml", STUDY).file("runs/none", "");
    let arguments = ["run", "study.yaml", "tune", "--jobs", "1", "--set", "stop=4"];
    let mut run = project.command(&arguments).stdout(Stdio::null()).spawn().unwrap();
    let trials = || json(&project, &["trials", "study.yaml", "tune", "--json"]);
    wait_until("three trials have ended", || column(&trials(), "number").len() == 3);
    let under_way = trials();
    assert_eq!(under_way["ended"], false);
    assert_eq!(column(&under_way, "cost"), [7.0, 7.0, 7.0], "metrics come from the store");
    run.kill().unwrap();
    run.wait().unwrap();
    let shown = project.run(&["show", "last"]).expect(0).stdout;
    assert!(shown.contains("unfinished") && shown.contains("running"), "{shown}");
}

#[test]
fn a_study_all_of_whose_trials_failed_has_ended() {
    let text = "stages:
  fit: { kind: command, params: { run: \"exit ${with.x}\", with: { x: 1 }, outputs: { o: o.txt } } }
  tune: { kind: tune, params: { stage: fit, search: { with.x: { int: [1, 9] } }, objective: { minimize: loss }, trials: 3 } }
";
    let project = Project::new().file("p.yaml", text);
    project.run(&["run", "p.yaml", "tune"]).expect(1);
    let output = project.run(&["trials", "p.yaml", "tune"]).expect(0);
    assert_eq!(output.stderr, "the study of `tune` failed\n");
    let trials = json(&project, &["trials", "p.yaml", "tune", "--json"]);
    assert_eq!(trials["ended"], true);
    assert_eq!(column(&trials, "state"), ["failed"; 3]);
}

#[test]
fn a_plan_foretells_its_time_and_says_from_what() {
    let project = chain();
    for n in ["1", "2", "3"] {
        project.run(&["run", "chain.yaml", "--set", &format!("n={n}")]).expect(0);
    }
    let history = Connection::open(project.path(".runner/history.sqlite")).unwrap();
    let set = "UPDATE stage_runs SET seconds = ?1 WHERE stage = ?2 AND run = ?3";
    for (seconds, stage, run) in
        [(20.0, "score", 1), (40.0, "score", 2), (30.0, "score", 3), (5.0, "copy", 1)]
    {
        assert_eq!(history.execute(set, (seconds, stage, run)).unwrap(), 1);
    }
    drop(history);
    let plan = project.run(&["plan", "chain.yaml", "--set", "n=4"]).expect(0).stdout;
    assert!(plan.contains("; about 30.0 s (20.0 s to 40.0 s in 3 earlier runs)\n"), "{plan}");
    assert!(plan.ends_with("1 to run, 0 maybe, 2 cached; about 30.0 s\n"), "{plan}");
    project.write("in.txt", "b\n");
    let plan = json(&project, &["plan", "chain.yaml", "--json"]);
    assert_eq!(
        plan["expected"],
        serde_json::json!({"seconds": 5.0, "at_most": 35.0, "unknown": 0})
    );
}

#[test]
fn a_lost_history_begins_anew_with_what_the_store_knows_and_results_stay() {
    let project = three_runs();
    let artifacts = |project: &Project| {
        let mut files = project.files();
        files.retain(|path, _| path.starts_with("artifacts"));
        files
    };
    let before = artifacts(&project);
    for damage in [None, Some("no database, but long enough to be looked at by SQLite")] {
        let path = project.path(".runner/history.sqlite");
        fs::remove_file(&path).unwrap();
        if let Some(text) = damage {
            fs::write(&path, text).unwrap();
            let told = project.run(&["runs"]).expect(1);
            assert!(
                told.stderr.contains("the next run sets a damaged one aside"),
                "{}",
                told.stderr
            );
        }
        let output = project.run(&["run", "chain.yaml", "--set", "n=5"]).expect(0);
        assert!(output.stdout.contains("nothing to do: 3 cached"), "{}", output.stdout);
        let said = output.stdout.contains("is damaged");
        assert_eq!(said, damage.is_some(), "{}", output.stdout);
        assert!(artifacts(&project) == before, "results are files");
        let runs = json(&project, &["runs", "--json"]);
        assert_eq!(runs["runs"][1]["outcome"], "rebuilt", "{runs}");
        // What changed is still known, since the store's roots tell what there was.
        let why = project.run(&["why", "chain.yaml", "score", "--set", "n=6"]).expect(0).stdout;
        assert!(why.contains("param with.n changed: 5 -> 6"), "{why}");
    }
}

#[test]
fn ten_thousand_runs_are_listed() {
    let project = chain();
    project.run(&["run", "chain.yaml"]).expect(0);
    let mut history = Connection::open(project.path(".runner/history.sqlite")).unwrap();
    let transaction = history.transaction().unwrap();
    for _ in 0..10_000 {
        transaction
            .execute_batch(
                "INSERT INTO runs (pipeline, started, outcome, seconds, ran, cached, failed, skipped,
                     cancelled)
                 SELECT pipeline, started, outcome, seconds, ran, cached, failed, skipped, cancelled
                 FROM runs WHERE id = 1;
                 INSERT INTO stage_runs
                 SELECT last_insert_rowid(), pipeline, stage, fingerprint, 'cached', 0, '[]',
                     metrics, kind, started, NULL FROM stage_runs WHERE run = 1;",
            )
            .unwrap();
    }
    transaction.commit().unwrap();
    drop(history);
    assert_eq!(json(&project, &["runs", "--json"])["runs"].as_array().unwrap().len(), 20);
    let all = json(&project, &["runs", "-n", "20000", "--json"]);
    assert_eq!(all["runs"].as_array().unwrap().len(), 10_001);
    let results = json(&project, &["metrics", "chain.yaml", "--json"]);
    assert_eq!(results["stages"][0]["results"].as_array().unwrap().len(), 1);
    assert_eq!(json(&project, &["show", "last", "--json"])["stages"].as_array().unwrap().len(), 3);
}
