//! How well predictions fit actual values.

/// The scores of predictions, in the values' own units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// The root of the mean squared error.
    pub rmse: f64,
    /// The mean absolute error.
    pub mae: f64,
    /// The share of the variance that is explained; `None` where the actual values do not vary.
    pub r2: Option<f64>,
    /// The mean of `|error / actual|`, as a share; `None` where an actual value is 0.
    pub mape: Option<f64>,
}

/// Scores predictions; `None` where there are none.
///
/// # Panics
///
/// Where the slices are not of one length.
pub fn scores(predicted: &[f64], actual: &[f64]) -> Option<Scores> {
    assert_eq!(predicted.len(), actual.len(), "a prediction for each actual value");
    if actual.is_empty() {
        return None;
    }
    let count = actual.len() as f64;
    let pairs =
        || predicted.iter().zip(actual).map(|(predicted, actual)| (predicted - actual, actual));
    let squares: f64 = pairs().map(|(error, _)| error * error).sum();
    let absolute: f64 = pairs().map(|(error, _)| error.abs()).sum();
    let mean = actual.iter().sum::<f64>() / count;
    let spread: f64 = actual.iter().map(|actual| (actual - mean) * (actual - mean)).sum();
    let relative: f64 = pairs().map(|(error, actual)| (error / actual).abs()).sum();
    Some(Scores {
        rmse: (squares / count).sqrt(),
        mae: absolute / count,
        r2: (spread > 0.0).then(|| 1.0 - squares / spread),
        mape: actual.iter().all(|&actual| actual != 0.0).then(|| relative / count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_their_definitions() {
        let given = scores(&[1.0, 2.0, 5.0], &[2.0, 2.0, 4.0]).unwrap();
        assert!((given.rmse - (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((given.mae - 2.0 / 3.0).abs() < 1e-12);
        assert!((given.r2.unwrap() - 0.25).abs() < 1e-12);
        assert!((given.mape.unwrap() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn what_is_not_defined_is_not_given() {
        let given = scores(&[1.0, 2.0], &[0.0, 0.0]).unwrap();
        assert_eq!((given.r2, given.mape), (None, None));
        assert_eq!(scores(&[], &[]), None);
    }
}
