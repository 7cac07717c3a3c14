use std::collections::BTreeMap;
use std::fs;

use super::records::Records;
use super::*;
use crate::event::{Outcome, RunOutcome};
use crate::fingerprint::{Digest, DirtyReason};
use crate::stage::StageKind;

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
    let sets = ["rows=5".to_owned()];
    let file = Path::new("lambda.yaml");
    history.begin(&Beginning { pipeline: "lambda", file, sets: &sets, jobs: 2 });
    for (stage, outcome, fingerprint) in stages {
        history.record(&finished(stage, *outcome), Some(*fingerprint), None);
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

/// A file as the first version wrote it.
fn first_version(path: &Path) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(schema::FIRST).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA user_version = 1;
             INSERT INTO runs VALUES (7, 'lambda', '2026-01-31 12:00:00', 'done', 3.5);
             INSERT INTO runs VALUES (8, 'lambda', '2026-01-31 13:00:00', NULL, NULL);
             INSERT INTO stage_runs VALUES
                 (7, 'lambda', 'train', '{}', 'ran', 3.0, '[{{\"kind\":\"never_ran\"}}]',
                     '{{\"loss\":0.5,\"nan\":null}}'),
                 (8, 'lambda', 'train', '{}', 'cached', 0, '[]', '{{\"loss\":0.5}}');
             INSERT INTO trials VALUES (7, 'tune', 3, '{{\"units\":[4]}}', 0.25, 'ran', 1.5);",
            fingerprint("a"),
            fingerprint("a"),
        ))
        .unwrap();
}

#[test]
fn a_file_of_the_first_version_is_read_as_it_is_and_brought_along_with_all_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    first_version(&path);
    let before = fs::read(&path).unwrap();
    let look = |records: &Records| {
        let runs = records.runs(Some("lambda"), 9).unwrap();
        let run = runs.iter().find(|run| run.id == 7).unwrap();
        assert_eq!((run.ran, run.cached, run.seconds), (1, 0, Some(3.5)));
        let stages = records.stages(7).unwrap();
        assert_eq!(stages[0].reasons, [DirtyReason::NeverRan]);
        assert_eq!((stages[0].metrics["loss"], stages[0].metrics["nan"].is_nan()), (0.5, true));
        let trials = records.trials("lambda", "tune", 7).unwrap();
        assert_eq!((trials[0].number, trials[0].value), (3, Some(0.25)));
    };
    look(&Records::open(&path).unwrap().unwrap());
    assert_eq!(History::look(&path).times("lambda", "train", "train").unwrap().seconds, 3.0);
    assert_eq!(fs::read(&path).unwrap(), before, "a look changes nothing");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "and leaves nothing");

    run_of(&path, &[("train", Outcome::Ran, fingerprint("b"))]);
    let records = Records::open(&path).unwrap().unwrap();
    look(&records);
    let latest = records.runs(None, 1).unwrap().remove(0);
    assert_eq!((latest.id, latest.outcome.as_deref()), (9, Some("done")));
    assert_eq!(latest.sets.unwrap(), ["rows=5"]);
    assert_eq!(History::look(&path).fingerprints("lambda", "train"), ["b", "a"].map(fingerprint));
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&path).unwrap();
    run_of(&path, &[("train", Outcome::Ran, fingerprint("a"))]);
    let said = History::open(&path).trouble().unwrap();
    assert!(said.contains("newer version of runner"), "{said}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = Records::open(&path).unwrap_err();
    assert!(error.to_string().contains("newer version of runner"), "{error}");
}

#[test]
fn the_end_of_a_stage_takes_the_place_of_its_beginning_and_a_killed_run_keeps_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.sqlite");
    let began = |stage: &str| Event::StageStarted {
        stage: stage.to_owned(),
        kind: StageKind::Command,
        reasons: vec![DirtyReason::NeverRan],
    };
    let mut history = History::open(&path);
    let file = Path::new("p.yaml");
    history.begin(&Beginning { pipeline: "p", file, sets: &[], jobs: 1 });
    for stage in ["a", "b"] {
        history.record(&began(stage), Some(fingerprint(stage)), None);
    }
    history.record(&finished("a", Outcome::Ran), Some(fingerprint("a")), None);
    // As if it were killed: no run ends.
    drop(history);
    let records = Records::open(&path).unwrap().unwrap();
    let stages = records.stages(1).unwrap();
    let outcomes = stages.iter().map(|row| (row.stage.as_str(), row.outcome.as_str()));
    assert_eq!(outcomes.collect::<Vec<_>>(), [("a", "ran"), ("b", "running")]);
    let run = records.run(1).unwrap().unwrap();
    assert_eq!((run.outcome, run.ran, run.unfinished), (None, 1, 1));
    assert_eq!(History::look(&path).fingerprints("p", "b"), []);
}

#[test]
fn listings_search_an_index() {
    let connection = {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        connection
    };
    // Whatever their number, no listing walks the whole table of stage runs or of trials.
    for (sql, table) in [
        ("SELECT 1 FROM stage_runs WHERE run = 5", "stage_runs"),
        ("SELECT 1 FROM stage_runs WHERE pipeline = 'p' AND stage = 's'", "stage_runs"),
        ("SELECT max(run) FROM trials WHERE pipeline = 'p' AND stage = 's'", "trials"),
        ("SELECT id FROM runs WHERE pipeline = 'p' ORDER BY id DESC LIMIT 1", "runs"),
    ] {
        let plan: String = connection
            .query_row(&format!("EXPLAIN QUERY PLAN {sql}"), [], |row| row.get(3))
            .unwrap();
        assert!(plan.starts_with(&format!("SEARCH {table} USING")), "{plan}");
    }
}
