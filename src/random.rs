//! Random numbers by name: a generator for each (seed, purpose, numbers), so that what is drawn
//! never depends on what was drawn before it, on threads, or on other work beside it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Makes the generator of `purpose` and `numbers` (such as epoch and batch) under `seed`.
///
/// The key is the BLAKE3 hash of all three, so two generators share nothing unless all are equal.
pub fn generator(seed: u64, purpose: &str, numbers: &[u64]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&(purpose.len() as u64).to_le_bytes());
    hasher.update(purpose.as_bytes());
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::generator;

    #[test]
    fn each_name_has_its_own_numbers() {
        let draw = |seed, purpose, numbers: &[u64]| generator(seed, purpose, numbers).next_u64();
        assert_eq!(draw(7, "dropout", &[1, 2]), draw(7, "dropout", &[1, 2]));
        assert_ne!(draw(7, "dropout", &[1, 2]), draw(7, "dropout", &[2, 1]));
        assert_ne!(draw(7, "dropout", &[1, 2]), draw(8, "dropout", &[1, 2]));
        assert_ne!(draw(7, "dropout", &[]), draw(7, "weights", &[]));
    }
}
