//! Sets values in a base's params by dotted path, with what the JSON Schema of their type says:
//! which fields there are, which of them a change of `kind` takes away, and which values are too
//! small or too large.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::stage::{ParamIssue, Params, StageKind};
use crate::study::Point;
use crate::study::space::same;

/// Gives the base's params with the values of a point at their dotted paths.
///
/// A field that the base leaves out is created where its type has it. Where a point changes what
/// kind of thing an object is (`optimizer.kind`), the fields that the new kind does not have are
/// taken away.
///
/// # Errors
///
/// The first mistake, by its place within the base's params (empty where several values may be at
/// fault).
pub fn trial_params(base: &Params, point: &Point) -> Result<Params, ParamIssue> {
    let shape = Shape::of(base.kind());
    let mut value = base.to_value();
    let (tags, others): (Vec<_>, Vec<_>) = point.iter().partition(|(path, _)| shape.is_tag(path));
    for (path, new) in tags {
        set(&mut value, path, new)?;
        shape.drop_foreign(&mut value, path);
    }
    for (path, new) in others {
        set(&mut value, path, new)?;
    }
    let suspect = if point.len() == 1 { point.keys().next() } else { None };
    let params = Params::from_value(base.kind(), value).map_err(|error| ParamIssue {
        path: suspect.cloned().unwrap_or_default(),
        message: error.to_string(),
        help: None,
    })?;
    let read = params.to_value();
    // A tagged type without fields ignores those that it is given.
    if let Some((path, _)) = point.iter().find(|(path, new)| !covers(get(&read, path), new)) {
        let help = "search it only `when` the base has it";
        return Err(ParamIssue::new(path, format!("there is no `{path}` beside the others"), help));
    }
    if let Some((path, message)) = shape.breach(shape.root(), &read) {
        return Err(ParamIssue { path, message, help: None });
    }
    match params.check().into_iter().next() {
        Some(issue) => Err(issue),
        None => Ok(params),
    }
}

/// Gives the dotted paths that a search over the base may name.
pub(super) fn paths(base: &Params) -> BTreeSet<String> {
    let shape = Shape::of(base.kind());
    let mut paths = BTreeSet::new();
    shape.collect(shape.root(), "", &mut paths);
    // A map of the user's own has the names that the base gives it.
    collect_own(&base.to_value(), "", &mut paths);
    paths
}

fn collect_own(value: &Value, prefix: &str, paths: &mut BTreeSet<String>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = joined(prefix, name);
        collect_own(field, &path, paths);
        paths.insert(path);
    }
}

/// Finds the value at a dotted path.
pub(super) fn get<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

/// Sets the value at a dotted path; what is null or absent on the way becomes an object.
pub(super) fn set(value: &mut Value, path: &str, new: &Value) -> Result<(), ParamIssue> {
    let mut place = value;
    for (index, name) in path.split('.').enumerate() {
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(fields) = place else {
            let parent: Vec<&str> = path.split('.').take(index).collect();
            let message = format!("`{}` has no fields", parent.join("."));
            return Err(ParamIssue { path: path.to_owned(), message, help: None });
        };
        place = fields.entry(name).or_insert(Value::Null);
    }
    *place = new.clone();
    Ok(())
}

