//! Random numbers by place: what is drawn for a function, a purpose and a place (an interval, a
//! knot of a process) is found without drawing what comes before it.
//!
//! ChaCha is a counter-based generator, so that a seek costs no more than a draw. A function has
//! one key; a purpose is a stream of it; a place is eight words.

use std::f64::consts::TAU;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::random::generator;

/// The words of a place: no more than this many numbers may be drawn there.
const WORDS: u128 = 8;

/// The bound of [`Draws::normals`], in standard deviations.
pub(super) const NORMAL_BOUND: f64 = 3.0;

/// A sequence of random numbers that can be entered at any place.
#[derive(Clone)]
pub(super) struct Draws {
    generator: ChaCha8Rng,
}

impl Draws {
    /// Opens stream `stream` of a function at its first place.
    pub(super) fn new(seed: u64, purpose: &str, function: u64, stream: u64) -> Draws {
        let mut generator = generator(seed, purpose, &[function]);
        generator.set_stream(stream);
        Draws { generator }
    }

    /// Opens another stream of the same function at its first place.
    pub(super) fn stream(&self, stream: u64) -> Draws {
        let mut generator = self.generator.clone();
        generator.set_word_pos(0);
        generator.set_stream(stream);
        Draws { generator }
    }

    /// Goes to a place.
    pub(super) fn seek(&mut self, place: u64) -> &mut Draws {
        self.generator.set_word_pos(u128::from(place) * WORDS);
        self
    }

    /// Draws evenly from between 0 and 1, both left out.
    pub(super) fn uniform(&mut self) -> f64 {
        (f64::from(self.generator.next_u32()) + 0.5) / 4_294_967_296.0
    }

    /// Draws evenly from between two bounds.
    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Draws two standard normal numbers (Box and Muller, 1958), held within [`NORMAL_BOUND`]
    /// on either side so that no single row rules a scale or a sum of squares.
    pub(super) fn normals(&mut self) -> [f64; 2] {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let (sine, cosine) = (TAU * self.uniform()).sin_cos();
        [radius * cosine, radius * sine].map(|value| value.clamp(-NORMAL_BOUND, NORMAL_BOUND))
    }
}
