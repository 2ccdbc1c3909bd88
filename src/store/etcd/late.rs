//! What etcd did and no journal tells: its intent stands in etcd, and the journal tells it late.
//!
//! That happens where a replica is killed between the two, where its journal could not be written, and where an answer was
//! given up and the deed was done all the same.

use super::Etcd;
use super::clocks::CLOCKS;
use super::evidence::{Evidence, KEY};
use super::intents::{AT_ONCE, Standing};
use super::mark::{Deed, Intent, intent_of};
use crate::store::{Commit, JournalError, LocalStore, Revision, Room, Store as _, StoreError, Write, records_since};
use crate::telemetry::chain;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};

/// How often is looked whether there is anything to tell.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How often etcd is asked for our own where nothing says that any is left.
const ASK_ANYWAY_EVERY: Duration = Duration::from_secs(60);
/// How often whoever leads asks for those of all.
const ASK_FOR_ALL_EVERY: Duration = Duration::from_secs(10);
/// Intents that are told and that no transaction took along.
const TAKEN_AT_ONCE: usize = 100;
/// A replica that is away for so long may be gone for good; what it tells itself when it comes back stands twice then.
const GONE_AFTER: time::Duration = time::Duration::minutes(10);
/// A record is dated a little before or after its intent.
const SLACK: time::Duration = time::Duration::minutes(2);
/// The copy shows what was done about as soon as its intent is there.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// Tells late, in this journal.
#[derive(Debug)]
pub(super) struct Late {
    etcd: Arc<Etcd>,
    journal: Arc<LocalStore>,
    /// How many transactions there had been at the last look.
    had_been: AtomicU64,
    /// When etcd was last asked for our own, and for those of all.
    asked: [Pace; 2],
}

/// A commit: its transaction, and which part of it.
type Which = (Revision, usize);

/// When something was last done.
#[derive(Debug, Default)]
struct Pace(Mutex<Option<Instant>>);

impl Pace {
    fn is_due(&self, every: Duration) -> bool {
        // A holder that panicked left a whole time behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|last| last.elapsed() >= every)
    }

    fn is_done(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

#[derive(Serialize)]
struct Told<'a> {
    kind: &'static str,
    replica: &'a str,
    revision: Revision,
    #[serde(with = "time::serde::timestamp")]
    intended_at: OffsetDateTime,
    intended: &'a RawValue,
}

/// Tells in this journal what a replica left whose own is gone: nobody waits for it. How many.
///
/// # Errors
/// When the journal cannot be read or written, or etcd does not answer.
pub async fn take_over(journal: &Arc<LocalStore>, etcd: &Arc<Etcd>, lost: &str) -> Result<usize, StoreError> {
    let late = Late::new(Arc::clone(etcd), Arc::clone(journal));
    let left = etcd.standing(Some(lost)).await?;
    late.tell((lost, left)).await
}

impl Late {
    pub(super) fn new(etcd: Arc<Etcd>, journal: Arc<LocalStore>) -> Self {
        Self { etcd, journal, had_been: AtomicU64::new(0), asked: <[Pace; 2]>::default() }
    }

    /// One look.
    pub(super) async fn look(&self) {
        if self.etcd.tide.went_back().is_some() {
            return self.etcd.announce_loss().await;
        }
        if self.etcd.is_waiting() {
            return;
        }
        if let Err(fault) = self.look_at_own().await {
            tracing::error!(fault = %chain(&fault), "what was done and not told cannot be told yet");
        }
        if let Err(fault) = self.look_after_others().await {
            tracing::error!(fault = %chain(&fault), "what other replicas left untold cannot be told yet");
        }
        // While others come, they take along what is told.
        let been = self.etcd.copy.marks.been();
        if self.had_been.swap(been, Ordering::Relaxed) == been {
            self.take_away().await;
        }
    }

    /// Ours, where the watch brought what nobody here has told, or may have missed it; and now and then.
    async fn look_at_own(&self) -> Result<(), StoreError> {
        let [of_own, _] = &self.asked;
        let Some(known) = self.etcd.copy.marks.look(of_own.is_due(ASK_ANYWAY_EVERY)) else { return Ok(()) };
        let (mut left, mut seen_to) = (Vec::new(), Vec::new());
        for one in self.etcd.standing(Some(self.etcd.replica())).await? {
            match intent_of(&one.key) {
                Some((_, process, n)) if process == self.etcd.process() && !known.is_left(n) => {
                    seen_to.push((n, one.revision));
                }
                Some(_) | None => left.push(one),
            }
        }
        self.tell((self.etcd.replica(), left)).await?;
        self.etcd.copy.marks.looked(known, &seen_to);
        of_own.is_done();
        Ok(())
    }

    /// What a replica left that does not come back is told by whoever leads.
    async fn look_after_others(&self) -> Result<(), StoreError> {
        let [_, of_all] = &self.asked;
        if !self.etcd.leads() || !of_all.is_due(ASK_FOR_ALL_EVERY) {
            return Ok(());
        }
        let mut of: BTreeMap<String, Vec<Standing>> = BTreeMap::new();
        for one in self.etcd.standing(None).await? {
            let whose = intent_of(&one.key).map(|(replica, ..)| replica.to_owned()).unwrap_or_default();
            let is_live = || self.etcd.copy.own_revision(&format!("{CLOCKS}{whose}")).is_some();
            if whose != self.etcd.replica() && !is_live() {
                of.entry(whose).or_default().push(one);
            }
        }
        let long_ago = (self.etcd.clocks.now() - GONE_AFTER).unix_timestamp();
        for (replica, mut found) in of {
            found.sort_by_key(|one| std::cmp::Reverse(one.revision));
            let youngest = self.first_date(&found).await?;
            if youngest.is_some_and(|at| at < long_ago) {
                self.tell((&replica, found)).await?;
            }
        }
        of_all.is_done();
        Ok(())
    }

