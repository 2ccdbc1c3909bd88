//! What etcd held at one revision, in memory: written by the follower alone, read by all.

use super::cluster::KEYRING;
use super::hearing::Waiting;
use super::mark::{Marks, TICKS, Tick};
use super::proto::{Event, KeyValue, event::EventType};
use super::request::{Prefix, revision, stored};
use crate::store::index::{Change, Index, Overlay};
use crate::store::record::Link;
use crate::store::{Revision, Stored};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How names begin that only replicas read.
const OWN: char = '~';

/// See the file's opening words.
#[derive(Debug)]
pub(super) struct Copy {
    /// This process, among those who write.
    pub(super) process: String,
    replica: String,
    prefix: Prefix,
    data: Index,
    own: Index,
    /// How far each replica's journal has told, and what the replica wrote last: what lies between is perhaps in no journal.
    told: Mutex<HashMap<String, (Revision, Revision)>>,
    pub(super) marks: Arc<Marks>,
    at: watch::Sender<Revision>,
    keyring: watch::Sender<()>,
    /// Our own transactions, until both their caller and the copy know of them.
    fates: Mutex<HashMap<u64, Fate>>,
    /// What others wrote, and what we wrote and nobody here knows.
    pub(super) waiting: Waiting,
}

/// How far it is known what became of a transaction of ours.
#[derive(Debug)]
enum Fate {
    /// Whoever asked for it has been told.
    Answered(Revision),
    /// The copy shows it: these keys. Whoever asked for it waits still.
    Shown(Revision, Vec<String>),
    /// Nobody knows.
    Waited,
}

/// What became of keys, of the store's and of those that only replicas read.
#[derive(Debug, Default)]
struct Changes {
    data: Overlay,
    own: Overlay,
}

impl Changes {
    /// Of several changes of one key the last counts.
    fn add(&mut self, name: String, (now, revision): (Option<Stored>, Revision)) {
        let change = now.map_or(Change::Deleted(revision), Change::Put);
        let Overlay(changes) = if name.starts_with(OWN) { &mut self.own } else { &mut self.data };
        changes.insert(name, change);
    }
}

/// A transaction of ours that waits for its answer. Where it goes without one, what it wrote is heard of as if others had
/// written it.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    copy: &'a Copy,
    n: u64,
}

impl Copy {
    /// An empty one.
    pub(super) fn new((replica, process): (String, String), prefix: Prefix) -> Self {
        let (data, own) = (Index::memory(), Index::memory());
        let (at, keyring) = (watch::Sender::new(0), watch::Sender::new(()));
        let (told, fates, marks) = (Mutex::default(), Mutex::default(), Arc::default());
        Self { process, replica, prefix, data, own, told, marks, at, keyring, fates, waiting: Waiting::new() }
    }

    pub(super) fn read(&self, key: &str) -> io::Result<Option<Stored>> {
        self.data.read(key)
    }

    /// When a key was written.
    pub(super) fn revision(&self, key: &str) -> Option<Revision> {
        // In memory nothing fails.
        self.data.revision(key).ok().flatten()
    }

    pub(super) fn page(&self, prefix: &str, after: &str, max: usize) -> io::Result<Vec<(String, Stored)>> {
        self.data.page(prefix, after, max)
    }

    /// What replicas tell each other under names that begin so.
    pub(super) fn own(&self, prefix: &str) -> Vec<(String, Stored)> {
        // In memory nothing fails.
        self.own.page(prefix, "", usize::MAX).unwrap_or_default()
    }

    /// When one of them was written.
    pub(super) fn own_revision(&self, key: &str) -> Option<Revision> {
        self.own.revision(key).ok().flatten()
    }

    /// Whether what was written then may be in no journal yet.
    pub(super) fn may_be_untold(&self, revision: Revision) -> bool {
        let ours = self.told_up_to();
        self.told().iter().any(|(replica, (told, last))| {
            let told = if *replica == self.replica { ours } else { *told };
            told < revision && revision <= *last
        })
    }

    /// How far this replica's journal has told, as far as the copy has come.
    pub(super) fn told_up_to(&self) -> Revision {
        self.marks.told_up_to(self.at())
    }

    /// Each time that the sealed keys were written. Who waits for that is not woken by anything else.
    pub(super) fn keyring(&self) -> watch::Receiver<()> {
        self.keyring.subscribe()
    }

