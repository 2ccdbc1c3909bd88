//! The store remembers which key seals, so that the journal is told of another, whenever the change was done.

use crate::audit::{Changes, Entry, Ledger};
use crate::crypto::SealingKeyName;
use crate::store::{Store, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

/// Where it stands.
const KEY: &str = "sealing";

#[derive(Deserialize, Serialize)]
struct Remembered {
    v: Version<1>,
    key: SealingKeyName,
}

/// Tells the journal of another sealing key than before, once everything is sealed under it. What is to be remembered where
/// nothing was yet.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn record_sealing_key(
    (new, place): (SealingKeyName, Option<&str>),
    (store, ledger): (&dyn Store, &Ledger),
) -> Result<Option<Write>, StoreError> {
    let value = to_raw_value(&Remembered { v: Version, key: new }).map_err(|odd| StoreError::Journal(odd.into()))?;
    let write = Write::Put(KEY.to_owned(), value);
    let Some(kept) = store.read(KEY)? else { return Ok(Some(write)) };
    let Remembered { key: old, .. } =
        serde_json::from_str(kept.value.get()).map_err(|odd| StoreError::Index(odd.into()))?;
    if old != new {
        let changes = Changes { conditions: Vec::new(), writes: vec![write] };
        ledger.commit(&Entry::SealingKeyChanged { old, new, place }, changes).await?;
        tracing::warn!(%old, %new, "everything is sealed under another key now");
    }
    Ok(None)
}
