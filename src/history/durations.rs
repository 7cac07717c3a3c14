//! How long actions took, for whoever weighs what is dear to run again.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{History, connect};
use crate::fingerprint::Fingerprint;

impl History {
    /// Gives the seconds that each action took when it last ran, as far as it ran as a stage.
    pub fn durations(&self) -> HashMap<Fingerprint, f64> {
        let read = |connection: Connection| -> rusqlite::Result<HashMap<Fingerprint, f64>> {
            let mut statement = connection.prepare(
                "SELECT fingerprint, seconds FROM stage_runs
                 WHERE outcome = 'ran' AND fingerprint IS NOT NULL ORDER BY rowid",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let known = |(fingerprint, seconds): (String, f64)| {
                Some((Fingerprint(fingerprint.parse().ok()?), seconds))
            };
            Ok(rows.filter_map(Result::ok).filter_map(known).collect())
        };
        connect(&self.path, true).and_then(read).unwrap_or_default()
    }
}
