//! What etcd did and no journal tells: its intent stands in etcd, and the journal tells it late.
//!
//! That happens where a replica is killed between the two, where its journal could not be written, and where an answer was
//! given up and the deed was done all the same.

use super::Etcd;
use super::clocks::CLOCKS;
use super::evidence::{Evidence, KEY};
use super::mark::{INTENTS, Intent, intent_of};
use crate::store::{
    Commit, JournalError, LocalStore, Revision, Room, Store as _, StoreError, Stored, Write, records_since,
};
use crate::telemetry::chain;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use time::OffsetDateTime;

/// How often is looked for them.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Intents that are told and that no transaction took along.
const TAKEN_AT_ONCE: usize = 100;
/// A replica that is away for so long may be gone for good; what it tells itself when it comes back stands twice then.
const GONE_AFTER: time::Duration = time::Duration::minutes(10);
/// A record is dated a little before or after its intent.
const SLACK: time::Duration = time::Duration::minutes(2);

/// Tells late, in this journal.
#[derive(Debug)]
pub(super) struct Late {
    etcd: Arc<Etcd>,
    journal: Arc<LocalStore>,
    /// How many transactions there had been at the last look.
    had_been: AtomicU64,
}

/// Done in etcd, and not told as far as is known.
struct Untold {
    key: String,
    revision: Revision,
    intent: Intent,
}

#[derive(Serialize)]
struct Told<'a> {
    kind: &'static str,
    replica: &'a str,
    revision: Revision,
    #[serde(with = "time::serde::timestamp")]
    intended_at: OffsetDateTime,
    intended: &'a RawValue,
}

/// Tells in this journal what a replica left whose own is gone: nobody waits for it. How many.
///
/// # Errors
/// When the journal cannot be read or written.
pub async fn take_over(journal: &Arc<LocalStore>, etcd: &Arc<Etcd>, lost: &str) -> Result<usize, StoreError> {
    let late = Late::new(Arc::clone(etcd), Arc::clone(journal));
    let left = late.intents_of(lost).map(|(key, .., kept)| (key, kept)).collect();
    late.tell((lost, left)).await
}

impl Late {
    pub(super) const fn new(etcd: Arc<Etcd>, journal: Arc<LocalStore>) -> Self {
        Self { etcd, journal, had_been: AtomicU64::new(0) }
    }

    /// One look at our own.
    pub(super) async fn look(&self) {
        if self.etcd.tide.went_back().is_some() {
            return self.etcd.announce_loss().await;
        }
        if self.etcd.is_waiting() {
            return;
        }
        let (mut there, mut untold) = (BTreeSet::new(), Vec::new());
        for (key, process, n, kept) in self.intents_of(self.etcd.replica()) {
            let is_ours = process == self.etcd.process();
            there.extend(is_ours.then_some(n));
            if !is_ours || !self.etcd.marks.sees_to(n) {
                untold.push((key, kept));
            }
        }
        self.etcd.marks.forget_gone(&there);
        if let Err(fault) = self.tell((self.etcd.replica(), untold)).await {
            tracing::error!(fault = %chain(&fault), "what was done and not told cannot be told yet");
        }
        self.look_after_others().await;
        // While others come, they take along what is told.
        let been = self.etcd.marks.been();
        if self.had_been.swap(been, Ordering::Relaxed) == been {
            self.take_away().await;
        }
    }

    /// What a replica left that does not come back is told by whoever leads.
    async fn look_after_others(&self) {
        let long_ago = (self.etcd.clocks.now() - GONE_AFTER).unix_timestamp();
        let live: BTreeSet<_> = self.etcd.copy.own(CLOCKS).into_iter().map(|(key, _)| key).collect();
        let is_gone = |(key, kept): &(String, Stored)| {
            let whose = intent_of(key).map(|(replica, ..)| replica).unwrap_or_default();
            let intent = serde_json::from_str::<Intent>(kept.value.get());
            let is_old = intent.is_ok_and(|intent| intent.at < long_ago);
            is_old && whose != self.etcd.replica() && !live.contains(&format!("{CLOCKS}{whose}"))
        };
        let all = if self.etcd.leads() { self.etcd.copy.own(INTENTS) } else { Vec::new() };
        let mut of: BTreeMap<String, Vec<(String, Stored)>> = BTreeMap::new();
        for (key, kept) in all.into_iter().filter(is_gone) {
            let whose = intent_of(&key).map(|(replica, ..)| replica.to_owned()).unwrap_or_default();
            of.entry(whose).or_default().push((key, kept));
        }
        for (replica, found) in of {
            if let Err(fault) = self.tell((&replica, found)).await {
                tracing::error!(replica, fault = %chain(&fault), "what another replica left untold cannot be told yet");
            }
        }
    }

