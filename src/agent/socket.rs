//! Unix sockets at paths that clients can use.
//!
//! **Invariants** (EP-17, EP-19): a path that the system cannot take is refused with its length; a stale socket is
//! removed, but nothing that is no socket and none that still answers; the folder itself stays, since it may be
//! mounted elsewhere.

use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
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
        source: io::Error,
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
    let failed = |source| SocketError::Io { path: path.to_owned(), source };
    let listener = UnixListener::bind(path).map_err(failed)?;
    if set_mode(path, mode).map_err(failed)? {
        Ok(listener)
    } else {
        Err(SocketError::NotASocket { path: path.to_owned() })
    }
}

/// Gives a socket its mode, and gives back whether it is one. Whoever may write in its folder may swap it for a link to
/// something else at any time: so what is looked at is held, and its mode is set by no name.
fn set_mode(path: &Path, mode: u32) -> io::Result<bool> {
    let held = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let found = fstat(&held)?;
    let is_ours = FileType::from_raw_mode(found.st_mode).is_socket() && found.st_nlink == 1;
    if is_ours {
        // fchmod(2) takes no O_PATH; the kernel's own way to what it holds does (proc(5)).
        std::fs::set_permissions(format!("/proc/self/fd/{}", held.as_raw_fd()), PermissionsExt::from_mode(mode))?;
    }
    Ok(is_ours)
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
    let failed = |source| SocketError::Io { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    match std::fs::symlink_metadata(&path) {
        Ok(found) if !found.file_type().is_socket() => Err(SocketError::NotASocket { path }),
        Ok(_) if std::os::unix::net::UnixStream::connect(&path).is_ok() => Err(SocketError::InUse { path }),
        Ok(_) => std::fs::remove_file(&path).map_err(failed),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
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

    #[tokio::test]
    async fn only_the_mode_of_a_socket_is_ever_changed_and_never_by_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mode = |name: &str| std::fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
        std::fs::write(path("precious"), "secret").unwrap();
        std::fs::set_permissions(path("precious"), PermissionsExt::from_mode(0o600)).unwrap();
        let _others = bind(&path("others.sock"), 0o700).unwrap();
        // What the folder's other users may put in the place of a socket that was just made.
        std::os::unix::fs::symlink(path("precious"), path("to-file")).unwrap();
        std::os::unix::fs::symlink(path("others.sock"), path("to-socket")).unwrap();
        for swapped in ["precious", "to-file", "to-socket"] {
            assert!(!set_mode(&path(swapped), 0o777).unwrap(), "{swapped}");
        }
        std::fs::hard_link(path("others.sock"), path("same-socket")).unwrap();
        assert!(!set_mode(&path("same-socket"), 0o777).unwrap());
        assert_eq!((mode("precious"), mode("others.sock")), (0o600, 0o700));
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
