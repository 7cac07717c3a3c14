//! The LSTM's cell update and its derivative over a block of rows, vectorised.
//!
//! The instruction set (AVX-512, AVX2, NEON, else scalar) is chosen at run time by `pulp`. All is
//! free of branches and of conversions between float and int, which would stop vectorisation.

use pulp::{Arch, Simd, WithSimd};

/// One step's forward update of `[batch, units]` blocks.
pub struct Forward<'a> {
    /// `[4 * units]`, added to each row of `gates` first.
    pub bias: &'a [f32],
    /// `[batch, 4 * units]`: sums of products in, activated gates out.
    pub gates: &'a mut [f32],
    /// The cells of the step before; 0 at the first step.
    pub before: Option<&'a [f32]>,
    /// The cells of this step, written.
    pub cells: &'a mut [f32],
    /// The hidden states of this step, written.
    pub hidden: &'a mut [f32],
}

/// One step's backward update of `[batch, units]` blocks.
pub struct Backward<'a> {
    /// How many units a row has.
    pub units: usize,
    /// `[batch, 4 * units]`: activated gates in, the gradient of their sums out.
    pub gates: &'a mut [f32],
    /// The cells of the step before; 0 at the first step.
    pub before: Option<&'a [f32]>,
    /// The cells of this step.
    pub cells: &'a [f32],
    /// The gradient of the hidden states from what reads them above.
    pub from_above: &'a [f32],
    /// The same from the step after.
    pub from_later: &'a [f32],
    /// The gradient of the cells: from the step after in, for the step before out.
    pub cell_gradient: &'a mut [f32],
}

/// Activates the gates and updates cells and hidden states.
pub fn forward(update: Forward<'_>) {
    Arch::new().dispatch(update);
}

/// Turns activated gates into the gradient of their sums.
pub fn backward(update: Backward<'_>) {
    Arch::new().dispatch(update);
}

/// Writes the sum of each column of the row-major `rows` to `sums`.
pub fn column_sums(rows: &[f32], sums: &mut [f32]) {
    Arch::new().dispatch(|| {
        sums.fill(0.0);
        for row in rows.chunks_exact(sums.len()) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += value;
            }
        }
    });
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let units = self.bias.len() / 4;
        let [bias_i, bias_f, bias_g, bias_o] = quarters(self.bias);
        let rows = self.gates.chunks_exact_mut(4 * units);
        let rows = rows.zip(self.cells.chunks_exact_mut(units));
        let rows = rows.zip(self.hidden.chunks_exact_mut(units)).enumerate();
        for (row, ((gates, cells), hidden)) in rows {
            let before = self.before.map(|before| &before[row * units..][..units]);
            let [i, f, g, o] = quarters_mut(gates);
            for lane in (0..units).step_by(S::F32_LANES) {
                let at = lane..units.min(lane + S::F32_LANES);
                let sum = |gate: &[f32], bias: &[f32]| {
                    simd.add_f32s(load(simd, &gate[at.clone()]), load(simd, &bias[at.clone()]))
                };
                let input = sigmoid(simd, sum(i, bias_i));
                let forget = sigmoid(simd, sum(f, bias_f));
                let candidate = tanh(simd, sum(g, bias_g));
                let output = sigmoid(simd, sum(o, bias_o));
                let mut cell = simd.mul_f32s(input, candidate);
                if let Some(before) = before {
                    cell = simd.mul_add_e_f32s(forget, load(simd, &before[at.clone()]), cell);
                }
                let state = simd.mul_f32s(output, tanh(simd, cell));
                store(simd, &mut i[at.clone()], input);
                store(simd, &mut f[at.clone()], forget);
                store(simd, &mut g[at.clone()], candidate);
                store(simd, &mut o[at.clone()], output);
                store(simd, &mut cells[at.clone()], cell);
                store(simd, &mut hidden[at], state);
            }
        }
    }
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let units = self.units;
        let one = simd.splat_f32s(1.0);
        // The derivative of the sigmoid `s` times `by` is `by s (1 - s)`; `1 - s s` of a tanh.
        let through_sigmoid = |s, by| simd.mul_f32s(simd.mul_f32s(by, s), simd.sub_f32s(one, s));
        let through_tanh = |t, by| simd.mul_f32s(by, simd.negate_mul_add_e_f32s(t, t, one));
        let rows = self.gates.chunks_exact_mut(4 * units);
        for (row, gates) in rows.enumerate() {
            let [gate_i, gate_f, gate_g, gate_o] = quarters_mut(gates);
            for lane in (0..units).step_by(S::F32_LANES) {
                let at = lane..units.min(lane + S::F32_LANES);
                let block = row * units + at.start..row * units + at.end;
                let [i, f, g, o] = [&*gate_i, &*gate_f, &*gate_g, &*gate_o]
                    .map(|gate| load(simd, &gate[at.clone()]));
                let above = load(simd, &self.from_above[block.clone()]);
                let state = simd.add_f32s(above, load(simd, &self.from_later[block.clone()]));
                let squashed = tanh(simd, load(simd, &self.cells[block.clone()]));
                let later = load(simd, &self.cell_gradient[block.clone()]);
                let cell = through_tanh(squashed, simd.mul_f32s(state, o));
                let cell = simd.add_f32s(cell, later);
                let before = match self.before {
                    Some(before) => load(simd, &before[block.clone()]),
                    None => simd.splat_f32s(0.0),
                };
                store(simd, &mut self.cell_gradient[block], simd.mul_f32s(cell, f));
                let at_i = through_sigmoid(i, simd.mul_f32s(cell, g));
                let at_f = through_sigmoid(f, simd.mul_f32s(cell, before));
                let at_g = through_tanh(g, simd.mul_f32s(cell, i));
                let at_o = through_sigmoid(o, simd.mul_f32s(state, squashed));
                store(simd, &mut gate_i[at.clone()], at_i);
                store(simd, &mut gate_f[at.clone()], at_f);
                store(simd, &mut gate_g[at.clone()], at_g);
                store(simd, &mut gate_o[at], at_o);
            }
        }
    }
}

