use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray};
use proptest::prelude::*;

use super::super::transform::{Holds, Number, OneHot};
use super::super::window::{WindowSpec, Windows};
use super::super::{Cyclical, Scale, TimeColumn, Transform, Unseen, table};
use super::*;

fn number(column: &str) -> Number {
    let holds = if column == "flag" { Holds::Booleans } else { Holds::Floats };
    let (scaler, offset, scale) = (Scale::Minmax, 1.5, 3.0);
    Number { column: column.to_owned(), holds, scaler, offset, scale, mean: 0.25 }
}

fn transform(missing: Missing) -> Transform {
    Transform {
        version: 1,
        series: Some("id".to_owned()),
        time: TimeColumn { column: "t".to_owned(), unit: Default::default() },
        features: ["y", "x", "flag", "id_f0", "id_f1", "hour_sin", "hour_cos"]
            .map(str::to_owned)
            .to_vec(),
        numbers: vec![number("y"), number("x"), number("flag")],
        one_hot: vec![OneHot {
            column: "id".to_owned(),
            holds: Holds::Text,
            categories: vec!["f0".to_owned(), "f1".to_owned()],
        }],
        cyclical: vec![Cyclical::Hour],
        missing,
        unseen: Unseen::Zero,
    }
}

fn spec(window: usize, horizon: usize, target_history: bool) -> WindowSpec {
    WindowSpec {
        series: Some("id".to_owned()),
        time: TimeColumn { column: "t".to_owned(), unit: Default::default() },
        target: "y".to_owned(),
        features: Some(["x", "hour_cos", "id_f1", "flag"].map(str::to_owned).to_vec()),
        window,
        horizon,
        steps: 1,
        target_history,
    }
}

/// A row's series, `y`, `x` and `flag`; its time is its number.
type Row = (u8, Option<f64>, Option<f64>, Option<bool>);

fn raw(rows: &[Row]) -> RecordBatch {
    let ids = StringArray::from_iter_values(rows.iter().map(|row| format!("f{}", row.0)));
    let columns: [(&str, ArrayRef); 5] = [
        ("t", Arc::new(Int64Array::from_iter_values(0..rows.len() as i64))),
        ("y", Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>())),
        ("x", Arc::new(rows.iter().map(|row| row.2).collect::<Float64Array>())),
        ("flag", Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>())),
        ("id", Arc::new(ids)),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, c)| (name, c, true))).unwrap()
}

/// The inputs of each window as bits, by the number of its last row.
type Found = BTreeMap<usize, Vec<u32>>;

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Cuts a table in pieces that end at `ends`.
fn cut(columns: &Columns, raw: &RecordBatch, ends: &[usize]) -> Result<(Found, Counts), DataError> {
    let (mut cutter, mut found, mut start) = (Cutter::new(columns), Found::new(), 0);
    for &end in ends {
        let cut = cutter.cut(&raw.slice(start, end - start))?;
        for window in 0..cut.len() {
            let inputs = cut.gather(&[window as u32], Layout::StepsFirst);
            found.insert(start + cut.row(window), bits(&inputs));
        }
        start = end;
    }
    Ok((found, cutter.counts()))
}

/// What training sees of the same rows.
fn windows(transform: &Transform, spec: &WindowSpec, raw: &RecordBatch) -> Found {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let encoded = transform.apply(raw).unwrap();
    table::write(&path, encoded.schema(), [Ok(encoded)]).unwrap();
    let windows = Windows::read(&path, spec).unwrap();
    let last = |window: usize| {
        let micros = windows.times()[windows.row(window) - spec.horizon];
        ((micros / 1_000_000) as usize, bits(&windows.gather(&[window as u32], Layout::StepsFirst)))
    };
    (0..windows.len()).map(last).collect()
}

proptest! {
    #[test]
    fn windows_are_those_of_training_whatever_the_blocks(
        rows in prop::collection::vec(
            (
                0..3_u8,
                prop::option::weighted(0.9, -9.0..9.0),
                prop::option::weighted(0.9, -9.0..9.0),
                prop::option::weighted(0.9, any::<bool>()),
            ),
            1..60,
        ),
        cuts in prop::collection::vec(0..60_usize, 0..4),
        missing in prop_oneof![
            Just(Missing::Drop), Just(Missing::Mean), Just(Missing::ForwardFill)
        ],
        (window, horizon) in (1..5_usize, 0..3_usize),
    ) {
        // Every series begins with values.
        let start = (0..3).map(|id| (id, Some(0.5), Some(1.0), Some(true)));
        let rows: Vec<Row> = start.chain(rows).collect();
        let (raw, transform, spec) = (raw(&rows), transform(missing), spec(window, horizon, true));
        let columns = Columns::new(spec.clone(), &transform).unwrap();
        let mut ends: Vec<usize> = cuts.into_iter().filter(|cut| *cut < rows.len()).collect();
        ends.push(rows.len());
        ends.sort_unstable();
        let (found, counts) = cut(&columns, &raw, &ends).unwrap();
        let trained = windows(&transform, &spec, &raw);
        for (row, inputs) in &trained {
            prop_assert_eq!(found.get(row), Some(inputs), "row {}", row);
        }
        // What training has not is a row without a target, or one whose predicted row is not there.
        let missing_target = |row: &usize| missing == Missing::Drop && rows[*row].1.is_none();
        let more = found.keys().filter(|row| !trained.contains_key(row) && !missing_target(row));
        let ahead = more.clone().all(|row| {
            rows[row + 1..].iter().filter(|other| other.0 == rows[*row].0).count() < horizon
                || missing == Missing::Drop
        });
        prop_assert!(ahead && (horizon > 0 || more.count() == 0));
        prop_assert_eq!(counts.windows, found.len() as u64);
        prop_assert_eq!(counts.rows, rows.len() as u64);
    }
}

