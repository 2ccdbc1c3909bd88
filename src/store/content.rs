//! All that a store holds, as one file: so that a deployment moves from one kind of store to another, and back.

use super::etcd::evidence::KEY;
use super::{Commit, Committed, Condition, Room, Store, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::io;

/// Keys of one commit; etcd takes 128.
const AT_ONCE: usize = 100;
/// Bytes of one commit; etcd takes 1.5 MiB, with all that stands around them.
const BYTES_AT_ONCE: usize = 512 << 10;

/// See the file's opening words.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StoreContent {
    v: Version<1>,
    /// Whose it is.
    pub trust_domain: String,
    /// The sealed keys, as the keyring's file has them.
    pub keyring: Box<RawValue>,
    /// What each key holds.
    pub keys: BTreeMap<String, Box<RawValue>>,
}

#[derive(Serialize)]
struct Imported {
    kind: &'static str,
    keys: usize,
}

impl StoreContent {
    /// What a store holds now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(store: &dyn Store, trust_domain: String, keyring: Box<RawValue>) -> Result<Self, StoreError> {
        let all = store.list("")?.into_iter().filter(|(key, _)| key != KEY);
        Ok(Self { v: Version, trust_domain, keyring, keys: all.map(|(key, kept)| (key, kept.value)).collect() })
    }

    /// Of nobody.
    pub fn nothing() -> Self {
        let (trust_domain, keyring, keys) = (String::new(), RawValue::NULL.to_owned(), BTreeMap::new());
        Self { v: Version, trust_domain, keyring, keys }
    }

    /// Whether a journal is a replica's: what it tells of stands in etcd.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_in_etcd(journal: &dyn Store) -> Result<bool, StoreError> {
        Ok(journal.read(KEY)?.is_some())
    }

    /// Whether a journal's store holds something by itself.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_here(journal: &dyn Store) -> Result<bool, StoreError> {
        Ok(journal.page("", "", 2)?.iter().any(|(key, _)| key != KEY))
    }

    /// From now on a journal is no replica's any more.
    ///
    /// # Errors
    /// When it cannot be written; then asking again goes on.
    pub async fn leave_etcd(journal: &dyn Store) -> Result<(), StoreError> {
        let Some(seen) = journal.read(KEY)? else { return Ok(()) };
        commit(journal, &[(Condition::Unchanged(KEY.to_owned(), seen.revision), Write::Delete(KEY.to_owned()))]).await
    }

    /// Makes a store hold this, as long as nobody else writes there; how many keys it has.
    ///
    /// # Errors
    /// When it cannot be written; then asking again goes on.
    pub async fn lay_into(&self, store: &dyn Store) -> Result<usize, StoreError> {
        let mut there: BTreeMap<_, _> = store.list("")?.into_iter().filter(|(key, _)| key != KEY).collect();
        let mut wishes = Vec::new();
        for (key, value) in &self.keys {
            let condition = match there.remove(key) {
                Some(same) if same.value.get() == value.get() => continue,
                Some(other) => Condition::Unchanged(key.clone(), other.revision),
                None => Condition::Absent(key.clone()),
            };
            wishes.push((condition, Write::Put(key.clone(), value.clone())));
        }
        let gone =
            there.into_iter().map(|(key, kept)| (Condition::Unchanged(key.clone(), kept.revision), Write::Delete(key)));
        wishes.extend(gone);
        for some in pieces(&wishes) {
            commit(store, some).await?;
        }
        Ok(self.keys.len())
    }
}

async fn commit(store: &dyn Store, some: &[(Condition, Write)]) -> Result<(), StoreError> {
    let (conditions, writes): (Vec<_>, Vec<_>) = some.iter().cloned().unzip();
    let entry = to_raw_value(&Imported { kind: "store_imported", keys: some.len() });
    let entry = entry.map_err(|odd| StoreError::Journal(odd.into()))?;
    let commit = Commit { room: Room::Common, conditions, writes, entry, without_quorum: None };
    if let Committed::Conflict { key, .. } = store.commit(commit).await? {
        let why = format!("{key} was written meanwhile: no server may run on this store");
        return Err(StoreError::Index(io::Error::other(why)));
    }
    Ok(())
}

/// In their order, each piece small enough for one commit; what is larger alone goes alone.
fn pieces(mut wishes: &[(Condition, Write)]) -> Vec<&[(Condition, Write)]> {
    let bytes = |(_, write): &(Condition, Write)| match write {
        Write::Put(key, value) => key.len() + value.get().len(),
        Write::Delete(key) => key.len(),
    };
    let mut pieces = Vec::new();
    while !wishes.is_empty() {
        let mut room = BYTES_AT_ONCE;
        let fits = |wish: &&(Condition, Write)| {
            let left = room.checked_sub(bytes(wish));
            room = left.unwrap_or(0);
            left.is_some()
        };
        let count = wishes.iter().take(AT_ONCE).take_while(fits).count().max(1);
        let (piece, rest) = wishes.split_at(count);
        pieces.push(piece);
        wishes = rest;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(bytes: usize) -> (Condition, Write) {
        let value = RawValue::from_string(format!("\"{}\"", "x".repeat(bytes))).unwrap();
        (Condition::Absent("k".to_owned()), Write::Put("k".to_owned(), value))
    }

    #[test]
    fn no_commit_is_larger_than_etcd_takes() {
        let sizes = |wishes: &[_]| pieces(wishes).into_iter().map(<[_]>::len).collect::<Vec<_>>();
        assert_eq!(sizes(&vec![wish(9); 250]), [100, 100, 50]);
        assert_eq!(sizes(&vec![wish(200 << 10); 5]), [2, 2, 1]);
        assert_eq!(sizes(&[wish(1), wish(900 << 10), wish(1)]), [1, 1, 1]);
        assert!(pieces(&[]).is_empty());
    }
}
