//! Which rows train, validate and test.
//!
//! Knows rows by their number, time and series alone. Needs nine bytes a row: the time and the
//! part (by rows, the series too).

use rand::Rng;

use crate::random;

/// The part that a row plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// It trains.
    Train,
    /// It validates.
    Validation,
    /// It tests.
    Test,
    /// It is left out.
    Out,
}

impl Part {
    /// The parts that are used, in order of time.
    pub const USED: [Part; 3] = [Part::Train, Part::Validation, Part::Test];

    /// Gives the word for the part in a `split` column.
    pub fn name(self) -> &'static str {
        match self {
            Part::Train => "train",
            Part::Validation => "validation",
            Part::Test => "test",
            Part::Out => "out",
        }
    }
}

/// The shares of the rows that train, validate and test; they sum to 1.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    /// The share that trains.
    pub train: f64,
    /// The share that validates.
    pub validation: f64,
    /// The share that tests.
    pub test: f64,
}

/// Deals rows by ascending key: the lowest train, the highest test.
///
/// The cuts are keys, so that rows of equal keys are never parted: with times as keys the cut is
/// the same for every series, and a share is one of the rows, whatever gaps the times have. Rows
/// that are [`Part::Out`] stay so and do not count.
pub fn by_key(keys: &[i64], shares: Shares, parts: &mut [Part]) {
    let rows = parts.iter().filter(|part| **part != Part::Out).count();
    let end = |share: f64| ((share * rows as f64).round() as usize).min(rows);
    let train = end(shares.train);
    let validation = match shares.test {
        0.0 => rows,
        _ if shares.validation == 0.0 => train,
        _ => end(shares.train + shares.validation),
    };
    // The first key that is no longer of the part; none where the part goes to the end.
    let cut = |end: usize| (end < rows).then(|| nth(keys, parts, end));
    let (train, validation) = (cut(train), cut(validation));
    let before = |key: i64, cut: Option<i64>| cut.is_none_or(|cut| key < cut);
    for (key, part) in keys.iter().zip(parts).filter(|(_, part)| **part != Part::Out) {
        *part = match () {
            () if before(*key, train) => Part::Train,
            () if before(*key, validation) => Part::Validation,
            () => Part::Test,
        };
    }
}

/// Finds the key that `n` of the used rows' keys precede in order, by radix: four counts over the
/// rows and no copy of them.
fn nth(keys: &[i64], parts: &[Part], mut n: usize) -> i64 {
    const SIGN: u64 = 1 << 63;
    let (mut known, mut found) = (0_u64, 0_u64);
    for shift in [48, 32, 16, 0] {
        let mut counts = vec![0_usize; 1 << 16];
        for (key, part) in keys.iter().zip(parts) {
            let ordered = *key as u64 ^ SIGN;
            if *part != Part::Out && ordered & known == found {
                counts[(ordered >> shift & 0xffff) as usize] += 1;
            }
        }
        let digit = counts.iter().position(|count| {
            let here = n < *count;
            n -= if here { 0 } else { *count };
            here
        });
        // `n` is less than the number of rows that share the digits found so far.
        found |= (digit.unwrap_or(0) as u64) << shift;
        known |= 0xffff << shift;
    }
    (found ^ SIGN) as i64
}

/// Draws a key for each row, from its number alone.
pub fn draw(rows: usize, seed: u64) -> Vec<i64> {
    const CHUNK: usize = 4096;
    let chunk = |start: usize| {
        let mut generator = random::generator(seed, "split", &[(start / CHUNK) as u64]);
        (start..rows.min(start + CHUNK)).map(move |_| generator.next_u64() as i64)
    };
    (0..rows).step_by(CHUNK).flat_map(chunk).collect()
}

/// Deals rows by counts, in each series in order of time; what is beyond their sum is left out.
///
/// `series` numbers each row's series from 0. Rows of one time keep their order. Gives how many
/// series have fewer rows than the sum.
/// Where the rows of a series are not in order of time, sorting needs eight bytes a row more.
pub fn by_count(times: &[i64], series: &[u32], counts: [u64; 3], parts: &mut [Part]) -> usize {
    let names = series.iter().max().map_or(0, |most| *most as usize + 1);
    let [train, validation, test] = counts;
    let before_test = train.saturating_add(validation);
    let ends = [train, before_test, before_test.saturating_add(test)];
    let mut seen = vec![0_u64; names];
    let mut deal = |row: usize| {
        let (rank, part) = (&mut seen[series[row] as usize], &mut parts[row]);
        if *part == Part::Out {
            return;
        }
        let used = Part::USED.into_iter().zip(ends).find(|(_, end)| *rank < *end);
        *part = used.map_or(Part::Out, |(part, _)| part);
        *rank += 1;
    };
    if in_order(times, series, names) {
        (0..times.len()).for_each(&mut deal);
    } else {
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|row| times[*row]);
        order.into_iter().for_each(&mut deal);
    }
    seen.iter().filter(|rows| (1..ends[2]).contains(*rows)).count()
}

