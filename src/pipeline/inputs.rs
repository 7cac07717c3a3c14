//! What a stage reads and needs: references, which are the edges of the graph.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::check::Checks;
use super::diagnostic::{Place, Problem, did_you_mean, listed, nearest};
use super::draft::{self, Draft};
use super::tree::{Data, Entry, Node};
use super::{Format, Input, Source};
use crate::stage::{InputSpec, OutputSpec, StageKind};

/// How a stage is joined to others.
#[derive(Debug, Default)]
pub(super) struct Wiring<'a> {
    pub inputs: BTreeMap<String, Input>,
    pub needs: Vec<&'a str>,
    pub edges: Vec<Edge<'a>>,
}

/// That a stage comes after another, and where the file says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge<'a> {
    pub to: &'a str,
    pub place: Place,
    /// Such as "reads".
    pub verb: &'static str,
}

/// The value of one input as it is written.
struct Wanted<'a> {
    from: From<'a>,
    /// The reference or the path.
    text: &'a str,
    place: Place,
    format: Option<(Format, Place)>,
}

enum From<'a> {
    Stage { stage: &'a str, output: Option<&'a str> },
    File,
}

/// Checks the inputs and the needs of a stage.
pub(super) fn wire<'a>(
    draft: &Draft<'a>,
    checks: &Checks<'a>,
    problems: &mut Vec<Problem>,
) -> Wiring<'a> {
    let mut wiring = Wiring::default();
    let entries = input_entries(draft, problems);
    match draft.kind {
        Some(StageKind::Tune) => refuse_inputs_of_a_tune(draft, entries, problems),
        Some(kind) => check_names(draft, kind, entries, problems),
        None => {}
    }
    for entry in entries {
        let spec =
            draft.kind.and_then(|kind| kind.inputs().iter().find(|spec| spec.name == entry.key));
        if draft.kind == Some(StageKind::Tune) {
            continue;
        }
        let Some(wanted) = wanted(draft, entry, problems) else { continue };
        if let From::Stage { stage, .. } = wanted.from
            && checks.drafts.contains_key(stage)
            && stage != draft.name
        {
            wiring.edges.push(Edge { to: stage, place: wanted.place, verb: "reads" });
        }
        let reader = Reader { draft, input: &entry.key, spec };
        match resolve(&reader, &wanted, checks) {
            Ok(inputs) => wiring.inputs.extend(inputs),
            Err(problem) => problems.push(problem),
        }
    }
    for (stage, place) in draft::words(draft, "needs", problems) {
        if let Some(problem) = unknown_need(draft, stage, place, checks) {
            problems.push(problem);
        } else if !wiring.needs.contains(&stage) {
            wiring.needs.push(stage);
            wiring.edges.push(Edge { to: stage, place, verb: "needs" });
        }
    }
    if let Some((base, place)) = draft.base()
        && checks.drafts.contains_key(base)
        && base != draft.name
    {
        wiring.edges.push(Edge { to: base, place, verb: "tunes" });
    }
    wiring
}

fn input_entries<'a>(draft: &Draft<'a>, problems: &mut Vec<Problem>) -> &'a [Entry] {
    let Some(entry) = draft.node.entry("inputs") else { return &[] };
    match &entry.value.data {
        Data::Map(entries) => entries,
        Data::Null | Data::Unknown => &[],
        _ => {
            let message = format!(
                "`inputs` of {} must be a map, not {}",
                draft.subject(),
                entry.value.describe()
            );
            problems.push(
                Problem::new(entry.value.place, message).help("write `{ data: stage.output }`"),
            );
            &[]
        }
    }
}

fn refuse_inputs_of_a_tune(draft: &Draft<'_>, entries: &[Entry], problems: &mut Vec<Problem>) {
    if !entries.is_empty() {
        let message = format!("{} is a tune, which reads the inputs of its base", draft.subject());
        problems.push(
            Problem::new(draft.field_place("inputs"), message)
                .help("remove `inputs`, or give them to the base"),
        );
    }
}

fn check_names(draft: &Draft<'_>, kind: StageKind, entries: &[Entry], problems: &mut Vec<Problem>) {
    let declared = kind.inputs();
    let names = declared.iter().map(|spec| spec.name);
    for entry in entries {
        if kind == StageKind::Command {
            if !super::check::is_name(&entry.key) {
                let message = format!("`{}` cannot be the name of an input", entry.key);
                problems.push(Problem::new(entry.place, message).help(super::check::NAMES));
            }
        } else if !names.clone().any(|name| name == entry.key) {
            let message = format!(
                "{} has no input `{}`: its kind is `{}`",
                draft.subject(),
                entry.key,
                kind.name()
            );
            let help = did_you_mean(&entry.key, "inputs", names.clone());
            problems.push(Problem::new(entry.place, message).help(help));
        }
    }
    for spec in declared.iter().filter(|spec| spec.required) {
        if !entries.iter().any(|entry| entry.key == spec.name) {
            let message = format!("{} lacks the input `{}`", draft.subject(), spec.name);
            problems.push(
                Problem::new(draft.field_place("inputs"), message)
                    .help(format!("`{}`: {}", spec.name, spec.doc)),
            );
        }
    }
}

