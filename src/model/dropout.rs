//! Dropout masks: a function of seed, epoch, batch and layer alone.

use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::Device;
use pulp::Arch;
use rand::Rng;

use super::Network;
use crate::random::generator;

/// The masks of one training step, each to multiply a layer's output with.
#[derive(Debug)]
pub struct Masks {
    /// For each layer `[steps, batch, width]`, of one step for the last and for dense ones:
    /// `1 / (1 - rate)` where a value is kept (so that the expectation stays), else 0. Empty where
    /// nothing is dropped.
    pub layers: Vec<Tensor<3>>,
}

impl Masks {
    /// Draws the masks of `batch` (from 0) of `epoch` (from 1), `rows` windows of `steps` steps.
    pub fn draw(
        network: &Network,
        seed: u64,
        [epoch, batch]: [u64; 2],
        [steps, rows]: [usize; 2],
        device: &Device,
    ) -> Masks {
        let (units, dropout, directions, is_recurrent) = match network {
            Network::Lstm { units, dropout, bidirectional }
            | Network::Gru { units, dropout, bidirectional } => {
                (units, *dropout, 1 + usize::from(*bidirectional), true)
            }
            Network::Mlp { units, dropout } => (units, *dropout, 1, false),
            Network::Dlinear { .. } | Network::Nlinear {} => {
                return Masks { layers: Vec::new() };
            }
        };
        if dropout == 0.0 {
            return Masks { layers: Vec::new() };
        }
        let mask = |(layer, units_of_layer): (usize, &usize)| {
            let width = directions * units_of_layer;
            let steps = if is_recurrent && layer + 1 < units.len() { steps } else { 1 };
            let mut generator = generator(seed, "dropout", &[epoch, batch, layer as u64]);
            let mut bytes = vec![0; 2 * steps * rows * width];
            generator.fill_bytes(&mut bytes);
            let values = kept(&bytes, dropout);
            Tensor::from_data(TensorData::new(values, [steps, rows, width]), device)
        };
        Masks { layers: units.iter().enumerate().map(mask).collect() }
    }
}

/// Makes a mask of pairs of random bytes, each a number below 65536 that drops or keeps a value.
fn kept(bytes: &[u8], rate: f64) -> Vec<f32> {
    let threshold = (rate * 65_536.0).round();
    let kept = (65_536.0 / (65_536.0 - threshold)) as f32;
    let threshold = threshold as u16;
    let (pairs, _) = bytes.as_chunks();
    let mut values = vec![0.0; pairs.len()];
    Arch::new().dispatch(|| {
        for (value, pair) in values.iter_mut().zip(pairs) {
            *value = if u16::from_le_bytes(*pair) < threshold { 0.0 } else { kept };
        }
    });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_keeps_the_expectation_and_depends_on_epoch_and_batch() {
        let network = Network::Lstm { units: vec![40, 30], dropout: 0.2, bidirectional: false };
        let draw = |epoch, batch| -> Vec<Vec<f32>> {
            Masks::draw(&network, 7, [epoch, batch], [24, 32], &Device::flex())
                .layers
                .into_iter()
                .map(|mask| mask.into_data().try_to_vec().unwrap())
                .collect()
        };
        let masks = draw(1, 0);
        assert_eq!([masks[0].len(), masks[1].len()], [24 * 32 * 40, 32 * 30]);
        let mean = masks[0].iter().sum::<f32>() / masks[0].len() as f32;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!(masks[0].iter().all(|&value| value == 0.0 || (value - 1.25).abs() < 1e-4));
        assert_eq!(masks, draw(1, 0));
        assert_ne!(masks, draw(1, 1));
        assert_ne!(masks, draw(2, 0));
    }
}
