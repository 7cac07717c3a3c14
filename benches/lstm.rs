//! Prints what a training step costs, whole: gathering 32 windows of 18 features, dropout, forward,
//! loss, backward and the optimizer's update; on one thread, on two, and on one while another
//! training runs beside it. The optimizer's update is measured alone too, and told as its share.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch};
use runner::data::window::{WindowSpec, Windows};
use runner::data::{TimeColumn, TimeUnit, table};
use runner::model::prediction::{self, Forward};
use runner::model::team;
use runner::model::trainer::{self, Listener, State, TrainConfig};
use runner::model::{Device, Loss, Network, Optimizer, Schedule, Sizes};

const BATCH: usize = 32;
const STEPS: usize = 100;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for window in [24, 1] {
        let train = windows(&folder.path().join("train.parquet"), window, BATCH * STEPS);
        let validation = windows(&folder.path().join("validation.parquet"), window, 1);
        let shapes = [vec![64, 64], vec![128], vec![128, 128], vec![64], vec![32], vec![16]];
        for units in shapes {
            let step = || measure(Device::Cpu, &units, &train, &validation);
            // In turns, since a machine's speed changes from minute to minute.
            let rounds: Vec<[f64; 2]> = (0..5).map(|_| [step(), team::with(2, step)]).collect();
            let [one, two] =
                [0, 1].map(|at| median(rounds.iter().map(|round| round[at]).collect()));
            let [beside, _] = std::thread::scope(|scope| {
                [(); 2]
                    .map(|()| scope.spawn(step))
                    .map(|thread| thread.join().expect("a measurement"))
            });
            let update = update(&units, &train);
            println!(
                "units {:>10}, {window:>2} steps: {one:.3} ms on one thread, {two:.3} on two, \
                 {beside:.3} beside another; of it the optimizer {:.1} %",
                format!("{units:?}"),
                100.0 * update / one,
            );
            if Device::Libtorch.open().is_some() {
                let time = measure(Device::Libtorch, &units, &train, &validation);
                println!(
                    "{:>16}, {window:>2} steps: {time:.3} ms on libtorch",
                    format!("{units:?}")
                );
            }
        }
        let network = Network::Lstm { units: vec![64, 64], dropout: 0.0, bidirectional: false };
        let sizes = Sizes { window, inputs: train.inputs(), outputs: 1 };
        let weights = network.initial(sizes, 7);
        let forward = Forward::new(&network, sizes, &weights, burn::tensor::Device::flex());
        let started = Instant::now();
        let predictions = prediction::of_windows(&forward, &train).len() as f64;
        let time = 1e6 * started.elapsed().as_secs_f64() / predictions;
        println!("a prediction of units [64, 64], {window:>2} steps: {time:.2} microseconds");
    }
}

/// Gives the median time of an optimizer's update, in milliseconds.
fn update(units: &[usize], train: &Windows) -> f64 {
    let config = config(Device::Cpu, units);
    let mut state = State::new(&config, config.sizes(train));
    let gradient: Vec<f32> = state.weights.iter().map(|weight| 0.1 * weight).collect();
    let time = |_| {
        let started = Instant::now();
        config.optimizer.update(&mut state.moments, &mut state.weights, &gradient, 1e-3);
        1e3 * started.elapsed().as_secs_f64()
    };
    median((0..500).map(time).collect())
}

/// Gives the median time of a step, in milliseconds.
fn measure(device: Device, units: &[usize], train: &Windows, validation: &Windows) -> f64 {
    let config = config(device, units);
    let mut watch = Watch { started: Instant::now(), steps: Vec::new() };
    let state = State::new(&config, config.sizes(train));
    let ended = trainer::train::<()>(&config, train, validation, state, &mut watch);
    ended.expect("a training to its end");
    // The first epoch warms up.
    median(watch.steps.split_off(1))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn config(device: Device, units: &[usize]) -> TrainConfig {
    TrainConfig {
        device,
        network: Network::Lstm { units: units.to_vec(), dropout: 0.2, bidirectional: false },
        optimizer: Optimizer::default(),
        schedule: Schedule::default(),
        warmup_epochs: 0,
        loss: Loss::Mse,
        quantiles: Vec::new(),
        gradient_clip: None,
        early_stopping: None,
        batch_size: BATCH,
        epochs: 6,
        seed: 7,
    }
}

/// Makes `count` windows of 17 random features and the target's history.
fn windows(path: &Path, window: usize, count: usize) -> Windows {
    let rows = count + window;
    let column = |number: usize| -> ArrayRef {
        let value = |row: usize| ((row * (2 * number + 3)) as f64 * 0.7).sin();
        Arc::new(Float64Array::from_iter_values((0..rows).map(value)))
    };
    let mut columns: Vec<(String, ArrayRef)> =
        (0..18).map(|number| (format!("c{number}"), column(number))).collect();
    let times = Int64Array::from_iter_values(0..rows as i64);
    columns.push(("time".to_owned(), Arc::new(times)));
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    table::write(path, batch.schema(), [Ok(batch)]).expect("a table in the temporary folder");
    let spec = WindowSpec {
        series: None,
        time: TimeColumn { column: "time".to_owned(), unit: TimeUnit::Us },
        target: "c0".to_owned(),
        features: None,
        window,
        horizon: 0,
        steps: 1,
        target_history: true,
    };
    Windows::read(path, &spec).expect("the table just written")
}

/// Takes the time of each epoch, as milliseconds a step.
struct Watch {
    started: Instant,
    steps: Vec<f64>,
}

impl Listener<()> for Watch {
    fn tick(&mut self, _epoch: u64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn epoch(&mut self, _state: &State) -> ControlFlow<()> {
        self.steps.push(1e3 * self.started.elapsed().as_secs_f64() / STEPS as f64);
        self.started = Instant::now();
        ControlFlow::Continue(())
    }
}
