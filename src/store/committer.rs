//! The one thread that writes: takes commits, decides them in order, makes a batch durable, answers.
//!
//! Invariants: nobody is answered before the batch is on the medium; a condition sees all that its own batch wrote
//! before it; after a write that did not work nothing of the batch remains; after a sync that did not work nothing
//! more is written, because the system may have forgotten what it could not write.

use super::chain::Chain;
use super::index::{Index, Overlay};
use super::journal::{AppendError, Journal};
use super::notary::Notary;
use super::note::NoteSigner;
use super::point::Point;
use super::queue::{Answers, Incoming, Message, Reply};
use super::reckoning::Reckoning;
use super::record::Page;
use super::reserve::Reserve;
use super::{
    ClockError, Commit, Committed, Condition, Entry, LocalSettings, Revision, Room, StoreError, Stored, Trouble,
};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tracing::{error, warn};

/// More in one batch would only make the first wait longer: the sync is shared well by then.
const BATCH_MAX: usize = 256;
/// How often a batch that is held looks whether somebody came.
const HOLD_STEPS: u32 = 8;
/// A note waits no longer than this for company, well within the second it is promised.
const NOTE_WAITS: Duration = Duration::from_millis(500);
/// What could not be written is tried again that often: nobody tells when there is room, or when the clock is right.
const STUCK_WAITS: Duration = Duration::from_secs(2);

/// The writer and all it holds.
#[derive(Debug)]
pub(super) struct Committer {
    incoming: Incoming,
    pub(super) journal: Journal,
    reserve: Reserve,
    pub(super) index: Arc<Index>,
    pub(super) settings: LocalSettings,
    pub(super) signer: NoteSigner,
    pub(super) notary: Notary,
    pub(super) reckoning: Arc<Reckoning>,

    commits: Vec<(Commit, Reply)>,
    notes: Vec<Entry>,
    /// Whether they are on the page of this turn.
    notes_go: bool,
    /// When the notes are looked at, if no commit comes before; never, while asleep.
    notes_due: Option<Instant>,
    closing: bool,
    /// How many commits the last batch had.
    company: usize,
    /// The length at which the segment ends; later than `segment_bytes` after a checkpoint that did not work.
    pub(super) turn_at: u64,

    pub(super) page: Page,
    overlay: Overlay,
    answers: Answers,
    /// Whether the reserve was opened in this turn.
    opened: bool,
    /// Why nothing is written now; others watch it.
    trouble: watch::Sender<Option<Trouble>>,
}

/// The thread must end: going on would not be safe.
#[derive(Debug)]
pub(super) struct Stop;

impl Committer {
    pub(super) fn new(
        incoming: Incoming,
        (journal, reserve): (Journal, Reserve),
        index: Arc<Index>,
        settings: LocalSettings,
        ((signer, notary), reckoning): ((NoteSigner, Notary), Arc<Reckoning>),
    ) -> Self {
        Self {
            trouble: watch::Sender::new(reserve.trouble()),
            turn_at: settings.segment_bytes,
            incoming,
            journal,
            reserve,
            index,
            settings,
            signer,
            notary,
            reckoning,
            commits: Vec::new(),
            notes: Vec::new(),
            notes_go: false,
            notes_due: None,
            closing: false,
            company: 0,
            page: Page::new(),
            overlay: Overlay::default(),
            answers: Answers::default(),
            opened: false,
        }
    }

    /// Why nothing is written, now and in future; without a sender once the committer has ended.
    pub(super) fn trouble(&self) -> watch::Receiver<Option<Trouble>> {
        self.trouble.subscribe()
    }

    /// Works until the store closes or must stop; then whoever still waits gets `Stopped`.
    pub(super) fn run(mut self) {
        self.turn_at = self.segment_bytes();
        while !self.closing {
            self.gather();
            if self.turn().is_err() {
                return;
            }
        }
        // What was sent before the end is still done; also notes that found no room before, if there is some now.
        self.incoming.close();
        loop {
            self.take_waiting();
            let last = self.commits.is_empty();
            if self.turn().is_err() {
                return;
            }
            if last {
                break;
            }
        }
        let flushed = self.index.has_room().and_then(|()| self.index.flush(self.journal.link().into()));
        if let Err(error) = flushed {
            warn!(%error, "the index was not flushed; the next start reads more of the journal");
        }
    }

