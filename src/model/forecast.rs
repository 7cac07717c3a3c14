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
use crate::data::transform::column;
use crate::data::window::{Layout, Windows};

/// Windows of one pass: enough to fill the machine's vectors, few enough that a layer's gates stay
/// in cache.
pub const PREDICTION_BATCH: usize = 256;

/// A network made ready to predict.
pub struct Forward {
    device: Device,
    weights: Weights,
    layout: Layout,
    sizes: Sizes,
}

impl Forward {
    /// Makes a network ready on a device.
    pub fn new(network: &Network, sizes: Sizes, weights: &[f32], device: Device) -> Forward {
        let parameters = network.parameters(sizes);
        let weights = Weights::new(network, &parameters, weights, &device);
        Forward { device, weights, layout: network.layout(), sizes }
    }

    /// Gathers the inputs of windows as the network reads them, by a way to gather in a layout.
    ///
    /// A short batch is filled up with its first window: with another number of rows the machine's
    /// products would sum in another order, and the last bits would differ.
    ///
    /// # Panics
    ///
    /// Where there are more than [`PREDICTION_BATCH`] windows, or none.
    pub fn gather(
        &self,
        windows: &[u32],
        gather: impl FnOnce(&[u32], Layout) -> Vec<f32>,
    ) -> Vec<f32> {
        assert!(windows.len() <= PREDICTION_BATCH, "a batch of {} windows", windows.len());
        let mut batch = windows.to_vec();
        batch.resize(PREDICTION_BATCH, windows[0]);
        gather(&batch, self.layout)
    }

    /// Predicts as scaled, `[windows, outputs]`, from what was gathered of so many windows.
    pub fn predict(&self, x: Vec<f32>, windows: usize) -> Vec<f32> {
        let Sizes { window, inputs, outputs } = self.sizes;
        let shape = match self.layout {
            Layout::StepsFirst => [window, PREDICTION_BATCH, inputs],
            Layout::WindowsFirst => [PREDICTION_BATCH, window, inputs],
        };
        let x = Tensor::from_data(TensorData::new(x, shape), &self.device);
        let predicted = self.weights.forward(x, None).into_data();
        // The network's output is f32, as its weights are.
        let mut values: Vec<f32> = predicted.try_into_vec().expect("an f32 prediction");
        values.truncate(windows * outputs);
        values
    }
}

/// Predicts every window of a split, in their order and as the target was scaled.
pub fn of_windows(forward: &Forward, windows: &Windows) -> Vec<f32> {
    let all: Vec<u32> = (0..windows.len() as u32).collect();
    let predict = |batch: &[u32]| {
        let x = forward.gather(batch, |batch, layout| windows.gather(batch, layout));
        forward.predict(x, batch.len())
    };
    all.chunks(PREDICTION_BATCH).flat_map(predict).collect()
}

/// Puts the quantiles of each step in order: those that were learnt each for itself may cross.
pub fn order_quantiles(predicted: &mut [f32], quantiles: usize) {
    if quantiles > 1 {
        let steps = predicted.chunks_exact_mut(quantiles);
        steps.for_each(|quantiles| quantiles.sort_unstable_by(f32::total_cmp));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_has_the_same_bits_in_every_batch() {
        let sizes = Sizes { window: 7, inputs: 5, outputs: 3 };
        let networks = [
            Network::Lstm { units: vec![19, 8], dropout: 0.0, bidirectional: true },
            Network::Gru { units: vec![16], dropout: 0.0, bidirectional: false },
            Network::Mlp { units: vec![33], dropout: 0.0 },
            Network::Dlinear { average: 3 },
            Network::Nlinear {},
        ];
        for network in networks {
            let forward = Forward::new(&network, sizes, &network.initial(sizes, 7), Device::flex());
            let value =
                |window: u32, place: usize| ((window as usize * 37 + place * 11) % 101) as f32;
            let gather = |windows: &[u32], layout| match layout {
                Layout::StepsFirst => (0..7 * windows.len() * 5)
                    .map(|at| {
                        value(windows[at / 5 % windows.len()], at / 5 / windows.len() * 5 + at % 5)
                    })
                    .collect(),
                Layout::WindowsFirst => {
                    (0..windows.len() * 35).map(|at| value(windows[at / 35], at % 35)).collect()
                }
            };
            let predict =
                |windows: &[u32]| forward.predict(forward.gather(windows, gather), windows.len());
            let all: Vec<u32> = (0..PREDICTION_BATCH as u32).collect();
            let whole = predict(&all);
            for range in [0..1, 3..5, 7..24, 100..165, 1..PREDICTION_BATCH] {
                let part = &whole[range.start * 3..range.end * 3];
                assert_eq!(predict(&all[range.clone()]), part, "{network:?} {range:?}");
            }
        }
    }
}
