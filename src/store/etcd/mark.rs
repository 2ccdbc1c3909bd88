//! What goes with each transaction of ours: who wrote it and when, what the journal is to say of it, and which
//! transactions before it must still be there.
//!
//! Its *tick* tells readers how far they must have come, and how far its replica's journal has. Its *intent* stands in etcd
//! until the journal has told of it: so a replica that dies in between tells it at its next start, and an attempt whose answer
//! was lost is known by it. Nobody hears of intents: whoever needs them asks.

use super::decide::Wish;
use super::request::{Prefix, json};
use crate::store::{Entry, Revision, Version, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Who wrote last, of each replica: how the names of these begin.
pub(super) const TICKS: &str = "~tick/";
/// Neither watched nor copied is what sorts from here on. The store's own names begin with a letter, other names of ours
/// with `~` and a letter; both sort before it.
pub(super) const UNWATCHED: &str = "~~";
/// What is done and perhaps not told yet: how the names of these begin.
pub(super) const INTENTS: &str = "~~intent/";
/// Of so many replicas, those that wrote last, each transaction says that what they wrote is still there.
const TICKS_COMPARED: usize = 16;
/// Intents that one transaction takes away besides its own work.
const TAKEN_AT_ONCE: usize = 8;
/// An attempt that was given up may lie in a member that is frozen: its intent keeps it from being done a second time.
const KEPT_AFTER_DOUBT: Duration = Duration::from_secs(60);

/// The last transactions of each replica that are known.
pub(super) type Ticks = BTreeMap<String, Revision>;

/// Who wrote, and when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Tick {
    /// The process that wrote.
    pub(super) by: String,
    /// Which of its transactions; none where it took away only what was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) n: Option<u64>,
    /// Up to this revision its replica's journal tells of all that the replica did.
    #[serde(default)]
    pub(super) told: Revision,
}

/// What the journal will say of a transaction.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Intent {
    pub(super) v: Version<1>,
    /// When, in Unix seconds.
    pub(super) at: i64,
    /// Of each commit that it carries out.
    pub(super) deeds: Vec<Deed>,
}

/// What the journal will say of a commit.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Deed {
    /// None where no journal is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<Entry>,
    /// Which keys it wrote; what they hold stands there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) keys: BTreeSet<String>,
}

impl Deed {
    fn of(wish: &Wish) -> Self {
        let own = wish.writes.iter().map(Write::key).filter(|key| !key.starts_with('~'));
        Self { entry: wish.entry.clone(), keys: own.map(str::to_owned).collect() }
    }
}

/// See the file's opening words.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) replica: String,
    pub(super) tick: Tick,
    /// Where the intent of it stands, and what it says.
    pub(super) intent: (String, Bytes),
    /// Intents that are told, to be taken away.
    pub(super) told: Vec<String>,
}

/// Where an intent stands; of a process of a replica.
pub(super) fn intent_key(replica: &str, (process, n): (&str, u64)) -> String {
    format!("{INTENTS}{replica}/{process}/{n}")
}

/// Whose intent that is: replica, process and number.
pub(super) fn intent_of(key: &str) -> Option<(&str, &str, u64)> {
    let (rest, n) = key.strip_prefix(INTENTS)?.rsplit_once('/')?;
    let (replica, process) = rest.rsplit_once('/')?;
    Some((replica, process, n.parse().ok()?))
}

/// Of the replicas that wrote last.
pub(super) fn compared(ticks: &Ticks) -> Vec<(&str, Revision)> {
    let mut all: Vec<_> = ticks.iter().map(|(name, revision)| (name.as_str(), *revision)).collect();
    all.sort_by_key(|(_, revision)| std::cmp::Reverse(*revision));
    all.truncate(TICKS_COMPARED);
    all
}

/// Which of this process's transactions are under way, and which of them the journal has told.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    last: u64,
    open: BTreeSet<u64>,
    /// From when on each's intent may be taken away.
    told: BTreeMap<u64, Instant>,
    /// Of which a transaction takes the intent away. Apart, so that nobody looks through all of them for the next.
    leaving: BTreeSet<u64>,
    /// What the watch brought of this replica and the journal has not told: which of this process's, or none of them.
    untold: BTreeMap<Revision, Option<u64>>,
    /// The watch has missed something: no more than up to here is known to be told, until all intents were looked at.
    unsure: Option<Revision>,
    /// How often it has.
    missed: u64,
}

/// What is known before somebody looks at the intents that stand.
#[derive(Debug)]
pub(super) struct Known {
    /// Transactions of this process up to this one had begun.
    last: u64,
    /// Somebody sees to these of them.
    seen_to: BTreeSet<u64>,
    /// Nobody sees to these.
    untold: Vec<Revision>,
    missed: u64,
}

impl Known {
    /// Whether that transaction of this process was left to whoever looks.
    pub(super) fn is_left(&self, n: u64) -> bool {
        n <= self.last && !self.seen_to.contains(&n)
    }
}