    /// Waits for work, and a little longer for more of it if there was company in the last batch.
    fn gather(&mut self) {
        if self.is_stuck() {
            self.notes_due = Some(instant() + STUCK_WAITS);
        }
        while self.commits.is_empty() && !self.closing {
            let until_due = self.notes_due.map(|due| due.saturating_duration_since(instant()));
            match self.incoming.next(until_due) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) if !self.is_stuck() && self.incoming.may_sleep() => {
                    self.notes_due = None;
                }
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.closing = true,
            }
        }
        self.take_waiting();
        if self.company > 1 && !self.closing {
            self.hold();
        }
    }

    /// Lets the batch grow as long as others keep coming, `hold_for` at most: a sync costs as much for one as for many.
    fn hold(&mut self) {
        for _ in 0..HOLD_STEPS {
            let before = self.commits.len();
            // Asleep rather than waiting on the queue: so that no sender pays for waking us.
            thread::park_timeout(self.settings.hold_for / HOLD_STEPS);
            self.take_waiting();
            if self.commits.len() == before || self.commits.len() >= BATCH_MAX {
                return;
            }
        }
    }

    fn take_waiting(&mut self) {
        while self.commits.len() < BATCH_MAX {
            let Ok(message) = self.incoming.waiting() else { return };
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Close => self.closing = true,
            Message::Commit(commit, reply) => self.commits.push((commit, reply)),
            Message::Doubted if self.date().is_err() => self.notes_due = Some(instant() + STUCK_WAITS),
            Message::Doubted => {}
            Message::Noted => self.notes_due = Some(instant() + NOTE_WAITS),
            // Whoever asked may have gone.
            Message::Where(reply) => drop(reply.send(self.point())),
        }
    }

    /// All that is durable: nothing is under way between two batches.
    fn point(&self) -> Point {
        let Chain { link, tree } = self.journal.chain();
        Point::of(*link, tree, self.journal.place(), &self.signer)
    }

    /// One batch, from decision to answer.
    fn turn(&mut self) -> Result<(), Stop> {
        self.company = self.commits.len();
        self.notes_due = Some(instant() + NOTE_WAITS);
        self.incoming.take_notes(&mut self.notes);
        let last = self.journal.link();
        let dated = self.date();
        if let Err(wrong) = dated {
            self.refuse(wrong);
            if self.commits.is_empty() {
                return Ok(());
            }
        }
        let now = dated.unwrap_or_else(ClockError::should_be);
        self.page.begin(last, now.max(last.at));
        if self.reserve.trouble().is_some() {
            self.reserve.look(instant());
        }
        self.opened = false;
        self.notes_go = dated.is_ok() && !self.reserve.is_open();
        if self.notes_go {
            for entry in &self.notes {
                self.page.add(entry, &[]);
            }
        }
        let mut commits = std::mem::take(&mut self.commits);
        for (commit, reply) in commits.drain(..) {
            let again = (commit.room != Room::Common).then(|| commit.clone());
            let answer = if again.is_none() && self.reserve.is_open() { Err(full()) } else { self.decide(commit) };
            self.answers.push(reply, answer, again);
        }
        self.commits = commits;
        let written = if self.page.is_empty() { Ok(()) } else { self.write() };
        if self.opened {
            self.answers.take_back(&mut self.commits);
        }
        self.tell(dated.map_or_else(|wrong| Some(wrong.trouble()), |_now| self.reserve.trouble()));
        self.answers.hand_out();
        written?;
        let turns = self.journal.length() >= self.turn_at && !self.reserve.is_open() && dated.is_ok();
        if turns { self.checkpoint() } else { Ok(()) }
    }

    /// The time for the next record.
    fn date(&self) -> Result<time::OffsetDateTime, ClockError> {
        let dated = self.reckoning.date(self.journal.link().at);
        if let Err(wrong) = &dated
            && self.tell(Some(wrong.trouble()))
        {
            error!("nothing is written: {wrong}");
        }
        dated
    }

    /// The clock is not believed: only what is right at any time happens, and notes wait.
    fn refuse(&mut self, wrong: ClockError) {
        for (_commit, reply) in self.commits.extract_if(.., |(commit, _)| commit.room != Room::AnyTime) {
            self.answers.push(reply, Err(wrong.into()), None);
        }
        self.answers.hand_out();
    }

    /// Whether something waits that a look again may help.
    fn is_stuck(&self) -> bool {
        !self.notes.is_empty() || self.trouble.borrow().is_some()
    }

    /// Says why nothing is written; whether that is news.
    fn tell(&self, trouble: Option<Trouble>) -> bool {
        self.trouble.send_if_modified(|told| std::mem::replace(told, trouble) != trouble)
    }

    /// Whether a commit happens; if so its line is on the page and its writes are in the overlay.
    fn decide(&mut self, commit: Commit) -> Result<Committed, StoreError> {
        for condition in &commit.conditions {
            let (Condition::Absent(key) | Condition::Present(key) | Condition::Unchanged(key, _)) = condition;
            if !condition.holds(self.revision(key).map_err(StoreError::Index)?) {
                let found = self.read(key).map_err(StoreError::Index)?;
                return Ok(Committed::Conflict { key: key.clone(), found });
            }
        }
        let position = self.page.add(&commit.entry, &commit.writes);
        self.overlay.take(commit.writes, position);
        Ok(Committed::Done(position))
    }

    fn revision(&self, key: &str) -> io::Result<Option<Revision>> {
        match self.overlay.0.get(key) {
            Some(change) => Ok(change.stored().map(|stored| stored.revision)),
            None => self.index.revision(key),
        }
    }

    fn read(&self, key: &str) -> io::Result<Option<Stored>> {
        match self.overlay.0.get(key) {
            Some(change) => Ok(change.stored().cloned()),
            None => self.index.read(key),
        }
    }

    /// Makes the page durable and then seen. When it does not work, every answer of the batch becomes that error:
    /// also a conflict may have been with a write that never was.
    fn write(&mut self) -> Result<(), Stop> {
        let fault = match self.journal.append(&self.page) {
            Ok(()) => {
                self.reserve.wrote();
                self.notary.saw(&self.journal.chain().tree);
                if self.notes_go {
                    self.notes.clear();
                }
                let Err(error) = self.index.apply(&mut self.overlay, self.page.link().into()) else { return Ok(()) };
                error!(%error, "the index does not follow the journal; the store stops, a restart mends it");
                Fault::Stop(StoreError::Index, error)
            }
            Err(AppendError::Refused(error)) => {
                warn!(%error, "the journal cannot be written; nothing of this batch happened");
                self.opened = self.reserve.release(&error);
                Fault::GoOn(error)
            }
            Err(AppendError::Unsure(error)) => {
                error!(%error, "the journal cannot be synced; the store stops, a restart finds out what is in it");
                Fault::Stop(StoreError::Journal, error)
            }
        };
        self.overlay.0.clear();
        let (kind, error, ends): (fn(io::Error) -> StoreError, _, _) = match fault {
            Fault::GoOn(error) => (StoreError::Journal, error, Ok(())),
            Fault::Stop(kind, error) => (kind, error, Err(Stop)),
        };
        self.answers.fail(|| kind(same(&error)));
        ends
    }
}

