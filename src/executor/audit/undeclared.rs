//! Which of the files that a command used its stage does not declare, and the line that would.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::accesses::{Accesses, normalised};
use crate::event::{Access, Undeclared};
use crate::executor::place;
use crate::executor::worker::{InputFile, Job};
use crate::freshness::content;
use crate::pipeline::{Pipeline, Source, Stage};

/// The artifacts of a pipeline's stages by path relative to the root: the stage and the output.
pub type Artifacts = BTreeMap<PathBuf, (String, String)>;

/// What was done with a file or folder, by its path relative to the root.
pub type Use = (Access, PathBuf);

/// Gives the places of all artifacts and exports.
pub fn artifacts(pipeline: &Pipeline) -> Artifacts {
    let mut artifacts = Artifacts::new();
    let folder = place::folder(Path::new(""), &pipeline.name);
    for (name, stage) in &pipeline.stages {
        let mut add = |path: PathBuf, output: &str| {
            artifacts.insert(folder.join(path), (name.clone(), output.to_owned()));
        };
        for spec in &stage.outputs {
            add(Path::new(name).join(&spec.file), &spec.name);
        }
        stage.exports.iter().for_each(|(output, export)| add(export.file.clone(), output));
    }
    artifacts
}

/// Follows the links of a path, as far as it is there.
pub fn resolve(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| normalised(path))
}

/// Finds what a job's command used and its stage does not declare.
pub fn find(job: &Job, artifacts: &Artifacts, accesses: &Accesses) -> BTreeSet<Use> {
    let root = resolve(&job.root);
    let declared = Declared::of(job, &root);
    let below = |path: &Path| path.strip_prefix(&root).ok().map(Path::to_owned);
    let is_wanted = |path: &Path| is_file_of_user(path) || is_artifact(path, artifacts, job);
    let listed: Vec<PathBuf> = accesses
        .listed
        .iter()
        .filter(|folder| folder.is_dir() && !declared.has_part_of(folder))
        .filter_map(|folder| below(folder))
        // Of the root and of what is ours, nobody can declare the whole.
        .filter(|folder| folder.components().next().is_some() && is_file_of_user(folder))
        .collect();
    let outermost: Vec<&PathBuf> = listed
        .iter()
        .filter(|folder| !listed.iter().any(|other| other != *folder && folder.starts_with(other)))
        .collect();
    let is_listed = |path: &Path| outermost.iter().any(|folder| path.starts_with(folder));
    let read = accesses.read.iter().filter(|path| path.is_file() && !declared.has(path));
    let read = read.filter_map(|path| below(path)).filter(|path| !is_listed(path));
    let written = accesses.written.iter().filter(|path| path.is_file());
    let written = written.filter_map(|path| below(path)).filter(|path| is_file_of_user(path));
    let read = read.filter(|path| is_wanted(path)).map(|path| (Access::Read, path));
    let folders = outermost.iter().map(|folder| (Access::Listed, (*folder).clone()));
    read.chain(folders).chain(written.map(|path| (Access::Written, path))).collect()
}

/// Says whether a path below the root is the user's, and not the store's, an artifact, or what tools
/// keep for themselves.
fn is_file_of_user(path: &Path) -> bool {
    let is_private = |part: Component<'_>| {
        let name = part.as_os_str();
        name == ".git" || name == "__pycache__"
    };
    !path.starts_with(".runner")
        && !path.starts_with("artifacts")
        && !path.components().any(is_private)
        && path.extension().is_none_or(|ending| ending != "pyc")
}

/// Says whether a path is an artifact that the job does not have as an input.
fn is_artifact(path: &Path, artifacts: &Artifacts, job: &Job) -> bool {
    artifacts.get(path).is_some_and(|(stage, output)| {
        !job.inputs.values().any(|input| match &input.from {
            Source::Output { stage: of, output: part } => of == stage && part == output,
            Source::File(_) | Source::Folder(_) | Source::Glob(_) | Source::Table(_) => false,
        })
    })
}

