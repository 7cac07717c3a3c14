//! The `train` kind: trains a network on windows of a preprocessed table.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Context, Failure, Finished, InputSpec, OutputSpec, Progress, Stop};
use crate::data::table;
use crate::data::transform::Transform;
use crate::data::window::{WindowSpec, Windows};
use crate::model::checkpoint;
use crate::model::file::Model;
use crate::model::team;
use crate::model::trainer::{self, Ended, Epoch, Listener, State, TrainConfig};
use crate::model::{Device, EarlyStopping, Loss, Network, Optimizer, Outputs, Schedule};

mod check;
mod work;

/// The version of the kind's results. 1: the first. 2: recurrent layers add up in another order.
pub const VERSION: u32 = 2;

/// The inputs of a `train` stage.
pub const INPUTS: &[InputSpec] = &[InputSpec {
    name: "data",
    required: true,
    parts: &["train", "validation", "transform"],
    doc: "A `preprocess` stage.",
}];

/// The params of a `train` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The column to predict, by its name before preprocessing.
    pub target: String,
    /// The feature columns, by their names after preprocessing; unless given, all but the target.
    #[serde(default)]
    pub features: Option<Vec<String>>,
    /// Rows that a prediction sees.
    #[serde(default = "default_window")]
    #[schemars(range(min = 1, max = 100_000))]
    pub window: usize,
    /// How many rows ahead of the window's last row the predicted one is; 0 is that row itself.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000))]
    pub horizon: usize,
    /// Which rows a window predicts, up to `horizon` rows after its last.
    #[serde(default)]
    pub outputs: Outputs,
    /// Whether past values of the target are features; they end one row before the predicted row.
    #[serde(default = "yes")]
    pub target_history: bool,
    /// Whether windows of the validation rows may begin in the train rows, and those of the test
    /// rows in the validation rows. What is predicted always lies in the split itself.
    #[serde(default)]
    pub across_splits: bool,
    /// The network.
    pub network: Network,
    /// The optimizer of the weights.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// How the learning rate changes from epoch to epoch.
    #[serde(default)]
    pub schedule: Schedule,
    /// Epochs over which the learning rate rises to its full value first.
    #[serde(default)]
    pub warmup_epochs: u64,
    /// What is minimised.
    #[serde(default)]
    pub loss: Loss,
    /// The quantiles to predict under `loss: quantile`, rising, such as `[0.1, 0.5, 0.9]`.
    #[serde(default)]
    #[schemars(inner(range(min = 0.0, max = 1.0)))]
    pub quantiles: Vec<f64>,
    /// The largest norm of a step's gradient; a longer one is scaled down to it.
    #[serde(default)]
    #[schemars(range(min = 1e-12))]
    pub gradient_clip: Option<f64>,
    /// When training ends before its last epoch; never unless given.
    #[serde(default)]
    pub early_stopping: Option<EarlyStopping>,
    /// Windows a step.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch_size: usize,
    /// Passes over the train windows, at most.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub epochs: u64,
    /// What computes the training.
    #[serde(default)]
    pub device: Device,
    /// The seed of initial weights, dropout and the order of batches.
    #[serde(default)]
    pub seed: u64,
}

fn default_window() -> usize {
    24
}

fn yes() -> bool {
    true
}

fn default_batch_size() -> usize {
    32
}

fn default_epochs() -> u64 {
    12
}

impl Params {
    /// Gives the model, the curve of its training, and its metrics.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("model", "model.safetensors"),
            OutputSpec::new("history", "history.parquet"),
            OutputSpec::new("metrics", "metrics.json"),
        ]
    }

    fn window_spec(&self, transform: &Transform) -> WindowSpec {
        WindowSpec {
            series: transform.series.clone(),
            time: transform.time.clone(),
            target: self.target.clone(),
            features: self.features.clone(),
            window: self.window,
            horizon: self.horizon,
            steps: self.outputs.steps(self.horizon),
            target_history: self.target_history,
        }
    }

    fn config(&self) -> TrainConfig {
        TrainConfig {
            device: self.device,
            network: self.network.clone(),
            optimizer: self.optimizer.clone(),
            schedule: self.schedule.clone(),
            warmup_epochs: self.warmup_epochs,
            loss: self.loss,
            quantiles: self.quantiles.clone(),
            gradient_clip: self.gradient_clip,
            early_stopping: self.early_stopping.clone(),
            batch_size: self.batch_size,
            epochs: self.epochs,
            seed: self.seed,
        }
    }
}

