use std::sync::Arc;

use super::super::SourceFile;
use super::super::tree;
use super::*;

fn substituted(text: &str, command: bool) -> (Value, Vec<String>, Vec<String>) {
    let file = Arc::new(SourceFile { path: "p.yaml".into(), text: text.to_owned() });
    let sources = Sources::new(file);
    let (root, _) = tree::parse(text, 0, 0).unwrap();
    let mut problems = Vec::new();
    let vars = root.entry("vars").map_or(&[][..], |entry| entry.value.entries());
    let define = |Entry { key, place, value }| (key, Definition { place, value, warns: true });
    let vars = vars.iter().cloned().map(define).collect();
    let mut variables = Variables::read(vars, Vec::new(), &sources, &mut problems);
    let mut node = root.entry("x").unwrap().value.clone();
    variables.substitute(&mut node, command, &sources, &mut problems);
    let said = problems
        .iter()
        .map(|problem| format!("{} at {}", problem.message, sources.text(problem.labels[0].0)));
    (node.to_value(), node.origin.clone(), said.collect())
}

#[test]
fn a_whole_reference_keeps_the_type_and_an_inner_one_is_text() {
    let vars = "vars: { n: 5, half: 0.5, list: [1, 2], m: \"${n}\" }\n";
    let value = |x: &str| substituted(&format!("{vars}x: {x}"), false);
    assert_eq!(value("\"${n}\"").0, 5);
    assert_eq!(value("${m}").0, 5);
    assert_eq!(value("\"a${n}b${half}\"").0, "a5b0.5");
    assert_eq!(value("\"${list}\"").0, serde_json::json!([1, 2]));
    assert_eq!(value("\"a${n}b${half}\"").1, ["n", "half"]);
    assert_eq!(value("\"$${n} $$${n} $5\"").0, "${n} $${n} $5");
}

#[test]
fn mistakes_are_named_at_the_reference() {
    let vars = "vars: { rows: 5, list: [1] }\n";
    let said = |x: &str| substituted(&format!("{vars}x: {x}"), false).2;
    assert_eq!(said("'a ${rowz}'"), ["there is no variable `rowz` at rowz"]);
    assert_eq!(said("'a ${rows'"), ["a `${` is never closed at ${rows"]);
    assert_eq!(said("'a ${list}'").len(), 1);
    assert_eq!(said("'${with.lr}'").len(), 1);
}

#[test]
fn a_commands_own_references_stay() {
    let (value, origin, said) = substituted("vars: {n: 3}\nx: 'do ${inputs.data} ${n}'", true);
    assert_eq!(value, "do ${inputs.data} 3");
    assert_eq!(origin, ["n"]);
    assert_eq!(said, [""; 0]);
}

#[test]
fn a_bomb_of_variables_is_refused() {
    for (open, close, comma) in [("[", "]", ", "), ("\"", "\"", "")] {
        let quote = if open == "[" { "\"" } else { "" };
        let mut text =
            format!("vars:\n  v0: {open}aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa{close}\n");
        for level in 1..12 {
            let one = format!("{quote}${{v{}}}{quote}{comma}", level - 1);
            text.push_str(&format!("  v{level}: {open}{}{close}\n", one.repeat(9)));
        }
        let (_, _, said) = substituted(&format!("{text}x: \"${{v11}}\"\n"), false);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("more than 1000000 values"), "{said:?}");
    }
}
