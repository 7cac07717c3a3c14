//! The quasi-random sampler: a Sobol sequence that covers the space more evenly than chance.
//!
//! Direction numbers are the first of `new-joe-kuo-6` (Joe and Kuo 2008, "Constructing Sobol sequences
//! with better two-dimensional projections"); the sequence is scrambled as Owen does (1995), so each
//! seed gives another one, as even as the first. A choice takes the share of its index, and each
//! parameter has a dimension of its own, whether or not it exists in a point.

use rand::{Rng, RngExt};

use super::Point;
use super::space::Space;
use crate::random::generator;

/// Bits of a coordinate.
const BITS: u32 = 32;

/// Gives the point at `index` of the sequence of `seed`.
///
/// Parameters beyond as many as there are direction numbers for are drawn at random.
pub(super) fn point(space: &Space, seed: u64, index: u64) -> Point {
    let mut point = Point::new();
    for (place, param) in space.params.iter().enumerate() {
        if param.is_active(&point) {
            let value = param.domain.at_share(share(seed, place, index));
            point.insert(param.path.clone(), value);
        }
    }
    point
}

/// Gives a coordinate, from 0 to 1 but neither, of the point at `index`.
fn share(seed: u64, dimension: usize, index: u64) -> f64 {
    let mut key = generator(seed, "sobol", &[dimension as u64]);
    let (Some(directions), Ok(index)) = (directions(dimension), u32::try_from(index)) else {
        return generator(seed, "sobol", &[dimension as u64, index]).random();
    };
    let plain = (0..BITS)
        .filter(|bit| index >> bit & 1 == 1)
        .fold(0, |sum, bit| sum ^ directions[bit as usize]);
    (f64::from(scrambled(plain, key.next_u64())) + 0.5) / 2_f64.powi(BITS as i32)
}

/// Gives the direction numbers of a dimension, each as a binary fraction.
fn directions(dimension: usize) -> Option<[u32; BITS as usize]> {
    // The first dimension, that of van der Corput, has no polynomial.
    let (polynomial, first) = match dimension.checked_sub(1) {
        Some(row) => *JOE_KUO.get(row)?,
        None => return Some(std::array::from_fn(|bit| 1 << (BITS - 1 - bit as u32))),
    };
    let degree = first.len();
    let mut directions = [0_u32; BITS as usize];
    for bit in 0..BITS as usize {
        directions[bit] = if bit < degree {
            first[bit] << (BITS - 1 - bit as u32)
        } else {
            let back = directions[bit - degree];
            (1..degree)
                .filter(|step| polynomial >> (degree - step) & 1 == 1)
                .fold(back ^ back >> degree, |sum, step| sum ^ directions[bit - step])
        };
    }
    Some(directions)
}

/// Flips each bit by a coin that hangs on the bits above it: Owen's nested uniform scrambling.
fn scrambled(plain: u32, key: u64) -> u32 {
    (0..BITS).fold(0, |sum, depth| {
        // A leading 1 tells apart prefixes of different lengths.
        let prefix = (1 << depth) | (u64::from(plain) >> (BITS - depth));
        let coin = mixed(key ^ mixed(prefix)) as u32 & 1;
        let bit = plain >> (BITS - 1 - depth) & 1;
        sum | (bit ^ coin) << (BITS - 1 - depth)
    })
}

