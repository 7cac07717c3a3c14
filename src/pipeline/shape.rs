//! What a schema asks for, as a value: the one place that reads the forms of JSON Schema.
//!
//! The walk that checks, and the reference that explains, both match on a [`Shape`].

use serde_json::Value;

use super::diagnostic::listed;
use super::schema::Schemas;

/// What a schema asks for. References are followed; a schema within is not yet looked at.
#[derive(Debug)]
pub(super) enum Shape<'a> {
    /// Anything.
    Any,
    /// Nothing, or what the schema within asks for.
    Optional(&'a Value),
    Boolean,
    Integer(&'a Value),
    Number(&'a Value),
    Text(&'a Value),
    List(&'a Value),
    /// A map with known fields, or with any keys.
    Map(&'a Value),
    /// One of these words.
    Words(Vec<&'a str>),
    /// A map whose field `tag` says which of these it is.
    Tagged {
        tag: &'a str,
        variants: Vec<(&'a str, &'a Value)>,
    },
    /// A map with one key, which says which of these it is.
    Keyed(Vec<(&'a str, &'a Value)>),
    /// One of these, by what fits.
    Alternatives(Vec<&'a Value>),
}

impl Shape<'_> {
    /// Says whether the shape itself takes nothing as a value.
    pub fn takes_null(&self) -> bool {
        match self {
            Shape::Any | Shape::Optional(_) => true,
            Shape::Integer(schema)
            | Shape::Number(schema)
            | Shape::Text(schema)
            | Shape::List(schema)
            | Shape::Map(schema) => types(schema).any(|name| name == "null"),
            _ => false,
        }
    }
}

/// Reads the form of a schema.
pub(super) fn shape<'a>(schema: &'a Value, schemas: &'a Schemas) -> Shape<'a> {
    let schema = schemas.resolve(schema);
    if let Some(variants) = schema["oneOf"].as_array() {
        return variants_shape(variants);
    }
    if let Some(choices) = schema["anyOf"].as_array() {
        let some: Vec<&Value> = choices.iter().filter(|choice| choice["type"] != "null").collect();
        return match some[..] {
            [only] if some.len() < choices.len() => Shape::Optional(only),
            _ => Shape::Alternatives(some),
        };
    }
    if let Some(words) = schema["enum"].as_array() {
        return Shape::Words(words.iter().filter_map(Value::as_str).collect());
    }
    match types(schema).find(|name| *name != "null") {
        Some("boolean") => Shape::Boolean,
        Some("integer") => Shape::Integer(schema),
        Some("number") => Shape::Number(schema),
        Some("string") => Shape::Text(schema),
        Some("array") => Shape::List(schema),
        Some("object") => Shape::Map(schema),
        _ => Shape::Any,
    }
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let many = schema["type"].as_array().into_iter().flatten().filter_map(Value::as_str);
    schema["type"].as_str().into_iter().chain(many)
}

fn variants_shape(variants: &[Value]) -> Shape<'_> {
    let words = variants.iter().flat_map(|variant| {
        let many = variant["enum"].as_array().into_iter().flatten();
        variant["const"].as_str().into_iter().chain(many.filter_map(Value::as_str))
    });
    let words: Vec<&str> = words.collect();
    if !words.is_empty() {
        return Shape::Words(words);
    }
    let tag = variants.first().and_then(|variant| {
        let fields = variant["properties"].as_object()?;
        fields.iter().find(|(_, field)| field["const"].is_string()).map(|(name, _)| name.as_str())
    });
    if let Some(tag) = tag {
        let named = variants
            .iter()
            .filter_map(|variant| Some((variant["properties"][tag]["const"].as_str()?, variant)));
        return Shape::Tagged { tag, variants: named.collect() };
    }
    let named = variants.iter().filter_map(|variant| {
        let (name, _) = variant["properties"].as_object()?.iter().next()?;
        Some((name.as_str(), variant))
    });
    Shape::Keyed(named.collect())
}

/// Says what a schema asks for, as in "must be …".
pub(super) fn describe(schema: &Value, schemas: &Schemas) -> String {
    match shape(schema, schemas) {
        Shape::Any => "anything".to_owned(),
        Shape::Optional(inner) => describe(inner, schemas),
        Shape::Boolean => "`true` or `false`".to_owned(),
        Shape::Integer(schema) => format!("a whole number{}", range(schema)),
        Shape::Number(schema) => format!("a number{}", range(schema)),
        Shape::Text(_) => "a text".to_owned(),
        Shape::List(schema) => list(schema, schemas),
        Shape::Map(_) => "a map".to_owned(),
        Shape::Words(words) => one_of(words),
        Shape::Tagged { tag, variants } => {
            let words = variants.iter().map(|(word, _)| *word).collect();
            format!("a map with `{tag}`, {}", one_of(words))
        }
        Shape::Keyed(variants) => {
            format!("a map with {}", one_of(variants.iter().map(|(word, _)| *word).collect()))
        }
        Shape::Alternatives(choices) => {
            let words: Vec<String> =
                choices.iter().map(|choice| describe(choice, schemas)).collect();
            words.join(" or ")
        }
    }
}

fn one_of(words: Vec<&str>) -> String {
    let one = words.len() == 1;
    let words = listed(words);
    if one { words } else { format!("one of {words}") }
}

/// Says the range of a number, beginning with a blank; nothing where there is none.
fn range(schema: &Value) -> String {
    let bound = |name: &str| schema[name].as_number().map(number);
    match (bound("minimum"), bound("maximum")) {
        (Some(low), Some(high)) => format!(" from {low} to {high}"),
        (Some(low), None) => format!(" of at least {low}"),
        (None, Some(high)) => format!(" of at most {high}"),
        (None, None) => String::new(),
    }
}

fn number(number: &serde_json::Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

fn list(schema: &Value, schemas: &Schemas) -> String {
    let count = |name: &str| schema[name].as_u64();
    let length = match (count("minItems"), count("maxItems")) {
        (Some(least), Some(most)) if least == most => format!(" of {least} items"),
        (Some(least), Some(most)) => format!(" of {least} to {most} items"),
        (Some(least), None) => format!(" of at least {least}"),
        (None, Some(most)) => format!(" of at most {most}"),
        (None, None) => String::new(),
    };
    match shape(&schema["items"], schemas) {
        Shape::Any => format!("a list{length}"),
        _ => format!("a list{length}, each {}", describe(&schema["items"], schemas)),
    }
}
