//! After etcd was restored from a snapshot: what this replica's journal knows and etcd does not is written there again.
//!
//! The journal tells where they part: at its last transaction that etcd still shows. What came later is written again, and
//! beside it stands when it was written first: so of what several replicas know of a key the newest stays, whoever comes
//! first. Until every replica that was known has done so, none of them writes.

use super::decide::{DECIDED_WITHIN, Decided, Wish};
use super::evidence::{Evidence, KEY};
use super::{Etcd, EtcdError};
use crate::store::{
    Commit, Condition, JournalError, JournalReader, LocalStore, OpenError, Revision, Room, Store as _, StoreError,
    Stored, Version, Write,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Where it stands who has yet to reconcile.
pub(super) const WAITING: &str = "~reconcile";
/// How the names of replicas begin that ever shared this store.
pub(super) const KNOWN: &str = "~known/";
/// How many restores there were: what was written after one is newer than all before, whatever its revision.
pub(super) const EPOCH: &str = "~epoch";
/// Keys of one transaction, each with a mark; etcd takes 128.
const AT_ONCE: usize = 50;

/// Who has yet to reconcile.
#[derive(Debug, Deserialize, Serialize)]
struct Waiting {
    v: Version<1>,
    replicas: BTreeSet<String>,
}

/// What a reconciliation did.
#[derive(Clone, Debug, Serialize)]
pub struct Reconciled {
    /// The last transaction of this replica that etcd knew.
    pub since: Revision,
    /// Keys that were written again.
    pub written: usize,
    /// Keys that somebody has written since, and that stay so.
    pub kept: Vec<String>,
    /// Replicas that have yet to reconcile.
    pub waiting: BTreeSet<String>,
    /// What replicas that are lost had left, and this one's journal tells.
    #[serde(skip_serializing_if = "is_none")]
    pub told_late: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Tells the journal, which from now on expects etcd as it is.
///
/// # Errors
/// When the journal cannot be written.
pub async fn reconciled(journal: &LocalStore, etcd: &Etcd, done: &Reconciled) -> Result<(), StoreError> {
    #[derive(Serialize)]
    struct Told<'a> {
        kind: &'static str,
        #[serde(flatten)]
        done: &'a Reconciled,
    }
    let evidence = Evidence::at(etcd, (etcd.tide.seen(), 0));
    let entry =
        to_raw_value(&Told { kind: "store_reconciled", done }).map_err(|odd| StoreError::Journal(odd.into()))?;
    let (room, conditions, writes) = (Room::Reserve, Vec::new(), vec![evidence.write()?]);
    journal.commit(Commit { room, conditions, writes, entry, without_quorum: None }).await.map(drop)
}

/// When a transaction was: after which restore, and at which revision.
type Age = (u64, Revision);

/// What a key should hold, nothing where it was deleted; and since when.
type Last = BTreeMap<String, (Age, Option<Box<RawValue>>)>;

/// How the names of these begin: when it was written first what a key holds again.
pub(super) const RESTORED: &str = "~restored/";

/// Stands beside a key that was written again. What is of an earlier restore counts for nothing.
#[derive(Deserialize, Serialize)]
struct Restored {
    /// The restore after which it was written again.
    after: u64,
    epoch: u64,
    revision: Revision,
}

impl Etcd {
    /// Who has yet to reconcile, after a restore; none where all is well.
    pub fn waiting(&self) -> BTreeSet<String> {
        let kept = self.copy.own(WAITING).pop();
        kept.and_then(|(_, kept)| serde_json::from_str::<Waiting>(kept.value.get()).ok())
            .map(|waiting| waiting.replicas)
            .unwrap_or_default()
    }

    /// Whether there is any; cheap.
    pub(super) fn is_waiting(&self) -> bool {
        self.copy.own_revision(WAITING).is_some()
    }

    /// What a key holds.
    ///
    /// # Errors
    /// `Index`.
    pub fn read(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.copy.read(key).map_err(StoreError::Index)
    }

    /// Writes again what etcd has forgotten of this replica's journal, and more. `lost` are replicas whose journals are gone.
    ///
    /// # Errors
    /// When the journal cannot be read, or etcd not written; asking again goes on.
    pub async fn reconcile(
        self: &Arc<Self>,
        dir: &Path,
        (lost, more): (&[String], Option<Write>),
    ) -> Result<Reconciled, EtcdError> {
        let (_, all) = self.forgotten(dir).map_err(OpenError::from)?;
        let seen = all.values().map(|((epoch, _), _)| *epoch).max().unwrap_or_default();
        self.wait_for_others((lost, seen)).await?;
        let ((epoch, since), later) = self.forgotten(dir).map_err(OpenError::from)?;
        let (mut written, mut kept) = (0, Vec::new());
        let mut wishes = Vec::new();
        for (key, (age, value)) in later {
            let now = self.read(&key)?;
            let mark = self.mark_of(&key);
            let restored = mark.as_ref().and_then(|mark| serde_json::from_str::<Restored>(mark.value.get()).ok());
            let restored = restored.filter(|restored| restored.after == self.epoch());
            let is_same = now.as_ref().map(|now| now.value.get()) == value.as_ref().map(|value| value.get());
            let there = restored.map(|restored| (restored.epoch, restored.revision));
            if there.or(now.as_ref().map(|now| (epoch, now.revision))).is_some_and(|there| there >= age) {
                kept.extend((!is_same).then_some(key));
                continue;
            }
            wishes.push(Again::of((key, value), (now, mark), (age, self.epoch()))?);
        }
        for some in wishes.chunks(AT_ONCE) {
            let conditions = some.iter().flat_map(|again| again.conditions.clone()).collect();
            let writes = some.iter().flat_map(|again| again.writes.clone()).collect();
            match self.decide(Wish::of(conditions, writes), DECIDED_WITHIN).await? {
                Decided::Done { .. } => written += some.len(),
                Decided::Conflict { key, .. } => {
                    return Err(EtcdError::Away { why: format!("{key} was written meanwhile: ask again") });
                }
            }
        }
        if let Some(write) = more {
            self.decide(Wish::of(Vec::new(), vec![write]), DECIDED_WITHIN).await?;
        }
        let waiting = self.is_reconciled().await?;
        Ok(Reconciled { since, written, kept, waiting, told_late: 0 })
    }

    /// Who has noticed that etcd lost something says so there: others may have no way to know, and must not go on. Where
    /// we are not known this may be the etcd of others.
    pub(super) async fn announce_loss(&self) {
        let known = self.known();
        if self.is_waiting() || !known.contains(self.replica()) {
            return;
        }
        let Ok(waiting) = to_raw_value(&Waiting { v: Version, replicas: known }) else { return };
        let wish = (Condition::Absent(WAITING.to_owned()), Write::Put(WAITING.to_owned(), waiting));
        // It is said again until it stands.
        drop(self.client.txn(self.prefix.bare(&wish)).await);
    }

    fn known(&self) -> BTreeSet<String> {
        let known = self.copy.own(KNOWN).into_iter();
        known.filter_map(|(key, _)| Some(key.strip_prefix(KNOWN)?.to_owned())).collect()
    }

    /// What stands beside a key that was written again.
    fn mark_of(&self, key: &str) -> Option<Stored> {
        let beside = format!("{RESTORED}{key}");
        self.copy.own(&beside).into_iter().find(|(name, _)| *name == beside).map(|(_, mark)| mark)
    }

    /// From now on nobody writes until all have reconciled.
    async fn wait_for_others(self: &Arc<Self>, (lost, seen): (&[String], u64)) -> Result<(), EtcdError> {
        let begun = self.waiting();
        let begins = begun.is_empty();
        let mut replicas = if begins { self.known() } else { begun };
        replicas.insert(self.replica().to_owned());
        replicas.retain(|replica| !lost.contains(replica));
        // What is written from now on is newer than whatever was forgotten, whatever its revision.
        let next = self.epoch().max(seen) + 1;
        let epoch = (begins || seen >= self.epoch()).then(|| Self::epoch_write(next)).transpose()?;
        self.set_waiting(replicas, epoch).await
    }

    fn epoch_write(next: u64) -> Result<Write, StoreError> {
        let value = to_raw_value(&next).map_err(|odd| StoreError::Index(odd.into()))?;
        Ok(Write::Put(EPOCH.to_owned(), value))
    }

    /// How many restores there were.
    pub(super) fn epoch(&self) -> u64 {
        let kept = self.copy.own(EPOCH).pop();
        kept.and_then(|(_, kept)| serde_json::from_str(kept.value.get()).ok()).unwrap_or_default()
    }

    /// This one has.
    async fn is_reconciled(self: &Arc<Self>) -> Result<BTreeSet<String>, EtcdError> {
        let mut replicas = self.waiting();
        replicas.remove(self.replica());
        self.set_waiting(replicas.clone(), None).await?;
        if replicas.is_empty() {
            self.forget_restored().await;
        }
        Ok(replicas)
    }

    /// All have reconciled. What stays counts for nothing the next time.
    async fn forget_restored(&self) {
        let keys: Vec<_> = self.copy.own(RESTORED).into_iter().map(|(key, _)| key).collect();
        for some in keys.chunks(2 * AT_ONCE) {
            drop(self.client.txn(self.prefix.without(some)).await);
        }
    }

    async fn set_waiting(self: &Arc<Self>, replicas: BTreeSet<String>, epoch: Option<Write>) -> Result<(), EtcdError> {
        let key = WAITING.to_owned();
        let condition = match self.copy.own_revision(WAITING) {
            Some(revision) => Condition::Unchanged(key.clone(), revision),
            None => Condition::Absent(key.clone()),
        };
        let write = if replicas.is_empty() {
            Write::Delete(key)
        } else {
            let waiting = to_raw_value(&Waiting { v: Version, replicas });
            Write::Put(key, waiting.map_err(|odd| StoreError::Index(odd.into()))?)
        };
        let within = DECIDED_WITHIN;
        match self.decide(Wish::of(vec![condition], [write].into_iter().chain(epoch).collect()), within).await? {
            Decided::Done { revision, .. } => {
                drop(tokio::time::timeout(within, self.copy.reaches(revision)).await);
                Ok(())
            }
            Decided::Conflict { .. } => {
                Err(EtcdError::Away { why: "another replica reconciles: ask again".to_owned() })
            }
        }
    }

    /// What was written after the last transaction that etcd still shows, and when that was. A journal tells transactions in
    /// about their order: what counts is that of etcd.
    fn forgotten(&self, dir: &Path) -> Result<(Age, Last), JournalError> {
        let (mut since, mut last) = ((0, 0), Last::new());
        for record in JournalReader::open(dir)? {
            let Some(told) = record?.put.get(KEY).and_then(|kept| Evidence::parse(kept).ok()) else { continue };
            let age = (told.epoch, told.revision);
            let is_there = |key: &str, value: &RawValue| {
                let found = self.copy.read(key).ok().flatten();
                let is_same =
                    found.is_some_and(|found| found.revision == told.revision && found.value.get() == value.get());
                // What somebody has written again since may have just that revision by chance.
                is_same && self.mark_of(key).is_none()
            };
            if told.put.iter().any(|(key, value)| is_there(key, value)) {
                since = age.max(since);
                last.retain(|_, (age, _)| *age > since);
            }
            let put = told.put.into_iter().map(|(key, value)| (key, Some(value)));
            for (key, value) in put.chain(told.delete.into_iter().map(|key| (key, None))) {
                keep_newest(&mut last, key, (age, value));
            }
        }
        last.retain(|_, (age, _)| *age > since);
        Ok((since, last))
    }
}

fn keep_newest(last: &mut Last, key: String, (age, value): (Age, Option<Box<RawValue>>)) {
    let newest = last.entry(key).or_insert_with(|| ((0, 0), None));
    if age >= newest.0 {
        *newest = (age, value);
    }
}

/// A key that is written again, and the mark beside it.
struct Again {
    conditions: [Condition; 2],
    writes: [Write; 2],
}

impl Again {
    fn of(
        (key, value): (String, Option<Box<RawValue>>),
        (now, mark): (Option<Stored>, Option<Stored>),
        ((epoch, revision), after): (Age, u64),
    ) -> Result<Self, StoreError> {
        let unchanged = |key: &str, held: Option<&Stored>| match held {
            Some(held) => Condition::Unchanged(key.to_owned(), held.revision),
            None => Condition::Absent(key.to_owned()),
        };
        let beside = format!("{RESTORED}{key}");
        let conditions = [unchanged(&key, now.as_ref()), unchanged(&beside, mark.as_ref())];
        let restored =
            to_raw_value(&Restored { after, epoch, revision }).map_err(|odd| StoreError::Index(odd.into()))?;
        let write = value.map_or(Write::Delete(key.clone()), |value| Write::Put(key, value));
        Ok(Self { conditions, writes: [write, Write::Put(beside, restored)] })
    }
}
