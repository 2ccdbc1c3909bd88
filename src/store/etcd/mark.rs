//! What goes with each transaction of ours: who wrote it and when, what the journal is to say of it, and which
//! transactions before it must still be there.
//!
//! Its *tick* tells readers how far they must have come. Its *intent* stands in etcd until the journal has told of it: so a
//! replica that dies in between tells it at its next start, and an attempt whose answer was lost is known by it.

use super::request::{Prefix, json};
use crate::store::{Entry, Revision, Version, Write};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Who wrote last, of each replica: how the names of these begin.
pub(super) const TICKS: &str = "~tick/";
/// What is done and perhaps not told yet: how the names of these begin.
pub(super) const INTENTS: &str = "~intent/";
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
    /// Which of its transactions.
    pub(super) n: u64,
}

/// What a transaction's journal entry will be.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Intent {
    pub(super) v: Version<1>,
    /// When, in Unix seconds.
    pub(super) at: i64,
    /// None where no journal is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) entry: Option<Entry>,
    /// Which keys it wrote; what they hold stands there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) keys: BTreeSet<String>,
}

/// See the file's opening words.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    pub(super) replica: String,
    pub(super) tick: Tick,
    pub(super) intent: Bytes,
    /// Intents that are told, to be taken away.
    pub(super) told: Vec<String>,
}

impl Mark {
    /// Where the intent of it stands.
    pub(super) fn intent_key(&self) -> String {
        intent_key(&self.replica, (&self.tick.by, self.tick.n))
    }
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
}

/// A transaction that is under way; when it ends untold, the next look tells it.
#[derive(Debug)]
pub(super) struct Open<'a> {
    marks: &'a Marks,
    pub(super) n: u64,
}

impl Marks {
    /// The next transaction's number.
    pub(super) fn open(&self) -> Open<'_> {
        let mut inside = self.inside();
        inside.last += 1;
        let n = inside.last;
        inside.open.insert(n);
        drop(inside);
        Open { marks: self, n }
    }

    /// The mark of a transaction of these writes, which takes some of the told away.
    pub(super) fn mark(
        &self,
        (replica, process, n): (&str, &str, u64),
        (entry, writes): (Option<&Entry>, &[Write]),
        at: i64,
    ) -> Mark {
        let own = |write: &Write| !write.key().starts_with('~');
        let keys = writes.iter().filter(|write| own(write)).map(|write| write.key().to_owned()).collect();
        let intent = json(&Intent { v: Version, at, entry: entry.cloned(), keys });
        let told = self.take_told(TAKEN_AT_ONCE).into_iter().map(|n| intent_key(replica, (process, n))).collect();
        let tick = Tick { by: process.to_owned(), n };
        Mark { replica: replica.to_owned(), tick, intent, told }
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

    /// The journal has told of it, or it needs none. Where an attempt was given up, it stays for a while.
    pub(super) fn is_told(&self, n: u64, in_doubt: bool) {
        let from = if in_doubt { Instant::now() + KEPT_AFTER_DOUBT } else { Instant::now() };
        self.inside().told.insert(n, from);
    }

    /// Those that left, and of which nothing stands any more, are forgotten.
    pub(super) fn forget_gone(&self, there: &BTreeSet<u64>) {
        self.inside().leaving.retain(|n| there.contains(n));
    }

    /// How many transactions there have been.
    pub(super) fn been(&self) -> u64 {
        self.inside().last
    }

    /// Whether somebody still sees to it.
    pub(super) fn sees_to(&self, n: u64) -> bool {
        let inside = self.inside();
        inside.open.contains(&n) || inside.told.contains_key(&n) || inside.leaving.contains(&n)
    }

    /// A holder that panicked left whole sets behind.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Open<'_> {
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
        let marks = Marks::default();
        let (first, second) = (marks.open(), marks.open());
        assert!(marks.sees_to(1) && marks.sees_to(2) && !marks.sees_to(3));
        marks.is_told(first.n, false);
        drop((first, second));
        assert!(marks.sees_to(1) && !marks.sees_to(2), "the second was never told");
        let mark = marks.mark(("a", "p", 3), (None, &[]), 0);
        assert_eq!(
            (mark.intent_key().as_str(), mark.told.as_slice()),
            ("~intent/a/p/3", &["~intent/a/p/1".to_owned()][..])
        );
        assert!(marks.sees_to(1), "the copy may show it still");
        marks.put_back(&mark.told);
        assert_eq!(marks.take_told(9), [1]);
        marks.forget_gone(&[1].into());
        assert!(marks.sees_to(1));
        marks.forget_gone(&BTreeSet::new());
        assert!(!marks.sees_to(1));
        marks.is_told(1, true);
        assert!(marks.take_told(9).is_empty(), "an attempt of it may still be on its way");
    }

    #[test]
    fn names_of_replicas_may_hold_slashes() {
        assert_eq!(intent_of(&intent_key("eu/ca-1", ("p", 7))), Some(("eu/ca-1", "p", 7)));
    }
}
