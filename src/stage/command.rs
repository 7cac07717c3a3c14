//! The `command` kind: describes any program; `executor/process.rs` runs it.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{OutputSpec, ParamIssue};

/// The version of the kind's results. 1: the first.
pub const VERSION: u32 = 1;

/// The params of a `command` stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The program: a list of arguments, or one line for `sh -c`. `${inputs.NAME}`,
    /// `${outputs.NAME}` and `${with.NAME}` stand for paths and parameters.
    pub run: Program,
    /// The outputs by name, each with its file's name; the program writes them to
    /// `${outputs.NAME}` (`RUNNER_OUTPUT_<NAME>`).
    #[serde(default)]
    pub outputs: IndexMap<String, String>,
    /// Parameters of the program's own: `${with.lr}`, and `RUNNER_PARAM_LR` in its environment.
    #[serde(default)]
    pub with: BTreeMap<String, Value>,
    /// Environment variables that decide the result: `NAME` enters with the value that it has,
    /// `NAME=VALUE` is set.
    #[serde(default)]
    pub env: Vec<String>,
    /// The output that holds a JSON object of metrics.
    #[serde(default)]
    pub metrics: Option<String>,
    /// The folder to run in, relative to the root.
    #[serde(default)]
    pub dir: Option<String>,
}

/// A program and its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Program {
    /// One line for the shell.
    Shell(#[schemars(length(min = 1))] String),
    /// The program and its arguments, with no shell between.
    Arguments(#[schemars(length(min = 1))] Vec<String>),
}

impl Params {
    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        Vec::new()
    }

    /// Gives the declared outputs.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        self.outputs.iter().map(|(name, file)| OutputSpec::new(name, file)).collect()
    }
}
