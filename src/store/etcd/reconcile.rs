//! After etcd was restored from a snapshot: what this replica's journal knows and etcd does not is written there again.
//!
//! The restored etcd tells where they part: at the last tick of this replica that it holds. What the journal tells up to there
//! is known, all later is lost and written again, and beside it stands when it was written first: so of what several replicas
//! know of a key the newest stays, whoever comes first. Until every replica that was known has done so, none of them writes
//! (`waiting`). What was begun and not told in the journal another run finishes.

use super::decide::{DECIDED_WITHIN, Decided, Wish};
use super::epoch::Age;
use super::evidence::Evidence;
use super::lost::{Since, Stand, lost_since, stand};
use super::mark::TICKS;
use super::waiting::Waiting;
use super::{Etcd, EtcdError};
use crate::store::{Commit, Condition, LocalStore, OpenError, Revision, Room, Store as _, StoreError, Stored, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use time::OffsetDateTime;

/// How the names of replicas begin that ever shared this store.
pub(super) const KNOWN: &str = "~known/";
/// Keys of one transaction, each with a mark; etcd takes 128.
const AT_ONCE: usize = 50;
/// And bytes; etcd takes 1.5 MiB, and a bundle of others alone may have 64 KiB.
const BYTES_AT_ONCE: usize = 512 << 10;

/// What reconciling begins with.
struct Part {
    waiting: Waiting,
    since: Since,
    /// A run before this one began it.
    is_begun: bool,
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
    /// A run before this one began it, and did not end it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
    /// Replicas whose journals are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
    /// What they had left, and this one's journal tells.
    #[serde(skip_serializing_if = "is_none")]
    pub told_late: usize,
    /// Nothing that was minted before is good for anything, since nobody knows what became of it at the lost ones.
    #[serde(skip_serializing_if = "Option::is_none", with = "time::serde::timestamp::option")]
    pub refused_before: Option<OffsetDateTime>,
    /// What was written besides, which this journal gives back after the next restore.
    #[serde(skip)]
    pub besides: Option<Write>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_none(count: &usize) -> bool {
    *count == 0
}

/// Tells the journal, which from now on expects etcd as it is; then nobody waits for this replica any more. Who has yet to
/// reconcile.
///
/// # Errors
/// When the journal or etcd cannot be written: another run finishes it.
pub async fn reconciled(
    journal: &LocalStore,
    etcd: &Arc<Etcd>,
    done: &Reconciled,
) -> Result<BTreeSet<String>, EtcdError> {
    #[derive(Serialize)]
    struct Told<'a> {
        kind: &'static str,
        #[serde(flatten)]
        done: &'a Reconciled,
    }
    let evidence = Evidence::at(etcd, (etcd.tide.seen(), 0)).of(done.besides.iter().cloned().collect());
    let entry =
        to_raw_value(&Told { kind: "store_reconciled", done }).map_err(|odd| StoreError::Journal(odd.into()))?;
    let (room, conditions, writes) = (Room::Reserve, Vec::new(), vec![evidence.write()?]);
    journal.commit(Commit { room, conditions, writes, entry, without_quorum: None }).await?;
    let waiting = etcd.waits_no_more().await?;
    if waiting.is_empty() {
        etcd.forget_restored().await;
    }
    Ok(waiting)
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
    /// What a key holds.
    ///
    /// # Errors
    /// `Index`.
    pub fn read(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.copy.read(key).map_err(StoreError::Index)
    }

    /// Writes again what etcd has forgotten of this replica's journal, and more. `lost` are replicas whose journals are gone.
    /// All wait for this one still, until its journal tells of it (`reconciled`).
    ///
    /// # Errors
    /// When the journal cannot be read, or etcd not written; asking again goes on.
    pub async fn reconcile(
        self: &Arc<Self>,
        dir: &Path,
        (lost, besides): (&[String], Option<Write>),
    ) -> Result<Reconciled, EtcdError> {
        let stand = stand(dir).map_err(OpenError::from)?;
        let part = self.part(&stand, lost);
        let would = self.would(&part, lost);
        let (marks, since) = (part.waiting.marks, part.since);
        self.begin(part, (lost, besides.clone())).await?;
        let (wishes, mut kept) = self.wishes(dir, (&since, marks))?;
        kept.retain(|key| besides.as_ref().is_none_or(|write| write.key() != key));
        let (mut written, mut rest) = (0, wishes.as_slice());
        while let Some((some, later)) = rest.split_at_checked(fit_together(rest)) {
            rest = later;
            let conditions = some.iter().flat_map(|again| again.conditions.clone()).collect();
            let writes = some.iter().flat_map(|again| again.writes.clone()).collect();
            match self.decide(Wish::of(conditions, writes), DECIDED_WITHIN).await? {
                Decided::Done { .. } => written += some.len(),
                Decided::Conflict { key, .. } => {
                    return Err(EtcdError::Away { why: format!("{key} was written meanwhile: ask again") });
                }
            }
        }
        Ok(Reconciled { written, kept, besides, ..would })
    }

    /// The same, without writing anything.
    ///
    /// # Errors
    /// When the journal or the copy cannot be read.
    pub fn would_reconcile(&self, dir: &Path, lost: &[String]) -> Result<Reconciled, EtcdError> {
        let part = self.part(&stand(dir).map_err(OpenError::from)?, lost);
        let (wishes, kept) = self.wishes(dir, (&part.since, part.waiting.marks))?;
        Ok(Reconciled { written: wishes.len(), kept, ..self.would(&part, lost) })
    }

    fn would(&self, Part { waiting, since, is_begun }: &Part, lost: &[String]) -> Reconciled {
        let waiting = waiting.replicas.keys().filter(|replica| *replica != self.replica()).cloned().collect();
        Reconciled { since: since.own.1, waiting, resumed: *is_begun, lost: lost.to_vec(), ..Reconciled::default() }
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
        // Nobody writes then but whoever reconciles.
        let is_begun = !for_all && waiting.replicas.contains_key(self.replica()) && late.0 >= waiting.restore;
        let came = waiting.replicas.entry(self.replica().to_owned()).or_insert(None);
        let since = *came.get_or_insert(Since { own: late, any: if for_all { any } else { late } });
        waiting.replicas.retain(|replica, _| !lost.contains(replica));
        waiting.lost.extend(lost.iter().map(|lost| (lost.clone(), self.replica().to_owned())));
        Part { waiting, since, is_begun }
    }

    /// From now on nobody writes until all have reconciled. What a lost replica may have done is refused in the same moment: a
    /// run that dies after this knows of it.
    async fn begin(self: &Arc<Self>, part: Part, (lost, besides): (&[String], Option<Write>)) -> Result<(), EtcdError> {
        // Whoever writes meanwhile does not know of the restore.
        let ticks = self.copy.own(TICKS).into_iter().take(AT_ONCE);
        let conditions = ticks.map(|(key, tick)| Condition::Unchanged(key, tick.revision)).collect();
        let gone = lost.iter().map(|lost| Write::Delete(format!("{KNOWN}{lost}")));
        // What is written from now on is newer than whatever was forgotten, whatever its revision.
        let (epochs, next) = (self.epochs(), part.waiting.restore);
        let epoch = (epochs.now() < next).then(|| epochs.becomes(next)).transpose()?;
        // Now is when it was written first.
        let mark = besides.as_ref().map(|write| Write::Delete(format!("{RESTORED}{}", write.key())));
        let writes = gone.chain(epoch).chain(mark).chain(besides).collect();
        self.set_waiting(part.waiting, (conditions, writes)).await
    }

    /// Whether a journal has seen what is not there.
    fn lacks(&self, told: &Evidence) -> bool {
        let there = self.tide.ticks();
        let is_gone = |(replica, at): (&String, &Revision)| there.get(replica).is_none_or(|there| there < at);
        self.tide.cluster() != told.cluster || self.tide.seen() < told.seen || told.ticks.iter().any(is_gone)
    }

    /// All have reconciled. What stays counts for nothing the next time.
    async fn forget_restored(&self) {
        let keys: Vec<_> = self.copy.own(RESTORED).into_iter().map(|(key, _)| key).collect();
        for some in keys.chunks(2 * AT_ONCE) {
            drop(self.client.txn(self.prefix.without(some)).await);
        }
    }
}

/// How many of these one transaction takes; one at least.
fn fit_together(wishes: &[Again]) -> usize {
    let mut bytes = 0;
    let has_room = |again: &&Again| {
        bytes += again.bytes();
        bytes <= BYTES_AT_ONCE
    };
    wishes.iter().take(AT_ONCE).take_while(has_room).count().max(1)
}

/// A key that is written again, and the mark beside it.
struct Again {
    conditions: [Condition; 2],
    writes: [Write; 2],
}

impl Again {
    fn bytes(&self) -> usize {
        let bytes = |write: &Write| match write {
            Write::Put(_, value) => value.get().len(),
            Write::Delete(_) => 0,
        };
        self.writes.iter().map(bytes).sum()
    }

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
