//! How far etcd has come, as this replica saw it: whether it went back, and whether the copy shows everything.

use super::error::WentBack;
use super::mark::Ticks;
use crate::clock::Clock;
use crate::store::Revision;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// See the file's opening words.
#[derive(Debug)]
pub(super) struct Tide {
    cluster: OnceLock<u64>,
    seen: AtomicU64,
    /// The last transaction of each replica that anybody told us of. An etcd without it has lost something.
    ticks: Mutex<Ticks>,
    went_back: OnceLock<WentBack>,
    /// None before the first time.
    confirmed: watch::Sender<Option<Confirmed>>,
    answers: AtomicBool,
    clock: Arc<dyn Clock>,
}

/// It is asked many times as often whether all is shown; where nobody answers, that is known sooner.
const STALE_AFTER: Duration = Duration::from_secs(2);

/// When the copy was last known to show everything.
#[derive(Clone, Copy, Debug)]
struct Confirmed {
    at: Moment,
    /// Until then it had not been known for long, and whoever hears of what others do has perhaps not taken in what came
    /// meanwhile.
    missed_until: Option<Instant>,
}

/// When something was asked; what has passed since counts also where the machine slept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    at: Instant,
    slept: Duration,
}

impl Moment {
    fn until(self, later: Self) -> Duration {
        later.at.saturating_duration_since(self.at) + later.slept.saturating_sub(self.slept)
    }
}