    fn intents_of(&self, replica: &str) -> impl Iterator<Item = (String, String, u64, Stored)> {
        let all = self.etcd.copy.own(&format!("{INTENTS}{replica}/")).into_iter();
        // Another's name may begin as ours does.
        all.filter_map(move |(key, kept)| {
            let (who, process, n) = intent_of(&key)?;
            let process = (who == replica).then(|| process.to_owned())?;
            Some((key, process, n, kept))
        })
    }

    async fn tell(&self, (replica, found): (&str, Vec<(String, Stored)>)) -> Result<usize, StoreError> {
        if found.is_empty() {
            return Ok(0);
        }
        let all: Vec<_> = found.into_iter().filter_map(|(key, kept)| Untold::parse(key, &kept)).collect();
        let told_before = self.told_before(&all).await?;
        let mut told = 0;
        for one in &all {
            if let Some(entry) = one.intent.entry.as_ref().filter(|_| !told_before.contains(&one.revision)) {
                self.tell_one(replica, one, entry).await?;
                told += 1;
                tracing::warn!(replica, revision = one.revision, "the journal tells late what was done in etcd");
            }
        }
        let keys: Vec<_> = all.into_iter().map(|one| one.key).collect();
        for some in keys.chunks(TAKEN_AT_ONCE) {
            // Those that stay are found in the journal the next time.
            drop(self.etcd.client.txn(self.etcd.prefix.without(some)).await);
        }
        Ok(told)
    }

    async fn tell_one(&self, replica: &str, one: &Untold, intended: &RawValue) -> Result<(), StoreError> {
        let intended_at = OffsetDateTime::from_unix_timestamp(one.intent.at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let told = Told { kind: "told_late", replica, revision: one.revision, intended_at, intended };
        let entry = to_raw_value(&told).map_err(|odd| StoreError::Journal(odd.into()))?;
        let mut writes = Vec::new();
        for key in &one.intent.keys {
            match self.etcd.copy.read(key).map_err(StoreError::Index)? {
                Some(held) if held.revision == one.revision => writes.push(Write::Put(key.clone(), held.value)),
                // Who wrote it since tells of that.
                Some(_) => {}
                None => writes.push(Write::Delete(key.clone())),
            }
        }
        let writes = vec![Evidence::at(&self.etcd, one.revision).of(writes).write()?];
        let (room, conditions) = (Room::Reserve, Vec::new());
        self.journal.commit(Commit { room, conditions, writes, entry, without_quorum: None }).await.map(drop)
    }

    /// Which of them the journal has told: a replica that died may have had no time to take its intent away.
    async fn told_before(&self, all: &[Untold]) -> Result<BTreeSet<Revision>, StoreError> {
        let Some(first) = all.iter().map(|one| one.intent.at).min() else { return Ok(BTreeSet::new()) };
        let since = OffsetDateTime::from_unix_timestamp(first).unwrap_or(OffsetDateTime::UNIX_EPOCH) - SLACK;
        let dir = self.journal.dir().to_owned();
        let revisions: BTreeSet<_> = all.iter().map(|one| one.revision).collect();
        // Files: no work for the thread that follows etcd.
        let read = tokio::task::spawn_blocking(move || told_of(&dir, since, &revisions));
        let read = read.await.map_err(|_stopped| StoreError::Stopped)?;
        read.map_err(|fault| StoreError::Journal(std::io::Error::other(fault)))
    }

    async fn take_away(&self) {
        let told = self.etcd.marks.take_told(TAKEN_AT_ONCE);
        if told.is_empty() {
            return;
        }
        let keys: Vec<_> = told.into_iter().map(|n| self.etcd.own_intent(n)).collect();
        if self.etcd.client.txn(self.etcd.prefix.without(&keys)).await.is_err() {
            self.etcd.marks.put_back(&keys);
        }
    }
}

impl Untold {
    fn parse(key: String, kept: &Stored) -> Option<Self> {
        match serde_json::from_str(kept.value.get()) {
            Ok(intent) => Some(Self { key, revision: kept.revision, intent }),
            Err(odd) => {
                tracing::error!(key, %odd, "an intent cannot be read, and stays");
                None
            }
        }
    }
}

/// Of these transactions those that a journal tells of.
fn told_of(
    dir: &Path,
    since: OffsetDateTime,
    revisions: &BTreeSet<Revision>,
) -> Result<BTreeSet<Revision>, JournalError> {
    let mut told = BTreeSet::new();
    records_since(dir, since, &[&format!("\"{KEY}\":{{")], |record| {
        let evidence = record.put.get(KEY).and_then(|kept| Evidence::parse(kept).ok());
        told.extend(evidence.map(|told| told.revision).filter(|revision| revisions.contains(revision)));
    })?;
    Ok(told)
}
