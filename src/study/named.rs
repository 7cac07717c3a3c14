//! A small map from names to values that takes no more room than they do.
//!
//! A study holds thousands of them, most of one or two names; a node of a `BTreeMap` has room for
//! eleven. It knows nothing of what its values mean.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values by name, in the order of the names.
///
/// A clone, and one that was collected, takes the room of its values alone.
#[derive(Clone, PartialEq)]
pub struct Named<V>(Vec<(String, V)>);

impl<V> Named<V> {
    /// Makes an empty one, which takes no memory of its own.
    pub fn new() -> Named<V> {
        Named(Vec::new())
    }

    /// Says how many names there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.find(name).ok().map(|at| &self.0[at].1)
    }

    /// Says whether a name has a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.find(name).is_ok()
    }

    /// Sets the value of a name; gives the one that it had.
    pub fn insert(&mut self, name: String, value: V) -> Option<V> {
        match self.find(&name) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (name, value));
                None
            }
        }
    }

    /// Takes a name away; gives its value.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.find(name).ok().map(|at| self.0.remove(at).1)
    }

    /// Goes over the names and their values, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&String, &V)> {
        self.into_iter()
    }

    /// Goes over the names, in order.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> {
        self.0.iter().map(|(name, _)| name)
    }

    /// Goes over the values, in the order of their names.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.as_str().cmp(name))
    }
}

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
        // They come in order, each once.
        Named(map.into_iter().collect())
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
        self.0.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Named<V> {
    type Item = (&'a String, &'a V);
    type IntoIter = std::iter::Map<
        std::slice::Iter<'a, (String, V)>,
        fn(&'a (String, V)) -> (&'a String, &'a V),
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(name, value)| (name, value))
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
        assert_eq!(named.clone().0.capacity(), 3);
        assert_eq!((named.remove("b"), named.remove("b"), named.len()), (Some(2), None, 2));
    }
}
