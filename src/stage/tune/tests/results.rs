use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};

use super::*;
use crate::data::table;
use crate::study::{Rows, Trial, TrialState};

/// Writes the outputs of a study into a folder of their own.
fn written(results: &Results<'_>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    write_outputs(folder.path(), results).expect("the outputs can be written");
    folder
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
    let mut all = study.room_for_rows();
    while let Some((number, _)) = study.ask() {
        let curve = Curve::default();
        let value = (number as f64 - 2.0).abs() / 4.0;
        let metrics = BTreeMap::from([("value".to_owned(), value), ("epochs".to_owned(), 3.0)]);
        all.set(number as usize, metrics.into());
        let end = match number {
            1 => TrialEnd::Failed,
            3 => TrialEnd::Pruned { curve },
            _ => TrialEnd::Complete { value, others: Vec::new(), curve },
        };
        study.tell(number, end);
    }
    let folder = written(&Results {
        study: &study,
        params: &params,
        base: &train(json!({})),
        metrics: &all,
        fingerprints: &[Some([7; 32]), None],
        repeats: &[],
        repeat_metrics: &Rows::new(0),
    });
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
    let best_point = study.point(study.best().expect("a trial is complete").number);
    assert!(text.starts_with(head), "{text}");
    assert_eq!(
        nested["network"]["dropout"],
        best_point.get("network.dropout").cloned().unwrap_or_default()
    );
    assert_eq!(
        nested["network"]["units"],
        best_point.get("network.units").cloned().unwrap_or_default()
    );
}

#[test]
fn a_table_of_several_row_groups_has_every_trial_once_and_in_order() {
    let params = tune(json!({
        "search": { "batch_size": { "int": [1, 64] }, "epochs": { "int": [1, 9] } },
        "sampler": { "kind": "random", "seed": 2 },
        "trials": 2500,
    }));
    let base = train(json!({}));
    let mut study = study(&params, &base);
    let mut all = study.room_for_rows();
    while let Some((number, point)) = study.ask() {
        // The last has a metric that no trial of the first row group has.
        let odd = if number == 2499 { "odd" } else { "even" };
        let metrics = BTreeMap::from([(odd.to_owned(), number as f64)]);
        all.set(number as usize, metrics.into());
        let value = point["epochs"].as_f64().expect("it is a number");
        let curve = Curve::default();
        study.tell(number, TrialEnd::Complete { value, others: Vec::new(), curve });
    }
    let folder = written(&Results {
        study: &study,
        params: &params,
        base: &base,
        metrics: &all,
        fingerprints: &[],
        repeats: &[],
        repeat_metrics: &Rows::new(0),
    });

    let path = folder.path().join("trials.parquet");
    let batches: Vec<_> = table::batches(&path, None).expect("it is a table").collect();
    let mut row = 0;
    for batch in batches {
        let batch = batch.expect("it can be read");
        let column = |name: &str| batch.column_by_name(name).expect("the column is there").clone();
        let (numbers, epochs) = (column("number"), column("epochs"));
        let (even, odd) = (column("even"), column("odd"));
        for at in 0..batch.num_rows() {
            assert_eq!(numbers.as_primitive::<UInt64Type>().value(at), row);
            let chosen = study.point(row).get("epochs").and_then(Value::as_i64);
            assert_eq!(Some(epochs.as_primitive::<Int64Type>().value(at)), chosen);
            assert_eq!((even.is_null(at), odd.is_valid(at)), (row == 2499, row == 2499));
            row += 1;
        }
    }
    assert_eq!(row, 2500);
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
    let (mut all, mut of_repeats) = (study.room_for_rows(), Rows::new(12));
    let mut repeats = Vec::new();
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
            steps: 3,
            fingerprint: [number as u8; 32],
        };
        for repeat in [repeat(0), repeat(1)] {
            of_repeats.set(repeat.place(2), metrics.clone().into());
            repeats.push(repeat);
        }
        all.set(number as usize, metrics.into());
        let end = TrialEnd::Complete { value, others: vec![other], curve: Curve::default() };
        study.tell(number, end);
    }
    let folder = written(&Results {
        study: &study,
        params: &params,
        base: &base,
        metrics: &all,
        fingerprints: &[Some([7; 32]); 6],
        repeats: &repeats,
        repeat_metrics: &of_repeats,
    });

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

/// Whoever changes these changes every study that was ever run.
#[test]
fn the_trials_are_those_of_this_version() {
    assert_eq!(VERSION, 5, "set the trials of the new version here");
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
    let cmaes = digest_of_trials(json!({
        "search": {
            "network.dropout": { "float": [0.0, 0.5], "step": 0.05 },
            "optimizer.learning_rate": { "log_float": [1e-4, 1e-2] },
            "network.units": { "choice": [[16], [32], [64, 64]] },
        },
        "sampler": { "kind": "cmaes", "seed": 7 },
        "trials": 40,
    }));
    let bump = "the results changed: bump VERSION in src/stage/tune.rs and add a line of history";
    let found = [hyperband, median, cmaes];
    assert_eq!(found, ["3f20bf915c32c136", "74e68753bcd03285", "f5ae5c15196d82dd"], "{bump}");
    assert_eq!(digest_of_outputs(), "6970107f6c07d437", "{bump}");
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
    let folder = written(&Results {
        study: &study,
        params: &params,
        base: &base,
        metrics: &Rows::new(0),
        fingerprints: &[],
        repeats: &[],
        repeat_metrics: &Rows::new(0),
    });
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
    let trial = |trial: &Trial| format!("{:?} {:?}\n", trial.state, study.point(trial.number));
    let text: String = study.trials().iter().map(trial).collect();
    blake3::hash(text.as_bytes()).to_hex()[..16].to_owned()
}
