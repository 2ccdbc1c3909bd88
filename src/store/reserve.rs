//! Disk space that is kept back: when the disk is full, ends of sessions and key steps still find room.
//!
//! A file of zeros is held while there is room. When a write finds none, the file is removed, whoever may not use the
//! reserve is refused without another try, and the file is made again once there is clearly more room than it takes.

use super::journal::private;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{error, info, warn};

/// So much more than the reserve must be free before it is filled again: else it would be opened at the next write.
const MARGIN_BYTES: u64 = 1 << 20;
/// How often a full disk is looked at again.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The reserve of one data folder.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    /// How much is kept back; with 0 there is no reserve, and every commit tries for itself.
    bytes: u64,
    /// Whether the disk is full; others watch it.
    full: watch::Sender<bool>,
    look_at: Option<Instant>,
}

impl Reserve {
    /// Sees that the reserve is held, or finds that there is no room for it.
    pub(super) fn open(dir: &Path, bytes: u64) -> Self {
        let mut reserve = Self { path: dir.join("reserve"), bytes, full: watch::Sender::new(false), look_at: None };
        if bytes > 0 && !reserve.is_held() {
            reserve.fill();
        }
        reserve
    }

    /// Whether the disk is full, now and in future.
    pub(super) fn watch(&self) -> watch::Receiver<bool> {
        self.full.subscribe()
    }

    /// Whether only those who may use the reserve are let in.
    pub(super) fn is_open(&self) -> bool {
        *self.full.borrow()
    }

    /// A write found no room. True when there is room now, for whoever may use it.
    pub(super) fn release(&self, error: &io::Error) -> bool {
        if self.bytes == 0 || self.is_open() || !is_full(error) {
            return false;
        }
        let released = fs::remove_file(&self.path);
        error!("the disk is full: identities are refused, the reserve is for ends and key steps; make room");
        self.full.send_replace(true);
        released.is_ok()
    }

    /// While the disk is full: whether it still is, at most once a second.
    pub(super) fn look(&mut self, now: Instant) {
        if !self.is_open() || self.look_at.is_some_and(|at| now < at) {
            return;
        }
        self.look_at = Some(now + LOOK_EVERY);
        if free_bytes(self.path.parent().unwrap_or(&self.path))
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
            Ok(()) if self.full.send_replace(false) => info!("there is room on the disk again"),
            Ok(()) => {}
            Err(error) if is_full(&error) => {
                drop(fs::remove_file(&self.path));
                if !self.full.send_replace(true) {
                    error!(bytes = self.bytes, "no room for the reserve: identities are refused; make room");
                }
            }
            // A file system of another mind; full disks are then met without a reserve.
            Err(error) => {
                warn!(%error, path = %self.path.display(), "no reserve of disk can be kept");
                (self.bytes, _) = (0, self.full.send_replace(false));
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
