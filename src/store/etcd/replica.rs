//! The store of one replica among several: etcd decides, then the journal tells, then the caller is answered.

use super::cluster::Etcd;
use super::decide::{DECIDED_WITHIN, Decided, Wish};
use super::error::{EtcdError, Fault};
use super::evidence::{Evidence, KEY};
use super::joint::{Asked, Caller, Joint};
use super::late::{LOOK_EVERY, Late};
use super::mark::UNWATCHED;
use crate::clock::Clock;
use crate::store::queue::Reply;
use crate::store::{
    Answer, CLOCK_STEP_MAX, ClockError, Commit, Committed, Condition, Entry, LocalStore, Revision, Room, Store,
    StoreError, Stored, Trouble, Write,
};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

/// The copy shows a write of ours about as soon as etcd has answered; a reader is not kept waiting for longer.
pub(super) const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// What can be decided without a quorum does not wait long for one.
const TRIED_FOR: Duration = Duration::from_millis(500);
/// Where nobody answered a moment ago, the next caller is not kept waiting either.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// A replica that lives says within this how it finds our clock, and one that died is forgotten.
const COMPARED_WITHIN: Duration = Duration::from_secs(7);

/// How far a replica is behind the others.
#[derive(Clone, Copy, Debug)]
pub struct Behind {
    /// For so long it has not been known whether it shows everything; less than a second where all is well.
    pub unconfirmed_for: Duration,
    /// The revision that it shows.
    pub revision: Revision,
}

/// See the file's opening words.
#[derive(Debug)]
pub struct Replica(Arc<Inside>);

#[derive(Debug)]
pub(super) struct Inside {
    pub(super) etcd: Arc<Etcd>,
    pub(super) joint: Joint,
    journal: Arc<LocalStore>,
    clock: Arc<dyn Clock>,
    under_way: UnderWay,
    last: Mutex<OffsetDateTime>,
    position: AtomicU64,
}

/// Commits that nobody may cut off.
#[derive(Debug, Default)]
struct UnderWay {
    open: Mutex<(usize, bool)>,
    ended: Condvar,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Under(Arc<Inside>);

impl Replica {
    /// Joins a connected etcd and the journal of this replica. What the journal has seen of etcd must still be there.
    ///
    /// # Errors
    /// `Store`, when the journal's state cannot be read; `WentBack`.
    pub fn open(etcd: Arc<Etcd>, journal: Arc<LocalStore>, clock: Arc<dyn Clock>) -> Result<Arc<Self>, EtcdError> {
        if let Some(kept) = journal.read(KEY)? {
            let Evidence { cluster, seen, ticks, .. } = Evidence::parse(&kept.value)?;
            etcd.tide.expect((cluster, seen), &ticks);
        }
        if let Some(went_back) = etcd.tide.went_back() {
            let (told, saying) = (Arc::clone(&etcd), std::sync::mpsc::channel::<()>());
            drop(etcd.carry_out(async move {
                told.announce_loss().await;
                drop(saying.0);
            }));
            // Nothing is sent; it has ended, or takes too long.
            let _ended = saying.1.recv_timeout(SHOWN_WITHIN).is_err();
            return Err(EtcdError::WentBack(went_back));
        }
        let last = Mutex::new(journal.last_at());
        let (joint, under_way, position) = (Joint::default(), UnderWay::default(), AtomicU64::new(0));
        let late = Late::new(Arc::clone(&etcd), Arc::clone(&journal));
        let inside = Arc::new(Inside { etcd, joint, journal, clock, under_way, last, position });
        let told = inside.etcd.carry_out(tell_late(Arc::downgrade(&inside), late));
        // Nobody waits for it: it goes on until the end.
        drop(told);
        Ok(Arc::new(Self(inside)))
    }

    /// How far behind it is.
    pub fn behind(&self) -> Behind {
        let Inside { etcd, .. } = &*self.0;
        Behind { unconfirmed_for: etcd.tide.behind(), revision: etcd.copy.at() }
    }

    /// Why it writes nothing until the store is reconciled, where etcd has lost what was written.
    pub fn went_back(&self) -> Option<String> {
        self.0.not_gone_back().err().map(|why| why.to_string())
    }

    /// How many records its journal has, about.
    pub fn journal_is_at(&self) -> u64 {
        self.0.position.load(Ordering::Relaxed)
    }

    /// Where it stores.
    pub fn etcd(&self) -> &Arc<Etcd> {
        &self.0.etcd
    }

