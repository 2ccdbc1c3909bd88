//! After etcd was restored from a snapshot: what this replica's journal knows and etcd does not is written there again.
//!
//! The journal tells where they part: at its last transaction that etcd still shows. What came later is written again,
//! unless somebody has written the key since. Until every replica that was known has done so, none of them writes.

use super::cluster::{DECIDED_WITHIN, Decided};
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
/// Keys of one transaction; etcd takes 128.
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
    let (cluster, seen) = (etcd.tide.cluster(), etcd.tide.seen());
    let (put, delete) = Default::default();
    let evidence = Evidence { v: Version, cluster, revision: seen, seen, without_quorum: false, put, delete };
    let entry =
        to_raw_value(&Told { kind: "store_reconciled", done }).map_err(|odd| StoreError::Journal(odd.into()))?;
    let (room, conditions, writes) = (Room::Reserve, Vec::new(), vec![evidence.write()?]);
    journal.commit(Commit { room, conditions, writes, entry, without_quorum: None }).await.map(drop)
}

/// What a key should hold; nothing, where it was deleted.
type Last = BTreeMap<String, Option<Box<RawValue>>>;

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
        self.wait_for_others(lost).await?;
        let (since, later) = self.forgotten(dir).map_err(OpenError::from)?;
        let (mut written, mut kept) = (0, Vec::new());
        let mut wishes: Vec<(Condition, Write)> = Vec::new();
        for (key, value) in later {
            let now = self.read(&key)?;
            let condition = match &now {
                None if value.is_none() => continue,
                Some(now) if value.as_ref().is_some_and(|value| value.get() == now.value.get()) => continue,
                Some(now) if now.revision > since => {
                    kept.push(key);
                    continue;
                }
                Some(now) => Condition::Unchanged(key.clone(), now.revision),
                None => Condition::Absent(key.clone()),
            };
            wishes.push((condition, value.map_or(Write::Delete(key.clone()), |value| Write::Put(key, value))));
        }
        for some in wishes.chunks(AT_ONCE) {
            let (conditions, writes): (Vec<_>, Vec<_>) = some.iter().cloned().unzip();
            match self.decide(conditions, writes, DECIDED_WITHIN).await? {
                Decided::Done(_) => written += some.len(),
                Decided::Conflict { key, .. } => {
                    return Err(EtcdError::Away { why: format!("{key} was written meanwhile: ask again") });
                }
            }
        }
        if let Some(write) = more {
            self.decide(Vec::new(), vec![write], DECIDED_WITHIN).await?;
        }
        let waiting = self.is_reconciled().await?;
        Ok(Reconciled { since, written, kept, waiting })
    }

    /// From now on nobody writes until all have reconciled.
    async fn wait_for_others(self: &Arc<Self>, lost: &[String]) -> Result<(), EtcdError> {
        let known = self.copy.own(KNOWN).into_iter();
        let known: BTreeSet<_> = known.filter_map(|(key, _)| Some(key.strip_prefix(KNOWN)?.to_owned())).collect();
        let begun = self.waiting();
        let mut replicas = if begun.is_empty() { known } else { begun };
        replicas.insert(self.replica().to_owned());
        replicas.retain(|replica| !lost.contains(replica));
        self.set_waiting(replicas).await
    }

    /// This one has.
    async fn is_reconciled(self: &Arc<Self>) -> Result<BTreeSet<String>, EtcdError> {
        let mut replicas = self.waiting();
        replicas.remove(self.replica());
        self.set_waiting(replicas.clone()).await?;
        Ok(replicas)
    }

    async fn set_waiting(self: &Arc<Self>, replicas: BTreeSet<String>) -> Result<(), EtcdError> {
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
        match self.decide(vec![condition], vec![write], within).await? {
            Decided::Done(revision) => {
                drop(tokio::time::timeout(within, self.copy.reaches(revision)).await);
                Ok(())
            }
            Decided::Conflict { .. } => {
                Err(EtcdError::Away { why: "another replica reconciles: ask again".to_owned() })
            }
        }
    }

    /// What was written after the last transaction that etcd still shows, and which that was.
    fn forgotten(&self, dir: &Path) -> Result<(Revision, Last), JournalError> {
        let (mut since, mut last) = (0, Last::new());
        for record in JournalReader::open(dir)? {
            let Some(told) = record?.put.get(KEY).and_then(|kept| Evidence::parse(kept).ok()) else { continue };
            let is_there = |key: &str, value: &RawValue| {
                let found = self.copy.read(key).ok().flatten();
                found.is_some_and(|found| found.revision == told.revision && found.value.get() == value.get())
            };
            if told.put.iter().any(|(key, value)| is_there(key, value)) {
                (since, last) = (told.revision, Last::new());
                continue;
            }
            last.extend(told.put.into_iter().map(|(key, value)| (key, Some(value))));
            last.extend(told.delete.into_iter().map(|key| (key, None)));
        }
        Ok((since, last))
    }
}