/// The files that a job has as inputs, links followed.
struct Declared {
    files: HashSet<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Declared {
    fn of(job: &Job, root: &Path) -> Declared {
        let mut declared = Declared { files: HashSet::new(), folders: Vec::new() };
        for InputFile { from, path, .. } in job.inputs.values() {
            match from {
                Source::File(_) => {
                    declared.files.insert(resolve(path));
                }
                Source::Folder(_) | Source::Glob(_) => {
                    let base = match from {
                        Source::Folder(_) => path.clone(),
                        _ => root.to_owned(),
                    };
                    // Links within may lead elsewhere; what cannot be listed has failed the stage.
                    let files = content::files(root, from).unwrap_or_default();
                    declared.files.extend(files.iter().map(|file| resolve(&base.join(file))));
                    declared
                        .folders
                        .extend(matches!(from, Source::Folder(_)).then(|| resolve(path)));
                }
                Source::Output { .. } | Source::Table(_) => {}
            }
        }
        declared
    }

    fn has(&self, path: &Path) -> bool {
        self.files.contains(path) || self.folders.iter().any(|folder| path.starts_with(folder))
    }

    /// Says whether a folder is declared, or a file that lies in it.
    fn has_part_of(&self, folder: &Path) -> bool {
        self.has(folder) || self.files.iter().any(|file| file.parent() == Some(folder))
    }
}

/// Gives each use with the line by which a stage would declare it; of what the stage gave itself
/// there is none.
pub fn with_lines(uses: &BTreeSet<Use>, stage: &Stage, artifacts: &Artifacts) -> Vec<Undeclared> {
    let inputs = stage.inputs.keys().map(|name| name.split('.').next().unwrap_or(name).to_owned());
    let (mut inputs, mut outputs): (BTreeSet<String>, BTreeSet<String>) =
        (inputs.collect(), stage.outputs.iter().map(|spec| spec.name.clone()).collect());
    let line = |(access, path): &Use| {
        let text = path.to_string_lossy().into_owned();
        let line = match (access, artifacts.get(path)) {
            (Access::Read, Some((of, _))) if *of == stage.name => return None,
            (Access::Read, Some((of, output))) => {
                let name = free_name(path, &mut inputs);
                format!("inputs: {{ {name}: {} }}", word(&format!("{of}.{output}")))
            }
            (Access::Read | Access::Listed, _) => {
                let name = free_name(path, &mut inputs);
                format!("inputs: {{ {name}: {{ file: {} }} }}", word(&text))
            }
            (Access::Written, _) => {
                let name = free_name(path, &mut outputs);
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                format!("params: {{ outputs: {{ {name}: {} }} }}", word(&file))
            }
        };
        Some(Undeclared { access: *access, path: text, line })
    };
    uses.iter().filter_map(line).collect()
}

/// Makes a name of a file's that is not taken, and takes it.
fn free_name(path: &Path, taken: &mut BTreeSet<String>) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let fold = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let plain: String = stem.chars().map(fold).take(60).collect();
    let plain = plain.trim_matches(['_', '-']);
    let plain = if plain.is_empty() { "file" } else { plain };
    let numbered = (2..).map(|number| format!("{plain}_{number}"));
    let mut names = std::iter::once(plain.to_owned()).chain(numbered);
    // There are more numbers than names that are taken.
    let name = names.find(|name| !taken.contains(name)).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// Writes a text as YAML within braces has it: bare where it is plainly a word, else in quotes.
fn word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._/-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '/');
    let is_word = !matches!(text, "null" | "true" | "false" | "yes" | "no" | "on" | "off");
    if begins && is_word && text.chars().all(is_plain) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_files_and_are_not_taken_twice() {
        let mut taken = BTreeSet::from(["config".to_owned()]);
        let mut name = |path: &str| free_name(Path::new(path), &mut taken);
        assert_eq!(name("conf/config.toml"), "config_2");
        assert_eq!(name("my data.csv"), "my_data");
        assert_eq!(name("é.csv"), "file");
        assert_eq!(name(".env"), "env");
    }

    #[test]
    fn a_word_is_quoted_where_yaml_would_read_it_otherwise() {
        assert_eq!(word("data/a-b.csv"), "data/a-b.csv");
        assert_eq!(word("train[seed=1].model"), "\"train[seed=1].model\"");
        assert_eq!(word("7.csv"), "\"7.csv\"");
        assert_eq!(word("a \"b\"\n"), r#""a \"b\"\n""#);
        assert_eq!(word("no"), "\"no\"");
    }

    #[test]
    fn what_is_ours_or_a_tools_is_no_file_of_the_user() {
        for ours in [".runner/x", "artifacts/p/a", "sub/.git/HEAD", "a/__pycache__/b", "x.pyc"] {
            assert!(!is_file_of_user(Path::new(ours)), "{ours}");
        }
        assert!(is_file_of_user(Path::new("sub/artifacts/a")));
    }
}