    /// Ends what is under way, then the journal, then the thread that follows etcd.
    pub fn close(&self) {
        self.0.under_way.close();
        self.0.journal.close();
        self.0.etcd.close();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for Replica {
    fn read(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.0.etcd.copy.read(key).map_err(StoreError::Index)
    }

    fn page(&self, prefix: &str, after: &str, max: usize) -> Result<Vec<(String, Stored)>, StoreError> {
        self.0.etcd.copy.page(prefix, after, max).map_err(StoreError::Index)
    }

    fn commit(&self, commit: Commit) -> Answer<Committed> {
        let Some(under) = self.0.under_way.enter(&self.0) else {
            return Box::pin(std::future::ready(Err(StoreError::Stopped)));
        };
        if let Err(refused) = self.0.may_take(&commit) {
            return Box::pin(std::future::ready(Err(refused)));
        }
        if commit.writes.is_empty() {
            let answered = self.0.etcd.carry_out(async move { under.0.confirm(commit).await });
            return Box::pin(async { answered.await.unwrap_or(Err(StoreError::Stopped)) });
        }
        let Commit { room, conditions, writes, entry, .. } = commit;
        let ((reply, answered), wish) = (Reply::new(), Wish { conditions, writes, entry: Some(entry) });
        let caller = Caller { room, reply, under: Some(under) };
        self.0.join(Asked { wish, within: self.0.within(DECIDED_WITHIN), caller });
        Box::pin(answered)
    }

    fn note(&self, entry: Entry) -> Result<(), StoreError> {
        self.0.journal.note(entry)
    }

    fn vouch(&self, at: OffsetDateTime) {
        self.0.journal.vouch(at);
    }

    fn check_clock(&self) -> Result<(), ClockError> {
        self.0.journal.check_clock()
    }

    fn caught_up(&self) -> Answer<()> {
        let inside = Arc::clone(&self.0);
        let caught_up = self.0.etcd.carry_out(async move {
            inside.etcd.catch_up(Instant::now() + SHOWN_WITHIN).await?;
            // An etcd that lost something shows less than was committed.
            inside.not_gone_back()
        });
        Box::pin(async { caught_up.await.unwrap_or_else(|_ended| Err(stopped().into())) })
    }

    fn all_heard(&self) -> Answer<()> {
        let etcd = Arc::clone(&self.0.etcd);
        Box::pin(async move {
            let heard = tokio::time::timeout(SHOWN_WITHIN, etcd.copy.waiting.all_taken_in()).await;
            heard.map_err(|_late| StoreError::Unreachable { why: "what others wrote is not taken in yet".to_owned() })
        })
    }

    fn leads(&self) -> bool {
        self.0.etcd.lead.is_ours()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// As long as there is a replica.
async fn tell_late(of: Weak<Inside>, late: Late) {
    while let Some(inside) = of.upgrade() {
        let under = inside.under_way.enter(&inside);
        drop(inside);
        if under.is_none() {
            return;
        }
        late.look().await;
        drop(under);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn stopped() -> Fault {
    Fault::Away("the server is stopping".to_owned())
}

impl Inside {
    /// What is decided by nobody.
    fn may_take(&self, commit: &Commit) -> Result<(), StoreError> {
        self.may_write(commit.room)?;
        if commit.writes.iter().any(|write| write.key() >= UNWATCHED) {
            let why = "a key that sorts after all that is watched";
            return Err(StoreError::Index(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        Ok(())
    }

    /// What writes nothing: whether its conditions hold.
    async fn confirm(&self, commit: Commit) -> Result<Committed, StoreError> {
        let Commit { room, conditions, writes, entry, without_quorum } = commit;
        if conditions.is_empty() {
            return self.tell(room, entry, None).await;
        }
        self.ready(room).await?;
        let wish = Wish { conditions, writes, entry: Some(entry) };
        let open = self.etcd.copy.marks.open(1);
        let within = self.within(if without_quorum.is_some() { TRIED_FOR } else { DECIDED_WITHIN });
        let (decided, without_quorum) = match self.etcd.decide_as(&open, std::slice::from_ref(&wish), within).await {
            Err(Fault::Away(why)) => match without_quorum {
                Some(span) if self.etcd.tide.behind() <= span => (self.judge(&wish.conditions)?, true),
                Some(_) | None => return Err(Fault::Away(why).into()),
            },
            decided => (decided?, false),
        };
        let Wish { conditions, entry, .. } = wish;
        match decided {
            Decided::Conflict { key, found } => Ok(Committed::Conflict { key, found }),
            Decided::Done { revision, .. } => {
                // It may have gone back under our hands: then what it took counts for nothing.
                self.not_gone_back()?;
                let rests_on = self.untold(&conditions)?;
                let (looked, evidence) = (!rests_on.is_empty(), Evidence::at(&self.etcd, (revision, 0)).of(rests_on));
                let evidence = Evidence { without_quorum, looked, ..evidence };
                self.tell(room, entry.ok_or(StoreError::Stopped)?, Some(evidence.write()?)).await
            }
        }
    }

    /// Resolves once something of the kind may be decided here.
    pub(super) async fn ready(&self, room: Room) -> Result<(), StoreError> {
        self.etcd.clocks.fit(COMPARED_WITHIN).await?;
        // What ends or takes away does not wait: by it those that hear take in what they heard.
        if room == Room::Common {
            self.etcd.wakes().await?;
        }
        Ok(())
    }

    /// What is confirmed by these conditions and stands perhaps in no journal: whoever wrote it may be gone. From now on it
    /// stands in ours.
    fn untold(&self, conditions: &[Condition]) -> Result<Vec<Write>, StoreError> {
        let mut writes = Vec::new();
        for key in conditions.iter().map(Condition::key) {
            let held = self.etcd.copy.read(key).map_err(StoreError::Index)?;
            let held = held.filter(|held| self.etcd.copy.may_be_untold(held.revision));
            writes.extend(held.map(|held| Write::Put(key.to_owned(), held.value)));
        }
        Ok(writes)
    }

    /// How long is tried to decide something.
    fn within(&self, where_it_answers: Duration) -> Duration {
        if self.etcd.tide.answers() { where_it_answers } else { SILENT_FOR }
    }

    /// Decides by what is known here.
    fn judge(&self, conditions: &[Condition]) -> Result<Decided, StoreError> {
        for condition in conditions {
            let found = self.etcd.copy.read(condition.key()).map_err(StoreError::Index)?;
            if !condition.holds(found.as_ref().map(|found| found.revision)) {
                return Ok(Decided::Conflict { key: condition.key().to_owned(), found });
            }
        }
        Ok(Decided::Done { revision: self.etcd.copy.at(), in_doubt: false })
    }

    /// Writes the entry into this replica's journal, from now on, whether anybody waits for it or not.
    pub(super) fn tell(
        &self,
        room: Room,
        entry: Entry,
        evidence: Option<Write>,
    ) -> impl Future<Output = Result<Committed, StoreError>> + Send {
        let writes = evidence.into_iter().collect();
        let told = self.journal.commit(Commit { room, conditions: Vec::new(), writes, entry, without_quorum: None });
        async {
            let done = told.await?;
            if let Committed::Done(position) = done {
                self.position.fetch_max(position, Ordering::Relaxed);
            }
            Ok(done)
        }
    }

    /// What the journal would refuse is not done in etcd first.
    fn may_write(&self, room: Room) -> Result<(), StoreError> {
        self.not_gone_back()?;
        let now = self.clock.now();
        let mut last = self.last();
        let went_back = *last - now > CLOCK_STEP_MAX;
        let checked =
            if went_back { Err(ClockError::WentBack { last: *last, now }) } else { self.journal.check_clock() };
        match checked {
            Ok(()) => *last = now.max(*last),
            Err(wrong) if room != Room::AnyTime => return Err(wrong.into()),
            Err(_doubted) => {}
        }
        drop(last);
        match *self.journal.trouble().borrow() {
            Some(Trouble::DiskFull) if room == Room::Common => {
                Err(StoreError::Journal(io::ErrorKind::StorageFull.into()))
            }
            Some(Trouble::Unwritable) => Err(StoreError::Journal(io::Error::other("it took no writes of late"))),
            Some(Trouble::ClockLeapt | Trouble::ClockWentBack | Trouble::DiskFull) | None => Ok(()),
        }
    }

    pub(super) fn not_gone_back(&self) -> Result<(), StoreError> {
        if let Some(went_back) = self.etcd.tide.went_back() {
            return Err(StoreError::WentBack { why: went_back.to_string() });
        }
        if self.etcd.is_waiting() {
            let who: Vec<_> = self.etcd.waiting().into_iter().collect();
            let why = format!("etcd was restored; run `lanyard store reconcile` on {}", who.join(", "));
            return Err(StoreError::WentBack { why });
        }
        Ok(())
    }

    /// A holder that panicked left a whole time behind.
    fn last(&self) -> MutexGuard<'_, OffsetDateTime> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl UnderWay {
    /// None after the end.
    fn enter(&self, inside: &Arc<Inside>) -> Option<Under> {
        let mut open = self.open();
        let (count, closed) = &mut *open;
        let is_open = !*closed;
        *count += usize::from(is_open);
        drop(open);
        is_open.then(|| Under(Arc::clone(inside)))
    }

    /// Lets nobody in any more, and waits for those who are.
    fn close(&self) {
        self.open().1 = true;
        drop(self.ended.wait_while(self.open(), |(count, _)| *count > 0));
    }

    /// A holder that panicked left a whole count behind.
    fn open(&self) -> MutexGuard<'_, (usize, bool)> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        let under_way = &self.0.under_way;
        let mut open = under_way.open();
        open.0 -= 1;
        let was_waited_for = *open == (0, true);
        drop(open);
        if was_waited_for {
            under_way.ended.notify_all();
        }
    }
}
