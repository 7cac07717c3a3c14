//! The forward pass.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::simd::{accumulate, load, rows_of_four, store};
use super::{Buffer, Cell, Layout, SLOTS, Shape, Tape, Weights, pack, rows_of_a_piece};
use crate::model::team;

/// Whether a backward pass will follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Yes: keep the slots of all steps.
    Slots,
    /// No.
    Nothing,
}

/// Fills `hidden` (`[steps, batch, units]`; what it held before is overwritten) and gives what the
/// backward pass needs.
///
/// # Panics
///
/// Where a slice is not of its shape's length.
pub fn forward<C: Cell>(
    shape: Shape,
    x: &[f32],
    weights: Weights<'_>,
    hidden: &mut [f32],
    keep: Keep,
) -> Tape {
    forward_on::<C>(Arch::new(), shape, x, weights, hidden, keep)
}

/// Does what [`forward`] does by the instruction set of `arch`.
///
/// # Panics
///
/// Where a slice is not of its shape's length.
pub fn forward_on<C: Cell>(
    arch: Arch,
    shape: Shape,
    x: &[f32],
    weights: Weights<'_>,
    hidden: &mut [f32],
    keep: Keep,
) -> Tape {
    let Shape { steps, batch, inputs, units } = shape;
    let layout = Layout::new::<C>(arch, units);
    let rows = steps * batch;
    assert_eq!(x.len(), rows * inputs, "the inputs do not fit their shape");
    assert_eq!(hidden.len(), rows * units, "the hidden states do not fit their shape");
    assert_eq!(weights.input.len(), inputs * layout.gates * units, "input weights");
    assert_eq!(weights.recurrent.len(), units * layout.gates * units, "recurrent weights");
    assert_eq!(weights.bias.len(), C::BIASES * layout.gates * units, "the bias");
    // A sequence of one step has no use for the recurrent weights.
    let recurrent = if steps > 1 { weights.recurrent } else { &[] };
    let packed = Packed {
        input: pack::panels(layout, C::INPUT, weights.input, units),
        recurrent: pack::panels(layout, C::RECURRENT, recurrent, units),
        bias: pack::bias::<C>(layout, weights, units),
    };
    let kept = if keep == Keep::Slots { rows * layout.slots() } else { 0 };
    let mut tape =
        Tape { arch, slots: Buffer::take(kept), cells: Buffer::take(rows * layout.cells::<C>()) };
    let operations = rows * units * layout.gates * (inputs + units);
    let piece = rows_of_a_piece(batch, operations);
    let steps = cut(shape, layout, piece, layout.cells::<C>(), x, &mut tape, hidden);
    team::share(steps, |steps| {
        arch.dispatch(Rows { shape, layout, packed: &packed, steps, cell: PhantomData::<C> });
    });
    tape
}

/// The packed weights of a layer.
struct Packed {
    /// `[blocks, inputs, gates, L]`.
    input: Buffer,
    /// `[blocks, units, gates, L]`.
    recurrent: Buffer,
    /// `[blocks, 4, L]`.
    bias: Buffer,
}

/// What some rows of a batch read and write at one step.
struct Step<'a> {
    x: &'a [f32],
    slots: &'a mut [f32],
    cells: &'a mut [f32],
    hidden: &'a mut [f32],
}

/// Cuts the batch into pieces of `piece` rows; gives the steps of each.
fn cut<'a>(
    Shape { steps, batch, inputs, units }: Shape,
    layout: Layout,
    piece: usize,
    cells: usize,
    x: &'a [f32],
    tape: &'a mut Tape,
    hidden: &'a mut [f32],
) -> Vec<Vec<Step<'a>>> {
    let mut pieces: Vec<Vec<Step<'a>>> =
        (0..batch.div_ceil(piece)).map(|_| Vec::with_capacity(steps)).collect();
    let (mut slots, mut all_cells, mut hidden) = (&mut *tape.slots, &mut *tape.cells, hidden);
    for step in 0..steps {
        for (number, list) in pieces.iter_mut().enumerate() {
            let first = number * piece;
            let rows = piece.min(batch - first);
            let kept = if slots.is_empty() { 0 } else { rows * layout.slots() };
            list.push(Step {
                x: &x[(step * batch + first) * inputs..][..rows * inputs],
                slots: slots.split_off_mut(..kept).unwrap_or_default(),
                cells: all_cells.split_off_mut(..rows * cells).unwrap_or_default(),
                hidden: hidden.split_off_mut(..rows * units).unwrap_or_default(),
            });
        }
    }
    pieces
}

