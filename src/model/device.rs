//! What computes a training: burn's `flex` backend, or libtorch under the feature `tch`.
//!
//! Knows nothing of networks: it opens a device, and says where a build has none. The two give
//! results that agree and differ in their last bits, so which one it was is a param of a training.
//! A model's file does not say it, and predicts on `flex` wherever it came from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What computes a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Device {
    /// The kernels of `runner` itself.
    #[default]
    Cpu,
    /// libtorch on the CPU, in a build with the feature `tch`.
    Libtorch,
}

impl Device {
    /// Opens the device for tensors of the thread that asks; `None` where the build has none.
    ///
    /// libtorch gets one thread, since a result must not depend on how many it had. It holds that
    /// number for each thread that calls it, so each step of a training asks anew.
    pub fn open(self) -> Option<burn::tensor::Device> {
        match self {
            Device::Cpu => Some(burn::tensor::Device::flex()),
            Device::Libtorch => libtorch(),
        }
    }
}

#[cfg(feature = "tch")]
fn libtorch() -> Option<burn::tensor::Device> {
    tch::set_num_threads(1);
    #[expect(deprecated, reason = "burn 0.23 has it no more; burn stays at 0.22 for it")]
    Some(burn::tensor::Device::libtorch())
}

#[cfg(not(feature = "tch"))]
fn libtorch() -> Option<burn::tensor::Device> {
    None
}
