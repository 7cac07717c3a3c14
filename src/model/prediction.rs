//! A network made ready to predict windows, in large batches.
//!
//! A window's prediction has the same bits in every batch, whatever its neighbours and its place.
//! Knows nothing of files, and nothing of raw rows.

use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::Device;

use super::network::Weights;
use super::{Network, Sizes};
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
