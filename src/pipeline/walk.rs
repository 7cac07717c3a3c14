//! Checks a node against a JSON Schema, and reports every mistake at its own place.
//!
//! An interpreter of the subset of JSON Schema that `schemars` makes of params: objects, maps,
//! lists, numbers with ranges, words, tagged enums, options, alternatives. Serde would stop at the
//! first mistake and forget where it was. Knows nothing of pipelines.

use serde_json::{Number, Value};

use super::diagnostic::{Place, Problem, did_you_mean, listed};
use super::node::{Data, Entry, Node};
use super::schema::Schemas;
use super::shape::{Shape, describe, shape};

/// A walk over the params of one stage.
pub(super) struct Walk<'a> {
    pub schemas: &'a Schemas,
    /// Whose params they are, such as "stage `train`".
    pub subject: String,
    /// Whether what is absent may come from elsewhere.
    pub partial: bool,
    pub problems: Vec<Problem>,
}

/// Where a walk is.
#[derive(Clone)]
struct Spot<'a> {
    /// The dotted path within `params`; empty at its top.
    path: String,
    /// The key whose value is looked at.
    key: Place,
    node: &'a Node,
    /// Which variant of a tagged map its fields belong to, as the end of a sentence about them.
    variant: String,
    /// What the nearest documented field around it is for: a way out where there is no better.
    doc: String,
}

impl<'a> Spot<'a> {
    fn below(&self, key: &str, place: Place, node: &'a Node) -> Spot<'a> {
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = format!("{}{dot}{key}", self.path);
        Spot { path, key: place, node, variant: String::new(), doc: self.doc.clone() }
    }
}

impl Walk<'_> {
    /// Checks `params` whole; `key` is where the word `params` stands, or what stands for it.
    pub fn params(&mut self, node: &Node, key: Place, schema: &Value) {
        let doc = "write `params: { name: value }`".to_owned();
        self.value(&Spot { path: String::new(), key, node, variant: String::new(), doc }, schema);
    }

    fn value(&mut self, spot: &Spot<'_>, schema: &Value) {
        let shape = shape(schema, self.schemas);
        if matches!(spot.node.data, Data::Unknown) || matches!(shape, Shape::Any) {
            return;
        }
        if matches!(spot.node.data, Data::Null) && shape.takes_null() {
            return;
        }
        match &shape {
            Shape::Any => {}
            Shape::Optional(inner) => self.value(spot, inner),
            Shape::Boolean => self.boolean(spot),
            Shape::Integer(schema) => self.integer(spot, schema),
            Shape::Number(schema) => self.number(spot, schema),
            Shape::Text(schema) => self.text(spot, schema),
            Shape::List(schema) => self.list(spot, schema),
            Shape::Map(schema) => self.map(spot, schema),
            Shape::Words(words) => self.words(spot, words),
            Shape::Tagged { tag, variants } => self.tagged(spot, tag, variants),
            Shape::Keyed(variants) => self.keyed(spot, variants),
            Shape::Alternatives(schemas) => self.alternatives(spot, schemas),
        }
    }

    fn boolean(&mut self, spot: &Spot<'_>) {
        match &spot.node.data {
            Data::Bool(_) => {}
            Data::Text(_) => self.wrong_type(
                spot,
                "`true` or `false`",
                Some("only `true` and `false` are booleans, without quotes".into()),
            ),
            _ => self.wrong_type(spot, "`true` or `false`", None),
        }
    }

    fn integer(&mut self, spot: &Spot<'_>, schema: &Value) {
        match &spot.node.data {
            Data::Number(number) if !number.is_f64() => self.range(spot, number, schema),
            Data::Number(number) => {
                let whole = number.as_f64().filter(|number| number.fract() == 0.0);
                let help = whole.map(|number| format!("write `{number:.0}`"));
                self.wrong_type(spot, &describe(schema, self.schemas), help);
            }
            _ => self.not_a_number(spot, schema),
        }
    }

