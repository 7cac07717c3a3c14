//! What the history holds, read for people and programs; writes nothing.
//!
//! A file of an earlier version is copied aside and brought along there: a look changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, ToSql};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

use super::schema::{self, SchemaError};
use crate::fingerprint::{DirtyReason, Fingerprint};

/// The outcome of a stage run that has begun and not ended; where its run was killed, for ever.
pub const RUNNING: &str = "running";

/// Why the history cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A later version of the program has written it.
    #[error("cannot read the history `{path}`: {source}", path = path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Both versions.
        source: SchemaError,
    },
    /// It is damaged, locked, or not ours to read.
    #[error("cannot read the history `{path}`: {source}", path = path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What SQLite or the file system says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Unreadable {
    /// Gives a way out.
    pub fn help(&self) -> &'static str {
        match self {
            Unreadable::Newer { .. } => "use the newer runner; results do not need the history",
            Unreadable::Broken { .. } => {
                "the next run sets a damaged one aside and begins anew; results do not need it"
            }
        }
    }
}

/// The history, open to be read.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    connection: Connection,
    /// Where the copy of an earlier version lies.
    _copy: Option<TempDir>,
}

/// A run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRecord {
    /// Its number, in the order of beginning.
    pub id: i64,
    /// The pipeline's name.
    pub pipeline: String,
    /// Its file, where that is known.
    pub file: Option<String>,
    /// When it began, in UTC.
    pub started: String,
    /// How it ended; `None` while it is under way and where it was killed.
    pub outcome: Option<String>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// How many stages ran.
    pub ran: u32,
    /// How many were cached.
    pub cached: u32,
    /// How many failed.
    pub failed: u32,
    /// How many were not begun, or stopped.
    pub unfinished: u32,
    /// What `--set` set; `None` where that is not known.
    pub sets: Option<Vec<String>>,
}

/// A stage in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct StageRecord {
    /// The run.
    pub run: i64,
    /// When the run began, in UTC.
    pub run_started: String,
    /// The stage's name.
    pub stage: String,
    /// Its kind, where that is known.
    pub kind: Option<String>,
    /// The identity of its action, where that was found out.
    pub fingerprint: Option<Fingerprint>,
    /// How it ended, or [`RUNNING`].
    pub outcome: String,
    /// When it began, in UTC, where that is known.
    pub started: Option<String>,
    /// How long it took.
    pub seconds: f64,
    /// Why it ran.
    pub reasons: Vec<DirtyReason>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
    /// Why it failed.
    pub failure: Option<String>,
    /// Its resolved params, where the history has them.
    pub params: Option<Value>,
}

/// A trial of a tune stage in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord {
    /// The run.
    pub run: i64,
    /// Its number in the study.
    pub number: u64,
    /// Its parameters.
    pub params: BTreeMap<String, Value>,
    /// The value of the objective, of a complete one.
    pub value: Option<f64>,
    /// How it ended.
    pub outcome: String,
    /// How long it took.
    pub seconds: f64,
    /// The identity of its action, where that is known.
    pub fingerprint: Option<Fingerprint>,
    /// The best value of the study so far.
    pub best: Option<f64>,
}

const RUN: &str = "
    SELECT id, pipeline, file, started, outcome, seconds,
        coalesce(ran, (SELECT count(*) FROM stage_runs WHERE run = id AND outcome = 'ran')),
        coalesce(cached, (SELECT count(*) FROM stage_runs WHERE run = id AND outcome = 'cached')),
        coalesce(failed, (SELECT count(*) FROM stage_runs WHERE run = id AND outcome = 'failed')),
        coalesce(skipped + cancelled, (SELECT count(*) FROM stage_runs
            WHERE run = id AND outcome IN ('skipped', 'cancelled', 'running'))),
        sets
    FROM runs";

const STAGE: &str = "
    SELECT run, runs.started, stage, kind, stage_runs.fingerprint, stage_runs.outcome,
        stage_runs.started, stage_runs.seconds, reasons, metrics, failure, params
    FROM stage_runs JOIN runs ON runs.id = run
        LEFT JOIN actions ON actions.fingerprint = stage_runs.fingerprint";

const TRIAL: &str =
    "SELECT run, number, params, value, outcome, seconds, fingerprint, best FROM trials";

