//! How long a training takes, guessed from its params, so that the longest trials start first.

use super::Params;
use crate::model::Network;

impl Params {
    /// Guesses how long training takes: the products of weights and steps.
    pub(in crate::stage) fn work(&self) -> u64 {
        let layers = |units: &[usize], of: &dyn Fn(usize, usize) -> usize| -> usize {
            let below = std::iter::once(0).chain(units.iter().copied());
            units.iter().zip(below).map(|(&own, below)| of(own, below)).sum()
        };
        let steps = self.outputs.steps(self.horizon) * self.quantiles.len().max(1);
        let products = match &self.network {
            Network::Lstm { units, bidirectional: false, .. } => {
                layers(units, &|own, below| own * (below + own)) * self.window
            }
            Network::Lstm { units, .. } => {
                layers(units, &|own, below| 2 * own * (2 * below + own)) * self.window
            }
            // It has three gates where the LSTM has four.
            Network::Gru { units, bidirectional, .. } => {
                let directions = 1 + usize::from(*bidirectional);
                let layer = |own, below| directions * own * (directions * below + own);
                3 * layers(units, &layer) * self.window / 4
            }
            Network::Mlp { units, .. } => {
                let first = units.first().map_or(0, |first| first * self.window);
                (first + layers(units, &|own, below| own * below)) / 4
            }
            Network::Dlinear { .. } => self.window * steps / 2,
            Network::Nlinear {} => self.window * steps / 4,
        };
        (products as u64).saturating_mul(self.epochs)
    }
}
