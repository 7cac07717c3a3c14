use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use arrow::array::StringArray;
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::data::transform::{Holds, Number, TRANSFORM_VERSION};
use crate::data::{Missing, Scale, TimeColumn, TimeUnit, Unseen};
use crate::random::generator;

mod device;

/// The variance of the noise in the target: the loss that no model can beat.
const NOISE: f64 = 0.01;

/// Preprocessed splits in a folder, and runs of `train` over them.
struct Project {
    folder: TempDir,
    inputs: BTreeMap<String, PathBuf>,
}

/// What a run said, and when it is to be stopped.
#[derive(Default)]
struct Heard {
    /// Breaks with this at that epoch.
    stop: Option<(u64, Stop)>,
    /// Breaks at the count of that number, within an epoch.
    cancel_at: Option<usize>,
    counts: Mutex<usize>,
    steps: Mutex<Vec<(u64, BTreeMap<String, f64>)>>,
    warnings: Mutex<Vec<String>>,
}

impl Progress for Heard {
    fn count(&self, _unit: &'static str, _done: u64, _total: u64) -> ControlFlow<()> {
        let mut counts = self.counts.lock().unwrap();
        *counts += 1;
        if self.cancel_at == Some(*counts) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn step(&self, step: u64, metrics: &BTreeMap<String, f64>) -> ControlFlow<Stop> {
        self.steps.lock().unwrap().push((step, metrics.clone()));
        match &self.stop {
            Some((at, stop)) if *at == step => ControlFlow::Break(stop.clone()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn warn(&self, message: String) {
        self.warnings.lock().unwrap().push(message);
    }
}

/// The bytes of a run's outputs by file, and its metrics.
type Outputs = (BTreeMap<String, Vec<u8>>, BTreeMap<String, f64>);

impl Project {
    /// Makes two series whose target follows its own past and the product of two features; `scale`
    /// multiplies it.
    fn new(scale: f64) -> Project {
        let folder = tempfile::tempdir().unwrap();
        let mut inputs = BTreeMap::new();
        for (number, (split, rows)) in [("train", 400), ("validation", 150)].into_iter().enumerate()
        {
            let path = folder.path().join(format!("{split}.parquet"));
            write_split(&path, number as u64, rows, scale);
            inputs.insert(format!("data.{split}"), path);
        }
        let path = folder.path().join("transform.json");
        transform().write(&path).unwrap();
        inputs.insert("data.transform".to_owned(), path);
        Project { folder, inputs }
    }

    fn run(&self, params: &Params, checkpoint: &str, heard: &Heard) -> Result<Outputs, Stop> {
        self.run_on(1, params, checkpoint, heard)
    }

    fn run_on(
        &self,
        threads: usize,
        params: &Params,
        checkpoint: &str,
        heard: &Heard,
    ) -> Result<Outputs, Stop> {
        let outputs = tempfile::tempdir().unwrap();
        let context = Context {
            inputs: &self.inputs,
            outputs: outputs.path(),
            checkpoint: &self.folder.path().join(checkpoint),
            threads,
            progress: heard,
        };
        let finished = run(params, &context)?;
        let read =
            |spec: OutputSpec| (spec.name, fs::read(outputs.path().join(spec.file)).unwrap());
        Ok((params.outputs().into_iter().map(read).collect(), finished.metrics))
    }
}

fn transform() -> Transform {
    let number = |column: &str| Number {
        column: column.to_owned(),
        holds: Holds::Floats,
        scaler: Scale::None,
        offset: 0.0,
        scale: 1.0,
        mean: 0.0,
    };
    Transform {
        version: TRANSFORM_VERSION,
        series: Some("series".to_owned()),
        time: TimeColumn { column: "time".to_owned(), unit: TimeUnit::S },
        features: ["x", "y", "z"].map(str::to_owned).to_vec(),
        numbers: ["x", "y", "z"].map(number).to_vec(),
        one_hot: Vec::new(),
        cyclical: Vec::new(),
        missing: Missing::Error,
        unseen: Unseen::Error,
    }
}

fn write_split(path: &Path, number: u64, rows: usize, scale: f64) {
    let mut generator = generator(11, "example", &[number]);
    let names = ["a", "b"];
    let [mut first, mut second, mut target] = [const { Vec::new() }; 3];
    let (mut times, mut series) = (Vec::new(), Vec::new());
    for name in names {
        let mut last = 0.0;
        for time in 0..rows {
            let (x, y): (f64, f64) =
                (generator.random_range(-1.0..1.0), generator.random_range(-1.0..1.0));
            let noise: f64 = StandardNormal.sample(&mut generator);
            last = 0.6 * last + x * y + NOISE.sqrt() * noise;
            first.push(x);
            second.push(y);
            target.push(scale * last);
            times.push(time as i64);
            series.push(name);
        }
    }
    let batch = RecordBatch::try_from_iter([
        ("series", Arc::new(StringArray::from(series)) as arrow::array::ArrayRef),
        ("time", Arc::new(Int64Array::from(times))),
        ("x", Arc::new(Float64Array::from(first))),
        ("y", Arc::new(Float64Array::from(second))),
        ("z", Arc::new(Float64Array::from(target))),
    ])
    .unwrap();
    table::write(path, batch.schema(), [Ok(batch)]).unwrap();
}

fn params(changes: Value) -> Params {
    let mut value = json!({
        "target": "z", "window": 5, "epochs": 4, "batch_size": 8, "seed": 3,
        "network": { "kind": "lstm", "units": [8, 6], "dropout": 0.2 },
        "optimizer": { "kind": "adam", "learning_rate": 0.01 },
        "schedule": { "kind": "reduce_on_plateau", "patience": 1 },
        "early_stopping": { "patience": 3 },
    });
    for (key, change) in changes.as_object().unwrap() {
        value[key] = change.clone();
    }
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_learnable_series_is_learnt_nearly_to_its_noise() {
    let project = Project::new(1.0);
    let params = params(json!({
        "epochs": 40, "early_stopping": { "patience": 40 },
        "network": { "kind": "lstm", "units": [16], "dropout": 0.0 },
    }));
    let (_, metrics) = project.run(&params, "learnt", &Heard::default()).unwrap();
    // The target's variance is about 0.19; one that saw no product of features would keep 0.12.
    let loss = metrics["validation_loss"];
    assert!(loss < 2.0 * NOISE, "{loss}");
    assert!(loss > 0.7 * NOISE, "{loss} is below the noise: the target leaks");
}

#[test]
fn a_seed_gives_its_bits_and_another_seed_others() {
    let project = Project::new(1.0);
    let run = |seed: u64, checkpoint: &str| {
        project.run(&params(json!({ "seed": seed })), checkpoint, &Heard::default()).unwrap()
    };
    let first = run(3, "one");
    assert_eq!(first, run(3, "two"));
    assert_ne!(first.0["model"], run(4, "three").0["model"]);
}

#[test]
fn other_trainings_beside_it_change_no_bit() {
    let project = &Project::new(1.0);
    let run = |seed: u64, checkpoint: &str| {
        project.run(&params(json!({ "seed": seed })), checkpoint, &Heard::default()).unwrap()
    };
    let alone: Vec<Outputs> = (0..4).map(|seed| run(seed, &format!("alone {seed}"))).collect();
    let beside: Vec<Outputs> = std::thread::scope(|scope| {
        let start = |seed| scope.spawn(move || run(seed, &format!("beside {seed}")));
        let threads: Vec<_> = (0..4).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(alone == beside, "a training's bits depend on others beside it");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let project = Project::new(1.0);
    for kind in ["lstm", "gru"] {
        // Odd sizes, and layers wide enough for their work to be shared.
        let network = json!({ "kind": kind, "units": [67, 61], "dropout": 0.2 });
        let params = params(json!({ "network": network, "batch_size": 37, "epochs": 1 }));
        let run = |threads: usize| {
            let checkpoint = format!("{kind} on {threads}");
            project.run_on(threads, &params, &checkpoint, &Heard::default()).unwrap()
        };
        let alone = run(1);
        for threads in [2, 3] {
            assert!(run(threads) == alone, "{kind}: {threads} threads gave other bits than one");
        }
    }
}

/// Weights differ in their last bits between instruction sets, so the curve is compared to three
/// digits.
#[test]
fn the_results_are_those_of_this_version() {
    let bump = "the results changed: bump VERSION in src/stage/train.rs and add a line of history";
    assert_eq!(VERSION, 2, "set the results of the new version here");
    let (_, metrics) = Project::new(1.0).run(&params(json!({})), "c", &Heard::default()).unwrap();
    let expected = [
        ("best_epoch", 4.0),
        ("epochs", 4.0),
        ("parameters", 751.0),
        ("train_loss", 0.0383),
        ("validation_loss", 0.018_66),
    ];
    for ((name, value), (expected_name, expected)) in metrics.iter().zip(expected) {
        assert_eq!(name, expected_name, "{bump}");
        assert!((value / expected - 1.0).abs() < 1e-3, "{name}: {value}, not {expected}: {bump}");
    }
    assert_eq!(metrics.len(), expected.len(), "{bump}");
}

#[test]
fn a_stopped_training_goes_on_to_the_bits_of_an_undisturbed_one() {
    let project = Project::new(1.0);
    let params = params(json!({}));
    let heard = Heard::default();
    let whole = project.run(&params, "whole", &heard).unwrap();
    let curve = heard.steps.into_inner().unwrap();
    assert_eq!(curve.len(), 4);

    // Stopped by a study after epoch 1, in the middle of epoch 3, and after the last.
    let pruned = Heard { stop: Some((1, Stop::Pruned)), ..Heard::default() };
    assert_eq!(project.run(&params, "part", &pruned), Err(Stop::Pruned));
    let cancelled = Heard { cancel_at: Some(5), ..Heard::default() };
    assert_eq!(project.run(&params, "part", &cancelled), Err(Stop::Cancelled));
    let steps = cancelled.steps.into_inner().unwrap();
    assert_eq!(steps.len(), 2, "the count that broke was within epoch 3");
    let last = Heard { stop: Some((4, Stop::Cancelled)), ..Heard::default() };
    assert_eq!(project.run(&params, "part", &last), Err(Stop::Cancelled));

    let heard = Heard::default();
    assert_eq!(project.run(&params, "part", &heard).unwrap(), whole);
    assert_eq!(heard.steps.into_inner().unwrap(), curve, "the whole curve is reported again");
}

#[test]
fn a_damaged_or_foreign_checkpoint_is_said_and_not_used() {
    let project = Project::new(1.0);
    let whole = project.run(&params(json!({})), "whole", &Heard::default()).unwrap();
    let file = project.folder.path().join("whole/state.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&file, bytes).unwrap();
    let heard = Heard::default();
    assert_eq!(project.run(&params(json!({})), "whole", &heard).unwrap(), whole);
    assert!(heard.warnings.lock().unwrap()[0].ends_with("training begins anew"));

    // What the first left is of other params.
    let other = params(json!({ "seed": 9 }));
    let expected = project.run(&other, "other", &Heard::default()).unwrap();
    let heard = Heard::default();
    assert_eq!(project.run(&other, "whole", &heard).unwrap(), expected);
    assert_eq!(heard.warnings.lock().unwrap().len(), 1);
}

#[test]
fn early_stopping_ends_soon_and_restores_the_best_epoch() {
    let project = Project::new(1.0);
    let params = params(json!({
        "epochs": 60, "optimizer": { "kind": "adam", "learning_rate": 0.1 },
        "schedule": { "kind": "constant" }, "early_stopping": { "patience": 2 },
    }));
    let heard = Heard::default();
    let (outputs, metrics) = project.run(&params, "stopped", &heard).unwrap();
    let losses: Vec<f64> =
        heard.steps.lock().unwrap().iter().map(|(_, metrics)| metrics["validation_loss"]).collect();
    let best = losses.iter().copied().fold(f64::INFINITY, f64::min);
    assert_eq!(metrics["validation_loss"], best);
    assert_eq!(metrics["epochs"], losses.len() as f64);
    assert_eq!(metrics["best_epoch"], (losses.len() - 2) as f64);
    assert!(losses.len() < 60);

    let path = project.folder.path().join("model");
    fs::write(&path, &outputs["model"]).unwrap();
    let model = Model::load(&path).unwrap();
    let validation =
        Windows::read(&project.inputs["data.validation"], &model.window_spec()).unwrap();
    let actual: Vec<f32> =
        (0..validation.len()).flat_map(|window| validation.actual(window)).copied().collect();
    let predicted = model.predict(&validation).unwrap();
    assert_eq!(Loss::Mse.of_slices(&predicted, &actual, &[]), best);
}

#[test]
fn a_loss_that_is_no_number_fails_with_its_place_and_a_way_out() {
    let project = Project::new(1e25);
    let Err(Stop::Failed(failure)) = project.run(&params(json!({})), "nan", &Heard::default())
    else {
        panic!("the loss of targets of 1e25 is finite")
    };
    assert_eq!(failure.message, "epoch 1, batch 1: the loss is not a finite number");
    assert!(failure.deterministic);
    assert!(failure.help.unwrap().contains("gradient_clip"));
}

#[test]
fn a_window_longer_than_any_series_fails_before_training() {
    let project = Project::new(1.0);
    let params = params(json!({ "window": 150 }));
    let Err(Stop::Failed(failure)) = project.run(&params, "long", &Heard::default()) else {
        panic!("a window of 150 rows and one for history in a series of 150")
    };
    assert_eq!(failure.message, "no series of the validation rows is long enough for a window");
    let help = failure.help.expect("a way out");
    assert!(help.contains("across_splits"), "{help}");
    // Both splits number their times from 0, so their rows do not follow each other.
    let params = self::params(json!({ "window": 150, "across_splits": true }));
    let Err(Stop::Failed(failure)) = project.run(&params, "long", &Heard::default()) else {
        panic!("validation rows of the time of train rows")
    };
    assert!(failure.message.contains("not earlier"), "{}", failure.message);
}

/// Every network learns something of a target that follows its own past.
#[test]
fn every_network_learns_and_keeps_what_it_learnt() {
    let project = Project::new(1.0);
    let path = json!({ "horizon": 2, "outputs": "path", "epochs": 30, "loss": "mse" });
    let quantiles = json!({
        "horizon": 2, "outputs": "path", "epochs": 30, "loss": "quantile", "quantiles": [0.2, 0.5, 0.9]
    });
    let networks = [
        (json!({ "kind": "gru", "units": [6, 4], "dropout": 0.1 }), &path, 2),
        (json!({ "kind": "lstm", "units": [5], "bidirectional": true }), &path, 2),
        (json!({ "kind": "mlp", "units": [12], "dropout": 0.1 }), &path, 2),
        (json!({ "kind": "dlinear", "average": 3 }), &path, 2),
        (json!({ "kind": "nlinear" }), &path, 2),
        (json!({ "kind": "nlinear" }), &quantiles, 6),
    ];
    for (network, changes, outputs) in networks {
        let mut changes = changes.clone();
        changes["network"] = network.clone();
        let name = format!("{network} {outputs}");
        let (files, metrics) = project.run(&params(changes), &name, &Heard::default()).unwrap();
        let path = project.folder.path().join("model");
        fs::write(&path, &files["model"]).unwrap();
        let model = Model::load(&path).unwrap();
        let spec = model.window_spec();
        let validation = Windows::read(&project.inputs["data.validation"], &spec).unwrap();
        let predicted = model.predict(&validation).unwrap();
        assert_eq!(predicted.len(), outputs * validation.len());
        let actual: Vec<f32> =
            (0..validation.len()).flat_map(|window| validation.actual(window)).copied().collect();
        let loss = if outputs == 6 { Loss::Quantile } else { Loss::Mse };
        let own = loss.of_slices(&predicted, &actual, &model.card.quantiles);
        let last =
            |window: usize| *validation.inputs_of_row(validation.last_row(window)).last().unwrap();
        let naive: Vec<f32> =
            (0..validation.len()).flat_map(|window| vec![last(window); outputs]).collect();
        let naive = loss.of_slices(&naive, &actual, &model.card.quantiles);
        assert!(own < 0.95 * naive, "{name}: {own} where the last value has {naive}");
        // Quantiles that crossed are put in order, which never makes the loss larger.
        let expected = metrics["validation_loss"];
        let same = (own - expected).abs() < 1e-12 || loss == Loss::Quantile && own <= expected;
        assert!(same, "{name}: {own}, not {expected}");
        let rises = |quantiles: &[f32]| quantiles.is_sorted();
        assert!(predicted.chunks_exact(model.card.quantiles.len().max(1)).all(rises));
    }
}

#[test]
fn params_that_make_no_sense_are_issues() {
    let paths = |changes: Value| -> Vec<String> {
        params(changes).check().into_iter().map(|issue| issue.path).collect()
    };
    assert!(paths(json!({})).is_empty());
    assert_eq!(paths(json!({ "features": ["x", "z"] })), ["features"]);
    assert_eq!(paths(json!({ "features": [], "target_history": false })), ["features"]);
    assert_eq!(paths(json!({ "warmup_epochs": 4 })), ["warmup_epochs"]);
    let flat = json!({ "schedule": { "kind": "reduce_on_plateau", "factor": 1.0 } });
    assert_eq!(paths(flat), ["schedule.factor"]);
    let messages = |changes: Value| -> Vec<(String, String)> {
        let issues = params(changes).check();
        assert!(issues.iter().all(|issue| issue.help.is_some()));
        issues.into_iter().map(|issue| (issue.path, issue.message)).collect()
    };
    let one = |changes: Value, path: &str, words: &str| {
        let found = messages(changes);
        assert!(found.len() == 1 && found[0].0 == path && found[0].1.contains(words), "{found:?}");
    };
    let nlinear = json!({ "kind": "nlinear" });
    one(json!({ "network": nlinear, "target_history": false }), "network", "last value");
    let even = json!({ "network": { "kind": "dlinear", "average": 24 } });
    one(even, "network.average", "24 rows");
    one(json!({ "features": ["x", "y", "x"] }), "features", "`x` is among the features twice");
    one(json!({ "outputs": "path" }), "outputs", "horizon of 0");
    one(json!({ "loss": "quantile" }), "quantiles", "needs `quantiles`");
    one(json!({ "quantiles": [0.5] }), "quantiles", "`loss: quantile` alone");
    one(json!({ "loss": "quantile", "quantiles": [0.0, 0.5] }), "quantiles", "between 0 and 1");
    one(json!({ "loss": "quantile", "quantiles": [0.5, 0.5] }), "quantiles", "rise");
    let sound =
        json!({ "loss": "quantile", "quantiles": [0.1, 0.9], "horizon": 2, "outputs": "path" });
    assert!(paths(sound).is_empty());
}
