//! A token for somebody's API, in a file that only we can read: read anew for each question, so that a change counts at
//! once and no copy stays in memory.

use crate::crypto::{SecretFileError, read_secret_file};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read, or by others too.
    #[error("the token file {0}")]
    Unread(#[source] SecretFileError),
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
    let bytes = read_secret_file(path).map_err(TokenFileError::Unread)?;
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
            assert!(matches!(read(b"glpat-Az_09", mode), Err(TokenFileError::Unread(_))), "{mode:o}");
        }
        for text in [&b""[..], b" \n", b"two words", b"two\nlines", b"\xff\xfe", "glpat-\u{e9}".as_bytes()] {
            let odd = read(text, 0o600).unwrap_err();
            assert!(matches!(odd, TokenFileError::Unusable { .. }), "{text:?}");
            assert!(!format!("{odd} {odd:?}").contains("glpat"), "nothing of it is told");
        }
        fs::remove_file(&file).unwrap();
        assert!(matches!(read_token(&file), Err(TokenFileError::Unread(_))));
    }
}
