//! The command line: one file per subcommand, each a struct of arguments and a `run`.
//!
//! Nothing here prints: what there is to say goes to the [`Session`]'s writers, which `main` hands
//! in. A subcommand gives an [`Exit`] or an [`Error`], and `main` makes the exit code of it.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;

use clap::{Args, Parser, Subcommand};

use crate::fingerprint::Digest;
use crate::freshness::{self, Freshness, UnreadableInput};
use crate::history::History;
use crate::pipeline::{self, Invalid, Loaded, Look, Pipeline, Settings, Stage};
use crate::plan::Plan;
use crate::store::{Store, StoreError, packed};

pub mod check;
pub mod completions;
pub mod graph;
pub mod listing;
pub mod logs;
pub mod metrics;
pub mod plan;
pub mod predict;
pub mod run;
pub mod runs;
pub mod schema;
pub mod show;
pub mod store;
pub mod terminal;
pub mod trace;
pub mod trials;
pub mod watch;
pub mod why;

/// Runs machine-learning pipelines: stages run when, and only when, what they depend on changed.
#[derive(Debug, Parser)]
#[command(name = "runner", version, max_term_width = 100)]
pub struct Arguments {
    /// What holds for every subcommand.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every subcommand.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Show what goes on inside, on standard error; twice shows more. `RUST_LOG` chooses finely.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Write a trace of the run to this file, for Perfetto or `chrome://tracing`.
    #[arg(long, global = true, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// When to use colours; `auto` is on terminals, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: clap::ColorChoice,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a pipeline: what changed, and what depends on it
    Run(run::Run),
    /// Show what would run, what is cached, and why; write nothing
    Plan(self::plan::Plan),
    /// Explain in full why a stage would run
    Why(why::Why),
    /// Run a pipeline, and again whenever what it reads changes
    Watch(watch::Watch),
    /// List the latest runs
    Runs(runs::Runs),
    /// Show one run: its stages, why each ran, and what they came to
    Show(show::Show),
    /// Print what a command wrote
    Logs(logs::Logs),
    /// List metrics by run with the params that differ, or compare two runs
    Metrics(metrics::Metrics),
    /// List the trials of a tune stage
    Trials(trials::Trials),
    /// Predict from a raw table with a trained model
    Predict(predict::Predict),
    /// Report every mistake of a pipeline file
    Check(check::Check),
    /// Draw the stages and what they read
    Graph(graph::Graph),
    /// Verify the store, free room in it, or say what it holds
    Store(self::store::Store),
    /// Print the JSON Schema of pipeline files, for editors
    Schema(schema::Schema),
    /// Print a completion script for a shell
    Completions(completions::Completions),
}

/// How many CPUs to use.
#[derive(Args, Clone, Copy, Debug)]
pub struct CpuArguments {
    /// How many CPUs to use, at most 1024; all unless given.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

impl CpuArguments {
    /// Gives the number that was given, else that of the CPUs that this process may use.
    fn count(self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.jobs.map_or_else(all, usize::from)
    }
}

/// A pipeline file and the values that the command line sets in it.
#[derive(Args, Clone, Debug)]
pub struct PipelineArguments {
    /// The pipeline file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Set a variable (`rows=1000`) or a param (`train.params.epochs=5`); may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub sets: Vec<String>,
    /// Take variables from this YAML file too; may be repeated, and the last wins.
    #[arg(long, value_name = "FILE")]
    pub vars: Vec<PathBuf>,
}

/// How a run of the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is done.
    Done,
    /// A stage failed, or would fail; or predictions could not be written.
    Failed,
    /// The pipeline or the command line is invalid.
    Invalid,
    /// `plan --exit-code`: something would run.
    Stale,
    /// A mistake of the program itself, or of the machine below it.
    Internal,
    /// Interrupted by the user.
    Interrupted,
}

impl Exit {
    /// Gives the exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Invalid => 2,
            Exit::Stale => 3,
            Exit::Internal => 70,
            Exit::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a subcommand could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The pipeline file has mistakes.
    #[error(transparent)]
    Pipeline(#[from] Invalid),
    /// The command line asks for something that is not there.
    #[error("{message}")]
    Usage {
        /// What is wrong, in lower case.
        message: String,
        /// A way out.
        help: Option<String>,
    },
    /// A file that a stage reads cannot be read: in a run, its stage would fail.
    #[error(transparent)]
    Input(#[from] UnreadableInput),
    /// What was asked for cannot be written.
    #[error("{message}")]
    Failed {
        /// What went wrong, with the path and the act.
        message: String,
    },
    /// What there is to say cannot be written.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// A mistake of the program itself, or of the machine below it.
    #[error("{message}")]
    Internal {
        /// What went wrong, with the path and the act where a file is concerned.
        message: String,
    },
}

impl Error {
    /// Makes an error of the command line with a way out.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Error {
        Error::Usage { message: message.into(), help: Some(help.into()) }
    }

    /// Makes an error of the program itself, or of the machine below it.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::Internal { message: message.into() }
    }
}

