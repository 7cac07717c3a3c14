//! The value of one input: which output or file it names, and whether there is such a one.

use std::path::{Component, Path, PathBuf};

use indexmap::{IndexMap, IndexSet};

use super::check::Checks;
use super::diagnostic::{Place, Problem, did_you_mean, listed};
use super::draft::Draft;
use super::groups::Groups;
use super::node::{Data, Entry, Node};
use super::{Combination, Format, Input, Selector, Source};
use crate::stage::{InputSpec, OutputSpec, StageKind};
use crate::suggest;

mod files;
mod lists;

pub(super) use lists::{is_off, none_matches};

/// The value of one input as it is written.
pub(super) struct Wanted<'a> {
    pub from: From<'a>,
    /// The reference or the path.
    text: &'a str,
    pub place: Place,
    format: Option<(Format, Place)>,
}

/// Where an input comes from, as it is written.
#[derive(Clone, Copy)]
pub(super) enum From<'a> {
    Stage { stage: &'a str, output: Option<&'a str> },
    File,
    Glob,
}

/// Who gives what a reference names.
pub(super) enum Givers<'a> {
    One(&'a str),
    /// Several combinations of a matrix, or all of them.
    Many(Vec<&'a str>),
}

impl<'a> Givers<'a> {
    pub fn names(&self) -> &[&'a str] {
        match self {
            Givers::One(name) => std::slice::from_ref(name),
            Givers::Many(names) => names,
        }
    }
}

/// Finds the stages that a name means to a reader: a stage, or the combinations of a matrix that
/// have the reader's own values. None where there is no such stage.
pub(super) fn givers<'a>(
    name: &str,
    reader: Option<&Combination>,
    drafts: &IndexMap<&'a str, Draft<'a>>,
    groups: &'a Groups,
) -> Option<Givers<'a>> {
    if let Some((name, _)) = drafts.get_key_value(name) {
        return Some(Givers::One(name));
    }
    let selector = Selector::parse(name)?;
    let (found, shared) = groups.matching(&selector, reader)?;
    Some(match found[..] {
        [only] if shared || !selector.wanted.is_empty() => Givers::One(only),
        _ => Givers::Many(found),
    })
}

/// Who reads.
pub(super) struct Reader<'r, 'a> {
    pub draft: &'r Draft<'a>,
    pub input: &'r str,
    pub role: Role,
}

/// What an input takes.
#[derive(Clone, Copy)]
pub(super) enum Role {
    OneFile,
    /// Some outputs of a whole stage.
    Parts(&'static InputSpec),
    /// Nobody knows, because the kind or the input's name is a mistake: only what is wrong in any
    /// case is reported.
    Unclear,
}

impl Reader<'_, '_> {
    fn name(&self) -> String {
        format!("input `{}` of {}", self.input, self.draft.subject())
    }

    fn doc(&self) -> Option<String> {
        match self.role {
            Role::Parts(spec) => Some(format!("`{}`: {}", spec.name, spec.doc)),
            Role::OneFile | Role::Unclear => None,
        }
    }
}

const FORMS: &str = "write `stage.output`, `stage`, `{ file: path }`, `{ glob: pattern }` or \
                     `{ from: stage.output, as: csv }`";

/// Reads the value of an input.
pub(super) fn read<'a>(
    reader: &Reader<'_, '_>,
    entry: &'a Entry,
    problems: &mut Vec<Problem>,
) -> Option<Wanted<'a>> {
    let node = &entry.value;
    match &node.data {
        Data::Text(text) => {
            Some(Wanted { from: reference(text), text, place: node.place, format: None })
        }
        Data::Map(_) => read_map(reader, node, problems),
        Data::Unknown => None,
        _ => {
            let message = format!("{} cannot be {}", reader.name(), node.describe());
            let place = if matches!(node.data, Data::Null) { entry.place } else { node.place };
            problems.push(Problem::new(place, message).help(FORMS));
            None
        }
    }
}

fn read_map<'a>(
    reader: &Reader<'_, '_>,
    node: &'a Node,
    problems: &mut Vec<Problem>,
) -> Option<Wanted<'a>> {
    let unknown = node.entries().iter().filter(|field| !FIELDS.contains(&field.key.as_str()));
    let before = problems.len();
    for field in unknown {
        let message = format!("{} has no field `{}`", reader.name(), field.key);
        let help = did_you_mean(&field.key, "fields", FIELDS);
        problems.push(Problem::new(field.place, message).help(help));
    }
    let format = format_field(reader, node, problems);
    let given: Vec<&Entry> = SOURCES.iter().filter_map(|field| node.entry(field)).collect();
    let source = match given[..] {
        [only] => only,
        [first, second, ..] => {
            let message =
                format!("{} has both `{}` and `{}`", reader.name(), first.key, second.key);
            problems.push(Problem::new(second.place, message).help(FORMS));
            return None;
        }
        [] => {
            // A mistyped field is very likely the missing one.
            if problems.len() == before {
                let message = format!("{} has none of `from`, `file` and `glob`", reader.name());
                problems.push(Problem::new(node.place, message).help(FORMS));
            }
            return None;
        }
    };
    match &source.value.data {
        Data::Text(text) => {
            let from = match source.key.as_str() {
                "file" => From::File,
                "glob" => From::Glob,
                _ => reference(text),
            };
            Some(Wanted { from, text, place: source.value.place, format })
        }
        Data::Unknown => None,
        _ => {
            let described = source.value.describe();
            let message = format!("`{}` of {} cannot be {described}", source.key, reader.name());
            problems.push(Problem::new(source.value.place, message).help(FORMS));
            None
        }
    }
}

