//! A sample of a long column for its quantiles: every value where they are few, else one of each
//! run of equal length, at a place that a hash of the run's number gives.
//!
//! A fixed place would hear one series alone where the rows of several take turns.

/// The most values that a sample keeps.
const MOST: u64 = 1 << 20;

/// Which values of a column are kept, by their number among the train rows.
#[derive(Clone, Copy, Debug)]
pub struct Stride {
    length: u64,
    first: u64,
}

impl Stride {
    /// Keeps at most about a million of `rows` values: all of them where they are no more.
    pub fn for_rows(rows: u64) -> Stride {
        Stride { length: rows.div_ceil(MOST).max(1), first: 0 }
    }

    /// Begins at the value of number `first`.
    pub fn at(self, first: u64) -> Stride {
        Stride { first, ..self }
    }

    /// Keeps the values that are wanted of those that follow; NaN is never one.
    pub fn of(self, values: impl Iterator<Item = f64>) -> Vec<f64> {
        let wanted = |number: u64| mix(number / self.length) % self.length == number % self.length;
        let numbered = (self.first..).zip(values);
        numbered
            .filter(|(n, value)| !value.is_nan() && wanted(*n))
            .map(|(_, value)| value)
            .collect()
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014).
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// Gives a quantile of sorted values, linear between neighbours (Hyndman and Fan 1996, type 7).
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len().saturating_sub(1)) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    match (sorted.get(below), sorted.get(above)) {
        (Some(low), Some(high)) => low + (high - low) * (place - place.floor()),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_values_are_all_kept_and_many_evenly() {
        let all = Stride::for_rows(5).of([3.0, f64::NAN, 1.0].into_iter());
        assert_eq!(all, [3.0, 1.0]);
        let rows = 5 * MOST;
        let stride = Stride::for_rows(rows);
        let whole = stride.of((0..rows).map(|row| (row % 5) as f64));
        assert_eq!(whole.len() as u64, MOST);
        // Five series take turns: each is heard about equally.
        for series in 0..5 {
            let heard = whole.iter().filter(|value| **value == f64::from(series)).count() as u64;
            assert!(heard.abs_diff(MOST / 5) < 2000, "{heard}");
        }
        // In pieces it is the same sample.
        let half = rows / 2;
        let mut pieces = stride.of((0..half).map(|row| (row % 5) as f64));
        pieces.extend(stride.at(half).of((half..rows).map(|row| (row % 5) as f64)));
        assert_eq!(pieces, whole);
    }

    #[test]
    fn quantiles_are_linear_between_values() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|q| quantile(&sorted, q)), [1.0, 1.75, 3.0, 8.0]);
        assert_eq!(quantile(&[7.0], 0.75), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
