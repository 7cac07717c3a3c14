//! Shows a run to a person or a program: three reporters over the events of a run.
//!
//! Knows events alone, and asks nobody anything. What is shown is made by pure functions from
//! events to lines ([`text`], `lines`, `summary`); the reporters only decide where lines go and
//! when. Only this module and `main.rs` print.
//!
//! | format | while it runs | at its end (tables, summary) |
//! |---|---|---|
//! | `bars` | bars and messages on standard error | standard output |
//! | `plain` | lines on standard output | standard output |
//! | `json` | an object a line on standard output | `run_finished` |
//!
//! A reader that goes away (`runner run … | head`) ends the showing, not the run.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{ColorChoice, ValueEnum};

use crate::event::Event;

mod bars;
mod json;
mod lines;
mod meter;
mod plain;
mod summary;
pub mod table;
pub mod text;

pub use meter::Meter;

/// Shows what happens in a run.
pub trait Reporter {
    /// Shows one event; the last is [`Event::RunFinished`].
    fn event(&mut self, event: &Event);
}

/// How a run is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Bars where standard error is a terminal, else plain lines.
    #[default]
    Auto,
    /// A bar for each running stage, then tables.
    Bars,
    /// Lines, then tables.
    Plain,
    /// One JSON object a line.
    Json,
}

/// Makes the reporter for a format, with colours or without.
pub fn reporter(format: Format, colour: ColorChoice) -> Box<dyn Reporter + Send> {
    let terminal = io::stderr().is_terminal() && !dumb();
    let out = is_coloured(&io::stdout(), colour);
    let err = is_coloured(&io::stderr(), colour);
    match format {
        Format::Auto if terminal => Box::new(bars::Bars::new(out, err)),
        Format::Bars => Box::new(bars::Bars::new(out, err)),
        Format::Auto | Format::Plain => Box::new(plain::Plain::new(io::stdout(), out)),
        Format::Json => Box::new(json::Json::new(io::stdout())),
    }
}

/// Tells whether a stream is to be written to in colour (<https://no-color.org>).
fn is_coloured(stream: &impl IsTerminal, colour: ColorChoice) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match colour {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => stream.is_terminal() && !set("NO_COLOR") && !dumb(),
    }
}

/// Tells whether the terminal knows no control sequences.
fn dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Gives the folder to which paths are shown relative: the working directory. Without one, they are
/// shown whole.
fn base() -> PathBuf {
    std::env::current_dir().unwrap_or_default()
}

/// Writes lines until the reader goes away.
struct Printer<W> {
    out: W,
    closed: bool,
}

impl<W: Write> Printer<W> {
    fn new(out: W) -> Printer<W> {
        Printer { out, closed: false }
    }

    /// Writes the lines and flushes, so that a reader sees them now.
    fn print<S: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = S>) {
        let mut lines = lines.into_iter().peekable();
        if self.closed || lines.peek().is_none() {
            return;
        }
        let written = lines.try_for_each(|line| writeln!(self.out, "{}", line.as_ref()));
        self.closed = written.and_then(|()| self.out.flush()).is_err();
    }
}

/// Lets what comes often through only so often, by stage.
struct Throttle {
    gap: Duration,
    last: std::collections::BTreeMap<String, Duration>,
}

impl Throttle {
    fn new(gap: Duration) -> Throttle {
        Throttle { gap, last: std::collections::BTreeMap::new() }
    }

    /// Tells whether something of `stage` may pass now, and takes note that it does.
    fn pass(&mut self, stage: &str, now: Duration) -> bool {
        if self.last.get(stage).is_some_and(|last| now < *last + self.gap) {
            return false;
        }
        self.note(stage, now);
        true
    }

    /// Starts the gap of `stage` now.
    fn note(&mut self, stage: &str, now: Duration) {
        self.last.insert(stage.to_owned(), now);
    }

    fn forget(&mut self, stage: &str) {
        self.last.remove(stage);
    }
}

/// Measures the time since a reporter was made.
struct Clock(Instant);

impl Clock {
    fn start() -> Clock {
        Clock(Instant::now())
    }

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests;
