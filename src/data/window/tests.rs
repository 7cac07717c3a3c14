use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use proptest::prelude::*;

use super::*;
use crate::data::TimeUnit;

fn spec(window: usize, horizon: usize, target_history: bool) -> WindowSpec {
    WindowSpec {
        series: Some("series".to_owned()),
        time: TimeColumn { column: "time".to_owned(), unit: TimeUnit::Us },
        target: "y".to_owned(),
        features: None,
        window,
        horizon,
        steps: 1,
        target_history,
    }
}

/// Windows over series of these lengths; in row `t` of series `s`, `x` is `100 s + t` and the
/// target `1000 + 100 s + t`. The rows lie in the file in order of time.
fn windows(lengths: &[usize], spec: &WindowSpec) -> Windows {
    let mut raw = Raw::new(2);
    raw.add(&rows(lengths, 0..i64::MAX), &spec.time).unwrap();
    raw.into_windows(spec, vec!["x".to_owned()]).unwrap()
}

/// The rows of such series at some times.
fn rows(lengths: &[usize], times: Range<i64>) -> RecordBatch {
    let mut keys: Vec<(i64, usize)> = Vec::new();
    for (series, &length) in lengths.iter().enumerate() {
        keys.extend((0..length).map(|time| (time as i64, series)));
    }
    keys.retain(|(time, _)| times.contains(time));
    keys.sort_unstable();
    let number = |base: f64| -> ArrayRef {
        let value = |(time, series): &(i64, usize)| base + 100.0 * *series as f64 + *time as f64;
        Arc::new(Float64Array::from_iter_values(keys.iter().map(value)))
    };
    let names = keys.iter().map(|(_, series)| format!("s{series}"));
    let columns: [(&str, ArrayRef); 4] = [
        ("x", number(0.0)),
        ("y", number(1000.0)),
        ("time", Arc::new(Int64Array::from_iter_values(keys.iter().map(|key| key.0)))),
        ("series", Arc::new(StringArray::from_iter_values(names))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn a_path_is_every_row_after_the_window_up_to_the_horizon() {
    let path = windows(&[9, 4], &WindowSpec { steps: 3, ..spec(2, 3, true) });
    // Of nine rows, two are seen and three predicted; the second series is too short.
    assert_eq!(path.len(), 5);
    let at = (0..path.len()).find(|&window| path.time(window) == 7).unwrap();
    assert_eq!(path.gather(&[at as u32], Layout::StepsFirst), [3.0, 1003.0, 4.0, 1004.0]);
    assert_eq!(path.actual(at), [1005.0, 1006.0, 1007.0]);
    let (first, other) = (at as u32 - 1, at as u32);
    let side_by_side = path.gather(&[first, other], Layout::StepsFirst);
    assert_eq!(side_by_side, [2.0, 1002.0, 3.0, 1003.0, 3.0, 1003.0, 4.0, 1004.0]);
    let one_by_one = path.gather(&[first, other], Layout::WindowsFirst);
    assert_eq!(one_by_one, [2.0, 1002.0, 3.0, 1003.0, 3.0, 1003.0, 4.0, 1004.0]);
    let actual = [1004.0, 1005.0, 1006.0, 1005.0, 1006.0, 1007.0];
    assert_eq!(path.gather_actual(&[first, other]), actual);
}

#[test]
fn rows_of_the_split_before_must_be_earlier() {
    let spec = spec(2, 0, true);
    let mut raw = Raw::new(2);
    raw.add(&rows(&[9], 3..6), &spec.time).unwrap();
    raw.keep_as_earlier(2);
    raw.add(&rows(&[9], 5..9), &spec.time).unwrap();
    let error = raw.into_windows(&spec, vec!["x".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("not earlier"), "{error}");
}

#[test]
fn the_example_of_the_header_holds() {
    let same = windows(&[9], &spec(3, 0, true));
    let at = (0..same.len()).find(|&window| same.time(window) == 7).unwrap();
    assert_eq!(
        same.gather(&[at as u32], Layout::StepsFirst),
        [5.0, 1004.0, 6.0, 1005.0, 7.0, 1006.0]
    );
    assert_eq!(same.gather_actual(&[at as u32]), [1007.0]);
    let ahead = windows(&[9], &spec(3, 1, true));
    let at = (0..ahead.len()).find(|&window| ahead.time(window) == 7).unwrap();
    assert_eq!(
        ahead.gather(&[at as u32], Layout::StepsFirst),
        [4.0, 1004.0, 5.0, 1005.0, 6.0, 1006.0]
    );
}

proptest! {
    #[test]
    fn a_window_stays_in_its_series_and_never_sees_the_predicted_value(
        lengths in prop::collection::vec(1_usize..12, 1..4),
        window in 1_usize..5,
        horizon in 0_usize..4,
        target_history: bool,
    ) {
        let windows = windows(&lengths, &spec(window, horizon, target_history));
        let lost = window + horizon - 1 + usize::from(target_history && horizon == 0);
        let expected: usize = lengths.iter().map(|length| length.saturating_sub(lost)).sum();
        prop_assert_eq!(windows.len(), expected);
        for at in 0..windows.len() {
            let inputs = windows.inputs();
            let (time, actual) = (windows.time(at) as usize, windows.actual(at));
            let series: usize = windows.series(at)[1..].parse().unwrap();
            prop_assert_eq!(actual[0], (1000 + 100 * series + time) as f32);
            for (step, row) in windows.gather(&[at as u32], Layout::StepsFirst).chunks_exact(inputs).enumerate() {
                let own = time + step + 1 - window - horizon;
                prop_assert_eq!(row[0], (100 * series + own) as f32);
                if target_history {
                    let known = if horizon == 0 { own - 1 } else { own };
                    prop_assert!(known < time);
                    prop_assert_eq!(row[1], (1000 + 100 * series + known) as f32);
                }
            }
        }
    }
    #[test]
    fn windows_that_begin_in_the_split_before_are_those_of_the_whole(
        lengths in prop::collection::vec(1_usize..12, 1..4),
        window in 1_usize..5,
        horizon in 0_usize..4,
        path: bool,
        target_history: bool,
        cut in 0_i64..12,
    ) {
        let steps = if path && horizon > 0 { horizon } else { 1 };
        let spec = WindowSpec { steps, ..spec(window, horizon, target_history) };
        let mut raw = Raw::new(2);
        raw.add(&rows(&lengths, 0..cut), &spec.time).unwrap();
        raw.keep_as_earlier(window + horizon);
        raw.add(&rows(&lengths, cut..i64::MAX), &spec.time).unwrap();
        let after = raw.into_windows(&spec, vec!["x".to_owned()]).unwrap();
        let whole = windows(&lengths, &spec);
        let first = |windows: &Windows, at: usize| windows.times()[windows.predicted_rows(at).start];
        let own: Vec<usize> = (0..whole.len()).filter(|&at| first(&whole, at) >= cut).collect();
        prop_assert_eq!(after.len(), own.len());
        // The places among the rows of the split alone, by series and time.
        let places: Vec<(usize, i64)> = lengths
            .iter()
            .enumerate()
            .flat_map(|(series, &length)| (cut..length as i64).map(move |time| (series, time)))
            .collect();
        for (at, &whole_at) in own.iter().enumerate() {
            let layout = Layout::StepsFirst;
            prop_assert_eq!(
                after.gather(&[at as u32], layout),
                whole.gather(&[whole_at as u32], layout)
            );
            prop_assert_eq!(after.actual(at), whole.actual(whole_at));
            for row in after.predicted_rows(at) {
                let (series, time) = places[after.place_in_split(row)];
                prop_assert_eq!(after.series_of_row(row), format!("s{series}"));
                prop_assert_eq!(after.times()[row], time);
            }
        }
    }
}
