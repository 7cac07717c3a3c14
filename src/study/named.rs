//! A small map from names to values that takes no more room than they do.
//!
//! A study holds thousands of them, most of one or two names; a node of a `BTreeMap` has room for
//! eleven. It knows nothing of what its values mean.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values by name, in the order of the names.
///
/// A clone, and one that was collected, takes the room of its values alone; the names may be those of
/// another.
#[derive(Clone, PartialEq)]
pub struct Named<V> {
    /// In order, each once.
    names: Arc<[String]>,
    /// As many.
    values: Box<[V]>,
}

impl<V> Named<V> {
    /// Makes an empty one.
    pub fn new() -> Named<V> {
        Named { names: Arc::default(), values: Box::default() }
    }

    /// Says how many names there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Says whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Gives the value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.find(name).ok().map(|at| &self.values[at])
    }

    /// Says whether a name has a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Sets the value of a name; gives the one that it had.
    pub fn insert(&mut self, name: String, value: V) -> Option<V> {
        match self.find(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.values[at], value)),
            Err(at) => {
                let mut names = self.names.to_vec();
                names.insert(at, name);
                self.names = names.into();
                let mut values = std::mem::take(&mut self.values).into_vec();
                values.insert(at, value);
                self.values = values.into();
                None
            }
        }
    }

    /// Takes a name away; gives its value.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let at = self.find(name).ok()?;
        let mut names = self.names.to_vec();
        names.remove(at);
        self.names = names.into();
        let mut values = std::mem::take(&mut self.values).into_vec();
        let value = values.remove(at);
        self.values = values.into();
        Some(value)
    }

    /// Takes the names of another where they are the same: then both hold them once.
    pub fn share_names<W>(&mut self, other: &Named<W>) {
        if self.names == other.names {
            self.names = Arc::clone(&other.names);
        }
    }

    /// Goes over the names and their values, in order.
    pub fn iter(&self) -> Iter<'_, V> {
        self.names.iter().zip(&self.values)
    }

    /// Goes over the names, in order.
    pub fn keys(&self) -> std::slice::Iter<'_, String> {
        self.names.iter()
    }

    /// Goes over the values, in the order of their names.
    pub fn values(&self) -> std::slice::Iter<'_, V> {
        self.values.iter()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.names.binary_search_by(|other| other.as_str().cmp(name))
    }
}

/// Names with their values.
pub type Iter<'a, V> = std::iter::Zip<std::slice::Iter<'a, String>, std::slice::Iter<'a, V>>;

impl<V> Default for Named<V> {
    fn default() -> Named<V> {
        Named::new()
    }
}

impl<V: fmt::Debug> fmt::Debug for Named<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<V, Q: Borrow<str> + ?Sized> Index<&Q> for Named<V> {
    type Output = V;

    /// Gives the value of a name that has one.
    fn index(&self, name: &Q) -> &V {
        self.get(name.borrow()).expect("the name has a value")
    }
}

impl<V> From<BTreeMap<String, V>> for Named<V> {
    fn from(map: BTreeMap<String, V>) -> Named<V> {
        // A tree gives its names in order.
        let (names, values): (Vec<String>, Vec<V>) = map.into_iter().unzip();
        Named { names: names.into(), values: values.into() }
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Named<V> {
    fn from(all: [(String, V); N]) -> Named<V> {
        all.into_iter().collect()
    }
}

impl<V> FromIterator<(String, V)> for Named<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(all: I) -> Named<V> {
        BTreeMap::from_iter(all).into()
    }
}

impl<V> Extend<(String, V)> for Named<V> {
    fn extend<I: IntoIterator<Item = (String, V)>>(&mut self, all: I) {
        all.into_iter().for_each(|(name, value)| drop(self.insert(name, value)));
    }
}

impl<V> IntoIterator for Named<V> {
    type Item = (String, V);
    type IntoIter = std::vec::IntoIter<(String, V)>;

    fn into_iter(self) -> Self::IntoIter {
        // The names may be held by others too.
        let all: Vec<(String, V)> =
            self.names.iter().cloned().zip(self.values.into_vec()).collect();
        all.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Named<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

impl<V: Serialize> Serialize for Named<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Named<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Named<V>, D::Error> {
        BTreeMap::deserialize(deserializer).map(Named::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_tree_would_in_the_room_of_its_values() {
        let all = [("b", 2), ("a", 1), ("c", 3), ("a", 4)].map(|(name, n)| (name.to_owned(), n));
        let mut named = Named::new();
        named.extend(all.clone());
        let tree = BTreeMap::from_iter(all.clone());
        let pairs: Vec<(&String, &i32)> = named.iter().collect();
        assert_eq!(pairs, tree.iter().collect::<Vec<_>>());
        assert_eq!(named, all.into_iter().collect());
        assert_eq!((named["a"], named.get("d")), (4, None));
        let text = serde_json::to_string(&named).unwrap();
        assert_eq!(text, serde_json::to_string(&tree).unwrap());
        assert_eq!(serde_json::from_str::<Named<i32>>(&text).unwrap(), named);
        let mut other = named.clone();
        other.names = other.names.to_vec().into();
        other.share_names(&named);
        assert!(Arc::ptr_eq(&other.names, &named.names));
        assert_eq!((named.remove("b"), named.remove("b"), named.len()), (Some(2), None, 2));
    }
}
