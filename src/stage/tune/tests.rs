use serde_json::json;

use super::super::Params as AnyParams;
use super::*;
use crate::stage::StageKind;
use crate::study::{CurvePoint, TrialEnd};

mod results;

fn train(extra: Value) -> AnyParams {
    let mut value = json!({
        "target": "y",
        "network": { "kind": "lstm", "units": [64, 64], "dropout": 0.2 },
        "epochs": 9,
    });
    value
        .as_object_mut()
        .expect("it is an object")
        .extend(extra.as_object().cloned().unwrap_or_default());
    AnyParams::from_value(StageKind::Train, value).expect("the params are well-formed")
}

fn command() -> AnyParams {
    let value = json!({ "run": "echo", "with": { "lr": 0.1, "mode": "fast" } });
    AnyParams::from_value(StageKind::Command, value).expect("the params are well-formed")
}

fn tune(extra: Value) -> Params {
    let mut value = json!({
        "stage": "train",
        "search": { "epochs": { "int": [1, 9] } },
        "objective": { "minimize": "validation_loss" },
        "trials": 4,
    });
    value
        .as_object_mut()
        .expect("it is an object")
        .extend(extra.as_object().cloned().unwrap_or_default());
    serde_json::from_value(value).expect("the params are well-formed")
}

fn point(value: Value) -> Point {
    serde_json::from_value(value).expect("a point is an object")
}

#[test]
fn a_point_sets_nested_fields_and_makes_those_that_are_left_out() {
    let trial = trial_params(
        &train(json!({})),
        &point(json!({
            "network.units": [16],
            "early_stopping.patience": 3,
            "optimizer.learning_rate": 1,
        })),
    );
    let expected = train(json!({
        "network": { "kind": "lstm", "units": [16], "dropout": 0.2 },
        "early_stopping": { "patience": 3 },
        "optimizer": { "kind": "adam", "learning_rate": 1.0 },
    }));
    assert_eq!(trial, Ok(expected));
}

#[test]
fn another_kind_of_thing_loses_the_fields_that_it_does_not_have() {
    let base = train(json!({
        "optimizer": { "kind": "adamw", "learning_rate": 0.002, "weight_decay": 0.1 },
    }));
    let trial =
        trial_params(&base, &point(json!({ "optimizer.kind": "sgd", "optimizer.momentum": 0.9 })));
    let expected = train(json!({
        "optimizer": { "kind": "sgd", "learning_rate": 0.002, "momentum": 0.9 },
    }));
    assert_eq!(trial, Ok(expected));
}

#[test]
fn a_command_is_searched_by_its_own_parameters() {
    let trial = trial_params(&command(), &point(json!({ "with.lr": 0.5 })));
    let AnyParams::Command(params) = trial.expect("the point fits") else { unreachable!() };
    assert_eq!(params.with["lr"], json!(0.5));
    assert_eq!(params.with["mode"], json!("fast"));
}

#[test]
fn the_first_trial_is_the_base_where_the_space_holds_it() {
    let base = train(json!({ "early_stopping": { "patience": 4 } }));
    let search = |units: Value, dropout: Value| {
        tune(json!({ "search": {
            "network.units": { "choice": units },
            "network.dropout": dropout,
            "early_stopping": { "choice": [null, {}, { "patience": 9 }] },
            "optimizer.momentum": {
                "float": [0.0, 0.9], "when": { "early_stopping": [{ "patience": 9 }] },
            },
        } }))
        .search
    };
    let stepped = json!({ "float": [0.0, 0.5], "step": 0.1 });
    let held = base_point(&base, &search(json!([[16], [64, 64]]), stepped.clone()));
    let expected = point(json!({
        "network.units": [64, 64], "network.dropout": 0.2, "early_stopping": {},
    }));
    assert_eq!(held, Some(expected));
    assert_eq!(base_point(&base, &search(json!([[16], [64]]), stepped)), None);
    let off = json!({ "float": [0.0, 0.5], "step": 0.15 });
    assert_eq!(base_point(&base, &search(json!([[64, 64]]), off)), None);
}

