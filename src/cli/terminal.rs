//! What the terminals behind standard output and standard error can show.

use std::io::{IsTerminal, stderr, stdout};

use crate::pipeline::Look;

/// How the two streams may look.
#[derive(Clone, Copy, Debug)]
pub struct Looks {
    /// Standard output.
    pub out: Look,
    /// Standard error.
    pub err: Look,
}

/// Finds how the two streams may look.
///
/// Colours: as `--color` says; `auto` is on a terminal that is not `dumb`, unless `NO_COLOR` is set
/// to something (no-color.org). Box-drawing characters: unless the locale, where one is named, or
/// the terminal cannot show them.
pub fn looks(color: clap::ColorChoice) -> Looks {
    let look = |terminal: bool| Look {
        colour: match color {
            clap::ColorChoice::Always => true,
            clap::ColorChoice::Never => false,
            clap::ColorChoice::Auto => terminal && variable("NO_COLOR").is_none() && !is_dumb(),
        },
        unicode: shows_unicode(),
    };
    Looks { out: look(stdout().is_terminal()), err: look(stderr().is_terminal()) }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_dumb() -> bool {
    variable("TERM").is_some_and(|name| name == "dumb")
}

fn shows_unicode() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    let utf8 = locale.is_none_or(|name| {
        let name = name.to_ascii_lowercase();
        name.contains("utf-8") || name.contains("utf8")
    });
    utf8 && variable("TERM").is_none_or(|name| name != "linux" && name != "dumb")
}
