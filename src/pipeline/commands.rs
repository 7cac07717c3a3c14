//! What only the checks of a whole stage can see of a command: that its references name something,
//! that its files stay in their folder, and that it declares what it reads.

use std::collections::BTreeMap;
use std::path::Path;

use super::check::{Checks, NAMES, is_name};
use super::diagnostic::{Place, Problem, did_you_mean};
use super::draft::Draft;
use super::inputs::{Wiring, within};
use super::tree::{Data, Node};
use super::variables::commands_references;
use super::{Input, Source};
use crate::stage::Params;
use crate::stage::command::{self, Program};

/// Checks a stage if it is a command.
pub(super) fn check(
    draft: &Draft<'_>,
    wiring: &Wiring<'_>,
    checks: &Checks<'_>,
    problems: &mut Vec<Problem>,
) {
    let (Some(Params::Command(params)), Some(node)) = (&draft.params, draft.params_node()) else {
        return;
    };
    outputs(draft, params, problems);
    for field in ["run", "env"] {
        if let Some(entry) = node.entry(field) {
            references(draft, &entry.value, params, &wiring.inputs, checks, problems);
        }
    }
    if let Some(metrics) = &params.metrics
        && !params.outputs.contains_key(metrics)
    {
        let names = params.outputs.keys().map(String::as_str);
        let message = format!("`metrics` of {} is no output of it", draft.subject());
        problems.push(
            Problem::new(draft.param_place("metrics"), message)
                .help(did_you_mean(metrics, "outputs", names)),
        );
    }
    if let Some(dir) = &params.dir
        && !Path::new(dir).is_absolute()
        && within(Path::new(dir)).is_none()
        && dir != "."
    {
        let message = format!("`dir` of {} lies outside the root", draft.subject());
        problems.push(
            Problem::new(draft.param_place("dir"), message).help("give a folder below the root"),
        );
    }
    undeclared(draft, node, params, &wiring.inputs, checks, problems);
}

fn outputs(draft: &Draft<'_>, params: &command::Params, problems: &mut Vec<Problem>) {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, file) in &params.outputs {
        let place = draft.param_place(&format!("outputs.{name}"));
        if !is_name(name) {
            let message = format!("`{name}` cannot be the name of an output");
            problems.push(Problem::new(place, message).help(NAMES));
        }
        let plain = within(Path::new(file)).is_some_and(|path| path == Path::new(file));
        if !plain || file.contains(['/', '\\']) {
            let message = format!("the output `{name}` cannot be the file `{file}`");
            problems.push(
                Problem::new(place, message)
                    .help("give a file's name alone; the program writes to `${outputs.NAME}`"),
            );
        }
        if let Some(other) = taken.insert(file, name) {
            let message = format!("the outputs `{other}` and `{name}` are the same file `{file}`");
            problems.push(Problem::new(place, message).help("give each a file of its own"));
        }
    }
}

fn references(
    draft: &Draft<'_>,
    node: &Node,
    params: &command::Params,
    inputs: &BTreeMap<String, Input>,
    checks: &Checks<'_>,
    problems: &mut Vec<Problem>,
) {
    if let Data::List(items) = &node.data {
        for item in items {
            references(draft, item, params, inputs, checks, problems);
        }
    }
    for reference in commands_references(node.text().unwrap_or("")) {
        let Some((group, name)) = reference.split_once('.') else { continue };
        let known: Vec<&str> = match group {
            "inputs" => given_inputs(draft),
            "outputs" => params.outputs.keys().map(String::as_str).collect(),
            _ => params.with.keys().map(String::as_str).collect(),
        };
        let first = name.split('.').next().unwrap_or(name);
        let found = known.contains(&name) || (group == "with" && known.contains(&first));
        if !found {
            let place = checks.sources.narrow(node.place, reference);
            let message = format!("{} has no `{reference}`", draft.subject());
            problems.push(Problem::new(place, message).help(did_you_mean(name, group, known)));
        }
    }
}

/// Gives the names of inputs as they are written, for those may have mistakes of their own.
fn given_inputs<'a>(draft: &Draft<'a>) -> Vec<&'a str> {
    let inputs = draft.node.entry("inputs").map_or(&[][..], |entry| entry.value.entries());
    inputs.iter().map(|entry| entry.key.as_str()).collect()
}

/// Warns of arguments that name a file which the stage does not declare as an input: a change of
/// it would not run the stage again.
fn undeclared(
    draft: &Draft<'_>,
    node: &Node,
    params: &command::Params,
    inputs: &BTreeMap<String, Input>,
    checks: &Checks<'_>,
    problems: &mut Vec<Problem>,
) {
    let words: Vec<&str> = match &params.run {
        Program::Arguments(words) => words.iter().map(String::as_str).collect(),
        Program::Shell(line) => line.split_whitespace().collect(),
    };
    let declared: Vec<_> = inputs
        .values()
        .filter_map(|input| match &input.from {
            Source::File(path) => Some(path.as_path()),
            Source::Output { .. } => None,
        })
        .collect();
    let dir = Path::new(params.dir.as_deref().unwrap_or(""));
    let place = |word: &str| -> Place {
        let run = node.entry("run").map_or(node, |entry| &entry.value);
        checks.sources.narrow(run.place, word)
    };
    for word in words {
        let Some(path) = within(&dir.join(word)) else { continue };
        if declared.contains(&path.as_path()) || !checks.root.join(&path).is_file() {
            continue;
        }
        let message = format!("{} reads `{word}`, which it does not declare", draft.subject());
        let help = format!(
            "add an input `{{ file: {} }}`, so that a change of it runs the stage again",
            path.display()
        );
        problems.push(Problem::new(place(word), message).help(help).warning());
    }
}
