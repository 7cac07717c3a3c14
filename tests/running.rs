//! How stages are executed, through the real binary: timeouts, retries, resources, priority,
//! `cache: false` and secrets.

mod common;

use std::fs;
use std::process::Stdio;

use common::{Output, Project, events_of, json_run, processes_in, run, wait_until};

/// The failure that a stage ended with.
fn failure(output: &Output, stage: &str) -> String {
    let mut ends = events_of(output, "stage_finished").into_iter();
    let end = ends.rfind(|event| event["stage"] == stage).expect("it ended");
    end["failure"]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_timeout_ends_a_command_with_all_that_it_started_and_a_built_in_kind() {
    let text = "
name: slow
stages:
  command:
    kind: command
    timeout: 300ms
    params: { run: \"sleep 60 & sleep 60; :\" }
  built_in:
    kind: generate
    timeout: 100ms
    params: { dataset: lambda, rows: 100000000 }
";
    let project = Project::new().file("slow.yaml", text);
    let output = Output::of(&mut json_run(&project, &["slow.yaml", "--keep-going"])).expect(1);
    assert_eq!(failure(&output, "command"), "it ran longer than its timeout of 300ms");
    assert_eq!(failure(&output, "built_in"), "it ran longer than its timeout of 100ms");
    wait_until("no process is left", || processes_in(project.root()).is_empty());
    // No timeout enters the fingerprint: a change alone would not have it run.
    let quick = "name: slow\nstages:\n  quick:\n    kind: command\n    timeout: 1h\n    params: { run: 'true' }\n";
    project.write("slow.yaml", quick);
    assert_eq!(run(&project, &["slow.yaml"]), ["quick ran never_ran", "done: 1 ran, 0 cached"]);
    project.write("slow.yaml", quick.replace("1h", "2h"));
    assert_eq!(run(&project, &["slow.yaml"]), ["quick cached", "done: 0 ran, 1 cached"]);
}

/// A daemon is left by a stage that began it in the folder of its outputs; the next one has the same
/// name for its own.
const LATE: &str = r#"
name: late
stages:
  one:
    kind: command
    params:
      run: >-
        cd "$RUNNER_OUTPUTS"; echo one > o.txt;
        setsid sh -c 'while test ! -e "$ROOT/go"; do sleep 0.01; done; echo late > o.txt; echo > "$ROOT/written"' > "$ROOT/daemon" 2>&1 &
        sleep 0.1
      outputs: { o: o.txt }
  two:
    kind: command
    needs: [one]
    params:
      run: >-
        echo two > ${outputs.o}; echo > go; while test ! -e written; do sleep 0.01; done
      outputs: { o: o.txt }
"#;

#[test]
#[cfg(target_os = "linux")]
fn what_a_stage_leaves_running_does_not_write_into_the_outputs_of_the_next() {
    let project = Project::new().file("late.yaml", LATE);
    let mut command = json_run(&project, &["late.yaml", "--jobs", "1"]);
    Output::of(command.env("ROOT", project.root())).expect(0);
    assert_eq!(project.read("artifacts/late/one/o.txt"), "one\n");
    assert_eq!(project.read("artifacts/late/two/o.txt"), "two\n");
}

/// Fails until it has been tried as often as `good` says.
const FLAKY: &str = "
name: flaky
vars: { good: 3 }
stages:
  flaky:
    kind: command
    retries: { attempts: 2, backoff: 10ms }
    params:
      run: >-
        echo x >> tries; n=$(wc -l < tries); echo attempt $n;
        test $n -ge ${with.good} && echo done > ${outputs.out}
      with: { good: \"${good}\" }
      outputs: { out: out.txt }
";

#[test]
fn a_failed_command_is_tried_again_and_its_logs_are_kept() {
    let project = Project::new().file("flaky.yaml", FLAKY);
    let output = Output::of(&mut json_run(&project, &["flaky.yaml"])).expect(0);
    let again = events_of(&output, "stage_retrying");
    let told: Vec<_> = again.iter().map(|event| (&event["attempt"], &event["attempts"])).collect();
    assert_eq!(told, [(&1.into(), &3.into()), (&2.into(), &3.into())]);
    assert_eq!(again[0]["failure"]["log_tail"][0], "attempt 1");
    let log = again[1]["failure"]["log"].as_str().unwrap();
    assert!(log.ends_with(".2.log"), "{log}");
    assert_eq!(fs::read_to_string(log).unwrap(), "attempt 2\n");
    assert_eq!(fs::read_to_string(log.replace(".2.log", ".1.log")).unwrap(), "attempt 1\n");
    assert_eq!(fs::read_to_string(log.replace(".2.log", ".log")).unwrap(), "attempt 3\n");

    let project = Project::new().file("flaky.yaml", FLAKY);
    let output = project.run(&["run", "flaky.yaml", "--set", "good=9"]).expect(1);
    let said = output.stdout + &output.stderr;
    assert_eq!(project.read("tries").lines().count(), 3, "{said}");
    assert!(said.contains("attempt 1 of 3 failed") && said.contains("exit code 1"), "{said}");
}

#[test]
fn an_interrupt_ends_the_pause_before_the_next_attempt() {
    let text = FLAKY.replace("10ms", "10m");
    let project = Project::new().file("flaky.yaml", text);
    let mut command = json_run(&project, &["flaky.yaml"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    wait_until("it was tried", || project.path("tries").exists());
    wait_until("no program runs", || processes_in(project.root()).len() <= 1);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(project.read("tries"), "x\n");
}

/// Each trial fails at its first attempt, and the later ones take for ever.
const STUDY: &str = "
name: study
vars: { timeout: 2s, pause: 60 }
stages:
  fit:
    kind: command
    retries: { attempts: 1, backoff: 10ms }
    params:
      run: >-
        echo x >> tries.${with.x}; test $(wc -l < tries.${with.x}) -gt 1 || exit 1;
        test ${with.x} -lt 3 || sleep $(cat pause);
        echo '{\"score\": 1}' > ${outputs.metrics}
      with: { x: 1 }
      outputs: { metrics: metrics.json }
      metrics: metrics
  tune:
    kind: tune
    timeout: \"${timeout}\"
    params:
      stage: fit
      search: { with.x: { choice: [1, 2, 3, 4] } }
      sampler: { kind: grid }
      objective: { maximize: score }
      trials: 4
      parallel: 1
";

#[test]
fn trials_are_tried_again_and_a_study_that_takes_too_long_keeps_those_that_ended() {
    let project = Project::new().file("study.yaml", STUDY).file("pause", "60\n");
    let output = Output::of(&mut json_run(&project, &["study.yaml", "tune"])).expect(1);
    assert_eq!(failure(&output, "tune"), "the study ran longer than its timeout of 2s");
    let again = events_of(&output, "stage_retrying");
    assert_eq!((&again[0]["stage"], &again[0]["trial"]), (&"tune".into(), &0.into()));
    let ended = events_of(&output, "trial_finished");
    assert!(ended.iter().all(|trial| trial["outcome"] == "ran"), "{ended:?}");
    wait_until("no process is left", || processes_in(project.root()).is_empty());
    project.write("pause", "0\n");
    let output =
        Output::of(&mut json_run(&project, &["study.yaml", "tune", "--set", "timeout=1h"]));
    let output = output.expect(0);
    let cached = events_of(&output, "trial_finished");
    let cached = cached.iter().filter(|trial| trial["outcome"] == "cached").count();
    assert_eq!(cached, ended.len(), "what had ended is not run again");
}

const GPUS: &str = "
name: gpus
stages:
  one:
    kind: command
    resources: { gpus: 1 }
    params: { run: 'echo [$CUDA_VISIBLE_DEVICES] > ${outputs.out}; touch one; until test -e two; do sleep 0.02; done', outputs: { out: out.txt } }
  two:
    kind: command
    resources: { gpus: 1, memory: 1GiB }
    params: { run: 'echo [$CUDA_VISIBLE_DEVICES] > ${outputs.out}; touch two; until test -e one; do sleep 0.02; done', outputs: { out: out.txt } }
  none:
    kind: command
    resources: { gpus: 0 }
    params: { run: 'echo [${CUDA_VISIBLE_DEVICES-unset}] > ${outputs.out}', outputs: { out: out.txt } }
  wild:
    kind: command
    resources: { cpus: 64 }
    params: { run: 'echo wild [${CUDA_VISIBLE_DEVICES-unset}] > ${outputs.out}', outputs: { out: out.txt } }
";

#[test]
fn each_gpu_is_given_to_one_command_and_what_is_not_there_is_refused() {
    let text = GPUS.replace("${CUDA", "$${CUDA");
    let project = Project::new().file("gpus.yaml", text);
    let command = |arguments: &[&str]| {
        let mut all = vec!["run", "gpus.yaml", "--format", "plain", "--jobs", "4"];
        all.extend(arguments);
        let mut command = project.command(&all);
        command.env_remove("CUDA_VISIBLE_DEVICES");
        command
    };
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = Output::of(&mut command(arguments)).expect(2);
        for word in words {
            assert!(output.stderr.contains(word), "{word:?} in {}", output.stderr);
        }
        assert!(!project.path(".runner").exists(), "nothing has begun");
    };
    refused(&["--gpus", "0"], &["stage `one` asks for 1 GPU(s), and there are 0", "--gpus"]);
    let small = ["--gpus", "1", "--memory", "100MB"];
    refused(&small, &["stage `two` asks for 1GiB of memory", "95.37MiB", "--memory"]);
    refused(&["--gpus", "x"], &["their ids"]);
    refused(&["--memory", "5"], &["16GiB"]);
    let output = Output::of(&mut command(&["--gpus", "3,7", "--memory", "2GiB"])).expect(0);
    let out = |stage: &str| project.read(&format!("artifacts/gpus/{stage}/out.txt"));
    let mut given = [out("one"), out("two")];
    given.sort();
    assert_eq!(given, ["[3]\n", "[7]\n"]);
    assert_eq!(out("none"), "[]\n");
    assert_eq!(out("wild"), "wild [unset]\n");
    let said = output.stdout + &output.stderr;
    assert!(
        said.contains("it asks for 64 CPUs and gets all 4 that there are (`--jobs`)"),
        "{said}"
    );
}

#[test]
fn priority_and_then_the_longest_way_by_earlier_runs_say_what_starts_first() {
    let text = "
name: order
stages:
  quick:
    kind: command
    params: { run: 'echo quick >> order' }
  long:
    kind: command
    params: { run: 'echo long >> order', outputs: {} }
  below:
    kind: command
    needs: [long]
    params: { run: 'echo below >> order; sleep 0.5' }
  first:
    kind: command
    priority: 2
    params: { run: 'echo first >> order; sleep 1' }
  last:
    kind: command
    priority: -1
    params: { run: 'echo last >> order' }
";
    let project = Project::new().file("order.yaml", text);
    let order = || project.read("order").lines().map(str::to_owned).collect::<Vec<_>>();
    run(&project, &["order.yaml"]);
    assert_eq!(order(), ["first", "quick", "long", "below", "last"], "else as in the file");
    fs::remove_file(project.path("order")).unwrap();
    run(&project, &["order.yaml", "--force"]);
    // While `below` is looked up, the slot is not left idle.
    assert_eq!(order(), ["first", "long", "quick", "below", "last"]);
}

#[test]
fn what_is_not_to_be_cached_runs_each_time_and_stops_there_where_it_gives_the_same() {
    let text = "
name: fetch
stages:
  fetch:
    kind: command
    cache: false
    params: { run: 'cp source ${outputs.out}', outputs: { out: out.txt } }
  read:
    kind: command
    inputs: { in: fetch.out }
    params: { run: 'cp ${inputs.in} ${outputs.out}', outputs: { out: out.txt } }
";
    let project = Project::new().file("fetch.yaml", text).file("source", "1\n");
    run(&project, &["fetch.yaml"]);
    let same = ["fetch ran runs_each_time", "read cached", "done: 1 ran, 1 cached"];
    assert_eq!(run(&project, &["fetch.yaml"]), same);
    project.write("source", "2\n");
    assert_eq!(
        run(&project, &["fetch.yaml"]),
        ["fetch ran runs_each_time", "read ran input_changed", "done: 2 ran, 0 cached"]
    );
    assert_eq!(project.read("artifacts/fetch/read/out.txt"), "2\n");
    for command in [&["plan", "fetch.yaml"][..], &["why", "fetch.yaml", "fetch"]] {
        let output = project.run(command).expect(0);
        assert!(output.stdout.contains("it is declared to run each time"), "{}", output.stdout);
    }
}

const SECRETS: &str = r#"
name: secrets
vars: { how: "leak" }
stages:
  tell:
    kind: command
    secrets: [RUNNER_TEST_TOKEN]
    params:
      run: >-
        printf 'it is %s' "$RUNNER_TEST_TOKEN" | head -c 12; sleep 0.1;
        printf 'it is %s\n' "$RUNNER_TEST_TOKEN" | tail -c +13 >&2;
        echo "{\"$RUNNER_TEST_TOKEN\": 1, \"loss\": 2}" >> $RUNNER_METRICS;
        echo "length ${#RUNNER_TEST_TOKEN}" > ${outputs.out}
      outputs: { out: out.txt }
  other:
    kind: command
    params: { run: 'echo [$RUNNER_TEST_TOKEN] > ${outputs.out}', outputs: { out: out.txt } }
  fail:
    kind: command
    secrets: [RUNNER_TEST_TOKEN]
    retries: { attempts: 1, backoff: 10ms }
    params: { run: 'echo "$RUNNER_TEST_TOKEN" >&2; exit 1' }
  leak:
    kind: command
    secrets: [RUNNER_TEST_TOKEN]
    params: { run: 'echo "a $RUNNER_TEST_TOKEN" > ${outputs.out}', outputs: { out: out.txt } }
  metrics:
    kind: command
    secrets: [RUNNER_TEST_TOKEN]
    params:
      run: 'echo "{\"$RUNNER_TEST_TOKEN\": 1}" > ${outputs.out}'
      outputs: { out: out.json }
      metrics: out
"#;

/// Made of no word that stands anywhere else.
const VALUE: &str = "q7Zk-wet0-9pLx-m3Ra";

#[test]
fn a_secret_is_seen_by_its_stage_alone_and_kept_nowhere() {
    let project = Project::new().file("secrets.yaml", SECRETS.replace("${#", "$${#"));
    let with_secret = |arguments: &[&str]| {
        let mut command = project.command(arguments);
        Output::of(command.env("RUNNER_TEST_TOKEN", VALUE).env("RUST_LOG", "trace"))
    };
    let mut said = String::new();
    for format in ["json", "plain"] {
        let run = ["run", "secrets.yaml", "--keep-going", "--format", format, "--trace", "t.json"];
        let output = with_secret(&run).expect(1);
        if format == "json" {
            let leak = failure(&output, "leak");
            assert_eq!(leak, "its output `out` holds the value of the secret `RUNNER_TEST_TOKEN`");
            assert!(failure(&output, "metrics").contains("holds the value of the secret"));
        }
        said += &(output.stdout + &output.stderr);
    }
    for command in [&["plan", "secrets.yaml"][..], &["why", "secrets.yaml", "leak"]] {
        let output = with_secret(command);
        said += &(output.stdout + &output.stderr);
    }
    assert!(said.contains("***"), "the failure shows its log: {said}");
    assert!(!said.contains(VALUE), "{said}");
    let files = project.files();
    let logs: Vec<_> = files.keys().filter(|path| path.starts_with(".runner/logs/")).collect();
    assert!(logs.iter().any(|log| log.ends_with(".1.log")), "{logs:?}");
    let masked = files.values().filter(|bytes| bytes.starts_with(b"it is ***\n")).count();
    assert_eq!(masked, 1, "the log of `tell`");
    for (path, bytes) in &files {
        let holds = bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes());
        assert!(!holds, "`{path}` holds the value");
    }
    let out = |stage: &str| project.read(&format!("artifacts/secrets/{stage}/out.txt"));
    assert_eq!(out("tell"), format!("length {}\n", VALUE.len()));
    assert_eq!(out("other"), "[]\n", "it is not its secret");
    // The value is no part of what a stage is: another is a hit.
    let mut again = json_run(&project, &["secrets.yaml", "tell"]);
    let again = Output::of(again.env("RUNNER_TEST_TOKEN", "another-value")).expect(0);
    assert_eq!(events_of(&again, "stage_finished")[0]["outcome"], "cached");
}

#[test]
fn a_run_begins_only_with_every_secret() {
    let project = Project::new().file("secrets.yaml", SECRETS.replace("${#", "$${#"));
    let refused = |value: Option<&str>, words: &str| {
        let mut command = project.command(&["run", "secrets.yaml"]);
        command.env_remove("RUNNER_TEST_TOKEN").envs(value.map(|v| ("RUNNER_TEST_TOKEN", v)));
        let output = Output::of(&mut command).expect(2);
        assert!(output.stderr.contains(words), "{}", output.stderr);
        assert!(!project.path(".runner").exists(), "nothing has begun");
    };
    refused(None, "stage `tell` needs the secret `RUNNER_TEST_TOKEN`");
    refused(Some(""), "export RUNNER_TEST_TOKEN=");
    refused(Some("abc"), "shorter than 4 bytes");
    // What does not need it runs without.
    let mut command = project.command(&["run", "secrets.yaml", "other"]);
    Output::of(command.env_remove("RUNNER_TEST_TOKEN")).expect(0);
}

#[test]
fn every_mistake_in_an_option_is_said_with_its_place() {
    let text = "stages:
  a:
    kind: command
    timeout: 30
    retries: { attempts: -1, back: 1s }
    resources: { cpus: 0, memory: 4, gpus: one }
    priority: high
    cache: no
    secrets: [\"TOKEN=abc\", FINE]
    persist: true
    params: { run: 'true', env: [FINE] }
  b:
    kind: tune
    retries: 3
    cache: false
    secrets: [X]
    params: { stage: a, search: { with.x: { int: [1, 2] } }, objective: { minimize: loss } }
  c:
    kind: generate
    secrets: [FINE]
    params: { dataset: lambda, rows: 10 }
";
    let project = Project::new().file("p.yaml", text);
    let said = project.run(&["check", "p.yaml"]).expect(2).stderr;
    for (place, words) in [
        ("4:14", "the `timeout` of stage `a` must be a duration, not `30`"),
        ("4:14", "`90s`, `5m` or `1h30m`"),
        ("5:26", "must be a whole number from 0 to"),
        ("5:30", "`retries` of stage `a` has no field `back`"),
        ("6:24", "the `resources.cpus` of stage `a` must be a whole number from 1 to"),
        ("6:35", "the `resources.memory` of stage `a` must be a size, not `4`"),
        ("6:44", "the `resources.gpus` of stage `a`"),
        ("7:15", "the `priority` of stage `a` must be a whole number, not the text `high`"),
        ("8:12", "the `cache` of stage `a` must be true or false, not the text `no`"),
        ("9:15", "cannot have the secret `TOKEN=abc`"),
        ("10:5", "stage `a` has no field `persist`"),
        ("10:5", "changed in place has no identity"),
        ("11:34", "`env` of stage `a` names `FINE`, a secret of stage `a`"),
        ("14:5", "stage `b` is a `tune`, which has no `retries`"),
        ("14:5", "give it to `a`"),
        ("15:5", "stage `b` is a `tune`, which has no `cache`"),
        ("16:5", "stage `b` is a `tune`, which has no `secrets`"),
        ("20:5", "stage `c` is a `generate`, which has no `secrets`"),
    ] {
        assert!(said.contains(words), "{words:?} in\n{said}");
        assert!(said.contains(&format!("p.yaml:{place}]")), "{place} in\n{said}");
    }
}
