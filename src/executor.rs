//! To come.

pub mod process;
