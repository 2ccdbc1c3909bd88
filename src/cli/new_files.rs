//! New files in a folder, all of them or none: what is there is never touched, and what was begun is taken away.

use super::failure::plain;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A folder that gets new files. Dropped before [`NewFolder::keep`], it takes them away again.
#[derive(Debug)]
pub(super) struct NewFolder {
    path: PathBuf,
    made: Vec<Made>,
}

#[derive(Debug)]
enum Made {
    File(PathBuf),
    /// Around ours; others may have put something there meanwhile.
    FolderAround(PathBuf),
    /// With all that is in it.
    Folder(PathBuf),
}

impl NewFolder {
    /// Looks for everything that would be overwritten, before anything is written.
    pub(super) fn look(path: &Path, names: &[&str]) -> anyhow::Result<Self> {
        let taken = |name: &&&str| fs::symlink_metadata(path.join(name)).is_ok();
        let taken: Vec<_> = names.iter().filter(taken).map(|name| path.join(name).display().to_string()).collect();
        anyhow::ensure!(
            taken.is_empty(),
            "nothing was written, since there is already: {}. Name another folder with --dir, or move them away",
            taken.join(", ")
        );
        Ok(Self { path: path.to_owned(), made: Vec::new() })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A folder in it, that only we can enter; so is the folder itself where it is new.
    pub(super) fn make_folder(&mut self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.path.join(name);
        let is_missing = |above: &&Path| !above.as_os_str().is_empty() && !above.exists();
        let mut missing: Vec<_> = self.path.ancestors().take_while(is_missing).map(Path::to_owned).collect();
        missing.reverse();
        for around in missing {
            make_private(&around)?;
            self.made.push(Made::FolderAround(around));
        }
        make_private(&folder)?;
        self.made.push(Made::Folder(folder.clone()));
        Ok(folder)
    }

    /// A file in it, which must not be there yet.
    pub(super) fn write(&mut self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.path.join(name);
        let mut open =
            OpenOptions::new().write(true).create_new(true).mode(0o644).open(&file).map_err(failed(&file))?;
        self.made.push(Made::File(file.clone()));
        open.write_all(text.as_bytes()).and_then(|()| open.sync_all()).map_err(failed(&file))
    }

    /// All is there.
    pub(super) fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        for made in self.made.iter().rev() {
            let removed = match made {
                Made::File(file) => fs::remove_file(file),
                Made::FolderAround(folder) => fs::remove_dir(folder),
                Made::Folder(folder) => fs::remove_dir_all(folder),
            };
            if let Err(error) = removed {
                tracing::warn!(?made, %error, "left behind");
            }
        }
    }
}

fn make_private(folder: &Path) -> anyhow::Result<()> {
    DirBuilder::new().mode(0o700).create(folder).map_err(failed(folder))
}

fn failed(place: &Path) -> impl FnOnce(io::Error) -> anyhow::Error {
    move |error| anyhow::anyhow!("{} cannot be written: {}; nothing was kept", place.display(), plain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_file_cannot_be_written_none_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("above/new");
        let mut folder = NewFolder::look(&path, &["a", "b"]).unwrap();
        fs::write(folder.make_folder("data").unwrap().join("key"), "x").unwrap();
        folder.write("a", "x").unwrap();
        folder.make_folder("data").unwrap_err();
        drop(folder);
        assert!(!parent.path().join("above").exists());

        let mut folder = NewFolder::look(&path, &["b"]).unwrap();
        folder.make_folder("data").unwrap();
        fs::write(path.join("b"), "somebody was faster").unwrap();
        folder.write("b", "ours").unwrap_err();
        drop(folder);
        assert_eq!(fs::read_to_string(path.join("b")).unwrap(), "somebody was faster");
        assert!(!path.join("data").exists());
    }

    #[test]
    fn what_is_there_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("b"), "theirs").unwrap();
        let error = NewFolder::look(folder.path(), &["a", "b"]).unwrap_err().to_string();
        assert!(error.contains("/b.") && !error.contains("/a"), "{error}");
        let mut new = NewFolder::look(folder.path(), &["a", "c"]).unwrap();
        new.write("a", "x").unwrap();
        drop(new);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["b"]);
    }
}
