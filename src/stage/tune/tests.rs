use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use serde_json::json;

use super::super::Params as AnyParams;
use super::*;
use crate::data::table;
use crate::stage::StageKind;
use crate::study::{Curve, CurvePoint, Trial, TrialEnd, TrialState};

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
fn outputs_hold_the_trials_and_the_best_params() {
    let params = tune(json!({ "search": {
        "network.units": { "choice": [[16], [64, 64]] },
        "network.dropout": { "float": [0.0, 0.5] },
        "batch_size": { "choice": [16, 32] },
        "loss": { "choice": ["mse", "mae"] },
        "warmup_epochs": { "int": [0, 3], "when": { "batch_size": [16] } },
    } }));
    let mut study = study(&params, &train(json!({})));
    let mut records = Vec::new();
    while let Some((number, _)) = study.ask() {
        let curve = Curve::default();
        let value = (number as f64 - 2.0).abs() / 4.0;
        let metrics = BTreeMap::from([("value".to_owned(), value), ("epochs".to_owned(), 3.0)]);
        records.push(TrialRecord { number, metrics, steps: 3, fingerprint: format!("f{number}") });
        let end = match number {
            1 => TrialEnd::Failed,
            3 => TrialEnd::Pruned { curve },
            _ => TrialEnd::Complete { value, others: Vec::new(), curve },
        };
        study.tell(number, end);
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let results = Results {
        study: &study,
        params: &params,
        base: &train(json!({})),
        trials: &records,
        repeats: &[],
    };
    write_outputs(folder.path(), &results).expect("the outputs can be written");
    for own in own_outputs(Some(&params)) {
        assert!(folder.path().join(&own.file).is_file(), "{}", own.file);
    }

    let path = folder.path().join("trials.parquet");
    let batch = table::batches(&path, None).expect("it is a table").next();
    let batch = batch.expect("it has rows").expect("they can be read");
    let schema = batch.schema();
    let columns: Vec<(&str, &DataType)> =
        schema.fields().iter().map(|field| (field.name().as_str(), field.data_type())).collect();
    let expected = [
        ("number", &DataType::UInt64),
        ("state", &DataType::Utf8),
        ("value", &DataType::Float64),
        ("batch_size", &DataType::Int64),
        ("loss", &DataType::Utf8),
        ("network.dropout", &DataType::Float64),
        ("network.units", &DataType::Utf8),
        ("warmup_epochs", &DataType::Int64),
        ("epochs", &DataType::Float64),
        ("metric.value", &DataType::Float64),
        ("steps", &DataType::UInt64),
        ("fingerprint", &DataType::Utf8),
    ];
    assert_eq!(columns, expected);
    let column = |name: &str| batch.column_by_name(name).expect("the column is there");
    let states: Vec<_> = column("state").as_string::<i32>().iter().flatten().collect();
    assert_eq!(states, ["complete", "failed", "complete", "pruned"]);
    assert_eq!(column("epochs").null_count(), 2);
    assert_eq!(column("network.dropout").as_primitive::<Float64Type>().value(0), 0.2);
    assert_eq!(column("network.units").as_string::<i32>().value(0), "[64,64]");
    let sizes = column("batch_size").as_primitive::<Int64Type>();
    let exists = |row: usize| sizes.value(row) == 16;
    assert!((0..4).all(|row| column("warmup_epochs").is_valid(row) == exists(row)));

    let text = std::fs::read_to_string(folder.path().join("best.yaml")).expect("it is there");
    let head = "# The best of 4 trials: number 2,\n# with 0 as its `validation_loss`.\n";
    let nested: Value = serde_yaml::from_str(&text).expect("it is YAML");
    let best = study.best().expect("a trial is complete");
    assert!(text.starts_with(head), "{text}");
    assert_eq!(nested["network"]["dropout"], best.point["network.dropout"]);
    assert_eq!(nested["network"]["units"], best.point["network.units"]);
}

#[test]
fn several_objectives_give_a_front() {
    let params = tune(json!({
        "search": { "batch_size": { "int": [1, 64] }, "epochs": { "int": [1, 9] } },
        "objective": null,
        "objectives": [{ "minimize": "validation_loss" }, { "maximize": "epochs" }],
        "repeats": 2,
        "trials": 6,
        "sampler": { "kind": "random", "seed": 2 },
    }));
    assert_eq!(params.check(), []);
    let base = train(json!({ "seed": 4 }));
    assert_eq!(check_search(&params, &base), []);
    let mut study = study(&params, &base);
    // The second is beaten by the first, the fourth by many, the fifth by the third.
    let values = [(1.0, 5.0), (1.0, 4.0), (0.5, 3.0), (2.0, 1.0), (0.7, 2.0), (9.0, 9.0)];
    let (mut trials, mut repeats) = (Vec::new(), Vec::new());
    while let Some((number, _)) = study.ask() {
        let (value, other) = values[number as usize];
        let metrics = BTreeMap::from([
            ("epochs".to_owned(), other),
            ("repeats".to_owned(), 0.5),
            ("validation_loss".to_owned(), value),
        ]);
        let repeat = |repeat| RepeatRecord {
            number,
            repeat,
            state: TrialState::Complete,
            metrics: metrics.clone(),
            steps: 3,
            fingerprint: format!("f{number}-{repeat}"),
        };
        repeats.extend([repeat(0), repeat(1)]);
        trials.push(TrialRecord { number, metrics, steps: 3, fingerprint: format!("f{number}-0") });
        let end = TrialEnd::Complete { value, others: vec![other], curve: Curve::default() };
        study.tell(number, end);
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let results =
        Results { study: &study, params: &params, base: &base, trials: &trials, repeats: &repeats };
    write_outputs(folder.path(), &results).expect("the outputs can be written");

    let read = |file: &str| {
        let batch = table::batches(&folder.path().join(file), None).expect("it is a table").next();
        batch.expect("it has rows").expect("they can be read")
    };
    let of_all = read("trials.parquet");
    let front = of_all.column_by_name("front").expect("it is there").as_boolean().clone();
    let is_on: Vec<bool> = front.iter().flatten().collect();
    assert_eq!(is_on, [true, false, true, false, false, true]);
    let counts = of_all.column_by_name("repeats").expect("it is there");
    assert!(counts.as_primitive::<UInt64Type>().iter().all(|count| count == Some(2)));
    assert!(of_all.column_by_name("metric.repeats").is_some());
    let front = read("pareto.parquet");
    let numbers = front.column_by_name("number").expect("it is there");
    let numbers: Vec<u64> = numbers.as_primitive::<UInt64Type>().iter().flatten().collect();
    assert_eq!(numbers, [2, 0, 5]);
    let each = read("repeats.parquet");
    let seeds = each.column_by_name("seed").expect("it is there");
    let seeds: Vec<u64> = seeds.as_primitive::<UInt64Type>().iter().flatten().collect();
    assert_eq!(seeds[..4], [4, 5, 4, 5]);
    let text = std::fs::read_to_string(folder.path().join("best.yaml")).expect("it is there");
    let head = "# The best of 6 trials: number 2,\n# with 0.5 as its `validation_loss`, and 3 as \
                its `epochs`.\n";
    assert!(text.starts_with(head), "{text}");
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

/// Whoever changes these changes every study that was ever run.
#[test]
fn the_trials_are_those_of_this_version() {
    assert_eq!(VERSION, 2, "set the trials of the new version here");
    let hyperband = digest_of_trials(json!({
        "search": {
            "network.units": { "choice": [[16], [32], [64, 64]] },
            "network.dropout": { "float": [0.0, 0.5], "step": 0.05 },
            "optimizer.learning_rate": { "log_float": [1e-4, 1e-2] },
            "optimizer.kind": { "choice": ["adam", "sgd"] },
            "optimizer.momentum": { "float": [0.0, 0.9], "when": { "optimizer.kind": ["sgd"] } },
        },
        "sampler": { "kind": "tpe", "seed": 7, "startup": 6 },
        "pruner": { "kind": "hyperband" },
        "trials": 30,
    }));
    let median = digest_of_trials(json!({
        "search": {
            "epochs": { "int": [3, 9] },
            "optimizer.learning_rate": { "log_float": [1e-4, 1e-2] },
        },
        "sampler": { "kind": "random", "seed": 7 },
        "pruner": { "kind": "median" },
        "trials": 30,
    }));
    let bump = "the results changed: bump VERSION in src/stage/tune.rs and add a line of history";
    assert_eq!([hyperband, median], ["3f20bf915c32c136", "74e68753bcd03285"], "{bump}");
    assert_eq!(digest_of_outputs(), "?", "{bump}");
}

/// Gives the digest of all that a study of two objectives gives, but for Parquet's own bytes.
fn digest_of_outputs() -> String {
    let params = tune(json!({
        "search": {
            "optimizer.learning_rate": { "log_float": [1e-4, 1e-2] },
            "network.units": { "choice": [[16], [32], [64, 64]] },
        },
        "objective": null,
        "objectives": [{ "minimize": "validation_loss" }, { "minimize": "parameters" }],
        "trials": 40,
    }));
    let base = train(json!({}));
    let mut study = study(&params, &base);
    while let Some((number, point)) = study.ask() {
        let rate = point["optimizer.learning_rate"].as_f64().expect("it is a number");
        let sizes = point["network.units"].as_array().expect("it is a list").iter();
        let size: f64 = sizes.filter_map(Value::as_f64).sum();
        let value = libm::fabs(libm::log10(rate) + 3.0) + 1.0 / size;
        study.tell(
            number,
            TrialEnd::Complete { value, others: vec![size], curve: Curve::default() },
        );
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (trials, repeats) = (&[], &[]);
    let results = Results { study: &study, params: &params, base: &base, trials, repeats };
    write_outputs(folder.path(), &results).expect("the outputs can be written");
    let mut text = String::new();
    for output in own_outputs(Some(&params)) {
        let path = folder.path().join(&output.file);
        if output.file.ends_with(".parquet") {
            let batches = table::batches(&path, None).expect("it is a table");
            batches.for_each(|batch| text += &format!("{batch:?}"));
        } else {
            text += &std::fs::read_to_string(&path).expect("it is text");
        }
    }
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}

/// Runs a study whose trials are better the nearer their learning rate is to 0.001.
fn digest_of_trials(extra: Value) -> String {
    let params = tune(extra);
    let mut study = study(&params, &train(json!({})));
    while let Some((number, point)) = study.ask() {
        let rate = point["optimizer.learning_rate"].as_f64().expect("it is a number");
        let value = (rate.log10() + 3.0).abs();
        let epochs = point.get("epochs").and_then(Value::as_u64).unwrap_or(9);
        let points: Vec<CurvePoint> = (1..=epochs)
            .map(|step| {
                let loss = value + 1.0 / (step as f64);
                let metrics = BTreeMap::from([("validation_loss".to_owned(), loss)]);
                CurvePoint { step, metrics }
            })
            .collect();
        let rule = study.stop_rule(number);
        let stops = |end: &usize| rule.as_ref().is_some_and(|rule| rule(&points[..*end]));
        let stop = (1..=points.len()).find(stops);
        let curve = Curve { points: points[..stop.unwrap_or(points.len())].to_vec() };
        let end = match stop {
            Some(_) => TrialEnd::Pruned { curve },
            None => TrialEnd::Complete { value, others: Vec::new(), curve },
        };
        study.tell(number, end);
    }
    let trial = |trial: &Trial| format!("{:?} {:?}\n", trial.state, trial.point);
    let text: String = study.trials().iter().map(trial).collect();
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
