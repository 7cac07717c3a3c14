//! The GRU layer (Cho et al. 2014, in Keras's variant `reset_after`, where the reset gate acts on
//! the product with the recurrent weights) as one operation over a whole sequence, in two ways that
//! agree: composed of burn operations ([`composed`], the reference, for any backend) and as a burn
//! backend extension ([`gru`]) whose forward and backward passes on the `flex` CPU backend are the
//! hand-fused ones of [`recurrent`](super::recurrent) with the cell [`Gru`].
//!
//! Knows nothing of networks, windows or training: tensors in, tensors out.
//!
//! Layouts, all row-major, with the gates side by side in Keras's order `z, r, h` (update, reset,
//! candidate), so that weights pass to Keras as they are:
//!
//! | tensor | shape |
//! |---|---|
//! | `x` | `[steps, batch, inputs]` |
//! | `w_input` | `[inputs, 3 * units]` |
//! | `w_recurrent` | `[units, 3 * units]` |
//! | `bias` | `[2, 3 * units]`: of the inputs, of the recurrence |
//! | hidden states | `[steps, batch, units]` |
//!
//! For each step `t`
//!
//! ```text
//! a = x[t] w_input + bias[0];        b = h[t-1] w_recurrent + bias[1]
//! z, r = sigmoid(a_z + b_z, a_r + b_r)
//! g = tanh(a_h + r b_h);             h[t] = z h[t-1] + (1 - z) g
//! ```

use burn::Tensor;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Device;
use burn::tensor::activation::{sigmoid, tanh};

use super::layer::{self, Fused, LayerGradients, flex};

mod cell;

pub use cell::Gru;

/// The GRU layer as an operation of a backend.
#[backend_extension(Autodiff, Flex)]
pub trait GruOps: Backend {
    /// Gives the hidden states of every step; the layouts are those of this module's header.
    fn gru(
        x: FloatTensor<Self>,
        w_input: FloatTensor<Self>,
        w_recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Gives the hidden states `[steps, batch, units]` of a GRU layer, by the device's kernel where it
/// has one.
///
/// The layouts are those of this module's header. Gradients flow to all four inputs.
///
/// # Panics
///
/// Where the shapes do not fit each other.
pub fn gru(x: Tensor<3>, w_input: Tensor<2>, w_recurrent: Tensor<2>, bias: Tensor<2>) -> Tensor<3> {
    if x.device() != Device::flex() {
        return composed(x, w_input, w_recurrent, bias);
    }
    Tensor::from_dispatch(<Dispatch as GruOps>::gru(
        x.into_dispatch(),
        w_input.into_dispatch(),
        w_recurrent.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Gives what [`gru`] gives, composed of burn operations: one product for the inputs of all steps,
/// one for the recurrence of each.
///
/// The reference for every kernel, and the way for a backend without one.
///
/// # Panics
///
/// Where the shapes do not fit each other.
pub fn composed(
    x: Tensor<3>,
    w_input: Tensor<2>,
    w_recurrent: Tensor<2>,
    bias: Tensor<2>,
) -> Tensor<3> {
    let [steps, batch, inputs] = x.dims();
    let [units, width] = w_recurrent.dims();
    let from_x = x.reshape([steps * batch, inputs]).matmul(w_input) + bias.clone().narrow(0, 0, 1);
    let from_x = from_x.reshape([steps, batch, width]);
    let bias = bias.narrow(0, 1, 1);
    let mut hidden = Vec::with_capacity(steps);
    let mut last: Option<Tensor<2>> = None;
    for step in 0..steps {
        let a = from_x.clone().narrow(0, step, 1).reshape([batch, width]);
        let b = match &last {
            Some(h) => h.clone().matmul(w_recurrent.clone()) + bias.clone(),
            None => bias.clone().expand([batch, width]),
        };
        let part = |of: &Tensor<2>, index: usize| of.clone().narrow(1, index * units, units);
        let z = sigmoid(part(&a, 0) + part(&b, 0));
        let r = sigmoid(part(&a, 1) + part(&b, 1));
        let g = tanh(part(&a, 2) + r * part(&b, 2));
        // z h + (1 - z) g, with one product less.
        let h = match last {
            Some(before) => g.clone() + z * (before - g),
            None => g.clone() - z * g,
        };
        hidden.push(h.clone());
        last = Some(h);
    }
    Tensor::stack(hidden, 0)
}

impl GruOps for Flex {
    fn gru(
        x: FlexTensor,
        w_input: FlexTensor,
        w_recurrent: FlexTensor,
        bias: FlexTensor,
    ) -> FlexTensor {
        flex::infer::<Gru>([x, w_input, w_recurrent, bias])
    }
}

impl Fused<Flex> for Gru {
    type Tape = flex::Tape;

    fn infer(inputs: [FlexTensor; 4]) -> FlexTensor {
        flex::infer::<Gru>(inputs)
    }

    fn forward(inputs: [FlexTensor; 4]) -> (FlexTensor, flex::Tape) {
        flex::forward::<Gru>(inputs)
    }

    fn backward(tape: flex::Tape, hidden: FlexTensor, wants_x: bool) -> LayerGradients<Flex> {
        flex::backward::<Gru>(tape, &hidden, wants_x)
    }
}

impl<B: Backend, C: CheckpointStrategy> GruOps for Autodiff<B, C>
where
    Gru: Fused<B>,
{
    fn gru(
        x: FloatTensor<Self>,
        w_input: FloatTensor<Self>,
        w_recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        layer::tracked::<Gru, B, C>([x, w_input, w_recurrent, bias])
    }
}
