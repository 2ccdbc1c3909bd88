//! Tests: every single operation on the journal's files fails once, at each place of a history.

use super::journal::{Disk, RealDisk, Tail};
use super::{
    Commit, Committed, Condition, IndexKind, LocalSettings, LocalStore, NoteSigner, Room, Store, StoreError, Trouble,
    Write, verify_journal,
};
use crate::clock::SystemClock;
use serde_json::value::RawValue;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tempfile::TempDir;

/// A disk whose n-th operation does not work.
#[derive(Clone, Debug)]
struct FaultyDisk {
    done: Arc<AtomicUsize>,
    fails_at: usize,
    how: io::ErrorKind,
}

#[derive(Debug)]
struct FaultyTail(FaultyDisk, Box<dyn Tail>);

impl FaultyDisk {
    fn step(&self) -> io::Result<()> {
        if self.done.fetch_add(1, SeqCst) == self.fails_at { Err(self.how.into()) } else { Ok(()) }
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn Tail>> {
        self.step()?;
        Ok(Box::new(FaultyTail(self.clone(), RealDisk.open(path)?)))
    }
}

impl Tail for FaultyTail {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.0.step() {
            // A part of it is there, as a full disk leaves it, and then even taking it back may not work.
            self.1.append(&bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.1.append(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.step()?;
        self.1.sync()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.step()?;
        self.1.cut(length)
    }
}

/// How a history went: which keys were promised, which were refused, which nobody knows of.
#[derive(Default)]
struct Told {
    done: BTreeSet<String>,
    refused: BTreeSet<String>,
    unknown: BTreeSet<String>,
}

struct Scene {
    folder: TempDir,
    signer: NoteSigner,
    kind: IndexKind,
}

impl Scene {
    fn open(&self, disk: Box<dyn Disk>) -> Arc<LocalStore> {
        self.open_with_reserve(disk, 0)
    }

    fn open_with_reserve(&self, disk: Box<dyn Disk>, bytes: u64) -> Arc<LocalStore> {
        let mut settings = LocalSettings::new(self.folder.path().to_owned());
        (settings.index, settings.segment_bytes, settings.reserve_bytes) = (self.kind, 900, bytes);
        LocalStore::open_on(disk, settings, self.signer.clone(), Arc::new(SystemClock)).unwrap()
    }