impl Records {
    /// Opens a history; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where there is one that cannot be read.
    pub fn open(path: &Path) -> Result<Option<Records>, Unreadable> {
        if !path.exists() {
            return Ok(None);
        }
        let connection = super::connect(path, true).map_err(|error| broken(path, error))?;
        match schema::version(&connection).map_err(|error| broken(path, error))? {
            schema::VERSION => Ok(Some(Records { path: path.to_owned(), connection, _copy: None })),
            newer if newer > schema::VERSION => {
                Err(Unreadable::Newer { path: path.to_owned(), source: SchemaError::Newer(newer) })
            }
            _ => Records::of_earlier(path).map(Some).map_err(|error| broken(path, error)),
        }
    }

    /// Copies a file of an earlier version aside, with its log, and brings the copy along.
    fn of_earlier(path: &Path) -> Result<Records, Box<dyn std::error::Error + Send + Sync>> {
        let folder = tempfile::tempdir()?;
        let copy = folder.path().join("history.sqlite");
        fs::copy(path, &copy)?;
        let log = path.with_extension("sqlite-wal");
        if log.exists() {
            fs::copy(log, copy.with_extension("sqlite-wal"))?;
        }
        let mut connection = Connection::open(&copy)?;
        schema::migrate(&mut connection)?;
        Ok(Records { path: path.to_owned(), connection, _copy: Some(folder) })
    }

    /// Gives the latest runs, the latest first: of one pipeline, or of all.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn runs(&self, pipeline: Option<&str>, limit: u32) -> Result<Vec<RunRecord>, Unreadable> {
        match pipeline {
            Some(name) => self.all(
                &format!("{RUN} WHERE pipeline = ?1 ORDER BY id DESC LIMIT ?2"),
                &[&name, &limit],
                run,
            ),
            None => self.all(&format!("{RUN} ORDER BY id DESC LIMIT ?1"), &[&limit], run),
        }
    }

    /// Gives a run by its number.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn run(&self, id: i64) -> Result<Option<RunRecord>, Unreadable> {
        Ok(self.all(&format!("{RUN} WHERE id = ?1"), &[&id], run)?.pop())
    }

    /// Gives the run that came so many before the last: of one pipeline, or of all.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn run_before(
        &self,
        pipeline: Option<&str>,
        before: u32,
    ) -> Result<Option<RunRecord>, Unreadable> {
        let mut found = match pipeline {
            Some(name) => self.all(
                &format!("{RUN} WHERE pipeline = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2"),
                &[&name, &before],
                run,
            ),
            None => self.all(&format!("{RUN} ORDER BY id DESC LIMIT 1 OFFSET ?1"), &[&before], run),
        }?;
        Ok(found.pop())
    }

    /// Gives the stages of a run, in the order in which they began.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn stages(&self, run: i64) -> Result<Vec<StageRecord>, Unreadable> {
        self.all(&format!("{STAGE} WHERE run = ?1 ORDER BY stage_runs.rowid"), &[&run], stage)
    }

    /// Gives a stage's latest runs that have a result, the latest first: each result once, in the
    /// latest run that had it, or every run.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn results(
        &self,
        pipeline: &str,
        name: &str,
        every_run: bool,
        limit: u32,
    ) -> Result<Vec<StageRecord>, Unreadable> {
        let which = "pipeline = ?1 AND stage = ?2 AND outcome IN ('ran', 'cached')";
        let rows = match every_run {
            true => format!("SELECT rowid FROM stage_runs WHERE {which}"),
            false => {
                format!("SELECT max(rowid) FROM stage_runs WHERE {which} GROUP BY fingerprint")
            }
        };
        let sql = format!(
            "{STAGE} WHERE stage_runs.rowid IN ({rows} ORDER BY 1 DESC LIMIT ?3)
             ORDER BY stage_runs.rowid DESC"
        );
        self.all(&sql, &[&pipeline, &name, &limit], stage)
    }

    /// Gives a stage's latest row in a run, or in any, that has a fingerprint.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn latest(
        &self,
        pipeline: &str,
        name: &str,
        of_run: Option<i64>,
    ) -> Result<Option<StageRecord>, Unreadable> {
        let sql = format!(
            "{STAGE} WHERE stage_runs.pipeline = ?1 AND stage = ?2 AND (?3 IS NULL OR run = ?3)
                 AND stage_runs.fingerprint IS NOT NULL
             ORDER BY stage_runs.rowid DESC LIMIT 1"
        );
        Ok(self.all(&sql, &[&pipeline, &name, &of_run], stage)?.pop())
    }

    /// Gives the trials of a tune stage in one run, by number.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn trials(
        &self,
        pipeline: &str,
        stage: &str,
        run: i64,
    ) -> Result<Vec<TrialRecord>, Unreadable> {
        let sql = format!(
            "{TRIAL} WHERE pipeline = ?1 AND stage = ?2 AND run = ?3 ORDER BY number, rowid"
        );
        self.all(&sql, &[&pipeline, &stage, &run], trial)
    }

    /// Gives the latest run in which a tune stage had trials.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn latest_study(&self, pipeline: &str, stage: &str) -> Result<Option<i64>, Unreadable> {
        let sql = "SELECT max(run) FROM trials WHERE pipeline = ?1 AND stage = ?2";
        let found = self.all(sql, &[&pipeline, &stage], |row| row.get::<_, Option<i64>>(0))?;
        Ok(found.into_iter().flatten().next())
    }

    /// Gives how long each trial of a tune stage took at its longest, by fingerprint: a cached one took
    /// no time.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] where the file cannot be read.
    pub fn trial_seconds(
        &self,
        pipeline: &str,
        stage: &str,
    ) -> Result<BTreeMap<String, f64>, Unreadable> {
        let sql = "SELECT fingerprint, max(seconds) FROM trials
                   WHERE pipeline = ?1 AND stage = ?2 AND fingerprint IS NOT NULL
                   GROUP BY fingerprint";
        let rows = self.all(sql, &[&pipeline, &stage], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.into_iter().collect())
    }

    fn all<T>(
        &self,
        sql: &str,
        values: &[&dyn ToSql],
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Unreadable> {
        let rows = || -> rusqlite::Result<Vec<T>> {
            self.connection.prepare_cached(sql)?.query_map(values, read)?.collect()
        };
        rows().map_err(|error| broken(&self.path, error))
    }
}

