//! Who keeps a copy of our bundle and says which: agents as they are heard, those that an operator confirms, and what we
//! write ourselves.

use super::gate::{AGENT, Holder, HolderKind};
use crate::crypto::KeyId;
use serde::{Deserialize, Serialize};
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
    publishers: BTreeMap<String, Written>,
    readers: Readers,
    /// What other replicas say of the agents that talk to them.
    elsewhere: Vec<(String, AgentsHeard)>,
}

/// The agents that talk to one replica, for the others.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct AgentsHeard {
    /// How many were heard, and may still be.
    pub count: usize,
    /// Which bundle all of them hold at least; none where one has not said.
    pub holds: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// None from one who was there before this process, and has not been heard since.
    holds: Option<u64>,
    at: OffsetDateTime,
    /// Not only promised by a session.
    has_come: bool,
}

#[derive(Clone, Debug, Default)]
struct Written {
    newest: Option<Heard>,
    /// Since when each bundle stands there: the newest ones.
    at: BTreeMap<u64, OffsetDateTime>,
    trouble: Option<String>,
    /// Why nobody can say whether it is still there.
    doubt: Option<String>,
}

/// Bundles whose time at a publisher is kept: more than are published while one key waits.
const WRITTEN_MAX: usize = 32;

/// Those who read the bundle and say nothing: shown, never counted on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Readers {
    /// How often the bundle was read since the start.
    pub reads: u64,
    /// When last.
    pub last_at: Option<OffsetDateTime>,
}

impl Written {
    /// Whether that is news. What cannot be looked at was heard of when it was written.
    fn again(&mut self, (sequence, doubt): (u64, Option<&str>), at: OffsetDateTime) -> bool {
        let known = self.newest.filter(|newest| newest.holds == Some(sequence));
        let is_news = known.is_none() || self.doubt.as_deref() != doubt;
        let newest = known.filter(|_| doubt.is_some()).unwrap_or(Heard { holds: Some(sequence), at, has_come: true });
        (self.newest, self.trouble, self.doubt) = (Some(newest), None, doubt.map(str::to_owned));
        self.at.entry(sequence).or_insert(at);
        while self.at.len() > WRITTEN_MAX {
            self.at.pop_first();
        }
        is_news
    }
}

impl Holders {
    /// Those that the configuration declares, and the agents that live sessions promise.
    pub fn new(
        declared: impl IntoIterator<Item = String>,
        agents: impl IntoIterator<Item = KeyId>,
        now: OffsetDateTime,
    ) -> Self {
        let declared = declared.into_iter().map(|name| (name, None)).collect();
        let agents = agents.into_iter().map(|owner| (owner, Heard { holds: None, at: now, has_come: false })).collect();
        Self(Arc::new(Mutex::new(Inside { agents, declared, ..Inside::default() })))
    }

    /// These, and whatever we write the bundle to by ourselves.
    #[must_use]
    pub fn publishing(self, names: impl IntoIterator<Item = String>) -> Self {
        self.inside().publishers = names.into_iter().map(|name| (name, Written::default())).collect();
        self
    }

    /// A publisher has written the bundle of this sequence, or found it written; `doubt` says why it cannot look. Whether that is
    /// news.
    pub fn wrote(&self, publisher: &str, (sequence, doubt): (u64, Option<&str>), at: OffsetDateTime) -> bool {
        self.inside().publishers.get_mut(publisher).is_some_and(|written| written.again((sequence, doubt), at))
    }

    /// What a publisher wrote was found changed: whoever reads there may have read that, and needs his time anew.
    pub fn did_not_last(&self, publisher: &str) {
        if let Some(written) = self.inside().publishers.get_mut(publisher) {
            written.at.clear();
        }
    }

    /// A publisher cannot write; what it wrote before stands. Whether that is news.
    pub fn not_written(&self, publisher: &str, why: String) -> bool {
        let mut inside = self.inside();
        let written = inside.publishers.get_mut(publisher);
        let former = written.map(|written| written.trouble.replace(why.clone()));
        drop(inside);
        former.is_some_and(|former| former != Some(why))
    }

    /// What keeps publishers from writing, by their names.
    pub fn troubles(&self) -> BTreeMap<String, String> {
        let publishers = self.inside().publishers.clone();
        publishers.into_iter().filter_map(|(name, written)| Some((name, written.trouble?))).collect()
    }

    /// What keeps publishers from seeing whether what they wrote is still there, by their names.
    pub fn doubts(&self) -> BTreeMap<String, String> {
        let publishers = self.inside().publishers.clone();
        publishers.into_iter().filter_map(|(name, written)| Some((name, written.doubt?))).collect()
    }

    /// An agent is heard, and may say which bundle it holds; what it said before stands.
    pub fn heard(&self, owner: KeyId, sequence: Option<u64>, now: OffsetDateTime) {
        let known = |heard: &Heard| Heard { holds: sequence.or(heard.holds), at: now, has_come: true };
        let new = Heard { holds: sequence, at: now, has_come: true };
        self.inside().agents.entry(owner).and_modify(|heard| *heard = known(heard)).or_insert(new);
    }

