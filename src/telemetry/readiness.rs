//! Ready is what nobody contradicts: a part that must be ready first takes a guard at start and drops it when it is.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the process may be sent work.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    parts: BTreeMap<u64, &'static str>,
    worries: BTreeMap<u64, &'static str>,
    stands: Option<Standing>,
}

/// Where a process stands among others that share its store.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// What it is called.
    pub replica: String,
    /// Which revision of the store it shows.
    pub revision: u64,
    /// For so long it has not been known whether that is all.
    pub behind_seconds: f64,
    /// Whether it does what one is enough for.
    pub leads: bool,
    /// Whose clocks are apart from its own, in words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub clocks_apart: String,
    /// Why it writes nothing until somebody has reconciled the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub went_back: Option<String>,
}

/// While it lives, the process is ready, and somebody should look after it.
#[derive(Debug)]
#[must_use = "dropping it says that all is well again"]
pub struct Worry {
    readiness: Readiness,
    number: u64,
}

/// While it lives, the process is not ready.
#[derive(Debug)]
#[must_use = "dropping it says that the part is ready"]
pub struct Unready {
    readiness: Readiness,
    number: u64,
}

impl Readiness {
    /// Not ready until the guard is dropped; `part` says what is waited for.
    pub fn wait_for(&self, part: &'static str) -> Unready {
        let mut waiting = self.waiting();
        waiting.next += 1;
        let number = waiting.next;
        waiting.parts.insert(number, part);
        drop(waiting);
        Unready { readiness: self.clone(), number }
    }

    /// Ready, but with a worry until the guard is dropped; `about` says what should be looked after.
    pub fn worry(&self, about: &'static str) -> Worry {
        let mut waiting = self.waiting();
        waiting.next += 1;
        let number = waiting.next;
        waiting.worries.insert(number, about);
        drop(waiting);
        Worry { readiness: self.clone(), number }
    }

    /// Where the process stands among others, for whoever asks whether it is ready.
    pub fn stands(&self, so: Standing) {
        self.waiting().stands = Some(so);
    }

    /// Where it stands; none where it is alone.
    pub fn standing(&self) -> Option<Standing> {
        self.waiting().stands.clone()
    }

    /// What should be looked after, in the order in which it began.
    pub fn worries(&self) -> Vec<&'static str> {
        self.waiting().worries.values().copied().collect()
    }

    /// What is waited for, in the order in which it began; empty means ready.
    pub fn missing(&self) -> Vec<&'static str> {
        self.waiting().parts.values().copied().collect()
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Display for Standing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { replica, revision, behind_seconds, leads, clocks_apart, went_back } = self;
        write!(f, "replica {replica} at revision {revision}, known to be current {behind_seconds:.1} s ago")?;
        f.write_str(if *leads { ", leading" } else { "" })?;
        if !clocks_apart.is_empty() {
            write!(f, ", clocks apart: {clocks_apart}")?;
        }
        went_back.iter().try_for_each(|why| write!(f, ": {why}"))
    }
}

impl Drop for Unready {
    fn drop(&mut self) {
        self.readiness.waiting().parts.remove(&self.number);
    }
}

impl Drop for Worry {
    fn drop(&mut self) {
        self.readiness.waiting().worries.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_its_last_part_is() {
        let readiness = Readiness::default();
        let (store, keys) = (readiness.wait_for("store"), readiness.wait_for("issuer keys"));
        assert_eq!(readiness.missing(), ["store", "issuer keys"]);
        drop(store);
        assert_eq!(readiness.missing(), ["issuer keys"]);
        drop(keys);
        assert!(readiness.missing().is_empty());
    }

    #[test]
    fn a_worry_lasts_as_long_as_its_guard_and_makes_nobody_unready() {
        let readiness = Readiness::default();
        let worry = readiness.worry("the upstream");
        assert_eq!((readiness.worries(), readiness.missing()), (vec!["the upstream"], Vec::new()));
        drop(worry);
        assert!(readiness.worries().is_empty());
    }
}
