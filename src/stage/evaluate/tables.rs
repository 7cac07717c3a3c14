//! The two tables of an evaluation: scores, and predictions row by row.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{Field, Schema};

use super::Evaluation;
use crate::data::table;
use crate::model::metrics::{Scores, scores as score};
use crate::stage::{Failure, Stop};

/// Columns by name, each with whether it may be null.
pub(super) type Columns = Vec<(String, bool, ArrayRef)>;

/// Writes a table.
pub(super) fn write(path: &Path, columns: Columns) -> Result<(), Stop> {
    let field = |(name, nullable, array): &(String, bool, ArrayRef)| {
        Field::new(name, array.data_type().clone(), *nullable)
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let arrays = columns.into_iter().map(|(.., array)| array).collect();
    let batch = RecordBatch::try_new(schema.clone(), arrays)
        .map_err(|error| Failure::new(format!("cannot make a table: {error}")))?;
    table::write(path, schema, [Ok(batch)])?;
    Ok(())
}

/// One row of the scores.
struct Line {
    name: &'static str,
    /// The step of a path, from 1; none where it is over all.
    step: Option<u64>,
    scores: Scores,
    rows: usize,
}

/// Gives the scores of the model, the baselines and the noise floor; of a path, over all its steps
/// first and then of each.
pub(super) fn scores(evaluation: &Evaluation<'_>) -> Columns {
    let (steps, rows) = (evaluation.model.card.steps(), evaluation.actual.len());
    let all = &evaluation.predictions;
    let whole = |name, scores| Line { name, step: None, scores, rows };
    let mut lines: Vec<Line> = all.iter().map(|one| whole(one.name, one.scores)).collect();
    let floor = evaluation.truth.as_ref().and_then(|truth| score(truth, &evaluation.actual));
    lines.extend(floor.map(|scores| whole("noise_floor", scores)));
    if steps > 1 {
        lines.extend(all.iter().flat_map(|one| {
            (0..steps).map(|step| Line {
                name: one.name,
                step: Some(step as u64 + 1),
                scores: evaluation.step_scores(one, step),
                rows: rows / steps,
            })
        }));
    }
    let number = |of: &dyn Fn(&Scores) -> Option<f64>| -> ArrayRef {
        Arc::new(lines.iter().map(|line| of(&line.scores)).collect::<Float64Array>())
    };
    let scale = evaluation.scale;
    let names = StringArray::from_iter_values(lines.iter().map(|line| line.name));
    let mut columns: Columns = vec![("name".to_owned(), false, Arc::new(names))];
    if steps > 1 {
        let steps: UInt64Array = lines.iter().map(|line| line.step).collect();
        columns.push(("step".to_owned(), true, Arc::new(steps)));
    }
    let rows = UInt64Array::from_iter_values(lines.iter().map(|line| line.rows as u64));
    columns.extend([
        ("rmse".to_owned(), false, number(&|scores| Some(scores.rmse))),
        ("mae".to_owned(), false, number(&|scores| Some(scores.mae))),
        ("r2".to_owned(), true, number(&|scores| scores.r2)),
        ("mape".to_owned(), true, number(&|scores| scores.mape)),
        ("scaled_mse".to_owned(), false, number(&|scores| Some((scores.rmse / scale).powi(2)))),
        ("rows".to_owned(), false, Arc::new(rows)),
    ]);
    columns
}

/// Gives the predictions, by window and step.
pub(super) fn predictions(evaluation: &Evaluation<'_>) -> Columns {
    let Evaluation { splits, scored, actual, predictions, quantiles, .. } = evaluation;
    let steps = evaluation.model.card.steps();
    let numbers = |values: &[f64]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
    let names = scored.iter().map(|&row| &splits.names[splits.test.series[row] as usize]);
    let times = scored.iter().map(|&row| splits.test.micros[row]);
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("+00:00");
    let mut columns: Columns = vec![
        ("series".to_owned(), false, Arc::new(StringArray::from_iter_values(names))),
        ("time".to_owned(), false, Arc::new(times)),
    ];
    if steps > 1 {
        let number = (0..scored.len()).map(|place| (place % steps) as u64 + 1);
        columns.push(("step".to_owned(), false, Arc::new(UInt64Array::from_iter_values(number))));
    }
    columns.push(("actual".to_owned(), false, numbers(actual)));
    columns.push(("predicted".to_owned(), false, numbers(&predictions[0].values)));
    columns.extend(
        quantiles
            .iter()
            .map(|one| (format!("predicted_{}", one.level), false, numbers(&one.values))),
    );
    columns
}
