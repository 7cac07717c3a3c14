//! The GRU's cell: its gates, the update of its state, and the derivative.

use pulp::Simd;

use crate::model::recurrent::simd::{sigmoid, tanh, through_sigmoid, through_tanh};
use crate::model::recurrent::{Cell, Kept, SLOTS};

/// The cell of a GRU layer whose reset gate acts behind the recurrent product.
///
/// Its slots are `g, z, r, b`: candidate, update, reset, and the recurrent product for the
/// candidate, to which no input is added. So the slots of each product lie together: those of the
/// inputs are the first three, those of the recurrence the last three.
#[derive(Clone, Copy, Debug)]
pub struct Gru;

impl Cell for Gru {
    const INPUT: &'static [usize] = &[2, 0, 1];
    const RECURRENT: &'static [usize] = &[0, 1, 2];
    const BIASES: usize = 2;
    const CELLS: bool = false;

    #[inline(always)]
    fn forward<S: Simd>(
        simd: S,
        [a, z, r, b]: [S::f32s; SLOTS],
        before: S::f32s,
    ) -> ([S::f32s; SLOTS], S::f32s, S::f32s) {
        let (z, r) = (sigmoid(simd, z), sigmoid(simd, r));
        let g = tanh(simd, simd.mul_add_e_f32s(r, b, a));
        // `z h + (1 - z) g`, with one product less.
        let hidden = simd.mul_add_e_f32s(z, simd.sub_f32s(before, g), g);
        ([g, z, r, b], hidden, hidden)
    }

    #[inline(always)]
    fn backward<S: Simd>(
        simd: S,
        kept: Kept<S>,
        hidden: S::f32s,
        later: S::f32s,
    ) -> ([S::f32s; SLOTS], S::f32s) {
        let [g, z, r, b] = kept.slots;
        let hidden = simd.add_f32s(hidden, later);
        let carried = simd.mul_f32s(hidden, z);
        let at_g = through_tanh(simd, g, simd.sub_f32s(hidden, carried));
        let at_z = through_sigmoid(simd, z, simd.mul_f32s(hidden, simd.sub_f32s(kept.before, g)));
        let at_r = through_sigmoid(simd, r, simd.mul_f32s(at_g, b));
        ([at_g, at_z, at_r, simd.mul_f32s(at_g, r)], carried)
    }
}
