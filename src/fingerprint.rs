//! What identifies an action, and why one is not fresh: hash and explanation from one walk.
//!
//! An action is a kind with its params and the content of its inputs. Its [`Manifest`] names every
//! field that may decide the result, and `Manifest::fields` walks them once: the
//! [`Fingerprint`] hashes what the walk gives, and [`Manifest::differences`] compares two walks.
//!
//! | tracked | not tracked |
//! |---|---|
//! | kind, the kind's version | stage name, description, tags |
//! | params with every default filled in | key order, comments, variables' names |
//! | content of each input, and the format asked for | mtimes, paths, upstream fingerprints |
//! | declared environment variables | `--jobs`, threads, the machine |
//!
//! Knows nothing of the store: whoever builds a manifest brings the digests.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::data::Format;
use crate::stage::StageKind;

/// Everything that decides what an action gives, by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// What it does.
    pub kind: StageKind,
    /// The version of the kind's results.
    pub version: u32,
    /// Its params with every default filled in. A tune's are without the name of its base.
    pub params: Value,
    /// The content of each file that it reads, by full name.
    pub inputs: BTreeMap<String, InputContent>,
    /// The environment variables that it declares, with their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
    /// The base of a tune.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Box<Manifest>>,
}

/// What a file holds, and what it is converted to before it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputContent {
    /// The digest of the file before any conversion.
    pub digest: Digest,
    /// The format asked for and the version of its converter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<(Format, u32)>,
}

/// One named field of a manifest, as the walk gives it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
enum Field {
    Kind,
    Version,
    /// A leaf of the params by its keys.
    Param(Vec<String>),
    Input(String),
    Env(String),
    /// A field of a tune's base.
    Base(Box<Field>),
}

impl Manifest {
    /// Hashes the manifest.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut hasher = blake3::Hasher::new();
        for (field, value) in self.fields() {
            // Lengths before contents, so that no two lists of fields run into the same bytes.
            for part in [json(&field), json(&value)] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part.as_bytes());
            }
        }
        Fingerprint(Digest(*hasher.finalize().as_bytes()))
    }

    /// Gives what this manifest has otherwise than an earlier one, field by field.
    pub fn differences(&self, earlier: &Manifest) -> Vec<DirtyReason> {
        let old: BTreeMap<Field, Value> = earlier.fields().into_iter().collect();
        let new: BTreeMap<Field, Value> = self.fields().into_iter().collect();
        let changed = new.iter().filter(|(field, value)| old.get(field) != Some(value));
        let removed = old.iter().filter(|(field, _)| !new.contains_key(field));
        changed
            .map(|(field, value)| reason(field, old.get(field), Some(value)))
            .chain(removed.map(|(field, value)| reason(field, Some(value), None)))
            .collect()
    }

    /// Walks every field once, in a fixed order: the one definition of what identifies an action.
    fn fields(&self) -> Vec<(Field, Value)> {
        let mut fields =
            vec![(Field::Kind, self.kind.name().into()), (Field::Version, self.version.into())];
        walk_params(&self.params, &mut Vec::new(), &mut fields);
        for (name, content) in &self.inputs {
            fields.push((Field::Input(name.clone()), content.to_value()));
        }
        for (name, value) in &self.env {
            fields.push((Field::Env(name.clone()), value.clone().into()));
        }
        for (field, value) in self.base.iter().flat_map(|base| base.fields()) {
            fields.push((Field::Base(Box::new(field)), value));
        }
        fields
    }
}

fn json(value: &impl Serialize) -> String {
    // Fields and params are plain data with string keys, which JSON can always hold.
    serde_json::to_string(value).expect("a field serializes to JSON")
}

impl InputContent {
    fn to_value(&self) -> Value {
        let digest = self.digest.to_string();
        match self.format {
            None => digest.into(),
            Some((format, version)) => format!("{digest} as {} v{version}", format.name()).into(),
        }
    }
}

/// Gives the leaves of params: scalars, lists, and empty maps. Maps are walked in the order of
/// their keys, whatever order they have in memory.
fn walk_params(value: &Value, path: &mut Vec<String>, fields: &mut Vec<(Field, Value)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            for (key, value) in sorted {
                path.push(key.clone());
                walk_params(value, path, fields);
                path.pop();
            }
        }
        leaf => fields.push((Field::Param(path.clone()), leaf.clone())),
    }
}

/// Says in one reason how a field differs; `None` is the side that lacks it.
fn reason(field: &Field, old: Option<&Value>, new: Option<&Value>) -> DirtyReason {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let number = |value: Option<&Value>| {
        value.and_then(Value::as_u64).and_then(|version| u32::try_from(version).ok()).unwrap_or(0)
    };
    match field {
        Field::Kind => DirtyReason::KindChanged { old: text(old), new: text(new) },
        Field::Version => DirtyReason::VersionChanged { old: number(old), new: number(new) },
        Field::Param(path) => DirtyReason::ParamChanged {
            path: path.join("."),
            old: old.cloned().unwrap_or_default(),
            new: new.cloned().unwrap_or_default(),
            variables: Vec::new(),
        },
        Field::Input(input) => match (old, new) {
            (None, _) => DirtyReason::InputAdded { input: input.clone() },
            (_, None) => DirtyReason::InputRemoved { input: input.clone() },
            _ => DirtyReason::InputChanged {
                input: input.clone(),
                old: text(old),
                new: text(new),
                files: Vec::new(),
                more: 0,
            },
        },
        Field::Env(name) => DirtyReason::EnvChanged {
            name: name.clone(),
            old: old.and_then(Value::as_str).map(str::to_owned),
            new: new.and_then(Value::as_str).map(str::to_owned),
        },
        Field::Base(field) => match reason(field, old, new) {
            DirtyReason::ParamChanged { path, old, new, variables } => {
                DirtyReason::ParamChanged { path: format!("base.{path}"), old, new, variables }
            }
            other => other,
        },
    }
}

