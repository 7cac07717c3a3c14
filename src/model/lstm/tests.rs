use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::Device;
use rand::RngExt;

use super::{composed, lstm};
use crate::random::generator;

/// Sizes of a layer's work, weights and inputs drawn by number.
#[derive(Debug)]
pub(super) struct Case {
    pub steps: usize,
    pub batch: usize,
    pub inputs: usize,
    pub units: Vec<usize>,
}

pub(super) const CASES: [(usize, usize, usize, &[usize]); 6] = [
    (1, 1, 1, &[1]),
    (1, 32, 18, &[64]),
    (24, 1, 3, &[5, 7]),
    (5, 3, 4, &[17, 33, 2]),
    (7, 31, 18, &[64, 64]),
    (3, 2, 40, &[100]),
];

impl Case {
    fn draw(&self, purpose: &str, number: usize, count: usize) -> Vec<f32> {
        let mut generator = generator(7, purpose, &[number as u64]);
        (0..count).map(|_| generator.random_range(-1.0..1.0)).collect()
    }

    fn run(
        &self,
        layer: impl Fn(Tensor<3>, Tensor<2>, Tensor<2>, Tensor<1>) -> Tensor<3>,
    ) -> Vec<Vec<f32>> {
        self.run_on(&Device::flex().autodiff(), layer)
    }

    /// Gives the hidden states of the last layer, and the gradients of all inputs for a weighted
    /// sum of them, as flat values.
    pub(super) fn run_on(
        &self,
        device: &Device,
        layer: impl Fn(Tensor<3>, Tensor<2>, Tensor<2>, Tensor<1>) -> Tensor<3>,
    ) -> Vec<Vec<f32>> {
        let Case { steps, batch, inputs, .. } = *self;
        let tensor = |purpose, number, shape: &[usize]| {
            let values = self.draw(purpose, number, shape.iter().product());
            TensorData::new(values, shape.to_vec())
        };
        let x =
            Tensor::<3>::from_data(tensor("x", 0, &[steps, batch, inputs]), device).require_grad();
        let mut hidden = x.clone();
        let mut weights = Vec::new();
        let mut width = inputs;
        for (number, &units) in self.units.iter().enumerate() {
            let w_input =
                Tensor::<2>::from_data(tensor("input", number, &[width, 4 * units]), device)
                    .require_grad();
            let w_recurrent =
                Tensor::<2>::from_data(tensor("recurrent", number, &[units, 4 * units]), device)
                    .require_grad();
            let bias =
                Tensor::<1>::from_data(tensor("bias", number, &[4 * units]), device).require_grad();
            hidden = layer(hidden, w_input.clone(), w_recurrent.clone(), bias.clone());
            weights.push((w_input, w_recurrent, bias));
            width = units;
        }
        let mask = Tensor::<3>::from_data(tensor("mask", 0, &[steps, batch, width]), device);
        let gradients = (hidden.clone() * mask).sum().backward();
        let mut results = vec![flat(hidden), flat(x.grad(&gradients).unwrap())];
        for (w_input, w_recurrent, bias) in weights {
            results.push(flat(w_input.grad(&gradients).unwrap()));
            // A sequence of one step does not use it, and so has no gradient when composed.
            let zeros = || w_recurrent.clone().inner().zeros_like();
            results.push(flat(w_recurrent.grad(&gradients).unwrap_or_else(zeros)));
            results.push(flat(bias.grad(&gradients).unwrap()));
        }
        results
    }
}

fn flat<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Gives the norm of the difference over the norm of `right`.
pub(super) fn distance(left: &[f32], right: &[f32]) -> f64 {
    assert_eq!(left.len(), right.len());
    let square =
        |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let apart = square(&mut left.iter().zip(right).map(|(l, r)| f64::from(l - r)));
    let whole = square(&mut right.iter().map(|value| f64::from(*value)));
    (apart / whole.max(1e-12)).sqrt()
}

#[test]
fn the_kernel_agrees_with_composed_operations() {
    for (steps, batch, inputs, units) in CASES {
        let case = Case { steps, batch, inputs, units: units.to_vec() };
        let (fused, reference) = (case.run(lstm), case.run(composed));
        for (index, (fused, reference)) in fused.iter().zip(&reference).enumerate() {
            let distance = distance(fused, reference);
            assert!(
                distance < 1e-5,
                "result {index} of {:?}: {distance}",
                (steps, batch, inputs, units)
            );
        }
    }
}

/// Gives the weighted sum of one layer's hidden states in `f64`, written from the equations.
fn scalar(
    case: &Case,
    x: &[f64],
    w_input: &[f64],
    w_recurrent: &[f64],
    bias: &[f64],
    mask: &[f64],
) -> f64 {
    let units = case.units[0];
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let mut sum = 0.0;
    for row in 0..case.batch {
        let (mut h, mut c) = (vec![0.0; units], vec![0.0; units]);
        for step in 0..case.steps {
            let at = (step * case.batch + row) * case.inputs;
            let z = |column: usize| {
                let from_x = (0..case.inputs).map(|k| x[at + k] * w_input[k * 4 * units + column]);
                let from_h = (0..units).map(|k| h[k] * w_recurrent[k * 4 * units + column]);
                bias[column] + from_x.sum::<f64>() + from_h.sum::<f64>()
            };
            let gates: Vec<f64> = (0..4 * units).map(z).collect();
            for unit in 0..units {
                let gate = |index: usize| gates[index * units + unit];
                c[unit] = sigmoid(gate(1)) * c[unit] + sigmoid(gate(0)) * gate(2).tanh();
                h[unit] = sigmoid(gate(3)) * c[unit].tanh();
                sum += h[unit] * mask[(step * case.batch + row) * units + unit];
            }
        }
    }
    sum
}

#[test]
fn gradients_agree_with_finite_differences() {
    let case = Case { steps: 4, batch: 3, inputs: 2, units: vec![5] };
    let wide = |purpose: &str, count| -> Vec<f64> {
        case.draw(purpose, 0, count).into_iter().map(f64::from).collect()
    };
    let mask = wide("mask", 4 * 3 * 5);
    let given =
        [wide("x", 4 * 3 * 2), wide("input", 2 * 20), wide("recurrent", 5 * 20), wide("bias", 20)];
    let value = |all: &[Vec<f64>; 4]| scalar(&case, &all[0], &all[1], &all[2], &all[3], &mask);
    let results = case.run(lstm);
    for (which, gradient) in results[1..].iter().enumerate() {
        let numeric: Vec<f32> = (0..given[which].len())
            .map(|index| {
                let moved = |by: f64| {
                    let mut all = given.clone();
                    all[which][index] += by;
                    value(&all)
                };
                ((moved(1e-5) - moved(-1e-5)) / 2e-5) as f32
            })
            .collect();
        let distance = distance(gradient, &numeric);
        assert!(distance < 1e-5, "input {which}: {distance}");
    }
}