    fn number(&mut self, spot: &Spot<'_>, schema: &Value) {
        match &spot.node.data {
            Data::Number(number) => self.range(spot, number, schema),
            _ => self.not_a_number(spot, schema),
        }
    }

    fn not_a_number(&mut self, spot: &Spot<'_>, schema: &Value) {
        let quoted = spot.node.text().is_some_and(|text| text.trim().parse::<f64>().is_ok());
        let help = quoted.then(|| "write it without quotes".to_owned());
        self.wrong_type(spot, &describe(schema, self.schemas), help);
    }

    fn range(&mut self, spot: &Spot<'_>, number: &Number, schema: &Value) {
        let below =
            schema.get("minimum").and_then(Value::as_number).filter(|low| less(number, low));
        let above =
            schema.get("maximum").and_then(Value::as_number).filter(|high| less(high, number));
        let bounds = format_bounds(schema["format"].as_str().unwrap_or(""));
        let outside = !number.is_f64()
            && bounds.is_some_and(|(low, high)| !(low..=high).contains(&whole(number)));
        if below.is_none() && above.is_none() && !outside {
            return;
        }
        let expected = match (bounds, below.is_none() && above.is_none()) {
            (Some((low, high)), true) => format!("a whole number from {low} to {high}"),
            _ => describe(schema, self.schemas),
        };
        self.wrong_type(spot, &expected, None);
    }

    fn text(&mut self, spot: &Spot<'_>, schema: &Value) {
        let Some(text) = spot.node.text() else {
            let help = matches!(spot.node.data, Data::Number(_) | Data::Bool(_))
                .then(|| format!("put it in quotes: `\"{}\"`", plain(spot.node)));
            return self.wrong_type(spot, "a text", help);
        };
        if schema["minLength"].as_u64().is_some_and(|least| (text.chars().count() as u64) < least) {
            let message = format!("{} must not be empty", self.name(&spot.path));
            self.problems.push(Problem::new(spot.node.place, message).help(&spot.doc));
        }
    }

    fn list(&mut self, spot: &Spot<'_>, schema: &Value) {
        let Data::List(items) = &spot.node.data else {
            let scalar = matches!(spot.node.data, Data::Number(_) | Data::Text(_) | Data::Bool(_));
            let help = scalar.then(|| format!("write `[{}]`", plain(spot.node)));
            return self.wrong_type(spot, &describe(schema, self.schemas), help);
        };
        let length = items.len() as u64;
        let few = schema["minItems"].as_u64().is_some_and(|least| length < least);
        let many = schema["maxItems"].as_u64().is_some_and(|most| length > most);
        if few || many {
            let expected = describe(schema, self.schemas);
            let message = format!("{} must be {expected}, not of {length}", self.name(&spot.path));
            self.problems.push(Problem::new(spot.node.place, message).help(&spot.doc));
        }
        for (index, item) in items.iter().enumerate() {
            self.value(&spot.below(&index.to_string(), item.place, item), &schema["items"]);
        }
    }

