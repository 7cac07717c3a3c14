//! Networks over burn: the named parameters of one, their initial values, and its forward pass.
//!
//! All parameters of a network lie in one flat vector, so that an optimizer's update, a checkpoint
//! and a copy of the best weights are each one loop; burn's tensors are made of its parts for a
//! step. Initial values are Keras's defaults: Glorot-uniform input weights, orthogonal recurrent
//! weights, and a bias of 0 but 1 for the forget gate.

use std::ops::Range;

use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::{Device, Gradients};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use super::Network;
use super::dropout::Masks;
use super::lstm::lstm;
use crate::random::generator;

/// One named part of a network's flat parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The layer and the role, such as `lstm_0.kernel`.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Where it lies in the flat vector.
    pub range: Range<usize>,
}

impl Network {
    /// Lists the parameters of the network over `inputs` features, in the order in which they lie.
    ///
    /// For LSTM layer `n`: `lstm_n.kernel` `[inputs, 4 * units]`, `lstm_n.recurrent_kernel`
    /// `[units, 4 * units]`, `lstm_n.bias` `[4 * units]`, gates in the order i, f, g, o; then
    /// `dense.kernel` `[units, 1]` and `dense.bias` `[1]`.
    pub fn parameters(&self, inputs: usize) -> Vec<Parameter> {
        let Network::Lstm { units, .. } = self;
        let mut list: Vec<Parameter> = Vec::new();
        let mut add = |name: String, shape: Vec<usize>| {
            let start = list.last().map_or(0, |last| last.range.end);
            let range = start..start + shape.iter().product::<usize>();
            list.push(Parameter { name, shape, range });
        };
        let mut width = inputs;
        for (layer, &units) in units.iter().enumerate() {
            add(format!("lstm_{layer}.kernel"), vec![width, 4 * units]);
            add(format!("lstm_{layer}.recurrent_kernel"), vec![units, 4 * units]);
            add(format!("lstm_{layer}.bias"), vec![4 * units]);
            width = units;
        }
        add("dense.kernel".to_owned(), vec![width, 1]);
        add("dense.bias".to_owned(), vec![1]);
        list
    }

    /// Draws initial parameters: a function of the network, its inputs and `seed` alone.
    pub fn initial(&self, inputs: usize, seed: u64) -> Vec<f32> {
        let parameters = self.parameters(inputs);
        let mut values = vec![0.0; parameters.last().map_or(0, |last| last.range.end)];
        for (number, parameter) in parameters.iter().enumerate() {
            let values = &mut values[parameter.range.clone()];
            let mut generator = generator(seed, "initial weights", &[number as u64]);
            match (&parameter.name, &parameter.shape[..]) {
                (name, &[rows, columns]) if name.ends_with("recurrent_kernel") => {
                    let mut normal = || StandardNormal.sample(&mut generator);
                    values.copy_from_slice(&orthogonal(rows, columns, &mut normal));
                }
                (_, &[rows, columns]) => {
                    let limit = (6.0 / (rows + columns) as f32).sqrt();
                    values.fill_with(|| generator.random_range(-limit..limit));
                }
                (name, &[width]) if name.starts_with("lstm") => {
                    values[width / 4..width / 2].fill(1.0);
                }
                _ => {}
            }
        }
        values
    }
}

