use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimestampMillisecondType};
use serde_json::json;

use super::*;
use crate::data::table;
use crate::stage::Progress;

/// Listens, and breaks after a number of reports.
#[derive(Default)]
struct Listener {
    warnings: Mutex<Vec<String>>,
    counts: Mutex<Vec<(u64, u64)>>,
    breaks_after: Option<usize>,
}

impl Progress for Listener {
    fn count(&self, unit: &'static str, done: u64, total: u64) -> ControlFlow<()> {
        assert_eq!(unit, "rows");
        let mut counts = self.counts.lock().unwrap();
        counts.push((done, total));
        match self.breaks_after {
            Some(most) if counts.len() > most => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn step(&self, _: u64, _: &BTreeMap<String, f64>) -> ControlFlow<Stop> {
        panic!("preprocess has no steps")
    }

    fn warn(&self, message: String) {
        self.warnings.lock().unwrap().push(message);
    }
}

struct Ran {
    folder: tempfile::TempDir,
    result: Result<Finished, Stop>,
    listener: Listener,
}

impl Ran {
    fn table(&self, name: &str) -> RecordBatch {
        let path = self.folder.path().join(format!("{name}.parquet"));
        let batches: Vec<RecordBatch> =
            table::batches(&path, None).unwrap().collect::<Result<_, _>>().unwrap();
        concat_batches(&table::schema(&path).unwrap(), &batches).unwrap()
    }

    fn column(&self, name: &str, column: &str) -> Vec<f64> {
        let table = self.table(name);
        let column = table.column_by_name(column).unwrap_or_else(|| panic!("no `{column}`"));
        column.as_primitive::<Float64Type>().values().to_vec()
    }

    fn transform(&self) -> Transform {
        Transform::read(&self.folder.path().join("transform.json")).unwrap()
    }

    fn bytes(&self) -> Vec<Vec<u8>> {
        let names = ["train.parquet", "validation.parquet", "test.parquet", "data.parquet"];
        let names = names.into_iter().chain(["transform.json"]);
        names.map(|name| std::fs::read(self.folder.path().join(name)).unwrap()).collect()
    }

    fn failure(&self) -> (String, String) {
        match &self.result {
            Err(Stop::Failed(failure)) => {
                (failure.message.clone(), failure.help.clone().unwrap_or_default())
            }
            other => panic!("it did not fail: {other:?}"),
        }
    }
}

fn params(value: serde_json::Value) -> Params {
    let mut all = json!({
        "time": { "column": "t" },
        "split": { "by": "time", "train": 0.6, "validation": 0.2, "test": 0.2 },
    });
    for (key, value) in value.as_object().unwrap() {
        all[key] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn run_on(path: &Path, params: &Params, threads: usize, listener: Listener) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let inputs = BTreeMap::from([("data".to_owned(), path.to_owned())]);
    let context = Context {
        inputs: &inputs,
        outputs: folder.path(),
        checkpoint: folder.path(),
        threads,
        progress: &listener,
    };
    let result = run(params, &context);
    Ran { folder, result, listener }
}

fn run_csv(text: &str, value: serde_json::Value) -> Ran {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let params = params(value);
    assert_eq!(params.check(), []);
    run_on(file.path(), &params, 1, Listener::default())
}

/// Ten rows: `x` is 0 to 9, with `changes` to some.
fn ten(changes: &[(usize, &str)]) -> String {
    let mut text = "t,x\n".to_owned();
    for row in 0..10 {
        let change = changes.iter().find(|(place, _)| *place == row);
        let x = change.map_or(row.to_string(), |(_, x)| (*x).to_owned());
        text.push_str(&format!("{},{x}\n", 1000 + row));
    }
    text
}

/// Two series that take turns, with two days of hours.
fn two_series() -> String {
    let mut text = "id,t,x,flag,n\n".to_owned();
    for row in 0..96 {
        let (id, hour) = (row % 2, row / 2);
        let x = f64::from(row).sin() * 3.0 + f64::from(id);
        let time = 1_704_067_200 + hour * 3600;
        text.push_str(&format!("f{id},{time},{x},{},{}\n", row % 3 == 0, row % 7));
    }
    text
}

fn lambda_like() -> serde_json::Value {
    json!({ "series": "id", "one_hot": ["id"], "cyclical": ["hour", "weekday"] })
}

#[test]
fn keys_come_first_then_numbers_categories_and_cycles() {
    let ran = run_csv(&two_series(), lambda_like());
    let metrics = &ran.result.as_ref().unwrap().metrics;
    assert_eq!(metrics["train_rows"], 58.0);
    let all = ran.table("data");
    let names: Vec<&str> =
        all.schema_ref().fields().iter().map(|field| field.name().as_str()).collect();
    let expected = "id t x flag n id_f0 id_f1 hour_sin hour_cos weekday_sin weekday_cos split";
    assert_eq!(names.join(" "), expected);
    let train = ran.table("train");
    assert_eq!(train.num_columns(), all.num_columns() - 1);
    assert_eq!(train.column(1).data_type(), &DataType::Int64);
    assert!(train.columns().iter().all(|column| column.null_count() == 0));
    // The rows of all, by split, are the rows of the three.
    let splits = all.column(all.num_columns() - 1).as_string::<i32>();
    for part in Part::USED {
        let wanted: Vec<bool> = splits.iter().map(|name| name == Some(part.name())).collect();
        let columns: Vec<usize> = (0..train.num_columns()).collect();
        let rows = filter(&all, &wanted).unwrap().project(&columns).unwrap();
        assert_eq!(rows, ran.table(part.name()));
    }
    let train_x = ran.column("train", "x");
    let least = train_x.iter().copied().fold(f64::INFINITY, f64::min);
    let most = train_x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    assert_eq!((least, most), (0.0, 1.0));
    // 06:00 is a quarter of the day.
    let (sin, cos) = (ran.column("data", "hour_sin"), ran.column("data", "hour_cos"));
    assert!((sin[12] - 1.0).abs() < 1e-12 && cos[12].abs() < 1e-12);
    assert_eq!(ran.column("data", "id_f1")[..4], [0.0, 1.0, 0.0, 1.0]);
    assert_eq!(ran.column("data", "flag")[..4], [1.0, 0.0, 0.0, 1.0]);
}

#[test]
fn a_transform_applies_to_raw_rows_and_inverts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), two_series()).unwrap();
    for scale in ["minmax", "standard", "robust", "none"] {
        let mut value = lambda_like();
        value["scale"] = json!(scale);
        let ran = run_on(file.path(), &params(value), 1, Listener::default());
        ran.result.as_ref().unwrap();
        let transform = ran.transform();
        let raw = source::open(file.path()).unwrap().read(0, &[4, 0, 1, 2, 3]).unwrap();
        let encoded = transform.apply(&raw).unwrap();
        let all = ran.table("data");
        for (field, column) in encoded.schema_ref().fields().iter().zip(encoded.columns()) {
            assert_eq!(all.column_by_name(field.name()), Some(column), "{}", field.name());
        }
        let back = transform.invert_batch(&all).unwrap();
        for name in ["id", "t", "flag", "n"] {
            assert_eq!(back.column_by_name(name), raw.column_by_name(name), "{name}");
        }
        let mut scaled = ran.column("data", "x");
        transform.invert("x", &mut scaled).unwrap();
        let x = raw.column_by_name("x").unwrap().as_primitive::<Float64Type>();
        for (back, raw) in scaled.iter().zip(x.values()) {
            assert!((back - raw).abs() < 1e-12, "{scale}: {back} {raw}");
        }
        assert!(transform.invert("hour_sin", &mut scaled).is_err());
    }
}

