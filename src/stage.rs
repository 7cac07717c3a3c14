//! What a stage can do: one file per kind, and the enum that names them.
//!
//! A kind is a params struct (from which the checker, the JSON Schema and the README's reference
//! are made), a `version`, the inputs that it declares, the outputs that it gives, checks that one
//! field alone cannot express, and `run(params, context)`. A kind knows nothing of pipelines,
//! fingerprints, the store or the schedule: it is handed paths to read, a folder to write to, and
//! a [`Progress`] to speak to.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::DataError;

pub mod command;
pub mod evaluate;
pub mod generate;
pub mod preprocess;
pub mod train;
pub mod tune;

/// What a stage does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum StageKind {
    /// Makes a data set.
    Generate,
    /// Encodes, scales and splits a table.
    Preprocess,
    /// Trains a network.
    Train,
    /// Searches the parameters of another stage.
    Tune,
    /// Scores a model beside baselines.
    Evaluate,
    /// Runs any program.
    Command,
}

impl StageKind {
    /// Every kind, in the order in which the documentation lists them.
    pub const ALL: [StageKind; 6] = [
        StageKind::Generate,
        StageKind::Preprocess,
        StageKind::Train,
        StageKind::Tune,
        StageKind::Evaluate,
        StageKind::Command,
    ];

    /// Gives the word for this kind in a pipeline file.
    pub fn name(self) -> &'static str {
        match self {
            StageKind::Generate => "generate",
            StageKind::Preprocess => "preprocess",
            StageKind::Train => "train",
            StageKind::Tune => "tune",
            StageKind::Evaluate => "evaluate",
            StageKind::Command => "command",
        }
    }

    /// Finds the kind of that name.
    pub fn from_name(name: &str) -> Option<StageKind> {
        StageKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Gives the version of the kind's results: it enters every fingerprint.
    ///
    /// Bump a kind's `VERSION` (the history stands beside it) when its outputs change.
    pub fn version(self) -> u32 {
        match self {
            StageKind::Generate => generate::VERSION,
            StageKind::Preprocess => preprocess::VERSION,
            StageKind::Train => train::VERSION,
            StageKind::Tune => tune::VERSION,
            StageKind::Evaluate => evaluate::VERSION,
            StageKind::Command => command::VERSION,
        }
    }

    /// Gives the JSON Schema of the kind's params, made from their Rust type.
    pub fn params_schema(self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        match self {
            StageKind::Generate => generator.subschema_for::<generate::Params>(),
            StageKind::Preprocess => generator.subschema_for::<preprocess::Params>(),
            StageKind::Train => generator.subschema_for::<train::Params>(),
            StageKind::Tune => generator.subschema_for::<tune::Params>(),
            StageKind::Evaluate => generator.subschema_for::<evaluate::Params>(),
            StageKind::Command => generator.subschema_for::<command::Params>(),
        }
    }

    /// Gives the inputs that the kind declares; `command` takes any names.
    pub fn inputs(self) -> &'static [InputSpec] {
        match self {
            StageKind::Generate | StageKind::Tune | StageKind::Command => &[],
            StageKind::Preprocess => preprocess::INPUTS,
            StageKind::Train => train::INPUTS,
            StageKind::Evaluate => evaluate::INPUTS,
        }
    }
}

/// An input that a kind declares.
#[derive(Clone, Copy, Debug)]
pub struct InputSpec {
    /// The key under `inputs:`.
    pub name: &'static str,
    /// Whether the stage cannot do without it.
    pub required: bool,
    /// Of a whole stage, the outputs that are read: they enter as `name.part`. Empty where the
    /// input is one file.
    pub parts: &'static [&'static str],
    /// One line for the documentation.
    pub doc: &'static str,
}

/// An output that a stage gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputSpec {
    /// The name by which other stages refer to it.
    pub name: String,
    /// Its file's name within the stage's folder, such as `train.parquet`.
    pub file: String,
}

impl OutputSpec {
    fn new(name: &str, file: &str) -> OutputSpec {
        OutputSpec { name: name.to_owned(), file: file.to_owned() }
    }
}

