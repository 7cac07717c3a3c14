//! The LSTM operation on libtorch: its own fused layer (`at::lstm`, oneDNN's on a CPU), and for the
//! gradients its own graph, one for each layer.
//!
//! libtorch has the gates in the order of this crate, with its weights turned (`[4 * units, inputs]`)
//! and two biases, which it adds: the second is 0 here. burn's tensors carry no graph of libtorch's.
//! So the forward pass makes leaves that share their memory, and the tape keeps leaves and output;
//! the backward pass asks for the leaves' gradients of the output's product with what comes from
//! above, summed, since that sum has the very gradients that are wanted.

use burn::backend::LibTorch;
use burn::backend::libtorch::TchTensor;
use tch::{Kind, Tensor};

use super::{Fused, LayerGradients, Lstm, LstmOps};

/// What the forward pass keeps for the backward pass.
///
/// Each tensor holds burn's count of the memory that it shares, and so burn changes none in place
/// while the tape lives.
#[derive(Clone, Debug)]
pub struct Tape {
    /// `x`, `w_input`, `w_recurrent` and `bias` as leaves of libtorch's graph.
    leaves: [TchTensor; 4],
    /// The hidden states as that graph gives them.
    hidden: TchTensor,
}

impl LstmOps for LibTorch {
    fn lstm(
        x: TchTensor,
        w_input: TchTensor,
        w_recurrent: TchTensor,
        bias: TchTensor,
    ) -> TchTensor {
        <Lstm as Fused<LibTorch>>::infer([x, w_input, w_recurrent, bias])
    }
}

impl Fused<LibTorch> for Lstm {
    type Tape = Tape;

    fn infer(inputs: [TchTensor; 4]) -> TchTensor {
        TchTensor::new(layer(inputs.each_ref().map(|given| &given.tensor), false))
    }

    fn forward(inputs: [TchTensor; 4]) -> (TchTensor, Tape) {
        let leaves = inputs.map(|given| TchTensor {
            tensor: given.tensor.detach().set_requires_grad(true),
            storage: given.storage,
        });
        let tensors = leaves.each_ref().map(|leaf| &leaf.tensor);
        let output = tch::with_grad(|| layer(tensors, true));
        let hidden = TchTensor::new(output.detach());
        let output = TchTensor { tensor: output, storage: hidden.storage.clone() };
        (hidden, Tape { leaves, hidden: output })
    }

    fn backward(tape: Tape, hidden: TchTensor, wants_x: bool) -> LayerGradients<LibTorch> {
        let sum = tch::with_grad(|| (&tape.hidden.tensor * &hidden.tensor).sum(Kind::Float));
        let wanted = &tape.leaves[usize::from(!wants_x)..];
        let wanted: Vec<&Tensor> = wanted.iter().map(|leaf| &leaf.tensor).collect();
        let gradients = Tensor::run_backward(&[sum], &wanted, false, false);
        // The gradient of a turned matrix comes turned.
        let mut gradients =
            gradients.into_iter().map(|gradient| TchTensor::new(gradient.contiguous()));
        let mut next = || gradients.next().expect("libtorch gives a gradient for each leaf");
        LayerGradients {
            x: wants_x.then(&mut next),
            w_input: next(),
            w_recurrent: next(),
            bias: next(),
        }
    }
}

/// Gives the hidden states of every step; for training, the layer keeps what its gradient needs.
fn layer([x, w_input, w_recurrent, bias]: [&Tensor; 4], train: bool) -> Tensor {
    let (_, batch, _) = x.size3().expect("`x` is `[steps, batch, inputs]`");
    let units = w_recurrent.size()[0];
    let state = Tensor::zeros([1, batch, units], (Kind::Float, x.device()));
    let parameters = [w_input.tr(), w_recurrent.tr(), bias.shallow_clone(), bias.zeros_like()];
    let states = [state.shallow_clone(), state];
    x.lstm(&states, &parameters, true, 1, 0.0, train, false, false).0
}
