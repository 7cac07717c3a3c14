//! Placeholders in a command: `${inputs.NAME}`, `${outputs.NAME}` and `${with.NAME}`.
//!
//! Knows texts alone; what a placeholder stands for is asked of a closure. All else that looks like
//! one, such as `${HOME}`, is the shell's.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What stands for itself.
    Text(&'a str),
    /// What stands for something else.
    Slot(Slot<'a>),
}

/// A placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot<'a> {
    /// Of which kind the thing is that it names.
    pub kind: SlotKind,
    /// The thing's name.
    pub name: &'a str,
    /// The placeholder as it is written.
    pub text: &'a str,
}

/// What a placeholder names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotKind {
    /// The path of an input.
    Input,
    /// The path to which an output is written.
    Output,
    /// A parameter of the program's own.
    With,
}

const PREFIXES: [(&str, SlotKind); 3] =
    [("${inputs.", SlotKind::Input), ("${outputs.", SlotKind::Output), ("${with.", SlotKind::With)];

/// Cuts a text into its pieces.
pub fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, slot)) = next_slot(rest) {
        pieces.push(Piece::Text(before));
        pieces.push(Piece::Slot(slot));
        rest = &rest[before.len() + slot.text.len()..];
    }
    pieces.push(Piece::Text(rest));
    pieces.retain(|piece| *piece != Piece::Text(""));
    pieces
}

fn next_slot(text: &str) -> Option<(&str, Slot<'_>)> {
    text.match_indices("${").find_map(|(start, _)| {
        let from = &text[start..];
        let (prefix, kind) = PREFIXES.into_iter().find(|(prefix, _)| from.starts_with(prefix))?;
        let end = from.find('}')?;
        let slot = Slot { kind, name: &from[prefix.len()..end], text: &from[..=end] };
        Some((&text[..start], slot))
    })
}

/// Puts values in the places of an argument's placeholders.
///
/// # Errors
///
/// The first error of `value`.
pub fn fill<E>(
    text: &str,
    value: impl Fn(&Slot<'_>) -> Result<OsString, E>,
) -> Result<OsString, E> {
    let mut filled = OsString::new();
    for piece in pieces(text) {
        match piece {
            Piece::Text(text) => filled.push(text),
            Piece::Slot(slot) => filled.push(value(&slot)?),
        }
    }
    Ok(filled)
}

/// Puts values in the places of a shell line's placeholders, each quoted as its place needs it:
/// bare, between double quotes, or between single ones, so that the shell reads it as it is. Several
/// values become as many words, between quotes too.
///
/// # Errors
///
/// The first error of `values`.
pub fn fill_shell<E>(
    line: &str,
    values: impl Fn(&Slot<'_>) -> Result<Vec<OsString>, E>,
) -> Result<OsString, E> {
    let mut filled = OsString::new();
    let mut shell = Shell::default();
    for piece in pieces(line) {
        match piece {
            Piece::Text(text) => {
                shell.read(text);
                filled.push(text);
            }
            Piece::Slot(slot) => {
                let between = match shell.quotes() {
                    Quotes::Bare => " ",
                    Quotes::Single => "' '",
                    Quotes::Double => "\" \"",
                };
                for (index, value) in values(&slot)?.iter().enumerate() {
                    if index > 0 {
                        filled.push(between);
                    }
                    filled.push(quote(value, shell.quotes()));
                }
                shell.previous = 'x';
            }
        }
    }
    Ok(filled)
}

/// Between which quotes a place in a shell line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quotes {
    Bare,
    Single,
    Double,
}

/// How far a shell line has been read: just enough of the shell's grammar to know its quotes.
struct Shell {
    /// The quotes and `$(`…`)` that are open, outermost first.
    open: Vec<Quotes>,
    previous: char,
    comment: bool,
}

impl Default for Shell {
    fn default() -> Shell {
        Shell { open: Vec::new(), previous: ' ', comment: false }
    }
}

impl Shell {
    fn quotes(&self) -> Quotes {
        self.open.last().copied().unwrap_or(Quotes::Bare)
    }

    fn read(&mut self, text: &str) {
        let mut escaped = false;
        for c in text.chars() {
            if self.comment {
                self.comment = c != '\n';
            } else if escaped {
                escaped = false;
            } else if c == '\\' && self.quotes() != Quotes::Single {
                escaped = true;
            } else {
                self.step(c);
            }
            self.previous = c;
        }
    }

    fn step(&mut self, c: char) {
        let word_start = self.previous.is_whitespace() || ";&|(".contains(self.previous);
        match (self.quotes(), c) {
            (Quotes::Single, '\'') | (Quotes::Double, '"') => {
                self.open.pop();
            }
            (Quotes::Bare, '\'') => self.open.push(Quotes::Single),
            (Quotes::Bare, '"') => self.open.push(Quotes::Double),
            (Quotes::Double, '(') if self.previous == '$' => self.open.push(Quotes::Bare),
            (Quotes::Bare, '(') => self.open.push(Quotes::Bare),
            (Quotes::Bare, ')') => {
                self.open.pop();
            }
            (Quotes::Bare, '#') if word_start => self.comment = true,
            (Quotes::Bare | Quotes::Single | Quotes::Double, _) => {}
        }
    }
}

/// Quotes a value for its place; one without special characters stays as it is, to be legible.
fn quote(value: &OsStr, quotes: Quotes) -> OsString {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(byte);
    let bytes = value.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(safe) {
        return value.to_owned();
    }
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    if quotes == Quotes::Bare {
        quoted.push(b'\'');
    }
    for &byte in bytes {
        match (quotes, byte) {
            (Quotes::Bare | Quotes::Single, b'\'') => quoted.extend_from_slice(b"'\\''"),
            (Quotes::Double, b'"' | b'\\' | b'$' | b'`') => quoted.extend([b'\\', byte]),
            _ => quoted.push(byte),
        }
    }
    if quotes == Quotes::Bare {
        quoted.push(b'\'');
    }
    OsString::from_vec(quoted)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_text_is_cut_at_its_placeholders() {
        let slot = |kind, name, text| Piece::Slot(Slot { kind, name, text });
        assert_eq!(
            pieces("--in=${inputs.data.train}${with.a} ${HOME} ${inputs.open"),
            [
                Piece::Text("--in="),
                slot(SlotKind::Input, "data.train", "${inputs.data.train}"),
                slot(SlotKind::With, "a", "${with.a}"),
                Piece::Text(" ${HOME} ${inputs.open"),
            ]
        );
    }

    #[test]
    fn the_shell_reads_values_as_they_are_wherever_they_stand() {
        let line = "# it's a comment\n\
            printf '%s|' ${with.v} \"${with.v}\" '${with.v}' a${with.v}b \\\" ${with.v} \
            \"$(printf '%s' \"${with.v}\"; printf '%s' ${with.v})\" \"(\" ${with.v}";
        for value in ["", "plain/path.csv", "a b", "it's", "\"", "two\nlines", "$HOME `x` \\ ;*~#"]
        {
            let filled = fill_shell(line, |_| Ok::<_, Infallible>(vec![value.into()]));
            let output = Command::new("sh").arg("-c").arg(filled.unwrap()).output().unwrap();
            let expected =
                format!("{value}|{value}|{value}|a{value}b|\"|{value}|{value}{value}|(|{value}|");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{value:?}");
            assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        }
    }
}
