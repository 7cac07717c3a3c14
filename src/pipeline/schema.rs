//! The schemas of the kinds' params, as `schemars` makes them from the Rust types, and the JSON
//! Schema of a whole pipeline file for editors.
//!
//! The same schemas check a file (`walk`) and make the reference ([`super::reference()`]),
//! so the three cannot disagree.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::shape::{Shape, shape};
use crate::stage::{Params, StageKind};

/// The schemas of all kinds' params.
#[derive(Debug)]
pub(super) struct Schemas {
    kinds: Vec<(StageKind, Value)>,
    definitions: Map<String, Value>,
    descriptions: Vec<(StageKind, String)>,
}

/// Gives the schemas, made once.
pub(super) fn schemas() -> &'static Schemas {
    static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::make);
    &SCHEMAS
}

impl Schemas {
    fn make() -> Schemas {
        let mut generator = SchemaSettings::draft2020_12().into_generator();
        let kinds: Vec<(StageKind, Value)> =
            StageKind::ALL.map(|kind| (kind, kind.params_schema(&mut generator).to_value())).into();
        let words = generator.subschema_for::<StageKind>().to_value();
        let definitions = generator.take_definitions(true);
        let mut schemas = Schemas { kinds, definitions, descriptions: Vec::new() };
        schemas.descriptions = StageKind::ALL
            .iter()
            .map(|&kind| (kind, schemas.word_description(&words, kind.name())))
            .collect();
        schemas
    }

    fn word_description(&self, words: &Value, name: &str) -> String {
        let variants = self.resolve(words).get("oneOf").and_then(Value::as_array);
        let variant = variants.into_iter().flatten().find(|variant| variant["const"] == name);
        variant.and_then(|variant| variant["description"].as_str()).unwrap_or("").to_owned()
    }

    /// Gives the schema of a kind's params.
    pub fn of(&self, kind: StageKind) -> &Value {
        let found = self.kinds.iter().find(|(known, _)| *known == kind);
        // `make` goes through every kind.
        self.resolve(&found.expect("every kind has a schema").1)
    }

    /// Says in one sentence what a kind does.
    pub fn description(&self, kind: StageKind) -> &str {
        let found = self.descriptions.iter().find(|(known, _)| *known == kind);
        found.map_or("", |(_, description)| description)
    }

    /// Follows a reference to a definition.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let name = schema.get("$ref").and_then(Value::as_str);
        match name.and_then(|name| name.strip_prefix("#/$defs/")) {
            Some(name) => self.definitions.get(name).map_or(schema, |found| self.resolve(found)),
            None => schema,
        }
    }
}

impl Schemas {
    /// Makes the smallest params that a kind takes, to ask them what does not depend on params.
    pub fn example(&self, kind: StageKind) -> Option<Params> {
        Params::from_value(kind, self.example_of(self.of(kind))).ok()
    }

    fn example_of(&self, schema: &Value) -> Value {
        match shape(schema, self) {
            Shape::Any | Shape::Optional(_) => Value::Null,
            Shape::Boolean => Value::Bool(false),
            Shape::Integer(schema) | Shape::Number(schema) => {
                schema.get("minimum").cloned().unwrap_or(json!(1))
            }
            Shape::Text(_) => json!("x"),
            Shape::Words(words) => json!(words[0]),
            Shape::List(schema) => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                (0..least).map(|_| self.example_of(&schema["items"])).collect()
            }
            Shape::Map(schema) => self.example_map(schema),
            Shape::Tagged { tag, variants } => {
                let mut map = self.example_map(variants[0].1);
                map[tag] = json!(variants[0].0);
                map
            }
            Shape::Keyed(variants) => self.example_map(variants[0].1),
            Shape::Alternatives(choices) => self.example_of(choices[0]),
        }
    }

    fn example_map(&self, schema: &Value) -> Value {
        let required = schema["required"].as_array().into_iter().flatten();
        let fields = required
            .filter_map(Value::as_str)
            .map(|name| (name.to_owned(), self.example_of(&schema["properties"][name])));
        Value::Object(fields.collect())
    }
}

