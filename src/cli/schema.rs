//! `runner schema`: the JSON Schema of pipeline files, or the reference made of it.

use clap::Args;

use super::{Error, Exit, Session};
use crate::pipeline;

/// The arguments of `runner schema`.
#[derive(Args, Debug)]
pub struct Schema {
    /// Print the reference of kinds and params as Markdown instead.
    #[arg(long)]
    pub markdown: bool,
}

/// Prints the schema.
///
/// # Errors
///
/// [`Error::Output`] where standard output cannot be written.
pub fn run(arguments: &Schema, session: &mut Session<'_>) -> Result<Exit, Error> {
    let text = match arguments.markdown {
        true => pipeline::reference(),
        false => format!("{:#}\n", pipeline::schema::json_schema()),
    };
    session.out.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}
