//! A recurrent layer on burn's `flex` CPU backend: hands the tensors' memory to the kernel.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::{TensorData, TensorMetadata};

use super::LayerGradients;
use crate::model::recurrent::{self, Cell, Gradients, Keep, Passed, Shape, Weights};

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Debug)]
pub struct Tape {
    shape: Shape,
    /// `x`, `w_input`, `w_recurrent`, `bias`.
    inputs: [FlexTensor; 4],
    hidden: FlexTensor,
    kept: recurrent::Tape,
}

/// Gives the hidden states of a layer and keeps nothing.
pub fn infer<C: Cell>(inputs: [FlexTensor; 4]) -> FlexTensor {
    pass::<C>(inputs, Keep::Nothing).hidden
}

/// Gives the hidden states of a layer, and the tape.
pub fn forward<C: Cell>(inputs: [FlexTensor; 4]) -> (FlexTensor, Tape) {
    let tape = pass::<C>(inputs, Keep::Slots);
    (tape.hidden.clone(), tape)
}

fn pass<C: Cell>(inputs: [FlexTensor; 4], keep: Keep) -> Tape {
    let inputs = inputs.map(|tensor| tensor.to_contiguous());
    let (x, recurrent) = (inputs[0].shape(), inputs[2].shape());
    let shape = Shape { steps: x[0], batch: x[1], inputs: x[2], units: recurrent[0] };
    let mut hidden = vec![0.0; shape.steps * shape.batch * shape.units];
    let kept =
        recurrent::forward::<C>(shape, values(&inputs[0]), weights(&inputs), &mut hidden, keep);
    let hidden = tensor(hidden, &[shape.steps, shape.batch, shape.units]);
    Tape { shape, inputs, hidden, kept }
}

/// Gives the gradients of a layer for that of its hidden states.
pub fn backward<C: Cell>(tape: Tape, hidden: &FlexTensor, wants_x: bool) -> LayerGradients<Flex> {
    let Tape { shape, inputs, hidden: passed, kept } = tape;
    let zeros = |tensor: &FlexTensor| vec![0.0; tensor.shape().num_elements()];
    let mut x = wants_x.then(|| zeros(&inputs[0]));
    let [mut input, mut recurrent, mut bias] = [1, 2, 3].map(|index| zeros(&inputs[index]));
    let gradients = Gradients {
        x: x.as_deref_mut(),
        input: &mut input,
        recurrent: &mut recurrent,
        bias: &mut bias,
    };
    let passed =
        Passed { x: values(&inputs[0]), weights: weights(&inputs), hidden: values(&passed) };
    let hidden = hidden.to_contiguous();
    recurrent::backward::<C>(shape, passed, kept, values(&hidden), gradients);
    let like = |values, input: &FlexTensor| tensor(values, &input.shape());
    LayerGradients {
        x: x.map(|x| like(x, &inputs[0])),
        w_input: like(input, &inputs[1]),
        w_recurrent: like(recurrent, &inputs[2]),
        bias: like(bias, &inputs[3]),
    }
}

fn weights(inputs: &[FlexTensor; 4]) -> Weights<'_> {
    let [_, input, recurrent, bias] = inputs;
    Weights { input: values(input), recurrent: values(recurrent), bias: values(bias) }
}

fn values(tensor: &FlexTensor) -> &[f32] {
    // Every tensor that comes here was made contiguous; networks hold nothing but f32.
    tensor.as_slice::<f32>().expect("a contiguous f32 tensor")
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape.to_vec()))
}
