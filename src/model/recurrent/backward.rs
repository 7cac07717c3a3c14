//! The backward pass: the recurrence and the gradient of the inputs row by row; the gradients of
//! the weights follow in `sums.rs`.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::simd::{accumulate, load, rows_of_two, store};
use super::sums::{Product, gradients_of_weights};
use super::{
    Buffer, Cell, Gradients, Kept, Layout, Passed, SLOTS, Shape, Tape, pack, rows_of_a_piece,
};
use crate::model::team;

/// Fills `gradients` from `above`, the gradient of the hidden states (`[steps, batch, units]`).
///
/// # Panics
///
/// Where a slice is not of its shape's length, or `tape` is not of a forward pass of that shape
/// that kept its slots.
pub fn backward<C: Cell>(
    shape: Shape,
    passed: Passed<'_>,
    mut tape: Tape,
    above: &[f32],
    mut gradients: Gradients<'_>,
) {
    let Shape { steps, batch, inputs, units } = shape;
    let layout = Layout::new::<C>(tape.arch, units);
    let rows = steps * batch;
    assert_eq!(tape.slots.len(), rows * layout.slots(), "the forward pass did not keep its slots");
    assert_eq!(above.len(), rows * units, "the gradient does not fit the hidden states");
    through_rows::<C>(shape, layout, passed, &mut tape, above, gradients.x.take());
    let all = Product { left: passed.x, columns: inputs, slots: &tape.slots };
    // The slots of a step stand beside the hidden states of the step before.
    let later = Product {
        left: &passed.hidden[..(rows - batch) * units],
        columns: units,
        slots: &tape.slots[batch * layout.slots()..],
    };
    gradients_of_weights::<C>(tape.arch, shape, layout, [all, later], gradients);
}

/// Turns the slots of all steps to their gradients, and fills the gradient of the inputs.
fn through_rows<C: Cell>(
    shape: Shape,
    layout: Layout,
    passed: Passed<'_>,
    tape: &mut Tape,
    above: &[f32],
    x: Option<&mut [f32]>,
) {
    let Shape { steps, batch, inputs, units } = shape;
    // A sequence of one step has no use for the recurrent weights.
    let recurrent = if steps > 1 { passed.weights.recurrent } else { &[] };
    let recurrent = pack::turned(layout, C::RECURRENT, recurrent, units);
    let input = x.is_some().then(|| pack::turned(layout, C::INPUT, passed.weights.input, units));
    let wide = if x.is_some() { inputs } else { 0 };
    let piece = rows_of_a_piece(batch, steps * batch * units * layout.gates * (wide + units));
    let arch = tape.arch;
    let mut carried = Buffer::zeros(batch * layout.blocks * layout.lanes);
    let mut pieces = cut::<C>(shape, layout, piece, passed.hidden, tape, above, x);
    let carried = carried.chunks_mut((piece * layout.blocks * layout.lanes).max(1));
    let pieces = pieces.drain(..).zip(carried).collect();
    team::share(pieces, |(steps, carried): (Vec<Step<'_>>, &mut [f32])| {
        let (input, recurrent) = (input.as_deref(), &*recurrent);
        let cell = PhantomData::<C>;
        arch.dispatch(Rows { shape, layout, input, recurrent, steps, carried, cell });
    });
}

/// What some rows of a batch read and write at one step.
struct Step<'a> {
    slots: &'a mut [f32],
    /// The cells, or without any the hidden states.
    states: &'a [f32],
    above: &'a [f32],
    x: Option<&'a mut [f32]>,
}

/// Cuts the batch into pieces of `piece` rows; gives the steps of each.
fn cut<'a, C: Cell>(
    Shape { steps, batch, inputs, units }: Shape,
    layout: Layout,
    piece: usize,
    hidden: &'a [f32],
    tape: &'a mut Tape,
    above: &'a [f32],
    mut x: Option<&'a mut [f32]>,
) -> Vec<Vec<Step<'a>>> {
    let mut pieces: Vec<Vec<Step<'a>>> =
        (0..batch.div_ceil(piece)).map(|_| Vec::with_capacity(steps)).collect();
    let mut slots = &mut *tape.slots;
    let (states, width) =
        if C::CELLS { (&*tape.cells, layout.cells::<C>()) } else { (hidden, units) };
    for step in 0..steps {
        for (number, list) in pieces.iter_mut().enumerate() {
            let first = number * piece;
            let rows = piece.min(batch - first);
            let from = step * batch + first;
            list.push(Step {
                slots: slots.split_off_mut(..rows * layout.slots()).unwrap_or_default(),
                states: &states[from * width..][..rows * width],
                above: &above[from * units..][..rows * units],
                x: x.as_mut().and_then(|x| x.split_off_mut(..rows * inputs)),
            });
        }
    }
    pieces
}

