//! Hidden processes that can be entered at any time: smooth noise and bursts.
//!
//! A recursion such as an autoregression would have to run from the start to be known at a late
//! time. These are built from numbers drawn at places in time instead, so that their value is
//! found from the few places around it. They are stationary: late rows are like early ones.

use std::f64::consts::FRAC_PI_2;

use super::draws::Draws;

/// A smooth stationary process with mean 0, variance 1 and a normal distribution at each time.
///
/// It has an independent normal number at each knot, and between two knots `cos(a) left + sin(a)
/// right` with `a` running from 0 to a quarter turn, which keeps the variance. Times further apart
/// than two periods are independent.
pub(super) struct Smooth {
    draws: Draws,
    period: f64,
    phase: f64,
    knot: u64,
    ends: [f64; 2],
}

impl Smooth {
    /// Makes the process on its own stream; knots are `period` seconds apart.
    pub(super) fn new(mut draws: Draws, period: f64) -> Smooth {
        // Place 0 gives the phase, so that knot k lies at place k + 1.
        let phase = draws.uniform();
        Smooth { draws, period, phase, knot: u64::MAX, ends: [0.0; 2] }
    }

    /// Gives the value at a time, in seconds since the process began.
    pub(super) fn at(&mut self, seconds: f64) -> f64 {
        let position = seconds / self.period + self.phase;
        let knot = position as u64;
        if knot != self.knot {
            self.knot = knot;
            self.ends = [knot + 1, knot + 2].map(|place| self.draws.seek(place).normals()[0]);
        }
        let (sine, cosine) = ((position - knot as f64) * FRAC_PI_2).sin_cos();
        cosine * self.ends[0] + sine * self.ends[1]
    }
}

/// Two smooth processes, a slow and a faster one, with variance 1 together before it is bounded.
pub(super) struct Drift {
    slow: Smooth,
    fast: Smooth,
    slow_weight: f64,
}

/// The bound of a [`Drift`]: it bends towards it, so that no rare event rules the variance.
const DRIFT_BOUND: f64 = 3.0;

impl Drift {
    /// Makes the process on two streams; `slow_share` of the variance is the slow one's.
    pub(super) fn new(draws: [Draws; 2], periods: [f64; 2], slow_share: f64) -> Drift {
        let [slow, fast] = draws;
        Drift {
            slow: Smooth::new(slow, periods[0]),
            fast: Smooth::new(fast, periods[1]),
            slow_weight: slow_share.sqrt(),
        }
    }

    /// Gives the value at a time, in seconds since the process began.
    pub(super) fn at(&mut self, seconds: f64) -> f64 {
        let fast_weight = (1.0 - self.slow_weight * self.slow_weight).sqrt();
        let sum = self.slow_weight * self.slow.at(seconds) + fast_weight * self.fast.at(seconds);
        DRIFT_BOUND * (sum / DRIFT_BOUND).tanh()
    }
}

/// Bursts that come at random, rise within minutes and decay within an hour or so.
///
/// Each slot of six hours has at most one. A burst is felt in its slot and the two after it.
pub(super) struct Bursts {
    draws: Draws,
    slot: u64,
    recent: [Burst; 3],
}

#[derive(Clone, Copy, Default)]
struct Burst {
    begin: f64,
    height: f64,
    decay: f64,
}

const SLOT_SECONDS: f64 = 6.0 * 3600.0;
const BURST_CHANCE: f64 = 0.5;
const BURST_HEIGHT: (f64, f64) = (0.75, 1.5);
const BURST_RISE_SECONDS: f64 = 600.0;
const BURST_DECAY_SECONDS: (f64, f64) = (1500.0, 4500.0);

impl Bursts {
    /// Makes the process on its own stream.
    pub(super) fn new(draws: Draws) -> Bursts {
        Bursts { draws, slot: u64::MAX, recent: [Burst::default(); 3] }
    }

    /// Gives the sum of the bursts at a time, in seconds since the process began; 0 between them.
    pub(super) fn at(&mut self, seconds: f64) -> f64 {
        // Slots count from 2, so that the two before the first have numbers too.
        let slot = (seconds / SLOT_SECONDS) as u64 + 2;
        if slot != self.slot {
            self.slot = slot;
            self.recent = [slot - 2, slot - 1, slot].map(|slot| draw(self.draws.seek(slot), slot));
        }
        self.recent.iter().map(|burst| burst.at(seconds)).sum()
    }
}

fn draw(draws: &mut Draws, slot: u64) -> Burst {
    let comes = draws.uniform() < BURST_CHANCE;
    let begin = (slot as f64 - 2.0 + draws.uniform()) * SLOT_SECONDS;
    let height = draws.between(BURST_HEIGHT.0, BURST_HEIGHT.1);
    let decay = draws.between(BURST_DECAY_SECONDS.0, BURST_DECAY_SECONDS.1);
    Burst { begin, height: if comes { height } else { 0.0 }, decay }
}

impl Burst {
    fn at(&self, seconds: f64) -> f64 {
        let age = seconds - self.begin;
        if age <= 0.0 || self.height == 0.0 {
            return 0.0;
        }
        self.height * (1.0 - (-age / BURST_RISE_SECONDS).exp()) * (-age / self.decay).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(stream: u64) -> Draws {
        Draws::new(7, "test", 0, stream)
    }

    #[test]
    fn a_late_time_can_be_entered_at_once() {
        let mut walked = (Smooth::new(draws(1), 900.0), Bursts::new(draws(2)));
        for second in (0..1_000_000).step_by(300) {
            let second = f64::from(second);
            let (smooth, burst) = (walked.0.at(second), walked.1.at(second));
            assert_eq!(smooth, Smooth::new(draws(1), 900.0).at(second));
            assert_eq!(burst, Bursts::new(draws(2)).at(second));
        }
    }

    #[test]
    fn smooth_noise_is_continuous_and_of_variance_1() {
        let mut process = Smooth::new(draws(3), 3600.0);
        let values: Vec<f64> =
            (0..400_000).map(|step| process.at(f64::from(step) * 60.0)).collect();
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((variance - 1.0).abs() < 0.08, "{variance}");
        // Normal numbers here end at 3: in a sixtieth of a quarter turn less than 0.12 can happen.
        assert!(values.windows(2).all(|pair| (pair[1] - pair[0]).abs() < 0.12));
    }
}