/// A transaction that is under way; when it ends and not all of its deeds are told, the next look tells them.
#[derive(Debug)]
pub(super) struct Open {
    marks: Arc<Marks>,
    pub(super) n: u64,
    /// So many deeds the journal has not told.
    untold: AtomicUsize,
    in_doubt: AtomicBool,
}

impl Open {
    /// The journal has told of one of its deeds, or that needs none. Where an attempt was given up, the intent stays for a
    /// while.
    pub(super) fn is_told(&self, at: Revision, in_doubt: bool) {
        self.in_doubt.fetch_or(in_doubt, Ordering::SeqCst);
        if self.untold.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.marks.is_told((self.n, at), self.in_doubt.load(Ordering::SeqCst));
        }
    }
}

impl Marks {
    /// The next transaction's number; of so many deeds.
    pub(super) fn open(self: &Arc<Self>, deeds: usize) -> Open {
        let mut inside = self.inside();
        inside.last += 1;
        let n = inside.last;
        inside.open.insert(n);
        drop(inside);
        Open { marks: Arc::clone(self), n, untold: AtomicUsize::new(deeds), in_doubt: AtomicBool::new(false) }
    }

    /// The mark of a transaction that carries out these, and takes some of the told away; of none, where it writes nothing. The
    /// watch has brought all up to a revision.
    pub(super) fn mark(
        &self,
        (replica, process, n): (&str, &str, u64),
        wishes: &[Wish],
        (at, brought): (i64, Revision),
    ) -> Mark {
        let intent = json(&Intent { v: Version, at, deeds: wishes.iter().map(Deed::of).collect() });
        let taken = if wishes.is_empty() { Vec::new() } else { self.take_told(TAKEN_AT_ONCE) };
        let told = taken.into_iter().map(|n| intent_key(replica, (process, n))).collect();
        let tick = Tick { by: process.to_owned(), n: Some(n), told: self.told_up_to(brought) };
        Mark { replica: replica.to_owned(), tick, intent: (intent_key(replica, (process, n)), intent), told }
    }

    /// The watch brings a transaction of this replica: one of this process, or of one before it.
    pub(super) fn brings(&self, at: Revision, n: Option<u64>) {
        let mut inside = self.inside();
        if n.is_none_or(|n| !inside.told.contains_key(&n) && !inside.leaving.contains(&n)) {
            inside.untold.insert(at, n);
        }
    }

    /// The watch has missed something: what this replica did may be untold from there on.
    pub(super) fn misses(&self, told: Revision) {
        let mut inside = self.inside();
        inside.unsure = Some(inside.unsure.map_or(told, |unsure| unsure.min(told)));
        inside.missed += 1;
    }

    /// How far all that this replica did is told, as far as the watch has brought it.
    pub(super) fn told_up_to(&self, brought: Revision) -> Revision {
        let inside = self.inside();
        let before_first = inside.untold.first_key_value().map(|(at, _)| at.saturating_sub(1));
        [before_first, inside.unsure].into_iter().flatten().fold(brought, Revision::min)
    }

    /// Where intents must be looked at, as far as is known, or `anyway`: what is known before.
    pub(super) fn look(&self, anyway: bool) -> Option<Known> {
        let inside = self.inside();
        let is_left = |n: &Option<u64>| n.is_none_or(|n| !inside.open.contains(&n));
        let untold: Vec<_> = inside.untold.iter().filter(|(_, n)| is_left(n)).map(|(at, _)| *at).collect();
        if !anyway && inside.unsure.is_none() && untold.is_empty() {
            return None;
        }
        let seen_to = inside.open.iter().chain(inside.told.keys()).chain(&inside.leaving).copied().collect();
        let (last, missed) = (inside.last, inside.missed);
        drop(inside);
        Some(Known { last, seen_to, untold, missed })
    }

    /// All that was left is told, of what stood there after that was known: these of this process.
    pub(super) fn looked(&self, known: Known, stood: &[(u64, Revision)]) {
        let mut inside = self.inside();
        for at in known.untold {
            inside.untold.remove(&at);
        }
        if known.missed == inside.missed {
            inside.unsure = None;
        }
        // The watch may have missed them; they are told soon.
        for (n, at) in stood {
            let is_told = inside.told.contains_key(n) || inside.leaving.contains(n);
            if inside.open.contains(n) && !is_told {
                inside.untold.insert(*at, Some(*n));
            }
        }
    }

    /// Some that are told, from now on somebody's to take away.
    pub(super) fn take_told(&self, most: usize) -> Vec<u64> {
        let (mut inside, now) = (self.inside(), Instant::now());
        let due = inside.told.iter().filter(|(_, from)| **from <= now).map(|(n, _)| *n);
        let due: Vec<u64> = due.take(most).collect();
        for n in &due {
            inside.told.remove(n);
            inside.leaving.insert(*n);
        }
        due
    }

    /// They may stand there still.
    pub(super) fn put_back(&self, told: &[String]) {
        let (mut inside, now) = (self.inside(), Instant::now());
        for (.., n) in told.iter().filter_map(|key| intent_of(key)) {
            if inside.leaving.remove(&n) {
                inside.told.insert(n, now);
            }
        }
    }

