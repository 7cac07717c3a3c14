//! The LSTM layer on slices of `f32`, forward and backward over a whole sequence.
//!
//! Back-propagation through time after Graves, *Supervised Sequence Labelling* (2012), section
//! 4.6, arranged as cuDNN does (Appleyard 2016): the products of the inputs, and those of all
//! gradients but the recurrent one, are one matrix product over all steps; only `h[t-1]
//! w_recurrent` (forward) and `dz[t] w_recurrent'` (backward) go step by step, and the cell update
//! runs over their result while it is in cache. Products are those of the `gemm` crate, on one
//! thread; the cell update is vectorised in `cell.rs`. Layouts are those of the module above.
//!
//! Knows nothing of burn.

use super::cell;

/// The sizes of one layer's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a field is the size of that name")]
pub struct Shape {
    pub steps: usize,
    pub batch: usize,
    pub inputs: usize,
    pub units: usize,
}

/// A layer's weights, gates side by side.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `[inputs, 4 * units]`.
    pub input: &'a [f32],
    /// `[units, 4 * units]`.
    pub recurrent: &'a [f32],
    /// `[4 * units]`.
    pub bias: &'a [f32],
}

/// What the forward pass read and left, for the backward pass.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// `[steps, batch, inputs]`.
    pub x: &'a [f32],
    /// `[inputs, 4 * units]`.
    pub w_input: &'a [f32],
    /// `[units, 4 * units]`.
    pub w_recurrent: &'a [f32],
    /// `[steps, batch, units]`.
    pub hidden: &'a [f32],
    /// `[steps, batch, units]`.
    pub cells: &'a [f32],
}

/// Where the backward pass leaves its gradients; what they held before is overwritten.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `[steps, batch, inputs]`, where it is wanted.
    pub x: Option<&'a mut [f32]>,
    /// `[inputs, 4 * units]`.
    pub w_input: &'a mut [f32],
    /// `[units, 4 * units]`.
    pub w_recurrent: &'a mut [f32],
    /// `[4 * units]`.
    pub bias: &'a mut [f32],
}

/// Fills `gates` (`[steps, batch, 4 * units]`, activated), `cells` and `hidden` (`[steps, batch,
/// units]`); what they held before is overwritten.
///
/// # Panics
///
/// Where a slice is not of its shape's length.
pub fn forward(
    shape: Shape,
    x: &[f32],
    weights: Weights<'_>,
    gates: &mut [f32],
    cells: &mut [f32],
    hidden: &mut [f32],
) {
    let Shape { steps, batch, inputs, units } = shape;
    let (width, block) = (4 * units, batch * units);
    assert_eq!(weights.bias.len(), width, "the bias does not fit the units");
    let rows = Matrix::new(x, steps * batch, inputs);
    product(gates, false, rows, Matrix::new(weights.input, inputs, width));
    let recurrent = Matrix::new(weights.recurrent, units, width);
    for step in 0..steps {
        let z = &mut gates[step * batch * width..][..batch * width];
        let (before, c) = at_step(cells, step, block);
        let (h_before, h) = at_step(hidden, step, block);
        if let Some(h_before) = h_before {
            product(z, true, Matrix::new(h_before, batch, units), recurrent);
        }
        cell::forward(cell::Forward { bias: weights.bias, gates: z, before, cells: c, hidden: h });
    }
}

/// Fills `gradients` from `hidden`, the gradient of the hidden states; turns `gates` from the
/// activated gates of the forward pass into the gradient of `z`.
///
/// # Panics
///
/// Where a slice is not of its shape's length.
pub fn backward(
    shape: Shape,
    forward: Forward<'_>,
    hidden: &[f32],
    gates: &mut [f32],
    gradients: Gradients<'_>,
) {
    let Shape { steps, batch, inputs, units } = shape;
    let (width, block) = (4 * units, batch * units);
    // A product reads its right side's columns fastest where each lies in one piece; turned once,
    // the weights need not be packed again at each step.
    let turned = turned(forward.w_recurrent, units, width);
    let recurrent = Matrix::new(&turned, width, units);
    let mut from_later = vec![0.0; block];
    let mut cell_gradient = vec![0.0; block];
    for step in (0..steps).rev() {
        let z = &mut gates[step * batch * width..][..batch * width];
        cell::backward(cell::Backward {
            units,
            gates: z,
            before: (step > 0).then(|| &forward.cells[(step - 1) * block..step * block]),
            cells: &forward.cells[step * block..][..block],
            from_above: &hidden[step * block..][..block],
            from_later: &from_later,
            cell_gradient: &mut cell_gradient,
        });
        if step > 0 {
            product(&mut from_later, false, Matrix::new(z, batch, width), recurrent);
        }
    }
    let rows = steps * batch;
    let dz = Matrix::new(gates, rows, width);
    product(gradients.w_input, false, Matrix::new(forward.x, rows, inputs).transposed(), dz);
    let later = Matrix::new(&gates[batch * width..], rows - batch, width);
    let earlier = Matrix::new(&forward.hidden[..block * (steps - 1)], rows - batch, units);
    product(gradients.w_recurrent, false, earlier.transposed(), later);
    cell::column_sums(gates, gradients.bias);
    if let Some(x) = gradients.x {
        product(x, false, dz, Matrix::new(forward.w_input, inputs, width).transposed());
    }
}

/// Splits off block `step` of a sequence, and the block before it.
fn at_step(sequence: &mut [f32], step: usize, block: usize) -> (Option<&[f32]>, &mut [f32]) {
    let (earlier, rest) = sequence.split_at_mut(step * block);
    let before = (step > 0).then(|| &earlier[(step - 1) * block..]);
    (before, &mut rest[..block])
}

/// Copies the row-major `[rows, columns]` to `[columns, rows]`.
fn turned(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut turned = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(columns).enumerate() {
        for (column, &value) in values.iter().enumerate() {
            turned[column * rows + row] = value;
        }
    }
    turned
}

/// A view of a slice as a matrix.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Views a row-major slice.
    fn new(values: &'a [f32], rows: usize, columns: usize) -> Matrix<'a> {
        assert_eq!(values.len(), rows * columns, "a slice does not fit its shape");
        Matrix { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    fn transposed(self) -> Matrix<'a> {
        Matrix {
            values: self.values,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Writes `left right` to the row-major `result`, or adds it to what stands there.
fn product(result: &mut [f32], adds: bool, left: Matrix<'_>, right: Matrix<'_>) {
    assert_eq!(left.columns, right.rows, "the matrices do not fit each other");
    assert_eq!(result.len(), left.rows * right.columns, "the result does not fit the product");
    // SAFETY: each pointer comes from a slice whose length was compared with its shape, here or in
    // `Matrix::new`, and the strides are those of that shape or of its transpose, so gemm reads
    // and writes within the slices; `result` is borrowed mutably, so it overlaps neither input.
    unsafe {
        gemm::gemm(
            left.rows,
            right.columns,
            left.columns,
            result.as_mut_ptr(),
            1,
            right.columns as isize,
            adds,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
