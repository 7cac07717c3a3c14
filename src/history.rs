//! The history: runs, stage runs and trials with their times and metrics, in SQLite.
//!
//! Losing it loses no result: it serves explanations, estimates and people. A file that is damaged
//! is set aside and a new one begun, with what the store still knows (`rebuild`); one of an earlier
//! version is brought along (`schema`), and one of a later is left alone. A history that cannot be
//! written is silent, since a run must not fail for its sake. Nor must a run wait for it: a thread of
//! its own writes what is told. What people ask of it is read through [`records`].

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use indexmap::IndexSet;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use crate::event::Event;
use crate::fingerprint::{Fingerprint, Manifest};

pub mod estimate;
mod rebuild;
pub mod records;
mod schema;
mod seconds;
mod writer;

use writer::Write;

/// How long a look waits for whoever keeps all others out: the loop of a run waits with it.
const PATIENCE: Duration = Duration::from_millis(200);

/// The size of SQLite's cache; below 0 it is in KiB. Its own 2 MiB would fill as the history grows, of
/// which hardly any is read again.
const CACHE: i64 = -128;

/// The latest rows of a stage that are looked at for its fingerprints, so that a long history costs
/// a run no more than a short one.
const LOOKED_AT: u32 = 500;

/// The history of one root.
#[derive(Debug)]
pub struct History {
    path: PathBuf,
    pipeline: String,
    /// Opened at the first look.
    reader: RefCell<Option<Connection>>,
    /// The thread that writes, and the way to it until the history is closed.
    writer: Option<(Option<mpsc::Sender<Write>>, JoinHandle<()>)>,
    /// What the writer has to say of the file.
    trouble: Option<mpsc::Receiver<Option<String>>>,
}

/// What is known of a run as it begins.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// The pipeline's name.
    pub pipeline: &'a str,
    /// Its file, relative to the root where it lies below.
    pub file: &'a Path,
    /// What `--set` set.
    pub sets: &'a [String],
    /// Slots.
    pub jobs: usize,
}

