//! The optimizers' updates, each one loop over all parameters of a network.
//!
//! Constants are Keras's defaults: Adam's betas 0.9 and 0.999, RMSprop's decay 0.9, and 1e-7 under
//! the square root's neighbour.

use pulp::Arch;

use super::Optimizer;

const BETA_1: f32 = 0.9;
const BETA_2: f32 = 0.999;
const DECAY: f32 = 0.9;
const EPSILON: f32 = 1e-7;

/// What an optimizer remembers from step to step.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Steps done.
    pub steps: u64,
    /// The mean gradient (Adam), or the velocity of momentum.
    pub first: Vec<f32>,
    /// The mean squared gradient (Adam, RMSprop).
    pub second: Vec<f32>,
}

impl Moments {
    /// Makes those of `count` parameters before the first step.
    pub fn new(count: usize) -> Moments {
        Moments { steps: 0, first: vec![0.0; count], second: vec![0.0; count] }
    }
}

impl Optimizer {
    /// Gives the learning rate before the schedule.
    pub fn learning_rate(&self) -> f64 {
        match *self {
            Optimizer::Adam { learning_rate }
            | Optimizer::Adamw { learning_rate, .. }
            | Optimizer::Rmsprop { learning_rate, .. }
            | Optimizer::Sgd { learning_rate, .. } => learning_rate,
        }
    }

    /// Moves `weights` one step of size `rate` against `gradient`.
    pub fn update(&self, moments: &mut Moments, weights: &mut [f32], gradient: &[f32], rate: f64) {
        moments.steps += 1;
        let arch = Arch::new();
        match *self {
            Optimizer::Adam { .. } => {
                arch.dispatch(|| adam(moments, weights, gradient, rate, 0.0));
            }
            Optimizer::Adamw { weight_decay, .. } => {
                arch.dispatch(|| adam(moments, weights, gradient, rate, weight_decay));
            }
            Optimizer::Rmsprop { momentum, .. } => {
                arch.dispatch(|| rmsprop(moments, weights, gradient, rate, momentum));
            }
            Optimizer::Sgd { momentum, .. } => {
                arch.dispatch(|| sgd(moments, weights, gradient, rate, momentum));
            }
        }
    }
}

#[inline(always)]
fn adam(moments: &mut Moments, weights: &mut [f32], gradient: &[f32], rate: f64, decay: f64) {
    let steps = i32::try_from(moments.steps).unwrap_or(i32::MAX);
    let bias_1 = 1.0 - f64::from(BETA_1).powi(steps);
    let bias_2 = 1.0 - f64::from(BETA_2).powi(steps);
    let step = (rate * bias_2.sqrt() / bias_1) as f32;
    let kept = (1.0 - rate * decay) as f32;
    let moments = moments.first.iter_mut().zip(&mut moments.second);
    for ((weight, gradient), (first, second)) in weights.iter_mut().zip(gradient).zip(moments) {
        *first += (gradient - *first) * (1.0 - BETA_1);
        *second += (gradient * gradient - *second) * (1.0 - BETA_2);
        *weight = *weight * kept - step * *first / (second.sqrt() + EPSILON);
    }
}

#[inline(always)]
fn rmsprop(moments: &mut Moments, weights: &mut [f32], gradient: &[f32], rate: f64, momentum: f64) {
    let (rate, momentum) = (rate as f32, momentum as f32);
    let moments = moments.first.iter_mut().zip(&mut moments.second);
    for ((weight, gradient), (velocity, second)) in weights.iter_mut().zip(gradient).zip(moments) {
        *second = DECAY * *second + (1.0 - DECAY) * gradient * gradient;
        *velocity = momentum * *velocity + rate * gradient / (*second + EPSILON).sqrt();
        *weight -= *velocity;
    }
}

#[inline(always)]
fn sgd(moments: &mut Moments, weights: &mut [f32], gradient: &[f32], rate: f64, momentum: f64) {
    let (rate, momentum) = (rate as f32, momentum as f32);
    for ((weight, gradient), velocity) in weights.iter_mut().zip(gradient).zip(&mut moments.first) {
        *velocity = momentum * *velocity + rate * gradient;
        *weight -= *velocity;
    }
}

/// Scales `gradient` down to the norm `limit` where it is longer.
pub fn clip(gradient: &mut [f32], limit: f64) {
    let square: f64 = gradient.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
    let norm = square.sqrt();
    if norm > limit {
        let factor = (limit / norm) as f32;
        gradient.iter_mut().for_each(|value| *value *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each optimizer's first two steps of size 0.1 on one weight of 1 with gradients 2 and -1,
    /// worked out by hand from its paper.
    #[test]
    fn two_steps_are_those_of_the_papers() {
        let rate = 0.1;
        let cases = [
            (Optimizer::Adam { learning_rate: rate }, [0.9, 0.873_366]),
            (Optimizer::Adamw { learning_rate: rate, weight_decay: 0.1 }, [0.89, 0.854_466]),
            (Optimizer::Rmsprop { learning_rate: rate, momentum: 0.0 }, [0.683_772, 0.831_214]),
            (Optimizer::Rmsprop { learning_rate: rate, momentum: 0.5 }, [0.683_772, 0.673_100]),
            (Optimizer::Sgd { learning_rate: rate, momentum: 0.0 }, [0.8, 0.9]),
            (Optimizer::Sgd { learning_rate: rate, momentum: 0.5 }, [0.8, 0.8]),
        ];
        for (optimizer, expected) in cases {
            let (mut moments, mut weights) = (Moments::new(1), vec![1.0]);
            for (gradient, expected) in [2.0, -1.0].into_iter().zip(expected) {
                optimizer.update(&mut moments, &mut weights, &[gradient], rate);
                assert!(
                    (weights[0] - expected).abs() < 2e-5,
                    "{optimizer:?} {weights:?} {expected}"
                );
            }
        }
    }

    #[test]
    fn a_long_gradient_is_cut_to_the_limit_and_a_short_one_left() {
        let mut gradient = vec![3.0, 4.0];
        clip(&mut gradient, 10.0);
        assert_eq!(gradient, [3.0, 4.0]);
        clip(&mut gradient, 1.0);
        assert!((gradient[0] - 0.6).abs() < 1e-6 && (gradient[1] - 0.8).abs() < 1e-6);
    }
}
