//! What makes a run that finds nothing to do fast is believed only while it is true: edits within a
//! clock tick, other files of the same size and time, and damage of every cache are noticed.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use common::{Project, blob, run};

const COPY: &str = "
name: copy
stages:
  first: { kind: command, inputs: { text: { file: in.txt } },
           params: { run: 'cp ${inputs.text} ${outputs.out}', outputs: { out: out.txt } } }
  second: { kind: command, inputs: { text: first.out },
            params: { run: 'cat ${inputs.text} ${inputs.text} > ${outputs.out}', outputs: { out: out.txt } } }
";

const BOTH_CACHED: [&str; 3] = ["first cached", "second cached", "done: 0 ran, 2 cached"];

fn copied() -> Project {
    let project = Project::new().file("p.yaml", COPY).file("in.txt", "one\n");
    run(&project, &["p.yaml"]);
    // What was too young to be believed is settled by now.
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(run(&project, &["p.yaml"]), BOTH_CACHED);
    assert_eq!(run(&project, &["p.yaml"]), BOTH_CACHED);
    project
}

fn set_mtime(path: PathBuf, time: SystemTime) {
    File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn an_edit_right_after_a_run_is_noticed() {
    let project = Project::new().file("p.yaml", COPY);
    // Equal sizes, and as little time between as a run leaves.
    for text in ["one\n", "two\n", "six\n", "ten\n"] {
        project.write("in.txt", text);
        run(&project, &["p.yaml"]);
        assert_eq!(project.read("artifacts/copy/second/out.txt"), text.repeat(2));
    }
}

#[test]
fn an_edit_that_keeps_size_and_time_is_noticed() {
    let project = copied();
    let before = fs::metadata(project.path("in.txt")).unwrap().modified().unwrap();
    project.write("in.txt", "two\n");
    set_mtime(project.path("in.txt"), before);
    run(&project, &["p.yaml"]);
    assert_eq!(project.read("artifacts/copy/second/out.txt"), "two\ntwo\n");
}

#[test]
fn another_file_of_the_same_size_and_time_is_noticed() {
    let project = Project::new().file("p.yaml", COPY).file("in.txt", "one\n");
    project.write("other.txt", "two\n");
    let time = SystemTime::now() - Duration::from_secs(1000);
    set_mtime(project.path("in.txt"), time);
    set_mtime(project.path("other.txt"), time);
    run(&project, &["p.yaml"]);
    fs::rename(project.path("other.txt"), project.path("in.txt")).unwrap();
    run(&project, &["p.yaml"]);
    assert_eq!(project.read("artifacts/copy/second/out.txt"), "two\ntwo\n");
}

#[test]
fn a_damaged_blob_is_computed_again_though_all_was_seen() {
    let project = copied();
    let blob = blob(&project, b"one\none\n");
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&blob, "0ne\none\n").unwrap();
    let events = run(&project, &["p.yaml"]);
    assert_eq!(events[1], "second ran output_damaged");
    assert_eq!(fs::read(&blob).unwrap(), b"one\none\n");
}

#[test]
fn a_removed_entry_is_missed_though_all_was_seen() {
    let project = copied();
    fs::remove_dir_all(project.path(".runner/entries")).unwrap();
    let events = run(&project, &["p.yaml"]);
    assert!(events[0].starts_with("first ran"), "{events:?}");
}

#[test]
fn an_edited_artifact_is_set_aside_though_all_was_seen() {
    let project = copied();
    let path = "artifacts/copy/second/out.txt";
    project.write(path, "mine\n");
    let output = project.run(&["run", "p.yaml"]).expect(0);
    assert!(output.stdout.contains("had been edited"), "{}", output.stdout);
    assert_eq!(project.read(path), "one\none\n");
    assert_eq!(project.read(&format!("{path}.edited")), "mine\n");
}

