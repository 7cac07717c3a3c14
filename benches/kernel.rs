//! Prints what the recurrent kernel reaches, forward and backward, beside this machine's own
//! product of two matrices of 1024 by 1024, both on one core and measured in turns.
//!
//! Operations are those of the products alone, two for each multiplication with its addition: of
//! the inputs and of the recurrence in the forward pass, their gradients for the weights and for
//! the hidden states in the backward pass, and that of the inputs for all layers but the first.
//! What the gates cost beside them lowers the rate.

use std::time::Instant;

use runner::model::gru::Gru;
use runner::model::lstm::Lstm;
use runner::model::recurrent::{self, Cell, Gradients, Keep, Passed, Shape, Weights};
use runner::model::team;

const BATCH: usize = 32;
const INPUTS: usize = 18;
const ROUNDS: usize = 41;
/// Passes of a round.
const PASSES: usize = 8;

fn main() {
    // The allocator keeps what it has once freed, as it does in a training.
    drop(std::hint::black_box(vec![0_u8; 16 << 20]));
    let shapes: [(&[usize], usize); 7] = [
        (&[64, 64], 24),
        (&[64], 24),
        (&[128], 24),
        (&[128, 128], 24),
        (&[32], 24),
        (&[64, 64], 1),
        (&[33, 17], 7),
    ];
    println!(
        "                           one thread               two threads   GFLOP/s  of sgemm's"
    );
    for (units, steps) in shapes {
        measure::<Lstm>("lstm", units, steps);
    }
    for (units, steps) in shapes {
        measure::<Gru>("gru", units, steps);
    }
}

/// Measures layers of `units` over `steps` steps, and the machine's own product, in turns.
fn measure<C: Cell>(name: &str, units: &[usize], steps: usize) {
    let below = std::iter::once(&INPUTS).chain(units);
    let layer = |(&inputs, &units)| Layer::new::<C>(Shape { steps, batch: BATCH, inputs, units });
    let mut layers: Vec<Layer> = below.zip(units).map(layer).collect();
    layers[0].of_x = None;
    let operations: f64 = layers.iter().map(|layer| layer.operations::<C>()).sum();
    let mut square = Square::new();
    let [mut forward, mut backward, mut shared, mut peak] = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        peak.push(square.rate());
        for _ in 0..PASSES {
            let [ahead, back] = pass::<C>(&mut layers);
            forward.push(1e3 * ahead);
            backward.push(1e3 * back);
        }
        team::with(2, || {
            pass::<C>(&mut layers);
            for _ in 0..PASSES {
                shared.push(1e3 * pass::<C>(&mut layers).iter().sum::<f64>());
            }
        });
    }
    let [forward, backward, shared, peak] = [forward, backward, shared, peak].map(median);
    let rate = operations / (forward + backward) / 1e6;
    println!(
        "{name:4} {:>10}, {steps:>2} steps: {forward:.3} + {backward:.3} ms   {shared:>8.3} ms    {rate:>6.0}   {:>5.0} % of {peak:.0}",
        format!("{units:?}"),
        100.0 * rate / peak,
    );
}

/// Gives the seconds of a forward and of a backward pass through all layers.
fn pass<C: Cell>(layers: &mut [Layer]) -> [f64; 2] {
    let started = Instant::now();
    let tapes: Vec<_> = layers
        .iter_mut()
        .map(|layer| {
            let Layer { shape, x, input, recurrent, bias, hidden, .. } = layer;
            let weights = Weights { input, recurrent, bias };
            recurrent::forward::<C>(*shape, x, weights, hidden, Keep::Slots)
        })
        .collect();
    let forward = started.elapsed().as_secs_f64();
    let started = Instant::now();
    for (layer, tape) in layers.iter_mut().zip(tapes).rev() {
        let weights =
            Weights { input: &layer.input, recurrent: &layer.recurrent, bias: &layer.bias };
        let passed = Passed { x: &layer.x, weights, hidden: &layer.hidden };
        let [input, recurrent, bias] = &mut layer.of_weights;
        let gradients = Gradients { x: layer.of_x.as_deref_mut(), input, recurrent, bias };
        recurrent::backward::<C>(layer.shape, passed, tape, &layer.above, gradients);
    }
    [forward, started.elapsed().as_secs_f64()]
}

/// One layer with its memory.
struct Layer {
    shape: Shape,
    x: Vec<f32>,
    input: Vec<f32>,
    recurrent: Vec<f32>,
    bias: Vec<f32>,
    hidden: Vec<f32>,
    above: Vec<f32>,
    of_x: Option<Vec<f32>>,
    of_weights: [Vec<f32>; 3],
}

impl Layer {
    fn new<C: Cell>(shape: Shape) -> Layer {
        let Shape { steps, batch, inputs, units } = shape;
        let width = C::INPUT.len() * units;
        let values = |count: usize| -> Vec<f32> {
            (0..count).map(|index| 0.1 * (index as f32 * 0.7).sin()).collect()
        };
        let sizes = [inputs * width, units * width, C::BIASES * width];
        let [input, recurrent, bias] = sizes.map(values);
        Layer {
            shape,
            x: values(steps * batch * inputs),
            input,
            recurrent,
            bias,
            hidden: vec![0.0; steps * batch * units],
            above: values(steps * batch * units),
            of_x: Some(vec![0.0; steps * batch * inputs]),
            of_weights: sizes.map(|size| vec![0.0; size]),
        }
    }

    /// Counts the operations of the products of both passes.
    fn operations<C: Cell>(&self) -> f64 {
        let Shape { steps, batch, inputs, units } = self.shape;
        let of_inputs = if self.of_x.is_some() { 3 } else { 2 };
        let recurrent = 3 * (steps - 1) * batch * units;
        let columns = C::INPUT.len() * units;
        2.0 * ((of_inputs * steps * batch * inputs + recurrent) * columns) as f64
    }
}

/// The product that stands for what this machine can do.
struct Square {
    left: Vec<f32>,
    right: Vec<f32>,
    result: Vec<f32>,
}

impl Square {
    const SIZE: usize = 1024;

    fn new() -> Square {
        let values = || vec![0.5; Square::SIZE * Square::SIZE];
        Square { left: values(), right: values(), result: values() }
    }

    /// Gives the GFLOP/s of one product on one thread.
    fn rate(&mut self) -> f64 {
        let (size, stride) = (Square::SIZE, Square::SIZE as isize);
        let started = Instant::now();
        // SAFETY: the three slices are row-major matrices of `size` by `size`, and the one that is
        // written is borrowed mutably.
        unsafe {
            gemm::gemm(
                size,
                size,
                size,
                self.result.as_mut_ptr(),
                1,
                stride,
                false,
                self.left.as_ptr(),
                1,
                stride,
                self.right.as_ptr(),
                1,
                stride,
                1.0,
                1.0,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        2.0 * (size * size * size) as f64 / started.elapsed().as_secs_f64() / 1e9
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
