//! What tells that files are others than before: written, put in their place, or come and gone.
//!
//! Looked at every few seconds: that works with Kubernetes' symlink swaps and on network mounts, where file events do not.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The state of a place, to be compared with a later one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Stamp(Vec<(PathBuf, [u64; 2], [i64; 2])>);

impl Stamp {
    /// Of a file, or of a folder and all that lies in it.
    pub fn of(place: &Path) -> Self {
        let inside = std::fs::read_dir(place).into_iter().flatten().flatten().map(|entry| entry.path());
        let seen = |path: PathBuf| {
            let found = std::fs::metadata(&path).ok()?;
            Some((path, [found.ino(), found.len()], [found.mtime(), found.mtime_nsec()]))
        };
        let mut all: Vec<_> = inside.chain([place.to_owned()]).filter_map(seen).collect();
        all.sort();
        Self(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::{Duration, SystemTime};

    #[test]
    fn whatever_happens_to_a_folder_of_rules_is_noticed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (pay, shop) = (folder.path().join("10-pay.toml"), folder.path().join("20-shop.toml"));
        fs::write(&pay, "owner = \"pay\"").unwrap();
        let mut seen = Stamp::of(folder.path());
        let mut changed = |what: &str| {
            let now = Stamp::of(folder.path());
            assert_ne!(seen, now, "{what}");
            assert_eq!(now, Stamp::of(folder.path()), "{what}, and looked at again");
            seen = now;
        };
        fs::write(&shop, "owner = \"shop\"").unwrap();
        changed("added");
        fs::rename(&shop, folder.path().join("05-shop.toml")).unwrap();
        changed("renamed");
        fs::write(&pay, "owner = \"pax\"").unwrap();
        fs::File::open(&pay).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        changed("written, as long as before");
        fs::File::open(&pay).unwrap().set_modified(SystemTime::UNIX_EPOCH + Duration::from_nanos(1)).unwrap();
        changed("touched");
        fs::remove_file(&pay).unwrap();
        changed("removed");
        fs::remove_dir_all(folder.path()).unwrap();
        changed("gone");
    }
}
