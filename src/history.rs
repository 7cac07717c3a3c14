//! The history: runs, stage runs and trials with their times and metrics, in SQLite.
//!
//! Losing it loses no result: it serves explanations and people. A file that is damaged is set
//! aside and a new one begun; a history that cannot be written is silent, since a run must not
//! fail for its sake. Nor must a run wait for it: a thread of its own writes what is told.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::event::Event;
use crate::fingerprint::Fingerprint;

mod durations;
mod seconds;
mod writer;

use writer::Write;

/// How long a look waits for whoever keeps all others out: the loop of a run waits with it.
const PATIENCE: Duration = Duration::from_millis(200);

/// The history of one root.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    pipeline: String,
    /// Opened at the first look.
    reader: RefCell<Option<Connection>>,
    writer: Option<(mpsc::Sender<Write>, JoinHandle<()>)>,
}

impl History {
    /// Opens the history for a run that will write to it.
    pub fn open(path: &Path) -> History {
        let (sender, receiver) = mpsc::channel();
        let file = path.to_owned();
        let thread = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || writer::write_all(&file, &receiver));
        if let Err(error) = &thread {
            tracing::warn!("cannot start the thread that writes the history: {error}");
        }
        let mut history = History::look(path);
        history.writer = thread.ok().map(|thread| (sender, thread));
        history
    }

    /// Opens the history for a look that writes nothing.
    pub fn look(path: &Path) -> History {
        History {
            path: path.to_owned(),
            pipeline: String::new(),
            reader: RefCell::default(),
            writer: None,
        }
    }

    /// Begins a run of `pipeline`; later events belong to it.
    pub fn begin(&mut self, pipeline: &str) {
        pipeline.clone_into(&mut self.pipeline);
        self.write(Write::Begin(self.pipeline.clone()));
    }

    /// Records an event that is worth keeping.
    pub fn record(&mut self, event: &Event, fingerprint: Option<Fingerprint>) {
        match event {
            Event::StageFinished { stage, outcome, seconds, reasons, metrics, .. } => {
                let fingerprint = fingerprint.map(|fingerprint| fingerprint.to_string());
                self.write(Write::Row(
                    "INSERT INTO stage_runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    vec![
                        self.pipeline.clone().into(),
                        stage.clone().into(),
                        fingerprint.into(),
                        outcome.name().to_owned().into(),
                        (*seconds).into(),
                        json(reasons),
                        json(metrics),
                    ],
                ));
            }
            Event::TrialFinished {
                stage, number, params: point, value, outcome, seconds, ..
            } => self.write(Write::Row(
                "INSERT INTO trials VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                vec![
                    stage.clone().into(),
                    i64::try_from(*number).unwrap_or(i64::MAX).into(),
                    json(point),
                    (*value).into(),
                    outcome.name().to_owned().into(),
                    (*seconds).into(),
                ],
            )),
            Event::RunFinished { outcome, seconds, .. } => self.write(Write::Row(
                "UPDATE runs SET outcome = ?2, seconds = ?3 WHERE id = ?1",
                vec![outcome.name().to_owned().into(), (*seconds).into()],
            )),
            _ => {}
        }
    }

    /// Gives the fingerprints with which a stage ended well, the latest first, each once; what is
    /// recorded at this moment may not be among them yet.
    pub fn fingerprints(&self, pipeline: &str, stage: &str) -> Vec<Fingerprint> {
        let mut reader = self.reader.borrow_mut();
        if reader.is_none() {
            *reader = connect(&self.path, self.writer.is_none()).ok();
        }
        let found = reader.as_ref().map(|connection| query(connection, pipeline, stage));
        found.and_then(Result::ok).unwrap_or_else(|| {
            // It is perhaps being made or set aside by the writer: the next look opens it anew.
            *reader = None;
            Vec::new()
        })
    }

    /// Says whether a stage has failed, as far as is known.
    pub fn has_failed(&self, pipeline: &str, stage: &str) -> bool {
        let reader = self.reader.borrow();
        let sql = "SELECT 1 FROM stage_runs
                   WHERE pipeline = ?1 AND stage = ?2 AND outcome = 'failed' LIMIT 1";
        let found = reader.as_ref().map(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            statement.exists([pipeline, stage])
        });
        found.is_some_and(|found| found.unwrap_or(false))
    }

    fn write(&self, write: Write) {
        if let Some((sender, _)) = &self.writer {
            // The writer goes on until nobody can send; one that panicked has said so.
            let _ = sender.send(write);
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        // The last to close tidies the write-ahead log away, which a reader may not.
        self.reader.take();
        if let Some((sender, thread)) = self.writer.take() {
            drop(sender);
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_string(value).unwrap_or_default().into()
}

/// Opens the file to read. A mere look must leave no trace, and SQLite makes files beside it even
/// to read; it does not where it is told that nobody writes, which the absent log says.
fn connect(path: &Path, is_look: bool) -> rusqlite::Result<Connection> {
    let is_still = is_look && !path.with_extension("sqlite-wal").exists();
    let mode = if is_still { "?immutable=1" } else { "" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{}{mode}", escaped(path)), flags)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Writes a path as a URI has it.
fn escaped(path: &Path) -> String {
    let escape = |byte: &u8| match byte {
        b'/' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    path.as_os_str().as_encoded_bytes().iter().map(escape).collect()
}

fn query(
    connection: &Connection,
    pipeline: &str,
    stage: &str,
) -> rusqlite::Result<Vec<Fingerprint>> {
    let mut statement = connection.prepare_cached(
        "SELECT fingerprint FROM stage_runs
         WHERE pipeline = ?1 AND stage = ?2 AND outcome IN ('ran', 'cached')
           AND fingerprint IS NOT NULL
         GROUP BY fingerprint ORDER BY max(rowid) DESC LIMIT 50",
    )?;
    let rows = statement.query_map([pipeline, stage], |row| row.get::<_, String>(0))?;
    let texts: Vec<String> = rows.collect::<rusqlite::Result<_>>()?;
    Ok(texts.iter().filter_map(|text| Some(Fingerprint(text.parse().ok()?))).collect())
}

#[cfg(test)]
mod tests;