/// Says whether what was read has all that was set; it may have defaults besides.
fn covers(read: Option<&Value>, set: &Value) -> bool {
    match (read, set) {
        (None, set) => set.is_null(),
        (Some(Value::Object(read)), Value::Object(set)) => {
            set.iter().all(|(name, value)| covers(read.get(name), value))
        }
        (Some(read), set) => same(read, set),
    }
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

/// The JSON Schema of a kind's params.
struct Shape {
    root: Value,
    definitions: Map<String, Value>,
}

impl Shape {
    fn of(kind: StageKind) -> &'static Shape {
        static SHAPES: LazyLock<Vec<(StageKind, Shape)>> = LazyLock::new(|| {
            StageKind::ALL.into_iter().map(|kind| (kind, Shape::make(kind))).collect()
        });
        let found = SHAPES.iter().find(|(other, _)| *other == kind);
        &found.expect("there is a shape of every kind").1
    }

    fn make(kind: StageKind) -> Shape {
        let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
        let root = kind.params_schema(&mut generator).to_value();
        Shape { root, definitions: generator.take_definitions(true) }
    }

    fn root(&self) -> &Value {
        &self.root
    }

    /// Gives the alternatives of a schema, with references followed: itself, where it has none.
    fn variants<'a>(&'a self, schema: &'a Value) -> Vec<&'a Value> {
        let name = schema["$ref"].as_str().and_then(|name| name.strip_prefix("#/$defs/"));
        if let Some(definition) = name.and_then(|name| self.definitions.get(name)) {
            return self.variants(definition);
        }
        match schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
            Some(all) => all.iter().flat_map(|one| self.variants(one)).collect(),
            None => vec![schema],
        }
    }

    /// Gives the schemas that a dotted path may lead to.
    fn at(&self, path: &str) -> Vec<&Value> {
        path.split('.').fold(self.variants(&self.root), |schemas, name| {
            let fields = schemas.into_iter().filter_map(|schema| schema["properties"].get(name));
            fields.flat_map(|field| self.variants(field)).collect()
        })
    }

    /// Says whether a field tells what kind of thing its object is.
    fn is_tag(&self, path: &str) -> bool {
        path.contains('.')
            && self.at(path).iter().any(|schema| schema.get("const").is_some())
            && self.parent(path).len() == self.at(path).len()
    }

    fn parent(&self, path: &str) -> Vec<&Value> {
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        let objects = self.at(parent).into_iter();
        objects.filter(|schema| schema.get("properties").is_some()).collect()
    }

    /// Takes away the fields that an object no longer has after its tag at `path` was set.
    fn drop_foreign(&self, value: &mut Value, path: &str) {
        let Some((parent, tag)) = path.rsplit_once('.') else { return };
        let pointer = format!("/{}", parent.replace('.', "/"));
        let Some(Value::Object(fields)) = value.pointer_mut(&pointer) else { return };
        let variant = self
            .parent(path)
            .into_iter()
            .find(|one| Some(&one["properties"][tag]["const"]) == fields.get(tag));
        if let Some(properties) = variant.and_then(|variant| variant["properties"].as_object()) {
            fields.retain(|name, _| properties.contains_key(name));
        }
    }

    fn collect(&self, schema: &Value, prefix: &str, paths: &mut BTreeSet<String>) {
        for variant in self.variants(schema) {
            for (name, field) in variant["properties"].as_object().into_iter().flatten() {
                let path = joined(prefix, name);
                self.collect(field, &path, paths);
                paths.insert(path);
            }
        }
    }

    /// Finds the first value that is outside the bounds of its schema, with its place.
    fn breach(&self, schema: &Value, value: &Value) -> Option<(String, String)> {
        let variant = self.variants(schema).into_iter().find(|schema| fits(schema, value))?;
        let (size, least, most, unit) = match value {
            Value::Number(number) => (number.as_f64()?, "minimum", "maximum", ""),
            Value::Array(items) => (items.len() as f64, "minItems", "maxItems", " values"),
            Value::String(text) => {
                (text.chars().count() as f64, "minLength", "maxLength", " characters")
            }
            _ => (0.0, "", "", ""),
        };
        let bound = |name: &str| variant.get(name).and_then(Value::as_f64);
        if let Some(least) = bound(least).filter(|least| size < *least) {
            return Some((String::new(), format!("out of range, at least {least}{unit}")));
        }
        if let Some(most) = bound(most).filter(|most| size > *most) {
            return Some((String::new(), format!("out of range, at most {most}{unit}")));
        }
        match value {
            Value::Array(items) => {
                items.iter().find_map(|item| self.breach(&variant["items"], item))
            }
            Value::Object(fields) => fields.iter().find_map(|(name, field)| {
                let (path, message) = self.breach(variant["properties"].get(name)?, field)?;
                Some((if path.is_empty() { name.clone() } else { joined(name, &path) }, message))
            }),
            _ => None,
        }
    }
}

/// Says whether a schema without alternatives is of the type of a value, and of its tag.
fn fits(schema: &Value, value: &Value) -> bool {
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" | "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    let of_type = match &schema["type"] {
        Value::String(name) => is(name),
        Value::Array(names) => names.iter().filter_map(Value::as_str).any(is),
        _ => true,
    };
    let tagged = |(name, field): (&String, &Value)| {
        field.get("const").is_none_or(|tag| value.get(name) == Some(tag))
    };
    of_type
        && schema.get("const").is_none_or(|only| only == value)
        && schema["properties"].as_object().is_none_or(|fields| fields.iter().all(tagged))
}
