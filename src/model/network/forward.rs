//! The forward pass of every network, over burn's tensors.

use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Gradients};

use super::Parameter;
use crate::model::Network;
use crate::model::dropout::Masks;
use crate::model::gru::gru;
use crate::model::lstm::lstm;

/// A network's parameters as tensors on a device.
#[derive(Debug)]
pub struct Weights {
    network: Network,
    /// In the order of the parameters.
    leaves: Vec<Leaf>,
}

/// One parameter: a bias, or a matrix.
#[derive(Debug)]
enum Leaf {
    Vector(Tensor<1>),
    Matrix(Tensor<2>),
}

impl Weights {
    /// Makes tensors of flat parameters; on an autodiff device they are leaves of the graph.
    pub fn new(
        network: &Network,
        parameters: &[Parameter],
        values: &[f32],
        device: &Device,
    ) -> Weights {
        let leaf = |parameter: &Parameter| match parameter.shape.len() {
            1 => Leaf::Vector(leaf(parameter, values, device)),
            _ => Leaf::Matrix(leaf(parameter, values, device)),
        };
        Weights { network: network.clone(), leaves: parameters.iter().map(leaf).collect() }
    }

    /// Predicts `[batch, outputs]` from `x`; `masks` are those of dropout.
    ///
    /// `x` is `[window, batch, inputs]` or `[batch, window, inputs]`, as [`Network::layout`] says.
    pub fn forward(&self, x: Tensor<3>, masks: Option<Masks>) -> Tensor<2> {
        let mut rest = Rest(&self.leaves);
        let mut masks = masks.map_or_else(Vec::new, |masks| masks.layers).into_iter();
        match &self.network {
            Network::Lstm { units, bidirectional, .. } => {
                let layer =
                    |x, rest: &mut Rest<'_>| lstm(x, rest.matrix(), rest.matrix(), rest.vector());
                let hidden = recurrent(x, units.len(), *bidirectional, &layer, &mut rest, masks);
                rest.dense(hidden)
            }
            Network::Gru { units, bidirectional, .. } => {
                let layer =
                    |x, rest: &mut Rest<'_>| gru(x, rest.matrix(), rest.matrix(), rest.matrix());
                let hidden = recurrent(x, units.len(), *bidirectional, &layer, &mut rest, masks);
                rest.dense(hidden)
            }
            Network::Mlp { units, .. } => {
                let mut hidden = flat(x);
                for _ in units {
                    hidden = relu(rest.dense(hidden));
                    if let Some(mask) = masks.next() {
                        hidden = hidden * mask.squeeze_dim::<2>(0);
                    }
                }
                rest.dense(hidden)
            }
            Network::Dlinear { average } => {
                let trend = moving_average(x.clone(), *average);
                let remainder = x - trend.clone();
                rest.dense(flat(trend)) + rest.dense(flat(remainder))
            }
            Network::Nlinear {} => {
                let (x, last) = less_last(x);
                rest.dense(flat(x)) + last
            }
        }
    }

    /// Copies the gradients out of `gradients` to their parameters' places in `flat`.
    pub fn take_gradients(&self, gradients: &mut Gradients, flat: &mut [f32]) {
        let mut rest = flat;
        for leaf in &self.leaves {
            rest = match leaf {
                Leaf::Vector(tensor) => take(tensor, gradients, rest),
                Leaf::Matrix(tensor) => take(tensor, gradients, rest),
            };
        }
    }
}

/// The parameters that no layer has taken yet.
struct Rest<'a>(&'a [Leaf]);

impl Rest<'_> {
    fn next(&mut self) -> &Leaf {
        // A network's pass and its list of parameters are of the same layers.
        let (first, rest) = self.0.split_first().expect("each layer has its parameters");
        self.0 = rest;
        first
    }

    fn matrix(&mut self) -> Tensor<2> {
        match self.next() {
            Leaf::Matrix(tensor) => tensor.clone(),
            Leaf::Vector(tensor) => tensor.clone().unsqueeze(),
        }
    }

    fn vector(&mut self) -> Tensor<1> {
        match self.next() {
            Leaf::Matrix(tensor) => tensor.clone().flatten(0, 1),
            Leaf::Vector(tensor) => tensor.clone(),
        }
    }

    /// Gives `[batch, units]` of `x`, `[batch, width]`.
    fn dense(&mut self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.matrix()) + self.matrix()
    }
}

