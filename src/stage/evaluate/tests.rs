use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use rand::RngExt;
use rand_distr::StandardNormal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::random::generator;
use crate::stage::{Params as AnyParams, Progress, StageKind};

/// Keeps the warnings.
#[derive(Default)]
struct Quiet(Mutex<Vec<String>>);

impl Progress for Quiet {
    fn count(&self, _: &'static str, _: u64, _: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn step(&self, _: u64, _: &BTreeMap<String, f64>) -> ControlFlow<Stop> {
        ControlFlow::Continue(())
    }

    fn warn(&self, message: String) {
        self.0.lock().expect("nobody panicked").push(message);
    }
}

/// Raw data that was preprocessed and trained on, as a pipeline would.
struct Project {
    folder: TempDir,
    inputs: BTreeMap<String, PathBuf>,
}

impl Project {
    /// Makes two series in which the target is the product of two features plus noise, or noise
    /// alone; trains on them; and keeps the truth.
    fn new(learnable: bool, horizon: usize) -> Project {
        Project::of(
            learnable,
            json!({
                "target": "y", "window": 3, "horizon": horizon, "epochs": 25,
                "network": { "kind": "lstm", "units": [12] },
                "optimizer": { "kind": "adam", "learning_rate": 0.01 },
                "early_stopping": { "patience": 6 },
            }),
        )
    }

    fn of(learnable: bool, train: Value) -> Project {
        let folder = tempfile::tempdir().expect("a folder can be made");
        write_raw(folder.path(), learnable);
        let raw = folder.path().join("raw.parquet");
        let mut project = Project { folder, inputs: BTreeMap::new() };
        project.inputs.insert("data".to_owned(), raw);
        project.stage(
            StageKind::Preprocess,
            json!({
                "series": "id",
                "time": { "column": "at" },
                "one_hot": ["id"],
                "split": { "by": "time", "train": 0.6, "validation": 0.2, "test": 0.2 },
            }),
            &["train", "validation", "test", "transform"],
        );
        project.stage(StageKind::Train, train, &["model", "history"]);
        project
    }

    /// Runs a stage in a folder of its own and makes its outputs inputs.
    fn stage(&mut self, kind: StageKind, params: Value, names: &[&str]) {
        let params = AnyParams::from_value(kind, params).expect("the params are well-formed");
        let outputs = self.folder.path().join(kind.name());
        fs::create_dir(&outputs).expect("the folder can be made");
        let context = Context {
            inputs: &self.inputs,
            outputs: &outputs,
            checkpoint: &self.folder.path().join("checkpoint"),
            threads: 1,
            progress: &Quiet::default(),
        };
        crate::stage::run(&params, &context).expect("the stage runs");
        for spec in params.outputs().into_iter().filter(|spec| names.contains(&spec.name.as_str()))
        {
            let part = if kind == StageKind::Preprocess { "data." } else { "" };
            self.inputs.insert(format!("{part}{}", spec.name), outputs.join(spec.file));
        }
    }

    fn evaluate(&self, params: &Params) -> Result<Evaluated, Stop> {
        let outputs = tempfile::tempdir().expect("a folder can be made");
        let progress = Quiet::default();
        let context = Context {
            inputs: &self.inputs,
            outputs: outputs.path(),
            checkpoint: &self.folder.path().join("none"),
            threads: 2,
            progress: &progress,
        };
        let Finished { metrics: shown } = run(params, &context)?;
        let read = |spec: OutputSpec| {
            let bytes = fs::read(outputs.path().join(&spec.file)).expect("the output is there");
            (spec.name, bytes)
        };
        let files: BTreeMap<String, Vec<u8>> = params.outputs().into_iter().map(read).collect();
        let metrics: BTreeMap<String, f64> =
            serde_json::from_slice(&files["metrics"]).expect("the metrics are JSON");
        assert!(shown.iter().all(|(name, value)| metrics[name] == *value), "{shown:?}");
        let warnings = progress.0.into_inner().expect("nobody panicked");
        Ok(Evaluated { metrics, files, warnings, outputs })
    }
}

struct Evaluated {
    metrics: BTreeMap<String, f64>,
    files: BTreeMap<String, Vec<u8>>,
    warnings: Vec<String>,
    outputs: TempDir,
}

