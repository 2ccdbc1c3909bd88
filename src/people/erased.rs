//! Who was erased stays known by what stood for them, so that a crash or a restored backup brings no key back.

use super::{People, PeopleError, PersonName};
use crate::store::{Store, StoreError, Version, Write};
use serde::Serialize;
use serde_json::value::to_raw_value;
use time::OffsetDateTime;

/// How the names of these records begin.
const PREFIX: &str = "erased/";

/// What the store keeps of an erasure, for good.
#[derive(Serialize)]
struct Erased {
    v: Version<1>,
    #[serde(with = "time::serde::timestamp")]
    at: OffsetDateTime,
}

impl PersonName {
    /// What is written before the key is deleted.
    ///
    /// # Errors
    /// `Index`: never, for a time that can be written.
    pub fn erased_at(self, at: OffsetDateTime) -> Result<Write, StoreError> {
        let text = to_raw_value(&Erased { v: Version, at }).map_err(|fault| StoreError::Index(fault.into()))?;
        Ok(Write::Put(self.erased_key(), text))
    }

    /// Where that is written; nothing stands there of who is not erased.
    pub fn erased_key(self) -> String {
        format!("{PREFIX}{self}")
    }
}

/// Why what is to be erased is not.
#[derive(Debug, thiserror::Error)]
pub enum NotErased {
    /// The keys cannot be written.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// It cannot be said who is to be erased.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl People {
    /// Deletes the keys of all whom the store knows to be erased, as far as they are there again.
    ///
    /// # Errors
    /// See [`NotErased`].
    pub async fn erase_again(&self, store: &dyn Store) -> Result<(), NotErased> {
        let names = store.list(PREFIX)?.into_iter();
        let names = names.filter_map(|(key, _)| PersonName::try_from(key.strip_prefix(PREFIX)?.to_owned()).ok());
        Ok(self.erase(names.collect()).await?)
    }
}