    /// All writes up to this revision are here, and none after.
    pub(super) fn at(&self) -> Revision {
        *self.at.borrow()
    }

    /// Resolves when it has come so far.
    pub(super) async fn reaches(&self, revision: Revision) {
        // The sender lives as long as we do.
        drop(self.at.subscribe().wait_for(|at| *at >= revision).await);
    }

    /// Looks out for a transaction of ours.
    pub(super) fn expect(&self, n: u64) -> Pending<'_> {
        self.fates().insert(n, Fate::Waited);
        Pending { copy: self, n }
    }

    /// Whoever asked for a transaction cannot act by it: what it wrote is heard of.
    pub(super) fn let_hear(&self, n: u64, keys: impl IntoIterator<Item = String>) {
        if self.fates().remove(&n).is_none() {
            self.waiting.add(keys.into_iter().filter(|key| !key.starts_with(OWN)));
        }
    }

    /// Takes what a watch brings: whole revisions, in their order. Who wrote, of those who say it.
    pub(super) fn take(&self, events: Vec<Event>) -> Vec<(String, Revision)> {
        let events: Vec<_> = events.into_iter().filter_map(|event| Some((event.r#type(), event.kv?))).collect();
        let ticks: BTreeMap<Revision, (String, Tick)> = events.iter().filter_map(|(_, kv)| self.tick(kv)).collect();
        self.hear(&ticks);
        let newest = events.iter().map(|(_, kv)| revision(kv.mod_revision)).max();
        let mut written: BTreeMap<Revision, Vec<String>> = BTreeMap::new();
        let mut changes = Changes::default();
        for (kind, kv) in events {
            let (Some(name), at) = (self.prefix.name(&kv.key).map(str::to_owned), revision(kv.mod_revision)) else {
                continue;
            };
            let now = match kind {
                EventType::Put => stored(&kv),
                EventType::Delete => None,
            };
            written.entry(at).or_default().push(name.clone());
            changes.add(name, (now, at));
        }
        self.apply(changes);
        let mut left = Vec::new();
        for (at, keys) in written {
            let ours = ticks.get(&at).filter(|(_, tick)| tick.by == self.process).and_then(|(_, tick)| tick.n);
            left.extend(self.left_to_hear(keys, ours.map(|n| (n, at))));
        }
        self.waiting.add(left);
        self.at.send_if_modified(|at| newest.is_some_and(|newest| std::mem::replace(at, newest.max(*at)) < newest));
        ticks.into_iter().map(|(at, (replica, _))| (replica, at)).collect()
    }

    /// Before anybody can read what was written with them.
    fn hear(&self, ticks: &BTreeMap<Revision, (String, Tick)>) {
        for (at, (replica, tick)) in ticks {
            let is_ours = tick.by == self.process;
            if *replica == self.replica && tick.n.is_some() {
                self.marks.brings(*at, tick.n.filter(|_| is_ours));
            }
            self.told().insert(replica.clone(), (tick.told, *at));
        }
    }

    /// What of these is to be heard: nothing, where they are ours and their caller knows of them or may still.
    fn left_to_hear(&self, keys: Vec<String>, ours: Option<(u64, Revision)>) -> impl Iterator<Item = String> {
        let mut fates = self.fates();
        let left = match ours.and_then(|(n, at)| Some((n, at, fates.remove(&n)?))) {
            Some((_, _, Fate::Answered(_))) => Vec::new(),
            Some((n, at, Fate::Waited | Fate::Shown(..))) => {
                fates.insert(n, Fate::Shown(at, keys));
                Vec::new()
            }
            None => keys,
        };
        drop(fates);
        left.into_iter().filter(|key| !key.starts_with(OWN))
    }

    /// Has it heard.
    fn tell(&self, keys: Vec<String>) {
        self.waiting.add(self.left_to_hear(keys, None));
    }

    /// Becomes what was listed at a revision, after more was missed than a watch can tell.
    pub(super) fn replace(&self, all: &[KeyValue], listed_at: Revision) {
        let ticks: HashMap<_, _> =
            all.iter().filter_map(|kv| self.tick(kv)).map(|(at, tick)| (tick.0, (tick.1, at))).collect();
        let ours = ticks.get(&self.replica).map_or(0, |(tick, _)| tick.told);
        self.marks.misses(if self.at() > 0 { self.told_up_to() } else { ours });
        *self.told() = ticks.into_iter().map(|(replica, (tick, at))| (replica, (tick.told, at))).collect();
        let named = all.iter().filter_map(|kv| Some((self.prefix.name(&kv.key)?.to_owned(), stored(kv)?)));
        let mut now: BTreeMap<String, Stored> = named.collect();
        let known = [self.page("", "", usize::MAX).unwrap_or_default(), self.own("")].concat();
        let (mut written, mut changes) = (Vec::new(), Changes::default());
        for (name, was) in known {
            match now.get(&name) {
                Some(same) if same.revision == was.revision => drop(now.remove(&name)),
                Some(_) => {}
                None => {
                    written.push(name.clone());
                    changes.add(name, (None, listed_at));
                }
            }
        }
        for (name, is) in now {
            let revision = is.revision;
            written.push(name.clone());
            changes.add(name, (Some(is), revision));
        }
        self.apply(changes);
        self.fates().retain(|_, fate| !matches!(fate, Fate::Answered(at) if *at <= listed_at));
        // Nobody has read anything before the first.
        if self.at() > 0 {
            self.tell(written);
        }
        self.at.send_replace(listed_at);
    }

    /// What a watch brings together is read together.
    fn apply(&self, Changes { mut data, mut own }: Changes) {
        // In memory nothing fails.
        drop(self.data.apply(&mut data, Link::START.into()));
        let has_keyring = own.0.contains_key(KEYRING);
        drop(self.own.apply(&mut own, Link::START.into()));
        if has_keyring {
            self.keyring.send_replace(());
        }
    }

    fn tick(&self, kv: &KeyValue) -> Option<(Revision, (String, Tick))> {
        let replica = self.prefix.name(&kv.key)?.strip_prefix(TICKS)?.to_owned();
        Some((revision(kv.mod_revision), (replica, serde_json::from_slice(&kv.value).ok()?)))
    }

    /// A holder that panicked left whole entries behind.
    fn told(&self) -> MutexGuard<'_, HashMap<String, (Revision, Revision)>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A holder that panicked left whole entries behind.
    fn fates(&self) -> MutexGuard<'_, HashMap<u64, Fate>> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending<'_> {
    /// The revision it was done with, as far as the copy has come.
    pub(super) fn fate(&self) -> Option<Revision> {
        match self.copy.fates().get(&self.n) {
            Some(Fate::Shown(at, _)) => Some(*at),
            Some(Fate::Answered(_) | Fate::Waited) | None => None,
        }
    }

    /// It was done, and whoever asked for it is told so now: he acts by it himself.
    pub(super) fn was_done(self, at: Revision) {
        let mut fates = self.copy.fates();
        if matches!(fates.get(&self.n), Some(Fate::Waited)) && self.copy.at() < at {
            fates.insert(self.n, Fate::Answered(at));
        } else {
            fates.remove(&self.n);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let mut fates = self.copy.fates();
        let fate = fates.remove(&self.n);
        match fate {
            Some(Fate::Shown(_, keys)) => {
                drop(fates);
                self.copy.tell(keys);
            }
            Some(answered @ Fate::Answered(_)) => drop(fates.insert(self.n, answered)),
            Some(Fate::Waited) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(name: &str, at: i64) -> Event {
        let (key, value) = (format!("p/{name}").into_bytes().into(), b"1".to_vec().into());
        Event { r#type: EventType::Put.into(), kv: Some(KeyValue { key, mod_revision: at, value }) }
    }

    #[test]
    fn whoever_waits_for_the_sealed_keys_is_woken_when_they_are_written_and_by_nothing_else() {
        let copy = Copy::new(("a".to_owned(), "1".to_owned()), Prefix("p/".to_owned()));
        let written = copy.keyring();
        copy.take(vec![put("session/1", 5), put("~lead", 6)]);
        assert!(copy.at() == 6 && !written.has_changed().unwrap());
        copy.take(vec![put(KEYRING, 7)]);
        assert!(written.has_changed().unwrap());
    }

    #[test]
    fn of_what_a_watch_brings_together_the_last_of_each_key_stays() {
        let copy = Copy::new(("a".to_owned(), "1".to_owned()), Prefix("p/".to_owned()));
        let gone = Event { r#type: EventType::Delete.into(), ..put("ended", 7) };
        copy.take(vec![put("again", 5), put("ended", 5), put("again", 6), gone]);
        assert_eq!((copy.revision("again"), copy.revision("ended"), copy.at()), (Some(6), None, 7));
    }
}