/// Tells whether the rows of each series are in order of time.
fn in_order(times: &[i64], series: &[u32], names: usize) -> bool {
    let mut last = vec![i64::MIN; names];
    times.iter().zip(series).all(|(time, name)| {
        let last = &mut last[*name as usize];
        let forward = *time >= *last;
        *last = *time;
        forward
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counts(parts: &[Part]) -> [usize; 3] {
        Part::USED.map(|used| parts.iter().filter(|part| **part == used).count())
    }

    #[test]
    fn the_cut_is_one_time_for_every_series() {
        // Five series of 100 times each, one after the other.
        let times: Vec<i64> = (0..500).map(|row| 1000 + row % 100).collect();
        let mut parts = vec![Part::Train; 500];
        let shares = Shares { train: 0.7, validation: 0.15, test: 0.15 };
        by_key(&times, shares, &mut parts);
        assert_eq!(counts(&parts), [350, 75, 75]);
        for (time, part) in times.iter().zip(&parts) {
            let expected = match time - 1000 {
                0..70 => Part::Train,
                70..85 => Part::Validation,
                _ => Part::Test,
            };
            assert_eq!(*part, expected);
        }
    }

    #[test]
    fn a_share_of_zero_gives_no_rows() {
        let times: Vec<i64> = (0..10).collect();
        let mut parts = vec![Part::Train; 10];
        by_key(&times, Shares { train: 0.7, validation: 0.3, test: 0.0 }, &mut parts);
        assert_eq!(counts(&parts), [7, 3, 0]);
        by_key(&times, Shares { train: 0.7, validation: 0.0, test: 0.3 }, &mut parts);
        assert_eq!(counts(&parts), [7, 0, 3]);
        by_key(&times, Shares { train: 1.0, validation: 0.0, test: 0.0 }, &mut parts);
        assert_eq!(counts(&parts), [10, 0, 0]);
    }

    #[test]
    fn counts_go_by_the_time_within_a_series() {
        let times = [3, 30, 1, 10, 2, 20, 4];
        let series = [0, 1, 0, 1, 0, 1, 0];
        let mut parts = vec![Part::Train; 7];
        let short = by_count(&times, &series, [1, 1, 1], &mut parts);
        use Part::{Out, Test, Train, Validation};
        assert_eq!(parts, [Test, Test, Train, Train, Validation, Validation, Out]);
        assert_eq!(short, 0);
        let mut parts = vec![Part::Train; 7];
        parts[2] = Part::Out;
        assert_eq!(by_count(&times, &series, [2, 0, 2], &mut parts), 2);
        assert_eq!(parts, [Train, Test, Out, Train, Train, Train, Test]);
    }

    #[test]
    fn a_random_split_has_its_shares_and_its_seed() {
        let shares = Shares { train: 0.6, validation: 0.2, test: 0.2 };
        let split = |seed| {
            let mut parts = vec![Part::Train; 10_000];
            by_key(&draw(10_000, seed), shares, &mut parts);
            parts
        };
        assert_eq!(counts(&split(1)), [6000, 2000, 2000]);
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
        // A row's draw does not depend on how many rows there are.
        assert_eq!(draw(10_000, 3)[..5000], draw(5000, 3));
        let early = split(1)[..5000].iter().filter(|part| **part == Part::Train).count();
        assert!((2900..3100).contains(&early), "{early}");
    }

    proptest! {
        #[test]
        fn the_nth_key_is_that_of_a_sort(
            keys in prop::collection::vec(prop_oneof![any::<i64>(), -3..3_i64], 1..200),
            out in any::<u64>(),
        ) {
            let part = |row: usize| if out >> (row % 64) & 1 == 1 { Part::Out } else { Part::Train };
            let parts: Vec<Part> = (0..keys.len()).map(part).collect();
            let used = keys.iter().zip(&parts).filter(|(_, part)| **part == Part::Train);
            let mut sorted: Vec<i64> = used.map(|(key, _)| *key).collect();
            sorted.sort_unstable();
            for (n, key) in sorted.iter().enumerate() {
                prop_assert_eq!(nth(&keys, &parts, n), *key);
            }
        }
    }
}
