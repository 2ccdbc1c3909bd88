//! The store of one machine: a journal in a folder, one thread that writes it, an index that many read.

use super::committer::Committer;
use super::index::Index;
use super::journal::{Disk, RealDisk};
use super::notary::Notary;
use super::queue::{Queue, queue};
use super::reader::FOLDER;
use super::reckoning::Reckoning;
use super::record::on_one_line;
use super::recovery::{Recovered, recover};
use super::reserve::Reserve;
use super::{
    Answer, CheckpointSettings, ClockError, Commit, Committed, Entry, IndexKind, JournalCopy, JournalError, NoteSigner,
    Store, StoreError, Stored, TornTail, Trouble, Write, repair,
};
use crate::clock::Clock;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::watch;

/// How a store is kept.
#[derive(Clone, Debug)]
pub struct LocalSettings {
    /// The folder; made when it is missing, for its owner alone.
    pub dir: PathBuf,
    /// What the index is kept in.
    pub index: IndexKind,
    /// A segment that has grown beyond this ends with a checkpoint.
    pub segment_bytes: u64,
    /// How long a batch may wait for more callers while more keep coming. A caller alone never waits.
    pub hold_for: Duration,
    /// So much of the disk is kept back for ends and key steps; 0 for none.
    pub reserve_bytes: u64,
    /// How often checkpoints are signed besides those at the end of segments.
    pub checkpoints: CheckpointSettings,
}

impl LocalSettings {
    /// The settings of a server with nothing configured, in this folder.
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            index: IndexKind::default(),
            // Reads back in about half a second.
            segment_bytes: 64 << 20,
            // Measured with 64 callers on two cores, where each has to wait ten for its turn anyway.
            hold_for: Duration::from_millis(4),
            // Some thousand ends of sessions.
            reserve_bytes: 8 << 20,
            checkpoints: CheckpointSettings::default(),
        }
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has this folder open.
    #[error("{} is in use by another server", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// A file or folder could not be made, read or written.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal is not as it was written.
    #[error("the journal cannot be trusted: keep it as it is, restore the last backup, and compare the two")]
    Journal(#[source] JournalError),
    /// The index, a checkpoint or a checkpoint's state knows of records that the journal does not hold.
    #[error(
        "{}: records that were acknowledged are missing from its end, as {} tells; restore the journal. If this is a \
         restored backup and the loss is accepted, move that witness away and start again",
        dir.display(), witness.display()
    )]
    RecordsRemoved {
        /// The journal's folder.
        dir: PathBuf,
        /// What knows of them.
        witness: PathBuf,
    },
}

impl From<JournalError> for OpenError {
    /// A file that cannot be read says nothing about what is in it.
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Io { path, source } => Self::Io { path, source },
            untrue @ (JournalError::Broken { .. } | JournalError::Disproved { .. }) => Self::Journal(untrue),
        }
    }
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// An open store. Dropping it writes what is queued and ends its thread.
#[derive(Debug)]
pub struct LocalStore {
    dir: PathBuf,
    index: Arc<Index>,
    queue: Queue,
    reckoning: Arc<Reckoning>,
    thread: Mutex<Option<JoinHandle<()>>>,
    last_at: OffsetDateTime,
    repaired: Option<TornTail>,
    set_aside: Option<PathBuf>,
    /// Has no sender any more once the thread has ended.
    trouble: watch::Receiver<Option<Trouble>>,
    unwitnessed: watch::Receiver<bool>,
    /// Held as long as the store lives.
    _lock: File,
}

impl LocalStore {
    /// Opens the store of a folder; `signer` signs its checkpoints.
    ///
    /// # Errors
    /// `InUse`, `Io`, and `Journal` when something in the journal was changed or lost.
    pub fn open(settings: LocalSettings, signer: NoteSigner, clock: Arc<dyn Clock>) -> Result<Arc<Self>, OpenError> {
        Self::open_on(Box::new(RealDisk), settings, signer, clock)
    }

