//! The random sampler: independent draws.

use rand::{Rng, RngExt};

use super::Point;
use super::space::Space;

/// Draws a point: each parameter that exists, by itself.
pub(super) fn point(space: &Space, generator: &mut impl Rng) -> Point {
    let mut point = Point::new();
    for param in &space.params {
        if param.is_active(&point) {
            let value = param.domain.at_share(generator.random());
            point.insert(param.path.clone(), value);
        }
    }
    point
}