/// The checked params of a stage, with every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "a variant is its kind's params")]
pub enum Params {
    Generate(generate::Params),
    Preprocess(preprocess::Params),
    Train(train::Params),
    Tune(tune::Params),
    Evaluate(evaluate::Params),
    Command(command::Params),
}

/// A mistake in params that their types cannot express, by its place within `params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamIssue {
    /// The dotted path within `params`, such as `split.train`; empty for the whole.
    pub path: String,
    /// What is wrong, in lower case.
    pub message: String,
    /// A way out.
    pub help: Option<String>,
}

impl ParamIssue {
    /// Makes an issue at `path` with a way out.
    pub fn new(path: &str, message: impl Into<String>, help: impl Into<String>) -> ParamIssue {
        ParamIssue { path: path.to_owned(), message: message.into(), help: Some(help.into()) }
    }
}

impl Params {
    /// Reads the params of `kind` from a value that its schema has accepted.
    ///
    /// # Errors
    ///
    /// The words of serde, where the value does not fit the type.
    pub fn from_value(kind: StageKind, value: Value) -> Result<Params, serde_json::Error> {
        Ok(match kind {
            StageKind::Generate => Params::Generate(serde_json::from_value(value)?),
            StageKind::Preprocess => Params::Preprocess(serde_json::from_value(value)?),
            StageKind::Train => Params::Train(serde_json::from_value(value)?),
            StageKind::Tune => Params::Tune(serde_json::from_value(value)?),
            StageKind::Evaluate => Params::Evaluate(serde_json::from_value(value)?),
            StageKind::Command => Params::Command(serde_json::from_value(value)?),
        })
    }

    /// Gives the params as JSON with every default filled in: what the fingerprint hashes.
    pub fn to_value(&self) -> Value {
        let value = match self {
            Params::Generate(params) => serde_json::to_value(params),
            Params::Preprocess(params) => serde_json::to_value(params),
            Params::Train(params) => serde_json::to_value(params),
            Params::Tune(params) => serde_json::to_value(params),
            Params::Evaluate(params) => serde_json::to_value(params),
            Params::Command(params) => serde_json::to_value(params),
        };
        // Params are plain data with string keys, which JSON can always hold.
        value.expect("params serialize to JSON")
    }

    /// Gives the kind that these params are of.
    pub fn kind(&self) -> StageKind {
        match self {
            Params::Generate(_) => StageKind::Generate,
            Params::Preprocess(_) => StageKind::Preprocess,
            Params::Train(_) => StageKind::Train,
            Params::Tune(_) => StageKind::Tune,
            Params::Evaluate(_) => StageKind::Evaluate,
            Params::Command(_) => StageKind::Command,
        }
    }

    /// Says how long an action with these params takes beside one with others of the same kind, in
    /// no unit: a guess, on which no result depends. 0 where nothing is known.
    pub fn work(&self) -> u64 {
        match self {
            Params::Train(params) => params.work(),
            _ => 0,
        }
    }

    /// Finds the mistakes that a field's type and range cannot express.
    pub fn check(&self) -> Vec<ParamIssue> {
        match self {
            Params::Generate(params) => params.check(),
            Params::Preprocess(params) => params.check(),
            Params::Train(params) => params.check(),
            Params::Tune(params) => params.check(),
            Params::Evaluate(params) => params.check(),
            Params::Command(params) => params.check(),
        }
    }

    /// Gives the outputs of a stage with these params; of a tune, those beside its base's.
    pub fn outputs(&self) -> Vec<OutputSpec> {
        match self {
            Params::Generate(params) => params.outputs(),
            Params::Preprocess(params) => params.outputs(),
            Params::Train(params) => params.outputs(),
            Params::Tune(params) => tune::own_outputs(Some(params)),
            Params::Evaluate(params) => params.outputs(),
            Params::Command(params) => params.outputs(),
        }
    }
}

