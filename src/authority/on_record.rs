//! What the journal is told of the keyring: each step, and how many there were.

use super::{AuthorityState, By, Keyring, StepKind, Taken};
use crate::audit::{Auditable as _, Changes, Ledger};
use crate::store::{Committed, Store, StoreError, Version, Write};
use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;

/// Where the store keeps the keyring's sequence.
const SEQUENCE_KEY: &str = "keyring";

#[derive(Deserialize, Serialize)]
struct Recorded {
    v: Version<1>,
    sequence: u64,
}

/// Tells the journal the last step that the keyring took.
pub(super) async fn record_latest(ledger: &Ledger, keyring: &Keyring) -> Result<(), StoreError> {
    match &keyring.latest {
        Some(taken) => record(ledger, taken, Changes::default()).await.map(drop),
        None => record_first(ledger, keyring).await,
    }
}

/// Tells the journal a step and changes something else in the same commit, or neither; whether it was done.
pub(super) async fn record_with(ledger: &Ledger, taken: &Taken, beside: Changes) -> Result<bool, StoreError> {
    Ok(matches!(record(ledger, taken, beside).await?, Committed::Done(_)))
}

async fn record_first(ledger: &Ledger, keyring: &Keyring) -> Result<(), StoreError> {
    for authority in keyring.authorities.iter().filter(|authority| authority.state == AuthorityState::Active) {
        let taken = Taken {
            step: StepKind::Succeed.as_str().to_owned(),
            authority: authority.kind,
            key_id: authority.key_id(),
            generation: authority.generation,
            sequence: keyring.sequence,
            intermediate: None,
            by: By::default(),
        };
        record(ledger, &taken, Changes::default()).await?;
    }
    Ok(())
}

async fn record(ledger: &Ledger, taken: &Taken, beside: Changes) -> Result<Committed, StoreError> {
    let Changes { conditions, mut writes } = beside;
    writes.push(sequence_record(taken.sequence)?);
    ledger.commit(&taken.entry(), Changes { conditions, writes }).await
}

/// What the journal is told of the keyring.
pub(super) fn sequence_record(sequence: u64) -> Result<Write, StoreError> {
    let value = to_raw_value(&Recorded { v: Version, sequence }).map_err(|fault| StoreError::Journal(fault.into()))?;
    Ok(Write::Put(SEQUENCE_KEY.to_owned(), value))
}

/// What the journal says of the keyring; 0 before it says anything.
pub(super) fn recorded_sequence(store: &dyn Store) -> Result<u64, StoreError> {
    let Some(kept) = store.read(SEQUENCE_KEY)? else { return Ok(0) };
    let recorded: Recorded = serde_json::from_str(kept.value.get()).map_err(|fault| StoreError::Index(fault.into()))?;
    Ok(recorded.sequence)
}
