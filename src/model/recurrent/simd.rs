//! Vectors of any instruction set: sums of products in registers, the gates' functions, and
//! slices that end within a vector.
//!
//! The instruction set (AVX-512, AVX2, NEON, else scalar) is chosen at run time by `pulp`. All is
//! free of branches and of conversions between float and int, which would stop vectorisation, and
//! no vector is made in a closure, since a closure that is not inlined knows no instruction set.

use pulp::Simd;

/// The rows of a block of four vectors each that an instruction set's registers hold beside what
/// is multiplied: few enough that sums stay there, enough that products do not wait for each other.
#[inline(always)]
pub fn rows_of_four<S: Simd>(_simd: S) -> usize {
    if S::REGISTER_COUNT >= 32 { 4 } else { 2 }
}

/// The same for a block of two vectors each.
#[inline(always)]
pub fn rows_of_two<S: Simd>(simd: S) -> usize {
    2 * rows_of_four(simd)
}

/// Adds a product to the columns `at .. at + width` of `all`: row `r` of the left side is
/// `left[r]`, and `right` holds `width` vectors for each of the numbers in a row.
#[inline(always)]
pub fn accumulate<S: Simd, const R: usize, const W: usize>(
    simd: S,
    all: &mut [[S::f32s; W]; R],
    [at, width]: [usize; 2],
    left: [&[f32]; R],
    right: &[S::f32s],
) {
    let depth = right.len() / width;
    assert!(left.iter().all(|row| row.len() >= depth), "a row is shorter than the product");
    // A copy of its own stays in registers where the compiler does not see through the reference.
    let mut sums = *all;
    for (k, right) in right.chunks_exact(width).enumerate() {
        for r in 0..R {
            // SAFETY: `k < depth`, which no row is shorter than. Checked here, the bounds of eight
            // rows take all registers for addresses, and the loop takes twice its time.
            let value = simd.splat_f32s(unsafe { *left[r].get_unchecked(k) });
            for w in 0..width {
                sums[r][at + w] = simd.mul_add_e_f32s(value, right[w], sums[r][at + w]);
            }
        }
    }
    *all = sums;
}

/// Adds a product of columns to the columns `at .. at + width` of `all`: row `r` of the left side
/// is column `first + r` of the row-major `left`, `stride` numbers wide, and each row of `right`
/// is four vectors of which those `at .. at + width` count.
#[inline(always)]
pub fn accumulate_columns<S: Simd, const R: usize>(
    simd: S,
    all: &mut [[S::f32s; 4]; R],
    [at, width]: [usize; 2],
    (left, stride, first): (&[f32], usize, usize),
    right: &[S::f32s],
) {
    assert!(first + R <= stride, "a column lies outside");
    let (right, _) = right.as_chunks::<4>();
    let mut sums = *all;
    for (left, right) in left.chunks_exact(stride).zip(right) {
        let left = &left[first..][..R];
        for r in 0..R {
            let value = simd.splat_f32s(left[r]);
            for w in at..at + width {
                sums[r][w] = simd.mul_add_e_f32s(value, right[w], sums[r][w]);
            }
        }
    }
    *all = sums;
}

/// Gives `1 / (1 + exp(-x))`, as half a tanh of half of `x`; absolute error under 1e-7.
#[inline(always)]
pub fn sigmoid<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let half = simd.splat_f32s(0.5);
    simd.mul_add_e_f32s(half, tanh(simd, simd.mul_f32s(half, x)), half)
}

/// Gives `by s (1 - s)`, the derivative of the sigmoid `s` times `by`.
#[inline(always)]
pub fn through_sigmoid<S: Simd>(simd: S, s: S::f32s, by: S::f32s) -> S::f32s {
    simd.mul_f32s(simd.mul_f32s(by, s), simd.sub_f32s(simd.splat_f32s(1.0), s))
}

/// Gives `by (1 - t t)`, the derivative of the tanh `t` times `by`.
#[inline(always)]
pub fn through_tanh<S: Simd>(simd: S, t: S::f32s, by: S::f32s) -> S::f32s {
    simd.mul_f32s(by, simd.negate_mul_add_e_f32s(t, t, simd.splat_f32s(1.0)))
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
pub fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
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
    let mut sum = simd.splat_f32s(coefficients[0]);
    for &next in &coefficients[1..] {
        sum = simd.mul_add_e_f32s(sum, x, simd.splat_f32s(next));
    }
    sum
}

/// Reads the vector at `at`; what lies behind the slice's end is 0.
#[inline(always)]
pub fn load<S: Simd>(simd: S, values: &[f32], at: usize) -> S::f32s {
    let values = &values[at.min(values.len())..];
    match S::as_simd_f32s(values).0.first() {
        Some(&whole) => whole,
        None => simd.partial_load_f32s(values),
    }
}

/// Writes as much of a vector as lies before the slice's end.
#[inline(always)]
pub fn store<S: Simd>(simd: S, values: &mut [f32], at: usize, vector: S::f32s) {
    let at = at.min(values.len());
    match S::as_mut_simd_f32s(&mut values[at..]) {
        ([whole, ..], _) => *whole = vector,
        (_, part) => simd.partial_store_f32s(part, vector),
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, WithSimd};

    use super::*;

    /// Gives sigmoid and tanh of each value.
    struct Both<'a>(&'a [f32]);

    impl WithSimd for Both<'_> {
        type Output = [Vec<f32>; 2];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [Vec<f32>; 2] {
            let mut results = [(); 2].map(|()| vec![0.0; self.0.len()]);
            for at in (0..self.0.len()).step_by(S::F32_LANES) {
                let x = load(simd, self.0, at);
                store(simd, &mut results[0], at, sigmoid(simd, x));
                store(simd, &mut results[1], at, tanh(simd, x));
            }
            results
        }
    }

    #[test]
    fn the_gates_functions_are_right_over_the_whole_range() {
        let values: Vec<f32> = (-200..=200).map(|step| step as f32 * 0.1).collect();
        for arch in [Arch::new(), Arch::Scalar] {
            let [sigmoids, tanhs] = arch.dispatch(Both(&values));
            for ((&x, sigmoid), tanh) in values.iter().zip(sigmoids).zip(tanhs) {
                let x = f64::from(x);
                assert!((f64::from(sigmoid) - 1.0 / (1.0 + (-x).exp())).abs() < 1e-6, "{x}");
                assert!((f64::from(tanh) - x.tanh()).abs() < 1e-6, "{x}");
            }
        }
    }

    #[test]
    fn the_extremes_saturate_and_nan_stays() {
        for arch in [Arch::new(), Arch::Scalar] {
            for result in arch.dispatch(Both(&[1e30, f32::INFINITY, f32::MIN])) {
                assert!(result.iter().all(|value| value.abs() <= 1.0 + 1e-6), "{result:?}");
            }
            for result in arch.dispatch(Both(&[f32::NAN; 3])) {
                assert!(result.iter().all(|value| value.is_nan()), "{result:?}");
            }
        }
    }
}
