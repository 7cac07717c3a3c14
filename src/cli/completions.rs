//! `runner completions`: a completion script for a shell.

use clap::{Args, CommandFactory};

use super::{Arguments, Error, Exit, Session};

/// The arguments of `runner completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell.
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// Prints the script.
///
/// # Errors
///
/// [`Error::Output`] where standard output cannot be written.
pub fn run(arguments: &Completions, session: &mut Session<'_>) -> Result<Exit, Error> {
    // The generator panics where it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "runner", &mut script);
    session.out.write_all(&script)?;
    Ok(Exit::Done)
}
