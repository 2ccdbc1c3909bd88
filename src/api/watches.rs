//! How many event streams a session key holds open: a stream lives for hours, so it needs a limit of its own.

use super::limits::WATCHES_PER_KEY_MAX;
use crate::crypto::KeyId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The open streams, by session key.
#[derive(Clone, Debug, Default)]
pub(super) struct Watches(Arc<Mutex<BTreeMap<KeyId, usize>>>);

/// A place for one stream; dropping it frees it.
#[derive(Debug)]
pub(super) struct WatchPlace {
    watches: Watches,
    key: KeyId,
}

impl Watches {
    /// A place for one more stream of this key, if it may have one.
    pub(super) fn enter(&self, key: KeyId) -> Option<WatchPlace> {
        let mut open = self.open();
        let here = open.get(&key).copied().unwrap_or(0);
        if here >= WATCHES_PER_KEY_MAX {
            return None;
        }
        open.insert(key, here + 1);
        drop(open);
        Some(WatchPlace { watches: self.clone(), key })
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<KeyId, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for WatchPlace {
    fn drop(&mut self) {
        let mut open = self.watches.open();
        match open.get_mut(&self.key) {
            Some(here) if *here > 1 => *here -= 1,
            _ => drop(open.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyAlgorithm, KeyPair};

    #[test]
    fn a_key_holds_a_few_streams_and_one_that_ends_makes_room() {
        let key = || KeyPair::generate(KeyAlgorithm::EcP256).unwrap().public().id();
        let (watches, one, other) = (Watches::default(), key(), key());
        let mut places: Vec<_> = (0..WATCHES_PER_KEY_MAX).map(|_| watches.enter(one).unwrap()).collect();
        assert!(watches.enter(one).is_none());
        assert!(watches.enter(other).is_some());
        places.pop();
        assert!(watches.enter(one).is_some());
        drop(places);
        assert!(watches.open().is_empty());
    }
}
