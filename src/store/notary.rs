//! Signs a checkpoint of the journal every so often and lays it where whoever writes the journal may not reach it.
//!
//! A thread of its own: the committer only leaves word of how far it came, and waits for no signature and no disk but
//! its own. After a crash the last checkpoint is behind by `records` at most, and by whatever was written while the
//! last one was on its way; after a clean end it counts all.

use super::journal::replace_file;
use super::note::NoteSigner;
use super::signed_checkpoint::SignedCheckpoint;
use super::tree::Tree;
use super::tree_head::TreeHead;
use super::{OpenError, Position, VerifierKey};
use crate::crypto::PublicKey;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::watch;
use tracing::{error, info};

/// In the data folder: the newest checkpoint.
const FILE: &str = "checkpoint";
/// What the names end in where checkpoints of many journals are kept.
const SUFFIX: &str = ".checkpoint";
/// Everybody may read what was signed to be shown.
const MODE: u32 = 0o644;

/// How often checkpoints are signed, and where they go.
#[derive(Clone, Debug)]
pub struct CheckpointSettings {
    /// After so many records.
    pub records: u64,
    /// And after so long, where there are any new ones.
    pub every: Duration,
    /// A folder elsewhere, where each journal has one file.
    pub folder: Option<PathBuf>,
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        // Of a busy server some seconds, of a quiet one a minute can be cut off unseen after a crash.
        Self { records: 1000, every: Duration::from_secs(60), folder: None }
    }
}

impl CheckpointSettings {
    /// The files that a journal's checkpoint goes to.
    pub(super) fn files(&self, dir: &Path, origin: &str) -> Vec<PathBuf> {
        [own_file(dir)].into_iter().chain(self.elsewhere(origin)).collect()
    }

    /// The file outside of the data folder.
    fn elsewhere(&self, origin: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(origin.replace('/', "_") + SUFFIX))
    }
}

/// The checkpoint in a data folder.
pub(super) fn own_file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// What a file vouches for, if it is a checkpoint by this key.
pub(super) fn read(path: &Path, key: &PublicKey) -> Option<TreeHead> {
    let found = SignedCheckpoint::load(path).ok().filter(|found| found.is_signed_by(key));
    found.map(|found| found.head)
}

/// A checkpoint kept outside that counts more records of a journal than this, and how many.
pub fn witnessed_beyond(
    settings: &CheckpointSettings,
    key: &VerifierKey,
    last: Position,
) -> Option<(PathBuf, Position)> {
    let file = settings.elsewhere(key.name())?;
    let head = read(&file, key.key()).filter(|head| head.size > last)?;
    Some((file, head.size))
}

/// The thread that signs. Dropping it signs what is left, and ends it.
#[derive(Debug)]
pub(super) struct Notary {
    shared: Arc<Shared>,
    records: u64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    latest: Mutex<Latest>,
    due: Condvar,
}

#[derive(Debug)]
struct Latest {
    tree: Tree,
    /// How many records the last checkpoint counts that is wherever it should be.
    signed: Position,
    /// How many the last one should have counted: after a failure the next try waits for its turn.
    tried: Position,
    closing: bool,
}

/// What the thread holds.
#[derive(Debug)]
struct Desk {
    signer: NoteSigner,
    settings: CheckpointSettings,
    files: Vec<PathBuf>,
    /// Whether some file could not be written; others watch it.
    failing: watch::Sender<bool>,
}

impl Notary {
    /// Starts the thread for the journal of a data folder, which has come so far.
    pub(super) fn start(
        dir: &Path,
        settings: CheckpointSettings,
        signer: NoteSigner,
        tree: Tree,
    ) -> Result<(Self, watch::Receiver<bool>), OpenError> {
        let files = settings.files(dir, signer.verifier().name());
        let told = |path: &PathBuf| read(path, signer.verifier().key()).map_or(0, |head| head.size);
        let told = files.iter().map(told).min().unwrap_or(0);
        let shared = Shared {
            latest: Mutex::new(Latest { tree, signed: told, tried: told, closing: false }),
            due: Condvar::new(),
        };
        let (shared, records) = (Arc::new(shared), settings.records);
        let (failing, watched) = watch::channel(false);
        let (desk, at_desk) = (Desk { signer, settings, files, failing }, Arc::clone(&shared));
        let thread = Builder::new().name("notary".into()).spawn(move || desk.work(&at_desk));
        let thread = Some(thread.map_err(OpenError::io(dir))?);
        Ok((Self { shared, records, thread }, watched))
    }

    /// Leaves word of what is durable.
    pub(super) fn saw(&self, tree: &Tree) {
        let mut latest = locked(&self.shared.latest);
        let before = latest.untried();
        latest.tree.clone_from(tree);
        if before < self.records && latest.untried() >= self.records {
            self.shared.due.notify_one();
        }
    }
}

impl Drop for Notary {
    fn drop(&mut self) {
        locked(&self.shared.latest).closing = true;
        self.shared.due.notify_one();
        if let Some(thread) = self.thread.take() {
            // One that panicked has told so.
            drop(thread.join());
        }
    }
}

impl Latest {
    const fn untried(&self) -> u64 {
        self.tree.size().saturating_sub(self.tried)
    }
}

