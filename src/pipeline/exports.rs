//! Exports: outputs that are also written under the name that the user wants.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::check::Checks;
use super::diagnostic::{Place, Problem, did_you_mean};
use super::draft::Draft;
use super::node::{Data, Entry};
use super::references::within;
use super::{Export, Format};
use crate::conversion::Conversion;
use crate::model::{Network, keras};
use crate::stage::{OutputSpec, Params, StageKind};

/// Checks every stage's exports, alone and against each other; gives them by stage.
pub(super) fn check(
    checks: &Checks<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, IndexMap<String, Export>> {
    let mut exports: BTreeMap<String, IndexMap<String, Export>> = BTreeMap::new();
    let mut taken: BTreeMap<PathBuf, Place> = BTreeMap::new();
    for draft in checks.drafts.values() {
        let mut own = IndexMap::new();
        for entry in entries(draft, problems) {
            match one(draft, entry, checks) {
                Ok(Some(export)) => {
                    let place = entry.value.place;
                    if !draft.off
                        && let Err(problem) = claim(&export.file, place, &mut taken)
                    {
                        problems.push(each_its_own(problem, draft));
                    }
                    own.insert(entry.key.clone(), export);
                }
                Ok(None) => {}
                Err(problem) => problems.push(problem),
            }
        }
        exports.insert(draft.name.to_owned(), own);
    }
    exports
}

/// Says it of the combinations of a matrix, which share the text that names the file.
fn each_its_own(problem: Problem, draft: &Draft<'_>) -> Problem {
    let cell = draft.matrix.and_then(|combination| combination.cells.first());
    let (Some(cell), [(place, _), (other, _)]) = (cell, &problem.labels[..]) else {
        return problem;
    };
    if place != other {
        return problem;
    }
    let template = draft.template();
    let message = format!("several combinations of stage `{template}` are exported to one file");
    let help = format!("put what differs into the name, such as `${{matrix.{}}}`", cell.key);
    Problem::new(*place, message).help(help)
}

fn entries<'a>(draft: &Draft<'a>, problems: &mut Vec<Problem>) -> &'a [Entry] {
    let Some(entry) = draft.node.entry("export") else { return &[] };
    match &entry.value.data {
        Data::Map(entries) => entries,
        Data::Null | Data::Unknown => &[],
        _ => {
            let described = entry.value.describe();
            let message = format!("`export` of {} must be a map, not {described}", draft.subject());
            problems.push(
                Problem::new(entry.value.place, message).help("write `export: { data: name.csv }`"),
            );
            &[]
        }
    }
}

fn one(draft: &Draft<'_>, entry: &Entry, checks: &Checks<'_>) -> Result<Option<Export>, Problem> {
    let subject = format!("the export `{}` of {}", entry.key, draft.subject());
    let Some(outputs) = &draft.outputs else { return Ok(None) };
    let Some(output) = outputs.iter().find(|output| output.name == entry.key) else {
        let names = outputs.iter().map(|output| output.name.as_str());
        let message = format!("{} has no output `{}` to export", draft.subject(), entry.key);
        return Err(
            Problem::new(entry.place, message).help(did_you_mean(&entry.key, "outputs", names))
        );
    };
    let Some(name) = entry.value.text() else {
        if matches!(entry.value.data, Data::Unknown) {
            return Ok(None);
        }
        let message = format!("{subject} must be a file's name, not {}", entry.value.describe());
        return Err(Problem::new(entry.value.place, message).help("write `name.csv`"));
    };
    let wrong = |what: String| Problem::new(entry.value.place, format!("{subject} {what}"));
    let file = within(Path::new(name)).ok_or_else(|| {
        wrong(format!("cannot be written to `{name}`"))
            .help("exports lie under `artifacts/<pipeline>/`: give a name, or a path below it")
    })?;
    let first = file.iter().next().map(|first| first.to_string_lossy().into_owned());
    if let Some(stage) = first.filter(|first| checks.drafts.contains_key(first.as_str())) {
        return Err(wrong(format!("would lie in the folder of stage `{stage}`"))
            .help("give it another name"));
    }
    let conversion = ending(&file, output, &trained(draft, checks))
        .map_err(|help| wrong(format!("cannot be written as `{name}`")).help(help))?;
    Ok(Some(Export { file, conversion }))
}

/// Gives what an output is turned into for a file's ending, or which endings there are.
fn ending(
    file: &Path,
    output: &OutputSpec,
    trained: &Trained<'_>,
) -> Result<Option<Conversion>, String> {
    let extension =
        |path: &Path| path.extension().map(|extension| extension.to_string_lossy().into_owned());
    let (wanted, own) = (extension(file), extension(Path::new(&output.file)));
    if wanted == own {
        return Ok(None);
    }
    if let Some(own) = Format::from_extension(Path::new(&output.file)) {
        let asked = Format::from_extension(file)
            .ok_or_else(|| format!("`{}` is a table: known are `.csv`, `.parquet`", output.name))?;
        return Ok((own != asked).then_some(Conversion::Table(asked)));
    }
    let is_model = own.as_deref() == Some("safetensors") && !matches!(trained, Trained::Nothing);
    match (own, keras::Format::from_extension(file)) {
        (None, _) => Err(format!("`{}` has no ending", output.name)),
        (Some(own), None) if is_model => {
            Err(format!("known for `{}` are `.{own}`, `.h5`, `.keras`", output.name))
        }
        (Some(_), Some(asked)) if is_model => {
            if let Trained::Network(network) = trained {
                keras::check(network).map_err(|error| error.to_string())?;
            }
            Ok(Some(Conversion::Model(asked)))
        }
        (Some(own), _) => Err(format!("known for `{}` is `.{own}`", output.name)),
    }
}

/// What is known, before anything runs, of the network that a stage trains.
enum Trained<'a> {
    /// There is none: the stage does not train.
    Nothing,
    /// It depends on the trials, or there are mistakes in the params.
    Unknown,
    /// It is of this kind, whatever a search changes in it.
    Network(&'a Network),
}

fn trained<'a>(draft: &'a Draft<'_>, checks: &'a Checks<'_>) -> Trained<'a> {
    let base = draft.base().and_then(|(base, _)| checks.drafts.get(base));
    let trains = base.unwrap_or(draft);
    if trains.kind != Some(StageKind::Train) {
        return Trained::Nothing;
    }
    let is_searched = match &draft.params {
        Some(Params::Tune(tune)) => {
            ["network", "network.kind"].iter().any(|path| tune.search.contains_key(*path))
        }
        Some(_) => false,
        None => true,
    };
    match &trains.params {
        Some(Params::Train(train)) if !is_searched => Trained::Network(&train.network),
        _ => Trained::Unknown,
    }
}

/// Takes a path under the pipeline's artifacts, which none may take twice, nor as a folder.
fn claim(file: &Path, place: Place, taken: &mut BTreeMap<PathBuf, Place>) -> Result<(), Problem> {
    let above = file.ancestors().find_map(|folder| taken.get_key_value(folder));
    // Paths are ordered by their parts, so what lies below a path follows it at once.
    let below =
        || taken.range(file.to_owned()..).next().filter(|(other, _)| other.starts_with(file));
    if let Some((other, first)) = above.or_else(below) {
        let message = match other == file {
            true => format!("the file `{}` is exported twice", file.display()),
            false => format!("`{}` and `{}` cannot both exist", file.display(), other.display()),
        };
        return Err(Problem::new(place, message)
            .help("give one of them another name")
            .label(*first, "also here"));
    }
    taken.insert(file.to_owned(), place);
    Ok(())
}
