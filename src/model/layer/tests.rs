//! The fused passes of each layer against composed operations, and their gradients against finite
//! differences of a scalar reference.

use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::Device;
use rand::RngExt;

use crate::model::{gru, lstm};
use crate::random::generator;

#[cfg(feature = "tch")]
mod libtorch;

#[derive(Clone, Copy, Debug)]
enum Layer {
    Lstm,
    Gru,
}

/// Sizes of some layers' work; weights and inputs are drawn by number.
#[derive(Debug)]
struct Case {
    layer: Layer,
    steps: usize,
    batch: usize,
    inputs: usize,
    units: Vec<usize>,
}

impl Layer {
    fn gates(self) -> usize {
        match self {
            Layer::Lstm => 4,
            Layer::Gru => 3,
        }
    }

    fn bias(self, units: usize) -> usize {
        match self {
            Layer::Lstm => 4 * units,
            Layer::Gru => 6 * units,
        }
    }

    fn pass(self, fused: bool, [x, input, recurrent, bias]: [Tensor<3>; 4]) -> Tensor<3> {
        let (input, recurrent) = (input.squeeze_dim(0), recurrent.squeeze_dim(0));
        match (self, fused) {
            (Layer::Lstm, true) => lstm::lstm(x, input, recurrent, bias.flatten(0, 2)),
            (Layer::Lstm, false) => lstm::composed(x, input, recurrent, bias.flatten(0, 2)),
            (Layer::Gru, true) => gru::gru(x, input, recurrent, bias.squeeze_dim(0)),
            (Layer::Gru, false) => gru::composed(x, input, recurrent, bias.squeeze_dim(0)),
        }
    }

    /// Gives the hidden state and the cell of one unit, in `f64`, from the sums of its gates for
    /// the inputs and for the recurrence, and its state before.
    fn unit(self, a: &[f64], b: &[f64], [hidden, cell]: [f64; 2]) -> [f64; 2] {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        match self {
            Layer::Lstm => {
                let sum = |gate: usize| a[gate] + b[gate];
                let cell = sigmoid(sum(1)) * cell + sigmoid(sum(0)) * sum(2).tanh();
                [sigmoid(sum(3)) * cell.tanh(), cell]
            }
            Layer::Gru => {
                let (z, r) = (sigmoid(a[0] + b[0]), sigmoid(a[1] + b[1]));
                [z * hidden + (1.0 - z) * (a[2] + r * b[2]).tanh(), 0.0]
            }
        }
    }
}

impl Case {
    fn draw(&self, purpose: &str, number: usize, count: usize) -> Vec<f32> {
        let mut generator = generator(7, purpose, &[number as u64]);
        (0..count).map(|_| generator.random_range(-1.0..1.0)).collect()
    }

    fn run(&self, fused: bool) -> Vec<Vec<f32>> {
        let pass = |layer: Layer, inputs| layer.pass(fused, inputs);
        self.run_on(&Device::flex().autodiff(), pass)
    }

    /// Gives the hidden states of the last layer, and the gradients of all inputs for a weighted
    /// sum of them, as flat values.
    fn run_on(
        &self,
        device: &Device,
        pass: impl Fn(Layer, [Tensor<3>; 4]) -> Tensor<3>,
    ) -> Vec<Vec<f32>> {
        let Case { layer, steps, batch, inputs, .. } = *self;
        let tensor = |purpose, number, shape: [usize; 3]| {
            let values = self.draw(purpose, number, shape.iter().product());
            Tensor::<3>::from_data(TensorData::new(values, shape), device)
        };
        let mut hidden = tensor("x", 0, [steps, batch, inputs]).require_grad();
        let mut leaves = vec![hidden.clone()];
        let mut width = inputs;
        for (number, &units) in self.units.iter().enumerate() {
            let gates = layer.gates() * units;
            let biases = layer.bias(units) / gates;
            let weights = [
                tensor("input", number, [1, width, gates]).require_grad(),
                tensor("recurrent", number, [1, units, gates]).require_grad(),
                tensor("bias", number, [1, biases, gates]).require_grad(),
            ];
            let [input, recurrent, bias] = weights.clone();
            hidden = pass(layer, [hidden, input, recurrent, bias]);
            leaves.extend(weights);
            width = units;
        }
        let mask = tensor("mask", 0, [steps, batch, width]);
        let gradients = (hidden.clone() * mask).sum().backward();
        // A sequence of one step does not use its recurrent weights, and so they have no gradient
        // when composed.
        let gradient = |leaf: &Tensor<3>| {
            flat(leaf.grad(&gradients).unwrap_or_else(|| leaf.clone().inner().zeros_like()))
        };
        std::iter::once(flat(hidden)).chain(leaves.iter().map(gradient)).collect()
    }

