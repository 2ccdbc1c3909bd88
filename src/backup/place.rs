//! The data folder that a backup is laid into: empty before, and while it is not whole nothing starts there.

use super::BackupError;
use crate::store::lock;
use rustix::process::geteuid;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where a backup lies before it is in its place; while it is there, no server starts.
pub(crate) const ASIDE: &str = "restoring";
/// What may be in an empty folder: the key that an operator laid there, what a file system is born with, our lock.
const HARMLESS: [&str; 5] = ["admin.sock", "lock", "lost+found", "sealing.key", "sealing.wrapped"];
/// Laid last: without it a server with a history does not start, whatever else is there.
const LAST: &str = "keyring.json";

/// A folder that is held for a restore.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    _lock: File,
}

impl Place {
    /// Takes an empty folder, or one in which a restore was broken off; what that left is removed.
    pub(super) fn take(folder: &Path) -> Result<Self, BackupError> {
        let found = fs::metadata(folder).map_err(BackupError::file(folder))?;
        if found.uid() != geteuid().as_raw() {
            return Err(BackupError::OfOthers { folder: folder.to_owned(), uid: found.uid() });
        }
        let place = Self { folder: folder.to_owned(), _lock: lock(folder)? };
        let broken_off = place.aside().exists();
        for name in place.names()? {
            if HARMLESS.contains(&name.as_str()) || name == ASIDE {
                continue;
            }
            if !broken_off {
                return Err(BackupError::NotEmpty { folder: folder.to_owned(), found: name });
            }
            remove(&folder.join(name))?;
        }
        if broken_off {
            remove(&place.aside())?;
        }
        Ok(place)
    }

    /// Where the backup is to lie until it is whole.
    pub(super) fn aside(&self) -> PathBuf {
        self.folder.join(ASIDE)
    }

    /// A file that does not come along.
    pub(super) fn forget(&self, name: &str) -> Result<(), BackupError> {
        let path = self.aside().join(name);
        if path.exists() { remove(&path) } else { Ok(()) }
    }

    /// Moves everything to its place.
    pub(super) fn lay(self) -> Result<(), BackupError> {
        self.forget("lock")?;
        let aside = self.aside();
        let mut names = names(&aside)?;
        names.sort_by_key(|name| name == LAST);
        for name in names {
            let (from, to) = (aside.join(&name), self.folder.join(&name));
            self.sync()?;
            fs::rename(&from, &to).map_err(BackupError::file(&to))?;
        }
        self.sync()?;
        fs::remove_dir(&aside).map_err(BackupError::file(&aside))?;
        self.sync()
    }

    fn names(&self) -> Result<Vec<String>, BackupError> {
        names(&self.folder)
    }

    fn sync(&self) -> Result<(), BackupError> {
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(BackupError::file(&self.folder))
    }
}

impl Drop for Place {
    /// What was not laid is of no use; the next try would remove it, too.
    fn drop(&mut self) {
        let laid = self.folder.join(LAST).exists();
        if !laid {
            drop(fs::remove_dir_all(self.aside()));
        }
    }
}

fn names(folder: &Path) -> Result<Vec<String>, BackupError> {
    let read = || folder.read_dir()?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
    let names: io::Result<Vec<String>> = read();
    names.map_err(BackupError::file(folder))
}

fn remove(path: &Path) -> Result<(), BackupError> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(BackupError::file(path))
}