/// What each field of a pipeline file is for.
pub(super) const PIPELINE_FIELDS: [(&str, &str); 6] = [
    (
        "name",
        "The pipeline's name: its artifacts lie in `artifacts/<name>/`. Unless given, the file's own name.",
    ),
    ("description", "What the pipeline is for."),
    (
        "include",
        "Other files whose `vars`, `defaults` and `stages` belong to this pipeline; paths start at the file that says it. A variable of the including file wins; a stage or default may be given once.",
    ),
    (
        "vars",
        "Variables by name, or a list of such maps and of files that hold one, of which later ones win: `[params.yaml, { rows: 5 }]`. `${name}` stands for the value anywhere below `stages` and `defaults`, and `${name.key}` for a part of it; `--vars FILE` and `--set name=value` replace it.",
    ),
    (
        "defaults",
        "Fields by kind that every stage of that kind has: `{ train: { params: { epochs: 5 } } }`. Maps are merged key by key, and the stage's own value wins.",
    ),
    ("stages", "The stages by name. Their order does not matter: references make the graph."),
];

/// What each field of a stage is for.
pub(super) const STAGE_FIELDS: [(&str, &str); 15] = [
    ("kind", "What the stage does."),
    ("description", "What the stage is for; never part of its result."),
    ("tags", "Labels of your own; never part of its result."),
    (
        "when",
        "`true` or `false`, mostly a variable: where it is `false`, the stage is left out. A stage that reads or needs one that is left out must be left out too.",
    ),
    (
        "matrix",
        "Lists by key: one stage for each combination of their values, named as in `train[seed=1,units=64]`, in which `${matrix.seed}` stands for the value. `exclude` is a list of maps: combinations with those values are left out; `include` is a list of further combinations.",
    ),
    (
        "inputs",
        "What it reads, by name: `stage.output`, `stage` for its outputs, `{ file: path }` for a file of your own; `as: csv` or `as: parquet` asks for a format. A `command` also reads whole folders (`{ file: folder }`), the files that a pattern fits (`{ glob: \"data/**/*.csv\" }`), and all combinations of a stage with a `matrix`.",
    ),
    (
        "needs",
        "Stages that must be done before it, though it reads nothing of theirs; of a stage with a `matrix`, all combinations, or those with its own values.",
    ),
    ("params", "The kind's own parameters."),
    (
        "export",
        "Outputs that are also written to `artifacts/<pipeline>/` under a name of your own, in the format that its ending says: tables as `.csv` or `.parquet`, trained models also as Keras's `.h5` or `.keras`.",
    ),
    (
        "timeout",
        "After how long it is given up, such as `90s`, `30m` or `1h30m`: a command and all of its process group gets SIGTERM, then SIGKILL. Of a tune's base it holds for each trial, of a tune for its whole study. Never part of its result, as all fields below.",
    ),
    (
        "retries",
        "How often it is tried again after a failure: `3`, or `{ attempts: 3, backoff: 10s }`. The pause is 1 s unless given, and doubles each time, up to 10 minutes. A failure that would come again, such as a loss that is NaN, is not tried again.",
    ),
    (
        "resources",
        "How much of the machine it takes while it runs: `{ cpus: 2, memory: 4GiB, gpus: 1 }`. A kind of our own works on that many threads; a command sees the GPUs that it was given in `CUDA_VISIBLE_DEVICES`. Of a tune's base it holds for each trial.",
    ),
    (
        "priority",
        "Of the stages that could start, that with the highest number does; 0 unless given. Of equals, that from which the longest way leads to the end, by the durations of earlier runs.",
    ),
    (
        "cache",
        "`false` runs it each time; what reads its outputs runs only if they are other than before.",
    ),
    (
        "secrets",
        "Of a command: names of environment variables that it may read. Their values enter no fingerprint, log, event or history, and no other stage sees them.",
    ),
];

/// Makes the JSON Schema of a pipeline file, for editors.
///
/// It asks for no more than the checks do: where a value is expected, a variable may stand.
pub fn json_schema() -> Value {
    let schemas = schemas();
    let mut definitions: Map<String, Value> =
        schemas.definitions.iter().map(|(name, schema)| (name.clone(), loosened(schema))).collect();
    definitions.insert(
        "variable".into(),
        json!({
            "description": "A variable: `${name}`, defined under `vars`.",
            "type": "string",
            "pattern": "\\$\\{[^}]+\\}",
        }),
    );
    definitions.insert("input".into(), input_schema());
    definitions.insert("stage".into(), stage_schema(schemas));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A pipeline of `runner`",
        "description": "Stages of a machine-learning pipeline, and how they feed each other.",
        "type": "object",
        "required": ["stages"],
        "additionalProperties": false,
        "properties": described(&PIPELINE_FIELDS, |field| match field {
            "name" => json!({ "type": "string", "pattern": NAME }),
            "description" => json!({ "type": "string" }),
            "include" => json!({ "type": "array", "items": { "type": "string" } }),
            "vars" => json!({ "anyOf": [
                { "type": "object" },
                { "type": "array", "items": { "anyOf": [{ "type": "string" }, { "type": "object" }] } },
            ] }),
            "defaults" => json!({
                "type": "object",
                "propertyNames": { "enum": StageKind::ALL.map(StageKind::name).to_vec() },
                "additionalProperties": { "type": "object" },
            }),
            _ => json!({
                "type": "object",
                "minProperties": 1,
                "propertyNames": { "pattern": NAME },
                "additionalProperties": { "$ref": "#/$defs/stage" },
            }),
        }),
        "$defs": definitions,
    })
}

