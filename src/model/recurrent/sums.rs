//! The gradients of the weights: products over the rows of all steps, block by block of units.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::simd::{accumulate_columns, rows_of_four};
use super::{Buffer, Cell, Gradients, Layout, SLOTS, Shape, WORTH_SHARING, pack};
use crate::model::team;

/// Rows of a product over all rows that are summed at a time: their slots of one block, packed,
/// fill a third of the first cache.
const CHUNK: usize = 64;

/// Fills the gradients of the weights and of the bias from the products for the inputs and for the
/// recurrence.
pub fn gradients_of_weights<C: Cell>(
    arch: Arch,
    shape: Shape,
    layout: Layout,
    products: [Product<'_>; 2],
    mut gradients: Gradients<'_>,
) {
    let Shape { steps, batch, inputs, units } = shape;
    // A row of sums for each column of both left sides, and one for the bias.
    let panel = (inputs + units + 1) * SLOTS * layout.lanes;
    let mut sums = Buffer::zeros(layout.blocks * panel);
    let blocks: Vec<(usize, &mut [f32])> = sums.chunks_exact_mut(panel).enumerate().collect();
    let sum = |(block, sums)| {
        arch.dispatch(Sums { layout, products, block, sums, cell: PhantomData::<C> });
    };
    if steps * batch * panel * layout.blocks < WORTH_SHARING {
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
    layout: Layout,
    block: usize,
    sums: &[f32],
    gradients: &mut Gradients<'_>,
) {
    let Layout { lanes, gates, .. } = layout;
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
    for (slot, bias) in pack::bias_rows::<C>(layout) {
        gradients.bias[bias * units + start..bias * units + end]
            .copy_from_slice(&row[slot * lanes..][..end - start]);
    }
}

/// A product of the transpose of `left` with slots, over all rows.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// `[rows, columns]`.
    pub left: &'a [f32],
    /// The columns of `left`.
    pub columns: usize,
    /// `[rows, blocks, 4, L]`.
    pub slots: &'a [f32],
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