    fn map(&mut self, spot: &Spot<'_>, schema: &Value) {
        let Data::Map(entries) = &spot.node.data else {
            return self.wrong_type(spot, "a map of names and values", None);
        };
        let known = schema["properties"].as_object();
        if schema["minProperties"].as_u64().is_some_and(|least| (entries.len() as u64) < least) {
            let message = format!("{} must not be empty", self.name(&spot.path));
            self.problems.push(Problem::new(spot.key, message).help(&spot.doc));
        }
        for entry in entries {
            let mut below = spot.below(&entry.key, entry.place, &entry.value);
            if let Some(doc) = known.and_then(|known| documented(known.get(&entry.key)?)) {
                below.doc = format!("`{}`: {doc}", entry.key);
            }
            match (known.and_then(|known| known.get(&entry.key)), &schema["additionalProperties"]) {
                (Some(property), _) => self.value(&below, property),
                (None, Value::Bool(false)) => self.unknown_field(spot, entry, schema),
                (None, values) => self.value(&below, values),
            }
        }
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !entries.iter().any(|entry| entry.key == name) {
                self.missing_field(spot, name, schema);
            }
        }
    }

    fn unknown_field(&mut self, spot: &Spot<'_>, entry: &Entry, schema: &Value) {
        let fields = schema["properties"].as_object();
        let names = fields.into_iter().flat_map(|fields| fields.keys().map(String::as_str));
        let (what, known) =
            if spot.path.is_empty() { ("param", "params") } else { ("field", "fields") };
        let message = format!("{} has no {what} `{}`", self.owner(spot), entry.key);
        self.problems
            .push(Problem::new(entry.place, message).help(did_you_mean(&entry.key, known, names)));
    }

    fn missing_field(&mut self, spot: &Spot<'_>, name: &str, schema: &Value) {
        if self.partial {
            return;
        }
        let what = if spot.path.is_empty() { "param" } else { "field" };
        let message = format!("{} lacks the {what} `{name}`", self.owner(spot));
        let property = &schema["properties"][name];
        let help = documented(property).map(|doc| format!("`{name}`: {doc}"));
        let help =
            help.unwrap_or_else(|| format!("`{name}` is {}", describe(property, self.schemas)));
        self.problems.push(Problem::new(spot.key, message).help(help));
    }

    fn words(&mut self, spot: &Spot<'_>, words: &[&str]) {
        match spot.node.text() {
            Some(text) if words.contains(&text) => {}
            Some(text) => {
                let message =
                    format!("{} cannot be {}", self.name(&spot.path), spot.node.describe());
                let help = did_you_mean(text, "it may be", words.iter().copied());
                self.problems.push(Problem::new(spot.node.place, message).help(help));
            }
            None => self.wrong_type(spot, &one_of(words), None),
        }
    }

    fn tagged(&mut self, spot: &Spot<'_>, tag: &str, variants: &[(&str, &Value)]) {
        let words: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
        if !matches!(spot.node.data, Data::Map(_)) {
            let word = spot.node.text().filter(|text| words.contains(text));
            let help = word.map(|word| format!("write `{{ {tag}: {word} }}`"));
            return self.wrong_type(spot, &format!("a map with `{tag}`, {}", one_of(&words)), help);
        }
        let Some(entry) = spot.node.entry(tag) else {
            if self.partial {
                return;
            }
            let message = format!("{} lacks `{tag}`", self.name(&spot.path));
            let help = format!("`{tag}` is {}", one_of(&words));
            return self.problems.push(Problem::new(spot.key, message).help(help));
        };
        match variants.iter().find(|(word, _)| entry.value.text() == Some(word)) {
            Some((_, schema)) => {
                let word = entry.value.text().unwrap_or_default();
                let variant = format!(" with `{tag}: {word}`");
                self.map(&Spot { variant, ..spot.clone() }, schema);
            }
            None => self.words(&spot.below(tag, entry.place, &entry.value), &words),
        }
    }

    fn keyed(&mut self, spot: &Spot<'_>, variants: &[(&str, &Value)]) {
        let words: Vec<&str> = variants.iter().map(|(word, _)| *word).collect();
        let expected = format!("a map with one key, {}", one_of(&words));
        let entries = spot.node.entries();
        match entries {
            [entry] => match variants.iter().find(|(word, _)| *word == entry.key) {
                Some((_, schema)) => self.map(spot, schema),
                None => {
                    let message = format!("{} has no field `{}`", self.owner(spot), entry.key);
                    let help = did_you_mean(&entry.key, "it may be", words.iter().copied());
                    self.problems.push(Problem::new(entry.place, message).help(help));
                }
            },
            _ => self.wrong_type(spot, &expected, None),
        }
    }

    /// An untagged value must fit one of the schemas; where one fits in kind, its mistakes tell
    /// more than the list of what it could have been.
    fn alternatives(&mut self, spot: &Spot<'_>, schemas: &[&Value]) {
        let mut closest: Option<Vec<Problem>> = None;
        for schema in schemas.iter().filter(|schema| self.fits(spot.node, schema)) {
            let subject = self.subject.clone();
            let (schemas, partial) = (self.schemas, self.partial);
            let mut walk = Walk { schemas, subject, partial, problems: Vec::new() };
            walk.value(spot, schema);
            if closest.as_ref().is_none_or(|problems| walk.problems.len() < problems.len()) {
                closest = Some(walk.problems);
            }
        }
        match closest {
            Some(problems) => self.problems.extend(problems),
            None => {
                let words: Vec<String> =
                    schemas.iter().map(|schema| describe(schema, self.schemas)).collect();
                self.wrong_type(spot, &words.join(" or "), None);
            }
        }
    }

    fn fits(&self, node: &Node, schema: &Value) -> bool {
        match (shape(schema, self.schemas), &node.data) {
            (Shape::Optional(inner), _) => self.fits(node, inner),
            (Shape::Any, _)
            | (Shape::Boolean, Data::Bool(_))
            | (Shape::Integer(_) | Shape::Number(_), Data::Number(_))
            | (Shape::Text(_) | Shape::Words(_), Data::Text(_))
            | (Shape::List(_), Data::List(_))
            | (Shape::Map(_) | Shape::Tagged { .. } | Shape::Keyed(_), Data::Map(_)) => true,
            (Shape::Alternatives(schemas), _) => {
                schemas.iter().any(|schema| self.fits(node, schema))
            }
            _ => false,
        }
    }

    fn wrong_type(&mut self, spot: &Spot<'_>, expected: &str, help: Option<String>) {
        let message =
            format!("{} must be {expected}, not {}", self.name(&spot.path), spot.node.describe());
        let empty = matches!(spot.node.data, Data::Null);
        let place = if empty { spot.key } else { spot.node.place };
        self.problems
            .push(Problem::new(place, message).help(help.unwrap_or_else(|| spot.doc.clone())));
    }

    /// Names a value in a sentence.
    fn name(&self, path: &str) -> String {
        if path.is_empty() {
            return format!("`params` of {}", self.subject);
        }
        format!("`{path}` of {}", self.subject)
    }

    /// Names what has fields: the stage itself, or a value of its params.
    fn owner(&self, spot: &Spot<'_>) -> String {
        let owner = if spot.path.is_empty() { self.subject.clone() } else { self.name(&spot.path) };
        owner + &spot.variant
    }
}

