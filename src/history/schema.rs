//! The tables of the history, and how a file of an earlier version becomes one of this.
//!
//! Every version is a step from the one before, so a file of any age comes along with all its rows.
//!
//! | version | what it brought |
//! |---|---|
//! | 1 | runs, stage runs, trials |
//! | 2 | of a run: file, `--set`s, jobs, counts; of a stage run: kind, start, failure; of a trial: pipeline, start, fingerprint, best so far; params by fingerprint |
//!
//! Nothing in it names a host or an absolute path. Times are in UTC, `2026-01-31 12:00:00.000`.
//! A stage run under way has the outcome `running`; where its run was killed, it keeps it.

use rusqlite::{Connection, TransactionBehavior};

/// The version of the tables below.
pub const VERSION: i64 = STEPS.len() as i64;

const STEPS: [&str; 2] = [FIRST, SECOND];

/// What the first version began with.
pub(super) const FIRST: &str = "
    CREATE TABLE IF NOT EXISTS runs (
        id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, started TEXT NOT NULL,
        outcome TEXT, seconds REAL);
    CREATE TABLE IF NOT EXISTS stage_runs (
        run INTEGER NOT NULL REFERENCES runs(id), pipeline TEXT NOT NULL, stage TEXT NOT NULL,
        fingerprint TEXT, outcome TEXT NOT NULL, seconds REAL NOT NULL,
        reasons TEXT NOT NULL, metrics TEXT NOT NULL);
    CREATE INDEX IF NOT EXISTS stage_runs_by_stage ON stage_runs (pipeline, stage);
    CREATE TABLE IF NOT EXISTS trials (
        run INTEGER NOT NULL REFERENCES runs(id), stage TEXT NOT NULL, number INTEGER NOT NULL,
        params TEXT NOT NULL, value REAL, outcome TEXT NOT NULL, seconds REAL NOT NULL);
";

const SECOND: &str = "
    ALTER TABLE runs ADD COLUMN file TEXT;
    ALTER TABLE runs ADD COLUMN sets TEXT;
    ALTER TABLE runs ADD COLUMN jobs INTEGER;
    ALTER TABLE runs ADD COLUMN ran INTEGER;
    ALTER TABLE runs ADD COLUMN cached INTEGER;
    ALTER TABLE runs ADD COLUMN failed INTEGER;
    ALTER TABLE runs ADD COLUMN skipped INTEGER;
    ALTER TABLE runs ADD COLUMN cancelled INTEGER;
    CREATE INDEX runs_by_pipeline ON runs (pipeline);
    ALTER TABLE stage_runs ADD COLUMN kind TEXT;
    ALTER TABLE stage_runs ADD COLUMN started TEXT;
    ALTER TABLE stage_runs ADD COLUMN failure TEXT;
    CREATE INDEX stage_runs_by_run ON stage_runs (run);
    CREATE INDEX stage_runs_that_ran ON stage_runs (pipeline, stage) WHERE outcome = 'ran';
    ALTER TABLE trials ADD COLUMN pipeline TEXT;
    ALTER TABLE trials ADD COLUMN started TEXT;
    ALTER TABLE trials ADD COLUMN fingerprint TEXT;
    ALTER TABLE trials ADD COLUMN best REAL;
    UPDATE trials SET pipeline = (SELECT pipeline FROM runs WHERE runs.id = trials.run);
    CREATE INDEX trials_by_stage ON trials (pipeline, stage, run);
    CREATE TABLE actions (fingerprint TEXT PRIMARY KEY, params TEXT NOT NULL) WITHOUT ROWID;
";

/// Why a file's tables cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// A later version of the program has written it.
    #[error("it was written by a newer version of runner (its version is {0}, ours {VERSION})")]
    Newer(i64),
    /// SQLite cannot read or write it.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

/// Gives the version of a file's tables; 0 where it has none.
///
/// # Errors
///
/// SQLite's, where it cannot be read.
pub fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Brings a file's tables to this version, all at once or not at all; says which it had.
///
/// # Errors
///
/// [`SchemaError::Newer`] where a later version has written it; nothing is changed then.
pub fn migrate(connection: &mut Connection) -> Result<i64, SchemaError> {
    match version(connection)? {
        VERSION => return Ok(VERSION),
        newer if newer > VERSION => return Err(SchemaError::Newer(newer)),
        _ => {}
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another run may have brought it along while this one waited for its turn.
    let found = version(&transaction)?.max(0);
    for (step, sql) in (1..).zip(STEPS).filter(|(step, _)| *step > found) {
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", step)?;
    }
    transaction.commit()?;
    Ok(found)
}
