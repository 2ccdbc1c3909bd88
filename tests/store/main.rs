//! What every store must do, told once and run with each index; and what the files must survive.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::as_conversions,
    reason = "in a test a wrong value is the failure"
)]

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/etcd.rs"]
mod etcd;
#[path = "../support/mute.rs"]
mod mute;

mod archives;
mod clock;
mod conformance;
mod cost;
mod damage;
mod etcd_login;
mod evidence;
mod harm;
mod histories;
mod joint;
mod listing;
mod memory;
mod namesakes;
mod paused;
mod restored;
mod shared;
mod sled_harm;
mod untold;
mod verdicts;
mod ways;

use lanyard::clock::ManualClock;
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::store::{
    ClockError, Commit, Committed, Condition, IndexKind, LocalSettings, LocalStore, NoteSigner, OpenError,
};
use lanyard::store::{Position, Room, Store, StoreError, Write};
use serde_json::value::RawValue;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use time::macros::datetime;

/// A folder for a store, and what it is opened with.
struct Place {
    folder: TempDir,
    kind: IndexKind,
    signer: NoteSigner,
    clock: Arc<ManualClock>,
    segment_bytes: u64,
    reserve_bytes: u64,
}

impl Place {
    fn new(kind: IndexKind) -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            kind,
            signer: signer(),
            clock: Arc::new(ManualClock::at(datetime!(2026-03-01 12:00 UTC))),
            segment_bytes: 64 << 20,
            reserve_bytes: 0,
        }
    }

    fn with_segments_of(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn try_open(&self) -> Result<Arc<LocalStore>, OpenError> {
        let mut settings = LocalSettings::new(self.dir().to_owned());
        (settings.index, settings.segment_bytes) = (self.kind, self.segment_bytes);
        settings.hold_for = Duration::from_micros(50);
        settings.reserve_bytes = self.reserve_bytes;
        LocalStore::open(settings, self.signer.clone(), Arc::clone(&self.clock) as _)
    }

    /// A process that another test starts just now holds the lock as well, until it has become another program.
    #[expect(clippy::disallowed_methods, reason = "processes take real time")]
    fn open(&self) -> Arc<LocalStore> {
        let mut opened = self.try_open();
        for _moment in 0..2000 {
            if !matches!(opened, Err(OpenError::InUse { .. })) {
                break;
            }
            thread::sleep(Duration::from_millis(1));
            opened = self.try_open();
        }
        opened.unwrap()
    }

    /// Removes the index of a closed store, if it is in a folder.
    fn lose_index(&self) {
        let index = self.dir().join("index");
        if index.exists() {
            std::fs::remove_dir_all(index).unwrap();
        }
    }

    /// What a crash right after the last record may leave: no checkpoint beside the journal.
    fn forget_checkpoint(&self) {
        std::fs::remove_file(self.dir().join("checkpoint")).unwrap();
    }

    /// The files of the journal with this ending, oldest first.
    fn files(&self, ending: &str) -> Vec<PathBuf> {
        let all = self.dir().join("journal").read_dir().unwrap().map(|file| file.unwrap().path());
        let mut found: Vec<_> = all.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
        found.sort();
        found
    }
}

/// A new key, under always the same name.
fn signer() -> NoteSigner {
    let key = KeyPair::generate(KeyAlgorithm::Ed25519).unwrap();
    NoteSigner::new("ci.example.org/-/lanyard/journal/a".to_owned(), Arc::new(key)).unwrap()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

fn put(key: &str, value: &str) -> Write {
    Write::Put(key.to_owned(), raw(value))
}

fn delete(key: &str) -> Write {
    Write::Delete(key.to_owned())
}

fn absent(key: &str) -> Condition {
    Condition::Absent(key.to_owned())
}

fn commit(conditions: Vec<Condition>, writes: Vec<Write>) -> Commit {
    Commit { room: Room::Common, conditions, writes, entry: raw(r#"{"kind":"test"}"#), without_quorum: None }
}

async fn write(store: &LocalStore, writes: Vec<Write>) -> Position {
    done(store.commit(commit(vec![], writes)).await)
}

fn done(answer: Result<Committed, StoreError>) -> Position {
    match answer.unwrap() {
        Committed::Done(position) => position,
        Committed::Conflict { key, .. } => panic!("a conflict over {key}"),
    }
}

/// Everything a store holds, to compare.
fn content(store: &LocalStore) -> Vec<(String, String, u64)> {
    let all = store.list("").unwrap().into_iter();
    all.map(|(key, stored)| (key, stored.value.get().to_owned(), stored.revision)).collect()
}
