//! The thread that writes the history: it owns the connection, and nobody waits for it but the end.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, params_from_iter};

const SCHEMA: &str = "
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
    PRAGMA user_version = 1;
";

/// How long a write waits for another process to end its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long writes gather: one transaction for each would cost a short stage more than its work.
const GATHER: Duration = Duration::from_millis(50);

/// Writes of one transaction at most, so that others get their turn.
const BATCH: usize = 10_000;

/// What is to be written.
#[derive(Debug)]
pub enum Write {
    /// A run of a pipeline begins; later rows belong to it.
    Begin(String),
    /// A statement whose first value is the run, and its other values.
    Row(&'static str, Vec<Value>),
}

/// Writes all that comes, until nobody can send any more.
pub fn write_all(path: &Path, writes: &Receiver<Write>) {
    let mut connection = open(path)
        .inspect_err(|error| {
            tracing::warn!("cannot open the history `{}`: {error}", path.display());
        })
        .ok();
    let mut run = 0;
    while let Ok(first) = writes.recv() {
        // Whoever ends the history wakes this thread.
        std::thread::park_timeout(GATHER);
        let batch: Vec<Write> = [first].into_iter().chain(writes.try_iter().take(BATCH)).collect();
        // Without a history, what comes is thrown away.
        let Some(connection) = &mut connection else { continue };
        if let Err(error) = write(connection, &mut run, batch) {
            tracing::warn!("cannot write the history: {error}");
        }
    }
}

/// Writes what has gathered, in one transaction.
fn write(connection: &mut Connection, run: &mut i64, batch: Vec<Write>) -> rusqlite::Result<()> {
    // It waits for its turn at the beginning: later, it may find that it cannot have it any more.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut current = *run;
    for write in batch {
        match write {
            Write::Begin(pipeline) => {
                let mut insert = transaction.prepare_cached(
                    "INSERT INTO runs (pipeline, started) VALUES (?1, datetime('now'))",
                )?;
                current = insert.insert([pipeline])?;
            }
            Write::Row(statement, values) => {
                let values = [Value::from(current)].into_iter().chain(values);
                transaction.prepare_cached(statement)?.execute(params_from_iter(values))?;
            }
        }
    }
    transaction.commit()?;
    *run = current;
    Ok(())
}

/// Opens the history; a file that is none is set aside.
fn open(path: &Path) -> rusqlite::Result<Connection> {
    let damaged = [Some(ErrorCode::NotADatabase), Some(ErrorCode::DatabaseCorrupt)];
    match connect(path) {
        // Anything else, such as a lock, a full disk or a missing right, passes: the file is sound.
        Err(error) if damaged.contains(&error.sqlite_error_code()) => {
            set_aside(path);
            connect(path)
        }
        other => other,
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    if let Some(folder) = path.parent() {
        let _ = fs::create_dir_all(folder);
    }
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    // The write-ahead log needs no sync a commit: a loss of power loses history, never results.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // The log is written into the file when it has grown, not at the end of each run: that would
    // wait for the disk twice for the two rows of a run that found nothing to do.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// Keeps a damaged file for whoever wants to look, with its log, which must not enter the new one.
fn set_aside(path: &Path) {
    let named = |path: &Path, ending: &str| {
        let mut name = OsString::from(path);
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = path.with_extension("sqlite.damaged");
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::rename(named(path, ending), named(&aside, ending));
    }
}