/// What a running kind is handed: paths to read, a folder to write to, and somebody to speak to.
pub struct Context<'a> {
    /// The file of each input, by its full name: `data`, or `data.train` for a part.
    pub inputs: &'a BTreeMap<String, PathBuf>,
    /// A fresh folder for the outputs, each under the file name of its [`OutputSpec`].
    pub outputs: &'a Path,
    /// A folder of this action's own that outlives a kill; it need not exist yet.
    pub checkpoint: &'a Path,
    /// How many threads may work at once; the outputs must not depend on it.
    pub threads: usize,
    /// Who listens.
    pub progress: &'a dyn Progress,
}

impl Context<'_> {
    /// Gives the path of a declared input.
    ///
    /// # Errors
    ///
    /// A failure where the pipeline did not give that input.
    pub fn input(&self, name: &str) -> Result<&Path, Stop> {
        match self.inputs.get(name) {
            Some(path) => Ok(path),
            None => Err(Failure::new(format!("the input `{name}` was not given")).into()),
        }
    }
}

/// What a running kind says, and is told. Calls come from any thread.
pub trait Progress: Sync {
    /// Says that `done` of `total` units (rows, epochs) are done. Breaks when the run is being
    /// cancelled: stop soon, at a point from which a later run can go on, with [`Stop::Cancelled`].
    fn count(&self, unit: &'static str, done: u64, total: u64) -> ControlFlow<()>;

    /// Reports the intermediate metrics of step `step` (from 1). Breaks with the reason for which
    /// to stop: cancelled, or pruned by a study.
    fn step(&self, step: u64, metrics: &BTreeMap<String, f64>) -> ControlFlow<Stop>;

    /// Says something that a person should know; the run goes on.
    fn warn(&self, message: String);
}

/// What a finished action says beside its outputs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Finished {
    /// Scalar results by name, such as `validation_loss`.
    pub metrics: BTreeMap<String, f64>,
}

/// Why an action ended without outputs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Stop {
    /// It cannot be done.
    #[error("{0}")]
    Failed(Failure),
    /// The run is being cancelled.
    #[error("cancelled")]
    Cancelled,
    /// A study decided that it is not worth going on.
    #[error("pruned")]
    Pruned,
}

/// A failed action: an outcome that is reported, not an error of the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What went wrong, in lower case, with its place.
    pub message: String,
    /// A way out.
    pub help: Option<String>,
    /// Whether the same action would fail in the same way again (a NaN loss), so that the failure
    /// may be recorded and hit.
    pub deterministic: bool,
    /// Where the whole log of a command lies.
    pub log: Option<PathBuf>,
    /// The last lines of that log.
    pub log_tail: Vec<String>,
}

impl Failure {
    /// Makes a failure that another try might not see.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure {
            message: message.into(),
            help: None,
            deterministic: false,
            log: None,
            log_tail: Vec::new(),
        }
    }

    /// Adds a way out.
    pub fn help(mut self, help: impl Into<String>) -> Failure {
        self.help = Some(help.into());
        self
    }

    /// Says that the same action would fail in the same way again.
    pub fn deterministic(mut self) -> Failure {
        self.deterministic = true;
        self
    }
}

impl From<DataError> for Stop {
    fn from(error: DataError) -> Stop {
        if matches!(error, DataError::Cancelled) {
            return Stop::Cancelled;
        }
        let mut failure = Failure::new(error.to_string());
        failure.help = error.help().map(str::to_owned);
        failure.deterministic = error.deterministic();
        Stop::Failed(failure)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// Runs an action of a built-in kind to its end on the calling thread.
///
/// `tune` and `command` are not run here: the executor asks and tells a study, and starts
/// processes.
///
/// # Errors
///
/// [`Stop`] says why there are no outputs.
pub fn run(params: &Params, context: &Context<'_>) -> Result<Finished, Stop> {
    match params {
        Params::Generate(params) => generate::run(params, context),
        Params::Preprocess(params) => preprocess::run(params, context),
        Params::Train(params) => train::run(params, context),
        Params::Evaluate(params) => evaluate::run(params, context),
        Params::Tune(_) | Params::Command(_) => {
            unreachable!("the executor runs tune and command stages itself")
        }
    }
}