#[test]
fn a_series_of_numbers_is_a_category_that_inverts() {
    let mut text = "k,t,x\n".to_owned();
    (0..20).for_each(|row| text.push_str(&format!("{},{},{row}\n", [10, 9][row % 2], 1000 + row)));
    let ran = run_csv(&text, json!({ "one_hot": ["k"] }));
    ran.result.as_ref().unwrap();
    let transform = ran.transform();
    assert_eq!(transform.features, ["x", "k_9", "k_10"]);
    let back = transform.invert_batch(&ran.table("train")).unwrap();
    let keys = back.column_by_name("k").unwrap().as_primitive::<Int64Type>();
    assert_eq!(keys.values()[..3], [10, 9, 10]);
}

#[test]
fn many_categories_are_encoded_in_pieces_as_at_once() {
    let mut text = "k,t,x\n".to_owned();
    (0..30_000).for_each(|row| text.push_str(&format!("c{},{},{row}\n", row * 7 % 200, row / 200)));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let params = params(json!({ "one_hot": ["k"] }));
    let ran = run_on(file.path(), &params, 2, Listener::default());
    let encoded = ran.table("data");
    assert!(CELLS_AT_ONCE / encoded.num_columns() < encoded.num_rows(), "it needs several pieces");
    let raw = source::open(file.path()).unwrap().read(0, &[0, 1, 2]).unwrap();
    let at_once = ran.transform().apply(&raw).unwrap();
    let columns: Vec<usize> = (0..at_once.num_columns()).collect();
    assert_eq!(encoded.project(&columns).unwrap(), at_once);
}