const NAME: &str = "^[A-Za-z0-9_][A-Za-z0-9_-]*$";

fn described(fields: &[(&str, &str)], schema: impl Fn(&str) -> Value) -> Value {
    let fields = fields.iter().map(|&(name, description)| {
        let mut schema = schema(name);
        schema["description"] = json!(description);
        (name.to_owned(), schema)
    });
    Value::Object(fields.collect())
}

fn stage_schema(schemas: &Schemas) -> Value {
    let kinds: Vec<Value> = StageKind::ALL
        .iter()
        .map(|kind| json!({ "const": kind.name(), "description": schemas.description(*kind) }))
        .collect();
    json!({
        "description": "One stage.",
        "type": "object",
        "required": ["kind"],
        "additionalProperties": false,
        "properties": described(&STAGE_FIELDS, |field| match field {
            "kind" => json!({ "oneOf": kinds }),
            "description" => json!({ "type": "string" }),
            "when" => json!({ "anyOf": [{ "type": "boolean" }, { "$ref": "#/$defs/variable" }] }),
            "matrix" => matrix_schema(),
            "tags" | "needs" => json!({ "type": "array", "items": { "type": "string" } }),
            "export" => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
            "timeout" => duration_schema(),
            "retries" | "resources" | "priority" | "cache" => or_variable(&option_schema(field)),
            "secrets" => json!({ "type": "array", "items": { "type": "string" } }),
            _ => json!({ "type": "object" }),
        }),
        "allOf": StageKind::ALL.map(|kind| kind_schema(kind, schemas)).to_vec(),
    })
}

fn duration_schema() -> Value {
    json!({ "type": "string", "pattern": "^([0-9]+(d|h|m|s|ms))+$|\\$\\{[^}]+\\}" })
}

/// Describes the values of an option of execution.
fn option_schema(field: &str) -> Value {
    match field {
        "retries" => json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "attempts": {
                            "type": "integer",
                            "minimum": 0,
                            "description": "Attempts after the first.",
                        },
                        "backoff": {
                            "type": "string",
                            "description": "The pause before the second attempt, such as `10s`.",
                        },
                    },
                },
            ],
        }),
        "resources" => json!({
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "cpus": { "type": "integer", "minimum": 1, "description": "CPUs." },
                "memory": { "type": "string", "description": "A size, such as `4GiB`." },
                "gpus": { "type": "integer", "minimum": 0, "description": "How many GPUs." },
            },
        }),
        "priority" => json!({ "type": "integer" }),
        _ => json!({ "type": "boolean" }),
    }
}

fn matrix_schema() -> Value {
    let maps = |description: &str| {
        json!({
            "description": description,
            "type": "array",
            "items": { "type": "object", "minProperties": 1 },
        })
    };
    let list = json!({ "type": "array", "minItems": 1 });
    json!({
        "type": "object",
        "properties": {
            "include": maps("Further combinations."),
            "exclude": maps("Combinations with these values are left out."),
        },
        "additionalProperties": { "anyOf": [list, { "$ref": "#/$defs/variable" }] },
    })
}

/// Says which inputs and params a stage of one kind has.
fn kind_schema(kind: StageKind, schemas: &Schemas) -> Value {
    let specs = kind.inputs();
    let inputs: Map<String, Value> = specs
        .iter()
        .map(|spec| {
            (spec.name.to_owned(), json!({ "$ref": "#/$defs/input", "description": spec.doc }))
        })
        .collect();
    let required: Vec<&str> =
        specs.iter().filter(|spec| spec.required).map(|spec| spec.name).collect();
    let others = match kind {
        StageKind::Command => json!({ "$ref": "#/$defs/input" }),
        _ => json!(false),
    };
    let reference = &schemas.kinds.iter().find(|(known, _)| *known == kind).map(|found| &found.1);
    let mut needed = Vec::new();
    if schemas.of(kind)["required"].as_array().is_some_and(|fields| !fields.is_empty()) {
        needed.push("params");
    }
    if !required.is_empty() {
        needed.push("inputs");
    }
    json!({
        "if": { "properties": { "kind": { "const": kind.name() } }, "required": ["kind"] },
        "then": {
            "required": needed,
            "properties": {
                "params": reference,
                "inputs": {
                    "type": "object",
                    "properties": inputs,
                    "required": required,
                    "additionalProperties": others,
                },
            },
        },
    })
}

