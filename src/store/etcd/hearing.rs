//! Keys that others have written, until somebody has taken in what they hold. A key waits once, however often it was
//! written: so what waits is bounded by what is stored, and the watch never waits for a hearer.
//!
//! Under load there is news at each moment, and to be woken for each costs more than to take it in. So after some were heard,
//! others gather for a moment; whoever needs them now says so, and does not wait for that.

use super::Etcd;
use crate::store::{Heard, Revision};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How long news gathers after some was heard: a small part of the second within which a revocation is in force everywhere.
const GATHERED_FOR: Duration = Duration::from_millis(25);

/// See the file's opening words.
#[derive(Debug)]
pub(super) struct Waiting {
    inside: Mutex<Inside>,
    news: Notify,
    /// Somebody needs what gathers.
    hurry: Notify,
    /// How many of those that were ever added are taken in.
    taken_in: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inside {
    keys: VecDeque<String>,
    known: HashSet<String>,
    added: u64,
    is_heard: bool,
}

impl Waiting {
    pub(super) fn new() -> Self {
        let (news, hurry) = (Notify::new(), Notify::new());
        Self { inside: Mutex::default(), news, hurry, taken_in: watch::Sender::new(0) }
    }

    /// However many, one wakes the hearer.
    pub(super) fn add(&self, keys: impl IntoIterator<Item = String>) {
        let mut inside = self.inside();
        let before = inside.added;
        for key in keys {
            if inside.known.insert(key.clone()) {
                inside.keys.push_back(key);
                inside.added += 1;
            }
        }
        let is_news = inside.added > before;
        drop(inside);
        if is_news {
            self.news.notify_one();
        }
    }

    /// What is new after a moment, or once there is something.
    async fn gathered(&self, moment: Duration) -> VecDeque<String> {
        // Either is reason to look.
        drop(timeout(moment, self.hurry.notified()).await);
        loop {
            let taken = self.take();
            if !taken.is_empty() {
                return taken;
            }
            self.news.notified().await;
        }
    }

    /// All that wait.
    fn take(&self) -> VecDeque<String> {
        let mut inside = self.inside();
        inside.known = HashSet::new();
        std::mem::take(&mut inside.keys)
    }

    /// Resolves once all that waits now is taken in; at once where nobody hears.
    pub(super) async fn all_taken_in(&self) {
        let (added, is_heard) = {
            let inside = self.inside();
            (inside.added, inside.is_heard)
        };
        if is_heard {
            self.hurry.notify_one();
            // The sender lives as long as we do.
            drop(self.taken_in.subscribe().wait_for(|taken_in| *taken_in >= added).await);
        }
    }

    /// A holder that panicked left a whole queue behind.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What others write, for the one who keeps something of it in memory.
#[derive(Debug)]
pub struct Hearing {
    etcd: Arc<Etcd>,
    /// Those that nobody has asked for yet.
    taken: VecDeque<String>,
    last: Option<(String, Option<Revision>)>,
}

impl Hearing {
    pub(super) fn of(etcd: Arc<Etcd>) -> Self {
        etcd.copy.waiting.inside().is_heard = true;
        Self { etcd, taken: VecDeque::new(), last: None }
    }

    /// The next key, with what it holds now. The one before counts as taken in, unless it holds something else by now:
    /// then it comes again. So nothing stays in memory that was overtaken while it was taken in.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(key) = self.overtaken().or_else(|| self.taken.pop_front()) {
                return self.tell(key);
            }
            self.taken = self.etcd.copy.waiting.gathered(GATHERED_FOR).await;
        }
    }

    /// The last one, where it holds something else by now; else it is taken in.
    fn overtaken(&mut self) -> Option<String> {
        let (key, was) = self.last.take()?;
        if self.etcd.copy.revision(&key) != was {
            return Some(key);
        }
        self.etcd.copy.waiting.taken_in.send_modify(|taken_in| *taken_in += 1);
        None
    }

    fn tell(&mut self, key: String) -> Heard {
        // In memory nothing fails.
        let now = self.etcd.copy.read(&key).unwrap_or_default();
        self.last = Some((key.clone(), now.as_ref().map(|now| now.revision)));
        Heard { key, now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::yield_now;

    const LONG: Duration = Duration::from_secs(3600);

    fn keys(of: &[&str]) -> Vec<String> {
        of.iter().map(|key| (*key).to_owned()).collect()
    }

    /// Hears once, and has all of that taken in.
    async fn hear(waiting: &Waiting, moment: Duration) -> VecDeque<String> {
        let taken = waiting.gathered(moment).await;
        waiting.taken_in.send_modify(|taken_in| *taken_in += u64::try_from(taken.len()).unwrap());
        taken
    }

    #[tokio::test]
    async fn what_comes_within_a_moment_is_heard_together_each_key_once_and_at_once_by_whom_it_is_needed() {
        let waiting = Waiting::new();
        waiting.inside().is_heard = true;
        waiting.add(keys(&["a", "b"]));
        let comes = async {
            yield_now().await;
            waiting.add(keys(&["c", "a"]));
            yield_now().await;
            waiting.all_taken_in().await;
        };
        assert_eq!(tokio::join!(hear(&waiting, LONG), comes).0, keys(&["a", "b", "c"]));
    }

    #[tokio::test]
    async fn after_a_quiet_moment_news_is_heard_at_once() {
        let waiting = Waiting::new();
        waiting.add(keys(&["a"]));
        assert_eq!(hear(&waiting, Duration::ZERO).await, keys(&["a"]));
        let comes = async {
            yield_now().await;
            waiting.add(keys(&["a"]));
        };
        assert_eq!(tokio::join!(hear(&waiting, Duration::ZERO), comes).0, keys(&["a"]), "again, since it was taken in");
    }
}
