//! `runner store`: verifies the store, frees room in it, and says what it holds.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CpuArguments, Error, Exit, Session};
use crate::history::History;
use crate::quantity::{parse_duration, parse_size, rounded_size};
use crate::store::collect::{Collected, Limits};
use crate::store::usage::{Amount, Usage};
use crate::store::verify::{Finding, Problem, Verified};
use crate::store::{self, StoreError};

/// The arguments of `runner store`.
#[derive(Args, Debug)]
pub struct Store {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What is done with the store.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Check everything against its digest, and set aside what is damaged
    Verify(Verify),
    /// Remove what nothing needs, and by choice old results
    Gc(Gc),
    /// Say what the store holds, and what `gc` could free
    Stats(Stats),
}

/// The arguments of `runner store verify`.
#[derive(Args, Debug)]
pub struct Verify {
    /// How many CPUs to use.
    #[command(flatten)]
    pub cpus: CpuArguments,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The arguments of `runner store gc`.
///
/// Without a limit it removes only what no result needs. What a pipeline has as it was last is
/// never removed.
#[derive(Args, Debug)]
pub struct Gc {
    /// Keep the results of the last N runs of each pipeline that changed something; alone, remove
    /// all others.
    #[arg(long, value_name = "N")]
    pub keep_runs: Option<std::num::NonZeroUsize>,
    /// Remove other results that are older than this (`30d`, `12h`).
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub older_than: Option<Duration>,
    /// Remove other results, the cheapest to compute again by byte first, until the store is no
    /// larger than this (`10GiB`).
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub max_size: Option<u64>,
    /// Say what would go, and remove nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Reads an age.
fn age(text: &str) -> Result<Duration, String> {
    let way = || "an age is whole numbers with their units, such as `30d` or `12h`".to_owned();
    parse_duration(text).ok_or_else(way)
}

/// Reads a size.
fn size(text: &str) -> Result<u64, String> {
    let way = || "a size is a number with its unit, such as `500MB` or `10GiB`".to_owned();
    parse_size(text).ok_or_else(way)
}

/// The arguments of `runner store stats`.
#[derive(Args, Debug)]
pub struct Stats {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Does what is asked with the store of the root.
///
/// # Errors
///
/// [`Error::Usage`] where there is no store or not one of ours, [`Error::Failed`] where it cannot be
/// read or written.
pub fn run(arguments: &Store, session: &mut Session<'_>) -> Result<Exit, Error> {
    let folder = session.root.join(".runner");
    if !folder.is_dir() {
        return Err(Error::usage(
            format!("there is no store at `{}`", folder.display()),
            "go to the folder of the project, or run a pipeline first",
        ));
    }
    let store = session.store()?;
    match &arguments.action {
        Action::Verify(verify) => verify_store(verify, &store, session),
        Action::Gc(gc) => collect(gc, &store, session),
        Action::Stats(stats) => show_usage(stats, &store, session),
    }
}

fn verify_store(
    arguments: &Verify,
    store: &store::Store,
    session: &mut Session<'_>,
) -> Result<Exit, Error> {
    let verified = store.verify(arguments.cpus.count()).map_err(failed)?;
    let exit = if verified.findings.is_empty() { Exit::Done } else { Exit::Failed };
    if arguments.json {
        writeln!(session.out, "{}", json!(verified))?;
        return Ok(exit);
    }
    for finding in &verified.findings {
        writeln!(session.out, "{}", told(finding))?;
    }
    let Verified { checked, findings } = verified;
    let checked: Vec<String> =
        checked.iter().map(|(kind, amount)| format!("{} {kind}", amount.count)).collect();
    let checked = if checked.is_empty() { "nothing".to_owned() } else { checked.join(", ") };
    match findings.len() {
        0 => writeln!(session.out, "checked {checked}: all sound")?,
        1 => writeln!(session.out, "checked {checked}: 1 problem")?,
        count => writeln!(session.out, "checked {checked}: {count} problems")?,
    }
    if exit == Exit::Failed {
        writeln!(session.out, "  help: the next run makes anew what it needs of them")?;
    }
    Ok(exit)
}

fn told(finding: &Finding) -> String {
    let Finding { thing, path, problem } = finding;
    let path = path.display();
    match problem {
        Problem::Damaged { set_aside } => {
            format!("damaged ({thing}): `{path}`, set aside as `{}`", set_aside.display())
        }
        Problem::Unreadable { message } => format!("unreadable ({thing}): `{path}`: {message}"),
        Problem::Missing { output, digest } => {
            format!("missing: blob {digest}, the output `{output}` of the entry `{path}`")
        }
    }
}

fn collect(arguments: &Gc, store: &store::Store, session: &mut Session<'_>) -> Result<Exit, Error> {
    let durations = History::look(&store.path("history.sqlite")).durations();
    let limits = Limits {
        keep_runs: arguments.keep_runs.map(std::num::NonZeroUsize::get),
        older_than: arguments.older_than,
        max_size: arguments.max_size,
        dry_run: arguments.dry_run,
    };
    let collected = store.collect(&limits, &|one| durations.get(&one).copied()).map_err(failed)?;
    if arguments.json {
        let mut all = json!(collected);
        all["freed"] = json!(collected.bytes());
        all["dry_run"] = json!(arguments.dry_run);
        writeln!(session.out, "{all}")?;
    } else {
        say_collected(arguments, &collected, session)?;
    }
    Ok(Exit::Done)
}

fn say_collected(
    arguments: &Gc,
    collected: &Collected,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    write_amounts(&collected.removed, session)?;
    let freed = if arguments.dry_run { "would free" } else { "freed" };
    let (bytes, left) = (rounded_size(collected.bytes()), rounded_size(collected.left));
    writeln!(session.out, "{freed} {bytes}; {left} stay")?;
    if collected.busy {
        let text = "warning: a run is under way, so only what no run needs was removed\n  \
                    help: call it again when the run has ended\n";
        session.err.write_all(text.as_bytes())?;
    } else if arguments.max_size.is_some_and(|most| collected.left > most) {
        let text = "warning: the store is larger than that: what pipelines have as they were last \
                    stays\n  help: see `runner store stats`; the roots of a pipeline that is no \
                    more are a file in `.runner/roots`, which may be removed\n";
        session.err.write_all(text.as_bytes())?;
    }
    Ok(())
}

fn show_usage(
    arguments: &Stats,
    store: &store::Store,
    session: &mut Session<'_>,
) -> Result<Exit, Error> {
    let usage = store.usage().map_err(failed)?;
    if arguments.json {
        writeln!(session.out, "{}", json!(usage))?;
        return Ok(Exit::Done);
    }
    let Usage { kinds, dropped, roots, collectable } = usage;
    write_amounts(&kinds, session)?;
    let total = kinds.values().map(|amount| amount.bytes).sum();
    writeln!(session.out, "{:<18} {:>8} {:>12}", "total", "", rounded_size(total))?;
    writeln!(
        session.out,
        "{:<18} {:>8} {:>12}  not stored",
        "dropped outputs",
        dropped.count,
        rounded_size(dropped.bytes)
    )?;
    for (pipeline, count) in roots {
        writeln!(session.out, "roots of `{pipeline}`: {count}")?;
    }
    writeln!(
        session.out,
        "`runner store gc --keep-runs 1` could free {}",
        rounded_size(collectable)
    )?;
    Ok(Exit::Done)
}

fn write_amounts<'a>(
    amounts: impl IntoIterator<Item = (&'a &'static str, &'a Amount)>,
    session: &mut Session<'_>,
) -> Result<(), Error> {
    for (kind, amount) in amounts {
        let bytes = rounded_size(amount.bytes);
        writeln!(session.out, "{kind:<18} {:>8} {bytes:>12}", amount.count)?;
    }
    Ok(())
}

fn failed(error: StoreError) -> Error {
    super::store_error(error, |message| Error::Failed { message })
}
