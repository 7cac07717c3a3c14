//! The LSTM layer (Hochreiter and Schmidhuber 1997, with the forget gate of Gers 2000) as one
//! operation over a whole sequence, in ways that agree: composed of burn operations ([`composed`],
//! the reference, for any backend) and as a burn backend extension ([`lstm`]) whose forward and
//! backward passes on the `flex` CPU backend are the hand-fused ones of [`kernel`], and on libtorch
//! those of libtorch's own fused layer.
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
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::activation::{sigmoid, tanh};

mod cell;
mod flex;
pub mod kernel;
#[cfg(feature = "tch")]
mod libtorch;

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

/// A backend with a forward pass that keeps what its backward pass needs.
///
/// [`Autodiff`] over such a backend gets [`LstmOps`] by a backward pass written by hand.
pub trait LstmKernel: LstmOps {
    /// What the forward pass keeps: gates, cells and the tensors that it read.
    type Tape: Clone + Send + std::fmt::Debug + 'static;

    /// Gives the hidden states, and the tape.
    fn lstm_forward(
        x: FloatTensor<Self>,
        w_input: FloatTensor<Self>,
        w_recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, Self::Tape);

    /// Gives the gradients for that of the hidden states; that of `x` only where `wants_x`.
    fn lstm_backward(
        tape: Self::Tape,
        hidden: FloatTensor<Self>,
        wants_x: bool,
    ) -> LstmGradients<Self>;
}

/// The gradients of an LSTM layer's inputs, each in the shape of its input.
#[expect(missing_docs, reason = "a field is the gradient of the input of that name")]
pub struct LstmGradients<B: Backend> {
    pub x: Option<FloatTensor<B>>,
    pub w_input: FloatTensor<B>,
    pub w_recurrent: FloatTensor<B>,
    pub bias: FloatTensor<B>,
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

/// The backward step of [`LstmOps::lstm`] in burn's graph.
#[derive(Debug)]
struct LstmBackward;

impl<B: LstmKernel> Backward<B, 4> for LstmBackward {
    type State = B::Tape;

    fn backward(
        self,
        ops: Ops<B::Tape, 4>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let hidden = gradients.consume::<B>(&ops.node);
        let [x, w_input, w_recurrent, bias] = ops.parents;
        let given = B::lstm_backward(ops.state, hidden, x.is_some());
        let weights = [given.w_input, given.w_recurrent, given.bias];
        for (node, gradient) in [w_input, w_recurrent, bias].into_iter().zip(weights) {
            if let Some(node) = node {
                gradients.register::<B>(node.id, gradient);
            }
        }
        if let (Some(node), Some(gradient)) = (x, given.x) {
            gradients.register::<B>(node.id, gradient);
        }
    }
}

impl<B: LstmKernel, C: CheckpointStrategy> LstmOps for Autodiff<B, C> {
    fn lstm(
        x: FloatTensor<Self>,
        w_input: FloatTensor<Self>,
        w_recurrent: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (w_input, w_input_node) = w_input.into_parts();
        let (w_recurrent, w_recurrent_node) = w_recurrent.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let nodes = [x_node, w_input_node, w_recurrent_node, bias_node];
        match Backward::<B, 4>::prepare::<C>(LstmBackward, nodes).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (hidden, tape) = B::lstm_forward(x, w_input, w_recurrent, bias);
                prepared.finish(tape, hidden)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(B::lstm(x, w_input, w_recurrent, bias)),
        }
    }
}

#[cfg(test)]
mod tests;