fn one_of(words: &[&str]) -> String {
    match words {
        [word] => format!("`{word}`"),
        words => format!("one of {}", listed(words.iter().copied())),
    }
}

fn documented(schema: &Value) -> Option<String> {
    Some(schema["description"].as_str()?.replace('\n', " "))
}

fn plain(node: &Node) -> String {
    match node.to_value() {
        Value::String(text) => text,
        value => value.to_string(),
    }
}

fn whole(number: &Number) -> i128 {
    number.as_i128().unwrap_or(0)
}

/// Compares exactly where both are whole, else as floats.
fn less(left: &Number, right: &Number) -> bool {
    if left.is_f64() || right.is_f64() {
        return left.as_f64().unwrap_or(0.0) < right.as_f64().unwrap_or(0.0);
    }
    whole(left) < whole(right)
}

/// Gives the bounds of a Rust integer type by the name that `schemars` gives it.
fn format_bounds(format: &str) -> Option<(i128, i128)> {
    let (bits, signed) = match format {
        "uint" | "uint64" => (64, false),
        "int" | "int64" => (64, true),
        "uint32" => (32, false),
        "int32" => (32, true),
        "uint16" => (16, false),
        "int16" => (16, true),
        "uint8" => (8, false),
        "int8" => (8, true),
        _ => return None,
    };
    let high = if signed { (1_i128 << (bits - 1)) - 1 } else { (1_i128 << bits) - 1 };
    Some((if signed { -high - 1 } else { 0 }, high))
}

#[cfg(test)]
mod tests;
