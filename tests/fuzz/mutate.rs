//! Numbers drawn for one input, and changes to bytes and lines.

use std::ops::Range;

/// What is drawn for one input: a function of the seed and the input's number alone.
pub struct Draw(u64);

/// Words that mean something to YAML, to JSON or to `runner`, and numbers at the ends of their types.
const WORDS: &[&str] = &[
    "&a ",
    "*a",
    "<<: *a",
    "!!str ",
    "!!binary ",
    "!!float ",
    "!x ",
    "? ",
    "- ",
    ": ",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "|\n",
    ">-\n",
    "\t",
    "{",
    "}",
    "[",
    "]",
    ",",
    "\"",
    "'",
    "#",
    "\\",
    "\\u0000",
    "\0",
    "\r\n",
    "\u{feff}",
    "\u{2028}",
    "ü",
    "日本",
    "🦀",
    "e\u{301}",
    "\u{202e}",
    "null",
    "~",
    "true",
    ".nan",
    ".inf",
    "-0",
    "1e400",
    "-1",
    "0",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "99999999999999999999999999",
    "1e-400",
    "4294967296",
    "0x10",
    "0o7",
    "${",
    "}",
    "${vars.a}",
    "${a}",
    "$${a}",
    "${matrix.x}",
    "${inputs.x}",
    "${with.x}",
    "${outputs.o}",
    "${secrets.T}",
    "matrix: ",
    "exclude: ",
    "include: ",
    "when: ",
    "vars: ",
    "defaults: ",
    "stages: ",
    "kind: ",
    "params: ",
    "inputs: ",
    "needs: ",
    "export: ",
    "retries: ",
    "timeout: ",
    "resources: ",
    "priority: ",
    "cache: ",
    "secrets: ",
    "tags: ",
    "env: ",
    "glob: ",
    "file: ",
    "from: ",
    "as: ",
    "search: ",
    "stage: ",
    "a[x=1]",
    "a[",
    "*",
    "**",
    "..",
    "1000000h",
    "10GiB",
    "99999999999999TiB",
    "-5s",
    "3d",
];

impl Draw {
    /// Makes the numbers of one input.
    pub fn new(seed: u64, number: u64) -> Draw {
        let mut draw = Draw(seed.rotate_left(32) ^ number);
        draw.next();
        draw
    }

    /// Draws a number: splitmix64 (Steele, Lea and Flood 2014).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Says yes in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    /// Takes one of several.
    pub fn one<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn range(&mut self, length: usize, most: usize) -> Range<usize> {
        let start = self.below(length + 1);
        let end = (start + self.below(most) + 1).min(length);
        start..end
    }

    /// Changes bytes in a few places.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(5) {
            match self.below(3) {
                0 => self.change_lines(bytes),
                _ => self.change_bytes(bytes),
            }
        }
    }

    fn change_bytes(&mut self, bytes: &mut Vec<u8>) {
        let part = self.range(bytes.len(), 24);
        match self.below(9) {
            0 => drop(bytes.drain(part)),
            1 => {
                let copy = bytes[part.clone()].to_vec();
                let times = if self.chance(10) { 1 + self.below(300) } else { 1 };
                drop(bytes.splice(part.end..part.end, copy.repeat(times)));
            }
            2 => {
                let other = self.range(bytes.len(), 24);
                let copy = bytes[other].to_vec();
                drop(bytes.splice(part, copy));
            }
            3 if self.chance(20) => bytes.truncate(part.start),
            4 if !part.is_empty() => bytes[part.start] ^= 1 << self.below(8),
            5 if !part.is_empty() => bytes[part.start] = self.next() as u8,
            6 => self.change_number(bytes),
            _ => {
                let word = self.one(WORDS).bytes();
                let end = if self.chance(50) { part.start } else { part.end };
                drop(bytes.splice(part.start..end, word));
            }
        }
    }

    /// Puts a number at the end of its type in the place of one.
    fn change_number(&mut self, bytes: &mut Vec<u8>) {
        let is_digit = |at: &usize| bytes[*at].is_ascii_digit();
        let digits: Vec<usize> = (0..bytes.len()).filter(is_digit).collect();
        if digits.is_empty() {
            return;
        }
        let start = digits[self.below(digits.len())];
        let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let numbers = ["0", "1", "-1", "65536", "4294967295", "9223372036854775807"];
        let numbers = [&numbers[..], &["18446744073709551615", "1e308", "1e-308", "0.1"]].concat();
        let number = self.one(&numbers).bytes();
        drop(bytes.splice(start..start + length, number));
    }

    fn change_lines(&mut self, bytes: &mut Vec<u8>) {
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        if lines.is_empty() {
            return;
        }
        let (one, other) = (self.below(lines.len()), self.below(lines.len()));
        match self.below(6) {
            0 => drop(lines.remove(one)),
            1 => lines.insert(other, lines[one].clone()),
            2 => lines.swap(one, other),
            3 => lines.truncate(one + 1),
            4 => drop(lines[one].splice(..0, *b"  ")),
            _ => {
                let spaces = lines[one].iter().take_while(|byte| **byte == b' ').count();
                drop(lines[one].drain(..spaces.min(2)));
            }
        }
        *bytes = lines.concat();
    }
}
