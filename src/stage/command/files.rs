//! Finds files that a command names without declaring them as inputs.
//!
//! Looks at the disk, but only to ask whether a path is a file; it reads nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::template::{Piece, SlotKind, pieces};
use super::{Mention, Params, Program, bare};
use crate::stage::ParamIssue;

/// What stands for the path of an input or output: no file's name can hold it.
const DECLARED: char = '\0';

/// Gives a warning for each undeclared file.
pub fn undeclared(params: &Params, root: &Path, declared: &[PathBuf]) -> Vec<Mention> {
    let folder = params.folder(root);
    let words: Vec<String> =
        words(params).into_iter().filter(|word| folder.join(word).is_file()).collect();
    // Most commands name no file, and to resolve a path takes many times what a look does.
    if words.is_empty() {
        return Vec::new();
    }
    // A root that cannot be resolved cannot be run in either, and that is said elsewhere.
    let Ok(root) = root.canonicalize() else { return Vec::new() };
    let declared: BTreeSet<PathBuf> =
        declared.iter().filter_map(|path| root.join(path).canonicalize().ok()).collect();
    let folder = params.folder(&root);
    let mut named = BTreeMap::new();
    for word in words {
        let path = folder.join(&word);
        let known = |path: &PathBuf| path.is_file() && path.starts_with(&root);
        if let Some(file) = path.canonicalize().ok().filter(known)
            && !file.ancestors().any(|above| declared.contains(above))
        {
            named.entry(file).or_insert(word);
        }
    }
    let mention = |(file, word): (PathBuf, String)| {
        let issue = warning(file.strip_prefix(&root).unwrap_or(&file));
        Mention { word, issue }
    };
    named.into_iter().map(mention).collect()
}

/// Says whether the command names any file under `root`, declared or not; `may_be_file` answers for
/// a path.
pub fn names_any(params: &Params, root: &Path, may_be_file: impl FnMut(PathBuf) -> bool) -> bool {
    let folder = params.folder(root);
    words(params).iter().map(|word| folder.join(word)).any(may_be_file)
}

fn warning(file: &Path) -> ParamIssue {
    let name = file.display();
    let key = file.file_stem().unwrap_or_default().to_string_lossy();
    let help = format!(
        "declare it: `inputs: {{ {key}: {{ file: {name} }} }}`, and read `${{inputs.{key}}}`"
    );
    let message =
        format!("the command names `{name}`, which is no input: a change of it reruns nothing");
    ParamIssue::new("run", message, help)
}

/// Gives what might be paths: each argument or shell word, and what follows its `=`.
fn words(params: &Params) -> Vec<String> {
    let texts: Vec<String> = match &params.run {
        Program::Arguments(texts) => texts.iter().map(|text| expand(params, text)).collect(),
        Program::Shell(line) => shell_words(&expand(params, line)),
    };
    let parts = |text: String| {
        let value = text.split_once('=').map(|(_, value)| value.to_owned());
        [Some(text), value].into_iter().flatten()
    };
    let path = |word: &String| !word.is_empty() && !word.contains(DECLARED);
    texts.into_iter().flat_map(parts).filter(path).collect()
}

fn expand(params: &Params, text: &str) -> String {
    let piece = |piece| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Slot(slot) if slot.kind == SlotKind::With => {
            params.with(slot.name).map(bare).unwrap_or_default()
        }
        Piece::Slot(_) => DECLARED.to_string(),
    };
    pieces(text).into_iter().map(piece).collect()
}

/// Cuts a line roughly as a shell does. What is written to is left out: it is not read.
fn shell_words(line: &str) -> Vec<String> {
    let separators = |c: char| c.is_whitespace() || ";|&()`<".contains(c);
    let mut words = Vec::new();
    let mut written = false;
    for part in line.split(separators).filter(|part| !part.is_empty()) {
        let before = part.split('>').next().unwrap_or_default();
        if !written {
            words.push(before.trim_matches(['"', '\'']).to_owned());
        }
        written = part.ends_with('>');
    }
    words
}
