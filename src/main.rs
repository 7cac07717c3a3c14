//! Parses arguments, prints the diagnostic, sets the exit code.

use std::io::{BufWriter, Write, stderr, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use runner::cli::{self, Exit};

fn main() -> ExitCode {
    let mut out = BufWriter::new(stdout());
    let mut err = stderr();
    let run = || cli::main(std::env::args_os(), &mut out, &mut err);
    // The panic's own message has been printed by then; what is left is to say whose fault it is.
    let exit = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let _ =
            writeln!(stderr(), "error: this is a mistake in `runner` itself, not in a pipeline");
        Exit::Internal
    });
    // Whoever closed the pipe has read enough.
    let _ = out.flush();
    exit.into()
}