/// The forward pass of some rows of a batch.
struct Rows<'a, C> {
    shape: Shape,
    layout: Layout,
    packed: &'a Packed,
    /// In the order in which they follow each other.
    steps: Vec<Step<'a>>,
    cell: PhantomData<C>,
}

impl<C: Cell> WithSimd for Rows<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Shape { inputs, units, .. } = self.shape;
        for step in 0..self.steps.len() {
            let (earlier, rest) = self.steps.split_at_mut(step);
            let (before, now) = (earlier.last(), &mut rest[0]);
            let rows = now.hidden.len() / units;
            for block in 0..self.layout.blocks {
                let part = |packed, length| {
                    let (panels, _) = S::as_simd_f32s(packed);
                    panels.get(block * length..(block + 1) * length).unwrap_or_default()
                };
                let panels = Panels {
                    input: part(&self.packed.input, inputs * self.layout.gates),
                    recurrent: part(&self.packed.recurrent, units * self.layout.gates),
                    bias: part(&self.packed.bias, SLOTS),
                };
                let place = [self.layout.blocks, block];
                let mut row = 0;
                while rows_of_four(simd) == 4 && row + 4 <= rows {
                    update::<S, C, 4>(simd, self.shape, place, row, &panels, before, now);
                    row += 4;
                }
                while row + 2 <= rows {
                    update::<S, C, 2>(simd, self.shape, place, row, &panels, before, now);
                    row += 2;
                }
                if row < rows {
                    update::<S, C, 1>(simd, self.shape, place, row, &panels, before, now);
                }
            }
        }
    }
}

/// The packed weights of one block.
struct Panels<'a, S: Simd> {
    input: &'a [S::f32s],
    recurrent: &'a [S::f32s],
    bias: &'a [S::f32s],
}

/// Updates one block of units in the rows `row .. row + R`.
#[inline(always)]
fn update<S: Simd, C: Cell, const R: usize>(
    simd: S,
    shape: Shape,
    [blocks, block]: [usize; 2],
    row: usize,
    panels: &Panels<'_, S>,
    before: Option<&Step<'_>>,
    now: &mut Step<'_>,
) {
    let Shape { inputs, units, .. } = shape;
    let gates = C::INPUT.len();
    let bias = std::array::from_fn(|slot| panels.bias[slot]);
    let mut sums = [bias; R];
    let x = std::array::from_fn(|r| &now.x[(row + r) * inputs..][..inputs]);
    accumulate::<S, R, SLOTS>(simd, &mut sums, [0, gates], x, panels.input);
    if let Some(before) = before {
        let hidden = std::array::from_fn(|r| &before.hidden[(row + r) * units..][..units]);
        let recurrent = panels.recurrent;
        accumulate::<S, R, SLOTS>(simd, &mut sums, [SLOTS - gates, gates], hidden, recurrent);
    }
    for r in 0..R {
        let (at, cells) = (block * S::F32_LANES, blocks * S::F32_LANES);
        let cell = (row + r) * cells + at;
        let state = (row + r) * units..(row + r + 1) * units;
        let last = match before {
            None => simd.splat_f32s(0.0),
            Some(before) if C::CELLS => load(simd, before.cells, cell),
            Some(before) => load(simd, &before.hidden[state.clone()], at),
        };
        let (slots, hidden, new_cell) = C::forward(simd, sums[r], last);
        if C::CELLS {
            store(simd, now.cells, cell, new_cell);
        }
        store(simd, &mut now.hidden[state], at, hidden);
        if !now.slots.is_empty() {
            let (kept, _) = S::as_mut_simd_f32s(now.slots);
            kept[((row + r) * blocks + block) * SLOTS..][..SLOTS].copy_from_slice(&slots);
        }
    }
}
