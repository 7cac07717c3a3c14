//! How long stages took when they last ran.

use std::collections::HashMap;

use rusqlite::Connection;

use super::{History, connect};

impl History {
    /// Gives how long each stage of a pipeline took when it last ran, by name, in seconds; nothing
    /// of what never ran, and nothing at all where the history cannot be read.
    pub fn last_seconds(&self, pipeline: &str) -> HashMap<String, f64> {
        let mut reader = self.reader.borrow_mut();
        if reader.is_none() {
            *reader = connect(&self.path, self.writer.is_none()).ok();
        }
        let found = reader.as_ref().map(|connection| query(connection, pipeline));
        found.and_then(Result::ok).unwrap_or_else(|| {
            // It is perhaps being made or set aside by the writer: the next look opens it anew.
            *reader = None;
            HashMap::new()
        })
    }
}

fn query(connection: &Connection, pipeline: &str) -> rusqlite::Result<HashMap<String, f64>> {
    let mut statement = connection.prepare_cached(
        "SELECT stage, seconds FROM stage_runs WHERE pipeline = ?1 AND outcome = 'ran'
         ORDER BY rowid",
    )?;
    let rows = statement.query_map([pipeline], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // Of several runs the last stays.
    rows.collect()
}
