//! Where `tracing` spans go: to standard error for `-v` and `RUST_LOG`, to a file for `--trace`.

use std::fs::File;
use std::io::{BufWriter, stderr};

use tracing_chrome::{ChromeLayerBuilder, FlushGuard};
use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{EnvFilter, Layer, fmt, registry};

use super::{Error, Global};
use crate::pipeline::Look;

/// Keeps the trace going; its drop writes the file's end.
#[must_use = "the trace ends when this is dropped"]
pub struct Tracing {
    _chrome: Option<FlushGuard>,
}

/// Starts what `-v`, `RUST_LOG` and `--trace` ask for.
///
/// # Errors
///
/// [`Error::Usage`] where the trace's file cannot be written or `RUST_LOG` cannot be read.
pub fn start(global: &Global, look: Look) -> Result<Tracing, Error> {
    let log = filter(global.verbose)?.map(|filter| {
        fmt::layer()
            .with_writer(stderr)
            .with_ansi(look.colour)
            .with_span_events(FmtSpan::CLOSE)
            .with_filter(filter)
    });
    let (chrome, guard) = match &global.trace {
        None => (None, None),
        Some(path) => {
            let file = File::create(path).map_err(|error| {
                let message = format!("cannot write the trace `{}`: {error}", path.display());
                Error::usage(message, "name a file in a folder that exists")
            })?;
            let builder = ChromeLayerBuilder::new().writer(BufWriter::new(file)).include_args(true);
            let (layer, guard) = builder.build();
            (Some(layer), Some(guard))
        }
    };
    if log.is_some() || chrome.is_some() {
        // Tests may have set a subscriber before; theirs stays.
        let _ = registry().with(log).with(chrome).try_init();
    }
    Ok(Tracing { _chrome: guard })
}

fn filter(verbose: u8) -> Result<Option<EnvFilter>, Error> {
    let asked = std::env::var("RUST_LOG").ok().filter(|asked| !asked.is_empty());
    let directives = match (asked, verbose) {
        (Some(asked), _) => asked,
        (None, 0) => return Ok(None),
        (None, 1) => "runner=info".to_owned(),
        (None, 2) => "runner=debug".to_owned(),
        (None, _) => "runner=trace".to_owned(),
    };
    EnvFilter::try_new(&directives).map(Some).map_err(|error| {
        let message = format!("`RUST_LOG={directives}` cannot be read: {error}");
        Error::usage(message, "write `RUST_LOG=runner=debug`")
    })
}