impl Tide {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            cluster: OnceLock::new(),
            seen: AtomicU64::new(0),
            ticks: Mutex::default(),
            went_back: OnceLock::new(),
            confirmed: watch::Sender::new(None),
            answers: AtomicBool::new(true),
            clock,
        }
    }

    /// Takes in where etcd stands; `before` is what we had seen when we asked.
    pub(super) fn judge(&self, header: Option<(u64, Revision)>, before: Revision) {
        let Some((cluster, revision)) = header else { return };
        let known = *self.cluster.get_or_init(|| cluster);
        if cluster != known || revision < before {
            self.goes_back(WentBack { seen: before, journalled: known, revision, cluster });
        }
        self.seen.fetch_max(revision, Ordering::Relaxed);
    }

    /// What is known to have been written.
    pub(super) fn ticks(&self) -> Ticks {
        self.known().clone()
    }

    /// A replica wrote.
    pub(super) fn ticked(&self, replica: &str, at: Revision) {
        let mut known = self.known();
        known.entry(replica.to_owned()).and_modify(|last| *last = at.max(*last)).or_insert(at);
    }

    /// Takes in the ticks that etcd holds; `before` is what we knew when we asked. The newest of them.
    pub(super) fn hold(&self, found: &Ticks, before: &Ticks) -> Revision {
        for (replica, seen) in before {
            let revision = found.get(replica).copied().unwrap_or_default();
            if revision < *seen {
                let (seen, cluster) = (*seen, self.cluster());
                self.goes_back(WentBack { seen, journalled: cluster, revision: self.seen(), cluster });
            }
        }
        for (replica, at) in found {
            self.ticked(replica, *at);
        }
        found.values().copied().max().unwrap_or_default()
    }

    /// Holds what a journal has seen against what is there.
    pub(super) fn expect(&self, (journalled, seen): (u64, Revision), ticks: &Ticks) {
        let (cluster, revision) = (self.cluster(), self.seen());
        if cluster != journalled || revision < seen {
            self.goes_back(WentBack { seen, journalled, revision, cluster });
        }
        let found = self.ticks();
        self.hold(&found, ticks);
    }

    fn goes_back(&self, went_back: WentBack) {
        if self.went_back.set(went_back).is_ok() {
            tracing::error!("{went_back}");
        }
    }

    /// Where etcd went back in time, if it did.
    pub(super) fn went_back(&self) -> Option<WentBack> {
        self.went_back.get().copied()
    }

    pub(super) fn cluster(&self) -> u64 {
        self.cluster.get().copied().unwrap_or_default()
    }

    pub(super) fn seen(&self) -> Revision {
        self.seen.load(Ordering::Relaxed)
    }

    /// A holder that panicked left a whole map behind.
    fn known(&self) -> MutexGuard<'_, Ticks> {
        self.ticks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Now.
    pub(super) fn moment(&self) -> Moment {
        Moment { at: Instant::now(), slept: self.slept() }
    }

    /// The machine, since whenever.
    fn slept(&self) -> Duration {
        self.clock.elapsed().saturating_sub(self.clock.uptime())
    }

    /// The copy showed everything at that time.
    pub(super) fn confirm(&self, at: Moment) {
        self.answers.store(true, Ordering::Relaxed);
        let missed = |last: Confirmed| if last.at.until(at) >= STALE_AFTER { Some(at.at) } else { last.missed_until };
        self.confirmed.send_modify(|confirmed| {
            *confirmed = Some(Confirmed { at, missed_until: confirmed.and_then(missed) });
        });
    }

    /// What the copy showed then is taken in by whoever hears.
    pub(super) fn is_taken_in(&self, at: Moment) {
        let confirmed = |confirmed: &mut Option<Confirmed>| {
            let whole = confirmed.as_mut().filter(|last| last.missed_until.is_some_and(|missed| missed <= at.at));
            whole.map(|last| last.missed_until = None).is_some()
        };
        self.confirmed.send_if_modified(confirmed);
    }

    /// Whether others may have done something that nobody here has taken in, and that could be.
    pub(super) fn may_have_missed(&self) -> bool {
        let missed = self.confirmed.borrow().is_some_and(|last| last.missed_until.is_some());
        (missed || self.behind() >= STALE_AFTER) && self.answers()
    }

    /// Nobody answered for a quorum.
    pub(super) fn is_silent(&self) {
        self.answers.store(false, Ordering::Relaxed);
    }

    pub(super) fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// For how long it has not been known whether the copy shows everything.
    pub(super) fn behind(&self) -> Duration {
        let confirmed = *self.confirmed.borrow();
        confirmed.map_or(Duration::MAX, |last| last.at.until(self.moment()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use time::OffsetDateTime;

    fn a_clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::at(OffsetDateTime::UNIX_EPOCH))
    }

    fn ticks(of: &[(&str, Revision)]) -> Ticks {
        of.iter().map(|(replica, at)| ((*replica).to_owned(), *at)).collect()
    }

    #[test]
    fn an_etcd_without_what_somebody_wrote_last_went_back_however_far_it_has_come_since() {
        let tide = Tide::new(a_clock());
        tide.judge(Some((1, 100)), 0);
        assert_eq!(tide.hold(&ticks(&[("a", 40), ("b", 90)]), &Ticks::new()), 90);
        let before = tide.ticks();
        tide.judge(Some((1, 5000)), 100);
        assert_eq!(tide.hold(&ticks(&[("a", 41), ("b", 90)]), &before), 90);
        assert!(tide.went_back().is_none());
        tide.hold(&ticks(&[("a", 4999), ("b", 60)]), &tide.ticks());
        assert!(tide.went_back().is_some());
    }

    #[test]
    fn what_is_learned_while_an_answer_is_on_its_way_does_not_count_against_it() {
        let tide = Tide::new(a_clock());
        let (before, seen) = (tide.ticks(), tide.seen());
        tide.judge(Some((1, 12)), tide.seen());
        tide.ticked("b", 12);
        tide.judge(Some((1, 10)), seen);
        tide.hold(&ticks(&[("b", 10)]), &before);
        assert!(tide.went_back().is_none());
    }

    #[test]
    fn what_a_journal_knows_of_others_must_be_there_too() {
        let tide = Tide::new(a_clock());
        tide.judge(Some((1, 100)), 0);
        tide.hold(&ticks(&[("a", 40), ("b", 90)]), &Ticks::new());
        tide.expect((1, 100), &ticks(&[("a", 40), ("b", 80)]));
        assert!(tide.went_back().is_none());
        tide.expect((1, 100), &ticks(&[("b", 91)]));
        assert!(tide.went_back().is_some());
    }

    #[test]
    fn nobody_knows_what_others_did_while_the_machine_slept() {
        let (clock, hour) = (a_clock(), Duration::from_secs(3600));
        let tide = Tide::new(Arc::<ManualClock>::clone(&clock));
        tide.confirm(tide.moment());
        clock.advance(hour);
        assert!(tide.behind() < hour, "by its own time it was just now");
        clock.sleep(hour);
        assert!(tide.behind() >= hour);
        tide.confirm(tide.moment());
        assert!(tide.behind() < hour);
    }

    #[test]
    fn after_a_pause_nothing_is_taken_for_heard_until_it_is_though_the_copy_shows_it() {
        let clock = a_clock();
        let tide = Tide::new(Arc::<ManualClock>::clone(&clock));
        tide.confirm(tide.moment());
        let before = tide.moment();
        assert!(!tide.may_have_missed());
        clock.sleep(STALE_AFTER);
        assert!(tide.may_have_missed());
        tide.confirm(tide.moment());
        assert!(tide.behind() < STALE_AFTER && tide.may_have_missed(), "the copy shows it, and nobody has heard");
        tide.confirm(tide.moment());
        tide.is_taken_in(before);
        assert!(tide.may_have_missed(), "what was taken in is of before");
        tide.is_taken_in(tide.moment());
        assert!(!tide.may_have_missed());
        clock.sleep(STALE_AFTER);
        tide.is_silent();
        assert!(!tide.may_have_missed(), "nobody answers");
    }
}