/// Gives `1 / (1 + exp(-x))`, as half a tanh of half of `x`; absolute error under 1e-7.
#[inline(always)]
fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let half = simd.splat_f32s(0.5);
    simd.mul_add_e_f32s(half, tanh(simd, simd.mul_f32s(half, x)), half)
}

/// Where the tanh of an `f32` is 1 to the last bit but a few.
const TANH_LIMIT: f32 = 7.905_311;

/// The numerator's coefficients of `x^13` down to `x`.
const TANH_OVER: [f32; 7] = [
    -2.760_768_5e-16,
    2.000_188e-13,
    -8.604_672e-11,
    5.122_297_1e-8,
    1.485_722_4e-5,
    6.372_619_3e-4,
    4.893_524_6e-3,
];

/// The denominator's coefficients of `x^6` down to 1.
const TANH_UNDER: [f32; 4] = [1.198_258_4e-6, 1.185_347e-4, 2.268_434_6e-3, 4.893_525e-3];

/// Gives `tanh(x)` within a few units in the last place; NaN stays NaN.
///
/// The rational function of degrees 13 and 6 of the Eigen library (`MathFunctionsImpl.h`).
#[inline(always)]
fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let limit = simd.splat_f32s(TANH_LIMIT);
    let below = simd.splat_f32s(-TANH_LIMIT);
    // Comparisons, since the minimum of NaN and a number is that number on some machines.
    let x = simd.select_f32s(simd.greater_than_f32s(x, limit), limit, x);
    let x = simd.select_f32s(simd.less_than_f32s(x, below), below, x);
    let square = simd.mul_f32s(x, x);
    let over = polynomial(simd, square, &TANH_OVER);
    let under = polynomial(simd, square, &TANH_UNDER);
    simd.div_f32s(simd.mul_f32s(x, over), under)
}

#[inline(always)]
fn polynomial<S: Simd>(simd: S, x: S::f32s, coefficients: &[f32]) -> S::f32s {
    let first = simd.splat_f32s(coefficients[0]);
    coefficients[1..]
        .iter()
        .fold(first, |sum, &next| simd.mul_add_e_f32s(sum, x, simd.splat_f32s(next)))
}

/// Reads a vector; a shorter slice is filled up with 0.
#[inline(always)]
fn load<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    match S::as_simd_f32s(values).0 {
        [whole] => *whole,
        _ => simd.partial_load_f32s(values),
    }
}

/// Writes as much of a vector as the slice holds.
#[inline(always)]
fn store<S: Simd>(simd: S, values: &mut [f32], vector: S::f32s) {
    match S::as_mut_simd_f32s(values) {
        ([whole], _) => *whole = vector,
        (_, part) => simd.partial_store_f32s(part, vector),
    }
}

#[inline(always)]
fn quarters(values: &[f32]) -> [&[f32]; 4] {
    let (front, back) = values.split_at(values.len() / 2);
    let ((a, b), (c, d)) = (front.split_at(front.len() / 2), back.split_at(back.len() / 2));
    [a, b, c, d]
}

#[inline(always)]
fn quarters_mut(values: &mut [f32]) -> [&mut [f32]; 4] {
    let quarter = values.len() / 4;
    let (front, back) = values.split_at_mut(2 * quarter);
    let ((a, b), (c, d)) = (front.split_at_mut(quarter), back.split_at_mut(quarter));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    const UNITS: usize = 37;

    /// Runs one row of `UNITS` units whose gates are all `z`, by the best instruction set and by
    /// none; gives gates, cells and hidden states of both.
    fn both(z: f32) -> [Vec<f32>; 2] {
        let run = |with: fn(Forward<'_>)| {
            let mut gates = vec![z; 4 * UNITS];
            let (mut cells, mut hidden) = (vec![0.0; UNITS], vec![0.0; UNITS]);
            with(Forward {
                bias: &[0.0; 4 * UNITS],
                gates: &mut gates,
                before: Some(&[0.5; UNITS]),
                cells: &mut cells,
                hidden: &mut hidden,
            });
            [gates, cells, hidden].concat()
        };
        [run(forward), run(|update| update.with_simd(Scalar::new()))]
    }

    #[test]
    fn gates_cells_and_states_are_right_over_the_whole_range() {
        for step in -200..=200 {
            let z = step as f32 * 0.1;
            let wide = f64::from(z);
            let sigmoid = 1.0 / (1.0 + (-wide).exp());
            let cell = sigmoid * 0.5 + sigmoid * wide.tanh();
            let expected = [sigmoid, sigmoid, wide.tanh(), sigmoid, cell, sigmoid * cell.tanh()];
            for values in both(z) {
                for (index, value) in values.iter().enumerate() {
                    let expected = expected[index / UNITS];
                    assert!((f64::from(*value) - expected).abs() < 1e-6, "{z} {index}: {value}");
                }
            }
        }
    }

    #[test]
    fn the_extremes_saturate_and_nan_stays() {
        for values in [both(1e30), both(f32::INFINITY), both(f32::MIN)].concat() {
            assert!(values.iter().all(|value| value.abs() <= 1.5), "{values:?}");
        }
        for values in both(f32::NAN) {
            assert!(values.iter().all(|value| value.is_nan()), "{values:?}");
        }
    }
}
