//! The store of one replica among several: etcd decides, then the journal tells, then the caller is answered.

use super::cluster::{DECIDED_WITHIN, Decided, Etcd};
use super::error::{EtcdError, Fault};
use super::evidence::{Evidence, KEY};
use crate::clock::Clock;
use crate::store::{
    Answer, ClockError, Commit, Committed, Condition, Entry, LocalStore, Revision, Room, Store, StoreError, Stored,
    Trouble, Version, Write,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::Instant;

/// The copy shows a write of ours about as soon as etcd has answered; a reader is not kept waiting for longer.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);
/// What can be decided without a quorum does not wait long for one.
const TRIED_FOR: Duration = Duration::from_millis(500);
/// Where nobody answered a moment ago, the next caller is not kept waiting either.
const SILENT_FOR: Duration = Duration::from_secs(1);
/// As the committer counts: time services step a clock by less.
const CLOCK_STEP_MAX: time::Duration = time::Duration::seconds(30);

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
struct Inside {
    etcd: Arc<Etcd>,
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
struct Under(Arc<Inside>);

impl Replica {
    /// Joins a connected etcd and the journal of this replica. What the journal has seen of etcd must still be there.
    ///
    /// # Errors
    /// `Store`, when the journal's state cannot be read; `WentBack`.
    pub fn open(etcd: Arc<Etcd>, journal: Arc<LocalStore>, clock: Arc<dyn Clock>) -> Result<Arc<Self>, EtcdError> {
        if let Some(kept) = journal.read(KEY)? {
            let Evidence { cluster, seen, .. } = Evidence::parse(&kept.value)?;
            etcd.tide.expect(cluster, seen);
        }
        if let Some(went_back) = etcd.tide.went_back() {
            return Err(EtcdError::WentBack(went_back));
        }
        let last = Mutex::new(journal.last_at());
        let (under_way, position) = (UnderWay::default(), AtomicU64::new(0));
        Ok(Arc::new(Self(Arc::new(Inside { etcd, journal, clock, under_way, last, position }))))
    }

    /// How far behind it is.
    pub fn behind(&self) -> Behind {
        let Inside { etcd, .. } = &*self.0;
        Behind { unconfirmed_for: etcd.tide.behind(), revision: etcd.copy.at() }
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
        let deed = async move { under.0.commit(commit).await };
        let answered = self.0.etcd.carry_out(deed);
        Box::pin(async { answered.await.unwrap_or(Err(StoreError::Stopped)) })
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
        let etcd = Arc::clone(&self.0.etcd);
        let caught_up = self.0.etcd.carry_out(async move { etcd.catch_up(Instant::now() + SHOWN_WITHIN).await });
        Box::pin(async { Ok(caught_up.await.unwrap_or_else(|_ended| Err(stopped()))?) })
    }

    fn leads(&self) -> bool {
        self.0.etcd.lead.is_ours()
    }
}

fn stopped() -> Fault {
    Fault::Away("the server is stopping".to_owned())
}

impl Inside {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        self.may_write(commit.room)?;
        let Commit { room, conditions, writes, entry, without_quorum } = commit;
        if conditions.is_empty() && writes.is_empty() {
            return self.tell(room, entry, None).await;
        }
        let can_do_without = without_quorum.filter(|_| writes.is_empty());
        let (decided, alone) = match self.decide(&conditions, &writes, can_do_without.is_some()).await {
            Err(Fault::Away(why)) => match can_do_without {
                Some(span) if self.etcd.tide.behind() <= span => (self.judge(&conditions)?, true),
                Some(_) | None => return Err(Fault::Away(why).into()),
            },
            decided => (decided?, false),
        };
        let revision = match decided {
            Decided::Conflict { key, found } => return Ok(Committed::Conflict { key, found }),
            Decided::Done(revision) => revision,
        };
        // It may have gone back under our hands: then what it took counts for nothing.
        self.not_gone_back()?;
        let (cluster, seen) = (self.etcd.tide.cluster(), self.etcd.tide.seen());
        let (put, delete) = Default::default();
        let evidence = Evidence { v: Version, cluster, revision, seen, without_quorum: alone, put, delete };
        let wrote = !writes.is_empty();
        let done = self.tell(room, entry, Some(evidence.of(writes).write()?)).await?;
        if wrote {
            drop(tokio::time::timeout(SHOWN_WITHIN, self.etcd.copy.reaches(revision)).await);
        }
        Ok(done)
    }

    async fn decide(&self, conditions: &[Condition], writes: &[Write], can_do_without: bool) -> Result<Decided, Fault> {
        let within = match self.etcd.tide.answers() {
            true if !can_do_without => DECIDED_WITHIN,
            true => TRIED_FOR,
            false => SILENT_FOR,
        };
        self.etcd.decide(conditions.to_vec(), writes.to_vec(), within).await
    }

    /// Decides by what is known here.
    fn judge(&self, conditions: &[Condition]) -> Result<Decided, StoreError> {
        for condition in conditions {
            let found = self.etcd.copy.read(condition.key()).map_err(StoreError::Index)?;
            if !condition.holds(found.as_ref().map(|found| found.revision)) {
                return Ok(Decided::Conflict { key: condition.key().to_owned(), found });
            }
        }
        Ok(Decided::Done(self.etcd.copy.at()))
    }

    /// Writes the entry into this replica's journal.
    async fn tell(&self, room: Room, entry: Entry, evidence: Option<Write>) -> Result<Committed, StoreError> {
        let writes = evidence.into_iter().collect();
        let commit = Commit { room, conditions: Vec::new(), writes, entry, without_quorum: None };
        let done = self.journal.commit(commit).await?;
        if let Committed::Done(position) = done {
            self.position.fetch_max(position, Ordering::Relaxed);
        }
        Ok(done)
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
                Err(StoreError::Journal(std::io::ErrorKind::StorageFull.into()))
            }
            Some(Trouble::ClockLeapt | Trouble::ClockWentBack | Trouble::DiskFull | Trouble::Unwritable) | None => {
                Ok(())
            }
        }
    }

    fn not_gone_back(&self) -> Result<(), StoreError> {
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
        under_way.open().0 -= 1;
        under_way.ended.notify_all();
    }
}
