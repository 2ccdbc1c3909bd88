//! Claims by name, in order, in one piece of memory: every exchange makes two of them, keeps them a while and drops them.

use super::claims::ClaimValue;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// Claims by name. Behaves as a `BTreeMap` does.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct ClaimMap(Vec<Named>);

type Named = (Cow<'static, str>, ClaimValue);

impl ClaimMap {
    /// A claim's value.
    pub fn get(&self, name: &str) -> Option<&ClaimValue> {
        self.0.get(self.place(name).ok()?).map(|(_, value)| value)
    }

    /// Whether there is such a claim.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Adds a claim, in place of one of that name.
    pub fn insert(&mut self, name: Cow<'static, str>, value: ClaimValue) {
        // Tables, journals and records have them in order.
        if self.0.last().is_none_or(|(last, _)| **last < *name) {
            return self.0.push((name, value));
        }
        match self.place(&name).map(|at| self.0.get_mut(at)) {
            Ok(Some((_, known))) => *known = value,
            Ok(None) => {}
            Err(at) => self.0.insert(at, (name, value)),
        }
    }

    /// Takes a claim out.
    pub fn remove(&mut self, name: &str) -> Option<ClaimValue> {
        self.place(name).ok().map(|at| self.0.remove(at).1)
    }

    /// All, by name.
    pub fn iter(&self) -> std::slice::Iter<'_, Named> {
        self.0.iter()
    }

    /// All values, by name, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut ClaimValue)> {
        self.0.iter_mut().map(|(name, value)| (&**name, value))
    }

    /// Where a claim stands, or would.
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| (**known).cmp(name))
    }
}

impl Extend<Named> for ClaimMap {
    fn extend<I: IntoIterator<Item = Named>>(&mut self, claims: I) {
        let claims = claims.into_iter();
        // Known claims alone stand here, so there is an end to them.
        self.0.reserve(claims.size_hint().1.unwrap_or_default());
        claims.for_each(|(name, value)| self.insert(name, value));
    }
}

impl FromIterator<Named> for ClaimMap {
    fn from_iter<I: IntoIterator<Item = Named>>(claims: I) -> Self {
        let mut map = Self::default();
        map.extend(claims);
        map
    }
}

impl IntoIterator for ClaimMap {
    type Item = Named;
    type IntoIter = std::vec::IntoIter<Named>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a ClaimMap {
    type Item = &'a Named;
    type IntoIter = std::slice::Iter<'a, Named>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for ClaimMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, value))).finish()
    }
}

impl Serialize for ClaimMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for ClaimMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = ClaimMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("claims by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<ClaimMap, A::Error> {
        let mut map = ClaimMap::default();
        while let Some((name, value)) = members.next_entry::<Cow<'static, str>, _>()? {
            map.insert(name, value);
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_behaves_as_a_tree_does(steps in prop::collection::vec(("[a-e]{1,2}", prop::option::of(any::<u64>())), 0..40)) {
            let (mut map, mut tree) = (ClaimMap::default(), BTreeMap::new());
            for (name, id) in steps {
                if let Some(value) = id.map(ClaimValue::Id) {
                    map.insert(name.clone().into(), value.clone());
                    tree.insert(name, value);
                } else {
                    prop_assert_eq!(map.remove(&name), tree.remove(&name));
                }
            }
            let text = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(&text, &serde_json::to_string(&tree).unwrap());
            prop_assert_eq!(&serde_json::from_str::<ClaimMap>(&text).unwrap(), &map);
            prop_assert_eq!(map.clone().into_iter().rev().collect::<ClaimMap>(), map.clone());
            for name in ["a", "bb", "e"] {
                prop_assert_eq!((map.get(name), map.contains_key(name)), (tree.get(name), tree.contains_key(name)));
            }
        }
    }
}
