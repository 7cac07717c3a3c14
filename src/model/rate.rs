//! The learning rate of each epoch: pure functions, and the state that a plateau needs.
//!
//! That state is a function of the validation losses so far, so that a resumed training replays
//! them and goes on as if it had never stopped.

use std::f64::consts::PI;

use super::Schedule;

/// A schedule with its place in one training.
#[derive(Clone, Debug)]
pub struct Rates {
    schedule: Schedule,
    base: f64,
    warmup: u64,
    epochs: u64,
    plateau: Patience,
    /// What plateaus have made of the rate so far.
    reduced: f64,
}

impl Rates {
    /// Makes the rates of a training of at most `epochs` epochs, the first `warmup` of which rise
    /// to `base`.
    pub fn new(schedule: &Schedule, base: f64, warmup: u64, epochs: u64) -> Rates {
        let schedule = schedule.clone();
        Rates { schedule, base, warmup, epochs, plateau: Patience::default(), reduced: 1.0 }
    }

    /// Gives the rate of `epoch` (from 1), given the validation losses told so far.
    ///
    /// In the warm-up it is `epoch / (warmup + 1)` of the full rate; a schedule begins after it.
    pub fn rate(&self, epoch: u64) -> f64 {
        if epoch <= self.warmup {
            return self.base * epoch as f64 / (self.warmup + 1) as f64;
        }
        let done = epoch - self.warmup - 1;
        let share = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Step { every, factor } => power(factor, done / every.max(1)),
            Schedule::Exponential { factor } => power(factor, done),
            Schedule::Cosine { minimum } => {
                let last = (self.epochs.saturating_sub(self.warmup + 1)).max(1);
                let wave = (1.0 + (PI * done as f64 / last as f64).cos()) / 2.0;
                minimum + (1.0 - minimum) * wave
            }
            Schedule::ReduceOnPlateau { .. } => self.reduced,
        };
        self.base * share
    }

    /// Tells the validation loss of an epoch; `true` where the rate is reduced because of it.
    pub fn tell(&mut self, epoch: u64, validation_loss: f64) -> bool {
        let Schedule::ReduceOnPlateau { factor, patience, min_delta } = self.schedule else {
            return false;
        };
        let waited = self.plateau.tell(validation_loss, min_delta);
        let reduces = epoch > self.warmup && waited > 0 && waited >= patience;
        if reduces {
            self.reduced *= factor;
            self.plateau.waited = 0;
        }
        reduces
    }
}

fn power(factor: f64, exponent: u64) -> f64 {
    factor.powi(i32::try_from(exponent).unwrap_or(i32::MAX))
}

/// Counts the epochs since the last improvement.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Patience {
    best: Option<f64>,
    waited: u64,
}

impl Patience {
    /// Tells a loss; gives the epochs since it last improved by more than `min_delta`.
    pub fn tell(&mut self, loss: f64, min_delta: f64) -> u64 {
        if self.best.is_none_or(|best| loss < best - min_delta) {
            self.best = Some(loss);
            self.waited = 0;
        } else {
            self.waited += 1;
        }
        self.waited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, warmup: u64) -> Vec<f64> {
        let rates = Rates::new(&schedule, 1.0, warmup, 5);
        (1..=5).map(|epoch| (rates.rate(epoch) * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn each_schedule_has_its_rates() {
        assert_eq!(rates(Schedule::Constant, 0), [1.0; 5]);
        assert_eq!(rates(Schedule::Constant, 2), [0.3333, 0.6667, 1.0, 1.0, 1.0]);
        let step = Schedule::Step { every: 2, factor: 0.1 };
        assert_eq!(rates(step, 0), [1.0, 1.0, 0.1, 0.1, 0.01]);
        assert_eq!(rates(Schedule::Exponential { factor: 0.5 }, 1), [0.5, 1.0, 0.5, 0.25, 0.125]);
        let cosine = Schedule::Cosine { minimum: 0.2 };
        assert_eq!(rates(cosine, 0), [1.0, 0.8828, 0.6, 0.3172, 0.2]);
    }

    #[test]
    fn a_plateau_halves_the_rate_after_its_patience() {
        let schedule = Schedule::ReduceOnPlateau { factor: 0.5, patience: 2, min_delta: 0.01 };
        let mut rates = Rates::new(&schedule, 1.0, 0, 9);
        let losses = [1.0, 0.5, 0.495, 0.5, 0.499, 0.3, 0.4, 0.4];
        let mut seen = Vec::new();
        for (epoch, loss) in (1..).zip(losses) {
            seen.push(rates.rate(epoch));
            rates.tell(epoch, loss);
        }
        assert_eq!(seen, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(rates.rate(9), 0.25);
    }
}
