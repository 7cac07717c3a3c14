//! A fused recurrent layer as an operation of burn: its place in the graph of gradients, and its
//! passes on the `flex` CPU backend.
//!
//! An operation reads `x`, `w_input`, `w_recurrent` and `bias`, in this order, and gives the hidden
//! states; the layouts are those of [`recurrent`](super::recurrent). Knows nothing of what a cell
//! does with them.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend};

pub mod flex;

/// A layer whose passes on a backend are written by hand.
pub trait Fused<B: Backend>: Clone + Send + Sync + Debug + 'static {
    /// What the forward pass keeps for the backward pass.
    type Tape: Clone + Send + Debug + 'static;

    /// Gives the hidden states and keeps nothing.
    fn infer(inputs: [FloatTensor<B>; 4]) -> FloatTensor<B>;

    /// Gives the hidden states, and the tape.
    fn forward(inputs: [FloatTensor<B>; 4]) -> (FloatTensor<B>, Self::Tape);

    /// Gives the gradients for that of the hidden states; that of `x` only where `wants_x`.
    fn backward(tape: Self::Tape, hidden: FloatTensor<B>, wants_x: bool) -> LayerGradients<B>;
}

/// The gradients of a layer's inputs, each under its input's name and in its shape.
pub struct LayerGradients<B: Backend> {
    pub x: Option<FloatTensor<B>>,
    pub w_input: FloatTensor<B>,
    pub w_recurrent: FloatTensor<B>,
    pub bias: FloatTensor<B>,
}

/// The backward step of the layer `L` in burn's graph.
#[derive(Debug)]
struct LayerBackward<L>(PhantomData<L>);

impl<B: Backend, L: Fused<B>> Backward<B, 4> for LayerBackward<L> {
    type State = L::Tape;

    fn backward(
        self,
        ops: Ops<L::Tape, 4>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let hidden = gradients.consume::<B>(&ops.node);
        let [x, w_input, w_recurrent, bias] = ops.parents;
        let given = L::backward(ops.state, hidden, x.is_some());
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

/// Gives the hidden states of the layer `L`; where a gradient will be asked for, with its place in
/// the graph.
pub fn tracked<L: Fused<B>, B: Backend, C: CheckpointStrategy>(
    inputs: [FloatTensor<Autodiff<B, C>>; 4],
) -> FloatTensor<Autodiff<B, C>> {
    let [(x, x_node), (w_input, w_input_node), (w_recurrent, w_recurrent_node), (bias, bias_node)] =
        inputs.map(|input| input.into_parts());
    let inputs = [x, w_input, w_recurrent, bias];
    let nodes = [x_node, w_input_node, w_recurrent_node, bias_node];
    let step = LayerBackward::<L>(PhantomData);
    match Backward::<B, 4>::prepare::<C>(step, nodes).compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (hidden, tape) = L::forward(inputs);
            prepared.finish(tape, hidden)
        }
        OpsKind::UnTracked(prepared) => prepared.finish(L::infer(inputs)),
    }
}

#[cfg(test)]
mod tests;