/// Gives a row-major matrix with orthonormal rows, `rows <= columns`, of normal draws, by the
/// modified Gram-Schmidt process done twice over (Giraud 2005), in `f64`.
fn orthogonal(rows: usize, columns: usize, normal: &mut dyn FnMut() -> f64) -> Vec<f32> {
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(rows);
    while basis.len() < rows {
        let mut row: Vec<f64> = (0..columns).map(|_| normal()).collect();
        for _ in 0..2 {
            for earlier in &basis {
                let shared = dot(&row, earlier);
                row.iter_mut().zip(earlier).for_each(|(value, other)| *value -= shared * other);
            }
        }
        let norm = dot(&row, &row).sqrt();
        row.iter_mut().for_each(|value| *value /= norm);
        basis.push(row);
    }
    basis.into_iter().flatten().map(|value| value as f32).collect()
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// A network's parameters as tensors on a device.
#[derive(Debug)]
pub struct Weights {
    layers: Vec<LstmWeights>,
    dense_kernel: Tensor<2>,
    dense_bias: Tensor<1>,
}

#[derive(Debug)]
struct LstmWeights {
    kernel: Tensor<2>,
    recurrent: Tensor<2>,
    bias: Tensor<1>,
}

impl Weights {
    /// Makes tensors of flat parameters; on an autodiff device they are leaves of the graph.
    pub fn new(parameters: &[Parameter], values: &[f32], device: &Device) -> Weights {
        // Every network ends with the two parameters of its dense layer.
        let (layers, dense) = parameters.split_at(parameters.len() - 2);
        let layers = layers.chunks_exact(3).map(|layer| LstmWeights {
            kernel: leaf(&layer[0], values, device),
            recurrent: leaf(&layer[1], values, device),
            bias: leaf(&layer[2], values, device),
        });
        Weights {
            layers: layers.collect(),
            dense_kernel: leaf(&dense[0], values, device),
            dense_bias: leaf(&dense[1], values, device),
        }
    }

    /// Predicts `[batch, 1]` from `x`, `[steps, batch, inputs]`; `masks` are those of dropout.
    pub fn forward(&self, x: Tensor<3>, masks: Option<Masks>) -> Tensor<2> {
        let mut masks = masks.map(|masks| masks.layers.into_iter());
        let mut hidden = x;
        let last = self.layers.len() - 1;
        for (number, layer) in self.layers.iter().enumerate() {
            hidden =
                lstm(hidden, layer.kernel.clone(), layer.recurrent.clone(), layer.bias.clone());
            if number == last {
                let steps = hidden.dims()[0];
                hidden = hidden.narrow(0, steps - 1, 1);
            }
            if let Some(mask) = masks.as_mut().and_then(Iterator::next) {
                hidden = hidden * mask;
            }
        }
        let [_, batch, units] = hidden.dims();
        let product = hidden.reshape([batch, units]).matmul(self.dense_kernel.clone());
        product + self.dense_bias.clone().reshape([1, 1])
    }

    /// Copies the gradients out of `gradients` to their parameters' places in `flat`.
    pub fn take_gradients(&self, gradients: &mut Gradients, flat: &mut [f32]) {
        let mut rest = flat;
        for layer in &self.layers {
            rest = take(&layer.kernel, gradients, rest);
            rest = take(&layer.recurrent, gradients, rest);
            rest = take(&layer.bias, gradients, rest);
        }
        rest = take(&self.dense_kernel, gradients, rest);
        take(&self.dense_bias, gradients, rest);
    }
}

fn leaf<const D: usize>(parameter: &Parameter, values: &[f32], device: &Device) -> Tensor<D> {
    let values = values[parameter.range.clone()].to_vec();
    let tensor = Tensor::from_data(TensorData::new(values, parameter.shape.clone()), device);
    if device.is_autodiff() { tensor.require_grad() } else { tensor }
}

/// Copies one tensor's gradient to the front of `flat` and gives the rest of it.
fn take<'a, const D: usize>(
    tensor: &Tensor<D>,
    gradients: &mut Gradients,
    flat: &'a mut [f32],
) -> &'a mut [f32] {
    let (place, rest) = flat.split_at_mut(tensor.dims().iter().product());
    match tensor.grad_remove(gradients) {
        // A gradient has its tensor's type, and every tensor here is f32.
        Some(gradient) => place.copy_from_slice(
            gradient.into_data().as_slice::<f32>().expect("the gradient of an f32 tensor"),
        ),
        None => place.fill(0.0),
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recurrent_weights_are_orthogonal_and_the_forget_bias_is_one() {
        let network = Network::Lstm { units: vec![6], dropout: 0.0 };
        let parameters = network.parameters(3);
        let values = network.initial(3, 7);
        assert_eq!(values.len(), 3 * 24 + 6 * 24 + 24 + 6 + 1);
        let recurrent = &values[parameters[1].range.clone()];
        for (i, left) in recurrent.chunks_exact(24).enumerate() {
            for (j, right) in recurrent.chunks_exact(24).enumerate() {
                let dot: f32 = left.iter().zip(right).map(|(l, r)| l * r).sum();
                assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-5, "{i} {j} {dot}");
            }
        }
        let bias = &values[parameters[2].range.clone()];
        assert_eq!(bias.iter().map(|value| *value as usize).sum::<usize>(), 6);
        assert_eq!(&bias[6..12], &[1.0; 6]);
        assert_ne!(values, network.initial(3, 8));
    }
}