impl Evaluated {
    fn text(&self, name: &str) -> String {
        String::from_utf8(self.files[name].clone()).expect("it is text")
    }

    fn table(&self, file: &str) -> RecordBatch {
        let path = self.outputs.path().join(file);
        let mut batches = table::batches(&path, None).expect("it is a table");
        batches.next().expect("it has rows").expect("they can be read")
    }
}

fn write_raw(folder: &Path, learnable: bool) {
    let mut draws = generator(11, "raw", &[]);
    let (mut ids, mut times, mut means, mut targets) = (vec![], vec![], vec![], vec![]);
    let (mut left, mut right) = (vec![], vec![]);
    for step in 0..700_i64 {
        for id in ["one", "two"] {
            let (a, b): (f64, f64) = (draws.random(), draws.random());
            let noise: f64 = draws.sample(StandardNormal);
            let mean = if learnable { 5.0 + 10.0 * (a - 0.5) * (b - 0.5) } else { 5.0 };
            ids.push(id);
            times.push(1_700_000_000 + 600 * step);
            left.push(a);
            right.push(b);
            means.push(mean);
            targets.push(mean + 0.3 * noise);
        }
    }
    let numbers = |values: &Vec<f64>| -> ArrayRef { Arc::new(Float64Array::from(values.clone())) };
    let keys: [(&str, ArrayRef); 2] =
        [("id", Arc::new(StringArray::from(ids))), ("at", Arc::new(Int64Array::from(times)))];
    let write = |name: &str, columns: Vec<(&str, ArrayRef)>| {
        let batch = RecordBatch::try_from_iter(keys.clone().into_iter().chain(columns));
        let batch = batch.expect("the columns are of one length");
        table::write(&folder.join(name), batch.schema(), [Ok(batch)]).expect("it can be written");
    };
    write(
        "raw.parquet",
        vec![("a", numbers(&left)), ("b", numbers(&right)), ("y", numbers(&targets))],
    );
    write("truth.parquet", vec![("mean", numbers(&means))]);
}

#[test]
fn a_model_that_has_learnt_beats_every_baseline_and_nears_the_floor() {
    let mut project = Project::new(true, 0);
    let truth = project.folder.path().join("truth.parquet");
    project.inputs.insert("truth".to_owned(), truth);
    let params = Params { period: 6_000.0 };
    let evaluated = project.evaluate(&params).expect("it can be evaluated");
    let metrics = &evaluated.metrics;
    // 140 test rows a series, less the two before the first window and the one of its history.
    assert_eq!(metrics["rows"], 2.0 * (140.0 - 3.0));
    assert!((metrics["floor_rmse"] - 0.3).abs() < 0.05, "{metrics:?}");
    assert!(metrics["test_rmse"] > metrics["floor_rmse"], "{metrics:?}");
    assert!(metrics["explained_share"] > 0.8, "{metrics:?}");
    // A product of centred features is nothing to a linear model.
    assert!(metrics["ridge_explained_share"] < 0.1, "{metrics:?}");
    let report = evaluated.text("report");
    assert!(report.contains("**The model beats every baseline.**"), "{report}");
    assert!(report.contains("| the noise floor |"), "{report}");
    assert!(evaluated.warnings.is_empty());
    assert!(evaluated.text("history_plot").contains("validation loss"));
    assert!(evaluated.text("forecast_plot").contains("two"));

    let predictions = evaluated.table("predictions.parquet");
    assert_eq!(predictions.num_rows(), 274);
    let column = |name: &str| predictions.column_by_name(name).expect("the column is there");
    let actual = column("actual").as_primitive::<Float64Type>().values();
    let predicted = column("predicted").as_primitive::<Float64Type>().values();
    let rmse = scores(predicted, actual).expect("there are rows").rmse;
    assert!((rmse - metrics["test_rmse"]).abs() < 1e-12);
    let mean = actual.iter().sum::<f64>() / 274.0;
    assert!((mean - 5.0).abs() < 0.2, "{mean}");

    let names = evaluated.table("scores.parquet");
    let names: Vec<_> = names.column(0).as_string::<i32>().iter().flatten().collect();
    let all = ["model", "mean", "last_value", "seasonal_naive", "ridge", "noise_floor"];
    assert_eq!(names, all);

    let again = project.evaluate(&params).expect("it can be evaluated");
    assert_eq!(again.files, evaluated.files);
}

