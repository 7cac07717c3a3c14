use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::RngExt;
use serde_json::json;

use super::space::Space;
use super::*;
use crate::random::generator;

mod recorded;
mod spaces;

use spaces::any_space;

fn params(value: Value) -> BTreeMap<String, SearchParam> {
    serde_json::from_value(value).expect("the space is well-formed")
}

fn config(space: Value, sampler: Sampler) -> StudyConfig {
    StudyConfig {
        space: params(space),
        sampler,
        pruner: Pruner::None,
        objective: Objective::Minimize("loss".to_owned()),
        others: Vec::new(),
        trials: 20,
        parallel: 1,
        first: None,
        steps: None,
    }
}

/// A space with every kind of domain and a condition on a condition.
fn rich_space() -> Value {
    json!({
        "a.kind": { "choice": ["one", "two", "three"] },
        "z.float": { "float": [-1.0, 2.5], "when": { "a.kind": ["one", "two"] } },
        "b.stepped": { "float": [0.1, 0.75], "step": 0.2, "when": { "z.int": [3, 4, 5] } },
        "z.int": { "int": [3, 9], "when": { "a.kind": ["two"] } },
        "c.even": { "int": [2, 11], "step": 4 },
        "d.rate": { "log_float": [1e-5, 1e-1] },
        "e.units": { "log_int": [1, 500] },
    })
}

/// Gives a made-up but fixed curve and value of a trial, from its parameters.
fn outcome(point: &Point, number: u64) -> (Curve, f64) {
    let text = serde_json::to_string(point).expect("a point is JSON");
    let mut generator = generator(number / 3, &text, &[]);
    let end: f64 = generator.random();
    let losses = (1..=9).map(|step| end + generator.random::<f64>() / step as f64);
    let point = |(step, loss)| CurvePoint { step, metrics: [("loss".to_owned(), loss)].into() };
    (Curve { points: (1..).zip(losses).map(point).collect() }, end)
}

fn run(rule: &StopRule, number: u64, point: &Point) -> TrialEnd {
    if number % 11 == 7 {
        return TrialEnd::Failed;
    }
    let (curve, value) = outcome(point, number);
    let stops = |end: &usize| rule.as_ref().is_some_and(|rule| rule(&curve.points[..*end]));
    match (1..=curve.points.len()).find(stops) {
        Some(end) => TrialEnd::Pruned { curve: Curve { points: curve.points[..end].to_vec() } },
        None => TrialEnd::Complete { value, others: Vec::new(), curve },
    }
}

/// Runs a study with `workers` at once that end in an order of chance.
fn simulate(config: StudyConfig, workers: usize, chance: u64) -> Study {
    let mut generator = generator(chance, "workers", &[]);
    let mut study = Study::new(config);
    let mut flying = Vec::new();
    while !study.is_done() {
        while flying.len() < workers
            && let Some((number, point)) = study.ask()
        {
            flying.push((number, point));
        }
        assert!(flying.len() as u64 <= study.config().parallel);
        let (number, point) = flying.swap_remove(generator.random_range(0..flying.len()));
        // A rule that is made late must be the one that was made at the start.
        let end = run(&study.stop_rule(number), number, &point);
        study.tell(number, end);
    }
    study
}

fn samplers() -> impl Strategy<Value = Sampler> {
    prop_oneof![
        any::<u64>().prop_map(|seed| Sampler::Random { seed }),
        (any::<u64>(), 0..12_u64).prop_map(|(seed, startup)| Sampler::Tpe { seed, startup }),
        any::<u64>().prop_map(|seed| Sampler::QuasiRandom { seed }),
        (any::<u64>(), prop::option::of(2..9_u64))
            .prop_map(|(seed, population)| { Sampler::Cmaes { seed, sigma: 0.2, population } }),
    ]
}