/// Trains the network and writes the model, the history and the metrics.
///
/// Each epoch leaves a checkpoint from which a later run goes on to the same bits; the epochs that
/// it holds are reported again first, so that whoever follows the curve sees all of it.
///
/// # Errors
///
/// [`Stop`] where the data does not fit the params, the loss is NaN, or a study prunes it.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    let transform = Transform::read(context.input("data.transform")?)?;
    // What is predicted must be a number that can be turned back into its own units.
    transform.number(&params.target)?;
    let spec = params.window_spec(&transform);
    let train = context.input("data.train")?;
    let windows = read(None, train, "train", &spec)?;
    let before = params.across_splits.then_some(train);
    let validation = read(before, context.input("data.validation")?, "validation", &spec)?;
    let config = params.config();
    let key = key(&config, &windows, &validation);
    let mut reporter = Reporter { context, key: &key, epochs: params.epochs };
    let state = match checkpoint::load(context.checkpoint, &key) {
        Ok(Some(state)) => state,
        Ok(None) => State::new(&config, config.sizes(&windows)),
        Err(error) => {
            context.progress.warn(format!("{error}; training begins anew"));
            State::new(&config, config.sizes(&windows))
        }
    };
    if !state.curve.is_empty() {
        tracing::info!(epochs = state.curve.len(), "goes on from its checkpoint");
    }
    for (epoch, done) in (1..).zip(&state.curve) {
        reporter.report(epoch, done)?;
    }
    if let ControlFlow::Break(stop) = reporter.tick(state.curve.len() as u64 + 1) {
        return Err(stop);
    }
    let train = || trainer::train(&config, &windows, &validation, state, &mut reporter);
    let state = team::with(context.threads, train).map_err(|ended| stop(ended, params))?;
    let (epoch, weights) = state.result(params.early_stopping.as_ref());
    let metrics = metrics(&state, epoch);
    let mut model = Model::new(
        &params.network,
        &windows,
        params.outputs,
        &params.quantiles,
        transform,
        weights.to_vec(),
    );
    model.card.across_splits = params.across_splits;
    let write = |error: &dyn std::fmt::Display| Failure::new(error.to_string());
    model.save(&context.outputs.join("model.safetensors")).map_err(|error| write(&error))?;
    write_history(&context.outputs.join("history.parquet"), &state.curve)?;
    let path = context.outputs.join("metrics.json");
    // A map of numbers serializes; its keys are sorted.
    let json = serde_json::to_string_pretty(&metrics).expect("numbers serialize to JSON") + "\n";
    fs::write(&path, json).map_err(|error| file_failure(&path, "write the metrics", &error))?;
    Ok(Finished { metrics })
}

/// Reports epochs and writes checkpoints.
struct Reporter<'a> {
    context: &'a Context<'a>,
    key: &'a str,
    epochs: u64,
}

impl Reporter<'_> {
    /// Reports an epoch that is done; an error where the run is to stop there.
    fn report(&self, epoch: u64, done: &Epoch) -> Result<(), Stop> {
        let progress: &dyn Progress = self.context.progress;
        let metrics = BTreeMap::from([
            ("learning_rate".to_owned(), done.learning_rate),
            ("train_loss".to_owned(), done.train_loss),
            ("validation_loss".to_owned(), done.validation_loss),
        ]);
        if let ControlFlow::Break(stop) = progress.step(epoch, &metrics) {
            return Err(stop);
        }
        match progress.count("epochs", epoch, self.epochs) {
            ControlFlow::Break(()) => Err(Stop::Cancelled),
            ControlFlow::Continue(()) => Ok(()),
        }
    }
}

