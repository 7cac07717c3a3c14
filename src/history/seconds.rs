//! How long stages and actions took when they last ran.

use std::collections::HashMap;

use super::History;
use crate::fingerprint::Fingerprint;

impl History {
    /// Gives how long each stage of a pipeline took when it last ran, by name, in seconds; nothing
    /// of what never ran, and nothing at all where the history cannot be read.
    pub fn last_seconds(&self, pipeline: &str) -> HashMap<String, f64> {
        // SQLite takes the other columns from the row that has the maximum.
        let sql = "SELECT stage, seconds, max(rowid) FROM stage_runs
                   WHERE pipeline = ?1 AND outcome = 'ran' GROUP BY stage";
        let found = self.ask(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([pipeline], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        });
        found.unwrap_or_default()
    }

    /// Gives the seconds that each action took when it last ran, as far as it ran as a stage: for
    /// whoever weighs what is dear to run again.
    pub fn durations(&self) -> HashMap<Fingerprint, f64> {
        let sql = "SELECT fingerprint, seconds, max(rowid) FROM stage_runs
                   WHERE outcome = 'ran' AND fingerprint IS NOT NULL GROUP BY fingerprint";
        let found: Option<Vec<(String, f64)>> = self.ask(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect()
        });
        let known =
            |(name, seconds): (String, f64)| Some((Fingerprint(name.parse().ok()?), seconds));
        found.into_iter().flatten().filter_map(known).collect()
    }
}
