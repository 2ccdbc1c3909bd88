//! Unix sockets at paths that clients can use.
//!
//! **Invariants** (EP-17, EP-19): a path that the system cannot take is refused with its length; a stale socket is
//! removed, but nothing that is no socket and none that still answers; the folder itself stays, since it may be
//! mounted elsewhere.

use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// `sun_path` of Linux without its closing zero byte (unix(7)).
const PATH_BYTES_MAX: usize = 107;

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process answers there.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// The system does not let us.
    #[error("cannot listen on {}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something else has this name; it is not ours to remove.
    #[error("{} exists and is no socket", path.display())]
    NotASocket {
        /// Where.
        path: PathBuf,
    },
    /// Clients could not connect to it.
    #[error("{} must be an absolute path", path.display())]
    Relative {
        /// Where.
        path: PathBuf,
    },
    /// The kernel takes no such path.
    #[error("{} has {actual} bytes, a socket path has at most {PATH_BYTES_MAX}; use a folder under /run or /tmp", path.display())]
    TooLong {
        /// Where.
        path: PathBuf,
        /// How long.
        actual: usize,
    },
}

/// Listens on a path, making its folder; `mode` says who may connect.
pub(super) fn bind(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    vacant(path)?;
    let io = |source| SocketError::Io { path: path.to_owned(), source };
    let listener = UnixListener::bind(path).map_err(io)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).map_err(io)?;
    Ok(listener)
}

/// Makes sure that a socket can have this path: its folder is there, and nothing of that name.
pub(super) fn vacant(path: &Path) -> Result<(), SocketError> {
    let actual = path.as_os_str().len();
    let path = path.to_owned();
    if actual > PATH_BYTES_MAX {
        return Err(SocketError::TooLong { path, actual });
    }
    if !path.is_absolute() {
        return Err(SocketError::Relative { path });
    }
    let io = |source| SocketError::Io { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(io)?;
    }
    match std::fs::symlink_metadata(&path) {
        Ok(found) if !found.file_type().is_socket() => Err(SocketError::NotASocket { path }),
        Ok(_) if std::os::unix::net::UnixStream::connect(&path).is_ok() => Err(SocketError::InUse { path }),
        Ok(_) => std::fs::remove_file(&path).map_err(io),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io(error)),
    }
}

/// A socket's file, removed when its owner goes; the folder stays.
#[derive(Debug)]
pub(super) struct SocketFile(pub(super) PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            tracing::debug!(%error, path = %self.0.display(), "the socket's file was gone already");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: EP-19.
    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(bind(&path, 0o777).unwrap());
        let living = bind(&path, 0o777).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o777);
        assert!(matches!(bind(&path, 0o777), Err(SocketError::InUse { .. })));
        drop(living);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path, 0o777), Err(SocketError::NotASocket { .. })));
    }

    /// Shows: EP-17.
    #[tokio::test]
    async fn a_path_that_the_kernel_cannot_take_is_named_with_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let longest = PATH_BYTES_MAX - folder.path().as_os_str().len() - 1;
        bind(&folder.path().join("a".repeat(longest)), 0o700).unwrap();
        let refused = bind(&folder.path().join("a".repeat(longest + 1)), 0o700).unwrap_err();
        assert!(refused.to_string().contains("has 108 bytes"), "{refused}");
        assert!(matches!(bind(Path::new("a.sock"), 0o700), Err(SocketError::Relative { .. })));
    }
}