/// Mixes all bits of a number into each other: the finaliser of SplitMix64 (Steele 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// From the second dimension on: the primitive polynomial's coefficients as bits, its first and last
/// included, and the first direction numbers.
///
/// Copyright (c) 2008, Stephen Joe and Frances Y. Kuo; all rights reserved; used under their
/// three-clause BSD licence.
#[rustfmt::skip]
const JOE_KUO: [(u32, &[u32]); 63] = [
    (3, &[1]), (7, &[1, 3]), (11, &[1, 3, 1]), (13, &[1, 1, 1]), (19, &[1, 1, 3, 3]),
    (25, &[1, 3, 5, 13]), (37, &[1, 1, 5, 5, 17]), (41, &[1, 1, 5, 5, 5]), (47, &[1, 1, 7, 11, 19]),
    (55, &[1, 1, 5, 1, 1]), (59, &[1, 1, 1, 3, 11]), (61, &[1, 3, 5, 5, 31]),
    (67, &[1, 3, 3, 9, 7, 49]), (91, &[1, 1, 1, 15, 21, 21]), (97, &[1, 3, 1, 13, 27, 49]),
    (103, &[1, 1, 1, 15, 7, 5]), (109, &[1, 3, 1, 15, 13, 25]), (115, &[1, 1, 5, 5, 19, 61]),
    (131, &[1, 3, 7, 11, 23, 15, 103]), (137, &[1, 3, 7, 13, 13, 15, 69]),
    (143, &[1, 1, 3, 13, 7, 35, 63]), (145, &[1, 3, 5, 9, 1, 25, 53]),
    (157, &[1, 3, 1, 13, 9, 35, 107]), (167, &[1, 3, 1, 5, 27, 61, 31]),
    (171, &[1, 1, 5, 11, 19, 41, 61]), (185, &[1, 3, 5, 3, 3, 13, 69]),
    (191, &[1, 1, 7, 13, 1, 19, 1]), (193, &[1, 3, 7, 5, 13, 19, 59]),
    (203, &[1, 1, 3, 9, 25, 29, 41]), (211, &[1, 3, 5, 13, 23, 1, 55]),
    (213, &[1, 3, 7, 3, 13, 59, 17]), (229, &[1, 3, 1, 3, 5, 53, 69]),
    (239, &[1, 1, 5, 5, 23, 33, 13]), (241, &[1, 1, 7, 7, 1, 61, 123]),
    (247, &[1, 1, 7, 9, 13, 61, 49]), (253, &[1, 3, 3, 5, 3, 55, 33]),
    (285, &[1, 3, 1, 15, 31, 13, 49, 245]), (299, &[1, 3, 5, 15, 31, 59, 63, 97]),
    (301, &[1, 3, 1, 11, 11, 11, 77, 249]), (333, &[1, 3, 1, 11, 27, 43, 71, 9]),
    (351, &[1, 1, 7, 15, 21, 11, 81, 45]), (355, &[1, 3, 7, 3, 25, 31, 65, 79]),
    (357, &[1, 3, 1, 1, 19, 11, 3, 205]), (361, &[1, 1, 5, 9, 19, 21, 29, 157]),
    (369, &[1, 3, 7, 11, 1, 33, 89, 185]), (391, &[1, 3, 3, 3, 15, 9, 79, 71]),
    (397, &[1, 3, 7, 11, 15, 39, 119, 27]), (425, &[1, 1, 3, 1, 11, 31, 97, 225]),
    (451, &[1, 1, 1, 3, 23, 43, 57, 177]), (463, &[1, 3, 7, 7, 17, 17, 37, 71]),
    (487, &[1, 3, 1, 5, 27, 63, 123, 213]), (501, &[1, 1, 3, 5, 11, 43, 53, 133]),
    (529, &[1, 3, 5, 5, 29, 17, 47, 173, 479]), (539, &[1, 3, 3, 11, 3, 1, 109, 9, 69]),
    (545, &[1, 1, 1, 5, 17, 39, 23, 5, 343]), (557, &[1, 3, 1, 5, 25, 15, 31, 103, 499]),
    (563, &[1, 1, 1, 11, 11, 17, 63, 105, 183]), (601, &[1, 1, 5, 11, 9, 29, 97, 231, 363]),
    (607, &[1, 1, 5, 15, 19, 45, 41, 7, 383]), (617, &[1, 3, 7, 7, 31, 19, 83, 137, 221]),
    (623, &[1, 1, 1, 3, 23, 15, 111, 223, 83]), (631, &[1, 1, 5, 13, 31, 15, 55, 25, 161]),
    (637, &[1, 1, 3, 13, 25, 47, 39, 87, 257]),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_first_numbers_are_those_of_the_paper() {
        let plain = |dimension, index: u32| {
            let directions = directions(dimension).expect("the table has it");
            let set = (0..BITS).filter(|bit| index >> bit & 1 == 1);
            set.fold(0, |sum, bit| sum ^ directions[bit as usize]) >> (BITS - 4)
        };
        // In sixteenths, by the index in binary.
        let first = |dimension| [1, 2, 3, 4, 8].map(|index| plain(dimension, index));
        assert_eq!(first(0), [8, 4, 12, 2, 1]);
        assert_eq!(first(1), [8, 12, 4, 10, 15]);
        assert_eq!(first(2), [8, 12, 4, 6, 9]);
    }

    /// Each box of side lengths 2^-a and 2^-b of the plane of the first two dimensions holds one of
    /// 2^(a + b) points in a row, and each interval of every dimension one; random points do not.
    #[test]
    fn points_lie_evenly() {
        for (seed, start) in [(0, 0_u64), (7, 64), (8, 128)] {
            let cell = |dimension, index, bits: u32| {
                (share(seed, dimension, start + index) * 2_f64.powi(bits as i32)) as u32
            };
            for bits in 0..=6 {
                let cells: BTreeSet<(u32, u32)> =
                    (0..64).map(|index| (cell(0, index, bits), cell(1, index, 6 - bits))).collect();
                assert_eq!(cells.len(), 64, "seed {seed}, {bits} bits");
            }
            for dimension in 0..=JOE_KUO.len() {
                let cells: BTreeSet<u32> = (0..64).map(|index| cell(dimension, index, 6)).collect();
                assert_eq!(cells.len(), 64, "seed {seed}, dimension {dimension}");
            }
        }
        let all: BTreeSet<u64> =
            (0..100).map(|dimension| share(1, dimension, 5).to_bits()).collect();
        assert_eq!(all.len(), 100);
        assert_ne!(share(1, 70, 5), share(1, 70, 6));
    }
}
