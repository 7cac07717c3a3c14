//! The backward pass: the recurrence and the gradient of the inputs row by row, then the gradients
//! of the weights block by block.

use std::marker::PhantomData;

use pulp::{Simd, WithSimd};

use super::simd::{accumulate, accumulate_columns, load, rows_of_four, rows_of_two, store};
use super::{
    Buffer, Cell, Direction, Gradients, Kept, Layout, Passed, SLOTS, Shape, Tape, WORTH_SHARING,
    pack, rows_of_a_piece,
};
use crate::model::team;

/// Rows of a product over all rows that are summed at a time: their slots of one block, packed,
/// fill a third of the first cache.
const CHUNK: usize = 64;

/// Fills `gradients` from `above`, the gradient of the hidden states (`[steps, batch, units]`).
///
/// # Panics
///
/// Where a slice is not of its shape's length, or `tape` is not of a forward pass of that shape
/// that kept its slots.
pub fn backward<C: Cell>(
    shape: Shape,
    direction: Direction,
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
    through_rows::<C>(shape, layout, direction, passed, &mut tape, above, gradients.x.take());
    // Step by step, rows of slots stand beside the hidden states of the step before.
    let (earlier, later) = match direction {
        Direction::Forward => (0, batch),
        Direction::Backward => (batch, 0),
    };
    let pairs = rows - batch;
    let width = layout.slots();
    let products = [
        Product { left: passed.x, columns: inputs, slots: &tape.slots },
        Product {
            left: &passed.hidden[earlier * units..][..pairs * units],
            columns: units,
            slots: &tape.slots[later * width..][..pairs * width],
        },
    ];
    // A row of sums for each column of both left sides, and one for the bias.
    let panel = (inputs + units + 1) * SLOTS * layout.lanes;
    let mut sums = Buffer::zeros(layout.blocks * panel);
    let blocks: Vec<(usize, &mut [f32])> = sums.chunks_exact_mut(panel).enumerate().collect();
    let sum = |(block, sums)| {
        tape.arch.dispatch(Sums { layout, products, block, sums, cell: PhantomData::<C> });
    };
    if rows * panel < WORTH_SHARING {
        blocks.into_iter().for_each(sum);
    } else {
        team::share(blocks, sum);
    }
    for (block, sums) in sums.chunks_exact(panel).enumerate() {
        hand_out::<C>(shape, layout, block, sums, &mut gradients);
    }
}

/// Copies one block's sums to the gradients of the weights.
fn hand_out<C: Cell>(
    Shape { inputs, units, .. }: Shape,
    Layout { lanes, gates, blocks }: Layout,
    block: usize,
    sums: &[f32],
    gradients: &mut Gradients<'_>,
) {
    let (start, end) = (block * lanes, units.min((block + 1) * lanes));
    let mut rows = sums.chunks_exact(SLOTS * lanes);
    let recurrent_at = SLOTS - gates;
    let sides = [
        (&mut *gradients.input, inputs, C::INPUT, 0),
        (&mut *gradients.recurrent, units, C::RECURRENT, recurrent_at),
    ];
    for (gradient, count, order, at) in sides {
        let places = gradient.chunks_exact_mut(gates * units);
        for (place, row) in places.zip(rows.by_ref().take(count)) {
            for (n, gate) in order.iter().enumerate() {
                place[gate * units + start..gate * units + end]
                    .copy_from_slice(&row[(at + n) * lanes..][..end - start]);
            }
        }
    }
    // The last row is that of the bias.
    let Some(row) = rows.next() else { return };
    let layout = Layout { lanes, gates, blocks };
    for (slot, bias) in pack::bias_rows::<C>(layout) {
        gradients.bias[bias * units + start..bias * units + end]
            .copy_from_slice(&row[slot * lanes..][..end - start]);
    }
}

