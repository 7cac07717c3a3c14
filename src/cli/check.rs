//! `runner check`: every mistake of a pipeline file at once.

use clap::Args;

use super::{Error, Exit, PipelineArguments, Session};
use crate::pipeline::{Diagnostic, Invalid, Look};

/// The arguments of `runner check`.
#[derive(Args, Debug)]
pub struct Check {
    /// The pipeline.
    #[command(flatten)]
    pub pipeline: PipelineArguments,
}

/// Checks the file, and says that it is good.
///
/// # Errors
///
/// Every mistake of the file.
pub fn run(arguments: &Check, session: &mut Session<'_>) -> Result<Exit, Error> {
    let pipeline = session.load(&arguments.pipeline)?;
    let count = counted(pipeline.stages.len(), "stage");
    let file = arguments.pipeline.file.display();
    writeln!(session.out, "{file}: pipeline `{}` with {count}, no mistakes", pipeline.name)?;
    Ok(Exit::Done)
}

/// Draws all that is wrong with a file, and counts it at the end.
pub(super) fn describe(invalid: &Invalid, look: Look) -> String {
    let all = invalid.errors.iter().chain(&invalid.warnings);
    let mut text: String = all.map(|diagnostic| diagnostic.render(look) + "\n").collect();
    let errors = counted(invalid.errors.len(), "error");
    let warnings = match invalid.warnings.len() {
        0 => String::new(),
        count => format!(" and {}", counted(count, "warning")),
    };
    let source = invalid.errors.iter().find_map(|Diagnostic { source, .. }| source.as_ref());
    let file = source.map_or(String::new(), |source| format!("{}: ", source.path.display()));
    text.push_str(&format!("{file}{errors}{warnings}; nothing was run\n"));
    text
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}
