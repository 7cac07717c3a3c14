//! The values that nobody may see: they are taken out of what is logged and said, and refused in
//! what is stored.
//!
//! Knows bytes alone. A value is found as it is: a program that turns it into another form, such as
//! base64 or a compressed file, goes unnoticed.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memchr::memmem;

/// What stands where a value stood.
const MASK: &[u8] = b"***";

/// The fewest bytes of a value: a shorter one stands in too many innocent words.
pub const SHORTEST: usize = 4;

/// How much of a file is looked at at once, in bytes.
const CHUNK: usize = 1 << 20;

/// The secrets that one stage declares, by name.
#[derive(Clone, Default)]
pub struct Secrets(Vec<(String, Vec<u8>)>);

impl fmt::Debug for Secrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Secrets {
    /// Adds a value, without white space at its end: a line end that came with it from a file is no
    /// part of what a program shows.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        self.0.push((name.to_owned(), value.trim_ascii_end().to_vec()));
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether the stage declares a name.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// Masks every value in a text.
    pub fn redact(&self, text: &str) -> String {
        let mut mask = Mask::new(self);
        let mut bytes = mask.push(text.as_bytes());
        bytes.extend(mask.finish());
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Gives the name of a secret whose value is among the bytes.
    pub fn found_in(&self, bytes: &[u8]) -> Option<&str> {
        let found = self.0.iter().find(|(_, value)| memmem::find(bytes, value).is_some());
        found.map(|(name, _)| name.as_str())
    }

    /// Gives the name of a secret whose value is in a file.
    ///
    /// # Errors
    ///
    /// Those of reading it.
    pub fn found_in_file(&self, path: &Path) -> io::Result<Option<&str>> {
        let mut file = File::open(path)?;
        let overlap = self.longest().saturating_sub(1);
        let mut window = Vec::new();
        loop {
            let read = (&mut file).take(CHUNK as u64).read_to_end(&mut window)?;
            if read == 0 {
                return Ok(None);
            }
            if let Some(name) = self.found_in(&window) {
                return Ok(Some(name));
            }
            window.drain(..window.len().saturating_sub(overlap));
        }
    }

    fn longest(&self) -> usize {
        self.0.iter().map(|(_, value)| value.len()).max().unwrap_or(0)
    }

    /// Finds the first value among the bytes, and of those that begin there the longest.
    fn first(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let place = |value: &Vec<u8>| Some((memmem::find(bytes, value)?, value.len()));
        let found = self.0.iter().filter_map(|(_, value)| place(value));
        found.min_by_key(|(start, length)| (*start, usize::MAX - length))
    }

    /// Gives from where on the bytes may be the beginning of a value whose rest is still to come.
    fn hold(&self, bytes: &[u8]) -> usize {
        let from = bytes.len().saturating_sub(self.longest().saturating_sub(1));
        let begins = |start: &usize| {
            let rest = &bytes[*start..];
            self.0.iter().any(|(_, value)| value.len() > rest.len() && value.starts_with(rest))
        };
        (from..bytes.len()).find(begins).unwrap_or(bytes.len())
    }
}

/// Masks the values in bytes that come in pieces, wherever they are cut.
#[derive(Debug)]
pub struct Mask<'a> {
    secrets: &'a Secrets,
    pending: Vec<u8>,
}

impl<'a> Mask<'a> {
    /// Begins.
    pub fn new(secrets: &'a Secrets) -> Mask<'a> {
        Mask { secrets, pending: Vec::new() }
    }

    /// Takes the next piece, and gives what can be shown by now.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        self.pending.extend_from_slice(piece);
        self.masked(|secrets, rest| secrets.hold(rest))
    }

    /// Gives what is left.
    pub fn finish(&mut self) -> Vec<u8> {
        self.masked(|_, rest| rest.len())
    }

    fn masked(&mut self, hold: impl Fn(&Secrets, &[u8]) -> usize) -> Vec<u8> {
        let mut shown = Vec::with_capacity(self.pending.len());
        let mut rest = &self.pending[..];
        loop {
            let hold = hold(self.secrets, rest);
            match self.secrets.first(rest).filter(|(start, _)| *start < hold) {
                Some((start, length)) => {
                    shown.extend_from_slice(&rest[..start]);
                    shown.extend_from_slice(MASK);
                    rest = &rest[start + length..];
                }
                None => {
                    shown.extend_from_slice(&rest[..hold]);
                    self.pending = rest[hold..].to_vec();
                    return shown;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(values: &[&str]) -> Secrets {
        let mut secrets = Secrets::default();
        values.iter().for_each(|value| secrets.add(value, value.as_bytes()));
        secrets
    }

    #[test]
    fn values_are_masked_the_longer_first() {
        let secrets = secrets(&["abcd", "abcdef", "hunter2\n"]);
        assert_eq!(secrets.redact("x abcdef y abcd z hunter2"), "x *** y *** z ***");
        assert_eq!(secrets.redact("abc hunter"), "abc hunter");
        let mut named = Secrets::default();
        named.add("TOKEN", b"hunter2");
        assert_eq!(format!("{named:?}"), r#"["TOKEN"]"#, "names alone are shown");
    }

    #[test]
    fn a_value_is_found_across_the_pieces_of_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut bytes = vec![b'.'; CHUNK - 3];
        bytes.extend(b"hunter2");
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(secrets(&["hunter2"]).found_in_file(file.path()).unwrap(), Some("hunter2"));
        assert_eq!(secrets(&["hunter3"]).found_in_file(file.path()).unwrap(), None);
    }

    proptest! {
        /// However a text is cut, what is shown is the same, and has no value in it.
        #[test]
        fn a_value_never_shows_however_the_text_is_cut(
            text in "(abcd|abcdef|aab|bcde|[a-f]){0,30}",
            cuts in prop::collection::vec(0_usize..8, 0..40),
        ) {
            let secrets = secrets(&["abcd", "abcdef", "bcdea"]);
            let mut mask = Mask::new(&secrets);
            let (mut shown, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts {
                let (piece, later) = rest.split_at(cut.min(rest.len()));
                shown.extend(mask.push(piece));
                rest = later;
            }
            shown.extend(mask.push(rest));
            shown.extend(mask.finish());
            prop_assert_eq!(secrets.found_in(&shown), None);
            prop_assert_eq!(String::from_utf8(shown).unwrap(), secrets.redact(&text));
        }
    }
}
