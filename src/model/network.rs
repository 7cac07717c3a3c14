//! Networks: the named parameters of one and their initial values; `forward` has its passes.
//!
//! All parameters of a network lie in one flat vector, so that an optimizer's update, a checkpoint
//! and a copy of the best weights are each one loop; burn's tensors are made of its parts for a
//! step. Initial values are Keras's defaults: Glorot-uniform input weights, orthogonal recurrent
//! weights, and a bias of 0 but 1 for the forget gate of an LSTM. The weights of the linear
//! networks are uniform below one over the root of their inputs, as their authors have them.

use std::ops::Range;

use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use super::Network;
use crate::data::window::Layout;
use crate::random::generator;

mod forward;

pub use forward::Weights;

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

/// What a network reads and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows of a window.
    pub window: usize,
    /// Inputs of a row.
    pub inputs: usize,
    /// Numbers that the network gives for a window: `[steps, quantiles]`, flattened.
    pub outputs: usize,
}

impl Network {
    /// Lists the parameters of the network in the order in which they lie.
    ///
    /// | layer `n` of | parameters |
    /// |---|---|
    /// | LSTM | `lstm_n.kernel` `[in, 4u]`, `lstm_n.recurrent_kernel` `[u, 4u]`, `lstm_n.bias` `[4u]`; gates i, f, g, o |
    /// | GRU | `gru_n.kernel` `[in, 3u]`, `gru_n.recurrent_kernel` `[u, 3u]`, `gru_n.bias` `[2, 3u]`, of the inputs and of the recurrence; gates z, r, h |
    /// | MLP | `dense_n.kernel` `[in, u]`, `dense_n.bias` `[u]`; the first reads `[window, inputs]` flattened |
    ///
    /// A bidirectional layer has them twice, `lstm_n.forward.kernel` and so on before
    /// `lstm_n.backward.kernel` and so on, and the next one reads `2u`. These networks end with
    /// `dense.kernel` `[width, outputs]` and `dense.bias` `[outputs]`. DLinear has `trend.kernel`
    /// `[window * inputs, outputs]`, `trend.bias`, `remainder.kernel` and `remainder.bias`; NLinear
    /// has `linear.kernel` and `linear.bias`.
    pub fn parameters(&self, sizes: Sizes) -> Vec<Parameter> {
        let mut list = List(Vec::new());
        let flat = sizes.window * sizes.inputs;
        match self {
            Network::Lstm { units, bidirectional, .. } => {
                let width = list.recurrent("lstm", 4, &[], sizes.inputs, units, *bidirectional);
                list.dense("dense", width, sizes.outputs);
            }
            Network::Gru { units, bidirectional, .. } => {
                let width = list.recurrent("gru", 3, &[2], sizes.inputs, units, *bidirectional);
                list.dense("dense", width, sizes.outputs);
            }
            Network::Mlp { units, .. } => {
                let mut width = flat;
                for (layer, &units) in units.iter().enumerate() {
                    list.dense(&format!("dense_{layer}"), width, units);
                    width = units;
                }
                list.dense("dense", width, sizes.outputs);
            }
            Network::Dlinear { .. } => {
                list.dense("trend", flat, sizes.outputs);
                list.dense("remainder", flat, sizes.outputs);
            }
            Network::Nlinear {} => list.dense("linear", flat, sizes.outputs),
        }
        list.0
    }

    /// Draws initial parameters: a function of the network, its sizes and `seed` alone.
    pub fn initial(&self, sizes: Sizes, seed: u64) -> Vec<f32> {
        let parameters = self.parameters(sizes);
        let mut values = vec![0.0; parameters.last().map_or(0, |last| last.range.end)];
        for (number, parameter) in parameters.iter().enumerate() {
            let values = &mut values[parameter.range.clone()];
            let mut generator = generator(seed, "initial weights", &[number as u64]);
            let role = parameter.name.rsplit('.').next();
            match (role, &parameter.shape[..]) {
                (Some("recurrent_kernel"), &[rows, columns]) => {
                    let mut normal = || StandardNormal.sample(&mut generator);
                    values.copy_from_slice(&orthogonal(rows, columns, &mut normal));
                }
                (Some("kernel"), &[rows, columns]) => {
                    let limit = match self {
                        Network::Dlinear { .. } | Network::Nlinear {} => (rows as f32).powf(-0.5),
                        _ => (6.0 / (rows + columns) as f32).sqrt(),
                    };
                    values.fill_with(|| generator.random_range(-limit..limit));
                }
                (_, &[width]) if parameter.name.starts_with("lstm") => {
                    values[width / 4..width / 2].fill(1.0);
                }
                _ => {}
            }
        }
        values
    }

    /// Says how the windows lie that the network reads.
    pub fn layout(&self) -> Layout {
        match self {
            Network::Lstm { .. } | Network::Gru { .. } => Layout::StepsFirst,
            Network::Mlp { .. } | Network::Dlinear { .. } | Network::Nlinear {} => {
                Layout::WindowsFirst
            }
        }
    }
}

/// Parameters one after another.
struct List(Vec<Parameter>);

impl List {
    fn add(&mut self, name: String, shape: Vec<usize>) {
        let start = self.0.last().map_or(0, |last| last.range.end);
        let range = start..start + shape.iter().product::<usize>();
        self.0.push(Parameter { name, shape, range });
    }

    fn dense(&mut self, name: &str, width: usize, units: usize) {
        self.add(format!("{name}.kernel"), vec![width, units]);
        self.add(format!("{name}.bias"), vec![units]);
    }

    /// Adds recurrent layers over `width` inputs and gives the width of the last; `biases` comes
    /// before the gates in the shape of a bias.
    fn recurrent(
        &mut self,
        kind: &str,
        gates: usize,
        biases: &[usize],
        mut width: usize,
        units: &[usize],
        bidirectional: bool,
    ) -> usize {
        let directions: &[&str] = if bidirectional { &[".forward", ".backward"] } else { &[""] };
        for (layer, &units) in units.iter().enumerate() {
            for direction in directions {
                let name = format!("{kind}_{layer}{direction}");
                self.add(format!("{name}.kernel"), vec![width, gates * units]);
                self.add(format!("{name}.recurrent_kernel"), vec![units, gates * units]);
                self.add(format!("{name}.bias"), [biases, &[gates * units]].concat());
            }
            width = directions.len() * units;
        }
        width
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

#[cfg(test)]
mod tests;