    /// Gives the weighted sum of one layer's hidden states in `f64`, written from the equations.
    fn scalar(&self, [x, input, recurrent, bias]: &[Vec<f64>; 4], mask: &[f64]) -> f64 {
        let (units, gates) = (self.units[0], self.layer.gates());
        let width = gates * units;
        let mut sum = 0.0;
        for row in 0..self.batch {
            let mut state = vec![[0.0; 2]; units];
            for step in 0..self.steps {
                let at = (step * self.batch + row) * self.inputs;
                let before = state.clone();
                for (unit, state) in state.iter_mut().enumerate() {
                    let column = |gate: usize| gate * units + unit;
                    let product = |gate: usize| -> f64 {
                        (0..self.inputs).map(|k| x[at + k] * input[k * width + column(gate)]).sum()
                    };
                    let again = |gate: usize| -> f64 {
                        (0..units).map(|k| before[k][0] * recurrent[k * width + column(gate)]).sum()
                    };
                    let of_bias = |row: usize, gate: usize| {
                        bias.get(row * width + column(gate)).copied().unwrap_or(0.0)
                    };
                    let a: Vec<f64> = (0..gates).map(|g| product(g) + of_bias(0, g)).collect();
                    let b: Vec<f64> = (0..gates).map(|g| again(g) + of_bias(1, g)).collect();
                    *state = self.layer.unit(&a, &b, before[unit]);
                    sum += state[0] * mask[(step * self.batch + row) * units + unit];
                }
            }
        }
        sum
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Gives the norm of the difference over the norm of `right`.
fn distance(left: &[f32], right: &[f32]) -> f64 {
    assert_eq!(left.len(), right.len());
    let square =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let apart = square(&mut left.iter().zip(right).map(|(l, r)| f64::from(l - r)));
    let whole = square(&mut right.iter().map(|value| f64::from(*value)));
    (apart / whole.max(1e-12)).sqrt()
}

/// Lists shapes with one of everything and with odd sizes, and some at random.
fn cases(layer: Layer) -> Vec<Case> {
    let mut generator = generator(3, "shapes", &[]);
    let mut sizes: Vec<([usize; 3], Vec<usize>)> = vec![
        ([1, 1, 1], vec![1]),
        ([1, 32, 18], vec![64]),
        ([24, 1, 3], vec![5, 7]),
        ([5, 3, 4], vec![17, 33, 2]),
        ([7, 31, 18], vec![64, 64]),
        ([3, 2, 40], vec![100]),
    ];
    for layers in 1..=4 {
        for _ in 0..3 {
            let mut upto = |most: usize| generator.random_range(1..=most);
            let shape = [upto(9), upto(21), upto(40)];
            sizes.push((shape, (0..layers).map(|_| upto(70)).collect()));
        }
    }
    let case = |([steps, batch, inputs], units): ([usize; 3], Vec<usize>)| Case {
        layer,
        steps,
        batch,
        inputs,
        units,
    };
    sizes.into_iter().map(case).collect()
}

#[test]
fn the_kernels_agree_with_composed_operations() {
    for case in [Layer::Lstm, Layer::Gru].into_iter().flat_map(cases) {
        let (fused, reference) = (case.run(true), case.run(false));
        for (index, (fused, reference)) in fused.iter().zip(&reference).enumerate() {
            let distance = distance(fused, reference);
            assert!(distance < 2e-5, "result {index} of {case:?}: {distance}");
        }
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for layer in [Layer::Lstm, Layer::Gru] {
        let case = Case { layer, steps: 4, batch: 3, inputs: 2, units: vec![5] };
        let wide = |purpose: &str, count| -> Vec<f64> {
            case.draw(purpose, 0, count).into_iter().map(f64::from).collect()
        };
        let (mask, gates) = (wide("mask", 4 * 3 * 5), layer.gates() * 5);
        let given = [
            wide("x", 4 * 3 * 2),
            wide("input", 2 * gates),
            wide("recurrent", 5 * gates),
            wide("bias", layer.bias(5)),
        ];
        for (which, gradient) in case.run(true)[1..].iter().enumerate() {
            let numeric: Vec<f32> = (0..given[which].len())
                .map(|index| {
                    let moved = |by: f64| {
                        let mut all = given.clone();
                        all[which][index] += by;
                        case.scalar(&all, &mask)
                    };
                    ((moved(1e-5) - moved(-1e-5)) / 2e-5) as f32
                })
                .collect();
            let distance = distance(gradient, &numeric);
            assert!(distance < 1e-5, "{layer:?}, input {which}: {distance}");
        }
    }
}
