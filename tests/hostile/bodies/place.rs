//! A folder for a reader of files, kept from one input to the next.

use std::cell::LazyCell;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Files by their path within a folder.
pub type Files = Vec<(PathBuf, Vec<u8>)>;

thread_local!(static FOLDER: LazyCell<TempDir> = LazyCell::new(|| TempDir::new().unwrap()));

/// Shows a folder of this thread that holds just these files.
pub fn with<T>(files: &Files, show: impl FnOnce(&Path) -> T) -> T {
    FOLDER.with(|folder| {
        let place = folder.path().join("place");
        if place.exists() {
            fs::remove_dir_all(&place).unwrap();
        }
        fs::create_dir(&place).unwrap();
        write(&place, files);
        show(&place)
    })
}

/// Writes files into a folder; closed to others, as secrets must be.
pub fn write(place: &Path, files: &Files) {
    for (path, bytes) in files {
        let path = place.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }
}

/// All files of a folder and those in it, by path.
pub fn read(place: &Path) -> Files {
    let mut found = Files::new();
    let mut folders = vec![place.to_owned()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.strip_prefix(place).unwrap().to_owned(), fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