#[test]
fn a_transform_alone_keeps_the_rule_for_gaps() {
    let raw = |text: &str| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        source::open(file.path()).unwrap().read(0, &[0, 1]).unwrap()
    };
    let gap = raw("t,x\n2001,7\n2002,\n2003,9\n");
    let x = |rule: &str| {
        let ran = run_csv(&ten(&[]), json!({ "missing": rule, "scale": "none" }));
        let encoded = ran.transform().apply(&gap)?;
        let x = encoded.column_by_name("x").unwrap().as_primitive::<Float64Type>();
        Ok::<_, DataError>(x.values().to_vec())
    };
    assert!(x("error").unwrap_err().to_string().starts_with("row 2, column `x`"));
    assert_eq!(x("drop").unwrap(), [7.0, 9.0]);
    assert_eq!(x("mean").unwrap(), [7.0, 2.5, 9.0]);
    assert_eq!(x("forward_fill").unwrap(), [7.0, 7.0, 9.0]);
}

#[test]
fn a_transform_of_another_version_is_refused() {
    let ran = run_csv(&ten(&[]), json!({}));
    let path = ran.folder.path().join("transform.json");
    let text = std::fs::read_to_string(&path).unwrap().replace("\"version\": 1", "\"version\": 9");
    std::fs::write(&path, text).unwrap();
    let error = Transform::read(&path).unwrap_err();
    assert!(error.to_string().ends_with("its version is 9, not 1"), "{error}");
}

#[test]
fn the_outputs_are_those_of_this_version() {
    let bump =
        "the results changed: bump VERSION in src/stage/preprocess.rs and add a line of history";
    assert_eq!(VERSION, 1, "set the outputs of the new version here");
    let value = json!({ "series": "id", "one_hot": ["id"], "scale": "standard" });
    let mut text = "id,t,x,flag\n".to_owned();
    for row in 0..200 {
        let x = f64::from(row * 37 % 101) / 8.0;
        text.push_str(&format!("f{},{},{x},{}\n", row % 3, 1000 + row / 3, row % 4 == 0));
    }
    let ran = run_csv(&text, value);
    // What a reader sees of the tables first: where only the bytes change, the Parquet did.
    let content = ["train", "validation", "test", "data"].map(|name| {
        let mut writer = arrow::csv::Writer::new(blake3::Hasher::new());
        writer.write(&ran.table(name)).unwrap();
        writer.into_inner().finalize().to_hex()[..16].to_owned()
    });
    let expected = ["f99492ff21e86d8e", "4d6ab5d8301bb132", "b222e4d5b8ecbdcc", "8fae2ee20ee41708"];
    assert_eq!(content, expected, "{bump}");
    let digests: Vec<String> =
        ran.bytes().iter().map(|bytes| blake3::hash(bytes).to_hex()[..16].to_owned()).collect();
    let expected = [
        "6c09558ce7756f34",
        "e6fa2f20f40beadd",
        "9c878bd9dde23d05",
        "9fad89747735c649",
        "ad2e63174beadbce",
    ];
    assert_eq!(digests, expected, "{bump}");
}

