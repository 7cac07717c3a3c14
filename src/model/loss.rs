//! What training minimises: over burn for its gradient, and over slices for a validation.

use burn::Tensor;
use burn::backend::TensorData;
use burn::tensor::activation::relu;

use super::Loss;

impl Loss {
    /// Gives the mean loss `[1]` of predictions `[batch, steps * quantiles]` for actual values
    /// `[batch, steps]`; without quantiles there is one prediction a step.
    pub fn of_tensors(
        self,
        predicted: Tensor<2>,
        actual: Tensor<2>,
        quantiles: &[f64],
    ) -> Tensor<1> {
        let error = || predicted.clone() - actual.clone();
        match self {
            Loss::Mse => {
                let error = error();
                (error.clone() * error).mean()
            }
            Loss::Mae => error().abs().mean(),
            Loss::Huber => {
                // With `q = min(|e|, 1)`, `q q / 2 + |e| - q` is `e e / 2` below 1 and
                // `|e| - 1/2` above.
                let size = error().abs();
                let inner = size.clone().clamp_max(1.0);
                (inner.clone() * inner.clone() * 0.5 + size - inner).mean()
            }
            Loss::Quantile => pinball(predicted, actual, quantiles),
        }
    }

    /// Gives the mean loss of predictions `[.., quantiles]` for actual values `[..]`, summed in
    /// `f64` and in order.
    pub fn of_slices(self, predicted: &[f32], actual: &[f32], quantiles: &[f64]) -> f64 {
        let width = quantiles.len().max(1);
        let loss = |(place, predicted): (usize, &f32)| {
            let error = f64::from(*predicted) - f64::from(actual[place / width]);
            match self {
                Loss::Mse => error * error,
                Loss::Mae => error.abs(),
                Loss::Huber if error.abs() <= 1.0 => error * error / 2.0,
                Loss::Huber => error.abs() - 0.5,
                Loss::Quantile => {
                    let quantile = quantiles[place % width];
                    f64::max(-quantile * error, (1.0 - quantile) * error)
                }
            }
        };
        predicted.iter().enumerate().map(loss).sum::<f64>() / predicted.len() as f64
    }
}

/// The mean over steps and quantiles `q` of `max(-q e, (1 - q) e)` for errors `e`.
fn pinball(predicted: Tensor<2>, actual: Tensor<2>, quantiles: &[f64]) -> Tensor<1> {
    let [batch, steps] = actual.dims();
    let error = predicted.reshape([batch, steps, quantiles.len()]) - actual.unsqueeze_dim(2);
    let levels: Vec<f32> = quantiles.iter().map(|quantile| *quantile as f32).collect();
    let levels = TensorData::new(levels, [1, 1, quantiles.len()]);
    let levels = Tensor::from_data(levels, &error.device());
    // It is `max(e, 0) - q e`.
    (relu(error.clone()) - error * levels).mean()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn tensors_and_slices_agree_with_the_definitions() {
        let (predicted, actual) = ([0.5, 3.0, -1.0, 2.0], [0.0, 0.0, 1.0, 2.0]);
        let expected = [(Loss::Mse, 3.3125), (Loss::Mae, 1.375), (Loss::Huber, 1.03125)];
        for (loss, expected) in expected {
            assert_eq!(loss.of_slices(&predicted, &actual, &[]), expected);
            let tensor = |values: [f32; 4]| {
                Tensor::<1>::from_floats(values, &Device::flex()).reshape([4, 1])
            };
            let given =
                loss.of_tensors(tensor(predicted), tensor(actual), &[]).into_scalar::<f32>();
            assert!((f64::from(given) - expected).abs() < 1e-6, "{loss:?}: {given}");
        }
    }
    #[test]
    fn the_pinball_loss_is_that_of_its_definition() {
        let (levels, actual) = ([0.1, 0.5], [2.0, -1.0]);
        let predicted = [1.0, 3.0, -1.5, -1.0];
        // The actual value is 1 above, 1 below, 0.5 above and right at the prediction.
        let expected = (0.1 + 0.5 + 0.05 + 0.0) / 4.0;
        let given = Loss::Quantile.of_slices(&predicted, &actual, &levels);
        assert!((given - expected).abs() < 1e-9, "{given}");
        let device = Device::flex();
        let tensor = |values: &[f32], shape| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), &device)
        };
        // One window of two steps, and two windows of one.
        for shape in [[1, 4], [2, 2]] {
            let rows = shape[0];
            let (predicted, actual) =
                (tensor(&predicted, shape), tensor(&actual, [rows, 2 / rows]));
            let given = Loss::Quantile.of_tensors(predicted, actual, &levels);
            let given = f64::from(given.into_scalar::<f32>());
            assert!((given - expected).abs() < 1e-6, "{given}");
        }
    }
}