/// The BLAKE3 hash of some bytes; written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Hashes bytes in memory.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl FromStr for Digest {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Digest, blake3::HexError> {
        Ok(Digest(*blake3::Hash::from_hex(text)?.as_bytes()))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The hash over a [`Manifest`]: the name of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub Digest);

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// What became of a file of a folder or a pattern, by its path there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileChange {
    /// It was not there.
    Added(String),
    /// It has other bytes.
    Changed(String),
    /// It is no longer there.
    Removed(String),
}

/// Says of a number that it need not be written.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
pub(crate) fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why an action is not fresh.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(missing_docs, reason = "a reason's fields are named for what they hold")]
pub enum DirtyReason {
    /// The history knows no earlier result of the stage.
    NeverRan,
    /// It has only failed so far.
    Failed,
    /// `--force` was given.
    Forced,
    /// It has `cache: false`.
    RunsEachTime,
    /// `--verify` was given: it is run again, and nothing of it is stored.
    Verified,
    /// A param has another value; `variables` are those that it came from. A side without the param
    /// is `null`.
    ParamChanged { path: String, old: Value, new: Value, variables: Vec<String> },
    /// An input's content changed; of a folder or a pattern, `files` names what became of some of its
    /// files, where that is known, and `more` counts the others.
    InputChanged {
        input: String,
        old: String,
        new: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        files: Vec<FileChange>,
        #[serde(default, skip_serializing_if = "is_zero")]
        more: u64,
    },
    /// The stage reads an input that it did not read before.
    InputAdded { input: String },
    /// The stage no longer reads an input.
    InputRemoved { input: String },
    /// An environment variable that the stage declares has another value.
    EnvChanged { name: String, old: Option<String>, new: Option<String> },
    /// The stage's kind changed to another.
    KindChanged { old: String, new: String },
    /// A newer `runner` computes this kind in another way.
    VersionChanged { old: u32, new: u32 },
    /// The store no longer has the record of the stage's result.
    EntryMissing,
    /// An output is no longer in the store.
    OutputMissing { output: String },
    /// An output's bytes in the store are not those that were written.
    OutputDamaged { output: String, path: String },
    /// Trials of the study failed in a way that another try might not.
    TrialsFailed { trials: u64 },
    /// An output of little use was dropped, and is needed now.
    OutputDropped { output: String },
    /// In a plan: a stage above may give other outputs.
    UpstreamDirty { stage: String },
}

impl DirtyReason {
    /// Says whether it is that an input is otherwise.
    pub fn is_of_input(&self) -> bool {
        matches!(
            self,
            DirtyReason::InputChanged { .. }
                | DirtyReason::InputAdded { .. }
                | DirtyReason::InputRemoved { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn manifest(params: Value) -> Manifest {
        let content = InputContent { digest: Digest::of(b"rows"), format: None };
        Manifest {
            kind: StageKind::Train,
            version: 1,
            params,
            inputs: BTreeMap::from([("data.train".to_owned(), content)]),
            env: BTreeMap::new(),
            base: None,
        }
    }

    #[test]
    fn a_changed_param_is_named_with_both_values() {
        let old = manifest(json!({"network": {"units": [32]}, "epochs": 12}));
        let new = manifest(json!({"network": {"units": [64]}, "epochs": 12}));
        assert_ne!(old.fingerprint(), new.fingerprint());
        let expected = DirtyReason::ParamChanged {
            path: "network.units".to_owned(),
            old: json!([32]),
            new: json!([64]),
            variables: Vec::new(),
        };
        assert_eq!(new.differences(&old), [expected]);
    }

    #[test]
    fn nested_and_dotted_keys_do_not_collide() {
        let nested = manifest(json!({"a": {"b": 1}}));
        let dotted = manifest(json!({"a.b": 1}));
        assert_ne!(nested.fingerprint(), dotted.fingerprint());
    }

    #[test]
    fn a_tune_is_dirty_for_its_bases_params() {
        let tune = |epochs: u32| Manifest {
            kind: StageKind::Tune,
            base: Some(Box::new(manifest(json!({"epochs": epochs})))),
            ..manifest(json!({"trials": 5}))
        };
        assert!(matches!(
            &tune(3).differences(&tune(2))[..],
            [DirtyReason::ParamChanged { path, .. }] if path == "base.epochs"
        ));
    }

    fn params() -> impl Strategy<Value = Value> {
        let leaf =
            prop_oneof![any::<i32>().prop_map(Value::from), "[a-c.]{0,3}".prop_map(Value::from)];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[a-c.]{1,2}", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Hash and explanation agree: fingerprints are equal where nothing differs, and only there.
        #[test]
        fn fingerprints_differ_where_a_reason_is_given(old in params(), new in params()) {
            let (old, new) = (manifest(old), manifest(new));
            prop_assert_eq!(old.fingerprint() == new.fingerprint(), new.differences(&old).is_empty());
        }
    }
}