#[test]
fn statistics_are_those_of_the_train_rows_alone() {
    let scales = ["minmax", "standard", "robust"];
    for scale in scales {
        let fitted = |changes: &[(usize, &str)]| {
            run_csv(&ten(changes), json!({ "scale": scale })).transform().numbers
        };
        let plain = fitted(&[]);
        assert_eq!(plain, fitted(&[(6, "1000"), (9, "-77")]), "{scale}");
        assert_ne!(plain, fitted(&[(5, "1000")]), "{scale}");
    }
    let numbers = run_csv(&ten(&[]), json!({ "scale": "standard" })).transform().numbers;
    assert_eq!((numbers[0].offset, numbers[0].mean), (2.5, 2.5));
    assert!((numbers[0].scale - (35.0_f64 / 12.0).sqrt()).abs() < 1e-15);
    let numbers = run_csv(&ten(&[]), json!({ "scale": "robust" })).transform().numbers;
    assert_eq!((numbers[0].offset, numbers[0].scale), (2.5, 2.5));
}

/// Several blocks of rows as Parquet, in row groups that do not fit the blocks.
fn long_table(path: &Path) {
    let mut text = "id,t,x,y\n".to_owned();
    for row in 0..150_000_u64 {
        let (id, x) = (row % 3, (row * 2_654_435_761 % 1000) as f64 / 7.0);
        let y = if row % 10 == 9 { "NaN".to_owned() } else { (row % 17).to_string() };
        text.push_str(&format!("f{id},{},{x},{y}\n", 1000 + row / 3));
    }
    let csv = path.with_extension("csv");
    std::fs::write(&csv, text).unwrap();
    crate::data::convert(&csv, path, crate::data::Format::Parquet).unwrap();
}

#[test]
fn the_bytes_do_not_depend_on_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.parquet");
    long_table(&path);
    let splits = [
        json!({ "by": "time", "train": 0.7, "validation": 0.15, "test": 0.15 }),
        json!({ "by": "rows", "train": 30_000, "validation": 7_500, "test": 7_500 }),
        json!({ "by": "random", "train": 0.7, "validation": 0.15, "test": 0.15, "seed": 3 }),
    ];
    let rules = ["drop", "mean", "forward_fill"];
    for (split, rule) in splits.into_iter().zip(rules) {
        let mut value = json!({ "split": split, "missing": rule, "scale": "robust" });
        value["series"] = json!("id");
        value["one_hot"] = json!(["id"]);
        let params = params(value);
        let runs = [1, 2].map(|threads| run_on(&path, &params, threads, Listener::default()));
        for ran in &runs {
            ran.result.as_ref().unwrap();
            assert_eq!(ran.bytes(), runs[0].bytes(), "{rule}");
            let last = *ran.listener.counts.lock().unwrap().last().unwrap();
            assert_eq!(last, (150_000, 150_000));
        }
        let metrics = &runs[0].result.as_ref().unwrap().metrics;
        let used = metrics["train_rows"] + metrics["validation_rows"] + metrics["test_rows"];
        assert_eq!(used, if rule == "forward_fill" { 150_000.0 } else { 135_000.0 });
        // A CSV of the same rows gives the same bytes.
        let csv = run_on(&path.with_extension("csv"), &params, 2, Listener::default());
        assert_eq!(csv.bytes(), runs[0].bytes(), "{rule}");
    }
}

#[test]
fn a_missing_value_is_an_error_unless_a_rule_is_chosen() {
    for gap in ["", "NA", "nan", "inf"] {
        let ran = run_csv(&ten(&[(7, gap)]), json!({}));
        let (message, help) = ran.failure();
        assert_eq!(message, "row 8, column `x`: the value is missing or not finite");
        assert!(help.contains("forward_fill"), "{help}");
    }
    let gaps = [(2, ""), (7, "inf")];
    let ran = run_csv(&ten(&gaps), json!({ "missing": "drop", "scale": "none" }));
    assert_eq!(ran.column("data", "x"), [0.0, 1.0, 3.0, 4.0, 5.0, 6.0, 8.0, 9.0]);
    assert_eq!(ran.column("train", "x").len(), 5);
    let ran = run_csv(&ten(&gaps), json!({ "missing": "mean", "scale": "none" }));
    let mean = (0.0 + 1.0 + 3.0 + 4.0 + 5.0) / 5.0;
    assert_eq!(ran.column("data", "x"), [0.0, 1.0, mean, 3.0, 4.0, 5.0, 6.0, mean, 8.0, 9.0]);
    let ran = run_csv(&ten(&gaps), json!({ "missing": "forward_fill", "scale": "none" }));
    assert_eq!(ran.column("data", "x"), [0.0, 1.0, 1.0, 3.0, 4.0, 5.0, 6.0, 6.0, 8.0, 9.0]);
    let ran = run_csv("t,x\n1,1\n,2\n3,3\n", json!({ "missing": "mean" }));
    assert_eq!(ran.failure().0, "row 2, column `t`: the value is missing or not finite");
}

