//! A folder for one command, which nobody else can enter unless the command says so, gone with it.

use crate::agent::on_memory;
use crate::config::{Environment, SystemEnvironment};
use crate::crypto::Random;
use anyhow::Context;
use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// See the file's words.
#[derive(Debug)]
pub(in crate::cli) struct OwnFolder(PathBuf);

impl OwnFolder {
    /// What its name adds to a path: a slash, a word and sixteen digits.
    pub(in crate::cli) const NAME_BYTES: usize = "/lanyard-exec-0123456789abcdef".len();

    /// In a folder that is there.
    pub(in crate::cli) fn within(base: &Path, random: &Random) -> anyhow::Result<Self> {
        let folder = base.join(format!("lanyard-exec-{:016x}", u64::from_be_bytes(random.bytes())));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| format!("no folder for this command can be made at {}", folder.display()))?;
        Ok(Self(folder))
    }

    /// In memory, where the machine has a place for that; a disk remembers what is deleted.
    pub(super) fn in_memory(random: &Random) -> anyhow::Result<Self> {
        let runtime = SystemEnvironment.value("XDG_RUNTIME_DIR").map(PathBuf::from);
        let places = runtime.into_iter().chain([PathBuf::from("/dev/shm")]);
        for place in places.filter(|place| place.is_absolute() && place.is_dir() && on_memory(place)) {
            if let Ok(folder) = Self::within(&place, random) {
                return Ok(folder);
            }
        }
        let base = std::env::temp_dir();
        if !on_memory(&base) {
            tracing::warn!(folder = %base.display(), "credentials are kept on a disk; mount a tmpfs there, and it forgets them");
        }
        Self::within(&base, random)
    }

    /// Other users reach what they know the name of, and cannot look around.
    pub(in crate::cli) fn let_others_pass(&self) -> anyhow::Result<()> {
        let opened = std::fs::set_permissions(&self.0, Permissions::from_mode(0o711));
        opened.with_context(|| format!("{} cannot be opened to other users", self.0.display()))
    }

    pub(in crate::cli) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for OwnFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, folder = %self.0.display(), "the command's folder stays behind");
        }
    }
}