/// The fields of an input that is written as a map.
pub(super) const FIELDS: [&str; 4] = ["from", "file", "glob", "as"];

/// Those of them of which it has one.
const SOURCES: [&str; 3] = ["from", "file", "glob"];

fn reference(text: &str) -> From<'_> {
    // The values in `train[rate=0.1].model` may hold dots.
    let name = text.find(']').map_or(0, |close| close + 1);
    match text[name..].find('.') {
        Some(dot) => {
            let (stage, output) = text.split_at(name + dot);
            From::Stage { stage, output: Some(&output[1..]) }
        }
        None => From::Stage { stage: text, output: None },
    }
}

fn format_field(
    reader: &Reader<'_, '_>,
    node: &Node,
    problems: &mut Vec<Problem>,
) -> Option<(Format, Place)> {
    let entry = node.entry("as")?;
    match entry.value.text() {
        Some("csv") => Some((Format::Csv, entry.value.place)),
        Some("parquet") => Some((Format::Parquet, entry.value.place)),
        _ if matches!(entry.value.data, Data::Unknown) => None,
        _ => {
            let described = entry.value.describe();
            let message = format!("{} cannot be read as {described}", reader.name());
            let help = "formats: `csv`, `parquet`";
            problems.push(Problem::new(entry.value.place, message).help(help));
            None
        }
    }
}

/// Finds what an input names: one file, the parts of a whole stage by their full names, or the files
/// of several combinations with their table.
pub(super) fn resolve(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    checks: &Checks<'_>,
) -> Result<Vec<(String, Input)>, Problem> {
    let (stage, output) = match (wanted.from, reader.role) {
        (From::Stage { stage, output }, _) => (stage, output),
        (From::File | From::Glob, Role::Parts(_)) => {
            let message = format!("{} takes a whole stage, not a file", reader.name());
            return Err(Problem::new(wanted.place, message).maybe_help(reader.doc()));
        }
        (From::File | From::Glob, _) => {
            let input = files::resolve(reader, wanted, checks)?;
            return Ok(input.map(|input| (reader.input.to_owned(), input)).into_iter().collect());
        }
    };
    let givers = givers(stage, reader.draft.matrix, &checks.drafts, checks.groups);
    let Some(givers) = givers else { return Err(dangling(reader, wanted, checks)) };
    if givers.names().contains(&reader.draft.name) {
        let message = format!("{} reads its own output `{}`", reader.draft.subject(), wanted.text);
        return Err(Problem::new(wanted.place, message).help("a stage reads outputs of others"));
    }
    for name in givers.names() {
        if checks.drafts[name].off && !reader.draft.off {
            return Err(lists::is_off(reader.draft, name, wanted.place, "reads"));
        }
    }
    match givers {
        Givers::One(name) => of_one(reader, wanted, name, output, checks),
        Givers::Many(names) => match (&names[..], reader.draft.kind) {
            ([], _) => Err(lists::none_matches(reader.draft, stage, wanted.place, checks)),
            (_, Some(StageKind::Command) | None) => {
                lists::of_many(reader, wanted, &names, output, checks)
            }
            ([only], _) => of_one(reader, wanted, only, output, checks),
            (names, _) => Err(lists::takes_one(reader, wanted, stage, names)),
        },
    }
}

/// Finds what an input names of one stage.
fn of_one(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    stage: &str,
    output: Option<&str>,
    checks: &Checks<'_>,
) -> Result<Vec<(String, Input)>, Problem> {
    let Some(giver) = checks.drafts.get(stage) else {
        return Err(dangling(reader, wanted, checks));
    };
    let Some(outputs) = &giver.outputs else { return Ok(Vec::new()) };
    match (reader.role, output) {
        (Role::Parts(spec), None) if wanted.format.is_none() => {
            let parts = spec.parts.iter();
            parts.map(|part| pick_part(reader, wanted, stage, outputs, part)).collect()
        }
        (Role::Parts(_), _) => {
            let message = format!("{} takes a whole stage, not one output", reader.name());
            Err(Problem::new(wanted.place, message).help(format!("write `{stage}`")))
        }
        (_, Some(name)) => match outputs.iter().find(|output| output.name == name) {
            Some(output) => pick_one(reader, wanted, stage, output),
            None => Err(dangling(reader, wanted, checks)),
        },
        (Role::Unclear, None) => Ok(Vec::new()),
        (Role::OneFile, None) => match &outputs[..] {
            [only] => pick_one(reader, wanted, stage, only),
            _ => Err(not_one_file(reader, wanted, stage, outputs)),
        },
    }
}