/// Masks the numbers of a text.
fn masked(text: &str) -> String {
    let is_number = |letter: char| letter.is_ascii_digit() || ".-+".contains(letter);
    let words: Vec<&str> = text.split(is_number).filter(|word| !word.is_empty()).collect();
    words.join("#")
}

/// The weights are fixed, so that no training is in it; but sums differ in their last bits between
/// instruction sets, so numbers are compared to four digits, and texts without theirs.
#[test]
fn the_results_are_those_of_this_version() {
    let bump =
        "the results changed: bump VERSION in src/stage/evaluate.rs and add a line of history";
    assert_eq!(VERSION, 2, "set the results of the new version here");
    let mut project = Project::new(true, 0);
    let folder = project.folder.path();
    let mut model = Model::load(&project.inputs["model"]).expect("it was written");
    let weight = |index: usize| (index * 37 % 101) as f32 / 101.0 - 0.5;
    model.weights = (0..model.weights.len()).map(weight).collect();
    let paths = ["fixed.safetensors", "fixed.parquet", "truth.parquet"].map(|one| folder.join(one));
    model.save(&paths[0]).expect("it can be written");
    let losses: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 0.3, 0.25]));
    let epochs: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let columns = [
        ("epoch", epochs),
        ("train_loss", losses.clone()),
        ("validation_loss", losses.clone()),
        ("learning_rate", losses),
    ];
    let history = RecordBatch::try_from_iter(columns).expect("they are of one length");
    table::write(&paths[1], history.schema(), [Ok(history)]).expect("it can be written");
    project.inputs.extend(["model", "history", "truth"].map(str::to_owned).into_iter().zip(paths));
    let evaluated = project.evaluate(&Params { period: 6_000.0 }).expect("it can be evaluated");

    let predictions = evaluated.table("predictions.parquet");
    let predicted = predictions.column(3).as_primitive::<Float64Type>().values();
    let own = (0..predicted.len()).step_by(90).map(|row| (format!("row {row}"), predicted[row]));
    let numbers: Vec<(String, f64)> = evaluated.metrics.clone().into_iter().chain(own).collect();
    let expected = [
        ("baselines_beaten", 0.0),
        ("explained_share", -2.19385),
        ("floor_rmse", 0.304_828),
        ("last_value_beaten", 0.0),
        ("last_value_mae", 1.00027),
        ("last_value_mape", 0.207_484),
        ("last_value_r2", -0.923_217),
        ("last_value_rmse", 1.2572),
        ("last_value_scaled_mae", 0.194_752),
        ("last_value_scaled_mse", 0.059_915),
        ("mean_beaten", 0.0),
        ("mean_mae", 0.701_897),
        ("mean_mape", 0.148_545),
        ("mean_r2", -2.5847e-5),
        ("mean_rmse", 0.906_556),
        ("mean_scaled_mae", 0.136_659),
        ("mean_scaled_mse", 0.031_154_4),
        ("ridge_beaten", 0.0),
        ("ridge_explained_share", -0.014_066_5),
        ("ridge_mae", 0.707_146),
        ("ridge_mape", 0.149_473),
        ("ridge_r2", -0.013_728_5),
        ("ridge_rmse", 0.912_746),
        ("ridge_scaled_mae", 0.137_681),
        ("ridge_scaled_mse", 0.031_581_2),
        ("rows", 274.0),
        ("seasonal_naive_beaten", 0.0),
        ("seasonal_naive_mae", 0.959_185),
        ("seasonal_naive_mape", 0.200_111),
        ("seasonal_naive_r2", -0.821_281),
        ("seasonal_naive_rmse", 1.22343),
        ("seasonal_naive_scaled_mae", 0.186_753),
        ("seasonal_naive_scaled_mse", 0.056_739_4),
        ("test_mae", 1.25595),
        ("test_mape", 0.248_209),
        ("test_r2", -1.94136),
        ("test_rmse", 1.55476),
        ("test_scaled_mae", 0.244_533),
        ("test_scaled_mse", 0.091_634),
        ("row 0", 3.13562),
        ("row 90", 3.5294),
        ("row 180", 5.03184),
        ("row 270", 5.53828),
    ];
    assert_eq!(numbers.len(), expected.len(), "{numbers:?}: {bump}");
    for ((name, value), (expected_name, expected)) in numbers.iter().zip(expected) {
        assert_eq!(name, expected_name, "{bump}");
        let near = (value - expected).abs() <= 1e-4 * expected.abs().max(1e-2);
        assert!(near, "{name}: {value}, not {expected}: {bump}");
    }
    let digests = ["report", "forecast_plot", "history_plot"].map(|name| {
        blake3::hash(masked(&evaluated.text(name)).as_bytes()).to_hex()[..16].to_owned()
    });
    let expected = ["a17f4afb83c9562b", "ddf445b63c305c7b", "a76ac6778ce32bf9"];
    assert_eq!(digests, expected, "{bump}");
    let columns = ["scores.parquet", "predictions.parquet"].map(|file| {
        let schema = evaluated.table(file).schema();
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(" ")
    });
    let expected = ["name rmse mae r2 mape scaled_mse rows", "series time actual predicted"];
    assert_eq!(columns, expected, "{bump}");
}