#[test]
fn a_gap_is_filled_from_its_own_series_in_order_of_time() {
    let text = "id,t,x,c\na,1,1,u\nb,1,10,v\na,2,,\nb,2,,\na,3,3,u\nb,3,30,v\na,4,4,u\nb,4,,v\n\
                a,5,5,u\nb,5,50,v\n";
    let value = json!({
        "series": "id", "one_hot": ["c"], "missing": "forward_fill", "scale": "none",
    });
    let ran = run_csv(text, value.clone());
    ran.result.as_ref().unwrap();
    let filled = [1.0, 10.0, 1.0, 10.0, 3.0, 30.0, 4.0, 30.0, 5.0, 50.0];
    assert_eq!(ran.column("data", "x"), filled);
    assert_eq!(ran.column("data", "c_v")[..4], [0.0, 1.0, 0.0, 1.0]);
    let back = run_csv("id,t,x,c\na,1,1,u\na,3,2,u\na,2,,u\n", value.clone());
    let (message, help) = back.failure();
    assert_eq!(message, "row 3, column `t`: it is earlier than the row before it in its series");
    assert!(help.contains("sort the table"));
    let start = run_csv("id,t,x,c\na,1,1,u\nb,1,,u\na,2,1,u\n", value);
    assert_eq!(
        start.failure().0,
        "row 2, column `x`: its series has no earlier value that could stand in"
    );
}

#[test]
fn a_constant_column_becomes_0_with_a_warning() {
    for scale in ["minmax", "standard", "robust"] {
        let mut text = "t,x,c\n".to_owned();
        (0..10).for_each(|row| text.push_str(&format!("{row},{row},0.1\n")));
        let ran = run_csv(&text, json!({ "scale": scale }));
        assert_eq!(ran.column("data", "c"), [0.0; 10], "{scale}");
        let warnings = ran.listener.warnings.lock().unwrap();
        assert_eq!(*warnings, ["column `c` is 0.1 in every train row: that is scaled to 0"]);
    }
}

#[test]
fn an_unseen_category_is_an_error_or_zeros() {
    let mut text = "t,x,c\n".to_owned();
    for row in 0..10 {
        let category = if row == 8 { "new" } else { ["u", "v"][row % 2] };
        text.push_str(&format!("{row},{row},{category}\n"));
    }
    let (message, help) = run_csv(&text, json!({ "one_hot": ["c"] })).failure();
    assert_eq!(message, "row 9, column `c`: no train row has the category `new`");
    assert!(help.contains("unseen: zero"));
    let ran = run_csv(&text, json!({ "one_hot": ["c"], "unseen": "zero" }));
    assert_eq!(ran.transform().features, ["x", "c_u", "c_v"]);
    assert_eq!(ran.column("data", "c_u")[6..], [1.0, 0.0, 0.0, 0.0]);
    let back = ran.transform().invert_batch(&ran.table("data")).unwrap();
    assert!(back.column_by_name("c").unwrap().is_null(8));
}

#[test]
fn columns_that_fit_no_role_are_named_with_a_way_out() {
    let text = "t,x,c\n1,1,u\n2,2,v\n";
    let (message, help) = run_csv(text, json!({})).failure();
    assert_eq!(message, "column `c`: it holds text, which is no feature");
    assert!(help.contains("one_hot") && help.contains("drop"));
    let (message, help) = run_csv(text, json!({ "one_hot": ["d"], "drop": ["c"] })).failure();
    assert_eq!(message, "column `d`: the table has no such column");
    assert_eq!(help, "the table has `t`, `x`, `c`");
    let twice =
        run_csv("t,x_u,x\n1,1,u\n2,2,u\n3,3,u\n4,4,u\n5,5,u\n", json!({ "one_hot": ["x"] }));
    assert_eq!(twice.failure().0, "column `x_u`: two columns of the output have this name");
    let empty = run_csv("t,x\n", json!({}));
    assert_eq!(empty.failure().0, "the table has no rows");
}