/// Turns the slots of all steps to their gradients, and fills the gradient of the inputs.
fn through_rows<C: Cell>(
    shape: Shape,
    layout: Layout,
    direction: Direction,
    passed: Passed<'_>,
    tape: &mut Tape,
    above: &[f32],
    x: Option<&mut [f32]>,
) {
    let Shape { steps, batch, inputs, units } = shape;
    let recurrent = pack::turned(layout, C::RECURRENT, passed.weights.recurrent, units);
    let input = x.is_some().then(|| pack::turned(layout, C::INPUT, passed.weights.input, units));
    let wide = if x.is_some() { inputs } else { 0 };
    let piece = rows_of_a_piece(batch, steps * batch * units * layout.gates * (wide + units));
    let arch = tape.arch;
    let mut carried = Buffer::zeros(batch * layout.blocks * layout.lanes);
    let mut pieces = cut::<C>(shape, layout, piece, passed.hidden, tape, above, x);
    let carried = carried.chunks_mut((piece * layout.blocks * layout.lanes).max(1));
    let pieces = pieces.drain(..).zip(carried).collect();
    team::share(pieces, |(mut steps, carried): (Vec<Step<'_>>, &mut [f32])| {
        if direction == Direction::Backward {
            steps.reverse();
        }
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
        let recurrent = &recurrent[pair * panel..][..panel];
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
            inputs_of_rows::<S, C, 8>(simd, shape.inputs, layout, [pair, row], weights, step.slots, x);
            row += 8;
        }
        while row + 4 <= rows {
            inputs_of_rows::<S, C, 4>(simd, shape.inputs, layout, [pair, row], weights, step.slots, x);
            row += 4;
        }
        while row < rows {
            inputs_of_rows::<S, C, 1>(simd, shape.inputs, layout, [pair, row], weights, step.slots, x);
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

/// A product of the transpose of `left` with slots, over all rows.
#[derive(Clone, Copy)]
struct Product<'a> {
    /// `[rows, columns]`.
    left: &'a [f32],
    columns: usize,
    /// `[rows, blocks, 4, L]`.
    slots: &'a [f32],
}

/// The sums over all rows for one block of units.
struct Sums<'a, C> {
    layout: Layout,
    products: [Product<'a>; 2],
    block: usize,
    /// `[columns of both products and 1, 4, L]`, zeros.
    sums: &'a mut [f32],
    cell: PhantomData<C>,
}

impl<C: Cell> WithSimd for Sums<'_, C> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (sums, _) = S::as_mut_simd_f32s(self.sums);
        let (sums, _) = sums.as_chunks_mut::<SLOTS>();
        let [input, recurrent] = self.products;
        let (of_input, sums) = sums.split_at_mut(input.columns);
        let (of_recurrent, of_bias) = sums.split_at_mut(recurrent.columns);
        let place = [self.layout.blocks, self.block];
        let gates = C::INPUT.len();
        multiply_all(simd, input, [0, gates], place, of_input);
        multiply_all(simd, recurrent, [SLOTS - gates, gates], place, of_recurrent);
        let (slots, _) = S::as_simd_f32s(input.slots);
        for row in slots.chunks_exact(self.layout.blocks * SLOTS) {
            let slots = &row[self.block * SLOTS..][..SLOTS];
            for (sum, &slot) in of_bias[0].iter_mut().zip(slots) {
                *sum = simd.add_f32s(*sum, slot);
            }
        }
    }
}

/// Adds a product over all rows for the slots `at .. at + width` of one block.
#[inline(always)]
fn multiply_all<S: Simd>(
    simd: S,
    Product { left, columns, slots }: Product<'_>,
    [at, width]: [usize; 2],
    [blocks, block]: [usize; 2],
    sums: &mut [[S::f32s; SLOTS]],
) {
    let mut packed = [[simd.splat_f32s(0.0); SLOTS]; CHUNK];
    let (slots, _) = S::as_simd_f32s(slots);
    let chunks = left.chunks(CHUNK * columns).zip(slots.chunks(CHUNK * blocks * SLOTS));
    for (left, slots) in chunks {
        // Read where they lie, a power of two apart, rows would push each other from the cache.
        for (packed, row) in packed.iter_mut().zip(slots.chunks_exact(blocks * SLOTS)) {
            packed.copy_from_slice(&row[block * SLOTS..][..SLOTS]);
        }
        let rows = left.len() / columns;
        add_columns(simd, sums, [at, width], left, columns, packed[..rows].as_flattened());
    }
}

/// Adds the product of the transpose of `left` with packed slots.
#[inline(always)]
fn add_columns<S: Simd>(
    simd: S,
    sums: &mut [[S::f32s; SLOTS]],
    range: [usize; 2],
    left: &[f32],
    columns: usize,
    packed: &[S::f32s],
) {
    let mut column = 0;
    while rows_of_four(simd) == 4 && column + 4 <= columns {
        add_some::<S, 4>(simd, sums, range, left, column, packed);
        column += 4;
    }
    while column + 2 <= columns {
        add_some::<S, 2>(simd, sums, range, left, column, packed);
        column += 2;
    }
    if column < columns {
        add_some::<S, 1>(simd, sums, range, left, column, packed);
    }
}

#[inline(always)]
fn add_some<S: Simd, const R: usize>(
    simd: S,
    sums: &mut [[S::f32s; SLOTS]],
    range: [usize; 2],
    left: &[f32],
    column: usize,
    packed: &[S::f32s],
) {
    let stride = sums.len();
    let place = &mut sums[column..][..R];
    let mut some: [[S::f32s; SLOTS]; R] = std::array::from_fn(|r| place[r]);
    accumulate_columns::<S, R>(simd, &mut some, range, (left, stride, column), packed);
    place.copy_from_slice(&some);
}