impl History {
    /// Opens the history for a run that will write to it.
    pub fn open(path: &Path) -> History {
        let (sender, receiver) = mpsc::channel();
        let (tell, trouble) = mpsc::channel();
        let file = path.to_owned();
        // Asked before the run writes any: what it leaves itself is told by its own rows.
        let has_roots = path.with_file_name("roots").is_dir();
        let thread = thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || writer::write_all(&file, has_roots, &receiver, &tell));
        if let Err(error) = &thread {
            tracing::warn!("cannot start the thread that writes the history: {error}");
        }
        let mut history = History::look(path);
        history.writer = thread.ok().map(|thread| (Some(sender), thread));
        history.trouble = Some(trouble);
        history
    }

    /// Opens the history for a look that writes nothing.
    pub fn look(path: &Path) -> History {
        History {
            path: path.to_owned(),
            pipeline: String::new(),
            reader: RefCell::default(),
            writer: None,
            trouble: None,
        }
    }

    /// Says, once, what a person should know of the file of a run: that it was damaged, or that it
    /// cannot be written. Waits until that is known, as the end of a run does in any case.
    pub fn trouble(&mut self) -> Option<String> {
        self.trouble.take()?.recv().ok().flatten()
    }

    /// Begins a run; later events belong to it.
    pub fn begin(&mut self, beginning: &Beginning<'_>) {
        beginning.pipeline.clone_into(&mut self.pipeline);
        self.write(Write::Begin(vec![
            self.pipeline.clone().into(),
            time(SystemTime::now()).into(),
            beginning.file.to_string_lossy().into_owned().into(),
            json(&beginning.sets),
            whole(beginning.jobs),
        ]));
    }

    /// Records an event that is worth keeping, of the action of `fingerprint`; a stage's manifest says
    /// with which params it began.
    pub fn record(
        &mut self,
        event: &Event,
        fingerprint: Option<Fingerprint>,
        manifest: Option<&Manifest>,
    ) {
        let name = fingerprint.map(|fingerprint| fingerprint.to_string());
        let kind = manifest.map(|manifest| manifest.kind.name().to_owned());
        match event {
            Event::StageStarted { stage, reasons, .. } => {
                if let (Some(name), Some(manifest)) = (&name, manifest) {
                    let values = vec![name.clone().into(), json(&params(manifest))];
                    self.write(Write::Row("INSERT OR IGNORE INTO actions VALUES (?2, ?3)", values));
                }
                let values = vec![
                    self.pipeline.clone().into(),
                    stage.clone().into(),
                    name.into(),
                    kind.into(),
                    records::RUNNING.to_owned().into(),
                    time(SystemTime::now()).into(),
                    0.0.into(),
                    json(reasons),
                    "{}".to_owned().into(),
                    Value::Null,
                ];
                self.write(Write::Stage(stage.clone(), false, values));
            }
            Event::StageFinished { stage, outcome, seconds, reasons, metrics, failure, .. } => {
                let failure = failure.as_ref().map(|failure| failure.message.clone());
                let values = vec![
                    self.pipeline.clone().into(),
                    stage.clone().into(),
                    name.into(),
                    kind.into(),
                    outcome.name().to_owned().into(),
                    started(*seconds).into(),
                    (*seconds).into(),
                    json(reasons),
                    json(metrics),
                    failure.into(),
                ];
                self.write(Write::Stage(stage.clone(), true, values));
            }
            Event::TrialFinished {
                stage,
                number,
                params: point,
                value,
                outcome,
                best,
                seconds,
                ..
            } => self.write(Write::Row(
                "INSERT INTO trials (run, pipeline, stage, number, params, value, outcome, started,
                     seconds, best, fingerprint)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                vec![
                    self.pipeline.clone().into(),
                    stage.clone().into(),
                    i64::try_from(*number).unwrap_or(i64::MAX).into(),
                    json(point),
                    (*value).into(),
                    outcome.name().to_owned().into(),
                    started(*seconds).into(),
                    (*seconds).into(),
                    (*best).into(),
                    name.into(),
                ],
            )),
            Event::RunFinished { outcome, ran, cached, failed, skipped, cancelled, seconds } => {
                let mut values = vec![outcome.name().to_owned().into(), (*seconds).into()];
                values.extend([ran, cached, failed, skipped, cancelled].map(|count| whole(*count)));
                self.write(Write::Row(
                    "UPDATE runs SET outcome = ?2, seconds = ?3, ran = ?4, cached = ?5,
                         failed = ?6, skipped = ?7, cancelled = ?8 WHERE id = ?1",
                    values,
                ));
            }
            _ => {}
        }
    }

    /// Gives the fingerprints with which a stage ended well, the latest first, each once; what is
    /// recorded at this moment may not be among them yet.
    pub fn fingerprints(&self, pipeline: &str, stage: &str) -> Vec<Fingerprint> {
        self.ask(|connection| query(connection, pipeline, stage)).unwrap_or_default()
    }

    /// Asks the file something; `None` where it cannot say.
    fn ask<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        let mut reader = self.reader.borrow_mut();
        if reader.is_none() {
            *reader = connect(&self.path, self.writer.is_none()).ok();
        }
        let found = reader.as_ref().and_then(|connection| ask(connection).ok());
        if found.is_none() {
            // It is perhaps being made or set aside by the writer: the next look opens it anew.
            *reader = None;
        }
        found
    }

    /// Says whether a stage has failed, as far as is known.
    pub fn has_failed(&self, pipeline: &str, stage: &str) -> bool {
        let sql = "SELECT 1 FROM stage_runs
                   WHERE pipeline = ?1 AND stage = ?2 AND outcome = 'failed' LIMIT 1";
        let found =
            self.ask(|connection| connection.prepare_cached(sql)?.exists([pipeline, stage]));
        found.unwrap_or(false)
    }

    fn write(&self, write: Write) {
        if let Some((Some(sender), _)) = &self.writer {
            // The writer goes on until nobody can send; one that panicked has said so.
            let _ = sender.send(write);
        }
    }

    /// Has the writer write what it was told and close the file, while the caller goes on; what is
    /// recorded from now on is not written. Dropping it waits for that.
    pub fn close(&mut self) {
        // The last to close tidies the write-ahead log away, which a reader may not.
        self.reader.take();
        if let Some((sender, thread)) = &mut self.writer {
            sender.take();
            thread.thread().unpark();
        }
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.close();
        if let Some((_, thread)) = self.writer.take() {
            let _ = thread.join();
        }
    }
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_string(value).unwrap_or_default().into()
}

fn whole(number: usize) -> Value {
    i64::try_from(number).unwrap_or(i64::MAX).into()
}

/// Writes a moment in UTC, as it is stored.
fn time(moment: SystemTime) -> String {
    DateTime::<Utc>::from(moment).format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// Gives the moment at which something began that took so many seconds until now.
fn started(seconds: f64) -> String {
    let took = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    let now = SystemTime::now();
    time(now.checked_sub(took).unwrap_or(now))
}

/// Gives the resolved params of an action; a tune's with those of its base below `base`.
pub fn params(manifest: &Manifest) -> serde_json::Value {
    let mut params = manifest.params.clone();
    if let (Some(base), Some(fields)) = (&manifest.base, params.as_object_mut()) {
        fields.insert("base".to_owned(), base.params.clone());
    }
    params
}

/// Opens the file to read. A mere look must leave no trace, and SQLite makes files beside it even
/// to read; it does not where it is told that nobody writes, which the absent log says.
fn connect(path: &Path, is_look: bool) -> rusqlite::Result<Connection> {
    let is_still = is_look && !path.with_extension("sqlite-wal").exists();
    let mode = if is_still { "?immutable=1" } else { "" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags(format!("file:{}{mode}", escaped(path)), flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "cache_size", CACHE)?;
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
         ORDER BY rowid DESC LIMIT ?3",
    )?;
    let rows = statement.query_map((pipeline, stage, LOOKED_AT), |row| row.get::<_, String>(0))?;
    let texts: IndexSet<String> = rows.collect::<rusqlite::Result<_>>()?;
    let latest = texts.iter().take(50);
    Ok(latest.filter_map(|text| Some(Fingerprint(text.parse().ok()?))).collect())
}

#[cfg(test)]
mod tests;
