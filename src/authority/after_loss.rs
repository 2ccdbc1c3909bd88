//! The keyring of a backup, made fit to go on from: what was published since the backup is not known.
//!
//! Agents take a newer bundle only, and say which they hold by its number. So the numbers of the lost time are leapt over, and
//! a key that waits to sign waits anew: whoever said to have it may have heard of its end since.

use super::keyring::Against;
use super::on_record::{record_latest, recorded_sequence, sequence_record};
use super::{AuthorityState, Keyring, KeyringFile, Publication, RotatorError};
use crate::audit::Ledger;
use crate::store::{Store, Write};
use time::OffsetDateTime;

/// More steps than any server takes between two backups.
const LEAP: u64 = 10_000;

/// Saves the keyring as it goes on after a restore; a step that the journal was yet to be told of is told first.
/// To be committed: what the journal has to know of it.
///
/// # Errors
/// `OldKeyring` and `JournalLost` where keyring and journal are not of one time; when it cannot be saved.
pub async fn go_on_after_loss(
    file: &KeyringFile,
    mut keyring: Keyring,
    (store, ledger): (&dyn Store, &Ledger),
    now: OffsetDateTime,
) -> Result<(u64, Write), RotatorError> {
    let recorded = recorded_sequence(store)?;
    match keyring.against(recorded) {
        Against::Older => return Err(RotatorError::OldKeyring { found: keyring.sequence, recorded }),
        Against::Unknown => return Err(RotatorError::JournalLost { keyring: keyring.sequence, recorded }),
        Against::Recorded => {}
        Against::Unrecorded => record_latest(ledger, &keyring).await?,
    }
    let sequence = keyring.sequence.saturating_add(LEAP);
    (keyring.sequence, keyring.published_sequence) = (sequence, sequence);
    let waits = keyring.authorities.iter_mut().filter(|one| one.state == AuthorityState::Prepared);
    waits.filter(|one| one.published.is_some()).for_each(|one| one.published = Some(Publication { sequence, at: now }));
    file.save(&keyring)?;
    Ok((sequence, sequence_record(sequence)?))
}
