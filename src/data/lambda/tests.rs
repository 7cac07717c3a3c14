//! What the data sets promise, measured: the same rows in any pieces, and statistics that leave
//! something to learn.

use std::f64::consts::TAU;

use super::*;

fn spec(profile: Profile, rows: u64, functions: u32, seed: u64) -> Spec {
    Spec { profile, rows, functions, interval: 300, start: 1_704_067_200, seed }
}

fn workload(rows: u64, functions: u32, seed: u64) -> Vec<Row> {
    make_rows(&spec(Profile::Workload, rows, functions, seed), 0..rows)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    sum / count
}

fn variance(values: &[f64]) -> f64 {
    let center = mean(values.iter().copied());
    mean(values.iter().map(|value| (value - center).powi(2)))
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (center_a, center_b) = (mean(a.iter().copied()), mean(b.iter().copied()));
    let both = a.iter().zip(b).map(|(a, b)| (a - center_a) * (b - center_b));
    mean(both) / (variance(a) * variance(b)).sqrt()
}

fn shares<'a>(rows: impl Iterator<Item = &'a Row> + Clone, what: fn(&Row) -> bool) -> f64 {
    mean(rows.map(|row| f64::from(u8::from(what(row)))))
}

/// Gives the columns that a prediction from a row alone may use: scaled to 0 and 1, the function
/// one-hot, and the hour as sine and cosine.
fn row_features(rows: &[Row], functions: usize) -> Vec<Vec<f64>> {
    let hour = |index: usize| TAU * (index / functions) as f64 / 288.0;
    let numeric: [fn(&Row) -> f64; 6] = [
        |row| row.cpu,
        |row| row.memory,
        |row| f64::from(u8::from(row.cold)),
        |row| row.cold_latency,
        |row| row.throttled as f64,
        |row| f64::from(u8::from(row.error)),
    ];
    let mut columns: Vec<Vec<f64>> = numeric.map(|of| rows.iter().map(of).collect()).into();
    for column in &mut columns {
        let low = column.iter().copied().fold(f64::INFINITY, f64::min);
        let high = column.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        column.iter_mut().for_each(|value| *value = (*value - low) / (high - low).max(1e-9));
    }
    let all = 0..rows.len();
    for function in 0..functions {
        let of = |index| f64::from(u8::from(index % functions == function));
        columns.push(all.clone().map(of).collect());
    }
    columns.push(all.clone().map(|index| hour(index).sin()).collect());
    columns.push(all.map(|index| hour(index).cos()).collect());
    columns
}

/// Fits a ridge regression by its normal equations and gives its predictions on the same rows.
fn ridge(columns: &[Vec<f64>], target: &[f64], penalty: f64) -> Vec<f64> {
    let centered = |column: &[f64]| {
        let center = mean(column.iter().copied());
        column.iter().map(|value| value - center).collect::<Vec<f64>>()
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let inputs: Vec<Vec<f64>> = columns.iter().map(|column| centered(column)).collect();
    let output = centered(target);
    let mut system: Vec<Vec<f64>> = inputs
        .iter()
        .map(|a| inputs.iter().map(|b| dot(a, b)).chain([dot(a, &output)]).collect())
        .collect();
    let size = system.len();
    system.iter_mut().enumerate().for_each(|(pivot, line)| line[pivot] += penalty);
    // The matrix is positive definite: elimination needs no exchange of rows.
    for pivot in 0..size {
        let upper = system[pivot].clone();
        for (row, line) in system.iter_mut().enumerate() {
            if row != pivot {
                let factor = line[pivot] / upper[pivot];
                line.iter_mut().zip(&upper).for_each(|(value, above)| *value -= factor * above);
            }
        }
    }
    let weights: Vec<f64> = (0..size).map(|row| system[row][size] / system[row][row]).collect();
    let center = mean(target.iter().copied());
    let predict = |row: usize| {
        let terms = weights.iter().zip(&inputs).map(|(weight, input)| weight * input[row]);
        center + terms.sum::<f64>()
    };
    (0..target.len()).map(predict).collect()
}

/// Gives the noise's part of the variance of the response, and the part of the rest that a ridge
/// regression on the row's own columns explains.
fn noise_and_ridge(rows: &[Row], functions: usize) -> (f64, f64) {
    let response: Vec<f64> = rows.iter().map(|row| row.response).collect();
    let truth: Vec<f64> = rows.iter().map(|row| row.mean).collect();
    let predicted = ridge(&row_features(rows, functions), &response, 1.0);
    let difference = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>();
    let noise = variance(&difference(&response, &truth)) / variance(&response);
    let missed = mean(difference(&predicted, &truth).iter().map(|miss| miss * miss));
    (noise, 1.0 - missed / variance(&truth))
}

#[test]
fn the_bytes_are_the_same_at_any_thread_count() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(Profile::Workload, 150_001, 7, 7);
    let bytes = |threads: usize| {
        let [data, truth] = ["data", "truth"].map(|name| folder.path().join(name));
        let summary = write(&spec, &data, &truth, threads, &|_| ControlFlow::Continue(())).unwrap();
        assert_eq!(summary.rows, spec.rows);
        [data, truth].map(|path| std::fs::read(path).unwrap())
    };
    let one = bytes(1);
    assert_eq!(one, bytes(2));
    assert_eq!(one, bytes(3));
}

