//! The `workload` profile: functions on a serverless platform under load, simulated.
//!
//! # The facts that it is after
//!
//! - Load has daily and weekly cycles, drifts over hours and comes in bursts.
//! - An event (an upload, a batch of messages) fans out to several requests at once, and each
//!   request needs a container to itself. That width, not the mean rate, decides how many containers
//!   there are and whether the limit on concurrency is passed; what is beyond it is throttled.
//! - The platform keeps an idle container for a while. So a request starts cold where the function
//!   has been idle for longer than that, and where an event is wider than the pool that is warm.
//! - Queues have a knee: service hardly suffers until the machines are busy, then it slows fast.
//!   A container that is little used is slow as well: its caches and connections have gone stale.
//! - Machines are shared. How much busy machines slow a function depends on its neighbours, which
//!   no metric of its own shows. They come and go over hours, so recent response times tell of them,
//!   those under load most of all.
//! - Refused requests are retried and time out: errors are more frequent under throttling.
//!
//! # The model
//!
//! For a function `f` and the interval at time `t`; `e1 … e4` are independent normal numbers held
//! within ±3, `p()` is the traits of the function, drawn once, `U` an even draw from 0 to 1.
//!
//! ```text
//! activity      a = exp(day(t - shift) + week(t) + 0.3 drift(t) + bursts(t))       (1 is usual)
//! event rate    r = 0.008 a p()                                                    events/s
//! demand        n = 7.6 a exp(0.4 e1)                                              requests at once
//! served        s = min(n, 24)                                                     (24: the limit)
//! warm pool     w = max of s over the intervals of the last 600 s (the keep-alive), at most 30
//! alive         1 - exp(-600 r)       the chance that a container has been used within 600 s,
//!                                     arrivals being a Poisson process
//! cold          with chance max(0, 1 - alive w / s)
//! throttled     floor((n - s) r 60 + U)                                            requests/min
//! utilization   u = s / 24
//! knee          k = 1 / (1 + exp(-(u - 0.45) / 0.1))
//! staleness     l = exp(-u / 0.12)
//! neighbours    z = another drift(t)                                               (hidden)
//! slowdown      g = exp(0.32 z p())
//! service       m = 0.4 p() g^0.5 (1 + 1.8 p() k (1 + 0.9 tanh(1.3 z)) + l)        s
//! cold latency  c = 0.22 p() g^0.5 between(0.7, 1.3) if cold, else 0               s
//! response      y = m (1 + 0.2 e4) + c                                             s
//! truth             m + c
//! CPU           8 + 90 (1 - exp(-2.2 u)) + 2.5 e2, within 0.5 … 100                %
//! memory        128 + 14 p() max(w, s) + 14 e3, at least 64                        MB
//! error         with chance 0.4 where n > 24, else 0.08
//! ```
//!
//! `drift` and `bursts` are those of `hidden.rs`. What can be learned beyond the row itself:
//! CPU is a noisy and bent picture of the utilization that the memory and the rows before it
//! sharpen; neighbours follow from the last hours' response times, each judged by how busy its row
//! was; and the two multiply. Nothing here depends on when the series began.

use std::collections::VecDeque;
use std::f64::consts::TAU;

use super::draws::Draws;
use super::hidden::{Bursts, Drift};
use super::{Row, Spec, round};

/// Requests at once that a function may serve.
pub(super) const LIMIT: f64 = 24.0;
/// Seconds for which the platform keeps an idle container.
const KEEP_ALIVE_SECONDS: f64 = 600.0;
/// Intervals of the keep-alive that are looked at: with short intervals it ends early, so that
/// entering a series at a late time stays cheap.
const KEEP_ALIVE_INTERVALS: u64 = 30;

const DAY_SECONDS: f64 = 86_400.0;
const WEEK_SECONDS: f64 = 7.0 * DAY_SECONDS;
/// Swing of the logarithm of the activity over a day, and the hour of its peak.
const DAY_SWING: f64 = 0.65;
const DAY_PEAK: f64 = 14.0 / 24.0;
/// The same over a week; the epoch was a Thursday, so that its peak is Wednesday noon.
const WEEK_SWING: f64 = 0.1;
const WEEK_PEAK: f64 = 6.5 / 7.0;

/// A drift of the activity, by its standard deviation, its two periods in seconds, and the slower
/// one's share of the variance; the neighbours' beside it.
const DRIFT: f64 = 0.3;
const DRIFT_PERIODS: [f64; 2] = [10_800.0, 5_400.0];
const DRIFT_SLOW_SHARE: f64 = 0.72;
const NEIGHBOUR_PERIODS: [f64; 2] = [16_200.0, 8_100.0];
const NEIGHBOUR_SLOW_SHARE: f64 = 0.81;

