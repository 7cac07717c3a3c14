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
    previous: char,
    escaped: bool,
    comment: bool,
    /// The word after `<<`, which is being read.
    word: Option<Word>,
    /// The here-documents that begin at the next line.
    awaited: VecDeque<HereDocument>,
    /// The here-document that is being read, and its line so far.
    body: Option<(HereDocument, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// `'`.
    Single,
    /// `"`.
    Double,
    /// `(` or `$(`.
    Paren,
    /// The second of `$((`, within which `<<` shifts.
    Arithmetic,
    /// `` ` ``, within which a backslash is taken away once more.
    Ticks,
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
            body: None,
        }
    }

    /// Reads on.
    pub(super) fn read(&mut self, text: &str) {
        for c in text.chars() {
            self.take(c);
            self.previous = c;
        }
    }

    /// Gives values as the shell must read them here, each as a word of its own, or between quotes as
    /// several of them; and goes on behind them.
    pub(super) fn put(&mut self, values: &[OsString]) -> OsString {
        let place = self.place();
        let between = match place {
            Place::Bare | Place::Line | Place::Literal => " ",
            Place::Single => "' '",
            Place::Double => "\" \"",
        };
        let is_in_ticks = self.body.is_none() && self.open.contains(&Open::Ticks);
        let mut put = OsString::new();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                put.push(between);
            }
            put.push(quote(value, place, is_in_ticks));
        }
        // Any letter stands for them.
        self.read("x");
        put
    }

    fn place(&self) -> Place {
        match (&self.body, self.open.last()) {
            (Some((document, _)), _) if document.is_literal => Place::Literal,
            (Some(_), _) => Place::Line,
            (None, Some(Open::Single)) => Place::Single,
            (None, Some(Open::Double)) => Place::Double,
            (None, Some(Open::Paren | Open::Arithmetic | Open::Ticks) | None) => Place::Bare,
        }
    }

    fn take(&mut self, c: char) {
        if let Some((document, line)) = &mut self.body {
            if c != '\n' {
                line.push(c);
            } else if document.ends_at(line) {
                self.body = self.awaited.pop_front().map(|next| (next, String::new()));
            } else {
                line.clear();
            }
            return;
        }
        if let Some(mut word) = self.word.take() {
            match word.take(c) {
                Reading::On => return self.word = Some(word),
                Reading::Ended => self.awaited.push_back(word.document),
                // `<<<`, which some shells have, is followed by no lines.
                Reading::None if c == '<' => return,
                Reading::None => {}
            }
        }
        if self.comment {
            self.comment = c != '\n';
        } else if self.escaped {
            self.escaped = false;
            return;
        } else if c == '\\' && self.place() != Place::Single {
            self.escaped = true;
            return;
        } else {
            self.step(c);
        }
        if c == '\n' && self.place() == Place::Bare {
            self.body = self.awaited.pop_front().map(|next| (next, String::new()));
        }
    }

    fn step(&mut self, c: char) {
        let previous = self.previous;
        let word_start = previous.is_whitespace() || ";&|(`".contains(previous);
        match (self.place(), c) {
            (Place::Single, '\'') | (Place::Double, '"') => {
                self.open.pop();
            }
            (Place::Bare, '\'') => self.open.push(Open::Single),
            (Place::Bare, '"') => self.open.push(Open::Double),
            (Place::Double, '(') if previous == '$' => self.open.push(Open::Paren),
            (Place::Bare, '(') => {
                let is_second = previous == '(' && self.open.last() == Some(&Open::Paren);
                self.open.push(if is_second { Open::Arithmetic } else { Open::Paren });
            }
            (Place::Bare, ')') => {
                self.open.pop_if(|open| matches!(open, Open::Paren | Open::Arithmetic));
            }
            (Place::Bare, '`') if self.open.last() == Some(&Open::Ticks) => {
                self.open.pop();
            }
            (Place::Bare | Place::Double, '`') => self.open.push(Open::Ticks),
            (Place::Bare, '#') if word_start => self.comment = true,
            (Place::Bare, '<') if previous == '<' && !self.open.contains(&Open::Arithmetic) => {
                self.word = Some(Word::default());
            }
            _ => {}
        }
    }
}

impl HereDocument {
    fn ends_at(&self, line: &str) -> bool {
        let line = if self.strips_tabs { line.trim_start_matches('\t') } else { line };
        line == self.end
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
        let document = &mut self.document;
        match (self.quote, c) {
            _ if self.escaped => {
                self.escaped = false;
                document.end.push(c);
            }
            (Some(quote), c) if c == quote => self.quote = None,
            (Some(_), c) => document.end.push(c),
            (None, '-') if !self.begun && !document.strips_tabs => {
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
    let is_plain = bytes.iter().all(safe) && !(bytes.is_empty() && place == Place::Bare);
    if is_plain || place == Place::Literal {
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
