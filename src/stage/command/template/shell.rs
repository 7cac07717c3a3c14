//! Just enough of the shell's grammar to know what a place in a line makes of a value.
//!
//! Knows no placeholders: it reads the text between them, and quotes what is to stand at its end.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// How far a shell line has been read.
pub(super) struct Shell {
    /// What is open, outermost first.
    open: Vec<Open>,
    /// The character before, as far as it means something with the next: an escaped one does not.
    previous: char,
    escaped: bool,
    comment: bool,
    /// The word after `<<`, which is being read.
    word: Option<Word>,
    /// The here-documents that begin at the next line.
    awaited: VecDeque<HereDocument>,
    /// The here-documents that are open, each with its line so far; as many as [`Open::Body`].
    bodies: Vec<(HereDocument, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// `'`.
    Single,
    /// `"`.
    Double,
    /// `(`.
    Paren,
    /// `$(`.
    Substitution,
    /// The second of `$((`, within which `<<` shifts.
    Arithmetic,
    /// `` ` ``, within which a backslash is taken away once more.
    Ticks,
    /// The lines of a here-document.
    Body,
}

/// A here-document: `<<END`, lines, and a line of `END` alone.
#[derive(Debug, Default)]
struct HereDocument {
    end: String,
    /// `<<-`: tabs before its lines do not count.
    strips_tabs: bool,
    /// Whether a part of the word was quoted: then its lines stand for themselves.
    is_literal: bool,
}

/// The word of a here-document as far as it was read.
#[derive(Debug, Default)]
struct Word {
    document: HereDocument,
    quote: Option<char>,
    escaped: bool,
    /// Whether there was anything after `<<`.
    is_apart: bool,
    begun: bool,
}

/// What a place makes of the text that stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Words, with all characters special.
    Bare,
    Single,
    Double,
    /// A here-document's line: only `\`, `$` and `` ` `` are special.
    Line,
    /// A line in which nothing is special.
    Literal,
}

impl Shell {
    pub(super) fn new() -> Shell {
        Shell {
            open: Vec::new(),
            previous: ' ',
            escaped: false,
            comment: false,
            word: None,
            awaited: VecDeque::new(),
            bodies: Vec::new(),
        }
    }

    /// Reads on.
    pub(super) fn read(&mut self, text: &str) {
        text.chars().for_each(|c| self.take(c));
    }

    /// Gives values as the shell must read them here, each as a word of its own, or between quotes as
    /// several of them; and goes on behind them. `None` where one would end the here-document in
    /// which it stands, or lose its tabs there.
    pub(super) fn put(&mut self, values: &[OsString]) -> Option<OsString> {
        let place = self.place();
        let between = match place {
            Place::Bare | Place::Line | Place::Literal => " ",
            Place::Single => "' '",
            Place::Double => "\" \"",
        };
        let is_in_ticks = self.open.contains(&Open::Ticks);
        let mut put = OsString::new();
        for (index, value) in values.iter().enumerate() {
            let is_line = matches!(place, Place::Line | Place::Literal);
            if is_line && !self.bodies.last()?.0.bears(value.as_bytes()) {
                return None;
            }
            if index > 0 {
                put.push(between);
            }
            put.push(quote(value, place, is_in_ticks));
        }
        // Any letter stands for them.
        self.read("x");
        Some(put)
    }

    fn place(&self) -> Place {
        let is_literal = || self.bodies.last().is_some_and(|(document, _)| document.is_literal);
        match self.open.last() {
            Some(Open::Body) if is_literal() => Place::Literal,
            Some(Open::Body) => Place::Line,
            Some(Open::Single) => Place::Single,
            Some(Open::Double) => Place::Double,
            Some(Open::Paren | Open::Substitution | Open::Arithmetic | Open::Ticks) | None => {
                Place::Bare
            }
        }
    }

    fn take(&mut self, c: char) {
        if let Some(mut word) = self.word.take() {
            match word.take(c) {
                Reading::On => return self.word = Some(word),
                Reading::Ended => self.awaited.push_back(word.document),
                // `<<<`, which some shells have, is followed by no lines.
                Reading::None if c == '<' => return self.previous = 'x',
                Reading::None => {}
            }
        }
        let (place, was_escaped) = (self.place(), self.escaped);
        if self.comment && !(c == '`' && self.open.last() == Some(&Open::Ticks)) {
            self.comment = c != '\n';
            self.previous = c;
        } else if self.escaped {
            self.take_escaped(c);
        } else if c == '\\' && !matches!(place, Place::Single | Place::Literal) {
            self.escaped = true;
        } else {
            self.comment = false;
            self.previous = self.step(c);
        }
        let may_end = matches!(place, Place::Bare | Place::Line | Place::Literal);
        if c == '\n' && may_end && !was_escaped {
            self.end_line(place);
        }
    }

    /// Takes the character after a backslash, which stands for itself; but where backticks stand between
    /// double quotes, `\"` there is a quote of the command within.
    fn take_escaped(&mut self, c: char) {
        self.escaped = false;
        let ticks = self.open.iter().rposition(|open| *open == Open::Ticks);
        let is_quoted = ticks.is_some_and(|at| self.open[..at].last() == Some(&Open::Double));
        if c == '"' && is_quoted {
            self.previous = self.step(c);
        } else if c != '\n' {
            self.note('x');
            self.previous = 'x';
        }
    }