/// Passes `x`, `[steps, batch, inputs]`, through recurrent layers and gives `[batch, width]`: what
/// each direction of the last layer has read at its end.
///
/// As in Keras's `Bidirectional` (`concat`), the backward direction reads the steps from the last
/// to the first, and what it gives is turned back for the next layer.
fn recurrent(
    x: Tensor<3>,
    layers: usize,
    bidirectional: bool,
    layer: &dyn Fn(Tensor<3>, &mut Rest<'_>) -> Tensor<3>,
    rest: &mut Rest<'_>,
    mut masks: std::vec::IntoIter<Tensor<3>>,
) -> Tensor<2> {
    let mut hidden = x;
    for number in 0..layers {
        let is_last = number + 1 == layers;
        let ended = |hidden: Tensor<3>| match hidden.dims()[0] {
            steps if is_last => hidden.narrow(0, steps - 1, 1),
            _ => hidden,
        };
        hidden = if bidirectional {
            let forward = ended(layer(hidden.clone(), rest));
            let backward = ended(layer(hidden.flip([0]), rest));
            let backward = if is_last { backward } else { backward.flip([0]) };
            Tensor::cat(vec![forward, backward], 2)
        } else {
            ended(layer(hidden, rest))
        };
        if let Some(mask) = masks.next() {
            hidden = hidden * mask;
        }
    }
    let [_, batch, width] = hidden.dims();
    hidden.reshape([batch, width])
}

fn flat(x: Tensor<3>) -> Tensor<2> {
    let [batch, window, inputs] = x.dims();
    x.reshape([batch, window * inputs])
}

/// Gives the moving average of `x`, `[batch, window, inputs]`, over `average` rows about each; at
/// the ends the first and the last row stand for those that are not there.
///
/// It is a running sum over plain values, since no gradient flows to the inputs of a network: a
/// pooling operation costs more than all else of the network's step.
fn moving_average(x: Tensor<3>, average: usize) -> Tensor<3> {
    let (shape, device) = (x.dims(), x.device());
    let [_, window, inputs] = shape;
    let edge = (average - 1) / 2;
    let data = x.into_data();
    // A network's inputs are f32, as its weights are.
    let values = data.as_slice::<f32>().expect("f32 inputs");
    let mut means = vec![0.0; values.len()];
    for (rows, means) in
        values.chunks_exact(window * inputs).zip(means.chunks_exact_mut(window * inputs))
    {
        for input in 0..inputs {
            let value = |row: usize| f64::from(rows[row.min(window - 1) * inputs + input]);
            // The rows about the first: itself, `edge` times itself, and `edge` rows after.
            let mut sum = value(0) * edge as f64 + (0..=edge).map(value).sum::<f64>();
            for row in 0..window {
                means[row * inputs + input] = (sum / average as f64) as f32;
                sum += value(row + edge + 1) - value(row.saturating_sub(edge));
            }
        }
    }
    Tensor::from_data(TensorData::new(means, shape), &device)
}

/// Takes the last value of the last input, the target's history, off all its values; gives that
/// value `[batch, 1]` too.
fn less_last(x: Tensor<3>) -> (Tensor<3>, Tensor<2>) {
    let [batch, window, inputs] = x.dims();
    let history = x.clone().narrow(2, inputs - 1, 1);
    let last = history.clone().narrow(1, window - 1, 1);
    let history = history - last.clone();
    let x = match inputs {
        1 => history,
        _ => Tensor::cat(vec![x.narrow(2, 0, inputs - 1), history], 2),
    };
    (x, last.reshape([batch, 1]))
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
