//! A pipeline file: YAML -> spanned tree -> checked [`Pipeline`]; variables; JSON Schema.
//!
//! Knows the kinds' params and outputs, and nothing of the store or of runs. Only
//! `pipeline/check.rs` can make a [`Pipeline`], so whoever holds one need not check again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::Value;

pub use crate::data::Format;
use crate::stage::{OutputSpec, Params, StageKind};

/// A checked pipeline: data only.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// Its name: the folder of its artifacts.
    pub name: String,
    /// The file as it was read, for messages that point into it.
    pub source: Arc<SourceFile>,
    /// The variables with what `--set` made of them.
    pub vars: BTreeMap<String, Value>,
    /// The stages by name, in the order of the file.
    pub stages: IndexMap<String, Stage>,
}

/// A pipeline file's path and text.
#[derive(Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// The path as the user gave it.
    pub path: PathBuf,
    /// Its whole text.
    pub text: String,
}

/// One named node of a pipeline.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its params, which also say its kind.
    pub params: Params,
    /// What it reads, by full name: `data`, or `data.train` for one part of a whole stage. Those of
    /// a tune are its base's.
    pub inputs: BTreeMap<String, Input>,
    /// Stages that must be done before it, though it reads nothing of theirs.
    pub needs: Vec<String>,
    /// What it gives; a tune gives its base's outputs and its own.
    pub outputs: Vec<OutputSpec>,
    /// Outputs that are also written under `artifacts/<pipeline>/`, by output.
    pub exports: IndexMap<String, Export>,
    /// How it is executed; never part of its fingerprint.
    pub options: Options,
    /// The variables from which each of its params came, by the param's dotted path.
    pub variables: BTreeMap<String, Vec<String>>,
    /// Where its name stands in the file, in bytes.
    pub place: Range<usize>,
}

impl Stage {
    /// Gives what the stage does.
    pub fn kind(&self) -> StageKind {
        self.params.kind()
    }
}

/// One file that a stage reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Where it comes from.
    pub from: Source,
    /// The format that the stage asked for (`as: csv`); unless given, the file as it is.
    pub format: Option<Format>,
}

/// Where an input comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An output of another stage.
    Output {
        /// That stage.
        stage: String,
        /// That output.
        output: String,
    },
    /// A file of the user's; relative to the root, or absolute.
    File(PathBuf),
}

/// An output under the name that the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The file's path under `artifacts/<pipeline>/`.
    pub file: PathBuf,
    /// The format to convert to, where that is not the output's own.
    pub format: Option<Format>,
}

/// Options of execution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// What the stage is for.
    pub description: Option<String>,
    /// Labels of the user's.
    pub tags: Vec<String>,
}
