//! The LSTM's cell: its gates, the update of its state, and the derivative.

use pulp::Simd;

use crate::model::recurrent::simd::{sigmoid, tanh, through_sigmoid, through_tanh};
use crate::model::recurrent::{Cell, Kept, SLOTS};

/// The cell of an LSTM layer; its slots are `i, f, g, o` (input, forget, candidate, output).
#[derive(Clone, Copy, Debug)]
pub struct Lstm;

impl Cell for Lstm {
    const INPUT: &'static [usize] = &[0, 1, 2, 3];
    const RECURRENT: &'static [usize] = &[0, 1, 2, 3];
    const BIASES: usize = 1;
    const CELLS: bool = true;

    #[inline(always)]
    fn forward<S: Simd>(
        simd: S,
        [i, f, g, o]: [S::f32s; SLOTS],
        before: S::f32s,
    ) -> ([S::f32s; SLOTS], S::f32s, S::f32s) {
        let (i, f, o) = (sigmoid(simd, i), sigmoid(simd, f), sigmoid(simd, o));
        let g = tanh(simd, g);
        let cell = simd.mul_add_e_f32s(f, before, simd.mul_f32s(i, g));
        ([i, f, g, o], simd.mul_f32s(o, tanh(simd, cell)), cell)
    }

    #[inline(always)]
    fn backward<S: Simd>(
        simd: S,
        kept: Kept<S>,
        hidden: S::f32s,
        later: S::f32s,
    ) -> ([S::f32s; SLOTS], S::f32s) {
        let [i, f, g, o] = kept.slots;
        let squashed = tanh(simd, kept.cell);
        let cell = through_tanh(simd, squashed, simd.mul_f32s(hidden, o));
        let cell = simd.add_f32s(cell, later);
        let slots = [
            through_sigmoid(simd, i, simd.mul_f32s(cell, g)),
            through_sigmoid(simd, f, simd.mul_f32s(cell, kept.before)),
            through_tanh(simd, g, simd.mul_f32s(cell, i)),
            through_sigmoid(simd, o, simd.mul_f32s(hidden, squashed)),
        ];
        (slots, simd.mul_f32s(cell, f))
    }
}