#[test]
fn a_row_does_not_depend_on_the_piece_that_it_is_made_in() {
    for (profile, functions, interval) in [
        (Profile::Workload, 5, 300),
        (Profile::Workload, 1, 7),
        (Profile::Workload, 700, 86_400),
        (Profile::Uniform, 3, 60),
    ] {
        let spec = Spec { interval, ..spec(profile, 2_000, functions, 3) };
        let whole = make_rows(&spec, 0..spec.rows);
        for size in [1, 13, 250, 1_999] {
            let mut pieces = Vec::new();
            for start in (0..spec.rows).step_by(size) {
                let end = spec.rows.min(start + size as u64);
                pieces.extend(make_rows(&spec, start..end));
            }
            assert_eq!(whole, pieces, "{spec:?} in pieces of {size}");
        }
        let mut responses: Vec<u64> = whole.iter().map(|row| row.response.to_bits()).collect();
        responses.sort_unstable();
        responses.dedup();
        assert!(responses.len() > 1_950, "rows repeat in {spec:?}");
    }
}

#[test]
fn keys_go_by_time_and_then_by_function() {
    let spec = spec(Profile::Workload, 8, 3, 0);
    let rows = make_rows(&spec, 0..8);
    let (data, truth) = batches(&spec, 0..8, &rows).unwrap();
    let ids = data.column(0).as_any().downcast_ref::<StringArray>().unwrap();
    let ids: Vec<&str> = ids.iter().map(Option::unwrap).collect();
    assert_eq!(ids[..4], ["function_1", "function_2", "function_3", "function_1"]);
    assert_eq!(ids[7], "function_2");
    let times = data.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
    let from_start: Vec<i64> = times.values().iter().map(|time| time - spec.start).collect();
    assert_eq!(from_start, [0, 0, 0, 300, 300, 300, 600, 600]);
    assert_eq!(data.project(&[0, 1]).unwrap(), truth.project(&[0, 1]).unwrap());
}

#[test]
fn there_is_noise_and_there_is_something_to_learn() {
    for (rows, functions) in [(20_000, 5), (20_000, 1), (20_000, 20), (2_000, 5)] {
        for seed in 0..6 {
            let (noise, ridge) =
                noise_and_ridge(&workload(rows, functions, seed), functions as usize);
            let place = format!("{rows} rows of {functions} functions, seed {seed}");
            assert!((0.10..0.40).contains(&noise), "{place}: noise {noise:.3}");
            assert!((0.15..0.70).contains(&ridge), "{place}: ridge {ridge:.3}");
        }
    }
}

#[test]
fn what_is_beyond_the_truth_is_noise() {
    let rows = workload(20_000, 5, 7);
    let noise: Vec<f64> = rows.iter().map(|row| row.response - row.mean).collect();
    assert!(mean(noise.iter().copied()).abs() < 0.005);
    for (index, column) in row_features(&rows, 5).iter().enumerate() {
        let correlation = correlation(&noise, column);
        assert!(correlation.abs() < 0.03, "column {index}: {correlation:.3}");
    }
    // Nor do the noises of neighbouring rows of a function know of each other.
    assert!(correlation(&noise[5..], &noise[..noise.len() - 5]).abs() < 0.03);
}

