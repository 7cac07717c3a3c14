//! Predictions from raw rows in raw units: windows are cut, scaled, fed to the network, and what
//! comes out is scaled back.
//!
//! A window's prediction has the same bits in every batch, whatever its neighbours and its place.
//! Knows nothing of files.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::Device;

use super::file::Model;
use super::network::Weights;
use super::{Network, Sizes};
use crate::data::DataError;
use crate::data::stream::{Columns, Cut};
use crate::data::window::Layout;

/// Windows of one pass: enough to fill the machine's vectors, few enough that a layer's gates stay
/// in cache.
pub const PREDICTION_BATCH: usize = 256;

/// Rows of predictions that are made at once, at most, but for those of one window.
const ROWS_AT_ONCE: usize = 65_536;

/// A network made ready to predict.
pub struct Forward {
    weights: Weights,
    layout: Layout,
    sizes: Sizes,
}

impl Forward {
    /// Makes a network ready.
    pub fn new(network: &Network, sizes: Sizes, weights: &[f32]) -> Forward {
        let parameters = network.parameters(sizes);
        let weights = Weights::new(network, &parameters, weights, &Device::flex());
        Forward { weights, layout: network.layout(), sizes }
    }

    /// Says how the windows lie that the network reads.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Predicts as scaled, `[batch, outputs]`, from windows that lie as [`Forward::layout`] says.
    pub fn predict(&self, x: Vec<f32>) -> Vec<f32> {
        let Sizes { window, inputs, .. } = self.sizes;
        let batch = x.len() / (window * inputs);
        let shape = match self.layout {
            Layout::StepsFirst => [window, batch, inputs],
            Layout::WindowsFirst => [batch, window, inputs],
        };
        let x = Tensor::from_data(TensorData::new(x, shape), &Device::flex());
        let predicted = self.weights.forward(x, None).into_data();
        // The network's output is f32, as its weights are.
        predicted.try_into_vec().expect("an f32 prediction")
    }
}

/// A model made ready to predict from raw rows.
pub struct Forecaster {
    columns: Columns,
    forward: Forward,
    /// The rows from the end of a window to each predicted one.
    steps: Vec<i64>,
    /// The names of the predictions of one step.
    names: Vec<String>,
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
            forward: Forward::new(&card.network, card.sizes(), &model.weights),
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
        let key = |name: &String| Ok::<_, DataError>(table.field_with_name(name)?.clone());
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
        cut.len().div_ceil(self.batch())
    }

    fn batch(&self) -> usize {
        (ROWS_AT_ONCE / self.steps.len()).clamp(1, PREDICTION_BATCH)
    }

    /// Predicts one batch of the windows cut from the raw rows of a block, as rows of `schema`: one
    /// for each window and step; and gives the place of the last raw row among those of the block.
    ///
    /// # Errors
    ///
    /// [`DataError`] where the schema is not that of the block.
    pub fn predict(
        &self,
        raw: &RecordBatch,
        cut: &Cut<'_>,
        batch: usize,
        schema: &SchemaRef,
    ) -> Result<(RecordBatch, usize), DataError> {
        let first = batch * self.batch();
        let windows = first..cut.len().min(first + self.batch());
        let scaled = self.forward.predict(cut.gather(windows.clone(), self.forward.layout()));
        let rows = windows.clone().flat_map(|window| {
            std::iter::repeat_n(cut.row(window) as u64, self.steps.len())
        });
        let rows: UInt64Array = rows.collect::<Vec<_>>().into();
        let spec = self.columns.spec();
        let mut columns: Vec<ArrayRef> = Vec::new();
        for name in spec.series.iter().chain([&spec.time.column]) {
            let place = raw.schema_ref().index_of(name)?;
            columns.push(take(raw.column(place), &rows, None)?);
        }
        if spec.horizon > 0 {
            let steps = windows.flat_map(|_| self.steps.iter().copied());
            columns.push(Arc::new(Int64Array::from_iter_values(steps)));
        }
        let number = self.columns.number();
        for place in 0..self.names.len() {
            let values = scaled.iter().skip(place).step_by(self.names.len());
            let values = values.map(|value| number.raw(f64::from(*value)));
            columns.push(Arc::new(Float64Array::from_iter_values(values)));
        }
        let last = rows.values().last().map_or(0, |row| *row as usize);
        Ok((RecordBatch::try_new(schema.clone(), columns)?, last))
    }
}
