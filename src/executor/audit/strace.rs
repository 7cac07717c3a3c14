//! The lines of `strace -f -y -o`, as calls.
//!
//! Knows the form of a line and not what a call does. A call that another process interrupted stands
//! on two lines and comes where it ended.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// What the first line of an interrupted call ends with.
const UNFINISHED: &[u8] = b"<unfinished ...>";

/// One system call that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<'t> {
    /// The thread that made it.
    pub thread: u32,
    /// The call's name.
    pub name: String,
    /// Its arguments as they are written.
    pub arguments: Vec<Cow<'t, [u8]>>,
    /// What it gave; negative where it failed, and where its process was killed meanwhile.
    pub result: i64,
    /// The path of the file that it gave, links followed.
    pub path: Option<PathBuf>,
}

impl Call<'_> {
    /// Gives an argument as it is written; nothing where there is none.
    pub fn argument(&self, index: usize) -> &[u8] {
        self.arguments.get(index).map_or(b"", |argument| argument)
    }

    /// Says whether an argument of flags, or a structure of such, names a flag.
    pub fn has_flag(&self, index: usize, flag: &str) -> bool {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        self.argument(index).split(|byte| !is_word(byte)).any(|word| word == flag.as_bytes())
    }
}

/// Reads calls from a trace; lines of signals and ends, and lines that are cut off, give none.
pub fn calls(trace: &[u8]) -> impl Iterator<Item = Call<'_>> {
    let mut begun: HashMap<u32, &[u8]> = HashMap::new();
    trace.split(|byte| *byte == b'\n').filter_map(move |line| {
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let thread = std::str::from_utf8(&line[..digits]).ok()?.parse().ok()?;
        let text = line[digits..].trim_ascii();
        if let Some(first) = text.strip_suffix(UNFINISHED) {
            begun.insert(thread, first.trim_ascii_end());
            return None;
        }
        let Some(resumed) = text.strip_prefix(b"<... ") else { return call(thread, text) };
        let rest = resumed.iter().position(|byte| *byte == b'>').map(|at| &resumed[at + 1..])?;
        let whole = [begun.remove(&thread)?, rest].concat();
        call(thread, &whole).map(owned)
    })
}

fn owned(call: Call<'_>) -> Call<'static> {
    let arguments = call.arguments.into_iter().map(|one| Cow::Owned(one.into_owned()));
    Call { arguments: arguments.collect(), ..call }
}

/// Reads `openat(AT_FDCWD</home>, "a", O_RDONLY) = 3</home/a>`.
fn call(thread: u32, text: &[u8]) -> Option<Call<'_>> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let name = std::str::from_utf8(&text[..open]).ok()?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let (arguments, rest) = arguments(&text[open + 1..])?;
    let given = rest.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let number = given.iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'-').count();
    let result = std::str::from_utf8(&given[..number]).ok().and_then(|text| text.parse().ok());
    Some(Call {
        thread,
        name: name.to_owned(),
        arguments: arguments.into_iter().map(Cow::Borrowed).collect(),
        // `?` stands where the process did not live to see it.
        result: result.unwrap_or(-1),
        path: annotated(given),
    })
}

/// Cuts arguments at their commas; gives what follows the closing bracket too.
fn arguments(text: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let mut found = Vec::new();
    let (mut depth, mut start, mut at) = (0_usize, 0, 0);
    while at < text.len() {
        match text[at] {
            b'"' => at += 1 + quoted_length(&text[at + 1..])?,
            b'<' if text.get(at + 1) == Some(&b'/') => {
                at += text[at..].iter().position(|byte| *byte == b'>')?;
            }
            b'(' | b'[' | b'{' => depth += 1,
            b')' if depth == 0 => {
                found.push(text[start..at].trim_ascii());
                return Some((found, &text[at + 1..]));
            }
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            b',' if depth == 0 => {
                found.push(text[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Gives the length of a quoted text up to its closing quote.
fn quoted_length(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while *text.get(at)? != b'"' {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    Some(at)
}

/// Gives the path that `-y` writes beside a file: `3</home/a>`; none of what is no file.
pub fn annotated(argument: &[u8]) -> Option<PathBuf> {
    let start = argument.iter().position(|byte| *byte == b'<')? + 1;
    let end = start + argument[start..].iter().position(|byte| *byte == b'>')?;
    argument[start..end].starts_with(b"/").then(|| path_of(&argument[start..end]))
}

/// Gives the path that stands in quotes.
pub fn quoted(argument: &[u8]) -> Option<PathBuf> {
    let text = argument.strip_prefix(b"\"")?;
    Some(path_of(&text[..quoted_length(text)?]))
}

/// Puts the bytes back that are written as in C: `\n`, `\"`, `\303`.
fn path_of(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let octal = rest.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        if octal > 0 {
            let number =
                rest[..octal].iter().fold(0_u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
            bytes.push(number.to_le_bytes()[0]);
            rest = &rest[octal..];
        } else if let [letter, tail @ ..] = rest {
            bytes.push(match letter {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'v' => 0x0b,
                b'f' => 0x0c,
                other => *other,
            });
            rest = tail;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn calls_are_read_whole_also_where_others_came_between() {
        let trace = b"\
7 execve(\"/usr/bin/python3\", [\"\"..., \"\"...], 0x55e0 /* 39 vars */) = 0
7 openat(AT_FDCWD</r>, \"a, b)\\\"\", O_RDONLY <unfinished ...>
8 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED} ---
8 clone3({flags=CLONE_VM|CLONE_FS, stack=0x7f, stack_size=0x8000}, 88) = 9
7 <... openat resumed>)             = 3</r/d \\303\\251/f\\76x>
8 openat2(5</r/d>, \"x\", {flags=O_RDWR|O_CREAT, resolve=0}, 24) = -1 ENOENT (No such file)
8 exit_group(0) = ?
8 +++ exited with 0 +++
9 rename(\"a\", \"cut";
        let calls: Vec<Call<'_>> = calls(trace).collect();
        let names: Vec<_> = calls.iter().map(|call| (call.thread, &*call.name)).collect();
        let expected =
            [(7, "execve"), (8, "clone3"), (7, "openat"), (8, "openat2"), (8, "exit_group")];
        assert_eq!(names, expected);
        let results: Vec<i64> = calls.iter().map(|call| call.result).collect();
        assert_eq!(results, [0, 9, 3, -1, -1]);
        assert_eq!(quoted(calls[2].argument(1)).as_deref(), Some(Path::new("a, b)\"")));
        assert_eq!(annotated(calls[2].argument(0)).as_deref(), Some(Path::new("/r")));
        assert_eq!(calls[2].path.as_deref(), Some(Path::new("/r/d é/f>x")));
        assert!(calls[3].has_flag(2, "O_RDWR") && !calls[3].has_flag(2, "O_RD"));
        assert_eq!(annotated(calls[3].argument(0)).as_deref(), Some(Path::new("/r/d")));
    }

    #[test]
    fn bytes_are_put_back() {
        assert_eq!(path_of(br"a\nb\t\\\0017\x"), Path::new("a\nb\t\\\u{1}7x"));
        assert_eq!(annotated(b"3<pipe:[123]>"), None);
        assert_eq!(quoted(b"\"cut"), None);
        assert_eq!(quoted(b"NULL"), None);
    }
}
