//! Parses arguments, prints the diagnostic, sets the exit code.

fn main() {}
