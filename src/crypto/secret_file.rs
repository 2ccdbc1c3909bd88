//! A secret in a file of its own, which nobody else may read: one refusal for all of them, in the same words.

use rustix::process::geteuid;
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

/// Whether nobody else may read a secret that somebody other than us reads.
///
/// # Errors
/// See [`SecretFileError`].
pub fn check_secret_file(path: &Path) -> Result<(), SecretFileError> {
    let found = std::fs::metadata(path).map_err(|source| SecretFileError::Io { path: path.to_owned(), source })?;
    if is_open(found.mode(), found.uid(), geteuid().as_raw()) {
        return Err(SecretFileError::Open { path: path.to_owned() });
    }
    Ok(())
}

/// All of a secret's file, unless it is open to others.
///
/// # Errors
/// See [`SecretFileError`].
pub fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let io = |source| SecretFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let found = file.metadata().map_err(io)?;
    if is_open(found.mode(), found.uid(), geteuid().as_raw()) {
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

/// Only its owner may read it. Root's own file may name a group too, which is then how we read it: so Kubernetes mounts
/// secrets for a user that is not root, and Debian keeps keys for its services.
const fn is_open(mode: u32, owner: u32, we: u32) -> bool {
    let allowed = if owner == 0 && we != 0 { 0o740 } else { 0o700 };
    mode & 0o777 & !allowed != 0
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

    #[test]
    fn a_group_reads_what_is_roots_and_nothing_else() {
        const ROOT: u32 = 0;
        const WE: u32 = 10_001;
        for (mode, owner, we, open) in [
            (0o600, WE, WE, false),
            (0o440, ROOT, WE, false),
            (0o640, ROOT, WE, false),
            (0o440, WE, WE, true),
            (0o640, ROOT, ROOT, true),
            (0o444, ROOT, WE, true),
            (0o460, ROOT, WE, true),
            (0o640, 10_002, WE, true),
        ] {
            assert_eq!(is_open(mode, owner, we), open, "{mode:o} of {owner}, read by {we}");
        }
    }
}
