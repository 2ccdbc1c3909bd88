//! The folder that a dev run keeps: private, locked while in use, its keys made once.

use super::DevError;
use crate::config::Environment;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What only a running dev may leave behind; a crashed one's are removed at the next start.
const OF_A_RUN: [&str; 4] = ["dev.env", "workload.sock", "agent.sock", "admin.sock"];

/// A folder of one dev run.
#[derive(Debug)]
pub struct DevFolder {
    path: PathBuf,
    /// Held open: the lock ends with the process, however it ends.
    lock: Option<File>,
}

impl DevFolder {
    /// Where it stands unless `--dir` says otherwise: on tmpfs if there is a runtime folder.
    pub fn default_path(environment: &dyn Environment) -> PathBuf {
        if let Some(runtime) = environment.value("XDG_RUNTIME_DIR") {
            return Path::new(&runtime).join("lanyard-dev");
        }
        let owner = our_user().map(|user| user.to_string()).unwrap_or_default();
        std::env::temp_dir().join(format!("lanyard-dev-{owner}"))
    }

    /// Makes or takes up a folder for a run, and clears what a former run left.
    ///
    /// # Errors
    /// `InUse`, `NotPrivate` or `File`.
    pub fn claim(path: &Path) -> Result<Self, DevError> {
        make_private(path)?;
        let path = fs::canonicalize(path).map_err(DevError::file(path))?;
        let about = fs::symlink_metadata(&path).map_err(DevError::file(&path))?;
        let ours = our_user().map_err(DevError::file(&path))?;
        if !about.is_dir() || about.uid() != ours || about.mode() & 0o077 != 0 {
            return Err(DevError::NotPrivate { folder: path });
        }
        let lock_file = path.join("lock");
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(&lock_file);
        let lock = lock.map_err(DevError::file(&lock_file))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(DevError::InUse { folder: path }),
            Err(TryLockError::Error(source)) => return Err(DevError::File { file: lock_file, source }),
        }
        let folder = Self { path, lock: Some(lock) };
        for name in OF_A_RUN {
            folder.remove(name)?;
        }
        Ok(folder)
    }

    /// A folder as it stands, for reading its keys beside a run.
    pub fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), lock: None }
    }

    /// Whether this is the folder's own run.
    pub const fn is_claimed(&self) -> bool {
        self.lock.is_some()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A place in it.
    pub fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads a file of it; none when it is not there.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DevError> {
        let file = self.place(name);
        match fs::read(&file) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(DevError::file(&file)(error)),
        }
    }

    /// Writes a file only we can read; whoever reads it sees the old or the new one, whole.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DevError> {
        let file = self.place(name);
        let aside = self.place(&format!("{name}.new"));
        let written = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .and_then(|mut open| open.write_all(bytes))
            .and_then(|()| fs::rename(&aside, &file));
        written.map_err(DevError::file(&file))
    }

    /// Makes a folder in it that only we can enter, if there is none.
    pub(super) fn make(&self, name: &str) -> Result<(), DevError> {
        make_private(&self.place(name))
    }

    /// Removes a file of it, if it is there.
    pub(super) fn remove(&self, name: &str) -> Result<(), DevError> {
        let file = self.place(name);
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DevError::file(&file)(error)),
            _ => Ok(()),
        }
    }
}

fn make_private(folder: &Path) -> Result<(), DevError> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(DevError::file(folder))
}

/// The user this process runs as; the kernel makes its own `/proc` entry belong to it.
fn our_user() -> io::Result<u32> {
    fs::metadata("/proc/self").map(|about| about.uid())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_in_use_is_refused_and_a_former_runs_sockets_are_cleared() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("dev");
        let first = DevFolder::claim(&path).unwrap();
        first.write("dev.env", b"old").unwrap();
        assert!(matches!(DevFolder::claim(&path), Err(DevError::InUse { .. })));
        drop(first);
        let second = DevFolder::claim(&path).unwrap();
        assert_eq!(second.read("dev.env").unwrap(), None);
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(DevFolder::claim(parent.path()), Err(DevError::NotPrivate { .. })));
    }
}