fn input_schema() -> Value {
    let format = json!({
        "description": "The format in which the file is wanted.",
        "enum": ["csv", "parquet"],
    });
    let map = |field: &str, description: &str| {
        json!({
            "type": "object",
            "required": [field],
            "additionalProperties": false,
            "properties": {
                field: { "type": "string", "description": description },
                "as": format,
            },
        })
    };
    json!({
        "description": "What an input is read from.",
        "anyOf": [
            { "type": "string", "description": "`stage.output`, or `stage` for its outputs." },
            map("from", "An output of another stage: `stage.output`."),
            map("file", "A file of your own, or a folder; its path starts at the root."),
            map("glob", "The files of your own that a pattern fits; it starts at the root."),
        ],
    })
}

/// Lets a variable stand wherever a value is expected that is no text anyway, and describes the
/// fields that tell variants apart by what their variant is.
fn loosened(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let whole = fields.get("description");
    let mut loose = Map::new();
    for (key, value) in fields {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => properties
                .iter()
                .map(|(name, property)| {
                    let mut property = or_variable(property);
                    if property.is_object() && property.get("description").is_none() {
                        property["description"] = whole.cloned().unwrap_or_default();
                    }
                    (name.clone(), property)
                })
                .collect(),
            ("items" | "additionalProperties", inner) => or_variable(inner),
            ("oneOf" | "anyOf", Value::Array(choices)) => choices.iter().map(loosened).collect(),
            _ => value.clone(),
        };
        loose.insert(key.clone(), value);
    }
    Value::Object(loose)
}

fn or_variable(schema: &Value) -> Value {
    let open = schema.is_boolean() || schema["type"] == "string" || schema.get("const").is_some();
    let mut inner = loosened(schema);
    if open {
        return inner;
    }
    let mut outer = Map::new();
    for key in ["description", "default"] {
        if let Some(value) = inner.as_object_mut().and_then(|fields| fields.remove(key)) {
            outer.insert(key.to_owned(), value);
        }
    }
    outer.insert("anyOf".to_owned(), json!([inner, { "$ref": "#/$defs/variable" }]));
    Value::Object(outer)
}

#[cfg(test)]
mod tests {
    use super::super::{draft, gather};
    use super::*;

    /// Goes through a schema and calls back with every field of every object.
    fn fields(schema: &Value, path: &str, seen: &mut impl FnMut(&str, &Value)) {
        match schema {
            Value::Object(map) => {
                for (key, value) in map {
                    if key == "properties" {
                        for (name, property) in value.as_object().into_iter().flatten() {
                            seen(&format!("{path}.{name}"), property);
                        }
                    }
                    fields(value, &format!("{path}.{key}"), seen);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| fields(item, path, seen)),
            _ => {}
        }
    }

    #[test]
    fn every_field_is_described_and_every_reference_leads_somewhere() {
        let schema = json_schema();
        let mut undescribed = Vec::new();
        fields(&schema, "", &mut |path, property| {
            let condition = path.contains(".if.") || path.contains(".then.");
            if property["description"].as_str().is_none_or(str::is_empty) && !condition {
                undescribed.push(path.to_owned());
            }
        });
        assert_eq!(undescribed, [""; 0]);
        let text = schema.to_string();
        for reference in text.split("\"#/$defs/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schema["$defs"].get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn the_fields_are_those_that_the_checks_know() {
        assert_eq!(PIPELINE_FIELDS.map(|(name, _)| name), gather::FIELDS);
        assert_eq!(STAGE_FIELDS.map(|(name, _)| name), draft::FIELDS);
    }

    #[test]
    fn every_kind_has_an_example_and_a_description() {
        for kind in StageKind::ALL {
            assert!(schemas().example(kind).is_some(), "{kind:?}");
            assert_ne!(schemas().description(kind), "", "{kind:?}");
        }
    }

    #[test]
    fn a_variable_may_stand_for_a_number_but_not_for_a_tag() {
        let schema = json_schema();
        let epochs = schema["$defs"].as_object().unwrap().values();
        let epochs: Vec<_> =
            epochs.filter_map(|schema| schema["properties"].get("epochs")).collect();
        assert_eq!(epochs[0]["anyOf"][1]["$ref"], "#/$defs/variable");
        let network = &schema["$defs"]["Network"]["oneOf"][0]["properties"]["kind"];
        assert_eq!(network["const"], "lstm");
    }
}