/// What a batch that did not work means.
enum Fault {
    GoOn(io::Error),
    Stop(fn(io::Error) -> StoreError, io::Error),
}

/// What those hear who may not use the reserve.
fn full() -> StoreError {
    StoreError::Journal(io::ErrorKind::StorageFull.into())
}

/// The same error for another caller.
fn same(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::new(error.kind(), error.to_string()), io::Error::from_raw_os_error)
}

#[expect(clippy::disallowed_methods, reason = "measures how long a note waits on a real queue; tells no time")]
fn instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::super::journal::{Disk, RealDisk, Tail};
    use super::super::{
        Commit, Committed, Condition, IndexKind, LocalSettings, LocalStore, NoteSigner, Room, Store, StoreError, Write,
        verify_journal,
    };
    use crate::clock::SystemClock;
    use serde_json::value::RawValue;
    use std::io;
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
    use tempfile::TempDir;

    /// A disk with little room, or one that cannot sync.
    #[derive(Clone, Debug)]
    struct BadDisk(Arc<Faults>);

    #[derive(Debug)]
    struct Faults {
        room: AtomicUsize,
        sync_fails: AtomicBool,
        cut_fails: AtomicBool,
    }

    #[derive(Debug)]
    struct BadTail(Arc<Faults>, Box<dyn Tail>);

    impl Disk for BadDisk {
        fn open(&self, path: &Path) -> io::Result<Box<dyn Tail>> {
            Ok(Box::new(BadTail(Arc::clone(&self.0), RealDisk.open(path)?)))
        }
    }

    impl Tail for BadTail {
        fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
            let fits = bytes.len().min(self.0.room.load(SeqCst));
            self.1.append(&bytes[..fits])?;
            self.0.room.fetch_sub(fits, SeqCst);
            if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
        }

        fn sync(&mut self) -> io::Result<()> {
            if self.0.sync_fails.load(SeqCst) { Err(io::ErrorKind::Other.into()) } else { self.1.sync() }
        }

        fn cut(&mut self, length: u64) -> io::Result<()> {
            if self.0.cut_fails.load(SeqCst) { Err(io::ErrorKind::Other.into()) } else { self.1.cut(length) }
        }
    }

    struct Scene {
        folder: TempDir,
        disk: BadDisk,
        signer: NoteSigner,
        kind: IndexKind,
    }

    impl Scene {
        fn new(kind: IndexKind, room: usize) -> Self {
            let faults = Faults {
                room: AtomicUsize::new(room),
                sync_fails: AtomicBool::new(false),
                cut_fails: AtomicBool::new(false),
            };
            Self {
                folder: TempDir::new().unwrap(),
                disk: BadDisk(Arc::new(faults)),
                signer: NoteSigner::for_test(),
                kind,
            }
        }

        fn open(&self) -> Arc<LocalStore> {
            let mut settings = LocalSettings::new(self.folder.path().to_owned());
            (settings.index, settings.segment_bytes, settings.reserve_bytes) = (self.kind, 4000, 0);
            let (disk, signer) = (Box::new(self.disk.clone()), self.signer.clone());
            LocalStore::open_on(disk, settings, signer, Arc::new(SystemClock)).unwrap()
        }
    }

    fn claim(key: &str) -> Commit {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        Commit {
            room: Room::Common,
            conditions: vec![Condition::Absent(key.to_owned())],
            writes: vec![Write::Put(key.to_owned(), raw("1"))],
            entry: raw(r#"{"kind":"claim"}"#),
            without_quorum: None,
        }
    }

    /// Ten keys, each asked for twice: whoever loses must not be told so by a batch that never was. How many were won.
    async fn ask_twice(store: &LocalStore, round: u32) -> usize {
        let keys: Vec<_> = (0..10).map(|n| format!("{round:02}/{n}")).collect();
        let answers: Vec<_> = keys.iter().chain(&keys).map(|key| store.commit(claim(key))).collect();
        let mut done = 0;
        for answer in answers {
            match answer.await {
                Ok(Committed::Done(_)) => done += 1,
                Ok(Committed::Conflict { found, .. }) => assert!(found.is_some()),
                Err(StoreError::Journal(error)) => assert_eq!(error.kind(), io::ErrorKind::StorageFull),
                Err(other) => panic!("{other}"),
            }
        }
        done
    }

    #[tokio::test]
    async fn a_full_disk_loses_nothing_and_does_nothing_by_half() {
        for kind in [IndexKind::Memory, IndexKind::Sled] {
            fill_the_disk(kind).await;
        }
    }

    async fn fill_the_disk(kind: IndexKind) {
        let scene = Scene::new(kind, 20_000);
        let store = scene.open();
        let mut held = 0;
        for round in 0..20 {
            held += ask_twice(&store, round).await;
            assert_eq!(store.list("").unwrap().len(), held, "seen is what was promised, no more and no less");
        }
        assert!(held < 200, "the disk was never full");
        scene.disk.0.room.store(usize::MAX, SeqCst);
        assert!(matches!(store.commit(claim("room again")).await, Ok(Committed::Done(_))));
        drop(store);
        let report = verify_journal(scene.folder.path(), Some(scene.signer.verifier().key())).unwrap();
        assert_eq!((report.records - report.checkpoints, report.torn), (u64::try_from(held).unwrap() + 1, None));
        assert_eq!(scene.open().list("").unwrap().len(), held + 1);
    }

    #[tokio::test]
    async fn a_sync_that_did_not_work_stops_the_store_until_a_restart() {
        let scene = Scene::new(IndexKind::Sled, usize::MAX);
        let store = scene.open();
        store.commit(claim("before")).await.unwrap();
        scene.disk.0.sync_fails.store(true, SeqCst);
        assert!(matches!(store.commit(claim("a")).await, Err(StoreError::Journal(_))));
        scene.disk.0.sync_fails.store(false, SeqCst);
        assert!(matches!(store.commit(claim("b")).await, Err(StoreError::Stopped)));
        assert!(store.read("a").unwrap().is_none(), "what may be lost is not shown");
        assert!(store.read("before").unwrap().is_some());
        drop(store);
        let store = scene.open();
        assert!(matches!(store.commit(claim("b")).await, Ok(Committed::Done(_))));
    }

    #[tokio::test]
    async fn a_write_that_cannot_be_taken_back_stops_the_store_and_a_restart_cuts_it() {
        let scene = Scene::new(IndexKind::Memory, 300);
        let store = scene.open();
        store.commit(claim("before")).await.unwrap();
        scene.disk.0.cut_fails.store(true, SeqCst);
        assert!(matches!(store.commit(claim("a")).await, Err(StoreError::Journal(_))));
        assert!(matches!(store.commit(claim("a")).await, Err(StoreError::Stopped)));
        drop(store);
        let store = scene.open();
        assert!(store.repaired().is_some());
        assert_eq!(store.list("").unwrap().len(), 1);
    }
}