    /// When the first of them was intended that can be read.
    async fn first_date(&self, all: &[Standing]) -> Result<Option<i64>, StoreError> {
        for some in all.chunks(AT_ONCE) {
            if let Some((_, intent)) = self.etcd.said(some).await?.first() {
                return Ok(Some(intent.at));
            }
        }
        Ok(None)
    }

    /// Tells them, but for those that this journal has told; then takes them away.
    async fn tell(&self, (replica, mut found): (&str, Vec<Standing>)) -> Result<usize, StoreError> {
        found.sort_by_key(|one| one.revision);
        let (Some(newest), Some(oldest)) = (found.last(), self.first_date(&found).await?) else { return Ok(0) };
        // What they wrote is read from there.
        let shown = timeout(SHOWN_WITHIN, self.etcd.copy.reaches(newest.revision)).await;
        shown.map_err(|_late| StoreError::Unreachable { why: "the watch does not bring what was done".to_owned() })?;
        let told_before = self.told_before(oldest, &found).await?;
        let mut told = 0;
        for some in found.chunks(AT_ONCE) {
            let said = self.etcd.said(some).await?;
            for (one, intent) in &said {
                told += self.tell_untold((replica, one.revision), intent, &told_before).await?;
            }
            self.take_these(said.into_iter().map(|(one, _)| one)).await;
        }
        Ok(told)
    }

    async fn tell_untold(
        &self,
        (replica, revision): (&str, Revision),
        intent: &Intent,
        told_before: &BTreeSet<Which>,
    ) -> Result<usize, StoreError> {
        let mut told = 0;
        for (part, deed) in intent.deeds.iter().enumerate() {
            let which = (revision, part);
            if !told_before.contains(&which) {
                told += usize::from(self.tell_one((replica, which), intent.at, deed).await?);
            }
        }
        Ok(told)
    }

    /// Those that stay are found in the journal the next time.
    async fn take_these(&self, told: impl Iterator<Item = Standing>) {
        let keys: Vec<_> = told.map(|one| one.key).collect();
        for some in keys.chunks(TAKEN_AT_ONCE) {
            drop(self.etcd.client.txn(self.etcd.prefix.without(some)).await);
        }
    }

    /// Whether there was anything to tell.
    async fn tell_one(&self, (replica, which): (&str, Which), at: i64, deed: &Deed) -> Result<bool, StoreError> {
        let (Some(intended), (revision, _)) = (&deed.entry, which) else { return Ok(false) };
        let intended_at = OffsetDateTime::from_unix_timestamp(at).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let told = Told { kind: "told_late", replica, revision, intended_at, intended };
        let entry = to_raw_value(&told).map_err(|odd| StoreError::Journal(odd.into()))?;
        let mut writes = Vec::new();
        for key in &deed.keys {
            match self.etcd.copy.read(key).map_err(StoreError::Index)? {
                Some(held) if held.revision == revision => writes.push(Write::Put(key.clone(), held.value)),
                // Who wrote it since tells of that.
                Some(_) => {}
                None => writes.push(Write::Delete(key.clone())),
            }
        }
        let writes = vec![Evidence::at(&self.etcd, which).of(writes).write()?];
        let (room, conditions) = (Room::Reserve, Vec::new());
        self.journal.commit(Commit { room, conditions, writes, entry, without_quorum: None }).await?;
        tracing::warn!(replica, revision, "the journal tells late what was done in etcd");
        Ok(true)
    }

    /// Which of them the journal has told: a replica that died may have had no time to take its intent away.
    async fn told_before(&self, oldest: i64, all: &[Standing]) -> Result<BTreeSet<Which>, StoreError> {
        let since = OffsetDateTime::from_unix_timestamp(oldest).unwrap_or(OffsetDateTime::UNIX_EPOCH) - SLACK;
        let dir = self.journal.dir().to_owned();
        let revisions: BTreeSet<_> = all.iter().map(|one| one.revision).collect();
        // Files: no work for the thread that follows etcd.
        let read = tokio::task::spawn_blocking(move || told_of(&dir, since, &revisions));
        let read = read.await.map_err(|_stopped| StoreError::Stopped)?;
        read.map_err(|fault| StoreError::Journal(std::io::Error::other(fault)))
    }

    async fn take_away(&self) {
        let told = self.etcd.copy.marks.take_told(TAKEN_AT_ONCE);
        if told.is_empty() {
            return;
        }
        let keys: Vec<_> = told.into_iter().map(|n| self.etcd.own_intent(n)).collect();
        match self.etcd.leave(&keys).await {
            Ok(()) => self.etcd.copy.marks.are_gone(&keys),
            Err(_) => self.etcd.copy.marks.put_back(&keys),
        }
    }
}

/// Of these transactions those that a journal tells of.
fn told_of(dir: &Path, since: OffsetDateTime, revisions: &BTreeSet<Revision>) -> Result<BTreeSet<Which>, JournalError> {
    let mut told = BTreeSet::new();
    records_since(dir, since, &[&format!("\"{KEY}\":{{")], |record| {
        let evidence = record.put.get(KEY).and_then(|kept| Evidence::parse(kept).ok());
        let which = evidence.map(|told| (told.revision, told.part));
        told.extend(which.filter(|(revision, _)| revisions.contains(revision)));
    })?;
    Ok(told)
}