    /// The journal has told of it, or it needs none.
    fn is_told(&self, (n, at): (u64, Revision), in_doubt: bool) {
        let from = if in_doubt { Instant::now() + KEPT_AFTER_DOUBT } else { Instant::now() };
        let mut inside = self.inside();
        inside.told.insert(n, from);
        inside.untold.remove(&at);
    }

    /// They stand there no more.
    pub(super) fn are_gone(&self, told: &[String]) {
        let mut inside = self.inside();
        for (.., n) in told.iter().filter_map(|key| intent_of(key)) {
            inside.leaving.remove(&n);
        }
    }

    /// How many transactions there have been.
    pub(super) fn been(&self) -> u64 {
        self.inside().last
    }

    /// A holder that panicked left whole sets behind.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.marks.inside().open.remove(&self.n);
    }
}

/// A mark's name for a key, below the prefix.
pub(super) fn tick_key(prefix: &Prefix, replica: &str) -> Bytes {
    prefix.key(&format!("{TICKS}{replica}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_is_seen_to_until_it_is_told_and_taken_away() {
        let marks = Arc::new(Marks::default());
        let is_left = |n| marks.look(true).unwrap().is_left(n);
        let (first, second) = (marks.open(1), marks.open(1));
        assert!(!is_left(1) && !is_left(2) && !is_left(3), "of the third nothing is known");
        first.is_told(11, false);
        drop((first, second));
        assert!(!is_left(1) && is_left(2), "the second was never told");
        let mark = marks.mark(("a", "p", 3), &[Wish::of(vec![], vec![])], (0, 0));
        assert_eq!(
            (mark.intent.0.as_str(), mark.told.as_slice()),
            ("~~intent/a/p/3", &["~~intent/a/p/1".to_owned()][..])
        );
        assert!(!is_left(1), "it may stand there still");
        marks.put_back(&mark.told);
        assert_eq!(marks.take_told(9), [1]);
        assert!(!is_left(1));
        marks.are_gone(&mark.told);
        assert!(is_left(1), "whatever stands there in its name now");
        marks.is_told((1, 11), true);
        assert!(marks.take_told(9).is_empty(), "an attempt of it may still be on its way");
    }

    #[test]
    fn nobody_looks_for_intents_unless_something_was_left() {
        let marks = Arc::new(Marks::default());
        let (first, second) = (marks.open(1), marks.open(1));
        marks.brings(5, Some(first.n));
        first.is_told(5, false);
        marks.brings(6, Some(second.n));
        assert!(marks.look(false).is_none(), "the second is under way");
        drop(second);
        let known = marks.look(false).unwrap();
        assert_eq!(known.untold, [6]);
        marks.looked(known, &[]);
        assert!(marks.look(false).is_none());
        marks.brings(7, None);
        assert!(marks.look(false).is_some(), "a process before this one did it");
    }

    #[test]
    fn all_is_told_up_to_the_first_that_is_not_and_no_further_than_the_watch_has_come() {
        let marks = Arc::new(Marks::default());
        let (first, second) = (marks.open(1), marks.open(1));
        assert_eq!(marks.told_up_to(9), 9);
        marks.brings(12, Some(second.n));
        marks.brings(10, Some(first.n));
        assert_eq!(marks.told_up_to(20), 9);
        first.is_told(10, false);
        assert_eq!(marks.told_up_to(20), 11);
        second.is_told(12, false);
        assert_eq!(marks.told_up_to(20), 20);
        marks.brings(12, Some(second.n));
        assert_eq!(marks.told_up_to(20), 20, "the watch may come later than the journal");
    }

    #[test]
    fn what_the_watch_missed_is_untold_until_the_intents_were_looked_at() {
        let marks = Arc::new(Marks::default());
        marks.misses(30);
        let known = marks.look(false).unwrap();
        marks.misses(40);
        marks.looked(known, &[]);
        assert_eq!(marks.told_up_to(50), 30, "it missed more since that look began");
        let open = marks.open(1);
        let known = marks.look(false).unwrap();
        marks.looked(known, &[(open.n, 35)]);
        assert_eq!(marks.told_up_to(50), 34, "this one stood there, and is told soon");
        open.is_told(35, false);
        assert_eq!(marks.told_up_to(50), 50);
    }

    #[test]
    fn a_transaction_of_several_deeds_is_told_when_all_of_them_are() {
        let marks = Arc::new(Marks::default());
        let open = marks.open(2);
        marks.brings(8, Some(open.n));
        open.is_told(8, false);
        assert_eq!((marks.told_up_to(9), marks.take_told(9)), (7, vec![]));
        open.is_told(8, false);
        assert_eq!((marks.told_up_to(9), marks.take_told(9)), (9, vec![open.n]));
    }

    #[test]
    fn names_of_replicas_may_hold_slashes() {
        assert_eq!(intent_of(&intent_key("eu/ca-1", ("p", 7))), Some(("eu/ca-1", "p", 7)));
    }
}
