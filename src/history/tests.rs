use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::event::{Outcome, RunOutcome};
use crate::fingerprint::Digest;

fn fingerprint(name: &str) -> Fingerprint {
    Fingerprint(Digest::of(name.as_bytes()))
}

fn finished(stage: &str, outcome: Outcome) -> Event {
    Event::StageFinished {
        stage: stage.to_owned(),
        outcome,
        seconds: 1.0,
        reasons: Vec::new(),
        metrics: BTreeMap::new(),
        failure: None,
        because: None,
    }
}

fn run_of(path: &Path, stages: &[(&str, Outcome, Fingerprint)]) {
    let mut history = History::open(path);
    history.begin("lambda");
    for (stage, outcome, fingerprint) in stages {
        history.record(&finished(stage, *outcome), Some(*fingerprint));
    }
    history.record(
        &Event::RunFinished {
            outcome: RunOutcome::Done,
            ran: stages.len(),
            cached: 0,
            failed: 0,
            skipped: 0,
            cancelled: 0,
            seconds: 2.0,
        },
        None,
    );
}

fn count(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn nothing_that_was_recorded_is_lost_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let [a, b, c] = ["a", "b", "c"].map(fingerprint);
    run_of(&path, &[("train", Outcome::Ran, a), ("train", Outcome::Failed, c)]);
    run_of(&path, &[("train", Outcome::Cached, b), ("tune", Outcome::Ran, c)]);
    let many: Vec<_> = (0..3000).map(|_| ("many", Outcome::Ran, a)).collect();
    run_of(&path, &many);
    let history = History::look(&path);
    assert_eq!(history.fingerprints("lambda", "train"), [b, a]);
    assert_eq!(history.fingerprints("other", "train"), []);
    assert_eq!(count(&path, "SELECT count(*) FROM runs WHERE outcome = 'done'"), 3);
    assert_eq!(count(&path, "SELECT count(*) FROM stage_runs WHERE run = 3"), 3000);
}

#[test]
fn a_damaged_history_is_set_aside_with_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    fs::write(&path, "no database at all, but long enough to be looked at").unwrap();
    fs::write(folder.path().join("history.sqlite-wal"), "a log").unwrap();
    run_of(&path, &[("train", Outcome::Ran, fingerprint("a"))]);
    assert!(folder.path().join("history.sqlite.damaged").exists());
    assert_eq!(History::look(&path).fingerprints("lambda", "train"), [fingerprint("a")]);
}

#[test]
fn what_cannot_be_opened_is_left_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    fs::create_dir(&path).unwrap();
    run_of(&path, &[("train", Outcome::Ran, fingerprint("a"))]);
    assert!(path.is_dir());
    assert_eq!(History::look(&path).fingerprints("lambda", "train"), []);
}