#[test]
fn a_search_is_tried_on_its_base_before_anything_runs() {
    let check = |base: &AnyParams, extra: Value| -> Vec<(String, String)> {
        let params = tune(extra);
        assert_eq!(params.check(), []);
        let issue = |issue: ParamIssue| (issue.path, issue.help.unwrap_or(issue.message));
        check_search(&params, base).into_iter().map(issue).collect()
    };
    let places = |base: &AnyParams, extra: Value| -> Vec<String> {
        check(base, extra).into_iter().map(|(place, _)| place).collect()
    };
    let base = train(json!({}));
    let sound = json!({ "search": {
        "network.units": { "choice": [[16], [64, 64]] },
        "optimizer.kind": { "choice": ["adam", "sgd"] },
        "optimizer.momentum": { "float": [0.0, 0.9], "when": { "optimizer.kind": ["sgd"] } },
        "early_stopping.patience": { "int": [1, 5] },
    } });
    assert_eq!(check(&base, sound), []);

    let absent = json!({ "search": { "network.droput": { "float": [0.0, 0.5] } } });
    let help = "did you mean `network.dropout`?".to_owned();
    assert_eq!(check(&base, absent), [("search.network.droput".to_owned(), help)]);
    let absent = json!({ "search": { "with.rl": { "float": [0.0, 0.5] } } });
    let help = "did you mean `with.lr`?".to_owned();
    assert_eq!(check(&command(), absent), [("search.with.rl".to_owned(), help)]);

    let wrong = json!({ "search": {
        "network.units": { "choice": [[16], []] },
        "network.dropout": { "float": [0.0, 1.5] },
        "epochs": { "float": [1.0, 9.0] },
        "batch_size": { "choice": [32, "64"] },
        "optimizer.momentum": { "float": [0.0, 0.9] },
        "schedule.factor": { "float": [0.1, 0.9] },
        "window": { "log_int": [1, 64] },
    } });
    assert_eq!(
        places(&base, wrong),
        [
            "search.batch_size",
            "search.epochs",
            "search.network.dropout",
            "search.network.units",
            "search.optimizer.momentum",
            "search.schedule.factor",
        ]
    );

    // Each is sound alone, but not beside the other.
    let stepped = train(json!({ "schedule": { "kind": "step", "every": 2, "factor": 0.5 } }));
    let clash = json!({ "search": {
        "schedule.kind": { "choice": ["step", "constant"] },
        "schedule.factor": { "float": [0.1, 0.9] },
    } });
    assert_eq!(places(&stepped, clash), ["search.schedule.kind"]);

    let unknown = json!({ "objective": { "maximize": "accuracy" } });
    assert_eq!(places(&base, unknown), ["objective.maximize"]);
    let command_tune = json!({
        "search": { "with.lr": { "log_float": [0.01, 1.0] } },
        "objective": { "maximize": "accuracy" },
        "pruner": { "kind": "hyperband" },
    });
    assert_eq!(places(&command(), command_tune), ["pruner.max_resource"]);
}

