//! Pruners beside what Optuna 5's were recorded to do.

use serde::Deserialize;
use serde_json::json;

use super::*;

/// What `benches/peers/optuna_record.py` recorded of a pruner of Optuna 5.
#[derive(Deserialize)]
struct PrunerRecord {
    pruner: Pruner,
    direction: String,
    curves: Vec<Vec<f64>>,
    stops: Vec<Option<usize>>,
}

#[derive(Deserialize)]
struct PrunerRecords {
    pruners: Vec<PrunerRecord>,
}

#[test]
fn pruners_stop_trials_where_optuna_does() {
    let records: PrunerRecords =
        serde_json::from_str(include_str!("../../../tests/data/pruners.json"))
            .expect("the record is well-formed");
    for record in records.pruners {
        let metric = "loss".to_owned();
        let objective = match record.direction.as_str() {
            "minimize" => Objective::Minimize(metric),
            _ => Objective::Maximize(metric),
        };
        let space = json!({ "x": { "float": [0.0, 1.0] } });
        let config = config(space, Sampler::Random { seed: 0 });
        let trials = record.curves.len() as u64;
        let mut study =
            Study::new(StudyConfig { pruner: record.pruner.clone(), objective, trials, ..config });
        let mut stops = Vec::new();
        for losses in &record.curves {
            let (number, _) = study.ask().expect("all earlier trials are told");
            let point =
                |(step, loss)| CurvePoint { step, metrics: [("loss".to_owned(), loss)].into() };
            let points: Vec<CurvePoint> = (1..).zip(losses.iter().copied()).map(point).collect();
            let rule = study.stop_rule(number);
            let stop = (1..=points.len())
                .find(|&end| rule.as_ref().is_some_and(|rule| rule(&points[..end])));
            let curve = Curve { points: points[..stop.unwrap_or(points.len())].to_vec() };
            let value = losses[losses.len() - 1];
            study.tell(
                number,
                match stop {
                    Some(_) => TrialEnd::Pruned { curve },
                    None => TrialEnd::Complete { value, others: Vec::new(), curve },
                },
            );
            stops.push(stop);
        }
        assert!(stops.iter().flatten().count() > 5, "{stops:?}");
        assert_eq!(stops, record.stops, "{:?}", record.pruner);
    }
}
