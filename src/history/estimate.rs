//! How long a stage or a trial will take, by how long it took.

use rusqlite::Connection;

use super::History;

/// Earlier runs that are looked at: enough for a median, and few enough to follow a change.
const RUNS: u32 = 9;

/// Earlier trials that are looked at.
const TRIALS: u32 = 99;

/// How long something took.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Times {
    /// The median, in seconds.
    pub seconds: f64,
    /// The shortest of them.
    pub shortest: f64,
    /// The longest of them.
    pub longest: f64,
    /// How many there are.
    pub runs: usize,
}

impl Times {
    /// Sums up durations in seconds; `None` where there is none.
    pub fn of(mut seconds: Vec<f64>) -> Option<Times> {
        seconds.sort_by(f64::total_cmp);
        let runs = seconds.len();
        let (shortest, longest) = (*seconds.first()?, *seconds.last()?);
        let median = f64::midpoint(seconds[(runs - 1) / 2], seconds[runs / 2]);
        Some(Times { seconds: median, shortest, longest, runs })
    }
}

impl History {
    /// Sums up how long the latest runs of a stage took, as long as it was of this kind.
    pub fn times(&self, pipeline: &str, stage: &str, kind: &str) -> Option<Times> {
        let sql = "SELECT seconds FROM stage_runs
                   WHERE pipeline = ?1 AND stage = ?2 AND outcome = 'ran'
                     AND (kind IS NULL OR kind = ?3)
                   ORDER BY rowid DESC LIMIT ?4";
        self.ask(|connection| seconds(connection, sql, (pipeline, stage, kind, RUNS)))
            .or_else(|| {
                // A file of the first version has no kinds.
                let sql = "SELECT seconds FROM stage_runs
                           WHERE pipeline = ?1 AND stage = ?2 AND outcome = 'ran'
                           ORDER BY rowid DESC LIMIT ?3";
                self.ask(|connection| seconds(connection, sql, (pipeline, stage, RUNS)))
            })
            .and_then(Times::of)
    }

    /// Sums up how long the latest trials of a tune stage took that ran, to their end or not.
    pub fn trial_times(&self, pipeline: &str, stage: &str) -> Option<Times> {
        let sql = "SELECT seconds FROM trials
                   WHERE pipeline = ?1 AND stage = ?2 AND outcome IN ('ran', 'pruned')
                   ORDER BY run DESC, rowid DESC LIMIT ?3";
        let found = self.ask(|connection| seconds(connection, sql, (pipeline, stage, TRIALS)));
        found.and_then(Times::of)
    }
}

fn seconds(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> rusqlite::Result<Vec<f64>> {
    connection.prepare_cached(sql)?.query_map(values, |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn the_median_is_between_the_ends() {
        let times = Times::of(vec![9.0, 1.0, 2.0, 4.0]).unwrap();
        assert_eq!(times, Times { seconds: 3.0, shortest: 1.0, longest: 9.0, runs: 4 });
        assert_eq!(Times::of(vec![]), None);
    }
}