#[test]
fn a_tenth_of_the_rows_are_errors_and_more_under_throttling() {
    for seed in 0..6 {
        let rows = workload(20_000, 5, seed);
        let all = shares(rows.iter(), |row| row.error);
        let throttled = shares(rows.iter().filter(|row| row.throttled > 0), |row| row.error);
        assert!((0.085..0.125).contains(&all), "seed {seed}: {all:.3}");
        assert!(throttled > 2.0 * all, "seed {seed}: {throttled:.3} under throttling");
    }
}

#[test]
fn cold_starts_follow_idleness_and_bursts() {
    for seed in 0..6 {
        let rows = workload(20_000, 5, seed);
        let hours = |range: Range<usize>| {
            let inside = move |(index, row)| range.contains(&(index / 5 / 12 % 24)).then_some(row);
            rows.iter().enumerate().filter_map(inside)
        };
        let (idle, busy) =
            (shares(hours(0..5), |row| row.cold), shares(hours(11..17), |row| row.cold));
        assert!(idle > 1.3 * busy, "seed {seed}: {idle:.3} idle, {busy:.3} busy");

        let states: Vec<_> =
            workload::states(&spec(Profile::Workload, 0, 5, seed), 0).take(4_000).collect();
        let wide = states.iter().filter(|(state, _)| state.demand > 1.5 * state.pool);
        let wide = shares(wide.map(|(_, row)| row), |row| row.cold);
        assert!(wide > 0.25, "seed {seed}: {wide:.3} where an event outgrows the pool");
        assert!(rows.iter().all(|row| row.cold == (row.cold_latency > 0.0)));
    }
}

#[test]
fn only_what_passes_the_limit_is_throttled() {
    let spec = spec(Profile::Workload, 0, 5, 7);
    let states: Vec<_> = workload::states(&spec, 2).take(20_000).collect();
    let beyond = states.iter().filter(|(state, _)| state.demand > workload::LIMIT);
    assert!(shares(beyond.map(|(_, row)| row), |row| row.throttled > 0) > 0.5);
    let mut within = states.iter().filter(|(state, _)| state.demand <= workload::LIMIT);
    assert!(within.all(|(_, row)| row.throttled == 0));
}

#[test]
fn late_rows_are_like_early_ones() {
    let spec = spec(Profile::Workload, 100_000_000, 5, 7);
    let [early, late] = [0, 90_000_000].map(|start| make_rows(&spec, start..start + 50_000));
    for (name, of) in [
        ("response", (|row| row.response) as fn(&Row) -> f64),
        ("cpu", |row| row.cpu),
        ("memory", |row| row.memory),
    ] {
        let [early, late] = [&early, &late].map(|rows| rows.iter().map(of).collect::<Vec<f64>>());
        let (early_mean, late_mean) = (mean(early.iter().copied()), mean(late.iter().copied()));
        assert!((late_mean / early_mean - 1.0).abs() < 0.1, "{name}: {early_mean} {late_mean}");
        let ratio = variance(&late) / variance(&early);
        assert!((0.7..1.4).contains(&ratio), "{name}: {ratio:.2}");
    }
}

#[test]
fn uniform_values_keep_their_ranges_and_know_nothing_of_each_other() {
    let spec = spec(Profile::Uniform, 20_000, 5, 7);
    let rows = make_rows(&spec, 0..spec.rows);
    let response: Vec<f64> = rows.iter().map(|row| row.response).collect();
    let columns = row_features(&rows, 5);
    for (index, column) in columns.iter().enumerate() {
        let with_response = correlation(column, &response);
        assert!(with_response.abs() < 0.03, "column {index}: {with_response:.3}");
    }
    for (index, pair) in columns[..6].windows(2).enumerate() {
        assert!(correlation(&pair[0], &pair[1]).abs() < 0.03, "columns {index} and the next");
    }
    assert!(correlation(&response[5..], &response[..response.len() - 5]).abs() < 0.03);

    let within = |value: f64, (low, high): (f64, f64)| (low..=high).contains(&value);
    assert!(rows.iter().all(|row| {
        within(row.response, uniform::RESPONSE)
            && within(row.cpu, uniform::CPU)
            && within(row.memory, uniform::MEMORY)
            && within(row.cold_latency, uniform::COLD_LATENCY)
            && (0..10).contains(&row.throttled)
            && row.mean == 1.05
    }));
    assert!((mean(response.into_iter()) - 1.05).abs() < 0.02);
    let errors = shares(rows.iter(), |row| row.error);
    assert!((0.09..0.11).contains(&errors), "{errors:.3}");
}
