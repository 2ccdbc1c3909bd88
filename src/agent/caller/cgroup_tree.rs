//! One tree of cgroups as the machine has it: where it is mounted, which cgroup a path is now, and whether a process is left.

use super::cgroup_path::{CgroupPath, CgroupTextError, Hierarchy, cgroup_of};
use super::process_text::mount_of;
use rustix::io::Errno;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Cgroups that are looked into below one job's; with more of them it counts as not empty.
const BELOW_MAX: usize = 4096;

/// Why no tree can be used.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The system does not let us.
    #[error("cannot read {}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is none, or only a part of it is seen from here.
    #[error(
        "the whole of {0} is mounted nowhere here; set host.hierarchy to what the machine's containers are in, and run the agent in the host's cgroup namespace"
    )]
    NotMounted(Hierarchy),
    /// Where the agent itself is.
    #[error("the agent's own cgroup cannot be told")]
    Own(#[from] CgroupTextError),
}

/// See the file's words.
#[derive(Clone, Debug)]
pub(in crate::agent) struct Tree {
    pub(super) hierarchy: Hierarchy,
    mount: PathBuf,
    own: CgroupPath,
}

impl Tree {
    pub(in crate::agent) fn open(hierarchy: &Hierarchy) -> Result<Self, TreeError> {
        let read = |path: &str| fs::read(path).map_err(|source| TreeError::Io { path: PathBuf::from(path), source });
        let mounts = read("/proc/self/mountinfo")?;
        let mount = mount_of(hierarchy, &String::from_utf8_lossy(&mounts))
            .ok_or_else(|| TreeError::NotMounted(hierarchy.clone()))?;
        let own = cgroup_of(&read("/proc/self/cgroup")?, hierarchy)?;
        Ok(Self { hierarchy: hierarchy.clone(), mount, own })
    }

    /// The agent's own cgroup when it began.
    pub(in crate::agent) const fn own(&self) -> &CgroupPath {
        &self.own
    }

    /// Which cgroup has this path now. The kernel counts these numbers up, so that one is not used again before a reboot.
    pub(in crate::agent) fn inode(&self, cgroup: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.folder(cgroup))?.ino())
    }

    /// Whether the cgroup of this path and number is gone, or no process is in it or below it.
    pub(in crate::agent) fn is_over(&self, cgroup: &str, inode: u64) -> io::Result<bool> {
        let gone_is_over = |error: io::Error| if is_gone(&error) { Ok(true) } else { Err(error) };
        match self.inode(cgroup) {
            Ok(found) if found != inode => return Ok(true),
            Ok(_same) => {}
            Err(error) => return gone_is_over(error),
        }
        let folder = self.folder(cgroup);
        let empty = match self.hierarchy {
            Hierarchy::V1(_) => holds_nobody(&folder),
            // The root has no such file, and is never over.
            Hierarchy::V2 if folder == self.mount => Ok(false),
            Hierarchy::V2 => fs::read_to_string(folder.join("cgroup.events"))
                .map(|events| events.lines().any(|line| line == "populated 0")),
        };
        empty.or_else(gone_is_over)
    }

    fn folder(&self, cgroup: &str) -> PathBuf {
        let below = cgroup.trim_start_matches('/');
        if below.is_empty() { self.mount.clone() } else { self.mount.join(below) }
    }
}

/// Where a cgroup or a process goes while its files are read, they say ENODEV or ESRCH.
pub(super) fn is_gone(error: &io::Error) -> bool {
    let code = Errno::from_io_error(error);
    error.kind() == ErrorKind::NotFound || matches!(code, Some(Errno::NODEV | Errno::SRCH))
}

/// Version 1 counts for each cgroup alone, so those below are looked into too.
fn holds_nobody(folder: &Path) -> io::Result<bool> {
    let mut folders = vec![folder.to_owned()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        seen += 1;
        if seen > BELOW_MAX || !fs::read(folder.join("cgroup.procs"))?.is_empty() {
            return Ok(false);
        }
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(true)
}
