//! What only the checks of a whole stage can see of a command: that its references name something,
//! and that it declares what it reads.

use std::path::PathBuf;

use super::Source;
use super::check::{Checks, NAMES, is_name};
use super::diagnostic::Problem;
use super::draft::Draft;
use super::inputs::Wiring;
use crate::stage::Params;
use crate::stage::command::{self, Mention};

/// Checks a stage if it is a command.
pub(super) fn check(
    draft: &Draft<'_>,
    wiring: &Wiring<'_>,
    checks: &Checks<'_>,
    problems: &mut Vec<Problem>,
) {
    let Some(Params::Command(params)) = &draft.params else { return };
    output_names(draft, params, problems);
    let inputs = given_inputs(draft);
    let issues = params.check_inputs(&inputs);
    problems.extend(
        issues.into_iter().map(|issue| draft.param_problem(issue).at(draft.field_place("inputs"))),
    );
    let references = params.check_references(&inputs).into_iter();
    problems.extend(references.map(|mention| problem(draft, checks, mention)));
    let declared = wiring.inputs.values().filter_map(|input| match &input.from {
        Source::File(path) => Some(path.clone()),
        Source::Output { .. } => None,
    });
    let declared: Vec<PathBuf> = declared.collect();
    let undeclared = params.undeclared_files(checks.root, &declared).into_iter();
    problems.extend(undeclared.map(|mention| problem(draft, checks, mention).warning()));
}

/// Makes a problem that points to a word of a command.
fn problem(draft: &Draft<'_>, checks: &Checks<'_>, Mention { word, issue }: Mention) -> Problem {
    let place = checks.sources.narrow(draft.param_place(&issue.path), &word);
    draft.param_problem(issue).at(place)
}

fn output_names(draft: &Draft<'_>, params: &command::Params, problems: &mut Vec<Problem>) {
    for name in params.outputs.keys().filter(|name| !is_name(name)) {
        let message = format!("`{name}` cannot be the name of an output");
        let place = draft.param_place(&format!("outputs.{name}"));
        problems.push(Problem::new(place, message).help(NAMES));
    }
}

/// Gives the names of inputs as they are written, for those may have mistakes of their own.
fn given_inputs<'a>(draft: &Draft<'a>) -> Vec<&'a str> {
    let inputs = draft.node.entry("inputs").map_or(&[][..], |entry| entry.value.entries());
    inputs.iter().map(|entry| entry.key.as_str()).collect()
}