#[test]
fn an_artifact_edited_right_after_the_run_that_placed_it_is_noticed() {
    for _ in 0..5 {
        let project = Project::new().file("p.yaml", COPY).file("in.txt", "one\n");
        run(&project, &["p.yaml"]);
        project.write("artifacts/copy/second/out.txt", "two\ntwo\n");
        run(&project, &["p.yaml"]);
        assert_eq!(project.read("artifacts/copy/second/out.txt"), "one\none\n");
    }
}

/// A pipeline that is large enough to be kept, with a file and a variable.
fn many() -> String {
    let stage = |number: usize| {
        format!(
            "  s{number}: {{ kind: command, inputs: {{ text: {{ file: in.txt }} }},\n      \
             params: {{ run: 'echo {number} word ${{with.v}} > ${{outputs.out}}', with: {{ v: \
             '${{v}}' }}, outputs: {{ out: out.txt }} }} }}\n"
        )
    };
    let stages: String = (0..120).map(stage).collect();
    format!("name: many\nvars: {{ v: 1.5 }}\nstages:\n{stages}")
}

fn caches(project: &Project) -> Vec<String> {
    let is_cache = |path: &String| {
        [".runner/stat-cache", ".runner/seen/", ".runner/pipelines/"]
            .iter()
            .any(|prefix| path.starts_with(prefix))
    };
    project.files().into_keys().filter(is_cache).collect()
}

#[test]
fn damage_of_any_cache_costs_only_time() {
    let project = Project::new().file("p.yaml", many()).file("in.txt", "one\n");
    run(&project, &["p.yaml"]);
    std::thread::sleep(Duration::from_millis(30));
    run(&project, &["p.yaml"]);
    let caches = caches(&project);
    assert_eq!(caches.len(), 3, "{caches:?}");
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 6] = [
        Vec::clear,
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.truncate(20),
        |bytes| *bytes.last_mut().unwrap() ^= 1,
        |bytes| bytes[3] ^= 0x80,
        |bytes| bytes.extend(b"more"),
    ];
    for cache in &caches {
        let whole = fs::read(project.path(cache)).unwrap();
        for (number, damage) in damages.iter().enumerate() {
            let mut bytes = whole.clone();
            damage(&mut bytes);
            project.write(cache, bytes);
            let events = run(&project, &["p.yaml"]);
            let last = events.last().unwrap();
            assert_eq!(last, "done: 0 ran, 120 cached", "{cache}, damage {number}");
        }
        fs::remove_file(project.path(cache)).unwrap();
        let events = run(&project, &["p.yaml"]);
        assert_eq!(events.last().unwrap(), "done: 0 ran, 120 cached", "{cache}");
    }
}

#[test]
fn a_kept_pipeline_is_checked_anew_where_anything_that_was_checked_changed() {
    let project = Project::new().file("p.yaml", many()).file("in.txt", "one\n");
    run(&project, &["p.yaml"]);
    let last = |arguments: &[&str]| run(&project, arguments).pop().unwrap();
    assert_eq!(last(&["p.yaml"]), "done: 0 ran, 120 cached");
    assert_eq!(last(&["p.yaml", "--set", "v=2"]), "done: 120 ran, 0 cached");
    assert_eq!(last(&["p.yaml"]), "done: 0 ran, 120 cached");

    project.write("p.yaml", many().replace("echo 7 ", "echo seven "));
    assert_eq!(last(&["p.yaml"]), "done: 1 ran, 119 cached");

    project.write("word", "a file that every command names");
    let warned = project.run(&["run", "p.yaml"]).expect(0);
    assert!(warned.stderr.contains("names `word`, which is no input"), "{}", warned.stderr);
    fs::remove_file(project.path("word")).unwrap();

    assert_eq!(last(&["p.yaml"]), "done: 0 ran, 120 cached");
    fs::remove_file(project.path("in.txt")).unwrap();
    let invalid = project.run(&["run", "p.yaml"]).expect(2);
    assert!(invalid.stderr.contains("`in.txt` of"), "{}", invalid.stderr);
}
