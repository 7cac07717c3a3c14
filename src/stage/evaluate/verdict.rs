//! Whether one prediction is better than another by more than chance, and the words for it.

/// How a model stands against a baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is better by more than chance.
    Beats,
    /// The difference may be chance.
    Even,
    /// It is worse by more than chance.
    Loses,
}

/// A difference smaller than this share of the baseline's mean squared error counts for nothing.
const LEAST_SHARE: f64 = 0.01;
/// A difference smaller than this many standard errors may be chance.
const STANDARD_ERRORS: f64 = 2.0;
/// Rows that make up a block at least, and blocks at most and at least.
const BLOCK_ROWS: usize = 20;
const MOST_BLOCKS: usize = 50;
const LEAST_BLOCKS: usize = 5;

/// Compares squared errors on the same rows, in order of series and time.
///
/// The mean difference must be at least 1 % of the baseline's mean squared error, and at least two
/// of its standard errors. Neighbouring rows err together, so the standard error is that of the
/// means of up to 50 blocks of neighbours (batch means); with fewer than 100 rows nothing can be
/// said.
pub(super) fn compare(model: &[f64], baseline: &[f64], actual: &[f64]) -> Standing {
    let squared = |predicted: &[f64]| -> Vec<f64> {
        predicted
            .iter()
            .zip(actual)
            .map(|(predicted, actual)| (predicted - actual).powi(2))
            .collect()
    };
    let (own, other) = (squared(model), squared(baseline));
    let gains: Vec<f64> = own.iter().zip(&other).map(|(own, other)| other - own).collect();
    let blocks = (gains.len() / BLOCK_ROWS).min(MOST_BLOCKS);
    if blocks < LEAST_BLOCKS {
        return Standing::Even;
    }
    let block = |index: usize| {
        let part = index * gains.len() / blocks..(index + 1) * gains.len() / blocks;
        mean(&gains[part])
    };
    let means: Vec<f64> = (0..blocks).map(block).collect();
    let gain = mean(&gains);
    let spread: f64 = means.iter().map(|one| (one - gain).powi(2)).sum();
    let standard_error = (spread / (blocks as f64 - 1.0) / blocks as f64).sqrt();
    let least = f64::max(STANDARD_ERRORS * standard_error, LEAST_SHARE * mean(&other));
    if gain >= least && gain > 0.0 {
        Standing::Beats
    } else if -gain >= least && gain < 0.0 {
        Standing::Loses
    } else {
        Standing::Even
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Says in one sentence how the model stands against all baselines, each with its label.
pub(super) fn sentence(target: &str, standings: &[(&str, Standing)]) -> String {
    let of = |wanted: fn(Standing) -> bool| -> Vec<&str> {
        standings.iter().filter(|(_, one)| wanted(*one)).map(|(label, _)| *label).collect()
    };
    let beaten = of(|one| one == Standing::Beats);
    let unbeaten = of(|one| one != Standing::Beats);
    if unbeaten.is_empty() {
        return "The model beats every baseline.".to_owned();
    }
    if unbeaten.contains(&"the mean") {
        let others: Vec<&str> =
            unbeaten.iter().copied().filter(|label| *label != "the mean").collect();
        let also =
            if others.is_empty() { String::new() } else { format!(", nor {}", list(&others)) };
        return format!(
            "The model does not beat the mean{also}: it predicts `{target}` no better than a constant."
        );
    }
    if beaten.is_empty() {
        return format!("The model beats none of {}.", list(&unbeaten));
    }
    format!("The model beats {}, but not {}.", list(&beaten), list(&unbeaten))
}

fn list(labels: &[&str]) -> String {
    match labels {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::random::generator;

    #[test]
    fn chance_is_not_taken_for_skill() {
        let mut draws = generator(1, "verdict", &[]);
        let mut beaten = 0;
        for _ in 0..200 {
            let actual: Vec<f64> = (0..1_000).map(|_| draws.random()).collect();
            let flat = vec![0.5; actual.len()];
            let nudged: Vec<f64> =
                actual.iter().map(|_| 0.5 + 0.1 * (draws.random::<f64>() - 0.5)).collect();
            beaten += usize::from(compare(&nudged, &flat, &actual) == Standing::Beats);
            let skilled: Vec<f64> =
                actual.iter().map(|actual| 0.5 + 0.1 * (actual - 0.5)).collect();
            assert_eq!(compare(&skilled, &flat, &actual), Standing::Beats);
            assert_eq!(compare(&flat, &skilled, &actual), Standing::Loses);
            assert_eq!(compare(&skilled[..99], &flat[..99], &actual[..99]), Standing::Even);
        }
        // Without the floor of 1 % about 5 of the 200 would be; with it, hardly any.
        assert!(beaten <= 3, "{beaten}");
    }

    #[test]
    fn rows_that_err_together_count_as_few() {
        // One long stretch in which the model is lucky, and as good as the baseline elsewhere.
        let actual = vec![0.0; 1_000];
        let baseline = vec![1.0; 1_000];
        let lucky: Vec<f64> = (0..1_000).map(|row| if row < 30 { 0.0 } else { 1.0 }).collect();
        assert_eq!(compare(&lucky, &baseline, &actual), Standing::Even);
    }

    #[test]
    fn the_sentence_names_what_is_not_beaten() {
        use Standing::{Beats, Even, Loses};
        let say = |mean, last, ridge| {
            sentence("y", &[("the mean", mean), ("the last value", last), ("ridge", ridge)])
        };
        assert_eq!(say(Beats, Beats, Beats), "The model beats every baseline.");
        assert_eq!(
            say(Beats, Beats, Loses),
            "The model beats the mean and the last value, but not ridge."
        );
        assert_eq!(
            say(Even, Beats, Loses),
            "The model does not beat the mean, nor ridge: it predicts `y` no better than a constant."
        );
    }
}
