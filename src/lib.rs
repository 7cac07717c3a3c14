//! `runner`: a dataflow and job-orchestration engine for machine-learning pipelines.
//!
//! The `mod` lines below are the map of the house, and their order is a rule: a module uses only
//! modules above it. `tests/tidy.rs` reads the `use crate::` lines and fails on one that points
//! down the list. `ARCHITECTURE.md` tells the same story in prose.

#![cfg_attr(not(test), deny(clippy::dbg_macro, clippy::print_stderr, clippy::print_stdout))]
#![warn(missing_docs)]

pub mod quantity;
pub mod random;
pub mod suggest;

pub mod data;
pub mod model;
pub mod study;

pub mod conversion;
pub mod plot;
pub mod stage;

pub mod pipeline;
pub mod plan;
pub mod fingerprint;
pub mod event;
pub mod store;
pub mod history;
pub mod freshness;
pub mod schedule;
pub mod executor;

pub mod report;
pub mod cli;
