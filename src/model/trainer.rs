//! The training loop: batches, steps, validation, the best weights, and when to end.
//!
//! Knows nothing of files or stages: it takes windows and a config, hands its state to a closure
//! after each epoch, and goes on from any state that it handed out. All that is random comes from
//! (seed, epoch, batch), so a state needs no generator, and what follows from the curve (a
//! plateau, early stopping) is replayed from it.

use std::ops::ControlFlow;

use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::Device as BurnDevice;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::dropout::Masks;
use super::network::{Parameter, Weights};
use super::optimizer::{Moments, clip};
use super::prediction::{self, Forward};
use super::rate::{Patience, Rates};
use super::{Device, EarlyStopping, Loss, Network, Optimizer, Schedule, Sizes};
use crate::data::window::{Layout, Windows};
use crate::random::generator;

/// How to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the fields are those of the `train` kind's params")]
pub struct TrainConfig {
    pub device: Device,
    pub network: Network,
    pub optimizer: Optimizer,
    pub schedule: Schedule,
    pub warmup_epochs: u64,
    pub loss: Loss,
    pub quantiles: Vec<f64>,
    pub gradient_clip: Option<f64>,
    pub early_stopping: Option<EarlyStopping>,
    pub batch_size: usize,
    pub epochs: u64,
    pub seed: u64,
}

/// One epoch of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Epoch {
    /// The mean loss of the epoch's steps, with dropout.
    pub train_loss: f64,
    /// The loss over all validation windows after the epoch.
    pub validation_loss: f64,
    /// The learning rate of the epoch.
    pub learning_rate: f64,
}

/// A training between two epochs: all that the next epoch needs.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The parameters.
    pub weights: Vec<f32>,
    /// The parameters of the best epoch.
    pub best: Vec<f32>,
    /// What the optimizer remembers.
    pub moments: Moments,
    /// The epochs done.
    pub curve: Vec<Epoch>,
}

/// Why a training ended without a result.
#[derive(Debug, PartialEq)]
pub enum Ended<B> {
    /// Whoever listens said so.
    Broken(B),
    /// A loss was NaN or infinite.
    NotFinite {
        /// The epoch, from 1.
        epoch: u64,
        /// The batch within it, from 1; `None` in its validation.
        batch: Option<u64>,
    },
}

/// Who hears of a training's progress.
pub trait Listener<B> {
    /// Hears now and then within an epoch (from 1); breaks to end at once.
    fn tick(&mut self, epoch: u64) -> ControlFlow<B>;

    /// Hears after each epoch, the last of the state's curve; breaks to end there.
    fn epoch(&mut self, state: &State) -> ControlFlow<B>;
}

impl TrainConfig {
    /// Gives the sizes of a network that is trained on windows like `windows`.
    pub fn sizes(&self, windows: &Windows) -> Sizes {
        let spec = windows.spec();
        let outputs = spec.steps * self.quantiles.len().max(1);
        Sizes { window: spec.window, inputs: windows.inputs(), outputs }
    }
}

impl State {
    /// Makes the state before the first epoch.
    pub fn new(config: &TrainConfig, sizes: Sizes) -> State {
        let weights = config.network.initial(sizes, config.seed);
        let moments = Moments::new(weights.len());
        State { best: weights.clone(), weights, moments, curve: Vec::new() }
    }

    /// Gives the best epoch (from 1): the first with the smallest validation loss.
    pub fn best_epoch(&self) -> Option<u64> {
        let losses = self.curve.iter().map(|epoch| epoch.validation_loss).enumerate();
        let best = losses.min_by(|left, right| left.1.total_cmp(&right.1));
        best.map(|(index, _)| index as u64 + 1)
    }

    /// Gives the epoch (from 1) and the parameters that are the result: the best one's where early
    /// stopping restores them, else the last one's.
    pub fn result(&self, early_stopping: Option<&EarlyStopping>) -> (u64, &[f32]) {
        match early_stopping {
            Some(EarlyStopping { restore_best: true, .. }) => {
                (self.best_epoch().unwrap_or(0), &self.best)
            }
            _ => (self.curve.len() as u64, &self.weights),
        }
    }
}

