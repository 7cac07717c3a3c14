//! What the subcommands that look at the history share: opening it, finding a run, and writing a
//! table for people, as JSON or as CSV.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;
use serde_json::Value;

use super::{Error, Session};
use crate::history::records::{Records, RunRecord, Unreadable};
use crate::pipeline::{Pipeline, Stage};
use crate::report::table::Table;

/// How a listing is written.
#[derive(Args, Clone, Copy, Debug)]
pub struct Output {
    /// Print one JSON document.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print comma-separated values under a line of column names.
    #[arg(long)]
    pub csv: bool,
}

impl Output {
    /// Says whether people read it.
    pub fn is_for_people(self) -> bool {
        !self.json && !self.csv
    }
}

/// A run as the command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunName {
    /// By its number.
    Id(i64),
    /// So many before the last.
    Last(u32),
}

impl FromStr for RunName {
    type Err = String;

    fn from_str(text: &str) -> Result<RunName, String> {
        let last = |rest: &str| match rest {
            "" => Some(0),
            rest => rest.strip_prefix('~')?.parse().ok(),
        };
        let named = match text.strip_prefix("last") {
            Some(rest) => last(rest).map(RunName::Last),
            None => text.parse().ok().filter(|id| *id > 0).map(RunName::Id),
        };
        named.ok_or_else(|| "a run is a number, `last`, or `last~2` for two before it".to_owned())
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunName::Id(id) => write!(formatter, "{id}"),
            RunName::Last(0) => formatter.write_str("last"),
            RunName::Last(before) => write!(formatter, "last~{before}"),
        }
    }
}

/// Opens the history; `None` where nothing has run yet.
///
/// # Errors
///
/// Where there is one that cannot be read.
pub fn open(session: &Session<'_>) -> Result<Option<Records>, Error> {
    Ok(Records::open(&session.root.join(".runner/history.sqlite"))?)
}

/// Finds the one stage that the command line names.
///
/// # Errors
///
/// [`Error::Usage`] where there is none, or where the name means several combinations of a matrix.
pub fn one_stage<'p>(pipeline: &'p Arc<Pipeline>, name: &str) -> Result<&'p Stage, Error> {
    super::plan_of(pipeline, &[name.to_owned()])?;
    match pipeline.select(name).as_slice() {
        [only] => Ok(only),
        several => {
            let names: Vec<String> =
                several.iter().take(5).map(|stage| format!("`{}`", stage.name)).collect();
            Err(Error::usage(
                format!("`{name}` means {} stages", several.len()),
                format!("name one of them, such as {}", names.join(", ")),
            ))
        }
    }
}

/// Says that nothing has run yet, for people.
///
/// # Errors
///
/// Where it cannot be written.
pub fn say_nothing_ran(session: &mut Session<'_>, what: &str) -> Result<(), Error> {
    writeln!(session.err, "{what} has run here yet: the history is empty")?;
    Ok(())
}

/// Finds a run: of one pipeline, or of all.
///
/// # Errors
///
/// [`Error::Usage`] where there is none.
pub fn find(
    records: Option<&Records>,
    pipeline: Option<&str>,
    name: RunName,
) -> Result<RunRecord, Error> {
    let found = match (records, name) {
        (None, _) => None,
        (Some(records), RunName::Id(id)) => records.run(id)?,
        (Some(records), RunName::Last(before)) => records.run_before(pipeline, before)?,
    };
    let of = pipeline.map(|name| format!(" of pipeline `{name}`")).unwrap_or_default();
    match found {
        Some(run) if pipeline.is_none_or(|name| name == run.pipeline) => Ok(run),
        Some(run) => Err(Error::usage(
            format!("run {} is no run{of}: it is one of `{}`", run.id, run.pipeline),
            "`runner runs FILE` lists the runs of a pipeline",
        )),
        None => Err(Error::usage(
            format!("there is no run `{name}`{of}"),
            "`runner runs` lists the latest runs",
        )),
    }
}

/// Writes a listing: a table for people or as CSV, else a JSON document.
///
/// # Errors
///
/// Where it cannot be written.
pub fn write(
    output: Output,
    table: &Table,
    document: impl FnOnce(&Table) -> Value,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    match output {
        Output { json: true, .. } => writeln!(session.out, "{}", document(table))?,
        Output { csv: true, .. } => session.out.write_all(table.csv().as_bytes())?,
        _ => write_lines(&table.lines(session.out_look.colour), session)?,
    }
    Ok(())
}

/// Writes lines for people.
///
/// # Errors
///
/// Where they cannot be written.
pub fn write_lines(lines: &[String], session: &mut Session<'_>) -> Result<(), Error> {
    for line in lines {
        writeln!(session.out, "{line}")?;
    }
    Ok(())
}

impl From<Unreadable> for Error {
    fn from(error: Unreadable) -> Error {
        Error::Failed { message: format!("{error}\n  help: {}", error.help()) }
    }
}

#[cfg(test)]
mod tests {
    use super::RunName;

    #[test]
    fn a_run_has_a_number_or_is_counted_from_the_last() {
        let read = |text: &str| text.parse::<RunName>().ok();
        assert_eq!(read("12"), Some(RunName::Id(12)));
        assert_eq!(read("last"), Some(RunName::Last(0)));
        assert_eq!(read("last~2"), Some(RunName::Last(2)));
        for wrong in ["", "0", "-1", "lastly", "last~", "last~-1", "first"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
