//! The data folder: ours alone, or nothing in it is believed.

use super::ServerError;
use rustix::process::geteuid;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Who may write to the folder can replace every file in it, whatever the files' own modes.
const OTHERS_WRITE: u32 = 0o022;
/// Read, and enter.
const OTHERS_LOOK: u32 = 0o055;

/// Makes the folder, or sees that the one that is there is ours; closes it to others who could only look.
///
/// # Errors
/// `Folder` when the system does not let us, `FolderOpen` when others own it or could have written to it.
pub(super) fn own(folder: &Path) -> Result<(), ServerError> {
    let io = |source| ServerError::Folder { path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(io)?;
    let found = fs::metadata(folder).map_err(io)?;
    let refused = |found| Err(ServerError::FolderOpen { path: folder.to_owned(), found });
    let (owner, own) = (found.uid(), geteuid().as_raw());
    if owner != own {
        return refused(format!("it belongs to uid {owner}, we are {own}"));
    }
    let mode = found.mode() & 0o777;
    if mode & OTHERS_WRITE != 0 && !is_empty(folder).map_err(io)? {
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

fn is_empty(folder: &Path) -> io::Result<bool> {
    Ok(folder.read_dir()?.next().is_none())
}
