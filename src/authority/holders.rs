//! Who keeps a copy of our bundle and says which: agents as they are heard, and those that an operator confirms.

use super::gate::{Holder, HolderKind};
use crate::crypto::KeyId;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// See the file's words; clones are the same. What is heard is forgotten at a restart, and then waited for anew.
#[derive(Clone, Debug, Default)]
pub struct Holders(Arc<Mutex<Inside>>);

#[derive(Debug, Default)]
struct Inside {
    agents: HashMap<KeyId, Heard>,
    declared: BTreeMap<String, Option<Heard>>,
    readers: Readers,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// None from one who was there before this process, and has not been heard since.
    holds: Option<u64>,
    at: OffsetDateTime,
}

/// Those who read the bundle and say nothing: shown, never counted on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Readers {
    /// How often the bundle was read since the start.
    pub reads: u64,
    /// When last.
    pub last_at: Option<OffsetDateTime>,
}

impl Holders {
    /// Those that the configuration declares, and the agents that live sessions promise.
    pub fn new(
        declared: impl IntoIterator<Item = String>,
        agents: impl IntoIterator<Item = KeyId>,
        now: OffsetDateTime,
    ) -> Self {
        let declared = declared.into_iter().map(|name| (name, None)).collect();
        let agents = agents.into_iter().map(|owner| (owner, Heard { holds: None, at: now })).collect();
        Self(Arc::new(Mutex::new(Inside { agents, declared, readers: Readers::default() })))
    }

    /// An agent says which bundle it holds.
    pub fn heard(&self, owner: KeyId, sequence: u64, now: OffsetDateTime) {
        self.inside().agents.insert(owner, Heard { holds: Some(sequence), at: now });
    }

    /// Somebody read the bundle.
    pub fn was_read(&self, now: OffsetDateTime) {
        let mut inside = self.inside();
        inside.readers = Readers { reads: inside.readers.reads.saturating_add(1), last_at: Some(now) };
    }

    /// Those who read the bundle and say nothing.
    pub fn readers(&self) -> Readers {
        self.inside().readers
    }

    /// The names that the configuration declares.
    pub fn declared(&self) -> Vec<String> {
        self.inside().declared.keys().cloned().collect()
    }

    /// An operator confirms what a declared holder holds. Whether there is one of that name.
    pub(super) fn confirm(&self, name: &str, sequence: u64, at: OffsetDateTime) -> bool {
        let confirmed = Some(Heard { holds: Some(sequence), at });
        self.inside().declared.get_mut(name).map(|known| *known = confirmed).is_some()
    }

    /// All of them. Agents without a live session are forgotten: nobody trusts by their copy any more.
    pub fn all(&self, lives: impl Fn(&KeyId) -> bool) -> Vec<Holder> {
        let (agents, declared) = {
            let mut inside = self.inside();
            inside.agents.retain(|owner, _| lives(owner));
            (inside.agents.clone(), inside.declared.clone())
        };
        let agents = agents.into_iter().map(|(owner, heard)| Holder {
            name: format!("agent {owner}"),
            kind: HolderKind::Reporting,
            holds: heard.holds,
            heard_at: heard.holds.map(|_| heard.at),
        });
        let declared = declared.into_iter().map(|(name, heard)| Holder {
            name,
            kind: HolderKind::Declared,
            holds: heard.and_then(|heard| heard.holds),
            heard_at: heard.map(|heard| heard.at),
        });
        let mut all: Vec<_> = agents.chain(declared).collect();
        all.sort_unstable_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
        all
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
