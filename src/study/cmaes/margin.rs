//! The margin of CMA-ES over values on steps (Hamano 2022): the chance to leave the value that the mean
//! is rounded to never falls below a bound, so that a small step size does not freeze it.

/// One parameter's normal distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Marginal {
    /// Its mean.
    pub(super) mean: f64,
    /// Its standard deviation.
    pub(super) spread: f64,
}

/// Moves and widens a distribution so that about `tail` of it lies outside the cell of its mean; the
/// cell has no end on the side on which there is no further value.
pub(super) fn kept(normal: Marginal, left: Option<f64>, right: Option<f64>, tail: f64) -> Marginal {
    let Marginal { mean, spread } = normal;
    match (left, right) {
        (None, None) => normal,
        // At an end of the range the mean comes nearer to the only way out.
        (None, Some(right)) => Marginal { mean: mean.max(right - spread * distance(tail)), spread },
        (Some(left), None) => Marginal { mean: mean.min(left + spread * distance(tail)), spread },
        (Some(left), Some(right)) => {
            let least = tail / 2.0;
            let (below, above) = (upper((mean - left) / spread), upper((right - mean) / spread));
            if below >= least && above >= least {
                return normal;
            }
            let (wanted_below, wanted_above) = (below.max(least), above.max(least));
            // What the raised side takes comes from the other two in proportion.
            let excess = below + above - wanted_below - wanted_above;
            let room = wanted_below + wanted_above + (1.0 - below - above) - 1.5 * tail;
            let corrected = |wanted: f64| wanted + excess * (wanted - least) / room;
            let to_left = distance(corrected(wanted_below));
            let to_right = distance(corrected(wanted_above));
            Marginal {
                mean: (left * to_right + right * to_left) / (to_left + to_right),
                spread: (right - left) / (to_left + to_right),
            }
        }
    }
}

/// Gives the mass of the standard normal distribution above a point.
fn upper(point: f64) -> f64 {
    libm::erfc(point / std::f64::consts::SQRT_2) / 2.0
}

/// Gives the point above which a share of the standard normal distribution lies, which is at most a
/// half.
fn distance(share: f64) -> f64 {
    let (mut low, mut high) = (1e-3, 40.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if upper(middle) > share { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}