/// One series with these targets.
fn targets(targets: &[Option<f64>]) -> RecordBatch {
    raw(&targets.iter().map(|y| (0, *y, Some(2.0), Some(false))).collect::<Vec<_>>())
}

fn rows_of(missing: Missing, horizon: usize, raw: &RecordBatch) -> (Vec<usize>, Counts) {
    let columns = Columns::new(spec(2, horizon, true), &transform(missing)).unwrap();
    let (found, counts) = cut(&columns, raw, &[raw.num_rows()]).unwrap();
    (found.into_keys().collect(), counts)
}

#[test]
fn a_row_without_a_target_is_predicted_and_a_gap_is_no_past() {
    let raw =
        targets(&[Some(1.0), Some(2.0), Some(3.0), None, Some(5.0), Some(6.0), Some(7.0), None]);
    let (rows, counts) = rows_of(Missing::Error, 0, &raw);
    // Rows 4 and 5 would read the target of row 3.
    assert_eq!(rows, [2, 3, 6, 7]);
    assert_eq!((counts.windows, counts.gaps, counts.left_out), (4, 2, 0));
    let (rows, counts) = rows_of(Missing::Drop, 0, &raw);
    assert_eq!(rows, [2, 3, 4, 5, 6, 7]);
    assert_eq!((counts.windows, counts.gaps, counts.left_out), (6, 0, 0));
    // With a horizon a window reads its last row's own target.
    assert_eq!(rows_of(Missing::Error, 1, &raw).0, [1, 2, 5, 6]);
    let (rows, counts) = rows_of(Missing::Drop, 1, &raw);
    assert_eq!((rows, counts.left_out), (vec![1, 2, 4, 5, 6], 2));
}

#[test]
fn what_a_model_does_not_read_may_be_absent_or_broken() {
    let raw = targets(&[None, None, None]);
    let columns = Columns::new(spec(2, 0, false), &transform(Missing::Error)).unwrap();
    assert_eq!(columns.names(), ["id", "t", "x", "flag"]);
    assert_eq!((columns.inputs(), columns.needed()), (4, 2));
    let without = raw.project(&[4, 0, 2, 3]).unwrap();
    let (found, _) = cut(&columns, &without, &[3]).unwrap();
    assert_eq!(found.into_keys().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn rows_out_of_order_and_gaps_in_features_are_errors_with_a_way_out() {
    let columns = Columns::new(spec(2, 0, true), &transform(Missing::Error)).unwrap();
    let late = raw(&[(0, Some(1.0), Some(1.0), Some(true)); 3]);
    let late =
        arrow::compute::take_record_batch(&late, &arrow::array::UInt32Array::from(vec![0, 2, 1]))
            .unwrap();
    let error = cut(&columns, &late, &[2, 3]).unwrap_err();
    let message = "row 3, column `t`: it is earlier than the row before it in its series";
    assert_eq!(error.to_string(), message);
    assert!(error.help().unwrap().ends_with("sort the table by `id`, `t`"), "{error:?}");
    let gap = raw(&[(0, Some(1.0), Some(1.0), Some(true)), (0, Some(1.0), None, Some(true))]);
    let error = cut(&columns, &gap, &[1, 2]).unwrap_err();
    assert_eq!(error.to_string(), "row 2, column `x`: the value is missing or not finite");
    assert!(error.help().unwrap().contains("leave the row out"), "{error:?}");
}

#[test]
fn short_series_are_told_and_only_the_newest_rows_kept() {
    let rows: Vec<Row> =
        (0..1000).map(|row| (u8::from(row % 500 == 7), Some(1.0), Some(1.0), Some(true))).collect();
    let columns = Columns::new(spec(4, 0, true), &transform(Missing::Error)).unwrap();
    let mut cutter = Cutter::new(&columns);
    assert_eq!(cutter.cut(&raw(&rows)).unwrap().len(), 998 - 4);
    let short = Short { count: 1, name: "f1".to_owned(), rows: 2 };
    assert_eq!(cutter.short(), Some(short));
    cutter.series.iter_mut().for_each(|series| series.forget(3, 5));
    assert_eq!(cutter.series[0].rows.len(), 15);
    assert!(cutter.series[0].rows.capacity() < 100);
}
