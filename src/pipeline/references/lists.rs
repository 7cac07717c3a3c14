//! Inputs that are the files of several combinations of a matrix, with the table that tells them
//! apart; and what is said where a stage is not there for its reader.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexSet;

use super::{Reader, Wanted, conversion, dangling, not_one_file};
use crate::pipeline::check::Checks;
use crate::pipeline::diagnostic::{Place, Problem, listed};
use crate::pipeline::draft::Draft;
use crate::pipeline::{Input, Selector, Source, Table};
use crate::stage::OutputSpec;

/// Gives the file of each combination, and their table.
pub fn of_many(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    givers: &[&str],
    output: Option<&str>,
    checks: &Checks<'_>,
) -> Result<Vec<(String, Input)>, Problem> {
    let Some(room) = checks.room.get().checked_sub(givers.len()) else {
        let message = "the lists of all inputs hold too many files";
        let help = "give the reading stage the same keys in its `matrix`, or read fewer";
        return Err(Problem::new(wanted.place, message).help(help));
    };
    checks.room.set(room);
    let mut inputs = Vec::with_capacity(givers.len() + 1);
    for giver in givers {
        let Some(outputs) = &checks.drafts[giver].outputs else { return Ok(Vec::new()) };
        let output = pick(reader, wanted, giver, outputs, output, checks)?;
        let format = conversion(Path::new(&output.file), wanted, reader)?;
        let from = Source::Output { stage: (*giver).to_owned(), output: output.name.clone() };
        inputs.push((member(reader.input, giver), Input { from, format }));
    }
    let table = table(reader.input, givers, checks);
    let input = Input { from: Source::Table(Arc::new(table)), format: None };
    inputs.push((format!("{}.table", reader.input), input));
    Ok(inputs)
}

/// Gives the full name of the input that holds the file of one combination.
fn member(input: &str, giver: &str) -> String {
    let combination = giver.find('[').map_or("", |at| &giver[at..]);
    format!("{input}{combination}")
}

fn pick<'o>(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    giver: &str,
    outputs: &'o [OutputSpec],
    output: Option<&str>,
    checks: &Checks<'_>,
) -> Result<&'o OutputSpec, Problem> {
    match (output, outputs) {
        (None, [only]) => Ok(only),
        (None, _) => Err(not_one_file(reader, wanted, template(giver), outputs)),
        (Some(name), _) => outputs
            .iter()
            .find(|output| output.name == name)
            .ok_or_else(|| dangling(reader, wanted, checks)),
    }
}

fn template(stage: &str) -> &str {
    stage.split('[').next().unwrap_or(stage)
}

fn table(input: &str, givers: &[&str], checks: &Checks<'_>) -> Table {
    let combinations = || givers.iter().filter_map(|giver| checks.groups.combination(giver));
    let keys: IndexSet<&str> = combinations()
        .flat_map(|combination| combination.cells.iter().map(|cell| cell.key.as_str()))
        .collect();
    let row = |combination: &crate::pipeline::Combination| {
        let value = |key: &&str| {
            let cell = combination.cells.iter().find(|cell| cell.key == *key);
            cell.map(|cell| cell.value.clone())
        };
        keys.iter().map(value).collect()
    };
    Table {
        list: input.to_owned(),
        rows: combinations().map(row).collect(),
        members: givers.iter().map(|giver| member(input, giver)).collect(),
        keys: keys.into_iter().map(str::to_owned).collect(),
    }
}

/// Says that an input takes one file, and that there are several.
pub fn takes_one(
    reader: &Reader<'_, '_>,
    wanted: &Wanted<'_>,
    stage: &str,
    givers: &[&str],
) -> Problem {
    let count = givers.len();
    let message =
        format!("{} takes one stage, and `{stage}` has {count} combinations here", reader.name());
    let one = wanted.text.replacen(stage, givers[0], 1);
    let help = format!("give the stage the same `matrix`, or name one: `\"{one}\"`");
    Problem::new(wanted.place, message).help(help)
}

/// Says that no combination has the values that are asked for.
pub fn none_matches(draft: &Draft<'_>, stage: &str, place: Place, checks: &Checks<'_>) -> Problem {
    let selector = Selector::parse(stage);
    let found = selector.as_ref().and_then(|selector| checks.groups.matching(selector, None));
    let message = match found.is_some_and(|(found, _)| !found.is_empty()) {
        true => format!("no combination of `{stage}` has the values of {}", draft.subject()),
        false => format!("{} names `{stage}`, which is no combination", draft.subject()),
    };
    let all = selector.and_then(|selector| checks.groups.get(selector.stage));
    let names = all.into_iter().flat_map(|group| group.members.iter().map(String::as_str));
    Problem::new(place, message).help(format!("combinations: {}", listed(names)))
}

/// Says that a stage that is on depends on one that is off.
pub fn is_off(draft: &Draft<'_>, stage: &str, place: Place, verb: &str) -> Problem {
    let message = format!("{} {verb} `{stage}`, which its `when` leaves out", draft.subject());
    Problem::new(place, message).help("give it the same `when`, or let both be on")
}
