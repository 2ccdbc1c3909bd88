//! What every key holds now: made from the journal, thrown away without loss.

use super::record::Link;
use super::sled_index::SledIndex;
use super::{Position, Revision, Stored, Write};
use crate::crypto::Digest;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// What the index is kept in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum IndexKind {
    /// The process's memory: made anew at each start.
    Memory,
    /// A sled database in the store's folder.
    #[default]
    Sled,
}

/// How far an index has followed the journal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Applied {
    pub(super) position: Position,
    pub(super) digest: Digest,
}

impl From<Link> for Applied {
    fn from(link: Link) -> Self {
        Self { position: link.position, digest: link.digest }
    }
}

/// What became of a key, and which write it was.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Deleted(Revision),
    Put(Stored),
}

impl Change {
    pub(super) const fn revision(&self) -> Revision {
        match self {
            Self::Deleted(revision) | Self::Put(Stored { revision, .. }) => *revision,
        }
    }

    /// What the key holds now.
    pub(super) const fn stored(&self) -> Option<&Stored> {
        match self {
            Self::Deleted(_) => None,
            Self::Put(stored) => Some(stored),
        }
    }
}

/// Changes that are not in the index yet, the last of each key.
#[derive(Debug, Default)]
pub(super) struct Overlay(pub(super) HashMap<String, Change>);

impl Overlay {
    /// Makes a map hold what the changes say, and forgets them.
    pub(super) fn settle(&mut self, keys: &mut BTreeMap<String, Stored>) {
        for (key, change) in self.0.drain() {
            match change {
                Change::Put(stored) => drop(keys.insert(key, stored)),
                Change::Deleted(_) => drop(keys.remove(&key)),
            }
        }
    }

    /// Takes in the writes of one record.
    pub(super) fn take(&mut self, writes: impl IntoIterator<Item = Write>, revision: Revision) {
        self.0.extend(writes.into_iter().map(|write| match write {
            Write::Put(key, value) => (key, Change::Put(Stored { value, revision })),
            Write::Delete(key) => (key, Change::Deleted(revision)),
        }));
    }
}

/// The index, of either kind.
#[derive(Debug)]
pub(super) enum Index {
    Memory(RwLock<BTreeMap<String, Stored>>),
    Sled(Box<SledIndex>),
}

impl Index {
    /// An empty index in memory.
    pub(super) const fn memory() -> Self {
        Self::Memory(RwLock::new(BTreeMap::new()))
    }

    pub(super) fn read(&self, key: &str) -> io::Result<Option<Stored>> {
        match self {
            Self::Memory(keys) => Ok(shared(keys).get(key).cloned()),
            Self::Sled(sled) => sled.read(key),
        }
    }

    /// Like `read`, without the cost of the value.
    pub(super) fn revision(&self, key: &str) -> io::Result<Option<Revision>> {
        match self {
            Self::Memory(keys) => Ok(shared(keys).get(key).map(|stored| stored.revision)),
            Self::Sled(sled) => sled.revision(key),
        }
    }

    pub(super) fn page(&self, prefix: &str, after: &str, max: usize) -> io::Result<Vec<(String, Stored)>> {
        let from = if after.is_empty() || after < prefix { Bound::Included(prefix) } else { Bound::Excluded(after) };
        match self {
            Self::Memory(keys) => {
                let pairs = shared(keys)
                    .range::<str, _>((from, Bound::Unbounded))
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .take(max)
                    .map(|(key, stored)| (key.clone(), stored.clone()))
                    .collect();
                Ok(pairs)
            }
            Self::Sled(sled) => sled.page(prefix, from, max),
        }
    }

    /// Shows everything in key order, each value with its revision. The committer alone may ask, after a flush.
    pub(super) fn each(&self, mut show: impl FnMut(&str, (Revision, &str)) -> io::Result<()>) -> io::Result<()> {
        match self {
            Self::Memory(keys) => {
                shared(keys).iter().try_for_each(|(key, stored)| show(key, (stored.revision, stored.value.get())))
            }
            Self::Sled(sled) => sled.each(show),
        }
    }

    /// Takes in what was written up to `applied`, all at once, and empties the overlay.
    pub(super) fn apply(&self, overlay: &mut Overlay, applied: Applied) -> io::Result<()> {
        match self {
            Self::Memory(keys) => {
                let mut keys = keys.write().unwrap_or_else(PoisonError::into_inner);
                overlay.settle(&mut keys);
                Ok(())
            }
            Self::Sled(sled) => sled.apply(overlay, applied),
        }
    }

    /// Makes durable what can be, up to `applied`.
    pub(super) fn flush(&self, applied: Applied) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Sled(sled) => sled.flush(applied),
        }
    }

    /// Whether it can be written to; asked before, because sled is of no use after a write that found no room.
    pub(super) fn has_room(&self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::Sled(sled) => sled.has_room(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Memory(keys) => shared(keys).is_empty(),
            Self::Sled(sled) => sled.is_empty(),
        }
    }

    /// How far it has come, if it remembers.
    pub(super) fn applied(&self) -> io::Result<Option<Applied>> {
        match self {
            Self::Memory(_) => Ok(None),
            Self::Sled(sled) => sled.applied(),
        }
    }
}

/// A writer that panicked left whole entries behind: each insert is one step.
fn shared(keys: &RwLock<BTreeMap<String, Stored>>) -> RwLockReadGuard<'_, BTreeMap<String, Stored>> {
    keys.read().unwrap_or_else(PoisonError::into_inner)
}