    /// Twelve commits, each of two keys; a store that stopped is opened again on a disk that works.
    async fn play(&self, disk: FaultyDisk) -> Told {
        let mut told = Told::default();
        let mut store = self.open(Box::new(disk));
        for n in 0..12 {
            let keys = [format!("a/{n}"), format!("b/{n}")];
            let told_of = match store.commit(claim(&keys)).await {
                Ok(Committed::Done(_)) => &mut told.done,
                Ok(Committed::Conflict { key, .. }) => panic!("nobody else wrote {key}"),
                Err(StoreError::Journal(_)) => match store.commit(claim(&keys)).await {
                    // The first try left nothing behind, or this would be a conflict.
                    Ok(Committed::Done(_)) => &mut told.done,
                    Err(StoreError::Journal(_)) => &mut told.refused,
                    Err(StoreError::Stopped) => &mut told.unknown,
                    other => panic!("{other:?}"),
                },
                Err(StoreError::Stopped) => &mut told.unknown,
                Err(other) => panic!("{other}"),
            };
            told_of.extend(keys);
            let held: BTreeSet<_> = store.list("").unwrap().into_iter().map(|(key, _)| key).collect();
            assert!(told.done.is_subset(&held) && told.refused.is_disjoint(&held), "operation by operation");
            if !told.unknown.is_empty() && store.commit(claim(&[])).await.is_err() {
                drop(store);
                store = self.open(Box::new(RealDisk));
            }
        }
        told
    }
}

fn claim(keys: &[String]) -> Commit {
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    Commit {
        room: Room::Common,
        conditions: keys.iter().cloned().map(Condition::Absent).collect(),
        writes: keys.iter().map(|key| Write::Put(key.clone(), raw("1"))).collect(),
        entry: raw(r#"{"kind":"claim"}"#),
        without_quorum: None,
    }
}

async fn fails_everywhere(kind: IndexKind, how: io::ErrorKind) {
    let signer = NoteSigner::for_test();
    for fails_at in 0.. {
        let scene = Scene { folder: TempDir::new().unwrap(), signer: signer.clone(), kind };
        let done = Arc::new(AtomicUsize::new(0));
        let told = scene.play(FaultyDisk { done: Arc::clone(&done), fails_at, how }).await;
        let store = scene.open(Box::new(RealDisk));
        let held: BTreeSet<_> = store.list("").unwrap().into_iter().map(|(key, _)| key).collect();
        assert!(told.done.is_subset(&held), "operation {fails_at}: promised and lost");
        assert!(told.refused.is_disjoint(&held), "operation {fails_at}: refused and there");
        for n in 0..12 {
            assert_eq!(held.contains(&format!("a/{n}")), held.contains(&format!("b/{n}")), "half of commit {n}");
        }
        drop(store);
        let report = verify_journal(scene.folder.path(), Some(signer.verifier().key())).unwrap();
        assert_eq!(report.torn, None, "operation {fails_at}");
        if done.load(SeqCst) <= fails_at {
            assert!(fails_at > 30 && told.done.len() == 24, "the history has every kind of operation");
            return;
        }
    }
}

#[tokio::test]
async fn whatever_operation_on_the_journal_fails_no_promise_is_broken() {
    fails_everywhere(IndexKind::Memory, io::ErrorKind::StorageFull).await;
    fails_everywhere(IndexKind::Sled, io::ErrorKind::Other).await;
}

#[tokio::test]
async fn who_finds_the_disk_full_gets_the_reserve_at_once_or_not_at_all() {
    for (room, gets_it) in [(Room::Reserve, true), (Room::Common, false)] {
        let signer = NoteSigner::for_test();
        let scene = Scene { folder: TempDir::new().unwrap(), signer, kind: IndexKind::Memory };
        // The second operation writes the first record.
        let disk = FaultyDisk { done: Arc::default(), fails_at: 1, how: io::ErrorKind::StorageFull };
        let store = scene.open_with_reserve(Box::new(disk), 64 << 10);
        assert_eq!(scene.folder.path().join("reserve").metadata().unwrap().len(), 64 << 10);
        let (trouble, key) = (store.trouble(), ["a".to_owned()]);
        let answer = store.commit(Commit { room, ..claim(&key) }).await;
        assert_eq!(matches!(answer, Ok(Committed::Done(1))), gets_it, "{answer:?}");
        assert_eq!(store.read("a").unwrap().is_some(), gets_it);
        assert!(trouble.has_changed().unwrap(), "operators are told");
        // The medium has room in truth, so it goes on.
        assert!(matches!(store.commit(claim(&["b".to_owned()])).await, Ok(Committed::Done(_))));
        assert_eq!(*trouble.borrow(), None);
    }
}

#[tokio::test]
async fn a_store_that_could_not_write_says_why_until_it_can_though_nobody_asks_it_to() {
    use io::ErrorKind::{ReadOnlyFilesystem, StorageFull};
    for (how, why) in [(StorageFull, Trouble::DiskFull), (ReadOnlyFilesystem, Trouble::Unwritable)] {
        let signer = NoteSigner::for_test();
        let scene = Scene { folder: TempDir::new().unwrap(), signer, kind: IndexKind::Memory };
        let disk = FaultyDisk { done: Arc::default(), fails_at: 1, how };
        let store = scene.open(Box::new(disk));
        let mut trouble = store.trouble();
        assert!(matches!(store.commit(claim(&[])).await, Err(StoreError::Journal(_))));
        assert_eq!(*trouble.borrow_and_update(), Some(why));
        trouble.changed().await.unwrap();
        assert_eq!(*trouble.borrow(), None, "the medium has room in truth");
        assert!(!scene.folder.path().join("reserve.trial").exists());
    }
}

#[tokio::test]
async fn a_note_that_could_not_be_written_is_tried_once_more_at_the_end() {
    let signer = NoteSigner::for_test();
    let scene = Scene { folder: TempDir::new().unwrap(), signer, kind: IndexKind::Memory };
    let disk = FaultyDisk { done: Arc::default(), fails_at: 1, how: io::ErrorKind::StorageFull };
    let store = scene.open(Box::new(disk));
    store.note(claim(&[]).entry).unwrap();
    store.close();
    assert_eq!(verify_journal(scene.folder.path(), None).unwrap().records, 1);
}
