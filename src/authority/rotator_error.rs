//! Why keys stay as they are.

use super::KeyringError;
use crate::crypto::CryptoError;
use crate::custody::CustodyError;
use crate::store::{EtcdError, StoreError};
use crate::svid::LayoutError;
use std::path::PathBuf;

/// Why a key was not changed; the former keys stay in use.
#[derive(Debug, thiserror::Error)]
pub enum RotatorError {
    /// No key could be made.
    #[error("no key could be made")]
    Crypto(#[from] CryptoError),
    /// The place where a key lives did not do what it was asked.
    #[error(transparent)]
    Custody(#[from] CustodyError),
    /// No keyring, although the journal has a history: restore it from a backup.
    #[error("{keyring} is missing, but this server has a history: restore it from a backup, never start over")]
    HistoryWithoutKeys {
        /// Where it should be.
        keyring: PathBuf,
    },
    /// The keyring file cannot be read or written.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A certificate could not be built.
    #[error("no certificate could be built")]
    Layout(#[from] LayoutError),
    /// The keyring has taken steps that the journal does not know.
    #[error(
        "the keyring is at sequence {keyring}, the journal knows of {recorded}: journal records are missing; restore the \
         journal that belongs to this keyring"
    )]
    JournalLost {
        /// What the file says.
        keyring: u64,
        /// What the journal says.
        recorded: u64,
    },
    /// The key of the active root is not where it lives.
    #[error("{0}: this server has a history and cannot find its root")]
    RootMissing(#[source] CustodyError),
    /// The keyring has no active root to sign with.
    #[error("the keyring has no active root")]
    NoRoot,
    /// Nothing could be signed after the step.
    #[error(
        "after this step no intermediate or no JWT key could sign here; nothing was changed: revoke the prepared key and \
         prepare another"
    )]
    NoSigner,
    /// The keyring file is older than the journal.
    #[error(
        "the keyring is at sequence {found}, the journal has recorded {recorded}: an old file was put back; restore the \
         newest keyring.json"
    )]
    OldKeyring {
        /// What the file says.
        found: u64,
        /// What the journal says.
        recorded: u64,
    },
    /// Another replica has changed the keys meanwhile.
    #[error("another replica has changed the keys meanwhile; ask again")]
    Overtaken,
    /// What replicas share their keys in cannot be asked.
    #[error("the replicas' keyring cannot be changed")]
    Shared(#[from] EtcdError),
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file says it, and whether the journal does is not known.
    #[error(
        "the step is saved but perhaps not recorded; it may take effect at the next start, and the log of that start says so"
    )]
    Unsure(#[source] StoreError),
}

impl RotatorError {
    /// Whether keys of other kinds may change all the same. After a fault of file or store it is not known what stands
    /// there, so nothing else is written.
    pub(super) const fn is_of_its_key(&self) -> bool {
        matches!(self, Self::Crypto(_) | Self::Custody(_) | Self::Layout(_) | Self::NoRoot | Self::NoSigner)
    }
}
