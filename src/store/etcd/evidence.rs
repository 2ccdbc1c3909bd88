//! What a replica's journal keeps of a transaction: where etcd stood, and what was written there.
//!
//! It is the one key of the journal's own state, so that a checkpoint remembers the last of it.

use super::Etcd;
use crate::store::{Revision, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;

/// Where it stands in the journal's state.
pub(in crate::store) const KEY: &str = "shared";

/// A transaction, as a record tells of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(in crate::store) struct Evidence {
    pub(in crate::store) v: Version<1>,
    /// Which etcd it was.
    pub(in crate::store) cluster: u64,
    /// The transaction's own revision; of one that wrote nothing, where it looked.
    pub(in crate::store) revision: Revision,
    /// Which of the commits that it carried out.
    #[serde(default, skip_serializing_if = "is_first")]
    pub(in crate::store) part: usize,
    /// The newest revision that this replica has seen.
    pub(in crate::store) seen: Revision,
    /// The last transaction of each replica that it has seen.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::store) ticks: BTreeMap<String, Revision>,
    /// How many restores there had been at that revision.
    #[serde(default, skip_serializing_if = "is_none")]
    pub(in crate::store) epoch: u64,
    /// It was decided on what the replica knew, because no quorum answered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::store) without_quorum: bool,
    /// It wrote nothing: what is told of keys is what it rests on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::store) looked: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::store) put: BTreeMap<String, Box<RawValue>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::store) delete: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_first(part: &usize) -> bool {
    *part == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Evidence {
    /// Reads the journal's word.
    pub(in crate::store) fn parse(value: &RawValue) -> Result<Self, StoreError> {
        serde_json::from_str(value.get()).map_err(|fault| StoreError::Index(fault.into()))
    }

    /// Of that part of a transaction of that revision, as it stands now.
    pub(super) fn at(etcd: &Etcd, (revision, part): (Revision, usize)) -> Self {
        let (put, delete) = Default::default();
        let (tide, (epoch, _)) = (&etcd.tide, etcd.epochs().age(revision));
        let (v, cluster, seen, ticks) = (Version, tide.cluster(), tide.seen(), tide.ticks());
        let (without_quorum, looked) = (false, false);
        Self { v, cluster, revision, part, seen, ticks, epoch, without_quorum, looked, put, delete }
    }

    /// The same with what was written; of several writes to one key the last. The sealed keys stay out of journals.
    pub(super) fn of(self, writes: Vec<Write>) -> Self {
        let mut told = Self { put: BTreeMap::new(), delete: Vec::new(), ..self };
        for write in writes.into_iter().filter(|write| !write.key().starts_with('~')) {
            match write {
                Write::Put(key, value) => {
                    told.delete.retain(|other| *other != key);
                    told.put.insert(key, value);
                }
                Write::Delete(key) => {
                    told.put.remove(&key);
                    told.delete.retain(|other| *other != key);
                    told.delete.push(key);
                }
            }
        }
        told
    }

    /// To be written with the entry.
    pub(super) fn write(&self) -> Result<Write, StoreError> {
        let value = to_raw_value(self).map_err(|fault| StoreError::Journal(fault.into()))?;
        Ok(Write::Put(KEY.to_owned(), value))
    }
}
