//! The README's reference of kinds and params, made from the schemas that check them.

use std::fmt::Write;

use serde_json::Value;

use super::schema::{PIPELINE_FIELDS, STAGE_FIELDS, Schemas, schemas};
use super::shape::{Shape, describe, shape};
use crate::stage::{StageKind, tune};

/// Makes the reference as Markdown: what each field of a stage is for, then for each kind its
/// inputs, outputs and params.
pub fn reference() -> String {
    let schemas = schemas();
    let mut text = String::new();
    for (title, fields) in
        [("### The file", &PIPELINE_FIELDS[..]), ("\n### Every stage", &STAGE_FIELDS[..])]
    {
        let _ = write!(text, "{title}\n\n| field | meaning |\n|---|---|\n");
        for (name, description) in fields {
            let _ = writeln!(text, "| `{name}` | {description} |");
        }
    }
    for kind in StageKind::ALL {
        let _ = write!(text, "\n### `{}`\n\n{}\n\n", kind.name(), schemas.description(kind));
        inputs(kind, &mut text);
        outputs(kind, schemas, &mut text);
        let mut rows = Vec::new();
        map_rows("", schemas.of(kind), "", schemas, &mut rows);
        text.push_str("| param | value | default | meaning |\n|---|---|---|---|\n");
        for Row { path, value, default, variants, meaning } in merged(rows) {
            let variants = match variants.is_empty() {
                true => String::new(),
                false => format!("With {}: ", variants.join(", ")),
            };
            let _ = writeln!(text, "| `{path}` | {value} | {default} | {variants}{meaning} |");
        }
    }
    text
}

fn inputs(kind: StageKind, text: &mut String) {
    match kind {
        StageKind::Command => {
            text.push_str(
                "Inputs: any names, each a file or a folder: `${inputs.NAME}`. Of a pattern and of \
                 several combinations of a matrix, that is all paths, as arguments or words of their \
                 own; of combinations, `${inputs.NAME.table}` is a CSV with their values and paths.\n\n",
            );
        }
        StageKind::Tune => text.push_str("Inputs: those of its base.\n\n"),
        kind if kind.inputs().is_empty() => text.push_str("Inputs: none.\n\n"),
        kind => {
            text.push_str("Inputs:\n\n");
            for spec in kind.inputs() {
                let optional = if spec.required { "" } else { " Optional." };
                let _ = writeln!(text, "- `{}`: {}{optional}", spec.name, spec.doc);
            }
            text.push('\n');
        }
    }
}

fn outputs(kind: StageKind, schemas: &Schemas, text: &mut String) {
    let list = |outputs: Vec<crate::stage::OutputSpec>| {
        let names = outputs.iter().map(|output| format!("`{}` ({})", output.name, output.file));
        names.collect::<Vec<_>>().join(", ")
    };
    let _ = match kind {
        StageKind::Command => writeln!(text, "Outputs: those that `outputs` declares.\n"),
        StageKind::Tune => writeln!(
            text,
            "Outputs: those of its base, made by the best trial, and {}; `repeats` only where a \
             trial has several, and `pareto` only where there are several objectives.\n",
            list(tune::own_outputs(None))
        ),
        kind => {
            let outputs = schemas.example(kind).map(|params| params.outputs());
            writeln!(text, "Outputs: {}.\n", list(outputs.unwrap_or_default()))
        }
    };
}

/// One line of a table.
struct Row {
    path: String,
    value: String,
    default: String,
    /// The variants of a tagged map that have the field; empty where all have it.
    variants: Vec<String>,
    meaning: String,
}

/// Joins the rows of a field that several variants have in common.
fn merged(rows: Vec<Row>) -> Vec<Row> {
    let mut merged: Vec<Row> = Vec::new();
    for row in rows {
        let same = merged.iter_mut().find(|other| {
            other.path == row.path
                && other.value == row.value
                && other.default == row.default
                && other.meaning == row.meaning
        });
        match same {
            Some(other) => other.variants.extend(row.variants),
            None => merged.push(row),
        }
    }
    merged
}