#[test]
fn a_model_of_noise_is_said_not_to_beat_the_mean() {
    let mut project = Project::new(false, 0);
    project.inputs.remove("history");
    let truth = project.folder.path().join("truth.parquet");
    project.inputs.insert("truth".to_owned(), truth);
    let evaluated = project.evaluate(&Params { period: 86_400.0 }).expect("it can be evaluated");
    assert_eq!(evaluated.metrics["mean_beaten"], 0.0);
    assert_eq!(evaluated.metrics["last_value_beaten"], 1.0);
    let report = evaluated.text("report");
    assert!(report.contains("**The model does not beat the mean"), "{report}");
    assert_eq!(evaluated.warnings.len(), 1);
    assert!(evaluated.text("history_plot").contains("no history was given"));
    // The truth is the same everywhere, so there is a floor but no share of what it leaves.
    assert!((evaluated.metrics["floor_rmse"] - 0.3).abs() < 0.05);
    assert!(!evaluated.metrics.contains_key("explained_share"));
    assert!(report.contains("There is nothing to explain"), "{report}");
}

#[test]
fn a_model_that_looks_ahead_is_scored_without_the_truth() {
    let mut project = Project::new(true, 2);
    let truth = project.folder.path().join("truth.parquet");
    project.inputs.insert("truth".to_owned(), truth);
    let evaluated = project.evaluate(&Params { period: 600.0 }).expect("it can be evaluated");
    assert_eq!(evaluated.metrics["rows"], 2.0 * (140.0 - 4.0));
    assert!(!evaluated.metrics.contains_key("floor_rmse"));
    assert!(evaluated.warnings[0].contains("the horizon is 2"));
    assert!(evaluated.text("report").contains("2 rows ahead"));
    // With a period of one row, the season before that is known is the last known value.
    let rmse = |name: &str| evaluated.metrics[name];
    assert_eq!(rmse("seasonal_naive_rmse"), rmse("last_value_rmse"));
}