fn broken(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Unreadable {
    Unreadable::Broken { path: path.to_owned(), source: source.into() }
}

fn run(row: &Row<'_>) -> rusqlite::Result<RunRecord> {
    Ok(RunRecord {
        id: row.get(0)?,
        pipeline: row.get(1)?,
        file: row.get(2)?,
        started: row.get(3)?,
        outcome: row.get(4)?,
        seconds: row.get(5)?,
        ran: row.get(6)?,
        cached: row.get(7)?,
        failed: row.get(8)?,
        unfinished: row.get(9)?,
        sets: row.get::<_, Option<String>>(10)?.map(|text| parsed(&text)),
    })
}

fn stage(row: &Row<'_>) -> rusqlite::Result<StageRecord> {
    Ok(StageRecord {
        run: row.get(0)?,
        run_started: row.get(1)?,
        stage: row.get(2)?,
        kind: row.get(3)?,
        fingerprint: fingerprint(row.get(4)?),
        outcome: row.get(5)?,
        started: row.get(6)?,
        seconds: row.get(7)?,
        reasons: parsed(&row.get::<_, String>(8)?),
        metrics: metrics(&row.get::<_, String>(9)?),
        failure: row.get(10)?,
        params: row.get::<_, Option<String>>(11)?.map(|text| parsed(&text)),
    })
}

fn trial(row: &Row<'_>) -> rusqlite::Result<TrialRecord> {
    Ok(TrialRecord {
        run: row.get(0)?,
        number: row.get::<_, i64>(1)?.unsigned_abs(),
        params: parsed(&row.get::<_, String>(2)?),
        value: row.get(3)?,
        outcome: row.get(4)?,
        seconds: row.get(5)?,
        fingerprint: fingerprint(row.get(6)?),
        best: row.get(7)?,
    })
}

/// Reads a value that was stored as JSON; one that a later or earlier program wrote otherwise is
/// left out, since the row says enough without.
fn parsed<T: DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

/// Reads metrics; JSON has no word for what is not a number.
fn metrics(text: &str) -> BTreeMap<String, f64> {
    let read: BTreeMap<String, Option<f64>> = parsed(text);
    read.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect()
}

fn fingerprint(text: Option<String>) -> Option<Fingerprint> {
    Some(Fingerprint(text?.parse().ok()?))
}
