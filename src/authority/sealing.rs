//! The sealing key in a file of its own: 32 bytes, read by its owner only.

use crate::crypto::{SealError, SealingKey};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why there is no sealing key.
#[derive(Debug, thiserror::Error)]
pub enum SealingKeyError {
    /// A keyring is there, but not the key that opens it.
    #[error("{path} is missing, and the keyring needs it: restore it from a backup")]
    Gone {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file system said no.
    #[error("the sealing key {path} cannot be read or written")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("the sealing key {path} is open to others: chmod 600 it, and think of who has read it")]
    Open {
        /// Which file.
        path: PathBuf,
    },
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
    let io = |source| SealingKeyError::Io { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(file) if file.mode() & 0o077 != 0 => Err(SealingKeyError::Open { path: path.to_owned() }),
        Ok(_) => {
            let bytes = zeroize::Zeroizing::new(fs::read(path).map_err(io)?);
            SealingKey::from_bytes(&bytes).map_err(|source| SealingKeyError::Unusable { path: path.to_owned(), source })
        }
        Err(absent) if absent.kind() == io::ErrorKind::NotFound && !has_keyring => make(path).map_err(io),
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => Err(SealingKeyError::Gone { path: path.to_owned() }),
        Err(source) => Err(io(source)),
    }
}

fn make(path: &Path) -> io::Result<SealingKey> {
    let (key, bytes) = SealingKey::generate();
    // Written aside: a crash or a full disk must not leave half a key, which no later start could use.
    let aside = path.with_extension("new");
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside)?;
    file.write_all(&*bytes)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    // Its name must be as durable as the keyring that needs it.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(key)
}
