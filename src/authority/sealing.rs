//! The sealing key in a file of its own: 32 bytes, read by its owner only.

use crate::crypto::{SealError, SealingKey, SecretFileError, read_secret_file};
use crate::store::replace_file;
use std::io;
use std::path::{Path, PathBuf};

/// For its owner alone.
const MODE: u32 = 0o600;

/// Why there is no sealing key.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    /// A keyring is there, but not the key that opens it.
    #[error("{path} is missing, and the keyring needs it: restore it from a backup")]
    Gone {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is none yet, and the file system takes none.
    #[error("the sealing key {path} cannot be written")]
    Make {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// It cannot be read, or by others too.
    #[error("the sealing key {0}")]
    Unread(#[source] SecretFileError),
    /// Not 32 bytes.
    #[error("the sealing key {path} is not usable")]
    Unusable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: SealError,
    },
}

/// Reads the sealing key; makes it where there is neither it nor a keyring.
///
/// # Errors
/// See [`SealingKeyError`].
pub fn open_sealing_key(path: &Path, has_keyring: bool) -> Result<SealingKey, SealingKeyError> {
    match read_secret_file(path) {
        Ok(bytes) => {
            SealingKey::from_bytes(&bytes).map_err(|source| SealingKeyError::Unusable { path: path.to_owned(), source })
        }
        Err(SecretFileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            if has_keyring {
                return Err(SealingKeyError::Gone { path: path.to_owned() });
            }
            make(path).map_err(|source| SealingKeyError::Make { path: path.to_owned(), source })
        }
        Err(unread) => Err(SealingKeyError::Unread(unread)),
    }
}

fn make(path: &Path) -> io::Result<SealingKey> {
    let (key, bytes) = SealingKey::generate();
    // A crash or a full disk must not leave half a key, which no later start could use.
    replace_file(path, &*bytes, MODE)?;
    Ok(key)
}