fn map_rows(prefix: &str, map: &Value, variant: &str, schemas: &Schemas, rows: &mut Vec<Row>) {
    let required = |name: &str| {
        map["required"].as_array().is_some_and(|names| names.iter().any(|other| other == name))
    };
    let fields: Vec<(&String, &Value)> =
        map["properties"].as_object().into_iter().flatten().collect();
    let (needed, optional): (Vec<_>, Vec<_>) =
        fields.into_iter().partition(|(name, _)| required(name));
    for (name, schema) in needed.into_iter().chain(optional) {
        if schema.get("const").is_some() {
            continue;
        }
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        rows.push(Row {
            path: path.clone(),
            value: cell(&describe(schema, schemas)),
            default: default(schema, required(name)),
            variants: Some(variant.to_owned())
                .filter(|word| !word.is_empty())
                .into_iter()
                .collect(),
            meaning: meaning(schema, map, schemas),
        });
        nested_rows(&path, schema, schemas, rows);
    }
}

fn nested_rows(path: &str, schema: &Value, schemas: &Schemas, rows: &mut Vec<Row>) {
    match shape(schema, schemas) {
        Shape::Optional(inner) => nested_rows(path, inner, schemas, rows),
        Shape::Map(map) => {
            map_rows(path, map, "", schemas, rows);
            if map["additionalProperties"].is_object() {
                nested_rows(&format!("{path}.NAME"), &map["additionalProperties"], schemas, rows);
            }
        }
        Shape::Tagged { variants, .. } => {
            let mut own = Vec::new();
            for (word, map) in &variants {
                map_rows(path, map, &format!("`{word}`"), schemas, &mut own);
            }
            let mut own = merged(own);
            for row in own.iter_mut().filter(|row| row.variants.len() == variants.len()) {
                row.variants.clear();
            }
            rows.extend(own);
        }
        Shape::Keyed(variants) => {
            for (_, map) in variants {
                map_rows(path, map, "", schemas, rows);
            }
        }
        _ => {}
    }
}

/// Says what a field is for, and what each of its words means.
fn meaning(schema: &Value, map: &Value, schemas: &Schemas) -> String {
    let own = schema["description"].as_str().or_else(|| map["description"].as_str());
    let mut text = own.unwrap_or("").to_owned();
    for (word, description) in word_meanings(schema, schemas) {
        let _ = write!(text, " `{word}`: {description}");
    }
    cell(&text)
}

fn word_meanings<'a>(schema: &'a Value, schemas: &'a Schemas) -> Vec<(&'a str, &'a str)> {
    match shape(schema, schemas) {
        Shape::Optional(inner) => word_meanings(inner, schemas),
        Shape::List(list) => word_meanings(&list["items"], schemas),
        Shape::Tagged { variants, .. } => variants
            .iter()
            .filter_map(|(word, variant)| Some((*word, variant["description"].as_str()?)))
            .collect(),
        Shape::Words(_) => {
            let variants = schemas.resolve(schema)["oneOf"].as_array();
            let documented = variants.into_iter().flatten();
            documented
                .filter_map(|variant| {
                    Some((variant["const"].as_str()?, variant["description"].as_str()?))
                })
                .collect()
        }
        _ => Vec::new(),
    }
}

fn default(schema: &Value, required: bool) -> String {
    match schema.get("default") {
        _ if required => "required".to_owned(),
        None | Some(Value::Null) => "none".to_owned(),
        Some(value) => format!("`{}`", yaml(value)),
    }
}

/// Writes a value as it would stand in a pipeline file.
fn yaml(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(yaml).collect::<Vec<_>>().join(", "))
        }
        Value::Object(fields) if fields.is_empty() => "{}".to_owned(),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name}: {}", yaml(value)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::reference;

    #[test]
    fn each_param_has_a_row_with_its_range_and_meaning() {
        let text = reference();
        for row in [
            "| `epochs` | a whole number from 1 to 1000000 | `12` | Passes over",
            "| `network.units` | a list of at least 1, each a whole number from 1 to 4096 | required |",
            "| `search.NAME.log_float` | a list of 2 items, each a number | none |",
            "| `schedule.every` | a whole number of at least 1 | required | With `step`: ",
            "- `history`: The model's `history`, to plot. Optional.",
            "and `trials` (trials.parquet), `best` (best.yaml), `importance`",
        ] {
            assert!(text.contains(row), "no {row:?} in\n{text}");
        }
        let learning_rates = text.matches("| `optimizer.learning_rate` |").count();
        assert_eq!(learning_rates, 1, "the variants' common field is one row");
    }
}
