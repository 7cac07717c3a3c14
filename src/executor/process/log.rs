//! The end of a command's log, as a person reads it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Lines that a failure shows.
const LINES: usize = 20;

/// Characters of a line that it shows.
const WIDTH: usize = 400;

/// Bytes from the end that are looked at.
const BYTES: u64 = 64 * 1024;

/// Gives the last lines of a log; none where it cannot be read, since the failure that wants them
/// names the log beside.
pub fn last_lines(log: &Path) -> Vec<String> {
    let text = read_end(log).unwrap_or_default();
    let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].to_vec()
}

fn read_end(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Takes out what would move the cursor or set colours. Of a line that was drawn over and over,
/// as progress bars are, what was drawn last is left.
fn clean(line: &str) -> String {
    let drawn = line.trim_end().rsplit('\r').next().unwrap_or_default();
    let mut clean = String::new();
    let mut characters = drawn.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\x1b' {
            skip_escape(&mut characters);
        } else if c == '\t' || !c.is_control() {
            clean.push(c);
        }
    }
    match clean.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &clean[..end]),
        None => clean,
    }
}

/// Skips an ANSI control sequence: `[`, parameters, and a final byte from `@` to `~`.
fn skip_escape(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    if characters.next_if_eq(&'[').is_some() {
        let _ = characters.find(|c| ('@'..='~').contains(c));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::last_lines;

    #[test]
    fn the_last_lines_are_clean_and_short() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let early: String = (0..50).map(|line| format!("line {line}\n")).collect();
        fs::write(&log, early + "10 %\r20 %\n\x1b[31mred\x1b[0m\x07\n\n" + &"x".repeat(500))
            .unwrap();
        let lines = last_lines(&log);
        assert_eq!(lines.len(), 20);
        assert_eq!(lines[0], "line 33");
        assert_eq!(lines[17..19], ["20 %", "red"]);
        assert_eq!(lines[19], "x".repeat(400) + "…");
    }
}