/// The standard deviation of a single request's service time, as a part of its mean.
const SERVICE_NOISE: f64 = 0.2;

/// What is hidden in an interval of a function.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// Events per second.
    pub(super) event_rate: f64,
    /// Requests at once that the widest event asks for, before the limit.
    pub(super) demand: f64,
    /// Containers that the intervals of the keep-alive before this one left, before expiry.
    pub(super) pool: f64,
    /// How hard the neighbours press; about -3 to 3, 0 is usual.
    pub(super) neighbours: f64,
}

/// In what a function differs from others.
struct Traits {
    /// The time by which its day is shifted, in days.
    shift: f64,
    day_swing: f64,
    event_rate: f64,
    container_memory: f64,
    neighbour_effect: f64,
    service: f64,
    knee_effect: f64,
    cold_latency: f64,
}

impl Traits {
    /// Draws the traits of a function: each trait runs through its range from one function to the
    /// next in steps of an irrational number, from a random begin. So a few functions already
    /// differ about as much as many do, and no seed gives five that are alike.
    fn new(seed: u64, function: u64) -> Traits {
        let mut begins = Draws::new(seed, "lambda traits", 0, 0);
        // Powers of the roots of x = 1 + 1 / x^n: steps that cover the range evenly together.
        let steps = [0.618_034, 0.754_878, 0.569_840, 0.819_173, 0.671_044, 0.549_700];
        let traits =
            steps.map(|step| 2.0 * (begins.uniform() + function as f64 * step).fract() - 1.0);
        let [day, swing, rate, neighbours, service, knee] = traits;
        Traits {
            shift: 0.04 * day,
            day_swing: DAY_SWING * (1.0 + 0.2 * swing),
            event_rate: 0.008 * (1.0 + 0.2 * rate),
            container_memory: 14.0 + 3.0 * rate,
            neighbour_effect: 0.32 * (1.0 + 0.15 * neighbours),
            service: 0.4 * (0.12 * service).exp(),
            knee_effect: 1.8 * (1.0 + 0.2 * knee),
            cold_latency: 0.22 * (0.15 * day).exp(),
        }
    }
}

/// A function at some interval, ready to give it and those after it.
struct Function {
    traits: Traits,
    /// The interval, counted from `lead` intervals before the first row.
    place: u64,
    /// Intervals that fill the pool before the first row; what was served in them or in as many
    /// before any other row is all that a row needs of the past.
    lead: u64,
    start: i64,
    interval: u32,
    rows: Draws,
    drift: Drift,
    neighbours: Drift,
    bursts: Bursts,
    /// What was served within the keep-alive, as (place, served), falling; the first is the pool.
    pool: VecDeque<(u64, f64)>,
}

/// Fills the rows of a function from interval `step` on.
pub(super) fn fill<'a>(
    spec: &Spec,
    function: u64,
    step: u64,
    rows: impl Iterator<Item = &'a mut Row>,
) {
    let mut function = Function::at(spec, function, step);
    for row in rows {
        *row = function.next().1;
    }
}

/// Gives the hidden states and rows of a function from its first interval on.
#[cfg(test)]
pub(super) fn states(spec: &Spec, function: u64) -> impl Iterator<Item = (State, Row)> {
    let mut function = Function::at(spec, function, 0);
    std::iter::from_fn(move || Some(function.next()))
}

impl Function {
    /// Makes the function as it is at the begin of interval `step`.
    fn at(spec: &Spec, function: u64, step: u64) -> Function {
        let rows = Draws::new(spec.seed, "lambda workload", function, 0);
        let lead = (KEEP_ALIVE_SECONDS / f64::from(spec.interval)).ceil() as u64;
        let lead = lead.min(KEEP_ALIVE_INTERVALS);
        let mut it = Function {
            traits: Traits::new(spec.seed, function),
            place: step,
            lead,
            start: spec.start,
            interval: spec.interval,
            drift: Drift::new([1, 2].map(|s| rows.stream(s)), DRIFT_PERIODS, DRIFT_SLOW_SHARE),
            neighbours: Drift::new(
                [3, 4].map(|s| rows.stream(s)),
                NEIGHBOUR_PERIODS,
                NEIGHBOUR_SLOW_SHARE,
            ),
            bursts: Bursts::new(rows.stream(5)),
            rows,
            pool: VecDeque::new(),
        };
        for _ in 0..lead {
            it.rows.seek(it.place);
            it.advance();
        }
        it.rows.seek(it.place);
        it
    }

