//! The history: runs, stage runs and trials with their times and metrics, in SQLite.
//!
//! Losing it loses no result: it serves explanations and people. A file that cannot be read is set
//! aside and a new one begun; a history that cannot be written is silent, since a run must not
//! fail for its sake.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::event::{Event, Outcome, RunOutcome, TrialOutcome};
use crate::fingerprint::Fingerprint;

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

/// The history of one root.
#[derive(Debug)]
pub struct History {
    connection: Option<Connection>,
    run: i64,
    pipeline: String,
}

impl History {
    /// Opens the history for a run that will write to it.
    pub fn open(path: &Path) -> History {
        let connection = connect(path).or_else(|_| {
            // Unreadable: kept for whoever wants to look, and begun anew.
            let _ = std::fs::rename(path, path.with_extension("sqlite.damaged"));
            connect(path)
        });
        if let Err(error) = &connection {
            tracing::warn!("cannot open the history `{}`: {error}", path.display());
        }
        History { connection: connection.ok(), run: 0, pipeline: String::new() }
    }

    /// Opens the history for a look that writes nothing.
    pub fn look(path: &Path) -> History {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let connection = Connection::open_with_flags(path, flags).ok();
        History { connection, run: 0, pipeline: String::new() }
    }

    /// Begins a run of `pipeline`; later events belong to it.
    pub fn begin(&mut self, pipeline: &str) {
        pipeline.clone_into(&mut self.pipeline);
        self.write("INSERT INTO runs (pipeline, started) VALUES (?1, datetime('now'))", [pipeline]);
        self.run = self.connection.as_ref().map_or(0, Connection::last_insert_rowid);
    }

    /// Records an event that is worth keeping.
    pub fn record(&mut self, event: &Event, fingerprint: Option<Fingerprint>) {
        match event {
            Event::StageFinished { stage, outcome, seconds, reasons, metrics, .. } => self.write(
                "INSERT INTO stage_runs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    self.run,
                    self.pipeline,
                    stage,
                    fingerprint.map(|fingerprint| fingerprint.to_string()),
                    outcome_name(*outcome),
                    seconds,
                    serde_json::to_string(reasons).unwrap_or_default(),
                    serde_json::to_string(metrics).unwrap_or_default(),
                ],
            ),
            Event::TrialFinished {
                stage, number, params: point, value, outcome, seconds, ..
            } => self.write(
                "INSERT INTO trials VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    self.run,
                    stage,
                    i64::try_from(*number).unwrap_or(i64::MAX),
                    serde_json::to_string(point).unwrap_or_default(),
                    value,
                    trial_name(*outcome),
                    seconds,
                ],
            ),
            Event::RunFinished { outcome, seconds, .. } => self.write(
                "UPDATE runs SET outcome = ?1, seconds = ?2 WHERE id = ?3",
                params![run_name(*outcome), seconds, self.run],
            ),
            _ => {}
        }
    }

    /// Gives the fingerprints with which a stage ended well, the latest first, each once.
    pub fn fingerprints(&self, pipeline: &str, stage: &str) -> Vec<Fingerprint> {
        self.query(pipeline, stage).unwrap_or_default()
    }

    fn query(&self, pipeline: &str, stage: &str) -> rusqlite::Result<Vec<Fingerprint>> {
        let Some(connection) = &self.connection else { return Ok(Vec::new()) };
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

    fn write(&self, sql: &str, values: impl rusqlite::Params) {
        let Some(connection) = &self.connection else { return };
        let written =
            connection.prepare_cached(sql).and_then(|mut statement| statement.execute(values));
        if let Err(error) = written {
            tracing::warn!("cannot write the history: {error}");
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    if let Some(folder) = path.parent() {
        let _ = std::fs::create_dir_all(folder);
    }
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    // The write-ahead log needs no sync a commit: a loss of power loses history, never results.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ran => "ran",
        Outcome::Cached => "cached",
        Outcome::Failed => "failed",
        Outcome::Skipped => "skipped",
        Outcome::Cancelled => "cancelled",
    }
}

fn trial_name(outcome: TrialOutcome) -> &'static str {
    match outcome {
        TrialOutcome::Ran => "ran",
        TrialOutcome::Cached => "cached",
        TrialOutcome::Pruned => "pruned",
        TrialOutcome::Failed => "failed",
        TrialOutcome::Cancelled => "cancelled",
    }
}

fn run_name(outcome: RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Done => "done",
        RunOutcome::Failed => "failed",
        RunOutcome::Interrupted => "interrupted",
    }
}
