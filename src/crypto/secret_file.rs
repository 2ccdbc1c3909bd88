//! A secret in a file of its own, which nobody else may read: one refusal for all of them, in the same words.

use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// More than any token or key has.
const BYTES_MAX: usize = 4096;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file system said no.
    #[error("{path} cannot be read")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Others may read or write it.
    #[error("{path} is open to others: chmod 600 it, and think of who has read it")]
    Open {
        /// Which file.
        path: PathBuf,
    },
}

/// All of a secret's file, unless it is open to others.
///
/// # Errors
/// See [`SecretFileError`].
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let io = |source| SecretFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.mode() & 0o077 != 0 {
        return Err(SecretFileError::Open { path: path.to_owned() });
    }
    // As large as it can become, so that no copy is left behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * BYTES_MAX));
    let most = u64::try_from(BYTES_MAX).unwrap_or(u64::MAX);
    file.take(most + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > BYTES_MAX {
        return Err(io(io::Error::new(ErrorKind::FileTooLarge, "more than 4 KiB")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_read_whole_and_only_where_nobody_else_can() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        let read = |bytes: &[u8], mode: u32| {
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            read_secret_file(&file)
        };
        for bytes in [&b""[..], b"s3cret\n", &[7; BYTES_MAX]] {
            assert_eq!(read(bytes, 0o600).unwrap().as_slice(), bytes);
        }
        assert!(matches!(read(&[7; BYTES_MAX + 1], 0o600), Err(SecretFileError::Io { .. })));
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601] {
            let open = read(b"s3cret", mode).unwrap_err();
            assert!(open.to_string().ends_with("is open to others: chmod 600 it, and think of who has read it"));
            assert!(!format!("{open:?}").contains("s3cret"), "nothing of it is told");
        }
        fs::remove_file(&file).unwrap();
        assert!(matches!(read_secret_file(&file), Err(SecretFileError::Io { .. })));
    }
}