    /// Those agents that were heard here since a time, and live.
    pub fn heard_since(&self, since: OffsetDateTime, lives: impl Fn(&KeyId) -> bool) -> AgentsHeard {
        let inside = self.inside();
        let heard = inside.agents.iter().filter(|(owner, heard)| heard.has_come && heard.at >= since && lives(owner));
        let all: Vec<_> = heard.map(|(_, heard)| heard.holds).collect();
        drop(inside);
        let holds = all.iter().copied().min().flatten();
        AgentsHeard { count: all.len(), holds }
    }

    /// What other replicas say of the agents that talk to them; those that live.
    pub fn hear_of(&self, elsewhere: Vec<(String, AgentsHeard)>) {
        self.inside().elsewhere = elsewhere;
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
        let confirmed = Some(Heard { holds: Some(sequence), at, has_come: true });
        self.inside().declared.get_mut(name).map(|known| *known = confirmed).is_some()
    }

    /// All of them. Agents without a live session are forgotten: nobody trusts by their copy any more. One that was heard
    /// since `asked_at`, when it was asked which sessions live, may have begun its own meanwhile.
    pub fn all(&self, lives: impl Fn(&KeyId) -> bool, asked_at: OffsetDateTime) -> Vec<Holder> {
        let (agents, declared, publishers, elsewhere) = {
            let mut inside = self.inside();
            inside.agents.retain(|owner, heard| lives(owner) || heard.at > asked_at);
            (inside.agents.clone(), inside.declared.clone(), inside.publishers.clone(), inside.elsewhere.clone())
        };
        let elsewhere = elsewhere.into_iter().filter(|(_, agents)| agents.count > 0).map(|(replica, agents)| Holder {
            name: format!("{} agents of replica {replica}", agents.count),
            kind: HolderKind::Reporting,
            holds: agents.holds,
            heard_at: Some(asked_at),
            wrote_at: BTreeMap::new(),
        });
        let agents = agents.into_iter().map(|(owner, heard)| Holder {
            name: format!("{AGENT}{owner}"),
            kind: HolderKind::Reporting,
            holds: heard.holds,
            heard_at: Some(heard.at),
            wrote_at: BTreeMap::new(),
        });
        let declared = declared.into_iter().map(|(name, heard)| (name, HolderKind::Declared, heard, BTreeMap::new()));
        let publishers =
            publishers.into_iter().map(|(name, written)| (name, HolderKind::Publisher, written.newest, written.at));
        let named = declared.chain(publishers).map(|(name, kind, heard, wrote_at)| Holder {
            name,
            kind,
            holds: heard.and_then(|heard| heard.holds),
            heard_at: heard.map(|heard| heard.at),
            wrote_at,
        });
        let mut all: Vec<_> = agents.chain(elsewhere).chain(named).collect();
        all.sort_unstable_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
        all
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyAlgorithm, KeyPair};
    use std::time::Duration;

    #[test]
    fn agents_that_talk_to_another_replica_are_waited_for_until_all_of_them_hold_the_key() {
        let key = || KeyPair::generate(KeyAlgorithm::EcP256).unwrap().public().id();
        let (now, there, here) =
            (OffsetDateTime::UNIX_EPOCH, Holders::new([], [key()], OffsetDateTime::UNIX_EPOCH), Holders::default());
        let at = now + Duration::from_secs(5);
        let says = |there: &Holders| there.heard_since(at, |_| true);
        assert_eq!(says(&there), AgentsHeard::default(), "one that was only promised is waited for by everybody");
        let (one, other) = (key(), key());
        there.heard(one, Some(4), at);
        there.heard(other, None, at);
        assert_eq!(says(&there), AgentsHeard { count: 2, holds: None });
        there.heard(other, Some(3), at);
        here.hear_of(vec![("ca-2".to_owned(), says(&there)), ("ca-3".to_owned(), AgentsHeard::default())]);
        let all = here.all(|_| true, at);
        let shown: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.holds, one.heard_at)).collect();
        assert_eq!(shown, [("2 agents of replica ca-2", Some(3), Some(at))]);
        assert_eq!(there.heard_since(at + Duration::from_secs(1), |_| true).count, 0, "one that fell silent");
    }

    #[test]
    fn an_agent_whose_sessions_are_over_is_forgotten_and_one_that_has_just_come_is_not() {
        let key = || KeyPair::generate(KeyAlgorithm::EcP256).unwrap().public().id();
        let (lives, over, comes, now) = (key(), key(), key(), OffsetDateTime::UNIX_EPOCH);
        let holders = Holders::new([], [lives, over], now);
        holders.heard(comes, Some(4), now + Duration::from_millis(1));
        let names = |at| holders.all(|owner| *owner == lives, at).into_iter().map(|one| one.name).collect::<Vec<_>>();
        assert!(names(now).contains(&format!("agent {comes}")) && names(now).len() == 2);
        assert_eq!(names(now + Duration::from_secs(15)), [format!("agent {lives}")]);
        assert_eq!(holders.inside().agents.len(), 1);
    }
}