    /// Ends a here-document whose last line this was, or begins those that the line has asked for.
    fn end_line(&mut self, place: Place) {
        if place != Place::Bare {
            let Some((document, line)) = self.bodies.last_mut() else { return };
            if !document.ends_at(line) {
                return line.clear();
            }
            self.bodies.pop();
            self.open.pop();
        }
        if let Some(next) = self.awaited.pop_front() {
            self.bodies.push((next, String::new()));
            self.open.push(Open::Body);
        }
    }

    /// Adds a character to the line of the here-document that is innermost.
    fn note(&mut self, c: char) {
        if let (Some(Open::Body), Some((_, line))) = (self.open.last(), self.bodies.last_mut()) {
            line.push(c);
        }
    }

    /// Takes a character that is not escaped; gives what it means to the next.
    fn step(&mut self, c: char) -> char {
        let previous = self.previous;
        if c != '\n' {
            self.note(c);
        }
        match (self.place(), c) {
            (Place::Single, '\'') | (Place::Double, '"') => {
                self.open.pop();
            }
            (Place::Bare, '\'') => self.open.push(Open::Single),
            (Place::Bare, '"') => self.open.push(Open::Double),
            (Place::Bare | Place::Double | Place::Line, '(') if previous == '$' => {
                self.open.push(Open::Substitution);
            }
            (Place::Bare, '(') => {
                let is_second = previous == '(' && self.open.last() == Some(&Open::Substitution);
                self.open.push(if is_second { Open::Arithmetic } else { Open::Paren });
            }
            (Place::Bare, ')') => {
                let is_open = |open: &mut _| {
                    matches!(open, Open::Paren | Open::Substitution | Open::Arithmetic)
                };
                self.open.pop_if(is_open);
            }
            (Place::Bare, '`') if self.open.last() == Some(&Open::Ticks) => {
                self.open.pop();
            }
            (Place::Bare | Place::Double | Place::Line, '`') => {
                self.open.push(Open::Ticks);
                return ' ';
            }
            (Place::Bare, '#') if previous.is_whitespace() || ";&|()".contains(previous) => {
                self.comment = true;
            }
            (Place::Bare, '<') if previous == '<' && !self.open.contains(&Open::Arithmetic) => {
                self.word = Some(Word::default());
            }
            // The shell's own number: the second has nothing to do with what follows.
            (_, '$') if previous == '$' => return 'x',
            _ => {}
        }
        c
    }
}

impl HereDocument {
    fn ends_at(&self, line: &str) -> bool {
        let line = if self.strips_tabs { line.trim_start_matches('\t') } else { line };
        line == self.end
    }

    /// Says whether a value may stand in a line as it is: it neither ends the document nor loses tabs.
    fn bears(&self, value: &[u8]) -> bool {
        let mut lines = value.split(|byte| *byte == b'\n');
        lines.all(|line| {
            let loses = self.strips_tabs && line.starts_with(b"\t");
            line != self.end.as_bytes() && !loses
        })
    }
}

/// What a character did to a here-document's word.
enum Reading {
    /// It belongs to the word.
    On,
    /// The word ended before it.
    Ended,
    /// There is no word.
    None,
}

impl Word {
    fn take(&mut self, c: char) -> Reading {
        let is_apart = std::mem::replace(&mut self.is_apart, true);
        let document = &mut self.document;
        match (self.quote, c) {
            _ if self.escaped => {
                self.escaped = false;
                document.end.push(c);
            }
            (Some(quote), c) if c == quote => self.quote = None,
            (Some(_), c) => document.end.push(c),
            (None, '-') if !is_apart => {
                document.strips_tabs = true;
                return Reading::On;
            }
            (None, ' ' | '\t') if !self.begun => return Reading::On,
            (None, c) if c.is_whitespace() || ";&|<>()`".contains(c) => {
                return if self.begun { Reading::Ended } else { Reading::None };
            }
            (None, '\'' | '"') => (self.quote, document.is_literal) = (Some(c), true),
            (None, '\\') => (self.escaped, document.is_literal) = (true, true),
            (None, c) => document.end.push(c),
        }
        self.begun = true;
        Reading::On
    }
}

/// Quotes a value for its place; one without special characters stays as it is, to be legible.
fn quote(value: &OsStr, place: Place, is_in_ticks: bool) -> OsString {
    let safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+:@%,=".contains(byte);
    let bytes = value.as_bytes();
    if bytes.iter().all(safe) && !(bytes.is_empty() && place == Place::Bare) {
        return value.to_owned();
    }
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    if place == Place::Bare {
        quoted.push(b'\'');
    }
    for &byte in bytes {
        match (place, byte) {
            (Place::Bare | Place::Single, b'\'') => quoted.extend_from_slice(b"'\\''"),
            (Place::Double, b'"' | b'\\' | b'$' | b'`') | (Place::Line, b'\\' | b'$' | b'`') => {
                quoted.extend([b'\\', byte])
            }
            _ => quoted.push(byte),
        }
    }
    if place == Place::Bare {
        quoted.push(b'\'');
    }
    if is_in_ticks {
        quoted = escaped_for_ticks(&quoted);
    }
    OsString::from_vec(quoted)
}

/// Puts a backslash before what a shell unescapes between backticks before it reads the command there.
fn escaped_for_ticks(text: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(text.len());
    for &byte in text {
        if matches!(byte, b'\\' | b'$' | b'`') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}
