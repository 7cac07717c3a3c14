//! Runs of the real binary: event logs compared whole, and what is left on disk.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{Output, Project};
use serde_json::Value;

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

/// Runs with JSON events, and gives those of stages and trials as short lines.
fn events(output: &Output) -> Vec<String> {
    let line = |text: &str| {
        let event: Value = serde_json::from_str(text).unwrap();
        let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        match event["event"].as_str().unwrap() {
            "stage_finished" => {
                let kinds = event["reasons"].as_array().unwrap().iter();
                let kinds: Vec<&str> = kinds.map(|r| r["kind"].as_str().unwrap()).collect();
                Some(format!("{} {} {}", word("stage"), word("outcome"), kinds.join(",")))
            }
            "trial_finished" => {
                Some(format!("{} {} {}", word("stage"), event["number"], word("outcome")))
            }
            "run_finished" => {
                let count = |name: &str| event[name].as_u64().unwrap();
                let (ran, cached) = (count("ran"), count("cached"));
                Some(format!("{}: {ran} ran, {cached} cached", word("outcome")))
            }
            _ => None,
        }
    };
    output.stdout.lines().filter_map(line).map(|line| line.trim().to_owned()).collect()
}

fn run(project: &Project, arguments: &[&str]) -> Vec<String> {
    let mut all = vec!["run"];
    all.extend(arguments);
    all.extend(["--format", "json", "--jobs", "1"]);
    events(&project.run(&all))
}

/// The only blob with these bytes.
fn blob(project: &Project, bytes: &[u8]) -> PathBuf {
    let files = project.files();
    let is_it = |(path, content): &(&String, &Vec<u8>)| {
        path.starts_with(".runner/blobs") && content.as_slice() == bytes
    };
    let found: Vec<&String> = files.iter().filter(is_it).map(|(path, _)| path).collect();
    assert_eq!(found.len(), 1, "one blob has these bytes: {found:?}");
    project.path(found[0])
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

fn commands_run(project: &Project) -> usize {
    fs::read_to_string(project.path("count")).map_or(0, |text| text.lines().count())
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
fn plan_tells_a_stages_own_change_below_a_dirty_one() {
    let project = chain();
    run(&project, &["chain.yaml"]);
    project.write("input.txt", "b\nb\nb\na\n");
    let output = project.run(&["plan", "chain.yaml", "--set", "word=a"]).expect(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
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

/// The processes whose working directory is `folder`.
fn processes_in(folder: &Path) -> Vec<PathBuf> {
    let folder = fs::canonicalize(folder).unwrap();
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    all.filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == folder))
        .collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to pass: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn an_interrupted_study_leaves_no_process_and_goes_on_from_its_finished_trials() {
    let project = tune();
    let arguments = ["run", "tune.yaml", "tune", "--jobs", "2", "--set", "pause=0.3"];
    let mut child = project
        .command(&arguments)
        .env("COUNT", project.path("count"))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
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
        let arguments = ["run", "tune.yaml", "tune", "--jobs", "2", "--set", "pause=0.05"];
        let mut child = project
            .command(&arguments)
            .env("COUNT", project.path("count"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
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
    let start = || {
        let arguments = ["run", "tune.yaml", "tune", "--jobs", "2", "--set", "pause=0.2"];
        project
            .command(&arguments)
            .env("COUNT", project.path("count"))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let (mut first, mut second) = (start(), start());
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert_eq!(commands_run(&project), 6);
}