/// The backward pass of some rows of a batch.
struct Rows<'a, C> {
    shape: Shape,
    layout: Layout,
    /// `[ceil(inputs / 2L), blocks, gates, L, 2, L]`, where the gradient of the inputs is wanted.
    input: Option<&'a [f32]>,
    /// `[ceil(units / 2L), blocks, gates, L, 2, L]`.
    recurrent: &'a [f32],
    /// In the order in which the forward pass went.
    steps: Vec<Step<'a>>,
    /// `[rows, blocks, L]`, zeros.
    carried: &'a mut [f32],
    cell: PhantomData<C>,
}

impl<C: Cell> WithSimd for Rows<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Shape { units, .. } = self.shape;
        let (recurrent, _) = S::as_simd_f32s(self.recurrent);
        let panel = self.layout.blocks * self.layout.gates * S::F32_LANES * 2;
        for step in (0..self.steps.len()).rev() {
            let (earlier, rest) = self.steps.split_at_mut(step);
            let (now, later) = rest.split_at_mut(1);
            let sides = Sides {
                layout: self.layout,
                units,
                before: earlier.last().map(|before| before.states),
                now: &mut now[0],
                later: later.first().map(|later| &*later.slots),
                carried: self.carried,
            };
            through_step::<S, C>(simd, sides, recurrent, panel);
        }
        let Some(input) = self.input else { return };
        let (input, _) = S::as_simd_f32s(input);
        for step in &mut self.steps {
            inputs_of_step::<S, C>(simd, self.shape, self.layout, input, step);
        }
    }
}

/// What the backward pass of one step reads and writes.
struct Sides<'a, 'b> {
    layout: Layout,
    units: usize,
    /// The states of the step before.
    before: Option<&'a [f32]>,
    now: &'a mut Step<'b>,
    /// The gradients of the slots of the step after.
    later: Option<&'a [f32]>,
    carried: &'a mut [f32],
}

/// Takes all rows and units back through one step.
#[inline(always)]
fn through_step<S: Simd, C: Cell>(
    simd: S,
    mut sides: Sides<'_, '_>,
    recurrent: &[S::f32s],
    panel: usize,
) {
    let rows = sides.now.above.len() / sides.units;
    for pair in 0..sides.layout.blocks.div_ceil(2) {
        let recurrent = recurrent.get(pair * panel..(pair + 1) * panel).unwrap_or_default();
        let mut row = 0;
        while rows_of_two(simd) == 8 && row + 8 <= rows {
            update::<S, C, 8>(simd, &mut sides, pair, row, recurrent);
            row += 8;
        }
        while row + 4 <= rows {
            update::<S, C, 4>(simd, &mut sides, pair, row, recurrent);
            row += 4;
        }
        while row < rows {
            update::<S, C, 1>(simd, &mut sides, pair, row, recurrent);
            row += 1;
        }
    }
}