const FORMS: &str =
    "write `stage.output`, `stage`, `{ file: path }` or `{ from: stage.output, as: csv }`";

/// Reads the value of an input.
fn wanted<'a>(
    draft: &Draft<'_>,
    entry: &'a Entry,
    problems: &mut Vec<Problem>,
) -> Option<Wanted<'a>> {
    let subject = format!("input `{}` of {}", entry.key, draft.subject());
    let node = &entry.value;
    let wrong = |node: &Node| {
        let message = format!("{subject} cannot be {}", node.describe());
        let place = if matches!(node.data, Data::Null) { entry.place } else { node.place };
        Problem::new(place, message).help(FORMS)
    };
    match &node.data {
        Data::Text(text) => {
            Some(Wanted { from: reference(text), text, place: node.place, format: None })
        }
        Data::Map(fields) => {
            let mut good = true;
            for field in fields.iter().filter(|field| !FIELDS.contains(&field.key.as_str())) {
                let message = format!("{subject} has no field `{}`", field.key);
                problems.push(
                    Problem::new(field.place, message)
                        .help(did_you_mean(&field.key, "fields", FIELDS)),
                );
                good = false;
            }
            let format = format_field(node, &subject, problems);
            let sources = [node.entry("from"), node.entry("file")];
            let source = match sources {
                [Some(only), None] | [None, Some(only)] => only,
                [Some(_), Some(file)] => {
                    let message = format!("{subject} has both `from` and `file`");
                    problems.push(Problem::new(file.place, message).help(FORMS));
                    return None;
                }
                [None, None] if good => {
                    let message = format!("{subject} has neither `from` nor `file`");
                    problems.push(Problem::new(node.place, message).help(FORMS));
                    return None;
                }
                [None, None] => return None,
            };
            let Some(text) = source.value.text() else {
                if !matches!(source.value.data, Data::Unknown) {
                    problems.push(wrong(&source.value));
                }
                return None;
            };
            let from = if source.key == "file" { From::File } else { reference(text) };
            Some(Wanted { from, text, place: source.value.place, format })
        }
        Data::Unknown => None,
        _ => {
            problems.push(wrong(node));
            None
        }
    }
}

/// The fields of an input that is written as a map.
pub(super) const FIELDS: [&str; 3] = ["from", "file", "as"];

fn reference(text: &str) -> From<'_> {
    match text.split_once('.') {
        Some((stage, output)) => From::Stage { stage, output: Some(output) },
        None => From::Stage { stage: text, output: None },
    }
}

fn format_field(
    node: &Node,
    subject: &str,
    problems: &mut Vec<Problem>,
) -> Option<(Format, Place)> {
    let entry = node.entry("as")?;
    match entry.value.text() {
        Some("csv") => Some((Format::Csv, entry.value.place)),
        Some("parquet") => Some((Format::Parquet, entry.value.place)),
        _ if matches!(entry.value.data, Data::Unknown) => None,
        _ => {
            let message = format!("{subject} cannot be read as {}", entry.value.describe());
            problems
                .push(Problem::new(entry.value.place, message).help("formats: `csv`, `parquet`"));
            None
        }
    }
}

/// Who reads, for messages.
struct Reader<'r, 'a> {
    draft: &'r Draft<'a>,
    input: &'r str,
    spec: Option<&'static InputSpec>,
}

impl Reader<'_, '_> {
    fn name(&self) -> String {
        format!("input `{}` of {}", self.input, self.draft.subject())
    }
}

fn resolve(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    checks: &Checks<'_>,
) -> Result<Vec<(String, Input)>, Problem> {
    let parts = reader.spec.map_or(&[][..], |spec| spec.parts);
    let From::Stage { stage, output } = wanted.from else {
        if !parts.is_empty() {
            let message = format!("{} takes a whole stage, not a file", reader.name());
            let help = reader.spec.map_or(String::new(), |spec| spec.doc.to_owned());
            return Err(Problem::new(wanted.place, message).help(help));
        }
        let path = user_file(wanted, reader, checks)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let format = conversion(&name, wanted, reader)?;
        return Ok(vec![(reader.input.to_owned(), Input { from: Source::File(path), format })]);
    };
    if stage == reader.draft.name {
        let message = format!("{} reads its own output `{}`", reader.draft.subject(), wanted.text);
        return Err(Problem::new(wanted.place, message).help("a stage reads outputs of others"));
    }
    let Some(giver) = checks.drafts.get(stage) else {
        return Err(dangling(reader, wanted, checks));
    };
    let Some(outputs) = &giver.outputs else { return Ok(Vec::new()) };
    let pick = |output: &OutputSpec, name: String, format| {
        let from = Source::Output { stage: stage.to_owned(), output: output.name.clone() };
        (name, Input { from, format })
    };
    if !parts.is_empty() {
        if output.is_some() || wanted.format.is_some() {
            let message = format!("{} takes a whole stage, not one output", reader.name());
            return Err(Problem::new(wanted.place, message).help(format!("write `{stage}`")));
        }
        return parts
            .iter()
            .map(|&part| match outputs.iter().find(|output| output.name == part) {
                Some(output) => Ok(pick(output, format!("{}.{part}", reader.input), None)),
                None => Err(lacks_part(reader, wanted, stage, part)),
            })
            .collect();
    }
    let output = match (output, &outputs[..]) {
        (Some(name), _) => {
            let found = outputs.iter().find(|output| output.name == name);
            found.ok_or_else(|| dangling(reader, wanted, checks))?
        }
        (None, [only]) => only,
        (None, _) => return Err(not_one_file(reader, wanted, stage, outputs)),
    };
    let format = conversion(&output.file, wanted, reader)?;
    Ok(vec![pick(output, reader.input.to_owned(), format)])
}

