//! The LSTM operation on burn's `flex` CPU backend: hands the tensors' memory to the kernel.

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::{TensorData, TensorMetadata};

use super::kernel::{self, Shape, Weights};
use super::{LstmGradients, LstmKernel, LstmOps};

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Debug)]
pub struct Tape {
    shape: Shape,
    x: FlexTensor,
    w_input: FlexTensor,
    w_recurrent: FlexTensor,
    hidden: FlexTensor,
    gates: Vec<f32>,
    cells: Vec<f32>,
}

impl LstmOps for Flex {
    fn lstm(
        x: FlexTensor,
        w_input: FlexTensor,
        w_recurrent: FlexTensor,
        bias: FlexTensor,
    ) -> FlexTensor {
        <Flex as LstmKernel>::lstm_forward(x, w_input, w_recurrent, bias).0
    }
}

impl LstmKernel for Flex {
    type Tape = Tape;

    fn lstm_forward(
        x: FlexTensor,
        w_input: FlexTensor,
        w_recurrent: FlexTensor,
        bias: FlexTensor,
    ) -> (FlexTensor, Tape) {
        let shape = shape(&x, &w_recurrent);
        let [x, w_input, w_recurrent, bias] =
            [x, w_input, w_recurrent, bias].map(|tensor| tensor.to_contiguous());
        let rows = shape.steps * shape.batch;
        let mut gates = vec![0.0; rows * 4 * shape.units];
        let mut cells = vec![0.0; rows * shape.units];
        let mut hidden = vec![0.0; rows * shape.units];
        let weights = Weights {
            input: values(&w_input),
            recurrent: values(&w_recurrent),
            bias: values(&bias),
        };
        kernel::forward(shape, values(&x), weights, &mut gates, &mut cells, &mut hidden);
        let hidden = tensor(hidden, vec![shape.steps, shape.batch, shape.units]);
        let tape = Tape { shape, x, w_input, w_recurrent, hidden: hidden.clone(), gates, cells };
        (hidden, tape)
    }

    fn lstm_backward(mut tape: Tape, hidden: FlexTensor, wants_x: bool) -> LstmGradients<Flex> {
        let Shape { steps, batch, inputs, units } = tape.shape;
        let mut x = wants_x.then(|| vec![0.0; steps * batch * inputs]);
        let mut w_input = vec![0.0; inputs * 4 * units];
        let mut w_recurrent = vec![0.0; units * 4 * units];
        let mut bias = vec![0.0; 4 * units];
        let forward = kernel::Forward {
            x: values(&tape.x),
            w_input: values(&tape.w_input),
            w_recurrent: values(&tape.w_recurrent),
            hidden: values(&tape.hidden),
            cells: &tape.cells,
        };
        let gradients = kernel::Gradients {
            x: x.as_deref_mut(),
            w_input: &mut w_input,
            w_recurrent: &mut w_recurrent,
            bias: &mut bias,
        };
        let hidden = hidden.to_contiguous();
        kernel::backward(tape.shape, forward, values(&hidden), &mut tape.gates, gradients);
        LstmGradients {
            x: x.map(|x| tensor(x, vec![steps, batch, inputs])),
            w_input: tensor(w_input, vec![inputs, 4 * units]),
            w_recurrent: tensor(w_recurrent, vec![units, 4 * units]),
            bias: tensor(bias, vec![4 * units]),
        }
    }
}

fn shape(x: &FlexTensor, w_recurrent: &FlexTensor) -> Shape {
    let (x, recurrent) = (x.shape(), w_recurrent.shape());
    Shape { steps: x[0], batch: x[1], inputs: x[2], units: recurrent[0] }
}

fn values(tensor: &FlexTensor) -> &[f32] {
    // Every tensor that comes here was made contiguous; networks hold nothing but f32.
    tensor.as_slice::<f32>().expect("a contiguous f32 tensor")
}

fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
