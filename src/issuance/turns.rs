//! Whose request goes on next: few are worked on at once, and where more wait, issuers take turns, and namespaces within each.
//!
//! **Why**: a storm of one project stands in line with itself. Somebody else's first request waits for what is being worked
//! on and for one request of each who waits too, not for the storm.

use super::Refusal;
use crate::token::{Claims, IssuerName};
use std::collections::VecDeque;
use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Enough for batches of the journal that are worth a sync; what is worked on makes others wait for a few milliseconds.
const AT_ONCE: usize = 128;

/// The line; clones are the same line.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Mutex<Line>>);

/// The right to be worked on now; dropping it passes it on.
#[derive(Debug)]
pub(super) struct Turn(Turns);

#[derive(Debug)]
struct Line {
    /// Nobody waits while there are any.
    free: usize,
    waiting: InTurn<IssuerName, InTurn<String, VecDeque<oneshot::Sender<Turn>>>>,
}

/// Queues, the one whose turn is next first. An empty one is left out when its turn comes.
#[derive(Debug)]
struct InTurn<K, Q>(VecDeque<(K, Q)>);

impl Default for Turns {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Line { free: AT_ONCE, waiting: InTurn::default() })))
    }
}

impl Turns {
    /// Waits until it is this bearer's turn.
    ///
    /// # Errors
    /// `TooMany` when there is no line any more.
    pub(super) async fn mine(&self, claims: &Claims) -> Result<Turn, Refusal> {
        let called = {
            let mut line = self.line();
            if let Some(less) = line.free.checked_sub(1) {
                line.free = less;
                return Ok(Turn(self.clone()));
            }
            let (call, called) = oneshot::channel();
            let namespace = claims.top_level_namespace().to_lowercase();
            line.waiting.join(claims.issuer.clone(), |of| of.join(namespace, |line| line.push_back(call)));
            called
        };
        called.await.map_err(|_gone| Refusal::TooMany)
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Whom to call. Who has gone meanwhile is not.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let still_there = |line: &mut VecDeque<oneshot::Sender<Turn>>| {
            iter::from_fn(|| line.pop_front()).find(|call| !call.is_closed())
        };
        let next = self.waiting.next(|namespaces| namespaces.next(still_there));
        if next.is_none() {
            self.free = self.free.saturating_add(1);
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = self.0.line().next();
        if let Some(call) = next {
            // Who left between these two lines hands the turn on by dropping it.
            drop(call.send(Self(self.0.clone())));
        }
    }
}

impl<K: Eq, Q: Default> InTurn<K, Q> {
    /// Adds to this one's queue; a new one is the last in turn.
    fn join(&mut self, key: K, add: impl FnOnce(&mut Q)) {
        if let Some((_, queue)) = self.0.iter_mut().find(|(known, _)| *known == key) {
            return add(queue);
        }
        let mut queue = Q::default();
        add(&mut queue);
        self.0.push_back((key, queue));
    }

    /// What the first queue gives that has anything to give; it is the last from then on.
    fn next<T>(&mut self, mut take: impl FnMut(&mut Q) -> Option<T>) -> Option<T> {
        while let Some((key, mut queue)) = self.0.pop_front() {
            if let Some(taken) = take(&mut queue) {
                self.0.push_back((key, queue));
                return Some(taken);
            }
        }
        None
    }
}

impl<K, Q> Default for InTurn<K, Q> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_turn_and_what_is_its_own_stays_in_order() {
        let mut waiting = InTurn::<&str, VecDeque<u8>>::default();
        for (whose, what) in [("storm", 1), ("storm", 2), ("storm", 3), ("other", 4), ("third", 5), ("other", 6)] {
            waiting.join(whose, |queue| queue.push_back(what));
        }
        let mut next = || waiting.next(VecDeque::pop_front);
        assert_eq!([(); 7].map(|()| next()), [Some(1), Some(4), Some(5), Some(2), Some(6), Some(3), None]);
        assert!(waiting.0.is_empty(), "nothing is kept of whoever has gone");
    }

    #[tokio::test]
    async fn a_turn_comes_back_from_whoever_left_while_it_was_called() {
        let turns = Turns::default();
        let held = Turn(turns.clone());
        turns.line().free = 0;
        let (call, called) = oneshot::channel();
        turns.line().waiting.join(IssuerName("corp".into()), |of| of.join("acme".into(), |line| line.push_back(call)));
        drop(held);
        assert_eq!(turns.line().free, 0, "it was called");
        drop(called);
        assert_eq!(turns.line().free, 1);
    }
}
