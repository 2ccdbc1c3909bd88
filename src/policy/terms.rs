//! The terms of a rule. Rules for a thousand projects say much that is the same, so each term is held once.

use super::Condition;
use std::collections::HashSet;
use std::hash::Hash;
use std::iter::Map;
use std::slice::Iter;
use std::sync::Arc;

/// Conditions that all must hold, or of which none may; shared with other rules that have the same.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Terms(Box<[Arc<Condition>]>);

impl Terms {
    /// Each, in order.
    pub fn iter(&self) -> <&Self as IntoIterator>::IntoIter {
        self.into_iter()
    }

    /// These, and more behind them.
    #[must_use]
    pub fn and(&self, more: &[Condition]) -> Self {
        self.0.iter().map(Arc::clone).chain(more.iter().cloned().map(Arc::new)).collect()
    }
}

impl<'t> IntoIterator for &'t Terms {
    type Item = &'t Condition;
    type IntoIter = Map<Iter<'t, Arc<Condition>>, fn(&'t Arc<Condition>) -> &'t Condition>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl FromIterator<Arc<Condition>> for Terms {
    fn from_iter<T: IntoIterator<Item = Arc<Condition>>>(terms: T) -> Self {
        Self(terms.into_iter().collect())
    }
}

impl From<Vec<Condition>> for Terms {
    fn from(terms: Vec<Condition>) -> Self {
        terms.into_iter().map(Arc::new).collect()
    }
}

/// Values of which each is held once, for as long as rules are read.
#[derive(Debug)]
pub struct Once<T>(HashSet<Arc<T>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(HashSet::new())
    }
}

impl<T: Eq + Hash> Once<T> {
    /// The same value, as whoever came first with it holds it.
    pub fn keep(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.0.get(&value) {
            return Arc::clone(known);
        }
        let new = Arc::new(value);
        self.0.insert(Arc::clone(&new));
        new
    }
}