#[test]
fn a_path_of_quantiles_is_scored_step_by_step_beside_the_baselines() {
    let project = Project::of(
        true,
        json!({
            "target": "y", "window": 3, "horizon": 4, "outputs": "path", "across_splits": true,
            "loss": "quantile", "quantiles": [0.05, 0.45, 0.95], "epochs": 20,
            "network": { "kind": "nlinear" },
            "optimizer": { "kind": "adam", "learning_rate": 0.01 },
        }),
    );
    let evaluated = project.evaluate(&Params { period: 86_400.0 }).expect("it can be evaluated");
    let metrics = &evaluated.metrics;
    // Every row of the test begins a path but the last three of each of the two series.
    let windows = 2 * (140 - 3);
    assert_eq!(metrics["rows"], 4.0 * f64::from(windows));
    let predictions = evaluated.table("predictions.parquet");
    let column =
        |name: &str| predictions.column_by_name(name).expect("the column is there").clone();
    let numbers = |name: &str| column(name).as_primitive::<Float64Type>().values().to_vec();
    let (actual, predicted) = (numbers("actual"), numbers("predicted"));
    let steps = column("step").as_primitive::<arrow::datatypes::UInt64Type>().values().to_vec();
    assert_eq!(steps[..5], [1, 2, 3, 4, 1]);
    assert_eq!(predicted, numbers("predicted_0.45"));
    let (low, high) = (numbers("predicted_0.05"), numbers("predicted_0.95"));
    let inside = (0..actual.len()).filter(|&row| (low[row]..=high[row]).contains(&actual[row]));
    let coverage = inside.count() as f64 / actual.len() as f64;
    assert_eq!(metrics["interval_coverage"], coverage);
    assert!((0.8..0.98).contains(&coverage), "{coverage}");
    let pinball = ["0.05", "0.45", "0.95"].map(|level| metrics[&format!("pinball_{level}")]);
    assert!((pinball.iter().sum::<f64>() / 3.0 - metrics["pinball"]).abs() < 1e-12);
    assert!((2.0 * pinball[1] / metrics["test_mae"] - 1.0).abs() < 0.2, "{metrics:?}");

    // The last value that a window knows is the first actual value of the one before.
    let first = |window: usize| actual[4 * window];
    let errors: Vec<f64> = (1..windows as usize)
        .filter(|window| *window != windows as usize / 2)
        .flat_map(|window| (0..4).map(move |step| (window, step)))
        .map(|(window, step)| (first(window - 1) - actual[4 * window + step]).powi(2))
        .collect();
    let rmse = (errors.iter().sum::<f64>() / errors.len() as f64).sqrt();
    assert!((metrics["last_value_rmse"] / rmse - 1.0).abs() < 0.02, "{rmse} {metrics:?}");

    let scored = evaluated.table("scores.parquet");
    assert_eq!(scored.num_rows(), 5 + 5 * 4);
    let of = |name: &str| {
        let column = scored.column_by_name(name).expect("the column is there");
        column.as_primitive::<Float64Type>().values().to_vec()
    };
    let (rmse, scaled) = (of("rmse"), of("scaled_mse"));
    // The model's mean squared error is the mean of those of its steps.
    let mean = rmse[5..9].iter().map(|rmse| rmse * rmse).sum::<f64>() / 4.0;
    assert!((mean.sqrt() - rmse[0]).abs() < 1e-12 && rmse[0] == metrics["test_rmse"]);
    assert_eq!(scaled[0], metrics["test_scaled_mse"]);
    assert!((scaled[0] / scaled[1] - (rmse[0] / rmse[1]).powi(2)).abs() < 1e-9);
    let report = evaluated.text("report");
    assert!(report.contains("| RMSE of step | 1 | 2 | 3 | 4 |"), "{report}");
    assert!(report.contains("the paths of 4 rows from 274 test windows"), "{report}");
    assert!(report.contains("should hold 90 % of the actual values"), "{report}");
    assert!(evaluated.text("forecast_plot").contains("interval"));
}

#[test]
fn what_does_not_belong_together_fails_with_a_way_out() {
    let mut project = Project::new(true, 0);
    let failure = |project: &Project| match project.evaluate(&Params { period: 60.0 }) {
        Err(Stop::Failed(failure)) => failure,
        _ => panic!("it must fail"),
    };
    let transform = project.inputs["data.transform"].clone();
    let text = fs::read_to_string(&transform).expect("it is there");
    fs::write(&transform, text.replace("\"one\"", "\"uno\"")).expect("it can be written");
    assert!(failure(&project).message.contains("transformed in another way"));
    fs::write(&transform, text).expect("it can be written");

    let path = project.folder.path().join("short.parquet");
    let raw = project.folder.path().join("truth.parquet");
    let batch = table::batches(&raw, None).expect("it is a table").next();
    let batch = batch.expect("it has rows").expect("they can be read").slice(0, 1_399);
    table::write(&path, batch.schema(), [Ok(batch)]).expect("it can be written");
    project.inputs.insert("truth".to_owned(), path);
    let failure = failure(&project);
    assert_eq!(failure.message, "the truth has no mean for `two` at 1700419400 s");
    assert!(failure.deterministic && failure.help.is_some());
}