/// What subcommands share: where the root is, and whom to speak to.
pub struct Session<'a> {
    /// The folder that paths in pipeline files start from, and that holds `.runner/`.
    pub root: PathBuf,
    /// Standard output: results.
    pub out: &'a mut dyn Write,
    /// Standard error: messages.
    pub err: &'a mut dyn Write,
    /// When to use colours.
    pub color: clap::ColorChoice,
    /// How standard output may look.
    pub out_look: Look,
    /// How standard error may look.
    pub err_look: Look,
}

impl Session<'_> {
    /// Reads and checks a pipeline file, and says its warnings.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, for the caller to hand up.
    pub fn load(&mut self, arguments: &PipelineArguments) -> Result<Arc<Pipeline>, Error> {
        Ok(Arc::new(self.load_kept(arguments)?.pipeline))
    }

    /// Does what [`Session::load`] does, and begins to keep a large pipeline for the next time, on a
    /// thread that is to be joined.
    ///
    /// # Errors
    ///
    /// Every mistake of the file, for the caller to hand up.
    pub fn load_and_keep(
        &mut self,
        arguments: &PipelineArguments,
    ) -> Result<(Arc<Pipeline>, Option<JoinHandle<()>>), Error> {
        let Loaded { pipeline, keeper, .. } = self.load_kept(arguments)?;
        let pipeline = Arc::new(pipeline);
        let keeping = keeper.and_then(|keeper| {
            let (pipeline, folder) = (Arc::clone(&pipeline), self.root.join(".runner"));
            let path = kept_path(&folder, &arguments.file);
            let keep = move || {
                if !Store::is_known(&folder) {
                    return;
                }
                let Some(bytes) = keeper.bytes(&pipeline) else { return };
                if let Err(error) = packed::write(&folder.join("tmp"), &path, KEPT, &bytes) {
                    // The next run checks the file again, and that is all.
                    tracing::warn!("{error}");
                }
            };
            std::thread::Builder::new().name("keep".to_owned()).spawn(keep).ok()
        });
        Ok((pipeline, keeping))
    }

    fn load_kept(&mut self, arguments: &PipelineArguments) -> Result<Loaded, Error> {
        let settings = Settings { sets: arguments.sets.clone(), vars: arguments.vars.clone() };
        let path = kept_path(&self.root.join(".runner"), &arguments.file);
        let kept = packed::read(&path, KEPT);
        let loaded = pipeline::load(&arguments.file, &self.root, &settings, kept.as_deref())?;
        for warning in &loaded.warnings {
            self.err.write_all(warning.render(self.err_look).as_bytes())?;
        }
        Ok(loaded)
    }

    /// Opens the store of the root.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] where it is of another version, [`Error::Internal`] where it cannot be read.
    pub fn store(&self) -> Result<Store, Error> {
        let opened = Store::open(&self.root.join(".runner"));
        opened.map_err(|error| store_error(error, Error::internal))
    }

    /// Says an error, and gives the exit code that it asks for.
    fn report(&mut self, error: &Error) -> Exit {
        let (text, exit) = match error {
            Error::Pipeline(invalid) => (check::describe(invalid, self.err_look), Exit::Invalid),
            Error::Usage { message, help } => (said(message, help.as_deref()), Exit::Invalid),
            Error::Failed { message } => (said(message, None), Exit::Failed),
            Error::Input(input) => (said(&input.to_string(), Some(input.help())), Exit::Failed),
            // Whoever reads our output has read enough.
            Error::Output(error) if error.kind() == ErrorKind::BrokenPipe => return Exit::Done,
            Error::Output(_) | Error::Internal { .. } => {
                (said(&error.to_string(), None), Exit::Internal)
            }
        };
        // Where standard error is gone too, only the exit code is left to tell.
        let _ = self.err.write_all(text.as_bytes());
        exit
    }
}

/// What a kept pipeline says of itself; another number where its form changes.
const KEPT: &str = "runner pipeline 1\n";

/// Gives where the checked pipeline of a file is kept: one for each path that a user gives it.
fn kept_path(folder: &Path, file: &Path) -> PathBuf {
    let name = Digest::of(file.as_os_str().as_encoded_bytes());
    folder.join("pipelines").join(name.to_string())
}

/// Makes the plan for the stages that the command line names.
///
/// # Errors
///
/// [`Error::Usage`] where one of them is no stage.
fn plan_of<'p>(pipeline: &'p Arc<Pipeline>, stages: &[String]) -> Result<Plan<'p>, Error> {
    Plan::new(pipeline, stages).map_err(|unknown| {
        let message = unknown.to_string();
        Error::usage(message, unknown.help)
    })
}

