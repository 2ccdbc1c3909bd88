//! A token for somebody's API, in a file that only we can read: read anew for each question, so that a change counts at
//! once and no copy stays in memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// GitLab's longest have some three hundred characters.
const BYTES_MAX: u64 = 4096;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file system said no.
    #[error("the token file {path} cannot be read")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("the token file {path} is open to others: chmod 600 it, and think of who has read it")]
    Open {
        /// Which file.
        path: PathBuf,
    },
    /// It holds something else.
    #[error("the token file {path} holds no token: it must be one line of letters, digits and signs")]
    Unusable {
        /// Which file.
        path: PathBuf,
    },
}

/// Reads a token.
///
/// # Errors
/// See [`TokenFileError`].
pub fn read_token(path: &Path) -> Result<Zeroizing<String>, TokenFileError> {
    let io = |source| TokenFileError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    if file.metadata().map_err(io)?.mode() & 0o077 != 0 {
        return Err(TokenFileError::Open { path: path.to_owned() });
    }
    // As large as it can become, so that no copy is left behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(BYTES_MAX).read_to_end(&mut bytes).map_err(io)?;
    let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenFileError::Unusable { path: path.to_owned() });
    }
    Ok(Zeroizing::new(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_token_is_one_line_that_nobody_else_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let read = |text: &[u8], mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            read_token(&file)
        };
        assert_eq!(read(b"glpat-Az_09\n", 0o600).unwrap().as_str(), "glpat-Az_09");
        assert_eq!(read(b"glpat-other", 0o400).unwrap().as_str(), "glpat-other", "what is there now counts");
        for mode in [0o640, 0o604, 0o620] {
            assert!(matches!(read(b"glpat-Az_09", mode), Err(TokenFileError::Open { .. })), "{mode:o}");
        }
        for text in [&b""[..], b" \n", b"two words", b"two\nlines", b"\xff\xfe", "glpat-\u{e9}".as_bytes()] {
            let odd = read(text, 0o600).unwrap_err();
            assert!(matches!(odd, TokenFileError::Unusable { .. }), "{text:?}");
            assert!(!format!("{odd} {odd:?}").contains("glpat"), "nothing of it is told");
        }
        fs::remove_file(&file).unwrap();
        assert!(matches!(read_token(&file), Err(TokenFileError::Io { .. })));
    }
}
