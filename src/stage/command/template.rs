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
/// It knows no backticks within backticks and no `case` patterns without their `(` within `$(`…`)`.
///
/// # Errors
///
/// The first error of `values`; that of `misplaced` for a value that would end the here-document in
/// which it stands.
pub fn fill_shell<E>(
    line: &str,
    values: impl Fn(&Slot<'_>) -> Result<Vec<OsString>, E>,
    misplaced: impl Fn(&Slot<'_>) -> E,
) -> Result<OsString, E> {
    let mut filled = OsString::new();
    let mut shell = Shell::new();
    for piece in pieces(line) {
        match piece {
            Piece::Text(text) => {
                shell.read(text);
                filled.push(text);
            }
            Piece::Slot(slot) => {
                filled.push(shell.put(&values(&slot)?).ok_or_else(|| misplaced(&slot))?);
            }
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
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

    /// Fills a line with a value in all its places, and gives what two shells print.
    fn printed(line: &str, value: &str) -> Result<[String; 2], String> {
        let filled = fill_shell(
            line,
            |_| Ok(vec![value.into()]),
            |slot| format!("{} is misplaced", slot.text),
        )?;
        Ok(["sh", "bash"].map(|shell| {
            let output = Command::new(shell).arg("-c").arg(&filled).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(error, "", "{value:?} in {shell}: {filled:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        }))
    }

    const VALUES: [&str; 9] = [
        "",
        "plain/path.csv",
        "a b",
        "it's",
        "\"",
        "two\nlines",
        "$HOME `x` \\ ;*~#",
        "\\$x\\\"y\\\\",
        "x; echo y",
    ];

    fn assert_printed(line: &str, expected: impl Fn(&str) -> String) {
        for value in VALUES {
            let expected = expected(value);
            assert_eq!(printed(line, value), Ok([expected.clone(), expected]), "{value:?}");
        }
    }

    #[test]
    fn the_shell_reads_values_as_they_are_wherever_they_stand() {
        let line = "# it's a comment\n\
            printf '%s|' ${with.v} \"${with.v}\" '${with.v}' a${with.v}b \\\" ${with.v} \
            \"$(printf '%s' \"${with.v}\"; printf '%s' ${with.v})\" \"(\" ${with.v}";
        assert_printed(line, |value| {
            format!("{value}|{value}|{value}|a{value}b|\"|{value}|{value}{value}|(|{value}|")
        });
        let line = "printf '%s|' \"\\$(${with.v})\" a\\ #b ${with.v}";
        assert_printed(line, |value| format!("$({value})|a #b|{value}|"));
    }

    #[test]
    fn here_documents_hold_values_as_they_are() {
        let line = "# <<NO\ncat <<END; echo $((1<<3)) $(( (1<<2) )) \"<<NO\"\n\
            \t-${with.v} '${with.v}' \"${with.v}\"\n$(printf %s ${with.v} \"`printf %s '${with.v}'`\")\n\
            END\ncat <<-'A B' << -E2\nit's\n\tA B\n\\$no ${with.v}.\n-E2\n\
            ( (cat <<END\nit's -${with.v}\nEND\n) | cat)\nprintf '%s\\n' ${with.v}";
        assert_printed(line, |value| {
            format!(
                "\t-{value} '{value}' \"{value}\"\n{value}{value}\n8 4 <<NO\n$no {value}.\nit's -{value}\n{value}\n"
            )
        });
        let literal = "cat <<'END'\n${with.v}.`$x\\\nEND\nprintf '%s\\n' ${with.v}";
        assert_printed(literal, |value| format!("{value}.`$x\\\n{value}\n"));
    }

    #[test]
    fn backticks_hold_values_as_they_are() {
        let line = "x=`printf '%s|' ${with.v} \"${with.v}\" '${with.v}' # it's`\n\
            printf '%s.' \"$x\" \"`printf %s \\\"${with.v}\\\"`\" \"`printf %s \"${with.v}\"`\" ${with.v}";
        assert_printed(line, |value| format!("{value}|{value}|{value}|.{value}.{value}.{value}."));
        let document = "x=`cat <<END\n-${with.v}\nEND\n`; y=`cat <<'END'\n-${with.v}\nEND\n`\n\
            printf '%s.' \"$x\" \"$y\" `id >/dev/null`#\"${with.v}\"";
        assert_printed(document, |value| format!("-{value}.-{value}.#{value}."));
    }

    #[test]
    fn a_value_that_would_end_its_here_document_is_refused() {
        let document = "cat <<END\n-${with.v}\nEND\n";
        for value in ["END", "a\nEND\nb"] {
            let refused = Err("${with.v} is misplaced".to_owned());
            assert_eq!(printed(document, value), refused, "{value:?}");
        }
        let tabs = "cat <<-END\n\t-${with.v}\nEND\n";
        assert!(printed(tabs, "a\n\tb").is_err());
        assert_eq!(printed(tabs, "a\tb").unwrap()[0], "-a\tb\n");
    }
}
