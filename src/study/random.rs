//! The random sampler: independent draws.

use rand::{Rng, RngExt};

use super::Point;
use super::space::Space;

/// Draws a point: each parameter that exists, by itself.
pub(super) fn point(space: &Space, generator: &mut impl Rng) -> Point {
    beside(space, &Point::new(), generator)
}

/// Draws the parameters that exist beside some given ones.
pub(super) fn beside(space: &Space, given: &Point, generator: &mut impl Rng) -> Point {
    let mut point = Point::new();
    for param in &space.params {
        if param.is_active(&point) {
            let draw = || param.domain.at_share(generator.random());
            let value = given.get(&param.path).cloned().unwrap_or_else(draw);
            point.insert(param.path.clone(), value);
        }
    }
    point
}
