//! The LSTM layer (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000) as one
//! operation over a whole sequence, in ways that agree: composed of burn operations ([`composed`],
//! the reference, for any backend) and as a burn backend extension ([`lstm`]) whose forward and
//! backward passes on the `flex` CPU backend are the hand-fused ones of
//! [`recurrent`](super::recurrent) with the cell [`Lstm`], and on libtorch those of its own layer.
//!
//! Knows nothing of networks, windows or training: tensors in, tensors out.
//!
//! Layouts, all row-major, with the gates side by side in Keras's order `i, f, g, o` (input,
//! forget, candidate, output) and one bias, so that weights pass to Keras as they are:
//!
//! | tensor | shape |
//! |---|---|
//! | `x` | `[steps, batch, inputs]` |
//! | `w_input` | `[inputs, 4 * units]` |
//! | `w_recurrent` | `[units, 4 * units]` |
//! | `bias` | `[4 * units]` |
//! | hidden states | `[steps, batch, units]` |
//!
//! Time comes first so that the rows of one step lie together: the recurrence reads and writes
//! whole blocks, and no layer copies a sequence to turn it. For each step `t`
//!
//! ```text
//! z = x[t] w_input + h[t-1] w_recurrent + bias
//! i, f, o = sigmoid(z_i, z_f, z_o);  g = tanh(z_g)
//! c[t] = f c[t-1] + i g;             h[t] = o tanh(c[t])
//! ```

use burn::Tensor;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::activation::{sigmoid, tanh};

use super::layer::{self, Fused, LayerGradients, flex};

mod cell;
#[cfg(feature = "tch")]
mod libtorch;

pub use cell::Lstm;

/// The LSTM layer as an operation of a backend.
#[backend_extension(Autodiff, Flex, LibTorch: cfg(feature = "tch"))]
pub trait LstmOps: Backend {
    /// Gives the hidden states of every step; the layouts are those of this module's header.
    fn lstm(
        x: FloatTensor<Self>,
        w_input: FloatTensor<Self>,
        w_recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

/// Gives the hidden states `[steps, batch, units]` of an LSTM layer, by the device's kernel.
///
/// The layouts are those of this module's header. Gradients flow to all four inputs.
///
/// # Panics
///
/// Where the shapes do not fit each other.
pub fn lstm(
    x: Tensor<3>,
    w_input: Tensor<2>,
    w_recurrent: Tensor<2>,
    bias: Tensor<1>,
) -> Tensor<3> {
    Tensor::from_dispatch(<Dispatch as LstmOps>::lstm(
        x.into_dispatch(),
        w_input.into_dispatch(),
        w_recurrent.into_dispatch(),
        bias.into_dispatch(),
    ))
}

/// Gives what [`lstm`] gives, composed of burn operations: one product for the inputs of all
/// steps, one for the recurrence of each.
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
    bias: Tensor<1>,
) -> Tensor<3> {
    let [steps, batch, inputs] = x.dims();
    let [units, width] = w_recurrent.dims();
    let z = x.reshape([steps * batch, inputs]).matmul(w_input) + bias.reshape([1, width]);
    let z = z.reshape([steps, batch, width]);
    let mut hidden = Vec::with_capacity(steps);
    let mut last: Option<(Tensor<2>, Tensor<2>)> = None;
    for step in 0..steps {
        let mut z = z.clone().narrow(0, step, 1).reshape([batch, width]);
        if let Some((h, _)) = &last {
            z = z + h.clone().matmul(w_recurrent.clone());
        }
        let gate = |index: usize| z.clone().narrow(1, index * units, units);
        let mut c = sigmoid(gate(0)) * tanh(gate(2));
        if let Some((_, before)) = last {
            c = c + sigmoid(gate(1)) * before;
        }
        let h = sigmoid(gate(3)) * tanh(c.clone());
        hidden.push(h.clone());
        last = Some((h, c));
    }
    Tensor::stack(hidden, 0)
}

impl LstmOps for Flex {
    fn lstm(
        x: FlexTensor,
        w_input: FlexTensor,
        w_recurrent: FlexTensor,
        bias: FlexTensor,
    ) -> FlexTensor {
        flex::infer::<Lstm>([x, w_input, w_recurrent, bias])
    }
}

impl Fused<Flex> for Lstm {
    type Tape = flex::Tape;

    fn infer(inputs: [FlexTensor; 4]) -> FlexTensor {
        flex::infer::<Lstm>(inputs)
    }

    fn forward(inputs: [FlexTensor; 4]) -> (FlexTensor, flex::Tape) {
        flex::forward::<Lstm>(inputs)
    }

    fn backward(tape: flex::Tape, hidden: FlexTensor, wants_x: bool) -> LayerGradients<Flex> {
        flex::backward::<Lstm>(tape, &hidden, wants_x)
    }
}

impl<B: Backend, C: CheckpointStrategy> LstmOps for Autodiff<B, C>
where
    Lstm: Fused<B>,
{
    fn lstm(
        x: FloatTensor<Self>,
        w_input: FloatTensor<Self>,
        w_recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        layer::tracked::<Lstm, B, C>([x, w_input, w_recurrent, bias])
    }
}
