//! After which restore something was written: revisions begin again at each, the numbers of restores do not.

use super::Etcd;
use super::error::Fault;
use super::proto::RangeRequest;
use super::request;
use crate::store::{Revision, StoreError, Stored, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// Where it stands how many restores there were.
pub(super) const KEY: &str = "~epoch";

/// When a transaction was: after which restore, and at which revision.
pub(super) type Age = (u64, Revision);

/// From which revision on each restore counts, as the etcd that is there now tells.
#[derive(Debug, Default)]
pub(super) struct Epochs(BTreeMap<Revision, u64>);

/// What is kept of them; the newest counts from where this was written.
#[derive(Deserialize, Serialize)]
struct Kept {
    now: u64,
    before: BTreeMap<Revision, u64>,
}

impl Epochs {
    fn parse(kept: &Stored) -> Self {
        let text = kept.value.get();
        // An earlier version kept the number alone: what came before is only known to be older.
        let plain = || {
            let now: u64 = serde_json::from_str(text).ok()?;
            Some(Kept { now, before: BTreeMap::from([(0, now.saturating_sub(1))]) })
        };
        let Some(Kept { now, mut before }) = serde_json::from_str(text).ok().or_else(plain) else {
            return Self::default();
        };
        before.insert(kept.revision, now);
        Self(before)
    }

    /// How many restores there were.
    pub(super) fn now(&self) -> u64 {
        self.0.values().next_back().copied().unwrap_or_default()
    }

    /// When that revision of this etcd was.
    pub(super) fn age(&self, revision: Revision) -> Age {
        let newest = self.0.range(..=revision).next_back();
        (newest.map_or(0, |(_, number)| *number), revision)
    }

    /// From now on that many.
    pub(super) fn becomes(self, now: u64) -> Result<Write, StoreError> {
        let value = to_raw_value(&Kept { now, before: self.0 }).map_err(|odd| StoreError::Index(odd.into()))?;
        Ok(Write::Put(KEY.to_owned(), value))
    }
}

impl Etcd {
    /// What the copy tells of restores.
    pub(super) fn epochs(&self) -> Epochs {
        self.copy.own(KEY).pop().map(|(_, kept)| Epochs::parse(&kept)).unwrap_or_default()
    }

    /// Whether etcd was restored and reconciled since the copy was made: then its past is another than the copy shows, however
    /// far it has come.
    pub(super) async fn has_another_past(&self, until: Instant) -> Result<bool, Fault> {
        let range = RangeRequest { key: self.prefix.key(KEY), ..RangeRequest::default() };
        let found = self.client.range(&range, until).await?.kvs;
        Ok(found.first().map(|kv| request::revision(kv.mod_revision)) != self.copy.own_revision(KEY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    fn kept(text: &str, revision: Revision) -> Stored {
        Stored { value: RawValue::from_string(text.to_owned()).unwrap(), revision }
    }

    #[test]
    fn what_was_written_is_of_the_restore_after_which_its_revision_came() {
        let none = Epochs::default();
        assert_eq!((none.now(), none.age(7)), (0, (0, 7)));
        let Write::Put(_, value) = none.becomes(1).unwrap() else { panic!("no put") };
        let one = Epochs::parse(&kept(value.get(), 40));
        assert_eq!((one.now(), one.age(39), one.age(40), one.age(41)), (1, (0, 39), (1, 40), (1, 41)));
        let Write::Put(_, value) = one.becomes(4).unwrap() else { panic!("no put") };
        let four = Epochs::parse(&kept(value.get(), 60));
        assert_eq!((four.now(), four.age(39), four.age(59), four.age(61)), (4, (0, 39), (1, 59), (4, 61)));
    }

    #[test]
    fn a_number_alone_tells_that_what_came_before_is_older() {
        let plain = Epochs::parse(&kept("3", 40));
        assert_eq!((plain.now(), plain.age(39), plain.age(41)), (3, (2, 39), (3, 41)));
    }
}
