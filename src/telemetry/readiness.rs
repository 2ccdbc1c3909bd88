//! Ready is what nobody contradicts: a part that must be ready first takes a guard at start and drops it when it is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the process may be sent work.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    parts: BTreeMap<u64, &'static str>,
    worries: BTreeMap<u64, &'static str>,
    stands: Option<String>,
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
    pub fn stands(&self, so: String) {
        self.waiting().stands = Some(so);
    }

    /// Where it stands; none where it is alone.
    pub fn standing(&self) -> Option<String> {
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