impl Listener<Stop> for Reporter<'_> {
    fn tick(&mut self, epoch: u64) -> ControlFlow<Stop> {
        self.context
            .progress
            .count("epochs", epoch - 1, self.epochs)
            .map_break(|()| Stop::Cancelled)
    }

    fn epoch(&mut self, state: &State) -> ControlFlow<Stop> {
        if let Err(error) = checkpoint::save(self.context.checkpoint, self.key, state) {
            self.context.progress.warn(format!("{error}; a later run cannot go on from here"));
        }
        let last = state.curve.len();
        match self.report(last as u64, &state.curve[last - 1]) {
            Ok(()) => ControlFlow::Continue(()),
            Err(stop) => ControlFlow::Break(stop),
        }
    }
}

fn read(
    before: Option<&Path>,
    path: &Path,
    split: &str,
    spec: &WindowSpec,
) -> Result<Windows, Stop> {
    let windows = match before {
        Some(before) => Windows::read_after(before, path, spec)?,
        None => Windows::read(path, spec)?,
    };
    if windows.is_empty() {
        let rows = spec.window + spec.horizon;
        let message = format!("no series of the {split} rows is long enough for a window");
        let help = format!(
            "a series needs {rows} rows and one more for the target's history: lower `window` or \
             `horizon`, give the split more rows, or let its windows begin in the split before by \
             `across_splits: true`"
        );
        return Err(Failure::new(message).help(help).deterministic().into());
    }
    Ok(windows)
}

/// Identifies a training, so that no other's checkpoint is taken for its own.
fn key(config: &TrainConfig, windows: &Windows, validation: &Windows) -> String {
    let data = (format!("{:?}", windows.spec()), windows.features(), validation.len());
    // Plain data with string keys, which JSON can always hold.
    serde_json::to_string(&(VERSION, config, data)).expect("a config serializes to JSON")
}

fn metrics(state: &State, epoch: u64) -> BTreeMap<String, f64> {
    let done = usize::try_from(epoch).ok().and_then(|epoch| state.curve.get(epoch.checked_sub(1)?));
    let mut metrics = BTreeMap::from([
        ("best_epoch".to_owned(), state.best_epoch().unwrap_or(0) as f64),
        ("epochs".to_owned(), state.curve.len() as f64),
        ("parameters".to_owned(), state.weights.len() as f64),
    ]);
    if let Some(done) = done {
        metrics.insert("train_loss".to_owned(), done.train_loss);
        metrics.insert("validation_loss".to_owned(), done.validation_loss);
    }
    metrics
}

fn write_history(path: &Path, curve: &[Epoch]) -> Result<(), Stop> {
    let number = |name: &str| Field::new(name, DataType::Float64, false);
    let schema = Arc::new(Schema::new(vec![
        Field::new("epoch", DataType::Int64, false),
        number("train_loss"),
        number("validation_loss"),
        number("learning_rate"),
    ]));
    let column =
        |of: fn(&Epoch) -> f64| Arc::new(Float64Array::from_iter_values(curve.iter().map(of)));
    let batch = RecordBatch::try_new(
        schema.clone(),
        vec![
            Arc::new(Int64Array::from_iter_values(1..=curve.len() as i64)),
            column(|epoch| epoch.train_loss),
            column(|epoch| epoch.validation_loss),
            column(|epoch| epoch.learning_rate),
        ],
    );
    let batch = batch.map_err(|error| Failure::new(format!("cannot make the history: {error}")))?;
    table::write(path, schema, [Ok(batch)])?;
    Ok(())
}

fn stop(ended: Ended<Stop>, params: &Params) -> Stop {
    let (epoch, batch) = match ended {
        Ended::Broken(stop) => return stop,
        Ended::NotFinite { epoch, batch } => (epoch, batch),
    };
    let place = match batch {
        Some(batch) => format!("epoch {epoch}, batch {batch}"),
        None => format!("epoch {epoch}, validation"),
    };
    let rate = params.optimizer.learning_rate();
    let help = match params.gradient_clip {
        None => format!("lower the learning rate ({rate}), or set `gradient_clip: 1.0`"),
        Some(limit) => format!("lower the learning rate ({rate}) or `gradient_clip` ({limit})"),
    };
    Failure::new(format!("{place}: the loss is not a finite number"))
        .help(help)
        .deterministic()
        .into()
}

fn file_failure(path: &Path, act: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("`{}`: cannot {act}: {error}", path.display()))
}

#[cfg(test)]
mod tests;
