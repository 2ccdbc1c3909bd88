//! The data folder: there, and ours alone, or nothing in it is believed.

use super::ServerError;
use crate::backup::ASIDE;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Who may write to the folder can replace every file in it, whatever the files' own modes.
const OTHERS_WRITE: u32 = 0o022;
/// Read, and enter.
const OTHERS_LOOK: u32 = 0o055;

/// A folder with one of these is a server's: its keys, its journal, or what was laid there for its first start.
const OURS: [&str; 4] = [SEALING_KEY, "door-ca.pem", "journal", "keyring.json"];
/// By itself it tells of a restore that has not come further: whatever it opens is elsewhere.
const SEALING_KEY: &str = "sealing.key";
/// What a file system of its own is born with.
const BORN_WITH: &str = "lost+found";

/// Sees that the folder is there and ours; closes it to others who could only look. It is made here on a new volume only:
/// a server that cannot find its history must not begin another one.
///
/// # Errors
/// `FolderMissing`; `KeyAlone`; `Folder` when the system does not let us, `FolderOfOthers` when something else is in it, `FolderOpen`
/// when others own it or could have written to it.
pub(super) fn own(folder: &Path) -> Result<(), ServerError> {
    let io = |source| ServerError::Folder { path: folder.to_owned(), source };
    let found = match fs::metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match folder.parent() {
                Some(parent) if is_new_volume(parent) => make(folder).map_err(io),
                _ => Err(ServerError::FolderMissing { path: folder.to_owned() }),
            };
        }
        found => found.map_err(io)?,
    };
    if folder.join(ASIDE).exists() {
        return Err(ServerError::RestoreUnfinished { path: folder.to_owned() });
    }
    let of_ours: Vec<&str> = OURS.into_iter().filter(|name| folder.join(name).exists()).collect();
    if of_ours == [SEALING_KEY] {
        return Err(ServerError::KeyAlone { path: folder.to_owned() });
    }
    if of_ours.is_empty()
        && let Some(found) = foreign(folder).map_err(io)?
    {
        return Err(ServerError::FolderOfOthers { path: folder.to_owned(), found });
    }
    let refused = |found| Err(ServerError::FolderOpen { path: folder.to_owned(), found });
    let (owner, own) = (found.uid(), geteuid().as_raw());
    if owner != own {
        return refused(format!("it belongs to uid {owner}, we are {own}"));
    }
    let mode = found.mode() & 0o777;
    if mode & OTHERS_WRITE != 0 && foreign(folder).map_err(io)?.is_some() {
        return refused(format!(
            "others could have written to it (mode {mode:04o}); see that all in it is yours, then chmod 700 it"
        ));
    }
    if mode & (OTHERS_WRITE | OTHERS_LOOK) != 0 {
        tracing::warn!(folder = %folder.display(), "others could enter the data folder (mode {mode:04o}); closed to them now");
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(io)?;
    }
    Ok(())
}

/// A file system of its own with nothing in it: an orchestrator has made it for us, and nobody's history can be missing.
/// What should have been mounted and is not, is a folder like any other.
fn is_new_volume(folder: &Path) -> bool {
    let found = statx(CWD, folder, AtFlags::empty(), StatxFlags::TYPE);
    let is_mounted = found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    is_mounted && foreign(folder).is_ok_and(|found| found.is_none())
}

fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(folder)?;
    tracing::warn!(folder = %folder.display(), "a new volume: the data folder is made in it");
    Ok(())
}

/// Something in a folder that should be empty.
fn foreign(folder: &Path) -> io::Result<Option<String>> {
    for entry in folder.read_dir()? {
        let name = entry?.file_name();
        if name != BORN_WITH {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}