fn pruners() -> impl Strategy<Value = Pruner> {
    prop_oneof![
        Just(Pruner::None),
        (0..6_u64, 0..4_u64).prop_map(|(startup, warmup)| Pruner::Median { startup, warmup }),
        (1..3_u64, 2..5_u64)
            .prop_map(|(min_resource, reduction)| Pruner::Asha { min_resource, reduction }),
        (1..3_u64, 4..12_u64, 2..4_u64).prop_map(|(min_resource, max, reduction)| {
            Pruner::Hyperband { min_resource, max_resource: Some(max), reduction }
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn trials_do_not_depend_on_workers_or_their_order(
        sampler in samplers(),
        pruner in pruners(),
        parallel in 1..6_u64,
        workers in 1..6_usize,
        chance: u64,
    ) {
        let config =
            StudyConfig { pruner, parallel, trials: 30, ..config(rich_space(), sampler) };
        let alone = simulate(config.clone(), 1, 0);
        let together = simulate(config, workers, chance);
        prop_assert_eq!(alone.trials(), together.trials());
        let points = |study: &Study| -> Vec<Point> {
            let all = study.trials().iter();
            all.map(|trial| study.point(trial.number).to_named()).collect()
        };
        prop_assert_eq!(points(&alone), points(&together));
        prop_assert_eq!(alone.best(), together.best());
    }

    #[test]
    fn every_point_lies_in_its_space(sampler in samplers(), seed: u64, parallel in 1..4_u64) {
        let config = StudyConfig { trials: 40, parallel, ..config(any_space(seed), sampler) };
        prop_assert_eq!(check_space(&config.space, &config.sampler), []);
        let space = Space::new(&config.space);
        let study = simulate(config, 1, 0);
        for trial in study.trials() {
            // Exactly the parameters that exist, each with one of its values.
            let point = study.point(trial.number);
            prop_assert!(space.holds(&point.to_named()), "{point:?}");
        }
    }

    #[test]
    fn a_grid_never_tries_a_point_twice(seed: u64) {
        let mut config = StudyConfig { trials: 300, ..config(any_space(seed), Sampler::Grid) };
        config.space.retain(|_, param| param.domain().is_ok_and(|domain| domain.count().is_some()));
        prop_assume!(check_space(&config.space, &config.sampler).is_empty());
        let space = Space::new(&config.space);
        let study = simulate(config, 1, 0);
        let points: BTreeSet<String> =
            study.trials().iter().map(|trial| json!(study.point(trial.number).to_named()).to_string()).collect();
        prop_assert_eq!(points.len() as u64, study.total());
        prop_assert!(study.trials().iter().all(|trial| space.holds(&study.point(trial.number).to_named())));
    }
}

#[test]
fn values_are_written_as_people_would() {
    let space = Space::new(&params(rich_space()));
    let values = |path: &str| -> Vec<Value> {
        let param = space.params.iter().find(|param| param.path == path).expect("it is there");
        (0..param.domain.count().expect("it is countable"))
            .map(|index| param.domain.nth(index))
            .collect()
    };
    // The high end of each lies off its steps.
    assert_eq!(json!(values("b.stepped")).to_string(), "[0.1,0.3,0.5,0.7]");
    assert_eq!(json!(values("c.even")).to_string(), "[2,6,10]");
    assert_eq!(values("e.units").len(), 500);
}

#[test]
fn a_grid_tries_every_combination_once() {
    let space = json!({
        "b": { "choice": ["x", "y"] },
        "a": { "int": [1, 3], "step": 2, "when": { "b": ["y"] } },
        "c": { "float": [0.0, 0.2], "step": 0.1 },
    });
    let first: Point = [("b".to_owned(), json!("x")), ("c".to_owned(), json!(0.1))].into();
    let points = |trials, first| -> Vec<String> {
        let config =
            StudyConfig { trials, first, parallel: 3, ..config(space.clone(), Sampler::Grid) };
        let study = simulate(config, 2, 5);
        study
            .trials()
            .iter()
            .map(|trial| json!(study.point(trial.number).to_named()).to_string())
            .collect()
    };
    let all = points(100, None);
    assert_eq!(
        all,
        [
            r#"{"b":"x","c":0.0}"#,
            r#"{"b":"x","c":0.1}"#,
            r#"{"b":"x","c":0.2}"#,
            r#"{"a":1,"b":"y","c":0.0}"#,
            r#"{"a":1,"b":"y","c":0.1}"#,
            r#"{"a":1,"b":"y","c":0.2}"#,
            r#"{"a":3,"b":"y","c":0.0}"#,
            r#"{"a":3,"b":"y","c":0.1}"#,
            r#"{"a":3,"b":"y","c":0.2}"#,
        ]
    );
    let mut moved = all.clone();
    moved[..2].rotate_right(1);
    assert_eq!(points(100, Some(first.clone())), moved);
    assert_eq!(points(4, Some(first)), moved[..4]);
}

#[test]
fn a_study_waits_for_the_trials_that_it_looks_back_at() {
    let config = StudyConfig {
        parallel: 2,
        trials: 4,
        ..config(json!({ "x": { "float": [0.0, 1.0] } }), Sampler::Random { seed: 1 })
    };
    let mut study = Study::new(config);
    let complete =
        |value| TrialEnd::Complete { value, others: Vec::new(), curve: Curve::default() };
    let numbers = |study: &mut Study| -> Vec<u64> {
        std::iter::from_fn(|| study.ask()).map(|(number, _)| number).collect()
    };
    assert_eq!(numbers(&mut study), [0, 1]);
    study.tell(1, complete(0.5));
    assert_eq!(numbers(&mut study), [0; 0]);
    study.tell(0, complete(f64::NAN));
    assert_eq!(numbers(&mut study), [2, 3]);
    study.tell(3, complete(0.5));
    assert!(!study.is_done());
    study.tell(2, complete(0.7));
    assert!(study.is_done() && study.ask().is_none());
    assert_eq!(study.trials()[0].state, TrialState::Failed);
    let ranked: Vec<u64> = study.ranked().iter().map(|trial| trial.number).collect();
    assert_eq!(ranked, [1, 3, 2]);
}

#[test]
fn a_generation_waits_for_the_one_before() {
    let sampler = Sampler::Cmaes { seed: 1, sigma: 0.2, population: Some(4) };
    let space = json!({ "x": { "float": [0.0, 1.0] } });
    let mut study = Study::new(StudyConfig { parallel: 3, ..config(space, sampler) });
    let numbers = |study: &mut Study| -> Vec<u64> {
        std::iter::from_fn(|| study.ask()).map(|(number, _)| number).collect()
    };
    let tell = |study: &mut Study, number| {
        study.tell(
            number,
            TrialEnd::Complete { value: 1.0, others: Vec::new(), curve: Curve::default() },
        );
    };
    assert_eq!(numbers(&mut study), [0, 1, 2]);
    tell(&mut study, 0);
    assert_eq!(numbers(&mut study), [3]);
    tell(&mut study, 1);
    tell(&mut study, 2);
    assert_eq!(numbers(&mut study), [0; 0]);
    tell(&mut study, 3);
    assert_eq!(numbers(&mut study), [4, 5, 6]);
}

#[test]
fn cmaes_needs_a_number_that_always_exists() {
    let sampler = Sampler::Cmaes { seed: 0, sigma: 0.2, population: None };
    let choices = json!({
        "kind": { "choice": ["a", "b"] },
        "x": { "float": [0.0, 1.0], "when": { "kind": ["a"] } },
    });
    assert!(check_sampler(&params(choices.clone()), &sampler).is_some());
    assert!(check_sampler(&params(choices), &Sampler::Random { seed: 0 }).is_none());
    assert!(check_sampler(&params(rich_space()), &sampler).is_none());
}

fn branin(point: &Point) -> f64 {
    let x = point["x"].as_f64().expect("x is a number");
    let y = point["y"].as_f64().expect("y is a number");
    let pi = std::f64::consts::PI;
    let bent = y - 5.1 / (4.0 * pi * pi) * x * x + 5.0 / pi * x - 6.0;
    bent * bent + 10.0 * (1.0 - 1.0 / (8.0 * pi)) * x.cos() + 10.0 - 0.397_887
}

/// A function of a choice that switches two of its dimensions on; its least value is 0.
fn switched(point: &Point) -> f64 {
    let part = |path: &str, best: f64| {
        point.get(path).and_then(Value::as_f64).map_or(0.0, |value| (value - best).powi(2))
    };
    let penalty = if point["kind"] == "deep" { 0.0 } else { 0.3 };
    penalty + part("rate", 0.2) + part("deep.a", 0.7) + part("deep.b", 0.1)
}

fn median_regret(space: &Value, sampler: fn(u64) -> Sampler, regret: fn(&Point) -> f64) -> f64 {
    let best = |seed| {
        let config =
            StudyConfig { trials: 60, parallel: 2, ..config(space.clone(), sampler(seed)) };
        let mut study = Study::new(config);
        while let Some((number, point)) = study.ask() {
            let end = TrialEnd::Complete {
                value: regret(&point),
                others: Vec::new(),
                curve: Curve::default(),
            };
            study.tell(number, end);
        }
        study.best().and_then(|trial| trial.value).expect("all trials are complete")
    };
    let mut regrets: Vec<f64> = (0..21).map(best).collect();
    regrets.sort_by(f64::total_cmp);
    regrets[10]
}

#[test]
fn tpe_beats_random_search() {
    let tpe = |seed| Sampler::Tpe { seed, startup: 10 };
    let random = |seed| Sampler::Random { seed };
    let plane = json!({ "x": { "float": [-5.0, 10.0] }, "y": { "float": [0.0, 15.0] } });
    let (ours, chance) =
        (median_regret(&plane, tpe, branin), median_regret(&plane, random, branin));
    assert!(ours < 0.5 * chance, "branin: {ours} against {chance}");

    let space = json!({
        "kind": { "choice": ["flat", "deep"] },
        "rate": { "float": [0.0, 1.0] },
        "deep.a": { "float": [0.0, 1.0], "when": { "kind": ["deep"] } },
        "deep.b": { "float": [0.0, 1.0], "when": { "kind": ["deep"] } },
    });
    let (ours, chance) =
        (median_regret(&space, tpe, switched), median_regret(&space, random, switched));
    assert!(ours < 0.7 * chance, "switched: {ours} against {chance}");
}

#[test]
fn the_best_of_a_rung_is_never_pruned() {
    let space = json!({ "x": { "float": [0.0, 1.0] } });
    let hyperband = Pruner::Hyperband { min_resource: 1, max_resource: Some(9), reduction: 3 };
    let mut pruned = 0;
    for seed in 0..20 {
        let config = StudyConfig {
            pruner: hyperband.clone(),
            parallel: 3,
            trials: 40,
            ..config(space.clone(), Sampler::Random { seed })
        };
        let mut study = Study::new(config);
        let mut best = f64::INFINITY;
        while let Some((number, point)) = study.ask() {
            let value = point["x"].as_f64().expect("x is a number");
            let metrics = BTreeMap::from([("loss".to_owned(), value)]);
            let points: Vec<CurvePoint> =
                (1..=9).map(|step| CurvePoint { step, metrics: metrics.clone() }).collect();
            let rule = study.stop_rule(number);
            let end = (1..=9).find(|end| rule.as_ref().is_some_and(|rule| rule(&points[..*end])));
            assert!(value > best || end.is_none(), "trial {number} of seed {seed}");
            best = best.min(value);
            pruned += usize::from(end.is_some());
            let curve = Curve { points: points[..end.unwrap_or(9)].to_vec() };
            let end = match end {
                Some(_) => TrialEnd::Pruned { curve },
                None => TrialEnd::Complete { value, others: Vec::new(), curve },
            };
            study.tell(number, end);
        }
    }
    // Of the 800 trials, well over half belong to brackets that have a rung.
    assert!(pruned > 200, "{pruned}");
}

#[test]
fn every_mistake_in_a_space_is_found() {
    let check = |space: Value, sampler: Sampler| -> Vec<String> {
        check_space(&params(space), &sampler).into_iter().map(|(place, ..)| place).collect()
    };
    let random = || Sampler::Random { seed: 0 };
    assert_eq!(check(rich_space(), random()), [""; 0]);
    assert_eq!(check(rich_space(), Sampler::Grid), ["d.rate", "z.float"]);
    let wrong = json!({
        "a": {},
        "b": { "int": [1, 2], "choice": [1] },
        "c": { "float": [2.0, 1.0] },
        "d": { "log_float": [0.0, 1.0] },
        "e": { "int": [1, 9], "step": 0.5 },
        "f": { "float": [0.0, 1.0], "step": 2.0 },
        "g": { "log_int": [1, 9], "step": 1.0 },
        "h": { "choice": [1, 2, 1.0] },
        "i": { "choice": [] },
        "j": { "choice": ["x"], "when": { "hh": [1], "h": [], "k": [5] } },
        "k": { "int": [1, 4], "when": { "l": ["x"] } },
        "l": { "choice": ["x"], "when": { "k": [1] } },
    });
    let found = [
        "a",
        "b",
        "c.float",
        "d.log_float",
        "e.step",
        "f.step",
        "g.step",
        "h.choice",
        "i.choice",
        "j.when.h",
        "j.when.hh",
        "j.when.k",
        "k.when",
    ];
    assert_eq!(check(wrong, random()), found);
    let (_, message, help) = check_space(
        &params(json!({ "rate": { "int": [1, 2], "when": { "knd": ["x"] } }, "kind": { "choice": ["x"] } })),
        &random(),
    )
    .remove(0);
    assert_eq!(message, "the condition names `knd`, which is not searched");
    assert_eq!(help, "did you mean `kind`?");
}