impl Desk {
    fn work(&self, shared: &Shared) {
        loop {
            let goes_on = |latest: &mut Latest| !latest.closing && latest.untried() < self.settings.records;
            let waited = shared.due.wait_timeout_while(locked(&shared.latest), self.settings.every, goes_on);
            let (mut latest, _timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            let (closing, tree) = (latest.closing, latest.tree.clone());
            let is_due = tree.size() > latest.signed;
            latest.tried = tree.size();
            drop(latest);
            if is_due && self.sign(&tree) {
                locked(&shared.latest).signed = tree.size();
            }
            if closing {
                return;
            }
        }
    }

    /// Signs and lays down; whether it is now wherever it should be.
    fn sign(&self, tree: &Tree) -> bool {
        let head = TreeHead::of(self.signer.verifier().name(), tree);
        let note = match self.signer.sign(&head.to_string()) {
            Ok(note) => note,
            Err(error) => {
                error!(%error, "a checkpoint cannot be signed");
                return false;
            }
        };
        let failed = self.files.iter().filter_map(|file| {
            let written: io::Result<()> = replace_file(file, note.as_bytes(), MODE);
            written.err().map(|error| (file, error))
        });
        let failed: Vec<_> = failed.collect();
        let was_failing = self.failing.send_replace(!failed.is_empty());
        match failed.first() {
            Some((file, error)) if !was_failing => {
                error!(file = %file.display(), %error, "the checkpoint cannot be written; a cut tail would not show there");
            }
            None if was_failing => info!("checkpoints are written again"),
            Some(_) | None => {}
        }
        failed.is_empty()
    }
}

/// Each change is one step.
fn locked(latest: &Mutex<Latest>) -> MutexGuard<'_, Latest> {
    latest.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Digest;
    use tempfile::TempDir;

    fn tree(records: u8) -> Tree {
        let mut tree = Tree::EMPTY;
        (0..records).for_each(|n| tree.push(&Digest::of(&[n])));
        tree
    }

    /// Waits for what another thread does soon; a limit, so that a test ends.
    fn size_in(file: &Path, signer: &NoteSigner, size: u64) {
        let (shared, limit) = (Mutex::new(()), Duration::from_millis(5));
        for _ in 0..4000 {
            if read(file, signer.verifier().key()).is_some_and(|head| head.size == size) {
                return;
            }
            drop(Condvar::new().wait_timeout(shared.lock().unwrap(), limit));
        }
        panic!("no checkpoint of {size} records in {}", file.display());
    }

    #[test]
    fn a_checkpoint_comes_after_so_many_records_after_a_while_and_at_the_end() {
        let (folder, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let (signer, folder_elsewhere) = (NoteSigner::for_test(), Some(elsewhere.path().to_owned()));
        let slow = CheckpointSettings { records: 10, every: Duration::from_secs(3600), folder: folder_elsewhere };
        let files = slow.files(folder.path(), signer.verifier().name());
        assert_eq!(files[1], elsewhere.path().join("ci.example.org_-_lanyard_journal_a.checkpoint"));
        let (notary, failing) = Notary::start(folder.path(), slow.clone(), signer.clone(), Tree::EMPTY).unwrap();
        notary.saw(&tree(9));
        notary.saw(&tree(11));
        for file in &files {
            size_in(file, &signer, 11);
        }
        notary.saw(&tree(12));
        drop(notary);
        for file in &files {
            assert_eq!(read(file, signer.verifier().key()).unwrap().size, 12);
        }
        assert!(!*failing.borrow());
        let quick = CheckpointSettings { every: Duration::from_millis(1), ..slow };
        let (notary, _failing) = Notary::start(folder.path(), quick, signer.clone(), tree(12)).unwrap();
        notary.saw(&tree(13));
        for file in &files {
            size_in(file, &signer, 13);
        }
    }

    #[test]
    fn what_could_not_be_written_is_tried_again_without_a_new_record() {
        let (folder, signer) = (TempDir::new().unwrap(), NoteSigner::for_test());
        let elsewhere = folder.path().join("not mounted");
        let (every, folder_elsewhere) = (Duration::from_millis(1), Some(elsewhere.clone()));
        let quick = CheckpointSettings { every, folder: folder_elsewhere, ..CheckpointSettings::default() };
        let files = quick.files(folder.path(), signer.verifier().name());
        let (_notary, _failing) = Notary::start(folder.path(), quick, signer.clone(), tree(3)).unwrap();
        size_in(&files[0], &signer, 3);
        std::fs::create_dir(&elsewhere).unwrap();
        size_in(&files[1], &signer, 3);
    }

    #[test]
    fn what_cannot_be_written_elsewhere_is_told_and_tried_again() {
        let (folder, signer) = (TempDir::new().unwrap(), NoteSigner::for_test());
        let elsewhere = folder.path().join("not mounted");
        let settings = CheckpointSettings { folder: Some(elsewhere.clone()), ..CheckpointSettings::default() };
        let files = settings.files(folder.path(), signer.verifier().name());
        let (notary, failing) = Notary::start(folder.path(), settings.clone(), signer.clone(), tree(3)).unwrap();
        drop(notary);
        assert!(*failing.borrow() && read(&files[0], signer.verifier().key()).is_some());
        std::fs::create_dir(&elsewhere).unwrap();
        drop(Notary::start(folder.path(), settings, signer.clone(), tree(3)).unwrap());
        assert_eq!(read(&files[1], signer.verifier().key()).unwrap().size, 3);
    }
}
