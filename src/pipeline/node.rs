//! The tree of a YAML text: values and keys with their places.
//!
//! Knows nothing of how a text is read, nor of pipelines.

use serde_json::{Number, Value};

use super::diagnostic::Place;

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub place: Place,
    pub data: Data,
    /// The variables that the value came from.
    pub origin: Vec<String>,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value that could not be found, which has been reported: no check complains of it again.
    Unknown,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

impl Node {
    pub fn new(place: Place, data: Data) -> Node {
        Node { place, data, origin: Vec::new() }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Gives a map's entries; none where it is no map.
    pub fn entries(&self) -> &[Entry] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// Gives the value alone.
    pub fn to_value(&self) -> Value {
        match &self.data {
            Data::Null | Data::Unknown => Value::Null,
            Data::Bool(flag) => Value::Bool(*flag),
            Data::Number(number) => Value::Number(number.clone()),
            Data::Text(text) => Value::String(text.clone()),
            Data::List(items) => Value::Array(items.iter().map(Node::to_value).collect()),
            Data::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect(),
            ),
        }
    }

    /// Says what the node holds, for a message.
    pub fn describe(&self) -> String {
        let what = match &self.data {
            Data::Null | Data::Unknown => "nothing".to_owned(),
            Data::Bool(flag) => format!("`{flag}`"),
            Data::Number(number) => format!("`{number}`"),
            Data::Text(text) if text.chars().count() > 40 || text.contains('\n') => {
                "a long text".to_owned()
            }
            Data::Text(text) => format!("the text `{text}`"),
            Data::List(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
        };
        match self.origin.as_slice() {
            [] => what,
            [name] => format!("{what} (from the variable `{name}`)"),
            names => format!("{what} (from the variables `{}`)", names.join("`, `")),
        }
    }

    /// Finds the deepest place on a dotted path below this node; keys may hold dots themselves.
    /// A map is shown by its key, since its own place can be half a file.
    pub fn place_of(&self, path: &str) -> Option<Place> {
        if path.is_empty() {
            return Some(self.place);
        }
        let (key, value, rest) = match &self.data {
            Data::List(items) => {
                let (index, rest) = path.split_once('.').unwrap_or((path, ""));
                let item = items.get(index.parse::<usize>().ok()?)?;
                (item.place, item, rest)
            }
            _ => {
                let (entry, rest) = self.longest_match(path)?;
                (entry.place, &entry.value, rest)
            }
        };
        match value.data {
            Data::Map(_) | Data::Null if rest.is_empty() => Some(key),
            _ => value.place_of(rest).or(Some(key)),
        }
    }

    /// Says whether a value below is one that could not be found.
    pub fn has_unknown(&self) -> bool {
        match &self.data {
            Data::Unknown => true,
            Data::List(items) => items.iter().any(Node::has_unknown),
            Data::Map(entries) => entries.iter().any(|entry| entry.value.has_unknown()),
            _ => false,
        }
    }

    /// Counts the values below, and long texts as many: what a copy costs.
    pub fn weight(&self) -> usize {
        1 + match &self.data {
            Data::Text(text) => text.len() / 64,
            Data::List(items) => items.iter().map(Node::weight).sum(),
            Data::Map(entries) => entries.iter().map(|entry| entry.value.weight()).sum(),
            _ => 0,
        }
    }

    /// Finds the entry with the longest key that begins the path, and gives the rest of the path.
    pub fn longest_match<'p>(&self, path: &'p str) -> Option<(&Entry, &'p str)> {
        let matches = self.entries().iter().filter_map(|entry| {
            let rest = path.strip_prefix(entry.key.as_str())?;
            (rest.is_empty() || rest.starts_with('.')).then_some((entry, rest))
        });
        matches
            .max_by_key(|(entry, _)| entry.key.len())
            .map(|(entry, rest)| (entry, rest.strip_prefix('.').unwrap_or(rest)))
    }
}