/// Judges the stages that the command line names, with all that they need; writes nothing.
///
/// # Errors
///
/// [`Error::Usage`] where one of them is no stage, [`Error::Input`] where an input cannot be read.
fn judge<'p>(
    pipeline: &'p Arc<Pipeline>,
    stages: &[String],
    session: &Session<'_>,
) -> Result<Vec<(&'p Stage, Freshness)>, Error> {
    let plan = plan_of(pipeline, stages)?;
    let store = session.store()?;
    let history = History::look(&store.path("history.sqlite"));
    Ok(freshness::of_plan(&plan, &session.root, &store, &history)?)
}

/// Makes an error of the store's: a store of another version is for the user to mend, and all else
/// is what `other` makes of it.
fn store_error(error: StoreError, other: impl FnOnce(String) -> Error) -> Error {
    let message = error.to_string();
    match (&error, error.help()) {
        (StoreError::Version { .. }, help) => {
            Error::Usage { message, help: help.map(str::to_owned) }
        }
        (_, Some(help)) => other(format!("{message}\n  help: {help}")),
        (_, None) => other(message),
    }
}

fn said(message: &str, help: Option<&str>) -> String {
    let help = help.map(|help| format!("  help: {help}\n"));
    format!("error: {message}\n{}", help.unwrap_or_default())
}

/// Parses the arguments, does what they ask, and says what went wrong.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return unparsed(&error, out, err),
    };
    let looks = terminal::looks(arguments.global.color);
    let mut session = Session {
        root: PathBuf::new(),
        out,
        err,
        color: arguments.global.color,
        out_look: looks.out,
        err_look: looks.err,
    };
    match dispatch(&arguments, &mut session) {
        Ok(exit) => exit,
        Err(error) => session.report(&error),
    }
}

fn dispatch(arguments: &Arguments, session: &mut Session<'_>) -> Result<Exit, Error> {
    session.root = root()?;
    let _tracing = trace::start(&arguments.global, session.err_look)?;
    let exit = match &arguments.command {
        Command::Run(arguments) => run::run(arguments, session),
        Command::Plan(arguments) => plan::run(arguments, session),
        Command::Why(arguments) => why::run(arguments, session),
        Command::Watch(arguments) => watch::run(arguments, session),
        Command::Runs(arguments) => runs::run(arguments, session),
        Command::Show(arguments) => show::run(arguments, session),
        Command::Logs(arguments) => logs::run(arguments, session),
        Command::Metrics(arguments) => metrics::run(arguments, session),
        Command::Trials(arguments) => trials::run(arguments, session),
        Command::Predict(arguments) => predict::run(arguments, session),
        Command::Check(arguments) => check::run(arguments, session),
        Command::Graph(arguments) => graph::run(arguments, session),
        Command::Store(arguments) => store::run(arguments, session),
        Command::Schema(arguments) => schema::run(arguments, session),
        Command::Completions(arguments) => completions::run(arguments, session),
    }?;
    session.out.flush()?;
    Ok(exit)
}

/// Says what clap says: help and version are results, all else is a mistake of the command line.
fn unparsed<'a>(error: &clap::Error, out: &'a mut dyn Write, err: &'a mut dyn Write) -> Exit {
    let looks = terminal::looks(clap::ColorChoice::Auto);
    let result = error.exit_code() == 0;
    let look = if result { looks.out } else { looks.err };
    let text = error.render();
    let text = if look.colour { text.ansi().to_string() } else { text.to_string() };
    let stream = if result { out } else { err };
    // A reader that has gone needs no help any more.
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    if result { Exit::Done } else { Exit::Invalid }
}

/// Finds the root: the nearest ancestor of the working directory that holds `.runner/`, else the
/// working directory.
///
/// # Errors
///
/// [`Error::Internal`] where there is no working directory.
fn root() -> Result<PathBuf, Error> {
    let here = std::env::current_dir()
        .map_err(|error| Error::internal(format!("cannot find the working directory: {error}")))?;
    let holds_store = |folder: &&Path| folder.join(".runner").is_dir();
    Ok(here.ancestors().find(holds_store).unwrap_or(&here).to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_is_a_result_and_nonsense_a_mistake() {
        let run = |words: &[&str]| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let words = words.iter().map(OsString::from);
            let exit = main(words, &mut out, &mut err);
            (exit, out.is_empty(), err.is_empty())
        };
        assert_eq!(run(&["runner", "--help"]), (Exit::Done, false, true));
        assert_eq!(run(&["runner", "walk"]), (Exit::Invalid, true, false));
    }
}
