//! The thread that writes the history: it owns the connection, and nobody waits for it but the end.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior, params_from_iter};

use super::schema::{self, SchemaError};
use super::{CACHE, rebuild};

/// How long a write waits for another process to end its own.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long writes gather: one transaction for each would cost a short stage more than its work.
const GATHER: Duration = Duration::from_millis(50);

/// Writes of one transaction at most, so that others get their turn.
const BATCH: usize = 10_000;

/// Writes that are kept at most for another try.
const KEPT: usize = 100_000;

const BEGIN: &str =
    "INSERT INTO runs (pipeline, started, file, sets, jobs) VALUES (?1, ?2, ?3, ?4, ?5)";

const STAGE: &str = "
    INSERT OR REPLACE INTO stage_runs (
        rowid, run, pipeline, stage, fingerprint, kind, outcome, started, seconds, reasons,
        metrics, failure)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";

/// What is to be written.
#[derive(Debug)]
pub enum Write {
    /// A run begins, with the values of [`BEGIN`]; later rows belong to it.
    Begin(Vec<Value>),
    /// A stage began or ended: its name, whether it ended, and the values of [`STAGE`] after the
    /// run. Its end takes the place of its beginning.
    Stage(String, bool, Vec<Value>),
    /// A statement whose first value is the run, and its other values.
    Row(&'static str, Vec<Value>),
}

/// Which run is being written, and the rows of its stages that have begun.
#[derive(Clone, Debug, Default)]
struct Place {
    run: Option<i64>,
    begun: HashMap<String, i64>,
}

/// Writes all that comes, until nobody can send any more. A new file begins with what the store's
/// roots tell, where there were any.
///
/// Says first of all what a person should know of the file, if anything.
pub fn write_all(
    path: &Path,
    has_roots: bool,
    writes: &Receiver<Write>,
    trouble: &Sender<Option<String>>,
) {
    let (opened, said) = open(path, has_roots);
    // Whoever has gone does not want to know.
    let _ = trouble.send(said);
    let mut connection = opened.ok();
    let mut place = Place::default();
    let mut kept: Vec<Write> = Vec::new();
    while let Ok(first) = writes.recv() {
        // Whoever ends the history wakes this thread.
        std::thread::park_timeout(GATHER);
        // Without a history, what comes is thrown away.
        let Some(connection) = &mut connection else { continue };
        kept.push(first);
        kept.extend(writes.try_iter().take(BATCH));
        match write(connection, &place, &kept) {
            Ok(next) => {
                place = next;
                kept.clear();
            }
            Err(error) if is_busy(&error) && kept.len() < KEPT => {
                tracing::info!("the history is busy; its rows are kept for another try");
            }
            Err(error) => {
                kept.clear();
                tracing::warn!("cannot write the history: {error}");
            }
        }
    }
    if let (Some(connection), false) = (&mut connection, kept.is_empty())
        && let Err(error) = write(connection, &place, &kept)
    {
        tracing::warn!("cannot write the history: {error}");
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Writes what has gathered, in one transaction; says where that leads.
fn write(connection: &mut Connection, place: &Place, batch: &[Write]) -> rusqlite::Result<Place> {
    // It waits for its turn at the beginning: later, it may find that it cannot have it any more.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut place = place.clone();
    for write in batch {
        write_one(&transaction, &mut place, write)?;
    }
    transaction.commit()?;
    Ok(place)
}

fn write_one(
    transaction: &Transaction<'_>,
    place: &mut Place,
    write: &Write,
) -> rusqlite::Result<()> {
    if let Write::Begin(values) = write {
        let run = transaction.prepare_cached(BEGIN)?.insert(params_from_iter(values))?;
        *place = Place { run: Some(run), begun: HashMap::new() };
        return Ok(());
    }
    // A row belongs to a run that is there.
    let Some(run) = place.run.map(Value::from) else { return Ok(()) };
    match write {
        Write::Begin(_) => unreachable!("written above"),
        Write::Stage(stage, is_end, values) => {
            let row = place.begun.remove(stage);
            let own = [row.map_or(Value::Null, Value::from), run];
            let values = own.iter().chain(values);
            let row = transaction.prepare_cached(STAGE)?.insert(params_from_iter(values))?;
            if !is_end {
                place.begun.insert(stage.clone(), row);
            }
        }
        Write::Row(statement, values) => {
            let own = [run];
            let values = own.iter().chain(values);
            transaction.prepare_cached(statement)?.execute(params_from_iter(values))?;
        }
    }
    Ok(())
}

/// Opens the history, and says what a person should know; a file that is none is set aside.
fn open(path: &Path, has_roots: bool) -> (Result<Connection, SchemaError>, Option<String>) {
    let damaged = [Some(ErrorCode::NotADatabase), Some(ErrorCode::DatabaseCorrupt)];
    let shown = path.display();
    match connect(path, has_roots) {
        // Anything else, such as a lock, a full disk or a missing right, passes: the file is sound.
        Err(SchemaError::Sqlite(error)) if damaged.contains(&error.sqlite_error_code()) => {
            let aside = set_aside(path);
            let aside = aside.display();
            let message = format!(
                "the history `{shown}` is damaged ({error}): it is now `{aside}`, and a new one \
                 begins; results are files of the store, and none is touched"
            );
            (connect(path, has_roots), Some(message))
        }
        Err(error) => {
            let message = format!("nothing is written to the history `{shown}`: {error}");
            (Err(error), Some(message))
        }
        Ok(connection) => (Ok(connection), None),
    }
}

fn connect(path: &Path, has_roots: bool) -> Result<Connection, SchemaError> {
    if let Some(folder) = path.parent() {
        let _ = fs::create_dir_all(folder);
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    let version = schema::version(&connection)?;
    if version > schema::VERSION {
        // Not even its way of journalling is touched.
        return Err(SchemaError::Newer(version));
    }
    // The write-ahead log needs no sync a commit: a loss of power loses history, never results.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "cache_size", CACHE)?;
    if schema::migrate(&mut connection)? == 0
        && has_roots
        && let Some(folder) = path.parent()
    {
        rebuild::rebuild(&mut connection, folder)?;
    }
    Ok(connection)
}

/// Keeps a damaged file for whoever wants to look, with its log, which must not enter the new one.
fn set_aside(path: &Path) -> PathBuf {
    let named = |path: &Path, ending: &str| {
        let mut name = OsString::from(path);
        name.push(ending);
        PathBuf::from(name)
    };
    let aside = path.with_extension("sqlite.damaged");
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::rename(named(path, ending), named(&aside, ending));
    }
    aside
}