    pub(super) fn open_on(
        disk: Box<dyn Disk>,
        settings: LocalSettings,
        signer: NoteSigner,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, OpenError> {
        for folder in [settings.dir.clone(), settings.dir.join(FOLDER)] {
            private_folder(&folder).map_err(OpenError::io(&folder))?;
        }
        let dir = settings.dir.clone();
        let lock = lock(&dir)?;
        let Recovered { journal, index, torn, set_aside } = recover(&settings, disk, signer.verifier())?;
        let index = Arc::new(index);
        let (queue, incoming) = queue();
        let reserve = Reserve::open(&dir, settings.reserve_bytes);
        let (tree, last_at) = (journal.chain().tree.clone(), journal.link().at);
        if let Some(entry) = torn.as_ref().and_then(|torn| repair::entry(torn).ok()) {
            // Nobody has closed it yet.
            drop(queue.note(entry));
        }
        let (notary, unwitnessed) = Notary::start(&dir, settings.checkpoints.clone(), signer.clone(), tree)?;
        let reckoning = Arc::new(Reckoning::new(clock));
        let hands = ((signer, notary), Arc::clone(&reckoning));
        let committer = Committer::new(incoming, (journal, reserve), Arc::clone(&index), settings, hands);
        let trouble = committer.trouble();
        let thread = Builder::new().name("committer".into()).spawn(move || committer.run());
        let thread = thread.map_err(OpenError::io(&dir))?;
        let thread = Mutex::new(Some(thread));
        Ok(Arc::new(Self {
            dir,
            index,
            queue,
            reckoning,
            thread,
            last_at,
            repaired: torn,
            set_aside,
            trouble,
            unwitnessed,
            _lock: lock,
        }))
    }

    /// Its folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// When the last record was written that opening found.
    pub(super) const fn last_at(&self) -> OffsetDateTime {
        self.last_at
    }

    /// Has the committer tell of the clock, if it does not yet.
    fn doubt(&self) {
        if !self.trouble.borrow().is_some_and(Trouble::is_of_the_clock) {
            self.queue.doubt();
        }
    }

    /// The unfinished record that opening cut off, if there was one.
    pub const fn repaired(&self) -> Option<&TornTail> {
        self.repaired.as_ref()
    }

    /// Where opening moved a damaged index, if there was one.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Why nothing is written, now and in future; none while all is well.
    pub fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.trouble.clone()
    }

    /// Whether signed checkpoints cannot be written to where they should go.
    pub fn is_unwitnessed(&self) -> watch::Receiver<bool> {
        self.unwitnessed.clone()
    }

    /// The journal as far as it is durable now, to be copied while it is written to.
    ///
    /// # Errors
    /// `InUse` never; `Io` when its files cannot be listed, or the store has stopped.
    pub async fn copy(&self) -> Result<JournalCopy, OpenError> {
        let point = self.queue.point().await;
        let point = point.map_err(|stopped| OpenError::io(&self.dir)(io::Error::other(stopped)))?;
        let dir = self.dir.clone();
        // Files: no work for a thread that serves others.
        let listing = tokio::task::spawn_blocking(move || JournalCopy::of(&dir, point));
        listing.await.map_err(|_stopped| OpenError::io(&self.dir)(io::ErrorKind::Interrupted.into()))?
    }

    /// Resolves when the store writes no more: it was closed, or stopped because only a restart is safe.
    pub async fn ended(&self) {
        let mut trouble = self.trouble();
        while trouble.changed().await.is_ok() {}
    }

    /// Writes what is queued, flushes the index and ends the thread; blocks until then. Later commits get `Stopped`.
    pub fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        self.queue.close();
        drop(thread.join());
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for LocalStore {
    fn read(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.index.read(key).map_err(StoreError::Index)
    }

    fn page(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<(String, Stored)>, StoreError> {
        self.index.page(prefix, after, max).map_err(StoreError::Index)
    }

    fn commit(&self, commit: Commit) -> Answer<Committed> {
        let Commit { room, conditions, writes, entry, without_quorum } = commit;
        let flat = |write| match write {
            Write::Put(key, value) => Write::Put(key, on_one_line(value)),
            Write::Delete(key) => Write::Delete(key),
        };
        let writes = writes.into_iter().map(flat).collect();
        let entry = on_one_line(entry);
        Box::pin(self.queue.commit(Commit { room, conditions, writes, entry, without_quorum }))
    }

    fn note(&self, entry: Entry) -> Result<(), StoreError> {
        self.queue.note(on_one_line(entry))
    }

    fn vouch(&self, at: OffsetDateTime) {
        self.reckoning.vouch(at);
    }

    fn check_clock(&self) -> Result<(), ClockError> {
        self.reckoning.check().inspect_err(|_wrong| self.doubt())
    }
}

pub(super) fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

/// Holds a store's folder, as its server does.
///
/// # Errors
/// `InUse`, `Io`.
pub fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join("lock");
    let mut options = super::journal::private();
    let file = options.create(true).write(true).truncate(false).open(&path).map_err(OpenError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}