fn dangling(reader: &Reader<'_, '_>, wanted: &Wanted<'_>, checks: &Checks<'_>) -> Problem {
    let message =
        format!("{} reads `{}`, which no stage gives", reader.draft.subject(), wanted.text);
    let From::Stage { stage, output } = wanted.from else {
        return Problem::new(wanted.place, message);
    };
    let whole = reader.spec.is_some_and(|spec| !spec.parts.is_empty());
    let others = checks.drafts.values().filter(|draft| draft.name != reader.draft.name);
    let names: Vec<&str> = others.clone().map(|draft| draft.name).collect();
    let references: Vec<String> = others
        .flat_map(|draft| {
            let outputs = draft.outputs.iter().flatten();
            outputs.map(|output| format!("{}.{}", draft.name, output.name))
        })
        .collect();
    let candidates = references.iter().map(String::as_str).filter(|_| !whole);
    let help = match nearest(wanted.text, candidates.chain(names.iter().copied())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => match checks.drafts.get(stage).and_then(|draft| draft.outputs.as_ref()) {
            Some(outputs) if output.is_some() => format!(
                "`{stage}` gives {}",
                listed(outputs.iter().map(|output| output.name.as_str()))
            ),
            _ if names.is_empty() => "there is no other stage".to_owned(),
            _ => did_you_mean(stage, "stages", names.iter().copied()),
        },
    };
    let help = if is_likely_a_path(wanted.text) {
        format!("a file is written `{{ file: {} }}`", wanted.text)
    } else {
        help
    };
    Problem::new(wanted.place, message).help(help)
}

fn is_likely_a_path(text: &str) -> bool {
    text.contains('/') || text.ends_with(".csv") || text.ends_with(".parquet")
}

fn lacks_part(reader: &Reader<'_, '_>, wanted: &Wanted<'_>, stage: &str, part: &str) -> Problem {
    let message = format!("stage `{stage}` gives no `{part}`, which {} needs", reader.name());
    let help = reader.spec.map_or(String::new(), |spec| format!("`{}`: {}", spec.name, spec.doc));
    Problem::new(wanted.place, message).help(help)
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

/// Gives the format to which a file of that name must be converted, if to any.
fn conversion(
    file: &str,
    wanted: &Wanted<'_>,
    reader: &Reader<'_, '_>,
) -> Result<Option<Format>, Problem> {
    let Some((format, place)) = wanted.format else { return Ok(None) };
    match Format::from_extension(Path::new(file)) {
        Some(own) => Ok((own != format).then_some(format)),
        None => {
            let message = format!("{} is `{file}`, which is no table", reader.name());
            Err(Problem::new(place, message).help("only `.csv` and `.parquet` can be converted"))
        }
    }
}

fn unknown_need(
    draft: &Draft<'_>,
    stage: &str,
    place: Place,
    checks: &Checks<'_>,
) -> Option<Problem> {
    if stage == draft.name {
        let message = format!("{} needs itself", draft.subject());
        return Some(Problem::new(place, message).help("remove it"));
    }
    if checks.drafts.contains_key(stage) {
        return None;
    }
    let others = checks.drafts.keys().copied().filter(|name| *name != draft.name);
    let message = format!("{} needs `{stage}`, which is no stage", draft.subject());
    Some(Problem::new(place, message).help(did_you_mean(stage, "stages", others)))
}

/// Checks the path of a user's file: it exists, and does not leave the root unless it is absolute.
fn user_file(
    wanted: &Wanted<'_>,
    reader: &Reader<'_, '_>,
    checks: &Checks<'_>,
) -> Result<PathBuf, Problem> {
    let path = Path::new(wanted.text);
    let wrong = |what: &str, help: &str| {
        let message = format!("the file `{}` of {} {what}", wanted.text, reader.name());
        Problem::new(wanted.place, message).help(help)
    };
    let path = match path.is_absolute() {
        true => path.to_owned(),
        false => within(path).ok_or_else(|| {
            wrong("lies outside the root", "paths start at the root; give the absolute path")
        })?,
    };
    match std::fs::metadata(checks.root.join(&path)) {
        Ok(metadata) if metadata.is_file() => Ok(path),
        Ok(_) => Err(wrong("is no regular file", "name one file")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(wrong("does not exist", "paths start at the root, the folder that holds `.runner`"))
        }
        Err(error) => {
            Err(wrong(&format!("cannot be read: {error}"), "look at the rights of its folders"))
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
