//! After etcd was restored from a snapshot: what this replica's journal knows and etcd does not is written there again.
//!
//! The restored etcd tells where they part: at the last tick of this replica that it holds. What the journal tells up to there
//! is known, all later is lost and written again, and beside it stands when it was written first: so of what several replicas
//! know of a key the newest stays, whoever comes first. Until every replica that was known has done so, none of them writes.

use super::decide::{DECIDED_WITHIN, Decided, Wish};
use super::epoch::Age;
use super::evidence::Evidence;
use super::lost::{Since, Stand, lost_since, stand};
use super::mark::TICKS;
use super::{Etcd, EtcdError};
use crate::store::{
    Commit, Condition, LocalStore, OpenError, Revision, Room, Store as _, StoreError, Stored, Version, Write,
};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use time::OffsetDateTime;

/// Where it stands who has yet to reconcile.
pub(super) const WAITING: &str = "~reconcile";
/// How the names of replicas begin that ever shared this store.
pub(super) const KNOWN: &str = "~known/";
/// Keys of one transaction, each with a mark; etcd takes 128.
const AT_ONCE: usize = 50;

/// Who has yet to reconcile.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Waiting {
    v: Version<2>,
    /// After which restore: whoever has been through it, and misses something, tells of another. None where nobody has begun.
    restore: u64,
    /// What marks of it say.
    marks: u64,
    /// And how far etcd, as it was restored, knows their journals.
    replicas: BTreeMap<String, Option<Since>>,
}

/// What reconciling begins with.
struct Part {
    waiting: Waiting,
    since: Since,
}

