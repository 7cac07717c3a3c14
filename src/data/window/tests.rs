use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
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
    let mut keys: Vec<(i64, usize)> = Vec::new();
    for (series, &length) in lengths.iter().enumerate() {
        keys.extend((0..length).map(|time| (time as i64, series)));
    }
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
    let mut raw = Raw::default();
    raw.add(&RecordBatch::try_from_iter(columns).unwrap(), 2, &spec.time).unwrap();
    raw.into_windows(spec, vec!["x".to_owned()])
}

#[test]
fn the_example_of_the_header_holds() {
    let same = windows(&[9], &spec(3, 0, true));
    let at = (0..same.len()).find(|&window| same.time(window) == 7).unwrap();
    assert_eq!(same.gather(&[at], Layout::StepsFirst), [5.0, 1004.0, 6.0, 1005.0, 7.0, 1006.0]);
    assert_eq!(same.gather_actual(&[at]), [1007.0]);
    let ahead = windows(&[9], &spec(3, 1, true));
    let at = (0..ahead.len()).find(|&window| ahead.time(window) == 7).unwrap();
    assert_eq!(ahead.gather(&[at], Layout::StepsFirst), [4.0, 1004.0, 5.0, 1005.0, 6.0, 1006.0]);
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
            for (step, row) in windows.gather(&[at], Layout::StepsFirst).chunks_exact(inputs).enumerate() {
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
}
