//! Why the keyring cannot be read or written.

use super::keyring_file::VERSION;
use crate::crypto::{CryptoError, KeyId, SealError, SealingKeyName};
use crate::identity::TrustDomain;
use std::io;
use std::path::PathBuf;

/// Why the keyring cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Not our format, or a field that makes no sense.
    #[error("{path} is not a keyring of version {VERSION}: {why}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The file system said no.
    #[error("the keyring {path} cannot be read or written")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// It says which sealing key it needs, and that one is not here.
    #[error(
        "{path} is sealed under the sealing key {needed}, and here is {here}: wrong sealing key; put the right one in its \
         place, or name its file as former_sealing_key_file in [keys]"
    )]
    OtherSeal {
        /// Which file.
        path: PathBuf,
        /// The key that it needs.
        needed: SealingKeyName,
        /// Those that there are.
        here: String,
    },
    /// A private key does not open.
    #[error("key {key_id} in {path} does not open: wrong sealing key, or a file from another place")]
    Sealed {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key_id: KeyId,
        /// Why.
        #[source]
        source: SealError,
    },
    /// An opened key is not the key it says.
    #[error("key {key_id} in {path} is not a usable key")]
    Key {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key_id: KeyId,
        /// Why.
        #[source]
        source: CryptoError,
    },
    /// The file is for another trust domain.
    #[error("{path} holds the keys of {found}, the configuration says {wanted}")]
    TrustDomain {
        /// Which file.
        path: PathBuf,
        /// What it is for.
        found: TrustDomain,
        /// What is configured.
        wanted: TrustDomain,
    },
}
