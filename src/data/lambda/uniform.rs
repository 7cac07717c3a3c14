//! The `uniform` profile: every value of a row drawn alone, from a fixed range.
//!
//! No column says anything of another, nor a row of the next, so that the best prediction of
//! `ResponseTime` is its mean. It is here to show that a tool says so.

use super::draws::Draws;
use super::{Row, Spec, round};

/// The range of `ResponseTime`, in seconds.
pub(super) const RESPONSE: (f64, f64) = (0.1, 2.0);
/// The range of `CPUUtilization`, in percent.
pub(super) const CPU: (f64, f64) = (10.0, 90.0);
/// The range of `MemoryUtilization`, in MB.
pub(super) const MEMORY: (f64, f64) = (128.0, 1024.0);
/// The range of `ColdStartLatency`, in seconds.
pub(super) const COLD_LATENCY: (f64, f64) = (0.0, 1.0);
/// `ThrottlingRate` is a whole number below this.
pub(super) const THROTTLED: f64 = 10.0;
/// The chance of a cold start.
pub(super) const COLD: f64 = 0.5;
/// The chance of an error.
pub(super) const ERROR: f64 = 0.1;

/// Fills the rows of a function from interval `step` on.
pub(super) fn fill<'a>(
    spec: &Spec,
    function: u64,
    step: u64,
    rows: impl Iterator<Item = &'a mut Row>,
) {
    let mut draws = Draws::new(spec.seed, "lambda uniform", function, 0);
    for (step, row) in (step..).zip(rows) {
        *row = draw(draws.seek(step));
    }
}

fn draw(draws: &mut Draws) -> Row {
    Row {
        response: round(draws.between(RESPONSE.0, RESPONSE.1), 1e6),
        mean: (RESPONSE.0 + RESPONSE.1) / 2.0,
        cpu: round(draws.between(CPU.0, CPU.1), 1e2),
        memory: round(draws.between(MEMORY.0, MEMORY.1), 1e2),
        cold: draws.uniform() < COLD,
        cold_latency: round(draws.between(COLD_LATENCY.0, COLD_LATENCY.1), 1e6),
        throttled: (draws.uniform() * THROTTLED) as i64,
        error: draws.uniform() < ERROR,
    }
}
