use std::collections::BTreeMap;

use rand::RngExt;
use serde_json::{Value, json};

use super::*;
use crate::study::SearchParam;

fn space(value: Value) -> Space {
    let params: BTreeMap<String, SearchParam> =
        serde_json::from_value(value).expect("the space is well-formed");
    Space::new(&params)
}

/// Gives a cube of `count` floats `x0`, `x1`, ….
fn cube(count: usize, low: f64, high: f64) -> Space {
    let param = |place| (format!("x{place}"), json!({ "float": [low, high] }));
    space(Value::Object((0..count).map(param).collect()))
}

fn numbers(point: &Point) -> Vec<f64> {
    point.values().map(|value| value.as_f64().expect("it is a number")).collect()
}

/// Counts the evaluations until the loss is at most 1e-8; `None` where `budget` is not enough.
fn evaluations(space: &Space, seed: u64, budget: u64, loss: fn(&[f64]) -> f64) -> Option<u64> {
    let mut cmaes = Cmaes::new(space, seed, 0.2, None, None);
    let mut losses: Vec<f64> = Vec::new();
    (0..budget).find(|&number| {
        let standing = |number: u64| Standing::Complete { loss: losses[number as usize] };
        let found = loss(&numbers(&cmaes.point(space, number, standing)));
        losses.push(found);
        found <= 1e-8
    })
}

fn most_evaluations(space: &Space, loss: fn(&[f64]) -> f64) -> Option<u64> {
    (0..5)
        .map(|seed| evaluations(space, seed, 20_000, loss))
        .max_by_key(|count| count.unwrap_or(u64::MAX))?
}

#[test]
fn it_converges_within_the_usual_budget() {
    let sphere = |x: &[f64]| x.iter().map(|at| (at - 1.0).powi(2)).sum();
    let ellipsoid = |x: &[f64]| {
        let last = x.len() as f64 - 1.0;
        (0..).zip(x).map(|(place, at)| 10_f64.powf(6.0 * f64::from(place) / last) * at * at).sum()
    };
    let rosenbrock = |x: &[f64]| {
        let pairs = x.windows(2);
        pairs.map(|p| 100.0 * (p[1] - p[0] * p[0]).powi(2) + (1.0 - p[0]).powi(2)).sum()
    };
    let most = |space: &Space, loss| most_evaluations(space, loss).unwrap_or(u64::MAX);
    let counts = [
        most(&cube(8, -5.0, 5.0), sphere),
        most(&cube(8, -5.0, 3.0), ellipsoid),
        most(&cube(4, -2.0, 3.0), rosenbrock),
        most(&cube(1, -5.0, 5.0), sphere),
    ];
    let budgets = [1_300, 6_000, 2_500, 300];
    assert!(counts.iter().zip(budgets).all(|(count, budget)| *count < budget), "{counts:?}");
}

#[test]
fn a_place_at_the_bounds_is_found() {
    let corner = |x: &[f64]| x[0] + x[1] + x[2] + (1.0 - x[3]) + (x[4] - 0.5).powi(2);
    let count = most_evaluations(&cube(5, 0.0, 1.0), corner).unwrap_or(u64::MAX);
    assert!(count < 2_000, "{count}");
}

/// Without the margin a small step size would leave the whole numbers where they are.
#[test]
fn values_on_steps_are_not_given_up() {
    let space = space(json!({
        "a": { "int": [0, 30] },
        "b": { "float": [0.0, 1.0], "step": 0.25 },
        "c": { "log_int": [1, 1000] },
        "d": { "float": [0.0, 1.0] },
        "e": { "int": [0, 1] },
    }));
    let loss = |point: &Point| {
        let x = numbers(point);
        let rate = (x[2].ln() - 5.0).abs();
        (x[0] - 27.0).abs() + (x[1] - 0.75).abs() + rate + x[3] * x[3] + 4.0 * (1.0 - x[4])
    };
    for seed in 0..5 {
        let mut cmaes = Cmaes::new(&space, seed, 0.02, None, None);
        let mut losses = Vec::new();
        let mut best = Point::new();
        for number in 0..1500 {
            let standing = |number: u64| Standing::Complete { loss: losses[number as usize] };
            let point = cmaes.point(&space, number, standing);
            assert!(space.holds(&point));
            let found = loss(&point);
            if losses.iter().all(|earlier| *earlier > found) {
                best = point;
            }
            losses.push(found);
        }
        let whole = (&best["a"], &best["b"], &best["c"], &best["e"]);
        assert_eq!(whole, (&json!(27), &json!(0.75), &json!(148), &json!(1)), "seed {seed}");
    }
}

