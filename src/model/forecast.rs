//! Predictions from raw rows in raw units: windows are cut, scaled, fed to the network, and what
//! comes out is scaled back.
//!
//! Knows nothing of files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use burn::tensor::Device;

use super::file::Model;
use super::prediction::{Forward, PREDICTION_BATCH, order_quantiles};
use crate::data::DataError;
use crate::data::stream::{Columns, Cut};
use crate::data::transform::column;

/// A model made ready to predict from raw rows.
pub struct Forecaster {
    columns: Columns,
    forward: Forward,
    /// The rows from the end of a window to each predicted one.
    steps: Vec<i64>,
    /// The names of the predictions of one step.
    names: Vec<String>,
}

/// The windows of one pass: all that their prediction takes.
pub struct Batch {
    inputs: Vec<f32>,
    /// The keys of each window's last row.
    keys: Vec<ArrayRef>,
    windows: usize,
    row: usize,
}

impl Batch {
    /// Gives the place in the block of the last row that ends a window of the batch.
    pub fn row(&self) -> usize {
        self.row
    }
}

impl Forecaster {
    /// Makes a model ready.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the model's transform does not make what its network reads.
    pub fn new(model: &Model) -> Result<Forecaster, DataError> {
        let card = &model.card;
        let ahead = card.horizon + 1 - card.steps()..=card.horizon;
        let names = match card.quantiles.as_slice() {
            [] => vec!["predicted".to_owned()],
            quantiles => quantiles.iter().map(|share| format!("predicted_{share}")).collect(),
        };
        Ok(Forecaster {
            columns: Columns::new(model.window_spec(), &card.transform)?,
            forward: Forward::new(&card.network, card.sizes(), &model.weights, Device::flex()),
            steps: ahead.map(|step| step as i64).collect(),
            names,
        })
    }

    /// Gives the raw columns that are read.
    pub fn columns(&self) -> &Columns {
        &self.columns
    }

    /// Gives the schema of the predictions from a table: its keys, the step where rows are
    /// predicted that lie ahead, and the predictions.
    ///
    /// Keys are called and typed as in the table. They are those of a window's last row.
    ///
    /// # Errors
    ///
    /// [`DataError`] where a key is absent.
    pub fn schema(&self, table: &Schema) -> Result<SchemaRef, DataError> {
        let spec = self.columns.spec();
        let keys = spec.series.iter().chain([&spec.time.column]);
        let key = |name: &String| {
            let kind = table.field_with_name(name)?.data_type().clone();
            Ok::<_, DataError>(Field::new(name, kind, false))
        };
        let mut fields = keys.map(key).collect::<Result<Vec<_>, _>>()?;
        let mut add = |name: &str, kind| {
            let mut name = name.to_owned();
            // A key may have the name already.
            while fields.iter().any(|field| *field.name() == name) {
                name.push('_');
            }
            fields.push(Field::new(name, kind, false));
        };
        if spec.horizon > 0 {
            add("step", DataType::Int64);
        }
        self.names.iter().for_each(|name| add(name, DataType::Float64));
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Gives the number of batches in which the windows of a block are predicted.
    pub fn batches(&self, cut: &Cut<'_>) -> usize {
        cut.len().div_ceil(PREDICTION_BATCH)
    }

    /// Gathers one batch of the windows cut from the raw rows of a block.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the rows lack a key.
    pub fn gather(
        &self,
        raw: &RecordBatch,
        cut: &Cut<'_>,
        batch: usize,
    ) -> Result<Batch, DataError> {
        let first = batch * PREDICTION_BATCH;
        let windows = first..cut.len().min(first + PREDICTION_BATCH);
        let rows: Vec<u64> = windows.clone().map(|window| cut.row(window) as u64).collect();
        let windows: Vec<u32> = windows.map(|window| window as u32).collect();
        let row = rows.last().map_or(0, |row| *row as usize);
        let rows = UInt64Array::from(rows);
        let spec = self.columns.spec();
        let key = |name: &String| Ok::<_, DataError>(take(&column(raw, name)?, &rows, None)?);
        Ok(Batch {
            inputs: self.forward.gather(&windows, |batch, layout| cut.gather(batch, layout)),
            keys: spec
                .series
                .iter()
                .chain([&spec.time.column])
                .map(key)
                .collect::<Result<_, _>>()?,
            windows: windows.len(),
            row,
        })
    }

    /// Predicts a batch, as rows of `schema`: one for each window and step.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the schema is not that of the batch.
    pub fn predict(&self, batch: Batch, schema: &SchemaRef) -> Result<RecordBatch, DataError> {
        let Batch { inputs, keys, windows, .. } = batch;
        let mut scaled = self.forward.predict(inputs, windows);
        order_quantiles(&mut scaled, self.names.len());
        let windows = 0..windows as u64;
        let rows = windows.clone().flat_map(|row| std::iter::repeat_n(row, self.steps.len()));
        let rows = UInt64Array::from_iter_values(rows);
        let mut columns = Vec::new();
        for key in &keys {
            columns.push(take(key, &rows, None)?);
        }
        if self.columns.spec().horizon > 0 {
            let steps = windows.flat_map(|_| self.steps.iter().copied());
            columns.push(Arc::new(Int64Array::from_iter_values(steps)));
        }
        let number = self.columns.number();
        for place in 0..self.names.len() {
            let values = scaled.iter().skip(place).step_by(self.names.len());
            let values = values.map(|value| number.raw(f64::from(*value)));
            columns.push(Arc::new(Float64Array::from_iter_values(values)));
        }
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }
}
