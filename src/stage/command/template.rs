//! Placeholders in a command: `${inputs.NAME}`, `${outputs.NAME}` and `${with.NAME}`.
//!
//! Knows texts alone; what a placeholder stands for is asked of a closure. All else that looks like
//! one, such as `${HOME}`, is the shell's.

use std::ffi::OsString;

mod shell;

use shell::Shell;

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

/// Puts values in the places of a shell line's placeholders, each quoted as its place needs it, so that
/// the shell reads it as it is: bare, between quotes or backticks, or in a here-document. Several values
/// become as many words, between quotes too.
///
/// # Errors
///
/// The first error of `values`.
pub fn fill_shell<E>(
    line: &str,
    values: impl Fn(&Slot<'_>) -> Result<Vec<OsString>, E>,
) -> Result<OsString, E> {
    let mut filled = OsString::new();
    let mut shell = Shell::new();
    for piece in pieces(line) {
        match piece {
            Piece::Text(text) => {
                shell.read(text);
                filled.push(text);
            }
            Piece::Slot(slot) => filled.push(shell.put(&values(&slot)?)),
        }
    }
    Ok(filled)
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

    #[test]
    fn here_documents_and_backticks_hold_values_as_they_are() {
        let line = "# <<NO\ncat <<END; echo $((1<<3)) $(( (1<<2) )) \"<<NO\"\n\t${with.v} '${with.v}' \"${with.v}\"\n\
            END\ncat <<-'A B' <<\\E2\nit's\n\tA B\n$no ${with.v}\nE2\n\
            x=`printf %s ${with.v}`; printf '%s|' \"$x\" \"`printf %s ${with.v} \"${with.v}\"`\" ${with.v}";
        for value in ["", "plain/path.csv", "it's", "\"", "$HOME`x`\\;*~#", "\\$x", "END"] {
            let filled = fill_shell(line, |_| Ok::<_, Infallible>(vec![value.into()]));
            for shell in ["sh", "bash"] {
                let filled = filled.clone().unwrap();
                let output = Command::new(shell).arg("-c").arg(&filled).output().unwrap();
                let expected = format!(
                    "\t{value} '{value}' \"{value}\"\n8 4 <<NO\n$no {value}\n{value}|{value}{value}|{value}|"
                );
                let found = String::from_utf8_lossy(&output.stdout).into_owned();
                assert_eq!(found, expected, "{value:?} in {shell}: {filled:?}");
                assert_eq!(String::from_utf8_lossy(&output.stderr), "");
            }
        }
    }
}