/// Takes the rows `row .. row + R` of a pair of blocks of units back through one step.
#[inline(always)]
fn update<S: Simd, C: Cell, const R: usize>(
    simd: S,
    sides: &mut Sides<'_, '_>,
    pair: usize,
    row: usize,
    recurrent: &[S::f32s],
) {
    let Layout { lanes, blocks, .. } = sides.layout;
    let units = sides.units;
    let zero = simd.splat_f32s(0.0);
    let mut hidden = [[zero; 2]; R];
    for (r, hidden) in hidden.iter_mut().enumerate() {
        let above = &sides.now.above[(row + r) * units..][..units];
        *hidden = [load(simd, above, 2 * pair * lanes), load(simd, above, (2 * pair + 1) * lanes)];
    }
    if let Some(later) = sides.later {
        let at = SLOTS - C::INPUT.len();
        multiply::<S, C, R>(simd, &mut hidden, sides.layout, at, later, row, recurrent);
    }
    let width = if C::CELLS { blocks * lanes } else { units };
    let (slots, _) = S::as_mut_simd_f32s(sides.now.slots);
    let (carried, _) = S::as_mut_simd_f32s(sides.carried);
    for (r, hidden) in hidden.iter().enumerate() {
        for (half, &hidden) in hidden.iter().enumerate() {
            let block = 2 * pair + half;
            if block == blocks {
                break;
            }
            let state = (row + r) * width..(row + r + 1) * width;
            let slots = &mut slots[((row + r) * blocks + block) * SLOTS..][..SLOTS];
            let kept = Kept {
                slots: [slots[0], slots[1], slots[2], slots[3]],
                cell: match C::CELLS {
                    true => load(simd, &sides.now.states[state.clone()], block * lanes),
                    false => zero,
                },
                before: match sides.before {
                    Some(before) => load(simd, &before[state], block * lanes),
                    None => zero,
                },
            };
            let carried = &mut carried[(row + r) * blocks + block];
            let (gradients, carry) = C::backward(simd, kept, hidden, *carried);
            slots.copy_from_slice(&gradients);
            *carried = carry;
        }
    }
}

/// Adds the product of the slots `at ..` of rows `row .. row + R` with turned weights.
#[inline(always)]
fn multiply<S: Simd, C: Cell, const R: usize>(
    simd: S,
    sums: &mut [[S::f32s; 2]; R],
    layout: Layout,
    at: usize,
    slots: &[f32],
    row: usize,
    weights: &[S::f32s],
) {
    let gates = C::INPUT.len();
    // With a gate in every slot, all of a row is one run; else the runs of its blocks.
    let runs = if gates == SLOTS { 1 } else { layout.blocks };
    let run = layout.blocks * gates * S::F32_LANES / runs;
    for number in 0..runs {
        let start = (number * SLOTS + at) * S::F32_LANES;
        let left = std::array::from_fn(|r| {
            &slots[(row + r) * layout.blocks * SLOTS * S::F32_LANES + start..][..run]
        });
        let weights = &weights[number * run * 2..][..run * 2];
        accumulate::<S, R, 2>(simd, sums, [0, 2], left, weights);
    }
}

/// Fills the gradient of the inputs of one step from that of its slots.
#[inline(always)]
fn inputs_of_step<S: Simd, C: Cell>(
    simd: S,
    shape: Shape,
    layout: Layout,
    weights: &[S::f32s],
    step: &mut Step<'_>,
) {
    let rows = step.above.len() / shape.units;
    let Some(x) = step.x.as_deref_mut() else { return };
    let panel = layout.blocks * layout.gates * S::F32_LANES * 2;
    for (pair, weights) in weights.chunks_exact(panel).enumerate() {
        let mut row = 0;
        while rows_of_two(simd) == 8 && row + 8 <= rows {
            inputs_of_rows::<S, C, 8>(
                simd,
                shape.inputs,
                layout,
                [pair, row],
                weights,
                step.slots,
                x,
            );
            row += 8;
        }
        while row + 4 <= rows {
            inputs_of_rows::<S, C, 4>(
                simd,
                shape.inputs,
                layout,
                [pair, row],
                weights,
                step.slots,
                x,
            );
            row += 4;
        }
        while row < rows {
            inputs_of_rows::<S, C, 1>(
                simd,
                shape.inputs,
                layout,
                [pair, row],
                weights,
                step.slots,
                x,
            );
            row += 1;
        }
    }
}

#[inline(always)]
fn inputs_of_rows<S: Simd, C: Cell, const R: usize>(
    simd: S,
    inputs: usize,
    layout: Layout,
    [pair, row]: [usize; 2],
    weights: &[S::f32s],
    slots: &[f32],
    x: &mut [f32],
) {
    let mut sums = [[simd.splat_f32s(0.0); 2]; R];
    multiply::<S, C, R>(simd, &mut sums, layout, 0, slots, row, weights);
    for (r, sums) in sums.iter().enumerate() {
        let x = &mut x[(row + r) * inputs..][..inputs];
        for (half, &sum) in sums.iter().enumerate() {
            store(simd, x, (2 * pair + half) * S::F32_LANES, sum);
        }
    }
}
