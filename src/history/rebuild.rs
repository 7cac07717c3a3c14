//! What a new history can know at once: the stages as each pipeline's last run left them.
//!
//! The store keeps them as files, so a history that was lost or set aside begins with one run for
//! each pipeline, of the outcome `rebuilt`. Times, failures and earlier runs are not in the store and
//! do not come back; results are files, and none is touched.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rusqlite::{Connection, TransactionBehavior};

use super::{params, time};
use crate::store::Store;

/// Fills a history without runs from the store in `folder`.
///
/// # Errors
///
/// SQLite's, where it cannot be written.
pub fn rebuild(connection: &mut Connection, folder: &Path) -> rusqlite::Result<()> {
    // A store that cannot be read gives nothing, and whoever needs it says why.
    let Ok(store) = Store::open(folder) else { return Ok(()) };
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let runs: i64 = transaction.query_row("SELECT count(*) FROM runs", [], |row| row.get(0))?;
    if runs > 0 {
        return Ok(());
    }
    for (pipeline, stages) in store.pipelines() {
        let written = fs::metadata(store.path("roots").join(&pipeline))
            .and_then(|metadata| metadata.modified())
            .unwrap_or_else(|_| SystemTime::now());
        transaction.execute(
            "INSERT INTO runs (pipeline, started, outcome) VALUES (?1, ?2, 'rebuilt')",
            (&pipeline, time(written)),
        )?;
        let run = transaction.last_insert_rowid();
        for (stage, fingerprint) in stages {
            let Some(entry) = store.entry(fingerprint) else { continue };
            let (name, manifest) = (fingerprint.to_string(), &entry.manifest);
            transaction.execute(
                "INSERT INTO stage_runs (run, pipeline, stage, fingerprint, kind, outcome, seconds,
                     reasons, metrics)
                 VALUES (?1, ?2, ?3, ?4, ?5, 'cached', 0, '[]', ?6)",
                (run, &pipeline, &stage, &name, manifest.kind.name(), super::json(&entry.metrics)),
            )?;
            let values = (&name, super::json(&params(manifest)));
            transaction.execute("INSERT OR IGNORE INTO actions VALUES (?1, ?2)", values)?;
        }
    }
    transaction.commit()
}
