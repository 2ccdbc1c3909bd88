//! After a restore: who has yet to reconcile. As long as that stands in etcd, nobody writes.
//!
//! A replica waits until its journal tells that it has reconciled: so wherever the command dies, another run of it finishes what
//! was begun, and nobody else repeats anything.

use super::decide::{DECIDED_WITHIN, Decided, Wish};
use super::lost::Since;
use super::{Etcd, EtcdError};
use crate::store::{Condition, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where it stands who has yet to reconcile.
pub(super) const WAITING: &str = "~reconcile";

/// Who has yet to reconcile.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(super) struct Waiting {
    v: Version<2>,
    /// After which restore: whoever has been through it, and misses something, tells of another. None where nobody has begun.
    pub(super) restore: u64,
    /// What marks of it say.
    pub(super) marks: u64,
    /// And how far etcd, as it was restored, knows their journals.
    pub(super) replicas: BTreeMap<String, Option<Since>>,
    /// Replicas whose journals are gone, and which one says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) lost: BTreeMap<String, String>,
}

impl Etcd {
    /// Who has yet to reconcile, after a restore; none where all is well.
    pub fn waiting(&self) -> BTreeSet<String> {
        self.waits().map(|waiting| waiting.replicas.into_keys().collect()).unwrap_or_default()
    }

    /// Whose journals are gone, as a run of this replica said that was not finished.
    pub fn given_up(&self) -> BTreeSet<String> {
        let unfinished = self.waits().filter(|waiting| waiting.replicas.contains_key(self.replica()));
        let said = unfinished.map(|waiting| waiting.lost).unwrap_or_default().into_iter();
        said.filter(|(_, by)| by == self.replica()).map(|(lost, _)| lost).collect()
    }

    pub(super) fn waits(&self) -> Option<Waiting> {
        let (_, kept) = self.copy.own(WAITING).pop()?;
        serde_json::from_str(kept.value.get()).ok()
    }

    /// Whether there is any; cheap.
    pub(super) fn is_waiting(&self) -> bool {
        self.copy.own_revision(WAITING).is_some()
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

    /// This one has; who has yet to.
    pub(super) async fn waits_no_more(self: &Arc<Self>) -> Result<BTreeSet<String>, EtcdError> {
        let mut waiting = self.waits().unwrap_or_default();
        waiting.replicas.remove(self.replica());
        let replicas = waiting.replicas.keys().cloned().collect();
        self.set_waiting(waiting, Default::default()).await?;
        Ok(replicas)
    }

    pub(super) async fn set_waiting(
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
