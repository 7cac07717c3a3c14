//! What only the checks of a whole stage can see of a command: that its placeholders name something
//! and that it declares the files that it reads. What is wrong is found by the kind itself; here it
//! gets its place.

use super::Source;
use super::check::Checks;
use super::diagnostic::Problem;
use super::draft::Draft;
use super::inputs::Wiring;
use crate::stage::Params;
use crate::stage::command::Mention;

/// Checks a stage if it is a command.
pub(super) fn check(
    draft: &Draft<'_>,
    wiring: &Wiring<'_>,
    checks: &Checks<'_>,
    problems: &mut Vec<Problem>,
) {
    let Some(Params::Command(params)) = &draft.params else { return };
    // The names as they are written, since an input with a mistake of its own is declared too.
    let inputs = draft.node.entry("inputs").map_or(&[][..], |entry| entry.value.entries());
    // What a mistake hides may be a list with a table.
    let hidden = inputs.iter().filter(|entry| !wiring.inputs.contains_key(&entry.key));
    let hidden: Vec<String> = hidden.map(|entry| format!("{}.table", entry.key)).collect();
    let mut inputs: Vec<&str> = inputs.iter().map(|entry| entry.key.as_str()).collect();
    let mut several = Vec::new();
    for (name, input) in &wiring.inputs {
        match &input.from {
            Source::Glob(_) => several.push(name.as_str()),
            Source::Table(table) => {
                inputs.push(name);
                several.push(table.list.as_str());
            }
            Source::Output { .. } | Source::File(_) | Source::Folder(_) => {}
        }
    }
    let clashes = params.check_inputs(&inputs).into_iter();
    problems.extend(clashes.map(|issue| {
        let message = format!("{}: {}", draft.subject(), issue.message);
        Problem::new(draft.field_place("inputs"), message).maybe_help(issue.help)
    }));
    inputs.extend(hidden.iter().map(String::as_str));
    let mentions = params.check_references(&inputs).into_iter();
    problems.extend(mentions.map(|mention| problem(draft, mention, checks)));
    let mentions = params.check_lists(&several).into_iter();
    problems.extend(mentions.map(|mention| problem(draft, mention, checks)));
    let declared = wiring.inputs.values().flat_map(|input| match &input.from {
        Source::File(path) | Source::Folder(path) => vec![path.clone()],
        Source::Glob(pattern) => {
            checks.fitting(pattern).map_or_else(|_| Vec::new(), |files| files.to_vec())
        }
        Source::Output { .. } | Source::Table(_) => Vec::new(),
    });
    let declared: Vec<_> = declared.collect();
    let mentions = params.undeclared_files(checks.root, &declared).into_iter();
    problems.extend(mentions.map(|mention| problem(draft, mention, checks).warning()));
}

fn problem(draft: &Draft<'_>, mention: Mention, checks: &Checks<'_>) -> Problem {
    let mut problem = draft.param_problem(mention.issue);
    for (place, _) in &mut problem.labels {
        *place = checks.sources.narrow(*place, &mention.word);
    }
    problem
}