/// What a reconciliation did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Reconciled {
    /// The last transaction of this replica that etcd knew.
    pub since: Revision,
    /// Keys that were written again.
    pub written: usize,
    /// Keys that somebody has written since, and that stay so.
    pub kept: Vec<String>,
    /// Replicas that have yet to reconcile.
    pub waiting: BTreeSet<String>,
    /// Replicas whose journals are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// What they had left, and this one's journal tells.
    #[serde(skip_serializing_if = "is_none")]
    pub told_late: usize,
    /// Nothing that was minted before is good for anything, since nobody knows what became of it at the lost ones.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::timestamp::option")]
    pub refused_before: Option<OffsetDateTime>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Reconciled {
    fn of(lost: &[String]) -> Self {
        Self { lost: lost.to_vec(), ..Self::default() }
    }
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
        self.waits().map(|waiting| waiting.replicas.into_keys().collect()).unwrap_or_default()
    }

    fn waits(&self) -> Option<Waiting> {
        let (_, kept) = self.copy.own(WAITING).pop()?;
        serde_json::from_str(kept.value.get()).ok()
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
        let stand = stand(dir).map_err(OpenError::from)?;
        let part = self.part(&stand, lost);
        let (marks, since) = (part.waiting.marks, part.since);
        self.begin(part, &stand, lost).await?;
        let (wishes, kept) = self.wishes(dir, (&since, marks))?;
        let mut written = 0;
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
        Ok(Reconciled { since: since.own.1, written, kept, waiting, ..Reconciled::of(lost) })
    }

    /// The same, without writing anything.
    ///
    /// # Errors
    /// When the journal or the copy cannot be read.
    pub fn would_reconcile(&self, dir: &Path, lost: &[String]) -> Result<Reconciled, EtcdError> {
        let Part { mut waiting, since } = self.part(&stand(dir).map_err(OpenError::from)?, lost);
        let (wishes, kept) = self.wishes(dir, (&since, waiting.marks))?;
        waiting.replicas.remove(self.replica());
        let waiting = waiting.replicas.into_keys().collect();
        Ok(Reconciled { since: since.own.1, written: wishes.len(), kept, waiting, ..Reconciled::of(lost) })
    }

    /// Whether nobody waits for this replica, and its journal has seen nothing that etcd does not hold.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn has_all_of(&self, dir: &Path) -> Result<bool, EtcdError> {
        let stand = stand(dir).map_err(OpenError::from)?;
        Ok(!self.waiting().contains(self.replica()) && !stand.last.is_some_and(|told| self.lacks(&told)))
    }

    /// What of a journal is to be written again, and the keys that somebody else wrote later.
    fn wishes(&self, dir: &Path, (since, marks): (&Since, u64)) -> Result<(Vec<Again>, Vec<String>), EtcdError> {
        let (mut wishes, mut kept) = (Vec::new(), Vec::new());
        for (key, (age, value)) in lost_since(dir, (since, self.replica())).map_err(OpenError::from)? {
            let now = self.read(&key)?;
            let mark = self.mark_of(&key);
            let restored = mark.as_ref().and_then(|mark| serde_json::from_str::<Restored>(mark.value.get()).ok());
            let restored = restored.filter(|restored| restored.after >= marks);
            let is_same = now.as_ref().map(|now| now.value.get()) == value.as_ref().map(|value| value.get());
            let there = restored.map(|restored| (restored.epoch, restored.revision));
            let held = || now.as_ref().map(|now| self.epochs().age(now.revision));
            if there.or_else(held).is_some_and(|there| there >= age) {
                kept.extend((!is_same).then_some(key));
                continue;
            }
            wishes.push(Again::of((key, value), (now, mark), (age, marks))?);
        }
        Ok((wishes, kept))
    }

    /// Who has noticed that etcd lost something says so there: others may have no way to know, and must not go on. Where
    /// we are not known this may be the etcd of others.
    pub(super) async fn announce_loss(&self) {
        let known = self.known();
        if self.is_waiting() || !known.contains(self.replica()) {
            return;
        }
        // How far etcd knows them tells who comes first: this copy may be of before the restore.
        let replicas = known.into_iter().map(|replica| (replica, None)).collect();
        let Ok(waiting) = to_raw_value(&Waiting { replicas, ..Waiting::default() }) else { return };
        let wish = (Condition::Absent(WAITING.to_owned()), Write::Put(WAITING.to_owned(), waiting));
        // It is said again until it stands.
        drop(self.client.txn(self.prefix.bare(&wish)).await);
    }

    /// The replicas that ever shared this store, but for those that were said to be lost.
    pub fn known(&self) -> BTreeSet<String> {
        let known = self.copy.own(KNOWN).into_iter();
        known.filter_map(|(key, _)| Some(key.strip_prefix(KNOWN)?.to_owned())).collect()
    }

    /// What stands beside a key that was written again.
    fn mark_of(&self, key: &str) -> Option<Stored> {
        let beside = format!("{RESTORED}{key}");
        self.copy.own(&beside).into_iter().find(|(name, _)| *name == beside).map(|(_, mark)| mark)
    }

    /// Where this replica's journal and etcd part, and who is to reconcile.
    fn part(&self, stand: &Stand, lost: &[String]) -> Part {
        let (epochs, ticks) = (self.epochs(), self.copy.own(TICKS));
        let next = epochs.now().max(stand.epoch) + 1;
        let mut waiting = self.waits().unwrap_or_default();
        // It was restored again, since this one was done.
        let again = stand.epoch >= waiting.restore && stand.last.as_ref().is_some_and(|told| self.lacks(told));
        let for_all = waiting.restore == 0 || again;
        if for_all {
            waiting.restore = next;
            for known in self.known() {
                waiting.replicas.entry(known).or_default();
            }
        }
        waiting.marks = if waiting.marks == 0 { next } else { waiting.marks };
        let own = |replica: &str| {
            let name = format!("{TICKS}{replica}");
            let tick = ticks.iter().find(|(tick, _)| *tick == name);
            tick.map(|(_, tick)| epochs.age(tick.revision)).unwrap_or_default()
        };
        let any = ticks.iter().map(|(_, tick)| epochs.age(tick.revision)).max().unwrap_or_default();
        for (replica, since) in &mut waiting.replicas {
            since.get_or_insert_with(|| Since { own: own(replica), any });
        }
        // Others have written again since: that tells nothing of what the snapshot knew.
        let late = own(self.replica());
        let came = waiting.replicas.entry(self.replica().to_owned()).or_insert(None);
        let since = *came.get_or_insert(Since { own: late, any: if for_all { any } else { late } });
        waiting.replicas.retain(|replica, _| !lost.contains(replica));
        Part { waiting, since }
    }

    /// From now on nobody writes until all have reconciled.
    async fn begin(self: &Arc<Self>, part: Part, stand: &Stand, lost: &[String]) -> Result<(), EtcdError> {
        // Whoever writes meanwhile does not know of the restore.
        let ticks = self.copy.own(TICKS).into_iter().take(AT_ONCE);
        let conditions = ticks.map(|(key, tick)| Condition::Unchanged(key, tick.revision)).collect();
        let gone = lost.iter().map(|lost| Write::Delete(format!("{KNOWN}{lost}")));
        // What is written from now on is newer than whatever was forgotten, whatever its revision.
        let epochs = self.epochs();
        let next = part.waiting.marks.max(stand.epoch + 1);
        let epoch = (epochs.now() < next).then(|| epochs.becomes(next)).transpose()?;
        self.set_waiting(part.waiting, (conditions, gone.chain(epoch).collect())).await
    }

    /// Whether a journal has seen what is not there.
    fn lacks(&self, told: &Evidence) -> bool {
        let there = self.tide.ticks();
        let is_gone = |(replica, at): (&String, &Revision)| there.get(replica).is_none_or(|there| there < at);
        self.tide.cluster() != told.cluster || self.tide.seen() < told.seen || told.ticks.iter().any(is_gone)
    }

    /// This one has.
    async fn is_reconciled(self: &Arc<Self>) -> Result<BTreeSet<String>, EtcdError> {
        let mut waiting = self.waits().unwrap_or_default();
        waiting.replicas.remove(self.replica());
        let replicas: BTreeSet<_> = waiting.replicas.keys().cloned().collect();
        self.set_waiting(waiting, Default::default()).await?;
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

    async fn set_waiting(
        self: &Arc<Self>,
        waiting: Waiting,
        (mut conditions, mut writes): (Vec<Condition>, Vec<Write>),
    ) -> Result<(), EtcdError> {
        let key = WAITING.to_owned();
        conditions.push(match self.copy.own_revision(WAITING) {
            Some(revision) => Condition::Unchanged(key.clone(), revision),
            None => Condition::Absent(key.clone()),
        });
        writes.push(if waiting.replicas.is_empty() {
            Write::Delete(key)
        } else {
            Write::Put(key, to_raw_value(&waiting).map_err(|odd| StoreError::Index(odd.into()))?)
        });
        let within = DECIDED_WITHIN;
        match self.decide(Wish::of(conditions, writes), within).await? {
            Decided::Done { revision, .. } => {
                drop(tokio::time::timeout(within, self.copy.reaches(revision)).await);
                Ok(())
            }
            Decided::Conflict { .. } => {
                Err(EtcdError::Away { why: "another replica reconciles: ask again".to_owned() })
            }
        }
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