#[test]
fn a_pruner_needs_the_metric_in_the_curve() {
    let failure = |pruner: &str, names: &[&str]| {
        let params = tune(json!({ "pruner": { "kind": pruner } }));
        let metrics = names.iter().map(|name| ((*name).to_owned(), 1.0)).collect();
        let curve = Curve { points: vec![CurvePoint { step: 1, metrics }] };
        curve_failure(&params, &curve).map(|failure| failure.help.unwrap_or_default())
    };
    assert_eq!(failure("asha", &["loss", "validation_loss"]), None);
    assert_eq!(failure("none", &["loss"]), None);
    assert_eq!(failure("asha", &["loss"]), Some("its curve has `loss`".to_owned()));
    let help = failure("median", &[]).expect("there is no curve");
    assert!(help.contains(r#"{"step": 1, "validation_loss": 0.5}"#), "{help}");
}

#[test]
fn cmaes_without_a_number_is_a_mistake() {
    let places = |search: Value| -> Vec<String> {
        let params = tune(json!({ "sampler": { "kind": "cmaes" }, "search": search }));
        params.check().into_iter().map(|issue| issue.path).collect()
    };
    assert_eq!(places(json!({ "batch_size": { "choice": [16, 32] } })), ["sampler.kind"]);
    assert_eq!(places(json!({ "batch_size": { "int": [16, 32] } })), [""; 0]);
}

#[test]
fn a_first_rung_above_the_longest_trial_is_a_mistake() {
    let asha = tune(json!({ "pruner": { "kind": "asha", "min_resource": 10 } }));
    let issues = check_search(&asha, &train(json!({ "epochs": 5 })));
    assert_eq!(issues[0].path, "pruner.min_resource");
    let places = |first: u64, extra: Value| -> Vec<String> {
        let mut value = json!({ "pruner": { "kind": "hyperband", "min_resource": first } });
        value["pruner"]
            .as_object_mut()
            .expect("it is one")
            .extend(extra.as_object().cloned().unwrap_or_default());
        let params = tune(value);
        assert_eq!(params.check(), []);
        let issues = check_search(&params, &train(json!({ "epochs": 5 })));
        assert!(issues.iter().all(|issue| issue.help.is_some()));
        issues.into_iter().map(|issue| issue.path).collect()
    };
    // The search goes up to 9 epochs, whatever the base has.
    assert_eq!(places(9, json!({})), [""; 0]);
    assert_eq!(places(10, json!({})), ["pruner.min_resource"]);
    assert_eq!(places(10, json!({ "max_resource": 27 })), ["pruner.min_resource"]);
}

#[test]
fn a_trial_is_not_pruned_at_its_own_last_epoch() {
    let pruners = [
        json!({ "kind": "hyperband", "min_resource": 3, "max_resource": 8 }),
        json!({ "kind": "median", "startup": 1 }),
    ];
    for pruner in pruners {
        let params = tune(json!({
            "search": { "epochs": { "choice": [3, 9] }, "batch_size": { "choice": [16, 32] } },
            "sampler": { "kind": "grid" },
            "pruner": pruner,
            "parallel": 1,
        }));
        let mut study = study(&params, &train(json!({})));
        let mut ends = Vec::new();
        while let Some((number, point)) = study.ask() {
            let epochs = point["epochs"].as_u64().expect("it is a whole number");
            // The first learns; the others are worse than it from the third epoch on.
            let loss = |step: u64| if number == 0 { 10.0 - step as f64 } else { 7.5 };
            let point = |step| CurvePoint {
                step,
                metrics: BTreeMap::from([("validation_loss".to_owned(), loss(step))]),
            };
            let points: Vec<CurvePoint> = (1..=epochs).map(point).collect();
            let rule = study.stop_rule(number);
            let stops = |end: &usize| rule.as_ref().is_some_and(|rule| rule(&points[..*end]));
            let stop = (1..=points.len()).find(stops);
            ends.push((epochs, stop));
            let curve = Curve { points: points[..stop.unwrap_or(points.len())].to_vec() };
            study.tell(
                number,
                match stop {
                    Some(_) => TrialEnd::Pruned { curve },
                    None => TrialEnd::Complete { value: loss(epochs), others: Vec::new(), curve },
                },
            );
        }
        ends[1..].sort_unstable();
        assert_eq!(ends, [(9, None), (3, None), (3, None), (9, Some(3))], "{:?}", params.pruner);
    }
}

#[test]
fn mistakes_in_the_space_itself_are_placed_in_the_params() {
    let params = tune(json!({
        "search": { "network.dropout": { "float": [0.5, 0.1] } },
        "pruner": { "kind": "hyperband", "min_resource": 9, "max_resource": 3 },
    }));
    let places: Vec<String> = params.check().into_iter().map(|issue| issue.path).collect();
    assert_eq!(places, ["search.network.dropout.float", "pruner.min_resource"]);
    // They do not make the check beside the base panic.
    assert_eq!(check_search(&params, &train(json!({}))), []);
}

#[test]
fn objectives_are_one_or_several_and_known() {
    let places = |extra: Value| -> Vec<String> {
        let params = tune(extra);
        let issues = params.check().into_iter().chain(check_search(&params, &train(json!({}))));
        let issues: Vec<ParamIssue> = issues.collect();
        assert!(issues.iter().all(|issue| issue.help.is_some()));
        issues.into_iter().map(|issue| issue.path).collect()
    };
    let two = json!([{ "minimize": "validation_loss" }, { "minimize": "parameters" }]);
    assert_eq!(places(json!({ "objective": null, "objectives": two })), [""; 0]);
    assert_eq!(places(json!({ "objective": null })), [""]);
    assert_eq!(places(json!({ "objectives": two })), ["objectives"]);
    let pruned = json!({ "objective": null, "objectives": two, "pruner": { "kind": "median" } });
    assert_eq!(places(pruned), ["pruner"]);
    let cmaes = json!({
        "objective": null, "objectives": two, "sampler": { "kind": "cmaes" },
        "search": { "network.dropout": { "float": [0.0, 0.5] } },
    });
    assert_eq!(places(cmaes), ["sampler.kind"]);
    let wrong = json!([{ "minimize": "train_loss" }, { "maximize": "los" }, { "maximize": "los" }]);
    let wrong = json!({ "objective": null, "objectives": wrong });
    assert_eq!(places(wrong), ["objectives.2", "objectives.1.maximize", "objectives.2.maximize"]);
    let small = json!({ "objective": { "minimize": "parameters" } });
    assert_eq!(places(small), [""; 0]);
    let small =
        json!({ "objective": { "minimize": "parameters" }, "pruner": { "kind": "median" } });
    assert_eq!(places(small), ["pruner"]);
}

#[test]
fn repeats_count_up_a_seed_that_is_not_searched() {
    let places = |base: &AnyParams, extra: Value| -> Vec<String> {
        let mut all = json!({ "repeats": 3 });
        let map = all.as_object_mut().expect("it is an object");
        map.extend(extra.as_object().cloned().unwrap_or_default());
        let issues = check_search(&tune(all), base);
        assert!(issues.iter().all(|issue| issue.help.is_some()));
        issues.into_iter().map(|issue| issue.path).collect()
    };
    let base = train(json!({ "seed": 7 }));
    assert_eq!(places(&base, json!({})), [""; 0]);
    let searched = json!({ "search": { "seed": { "int": [1, 9] } } });
    assert_eq!(places(&base, searched), ["search.seed"]);
    assert_eq!(places(&base, json!({ "repeat_by": "sed" })), ["repeat_by"]);
    assert_eq!(places(&train(json!({ "seed": u64::MAX })), json!({})), ["repeats"]);
    let of_program = json!({ "search": { "with.lr": { "float": [0.1, 1.0] } } });
    assert_eq!(places(&command(), of_program.clone()), ["repeats"]);
    let mut named = of_program;
    named["repeat_by"] = json!("with.mode");
    assert_eq!(places(&command(), named), ["repeat_by"]);

    let params = tune(json!({ "repeats": 3 }));
    let trial = trial_params(&base, &point(json!({ "epochs": 2 }))).expect("the point fits");
    let repeat = |repeat| repeat_params(&params, &base, &trial, repeat).expect("it fits");
    assert_eq!(repeat(0), trial);
    assert_eq!(repeat(2), train(json!({ "seed": 9, "epochs": 2 })));
}
