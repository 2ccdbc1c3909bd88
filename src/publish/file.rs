//! A file, replaced as a whole: whoever reads it sees one bundle.

use super::target::Outcome;
use super::{Form, PublishError};
use crate::authority::Published;
use crate::crypto::Random;
use crate::store::write_aside;
use std::fs::{self, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Where, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FileTarget {
    /// Its place; the folder is there.
    pub path: PathBuf,
    /// What it holds.
    pub form: Form,
    /// Its mode.
    pub mode: u32,
}

/// As much as anybody reads of a bundle.
const BYTES_MAX: u64 = 1 << 20;

impl FileTarget {
    /// Everybody on the machine may read a trust bundle.
    pub const MODE: u32 = 0o644;

    /// Looks, and writes what differs.
    pub(super) async fn put(
        &self,
        published: &Published,
        (wrote, random): (bool, &Random),
    ) -> Result<Outcome, PublishError> {
        let fault = |source| PublishError::File { path: self.path.clone(), source };
        let target = self.clone();
        let found =
            tokio::task::spawn_blocking(move || found(&target)).await.map_err(|stopped| fault(stopped.into()))?;
        let bytes = self.form.of(published);
        let told = match found {
            Found::File { there, is_of_mode: true } if *there == *bytes => return Ok(Outcome::AsItWas),
            Found::File { there, .. } => {
                self.form.check_older(&there, published)?;
                "somebody edited it"
            }
            Found::Otherwise => "somebody edited it",
            Found::Nothing => "somebody deleted it",
        };
        let (target, random) = (self.clone(), random.clone());
        let replaced = tokio::task::spawn_blocking(move || replace(&target, &bytes, &random)).await;
        replaced.unwrap_or_else(|stopped| Err(stopped.into())).map_err(fault)?;
        Ok(if wrote { Outcome::Restored(told.to_owned()) } else { Outcome::Written })
    }
}

enum Found {
    File { there: Vec<u8>, is_of_mode: bool },
    Nothing,
    Otherwise,
}

/// A link's target is somebody else's, whatever it holds.
fn found(target: &FileTarget) -> Found {
    match fs::symlink_metadata(&target.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Ok(there) if there.is_file() => {
            let is_of_mode = there.permissions().mode() & 0o7777 == target.mode;
            read(&target.path).map_or(Found::Otherwise, |there| Found::File { there, is_of_mode })
        }
        Ok(_) | Err(_) => Found::Otherwise,
    }
}

/// What is longer than any bundle of ours is somebody else's, and so is its end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut there = Vec::new();
    fs::File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut there)?;
    Ok(there)
}

fn replace(FileTarget { path, mode, .. }: &FileTarget, bytes: &[u8], random: &Random) -> io::Result<()> {
    let aside = write_aside(path, random, |file| {
        file.set_permissions(Permissions::from_mode(*mode))?;
        file.write_all(bytes)
    })?;
    fs::rename(&aside, path).inspect_err(|_kept| drop(fs::remove_file(&aside)))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}
