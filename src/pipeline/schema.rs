//! The schemas of the kinds' params, as `schemars` makes them from the Rust types, and the JSON
//! Schema of a whole pipeline file for editors.
//!
//! The same schemas check a file ([`super::walk`]) and make the reference ([`super::reference()`]),
//! so the three cannot disagree.

use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use crate::stage::StageKind;

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
        let kinds: Vec<(StageKind, Value)> = StageKind::ALL
            .map(|kind| (kind, kind.params_schema(&mut generator).to_value()))
            .into();
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
#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn dump() {
        println!("{}", serde_json::to_string_pretty(&schemas().definitions).unwrap());
    }
}