#[test]
fn a_generation_is_told_whole_and_the_first_trial_stands_before_it() {
    let space = space(json!({ "x": { "float": [0.0, 1.0] }, "y": { "log_float": [0.01, 1.0] } }));
    let first = Point::from([("x".to_owned(), json!(0.9)), ("y".to_owned(), json!(0.1))]);
    let cmaes = Cmaes::new(&space, 3, 0.1, Some(4), Some(&first));
    assert_eq!([0, 1, 4, 5, 8, 9].map(|number| cmaes.generation_start(number)), [0, 1, 1, 5, 5, 9]);
    // It begins there: by shares, and of logarithms.
    let error = |(mean, share): (&f64, f64)| (mean - share).abs();
    assert!(cmaes.evolution.mean.iter().zip([0.9, 0.5]).map(error).sum::<f64>() < 1e-12);
}

#[test]
fn pruned_and_failed_trials_rank_last_and_a_lost_generation_says_nothing() {
    let space = cube(2, 0.0, 1.0);
    let after = |standings: [Standing; 4]| {
        let mut cmaes = Cmaes::new(&space, 3, 0.1, Some(4), None);
        let point = cmaes.point(&space, 4, |number| standings[number as usize]);
        (cmaes.evolution, point)
    };
    let complete = |loss| Standing::Complete { loss };
    let pruned = |loss| Standing::Pruned { step: 1, loss };
    let ranked = after([complete(5.0), pruned(1.0), Standing::Failed, complete(4.0)]);
    assert_eq!(ranked, after([complete(2.0), complete(3.0), complete(4.0), complete(1.0)]));
    let (evolution, point) = after([Standing::Failed; 4]);
    let fresh = Cmaes::new(&space, 3, 0.1, Some(4), None);
    assert_eq!(evolution, fresh.evolution);
    // It draws anew, though.
    let places = |numbers: &[f64]| format!("{numbers:?}");
    let drawn: Vec<String> = fresh.draws.iter().map(|draw| places(draw)).collect();
    assert!(!drawn.contains(&places(&numbers(&point))));
}

#[test]
fn a_matrix_is_the_product_of_its_parts() {
    let mut generator = generator(4, "test", &[]);
    for count in [1, 2, 5, 12] {
        let mut matrix = eigen::identity(count);
        let pairs = (0..count).flat_map(|row| (0..=row).map(move |column| (row, column)));
        for (row, column) in pairs {
            // Of very different sizes, as those of a covariance are.
            let size = 10_f64.powi(-((row + column) as i32));
            let value = (generator.random::<f64>() - 0.5) * size;
            (matrix[row][column], matrix[column][row]) = (value, value);
        }
        let (values, vectors) = eigen::decomposed(matrix.clone());
        for row in 0..count {
            for column in 0..count {
                let sum = |factor: &dyn Fn(usize) -> f64| -> f64 {
                    let term =
                        |axis: usize| vectors[row][axis] * factor(axis) * vectors[column][axis];
                    (0..count).map(term).sum()
                };
                let (made, unit) = (sum(&|axis| values[axis]), sum(&|_| 1.0));
                assert!((made - matrix[row][column]).abs() < 1e-14, "{count}: {made}");
                assert!((unit - f64::from(row == column)).abs() < 1e-13, "{count}: {unit}");
            }
        }
    }
}

#[test]
fn the_margin_is_the_chance_to_leave_a_value() {
    let normal = margin::Marginal { mean: 0.51, spread: 0.001 };
    let above = |normal: margin::Marginal, end: f64| {
        libm::erfc((end - normal.mean) / normal.spread / std::f64::consts::SQRT_2) / 2.0
    };
    let kept = margin::kept(normal, Some(0.4), Some(0.6), 0.1);
    assert!((above(kept, 0.6) - 0.05).abs() < 1e-9, "{kept:?}");
    assert!((1.0 - above(kept, 0.4) - 0.05).abs() < 1e-9, "{kept:?}");
    let kept = margin::kept(normal, None, Some(0.6), 0.1);
    assert!((above(kept, 0.6) - 0.1).abs() < 1e-9 && kept.spread == normal.spread, "{kept:?}");
    let wide = margin::Marginal { mean: 0.5, spread: 0.2 };
    assert_eq!(margin::kept(wide, Some(0.4), Some(0.6), 0.1), wide);
}
