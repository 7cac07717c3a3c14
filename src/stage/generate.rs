//! The `generate` kind: makes a data set, and the means that no model of it can beat.
//!
//! Knows which data sets there are; how their rows come about is told where they are made, in
//! `data`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Finished, OutputSpec, ParamIssue, Stop};
use crate::data::lambda;
pub use crate::data::lambda::Profile;

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The params of a `generate` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The data set to make.
    pub dataset: Dataset,
    /// How its values come about.
    #[serde(default)]
    pub profile: Profile,
    /// Rows in all, dealt evenly to the functions; of a remainder the first have one row each.
    #[schemars(range(min = 1, max = 1_000_000_000_000_u64))]
    pub rows: u64,
    /// How many functions there are.
    #[serde(default = "default_functions")]
    #[schemars(range(min = 1, max = 100_000))]
    pub functions: u32,
    /// Seconds between two rows of a function.
    #[serde(default = "default_interval")]
    #[schemars(range(min = 1, max = 86_400))]
    pub interval: u32,
    /// The time of the first row, in seconds since 1970 (by default Monday 2024-01-01).
    #[serde(default = "default_start")]
    #[schemars(range(min = 0, max = 32_503_680_000_i64))]
    pub start: i64,
    /// The seed of all that is drawn.
    #[serde(default)]
    pub seed: u64,
}

/// The data sets that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Dataset {
    /// Metrics of serverless functions like those of AWS Lambda.
    Lambda,
}

fn default_functions() -> u32 {
    5
}

fn default_interval() -> u32 {
    300
}

fn default_start() -> i64 {
    1_704_067_200
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        Vec::new()
    }

    /// Gives `data`, the rows, and `truth`, what no model can beat.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        vec![OutputSpec::new("data", "data.parquet"), OutputSpec::new("truth", "truth.parquet")]
    }
}

/// Makes the data set; the metrics count its rows, and of these the cold starts, throttled ones
/// and errors, and say what share of the variance of the response time is noise.
///
/// # Errors
///
/// [`Stop`] where a file cannot be written or the run is cancelled.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    let Params { dataset: Dataset::Lambda, profile, rows, functions, interval, start, seed } =
        *params;
    let spec = lambda::Spec { profile, rows, functions, interval, start, seed };
    let [data, truth] = ["data.parquet", "truth.parquet"].map(|file| context.outputs.join(file));
    let count = |done| context.progress.count("rows", done, rows);
    let summary = lambda::write(&spec, &data, &truth, context.threads, &count)?;
    let counts = [
        ("rows", summary.rows),
        ("cold_starts", summary.cold_starts),
        ("throttled", summary.throttled),
        ("errors", summary.errors),
    ];
    let mut metrics: BTreeMap<String, f64> =
        counts.into_iter().map(|(name, count)| (name.to_owned(), count as f64)).collect();
    if let Some(share) = summary.noise_share() {
        metrics.insert("noise_share".to_owned(), share);
    }
    Ok(Finished { metrics })
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::path::Path;
    use std::sync::Mutex;

    use super::*;
    use crate::data::table;
    use crate::stage::Progress;

    /// Remembers what was counted, and breaks at the first count if it is to cancel.
    struct Listener {
        cancel: bool,
        counts: Mutex<Vec<(u64, u64)>>,
    }

    impl Progress for Listener {
        fn count(&self, _: &'static str, done: u64, total: u64) -> ControlFlow<()> {
            self.counts.lock().unwrap().push((done, total));
            if self.cancel { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }

        fn step(&self, _: u64, _: &BTreeMap<String, f64>) -> ControlFlow<Stop> {
            ControlFlow::Continue(())
        }

        fn warn(&self, _: String) {}
    }

    fn generate(profile: &str, listener: &Listener, folder: &Path) -> Result<Finished, Stop> {
        let value =
            serde_json::json!({ "dataset": "lambda", "rows": 1003, "seed": 7, "profile": profile });
        let params: Params = serde_json::from_value(value).unwrap();
        let inputs = BTreeMap::new();
        let context = Context {
            inputs: &inputs,
            outputs: folder,
            checkpoint: folder,
            threads: 2,
            progress: listener,
        };
        run(&params, &context)
    }

    /// Hashes a table's content as CSV: what a reader sees, whatever Parquet makes of it.
    fn digest(path: &Path) -> String {
        let mut writer = arrow::csv::Writer::new(blake3::Hasher::new());
        for batch in table::batches(path, None).unwrap() {
            writer.write(&batch.unwrap()).unwrap();
        }
        writer.into_inner().finalize().to_hex()[..16].to_owned()
    }

    #[test]
    fn the_content_is_that_of_this_version() {
        let bump =
            "the results changed: bump VERSION in src/stage/generate.rs and add a line of history";
        assert_eq!(VERSION, 1, "set the content of the new version here");
        let golden = [
            ("workload", "21023f19c3df5f18", "394673ab6eadaa5b"),
            ("uniform", "aa21f3e66f54a1ea", "6dd9671f36950c57"),
        ];
        for (profile, data, truth) in golden {
            let folder = tempfile::tempdir().unwrap();
            let listener = Listener { cancel: false, counts: Mutex::default() };
            let finished = generate(profile, &listener, folder.path()).unwrap();
            assert_eq!(finished.metrics["rows"], 1003.0);
            assert_eq!(listener.counts.into_inner().unwrap().last(), Some(&(1003, 1003)));
            let digests =
                ["data.parquet", "truth.parquet"].map(|file| digest(&folder.path().join(file)));
            assert_eq!(digests, [data, truth], "{profile}: {bump}");
        }
    }

    #[test]
    fn a_break_cancels() {
        let folder = tempfile::tempdir().unwrap();
        let listener = Listener { cancel: true, counts: Mutex::default() };
        assert_eq!(generate("workload", &listener, folder.path()), Err(Stop::Cancelled));
    }
}
