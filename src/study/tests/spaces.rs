//! Search spaces of chance, for properties that hold in any.

use rand::RngExt;
use serde_json::{Value, json};

use crate::random::generator;

/// Makes a space of chance: every kind of domain, and conditions on earlier parameters.
pub(super) fn any_space(seed: u64) -> Value {
    let mut generator = generator(seed, "space", &[]);
    let values = [
        json!(null),
        json!(true),
        json!("x"),
        json!(1.5),
        json!([16, 32]),
        json!({ "a": { "b": 1 } }),
    ];
    // CMA-ES needs a number that always exists.
    let mut space = json!({ "z": { "float": [-1.0, 1.0] } });
    let mut parents: Vec<(String, Vec<Value>)> = Vec::new();
    for place in 0..generator.random_range(1..7) {
        let path = format!("{}.p{place}", generator.random_range(0..3));
        let low: i64 = generator.random_range(1..9);
        let high: i64 = low + generator.random_range(2..9);
        let choices = values[generator.random_range(0..5)..].to_vec();
        let mut param = match generator.random_range(0..7) {
            0 => json!({ "choice": choices.clone() }),
            1 => json!({ "int": [low - 5, high] }),
            2 => json!({ "int": [low, high], "step": 2 }),
            3 => json!({ "log_int": [low, high * high] }),
            4 => json!({ "float": [-low, high] }),
            5 => json!({ "float": [0.1, high], "step": 0.3 }),
            _ => json!({ "log_float": [1e-3, high] }),
        };
        if !parents.is_empty() && generator.random_bool(0.5) {
            let (parent, allowed) = &parents[generator.random_range(0..parents.len())];
            let some = &allowed[generator.random_range(0..allowed.len())..];
            param["when"] = json!({ parent: some });
        }
        if param.get("choice").is_some() {
            parents.push((path.clone(), choices));
        } else if param.get("int").is_some() && param.get("step").is_none() {
            parents.push((path.clone(), (low - 5..low).map(Value::from).collect()));
        }
        space[path] = param;
    }
    space
}