    /// Gives the hidden state and the row of the next interval.
    ///
    /// A row draws all the numbers of its place, whatever they say, so that the next row finds
    /// itself at its own place without a seek.
    fn next(&mut self) -> (State, Row) {
        let (state, cpu_noise) = self.advance();
        (state, observe(&self.traits, &state, cpu_noise, &mut self.rows))
    }

    /// Goes on by an interval; gives its state, and a normal number that came along.
    fn advance(&mut self) -> (State, f64) {
        let seconds = self.place as f64 * f64::from(self.interval);
        let time = self.start as f64 + seconds - self.lead as f64 * f64::from(self.interval);
        let activity = self.activity(seconds, time);
        let [width, cpu_noise] = self.rows.normals();
        let demand = 7.6 * activity * (0.4 * width).exp();
        let pool = self.pool.front().map_or(0.0, |(_, served)| *served);
        self.remember(demand.min(LIMIT));
        let state = State {
            event_rate: self.traits.event_rate * activity,
            demand,
            pool,
            neighbours: self.neighbours.at(seconds),
        };
        (state, cpu_noise)
    }

    /// Gives the activity `seconds` after the processes began, which is at `time` since 1970.
    fn activity(&mut self, seconds: f64, time: f64) -> f64 {
        let day = (TAU * (time / DAY_SECONDS - DAY_PEAK - self.traits.shift)).cos();
        let week = (TAU * (time / WEEK_SECONDS - WEEK_PEAK)).cos();
        let cycles = self.traits.day_swing * day + WEEK_SWING * week;
        (cycles + DRIFT * self.drift.at(seconds) + self.bursts.at(seconds)).exp()
    }

    /// Puts this interval into the pool and drops what the keep-alive has ended.
    fn remember(&mut self, served: f64) {
        while self.pool.back().is_some_and(|(_, earlier)| *earlier <= served) {
            self.pool.pop_back();
        }
        self.pool.push_back((self.place, served));
        self.place += 1;
        while self.pool.front().is_some_and(|(place, _)| place + self.lead < self.place) {
            self.pool.pop_front();
        }
    }
}

/// Gives what monitoring shows of a state.
fn observe(traits: &Traits, state: &State, cpu_noise: f64, draws: &mut Draws) -> Row {
    let [memory_noise, service_noise] = draws.normals();
    let served = state.demand.min(LIMIT);
    let utilization = served / LIMIT;
    let slowdown = (traits.neighbour_effect * state.neighbours).exp();

    let cold = draws.uniform() < cold_chance(state);
    let latency = traits.cold_latency * slowdown.sqrt() * draws.between(0.7, 1.3);
    let cold_latency = if cold { round(latency, 1e6) } else { 0.0 };

    let excess = (state.demand - LIMIT).max(0.0);
    let refused = (excess * state.event_rate * 60.0 + draws.uniform()).floor() as i64;
    let throttled = if excess > 0.0 { refused } else { 0 };
    let error = draws.uniform() < if excess > 0.0 { 0.4 } else { 0.08 };

    let service = service_seconds(traits, utilization, slowdown, state.neighbours);
    let cpu = 8.0 + 90.0 * (1.0 - (-2.2 * utilization).exp()) + 2.5 * cpu_noise;
    let memory = 128.0 + traits.container_memory * state.pool.max(served) + 14.0 * memory_noise;
    Row {
        response: round(service * (1.0 + SERVICE_NOISE * service_noise) + cold_latency, 1e6),
        mean: round(service + cold_latency, 1e9),
        cpu: round(cpu.clamp(0.5, 100.0), 1e2),
        memory: round(memory.max(64.0), 1e2),
        cold,
        cold_latency,
        throttled,
        error,
    }
}

/// Gives the chance that a request finds no warm container.
fn cold_chance(state: &State) -> f64 {
    let alive = 1.0 - (-state.event_rate * KEEP_ALIVE_SECONDS).exp();
    (1.0 - alive * state.pool / state.demand.min(LIMIT)).max(0.0)
}

/// Gives the mean service time of a request, in seconds.
fn service_seconds(traits: &Traits, utilization: f64, slowdown: f64, neighbours: f64) -> f64 {
    let knee = 1.0 / (1.0 + (-(utilization - 0.45) / 0.1).exp());
    let pressure = 1.0 + 0.9 * (1.3 * neighbours).tanh();
    let staleness = (-utilization / 0.12).exp();
    traits.service * slowdown.sqrt() * (1.0 + traits.knee_effect * knee * pressure + staleness)
}
