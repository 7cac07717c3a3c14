//! A small map from names to values that takes no more room than they do, by itself or as a row of many.
//!
//! A study holds thousands of them, most of one or two names; a node of a `BTreeMap` has room for
//! eleven, and thousands of small allocations stand between what comes and goes, so that nothing
//! there can be given back. It knows nothing of what its values mean.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Values by name, in the order of the names.
#[derive(Clone, PartialEq)]
pub struct Named<V> {
    /// In order, each once.
    names: Arc<[String]>,
    /// As many.
    values: Box<[V]>,
}

/// Values by name that stand elsewhere, in the order of the names.
pub struct Row<'a, V> {
    names: &'a [String],
    values: &'a [V],
}

/// Many rows of values by name, by number: their values in one list, and each set of names once.
#[derive(Debug)]
pub struct Rows<V> {
    names: Vec<Arc<[String]>>,
    places: Vec<Place>,
    values: Vec<V>,
    /// The rows for which room is made with the first.
    room: usize,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Which of the sets of names it has.
    names: usize,
    /// Where its values begin.
    start: usize,
}

impl<V> Named<V> {
    /// Makes an empty one.
    pub fn new() -> Named<V> {
        Named { names: Arc::default(), values: Box::default() }
    }

    /// Gives the values where they stand.
    pub fn row(&self) -> Row<'_, V> {
        Row { names: &self.names, values: &self.values }
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
        self.row().get(name)
    }

    /// Says whether a name has a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.get(name).is_some()
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

    /// Goes over the names and their values, in order.
    pub fn iter(&self) -> Iter<'_, V> {
        self.row().iter()
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
        self.row().find(name)
    }
}

impl<'a, V> Row<'a, V> {
    /// Says whether there is no name.
    pub fn is_empty(self) -> bool {
        self.names.is_empty()
    }

    /// Gives the value of a name.
    pub fn get(self, name: &str) -> Option<&'a V> {
        self.find(name).ok().map(|at| &self.values[at])
    }

    /// Says whether a name has a value.
    pub fn contains_key(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Goes over the names and their values, in order.
    pub fn iter(self) -> Iter<'a, V> {
        self.names.iter().zip(self.values)
    }

    /// Goes over the names, in order.
    pub fn keys(self) -> std::slice::Iter<'a, String> {
        self.names.iter()
    }

    /// Gives a copy that stands by itself.
    pub fn to_named(self) -> Named<V>
    where
        V: Clone,
    {
        Named { names: self.names.into(), values: self.values.into() }
    }

    fn find(self, name: &str) -> Result<usize, usize> {
        self.names.binary_search_by(|other| other.as_str().cmp(name))
    }
}

impl<V> Clone for Row<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Row<'_, V> {}

impl<V: fmt::Debug> fmt::Debug for Row<'_, V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl<V> Rows<V> {
    /// Makes a list without rows. With its first values it makes room for `room` rows like them: a
    /// list that grows leaves behind the places where it was, and room that is not used takes no
    /// memory.
    pub fn new(room: usize) -> Rows<V> {
        Rows { names: vec![Arc::default()], places: Vec::new(), values: Vec::new(), room }
    }

    /// Sets the values of row `number`; rows before it that were not set are empty.
    ///
    /// Meant to be called once for each row: values that it had stay where they are, unseen.
    pub fn set(&mut self, number: usize, row: Named<V>) {
        if self.places.capacity() == 0 {
            self.places.reserve_exact(self.room);
        }
        if self.values.capacity() == 0 {
            self.values.reserve_exact(self.room * row.len());
        }
        if self.places.len() <= number {
            self.places.resize(number + 1, Place { names: 0, start: 0 });
        }
        let names = self.set_of(&row.names);
        if names == self.names.len() {
            self.names.push(row.names);
        }
        self.places[number] = Place { names, start: self.values.len() };
        self.values.extend(row.values);
    }

    /// Gives row `number`, which is empty where it was not set.
    pub fn get(&self, number: usize) -> Row<'_, V> {
        let place = self.places.get(number).copied().unwrap_or(Place { names: 0, start: 0 });
        let names = &self.names[place.names];
        Row { names, values: &self.values[place.start..place.start + names.len()] }
    }

    /// Finds a set of names; most rows have that of the one before, and few are looked at, since to hold
    /// one twice only takes room.
    fn set_of(&mut self, names: &Arc<[String]>) -> usize {
        const RECENT: usize = 8;
        let recent = self.names.len().saturating_sub(RECENT);
        let known = self.names[recent..].iter().rposition(|known| known == names);
        known.map_or(self.names.len(), |at| recent + at)
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
        assert_eq!(named.row().to_named(), named);
        assert_eq!((named.remove("b"), named.remove("b"), named.len()), (Some(2), None, 2));
    }

    #[test]
    fn rows_may_come_in_any_order_and_hold_each_set_of_names_once() {
        let row = |names: &str, first: i32| -> Named<i32> {
            (first..).zip(names.chars()).map(|(value, name)| (name.to_string(), value)).collect()
        };
        let mut rows = Rows::new(2);
        rows.set(3, row("ba", 1));
        rows.set(0, row("ab", 7));
        rows.set(1, row("c", 9));
        rows.set(2, Named::new());
        assert_eq!(
            [0, 1, 3].map(|at| rows.get(at).to_named()),
            [row("ab", 7), row("c", 9), row("ba", 1)]
        );
        assert!(rows.get(2).is_empty() && rows.get(4).is_empty());
        assert_eq!((rows.get(3).get("a"), rows.get(3).contains_key("c")), (Some(&2), false));
        // Beside those of an empty row.
        assert_eq!(rows.names.len(), 3);
    }
}
