//! A new file beside the one that it is for: whole and on disk before it takes that one's place.

use crate::crypto::Random;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Writes a file that nobody else can have opened, for its owner alone. Nothing is left of one that could not be written.
///
/// # Errors
/// What the system said.
pub fn write_aside(
    target: &Path,
    random: &Random,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let path = target.with_file_name(format!(".{name}.{:016x}", u64::from_be_bytes(random.bytes())));
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        write(&mut file)?;
        file.sync_all()
    };
    match written() {
        Ok(()) => Ok(path),
        Err(error) => {
            // If it cannot be removed, the first error is still the one to tell.
            drop(std::fs::remove_file(&path));
            Err(error)
        }
    }
}