/// Trains from `state` to the end and gives the last state.
///
/// # Errors
///
/// [`Ended`] where the listener breaks or a loss is not a finite number.
pub fn train<B>(
    config: &TrainConfig,
    windows: &Windows,
    validation: &Windows,
    mut state: State,
    listener: &mut dyn Listener<B>,
) -> Result<State, Ended<B>> {
    keep_freed_memory();
    let actual = validation.gather_actual(&all(validation));
    let base = config.optimizer.learning_rate();
    let mut rates = Rates::new(&config.schedule, base, config.warmup_epochs, config.epochs);
    let mut patience = Patience::default();
    let mut ends = false;
    for (epoch, done) in (1..).zip(&state.curve) {
        rates.tell(epoch, done.validation_loss);
        ends = is_last(config, epoch, &mut patience, done.validation_loss);
    }
    let mut best_loss = state.curve.iter().map(|epoch| epoch.validation_loss).reduce(f64::min);
    while !ends && (state.curve.len() as u64) < config.epochs {
        let epoch = state.curve.len() as u64 + 1;
        let learning_rate = rates.rate(epoch);
        let train_loss = pass(config, windows, &mut state, epoch, learning_rate, listener)?;
        let sizes = config.sizes(validation);
        let device = open(config.device);
        let forward = Forward::new(&config.network, sizes, &state.weights, device);
        let predicted = prediction::of_windows(&forward, validation);
        let validation_loss = config.loss.of_slices(&predicted, &actual, &config.quantiles);
        if !validation_loss.is_finite() {
            return Err(Ended::NotFinite { epoch, batch: None });
        }
        if best_loss.is_none_or(|best| validation_loss < best) {
            best_loss = Some(validation_loss);
            state.best.copy_from_slice(&state.weights);
        }
        rates.tell(epoch, validation_loss);
        ends = is_last(config, epoch, &mut patience, validation_loss);
        state.curve.push(Epoch { train_loss, validation_loss, learning_rate });
        if let ControlFlow::Break(why) = listener.epoch(&state) {
            return Err(Ended::Broken(why));
        }
    }
    Ok(state)
}

/// Has the allocator keep what a step frees for the next step.
///
/// The GNU allocator gives blocks above a threshold back to the system as soon as they are freed,
/// and raises that threshold to the largest block that it has seen freed (`mallopt(3)`). Without
/// this a step of two layers of 64 units spends a quarter of its time on page faults. Elsewhere it
/// costs next to nothing.
fn keep_freed_memory() {
    drop(std::hint::black_box(vec![0_u8; 16 << 20]));
}

/// Tells early stopping an epoch's loss; `true` where training ends with it.
fn is_last(config: &TrainConfig, epoch: u64, patience: &mut Patience, loss: f64) -> bool {
    let stops = config.early_stopping.as_ref().is_some_and(|stopping| {
        let waited = patience.tell(loss, stopping.min_delta);
        waited > 0 && waited >= stopping.patience
    });
    stops || epoch >= config.epochs
}

/// One pass over the train windows in the epoch's own order; gives the mean loss of its windows.
fn pass<B>(
    config: &TrainConfig,
    windows: &Windows,
    state: &mut State,
    epoch: u64,
    rate: f64,
    listener: &mut dyn Listener<B>,
) -> Result<f64, Ended<B>> {
    let parameters = config.network.parameters(config.sizes(windows));
    let mut order = all(windows);
    order.shuffle(&mut generator(config.seed, "order of windows", &[epoch]));
    let mut gradient = vec![0.0; state.weights.len()];
    let mut sum = 0.0;
    for (number, batch) in (0..).zip(order.chunks(config.batch_size)) {
        let loss = step(
            config,
            &parameters,
            windows,
            batch,
            &state.weights,
            [epoch, number],
            &mut gradient,
        );
        if !loss.is_finite() {
            return Err(Ended::NotFinite { epoch, batch: Some(number + 1) });
        }
        if let Some(limit) = config.gradient_clip {
            clip(&mut gradient, limit);
        }
        config.optimizer.update(&mut state.moments, &mut state.weights, &gradient, rate);
        sum += loss * batch.len() as f64;
        if number % 64 == 63
            && let ControlFlow::Break(why) = listener.tick(epoch)
        {
            return Err(Ended::Broken(why));
        }
    }
    Ok(sum / order.len() as f64)
}

/// Fills `gradient` for one batch and gives its loss.
fn step(
    config: &TrainConfig,
    parameters: &[Parameter],
    windows: &Windows,
    batch: &[u32],
    weights: &[f32],
    [epoch, number]: [u64; 2],
    gradient: &mut [f32],
) -> f64 {
    let device = open(config.device).autodiff();
    let (steps, rows) = (windows.spec().window, batch.len());
    let masks = Masks::draw(&config.network, config.seed, [epoch, number], [steps, rows], &device);
    let x = inputs(&config.network, windows, batch, &device);
    let actual = TensorData::new(windows.gather_actual(batch), [rows, windows.spec().steps]);
    let actual = Tensor::from_data(actual, &device);
    let weights = Weights::new(&config.network, parameters, weights, &device);
    let predicted = weights.forward(x, Some(masks));
    let loss = config.loss.of_tensors(predicted, actual, &config.quantiles);
    let mut gradients = loss.backward();
    weights.take_gradients(&mut gradients, gradient);
    f64::from(loss.inner().into_scalar::<f32>())
}

/// Gathers windows as the network reads them.
fn inputs(network: &Network, windows: &Windows, batch: &[u32], device: &BurnDevice) -> Tensor<3> {
    let (window, layout) = (windows.spec().window, network.layout());
    let shape = match layout {
        Layout::StepsFirst => [window, batch.len(), windows.inputs()],
        Layout::WindowsFirst => [batch.len(), window, windows.inputs()],
    };
    Tensor::from_data(TensorData::new(windows.gather(batch, layout), shape), device)
}

fn open(device: Device) -> BurnDevice {
    device.open().expect("the check of the params lets no device pass that the build has not")
}

fn all(windows: &Windows) -> Vec<u32> {
    (0..windows.len() as u32).collect()
}
