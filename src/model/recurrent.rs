//! The pass of a recurrent layer over a whole sequence, forward and backward, on slices of `f32`:
//! one kernel for every [`Cell`] of up to four gates.
//!
//! Back-propagation through time after Graves, *Supervised Sequence Labelling* (2012), section
//! 4.6. As in cuDNN (Appleyard 2016) the gates' weights lie side by side and the gradients of the
//! weights are one product over all steps. Beyond it, weights are packed once a pass so that each
//! product streams them in the order in which they are used (Goto and van de Geijn 2008), and a
//! gate's sums stay in registers from the bias over both products through the cell's update: no
//! sum is ever written to memory.
//!
//! A *slot* is one of the four values that a cell keeps for each unit: sums of gates in the forward
//! pass, activated gates after it, their gradients after the backward pass. A *block* is as many
//! units as a vector of the instruction set has lanes, `L`; `blocks = ceil(units / L)`.
//!
//! | memory | shape | |
//! |---|---|---|
//! | `x` | `[steps, batch, inputs]` | |
//! | `w_input` | `[inputs, gates * units]` | gates side by side, in the cell's order |
//! | `w_recurrent` | `[units, gates * units]` | |
//! | `bias` | `[biases, gates * units]` | |
//! | hidden states | `[steps, batch, units]` | |
//! | slots | `[steps, batch, blocks, 4, L]` | kept for the backward pass, in place |
//! | cells | `[steps, batch, blocks, L]` | the LSTM's alone |
//! | packed weights | `[blocks, inputs or units, gates, L]` | |
//! | turned weights | `[ceil(columns / 2L), blocks, gates, L, 2, L]` | for products with the transpose |
//!
//! Each number is computed by one thread in an order that depends on the shape and the instruction
//! set alone, not on the threads: rows of a batch do not meet in a forward pass or in the recurrence
//! of a backward pass, so any cut between rows gives the same bits; sums over rows are cut between
//! blocks of units. Two instruction sets differ in the last bits: `L` sets the order of some sums, and
//! not every set fuses a multiplication with its addition.
//!
//! Knows nothing of burn.

use pulp::{Arch, Simd, WithSimd};

mod backward;
mod buffer;
mod forward;
mod pack;
pub mod simd;
mod sums;

pub use backward::backward;
use buffer::Buffer;
pub use forward::{Keep, forward};

/// How many values a cell keeps for each unit.
pub const SLOTS: usize = 4;

/// What makes one recurrent layer differ from another: its gates and the update of its state.
pub trait Cell: Copy + Send + Sync + std::fmt::Debug + 'static {
    /// The gate of each slot to which the inputs' product is added, from slot 0 on.
    const INPUT: &'static [usize];
    /// The gate of each slot to which the recurrent product is added, up to slot 3.
    const RECURRENT: &'static [usize];
    /// Rows of the bias: one for both products, or one for each.
    const BIASES: usize;
    /// Whether what goes from step to step beside the products is a cell of its own; else it is
    /// the hidden state.
    const CELLS: bool;

    /// Gives the slots to keep, the hidden state, and the cell (where there is none, anything),
    /// from the slots' sums and the cell or hidden state of the step before.
    fn forward<S: Simd>(
        simd: S,
        sums: [S::f32s; SLOTS],
        before: S::f32s,
    ) -> ([S::f32s; SLOTS], S::f32s, S::f32s);

    /// Gives the slots' gradients, and that of `before` but for the products, from what the forward
    /// pass kept and the gradients of the hidden state and of the cell.
    fn backward<S: Simd>(
        simd: S,
        kept: Kept<S>,
        hidden: S::f32s,
        cell: S::f32s,
    ) -> ([S::f32s; SLOTS], S::f32s);
}

/// What the forward pass kept of one step, for some units of one row.
#[derive(Clone, Copy)]
pub struct Kept<S: Simd> {
    /// The slots.
    pub slots: [S::f32s; SLOTS],
    /// The cell of the step; without cells, 0.
    pub cell: S::f32s,
    /// The cell of the step before, or its hidden state; 0 at the first.
    pub before: S::f32s,
}

/// The sizes of one layer's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "a field is the size of that name")]
pub struct Shape {
    pub steps: usize,
    pub batch: usize,
    pub inputs: usize,
    pub units: usize,
}

/// A layer's weights, gates side by side.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// `[inputs, gates * units]`.
    pub input: &'a [f32],
    /// `[units, gates * units]`.
    pub recurrent: &'a [f32],
    /// `[biases, gates * units]`.
    pub bias: &'a [f32],
}

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Debug)]
pub struct Tape {
    /// The instruction set, on which the layout depends.
    arch: Arch,
    /// `[steps, batch, blocks, 4, L]`.
    slots: Buffer,
    /// `[steps, batch, blocks, L]`, or empty.
    cells: Buffer,
}

/// What the forward pass read and gave, for the backward pass.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// `[steps, batch, inputs]`.
    pub x: &'a [f32],
    /// The weights.
    pub weights: Weights<'a>,
    /// `[steps, batch, units]`.
    pub hidden: &'a [f32],
}

/// Where the backward pass leaves its gradients; what they held before is overwritten.
#[derive(Debug)]
pub struct Gradients<'a> {
    /// `[steps, batch, inputs]`, where it is wanted.
    pub x: Option<&'a mut [f32]>,
    /// `[inputs, gates * units]`.
    pub input: &'a mut [f32],
    /// `[units, gates * units]`.
    pub recurrent: &'a mut [f32],
    /// `[biases, gates * units]`.
    pub bias: &'a mut [f32],
}

/// The sizes of packed memory.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// The lanes of a vector.
    lanes: usize,
    /// Blocks of units.
    blocks: usize,
    /// Gates of the cell.
    gates: usize,
}

impl Layout {
    fn new<C: Cell>(arch: Arch, units: usize) -> Layout {
        let lanes = arch.dispatch(Lanes);
        Layout { lanes, blocks: units.div_ceil(lanes), gates: C::INPUT.len() }
    }

    /// The slots of one row, in numbers.
    fn slots(self) -> usize {
        self.blocks * SLOTS * self.lanes
    }

    /// The cells of one row, in numbers.
    fn cells<C: Cell>(self) -> usize {
        if C::CELLS { self.blocks * self.lanes } else { 0 }
    }

    /// The packed weights of one block and `rows` rows, in numbers.
    fn panel(self, rows: usize) -> usize {
        rows * self.gates * self.lanes
    }
}

/// Asks an instruction set how many lanes its vectors have.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _simd: S) -> usize {
        S::F32_LANES
    }
}

/// The least multiplications and additions that are worth another thread's coming.
const WORTH_SHARING: usize = 1 << 20;

/// Gives how many rows of a batch a piece of shared work has: a whole batch where there is nobody
/// to share with or little to share, else a piece for each thread; with more of them each would
/// bring the weights into its cache again.
fn rows_of_a_piece(batch: usize, operations: usize) -> usize {
    let threads = super::team::size();
    if threads == 1 || operations < WORTH_SHARING {
        return batch;
    }
    let pieces = threads.min(operations.div_ceil(WORTH_SHARING / 2));
    batch.div_ceil(pieces).next_multiple_of(8).min(batch.max(1))
}

#[cfg(test)]
use forward::forward_on;
#[cfg(test)]
mod tests;