#[test]
fn an_empty_split_is_an_error_where_it_was_asked_for() {
    let text = "t,x\n1,1\n1,2\n1,3\n1,4\n";
    assert_eq!(run_csv(text, json!({})).failure().0, "the train split has no rows");
    let split = json!({ "by": "time", "train": 0.5, "validation": 0.0, "test": 0.5 });
    let ran = run_csv("t,x\n1,1\n2,2\n3,3\n4,4\n", json!({ "split": split }));
    ran.result.as_ref().unwrap();
    assert_eq!(ran.table("validation").num_rows(), 0);
    assert_eq!(ran.table("test").num_rows(), 2);
    let split = json!({ "by": "rows", "train": 4, "validation": 1, "test": 1 });
    let ran = run_csv(text, json!({ "split": split }));
    assert_eq!(ran.failure().0, "the validation split has no rows");
    let ran = run_csv("t,x,y\n1,1,\n2,2,\n3,,3\n", json!({ "missing": "drop" }));
    assert_eq!(ran.failure().0, "each row lacks a value and is left out");
}

#[test]
fn date_strings_become_timestamps_and_cycles() {
    let mut text = "date,x\n".to_owned();
    (0..48).for_each(|row| {
        text.push_str(&format!("2016-07-{:02} {:02}:00:00,{row}.5\n", 1 + row / 24, row % 24));
    });
    let value = json!({
        "time": { "column": "date" },
        "cyclical": ["hour"],
        "scale": "standard",
        "split": { "by": "rows", "train": 24, "validation": 12, "test": 6 },
    });
    let ran = run_csv(&text, value);
    ran.result.as_ref().unwrap();
    let all = ran.table("data");
    let kind = all.column(0).data_type();
    assert!(matches!(kind, DataType::Timestamp(_, Some(zone)) if &**zone == "+00:00"), "{kind}");
    assert_eq!(all.num_rows(), 42);
    let millis = all.column(0).as_primitive::<TimestampMillisecondType>().values();
    assert_eq!(millis[..2], [1_467_331_200_000, 1_467_334_800_000]);
    assert!((ran.column("data", "hour_sin")[6] - 1.0).abs() < 1e-12);
    let csv = ran.folder.path().join("data.csv");
    let data = ran.folder.path().join("data.parquet");
    crate::data::convert(&data, &csv, crate::data::Format::Csv).unwrap();
    let text = std::fs::read_to_string(csv).unwrap();
    assert!(text.lines().nth(1).unwrap().starts_with("2016-07-01T00:00:00Z,-1.66"), "{text}");
}

#[test]
fn a_break_cancels_at_any_point() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), two_series()).unwrap();
    let params = params(lambda_like());
    for reports in 0..3 {
        let listener = Listener { breaks_after: Some(reports), ..Listener::default() };
        let ran = run_on(file.path(), &params, 2, listener);
        assert_eq!(ran.result, Err(Stop::Cancelled));
    }
}

#[test]
fn params_are_checked_beyond_their_types() {
    let paths = |value: serde_json::Value| -> Vec<String> {
        params(value).check().into_iter().map(|issue| issue.path).collect()
    };
    assert!(paths(json!({})).is_empty());
    assert_eq!(paths(json!({ "one_hot": ["a", "a"], "drop": ["b", "b"] })), ["one_hot", "drop"]);
    assert_eq!(paths(json!({ "series": "t" })), ["series"]);
    assert_eq!(paths(json!({ "series": "s", "drop": ["s"] })), ["drop"]);
    assert_eq!(paths(json!({ "one_hot": ["t"] })), ["one_hot"]);
    assert_eq!(paths(json!({ "cyclical": ["hour", "hour"] })), ["cyclical"]);
    let split = |train: f64, validation: f64, test: f64| json!({ "split": { "by": "random", "train": train, "validation": validation, "test": test } });
    assert!(paths(split(0.7, 0.15, 0.15)).is_empty());
    assert!(paths(split(0.6, 0.3, 0.1)).is_empty());
    assert_eq!(paths(split(0.7, 0.2, 0.2)), ["split"]);
    assert_eq!(paths(split(0.0, 0.5, 0.5)), ["split.train"]);
}
