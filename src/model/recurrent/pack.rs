//! Weights in the order in which the products read them.

use super::{Buffer, Cell, Layout, SLOTS, Weights};

/// Packs `[rows, gates * units]` to `[blocks, rows, gates, L]`, of which gate `n` is `order[n]`;
/// lanes behind the last unit are 0.
pub fn panels(layout: Layout, order: &[usize], weights: &[f32], units: usize) -> Buffer {
    let Layout { lanes, blocks, gates } = layout;
    let rows = weights.len() / (gates * units);
    let mut packed = Buffer::take(blocks * layout.panel(rows));
    let mut places = packed.chunks_exact_mut(lanes);
    for block in 0..blocks {
        let (start, end) = (block * lanes, units.min((block + 1) * lanes));
        for row in weights.chunks_exact(gates * units) {
            for (&gate, place) in order.iter().zip(&mut places) {
                let (values, rest) = place.split_at_mut(end - start);
                values.copy_from_slice(&row[gate * units + start..gate * units + end]);
                rest.fill(0.0);
            }
        }
    }
    packed
}

/// Packs the transpose of `[columns, gates * units]` to `[ceil(columns / 2L), blocks, gates, L, 2,
/// L]`, of which gate `n` is `order[n]`; what lies behind the last unit or column is 0.
pub fn turned(layout: Layout, order: &[usize], weights: &[f32], units: usize) -> Buffer {
    let Layout { lanes, blocks, gates } = layout;
    let columns = weights.len() / (gates * units);
    let (pair, depth) = (2 * lanes, blocks * gates * lanes);
    let mut packed = Buffer::zeros(columns.div_ceil(pair) * depth * pair);
    for (column, row) in weights.chunks_exact(gates * units).enumerate() {
        let panel = &mut packed[column / pair * depth * pair..][..depth * pair];
        for block in 0..blocks {
            let (start, end) = (block * lanes, units.min((block + 1) * lanes));
            for (n, &gate) in order.iter().enumerate() {
                let values = &row[gate * units + start..gate * units + end];
                let places = panel[(block * gates + n) * lanes * pair..].chunks_exact_mut(pair);
                for (place, &value) in places.zip(values) {
                    place[column % pair] = value;
                }
            }
        }
    }
    packed
}

/// Packs the bias of each slot to `[blocks, 4, L]`: the sum of those of the products that are
/// added to it.
pub fn bias<C: Cell>(layout: Layout, weights: Weights<'_>, units: usize) -> Buffer {
    let Layout { lanes, blocks, gates } = layout;
    let mut packed = Buffer::zeros(blocks * SLOTS * lanes);
    for (slot, row) in bias_rows::<C>(layout) {
        let bias = &weights.bias[row * units..][..units];
        for (block, bias) in bias.chunks(lanes).enumerate() {
            let place = &mut packed[(block * SLOTS + slot) * lanes..][..bias.len()];
            place.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
        }
    }
    debug_assert_eq!(weights.bias.len(), C::BIASES * gates * units);
    packed
}

/// Lists each slot with each row of the bias, seen as `[biases * gates, units]`, that is added to
/// it.
pub fn bias_rows<C: Cell>(layout: Layout) -> impl Iterator<Item = (usize, usize)> {
    let input = C::INPUT.iter().copied().enumerate();
    let at = SLOTS - layout.gates;
    let recurrent = C::RECURRENT.iter().enumerate();
    let recurrent = recurrent.map(move |(n, gate)| (at + n, layout.gates + gate));
    input.chain(recurrent.filter(|_| C::BIASES == 2))
}
