//! What etcd held at one revision, in memory: written by the follower alone, read by all.

use super::proto::{Event, KeyValue, event::EventType};
use super::request::{Prefix, TICK, Tick, revision, stored};
use crate::store::index::{Change, Index, Overlay};
use crate::store::record::Link;
use crate::store::{Heard, Revision, Stored};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

/// How names begin that only replicas read.
const OWN: char = '~';

/// See the file's opening words.
#[derive(Debug)]
pub(super) struct Copy {
    /// Names this process among those who write.
    pub(super) writer: String,
    prefix: Prefix,
    data: Index,
    own: Index,
    at: watch::Sender<Revision>,
    /// Our own transactions that wait for an answer, and what the watch told of them.
    fates: Mutex<HashMap<u64, Option<Revision>>>,
    heard: mpsc::UnboundedSender<Heard>,
}

/// A transaction of ours that waits for its answer.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    copy: &'a Copy,
    pub(super) n: u64,
}

impl Copy {
    /// An empty one, and where it is told what others write.
    pub(super) fn new(writer: String, prefix: Prefix) -> (Self, mpsc::UnboundedReceiver<Heard>) {
        let (heard, told) = mpsc::unbounded_channel();
        let (data, own, at) = (Index::memory(), Index::memory(), watch::Sender::new(0));
        (Self { writer, prefix, data, own, at, fates: Mutex::default(), heard }, told)
    }

    pub(super) fn read(&self, key: &str) -> io::Result<Option<Stored>> {
        self.data.read(key)
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

    /// How far it has come, and each step.
    pub(super) fn watch(&self) -> watch::Receiver<Revision> {
        self.at.subscribe()
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
        self.fates().insert(n, None);
        Pending { copy: self, n }
    }

    /// Takes what a watch brings: whole revisions, in their order.
    pub(super) fn take(&self, events: Vec<Event>) {
        let events: Vec<_> = events.into_iter().filter_map(|event| Some((event.r#type(), event.kv?))).collect();
        let ticks: HashMap<Revision, Tick> = events.iter().filter_map(|(_, kv)| self.tick(kv)).collect();
        let newest = events.iter().map(|(_, kv)| revision(kv.mod_revision)).max();
        for (kind, kv) in events {
            let by_us = ticks.get(&revision(kv.mod_revision)).is_some_and(|tick| tick.by == self.writer);
            let Some(name) = self.prefix.name(&kv.key).map(str::to_owned) else { continue };
            let now = match kind {
                EventType::Put => stored(&kv),
                EventType::Delete => None,
            };
            self.apply(name, (now, revision(kv.mod_revision)), by_us);
        }
        self.settle(&ticks);
        self.at.send_if_modified(|at| newest.is_some_and(|newest| std::mem::replace(at, newest.max(*at)) < newest));
    }

    /// Becomes what was listed at a revision, after more was missed than a watch can tell.
    pub(super) fn replace(&self, all: &[KeyValue], listed_at: Revision) {
        let ticks: HashMap<Revision, Tick> = all.iter().filter_map(|kv| self.tick(kv)).collect();
        let named = all.iter().filter_map(|kv| Some((self.prefix.name(&kv.key)?.to_owned(), stored(kv)?)));
        let mut now: BTreeMap<String, Stored> = named.collect();
        let known = [self.page("", "", usize::MAX).unwrap_or_default(), self.own("")].concat();
        for (name, was) in known {
            match now.get(&name) {
                Some(same) if same.revision == was.revision => drop(now.remove(&name)),
                Some(_) => {}
                None => self.apply(name, (None, listed_at), false),
            }
        }
        for (name, is) in now {
            let revision = is.revision;
            self.apply(name, (Some(is), revision), false);
        }
        self.settle(&ticks);
        self.at.send_replace(listed_at);
    }

    fn apply(&self, name: String, (now, revision): (Option<Stored>, Revision), by_us: bool) {
        let change = now.clone().map_or(Change::Deleted(revision), Change::Put);
        let mut overlay = Overlay(HashMap::from([(name.clone(), change)]));
        let index = if name.starts_with(OWN) { &self.own } else { &self.data };
        // In memory nothing fails.
        drop(index.apply(&mut overlay, Link::START.into()));
        if !by_us {
            // A server that does not listen keeps nothing in memory either.
            drop(self.heard.send(Heard { key: name, now }));
        }
    }

    fn tick(&self, kv: &KeyValue) -> Option<(Revision, Tick)> {
        let is_tick = self.prefix.name(&kv.key) == Some(TICK);
        let tick = is_tick.then(|| serde_json::from_slice(&kv.value).ok()).flatten()?;
        Some((revision(kv.mod_revision), tick))
    }

    fn settle(&self, ticks: &HashMap<Revision, Tick>) {
        let mut fates = self.fates();
        for (revision, tick) in ticks.iter().filter(|(_, tick)| tick.by == self.writer) {
            if let Some(fate) = fates.get_mut(&tick.n) {
                *fate = Some(*revision);
            }
        }
    }

    /// A holder that panicked left whole entries behind.
    fn fates(&self) -> MutexGuard<'_, HashMap<u64, Option<Revision>>> {
        self.fates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pending<'_> {
    /// The revision it was done with, as far as the copy has come.
    pub(super) fn fate(&self) -> Option<Revision> {
        self.copy.fates().get(&self.n).copied().flatten()
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.copy.fates().remove(&self.n);
    }
}
