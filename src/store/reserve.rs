//! Disk space that is kept back: when the disk is full, ends of sessions and key steps still find room.
//!
//! A file of zeros is held while there is room. When a write finds none, the file is removed, whoever may not use the
//! reserve is refused without another try, and the file is made again once there is clearly more room than it takes.
//! Where nothing is kept back, or the disk takes no writes for another reason, a small file tries when it does again.

use super::Trouble;
use super::journal::private;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tracing::{error, info, warn};

/// So much more than the reserve must be free before it is filled again: else it would be opened at the next write.
const MARGIN_BYTES: u64 = 1 << 20;
/// How often a full disk is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// As much as one record takes.
const TRIAL_BYTES: u64 = 4096;

/// The reserve of one data folder.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// How much is kept back; with 0 there is no reserve, and every commit tries for itself.
    bytes: u64,
    /// Why the disk takes no writes, since one of them did not work.
    trouble: Option<Trouble>,
    look_at: Option<Instant>,
}

impl Reserve {
    /// Sees that the reserve is held, or finds that there is no room for it.
    pub(super) fn open(dir: &Path, bytes: u64) -> Self {
        let mut reserve = Self { path: dir.join("reserve"), bytes, trouble: None, look_at: None };
        if bytes > 0 && !reserve.is_held() {
            reserve.fill();
        }
        reserve
    }

    /// Why the disk takes no writes now.
    pub(super) const fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// Whether only those who may use the reserve are let in.
    pub(super) fn is_open(&self) -> bool {
        self.bytes > 0 && self.trouble == Some(Trouble::DiskFull)
    }

    /// A write did not work. True when there is room now, for whoever may use it.
    pub(super) fn release(&mut self, error: &io::Error) -> bool {
        let opens = self.bytes > 0 && !self.is_open() && is_full(error);
        self.trouble = Some(if is_full(error) { Trouble::DiskFull } else { Trouble::Unwritable });
        if !opens {
            return false;
        }
        error!("the disk is full: identities are refused, the reserve is for ends and key steps; make room");
        fs::remove_file(&self.path).is_ok()
    }

    /// A write worked; with the reserve open that says nothing of the others.
    pub(super) fn wrote(&mut self) {
        if !self.is_open() {
            self.trouble = None;
        }
    }

    /// While the disk takes no writes: whether it still does not, at most once a second.
    pub(super) fn look(&mut self, now: Instant) {
        if self.trouble.is_none() || self.look_at.is_some_and(|at| now < at) {
            return;
        }
        self.look_at = Some(now + LOOK_EVERY);
        if !self.is_open() {
            let trial = self.path.with_extension("trial");
            if take_room(&trial, TRIAL_BYTES).is_ok() {
                self.trouble = None;
            }
            drop(fs::remove_file(trial));
        } else if free_bytes(self.path.parent().unwrap_or(&self.path))
            .is_ok_and(|free| free >= self.bytes.saturating_add(MARGIN_BYTES))
        {
            self.fill();
        }
    }

    fn is_held(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes)
    }

    fn fill(&mut self) {
        match take_room(&self.path, self.bytes) {
            Ok(()) => {
                if self.trouble.take().is_some() {
                    info!("there is room on the disk again");
                }
            }
            Err(error) if is_full(&error) => {
                drop(fs::remove_file(&self.path));
                if self.trouble.replace(Trouble::DiskFull).is_none() {
                    error!(bytes = self.bytes, "no room for the reserve: identities are refused; make room");
                }
            }
            // A file system of another mind; full disks are then met without a reserve.
            Err(error) => {
                warn!(%error, path = %self.path.display(), "no reserve of disk can be kept");
                (self.bytes, self.trouble) = (0, None);
            }
        }
    }
}

/// No room for anybody, or none for us.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull)
}

/// How much the file system of a folder has left for us.
pub(super) fn free_bytes(folder: &Path) -> io::Result<u64> {
    let system = statvfs(folder)?;
    Ok(system.f_bavail.saturating_mul(system.f_frsize))
}

/// A file that really takes so much.
fn take_room(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file: File = private().create(true).write(true).truncate(true).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => {}
        Err(rustix::io::Errno::OPNOTSUPP) => {
            io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
            file.flush()?;
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}