fn pick_one(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    stage: &str,
    output: &OutputSpec,
) -> Result<Vec<(String, Input)>, Problem> {
    let format = conversion(Path::new(&output.file), wanted, reader)?;
    let from = Source::Output { stage: stage.to_owned(), output: output.name.clone() };
    Ok(vec![(reader.input.to_owned(), Input { from, format })])
}

fn pick_part(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    stage: &str,
    outputs: &[OutputSpec],
    part: &str,
) -> Result<(String, Input), Problem> {
    if !outputs.iter().any(|output| output.name == part) {
        let message = format!("stage `{stage}` gives no `{part}`, which {} needs", reader.name());
        return Err(Problem::new(wanted.place, message).maybe_help(reader.doc()));
    }
    let from = Source::Output { stage: stage.to_owned(), output: part.to_owned() };
    Ok((format!("{}.{part}", reader.input), Input { from, format: None }))
}

fn dangling(reader: &Reader<'_, '_>, wanted: &Wanted<'_>, checks: &Checks<'_>) -> Problem {
    let message =
        format!("{} reads `{}`, which no stage gives", reader.draft.subject(), wanted.text);
    let From::Stage { stage, output } = wanted.from else {
        return Problem::new(wanted.place, message);
    };
    let whole = matches!(reader.role, Role::Parts(_));
    let others = checks.drafts.values().filter(|draft| draft.name != reader.draft.name);
    let names: Vec<&str> = others.clone().map(Draft::template).collect();
    let references: Vec<String> = others
        .flat_map(|draft| {
            let outputs = draft.outputs.iter().flatten();
            outputs.map(|output| format!("{}.{}", draft.template(), output.name))
        })
        .collect();
    let candidates = references.iter().map(String::as_str).filter(|_| !whole);
    let near = suggest::did_you_mean(wanted.text, candidates.chain(names.iter().copied()));
    let help = match near {
        Some(near) => near,
        None => match given_by(stage, checks).and_then(|draft| draft.outputs.as_ref()) {
            Some(outputs) if output.is_some() => format!(
                "`{stage}` gives {}",
                listed(outputs.iter().map(|output| output.name.as_str()))
            ),
            _ if names.is_empty() => "there is no other stage".to_owned(),
            _ => did_you_mean(stage, "stages", names.iter().copied().collect::<IndexSet<_>>()),
        },
    };
    let help = if is_likely_a_path(wanted.text) {
        format!("a file is written `{{ file: {} }}`", wanted.text)
    } else {
        help
    };
    Problem::new(wanted.place, message).help(help)
}

/// Gives a stage, or one of its combinations.
fn given_by<'c, 'a>(name: &str, checks: &'c Checks<'a>) -> Option<&'c Draft<'a>> {
    let givers = givers(name, None, &checks.drafts, checks.groups)?;
    checks.drafts.get(*givers.names().first()?)
}

fn is_likely_a_path(text: &str) -> bool {
    text.contains('/') || text.ends_with(".csv") || text.ends_with(".parquet")
}

fn not_one_file(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    stage: &str,
    outputs: &[OutputSpec],
) -> Problem {
    let names: Vec<String> =
        outputs.iter().map(|output| format!("{stage}.{}", output.name)).collect();
    let message = match outputs.len() {
        0 => format!("stage `{stage}` gives no output for {}", reader.name()),
        count => format!("{} is one file, and stage `{stage}` gives {count}", reader.name()),
    };
    let help = match outputs.len() {
        0 => format!("order stages without data by `needs: [{stage}]`"),
        _ => format!("name one: {}", listed(names.iter().map(String::as_str))),
    };
    Problem::new(wanted.place, message).help(help)
}

/// Gives the format to which a file must be converted, if to any.
fn conversion(
    file: &Path,
    wanted: &Wanted<'_>,
    reader: &Reader<'_, '_>,
) -> Result<Option<Format>, Problem> {
    let Some((format, place)) = wanted.format else { return Ok(None) };
    match Format::from_extension(file) {
        Some(own) => Ok((own != format).then_some(format)),
        None => {
            let name = file.file_name().unwrap_or_default().display();
            let message = format!("{} is `{name}`, which is no table", reader.name());
            Err(Problem::new(place, message).help("only `.csv` and `.parquet` can be converted"))
        }
    }
}

/// Takes the dots out of a relative path; none where it leaves the folder that it starts from, or
/// names that folder itself.
pub(super) fn within(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    (!clean.as_os_str().is_empty()).then_some(clean)
}
