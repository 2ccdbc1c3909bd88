//! Keys that others have written, until somebody has taken in what they hold. A key waits once, however often it was
//! written: so what waits is bounded by what is stored, and the watch never waits for a hearer.

use super::Etcd;
use crate::store::{Heard, Revision};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// See the file's opening words.
#[derive(Debug)]
pub(super) struct Waiting {
    inside: Mutex<Inside>,
    news: Notify,
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
        Self { inside: Mutex::default(), news: Notify::new(), taken_in: watch::Sender::new(0) }
    }

    pub(super) fn add(&self, key: String) {
        let mut inside = self.inside();
        if inside.known.insert(key.clone()) {
            inside.keys.push_back(key);
            inside.added += 1;
            drop(inside);
            self.news.notify_one();
        }
    }

    fn take(&self) -> Option<String> {
        let mut inside = self.inside();
        let key = inside.keys.pop_front()?;
        inside.known.remove(&key);
        drop(inside);
        Some(key)
    }

    /// Resolves once all that waits now is taken in; at once where nobody hears.
    pub(super) async fn all_taken_in(&self) {
        let (added, is_heard) = {
            let inside = self.inside();
            (inside.added, inside.is_heard)
        };
        if is_heard {
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
    last: Option<(String, Option<Revision>)>,
}

impl Hearing {
    pub(super) fn of(etcd: Arc<Etcd>) -> Self {
        etcd.copy.waiting.inside().is_heard = true;
        Self { etcd, last: None }
    }

    /// The next key, with what it holds now. The one before counts as taken in, unless it holds something else by now:
    /// then it comes again. So nothing stays in memory that was overtaken while it was taken in.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(overtaken) = self.overtaken() {
                return self.tell(overtaken);
            }
            let waiting = &self.etcd.copy.waiting;
            match waiting.take() {
                Some(key) => return self.tell(self.look(key)),
                None => waiting.news.notified().await,
            }
        }
    }

    /// The last one, where it holds something else by now; else it is taken in.
    fn overtaken(&mut self) -> Option<Heard> {
        let (key, was) = self.last.take()?;
        let heard = self.look(key);
        if heard.now.as_ref().map(|now| now.revision) != was {
            return Some(heard);
        }
        self.etcd.copy.waiting.taken_in.send_modify(|taken_in| *taken_in += 1);
        None
    }

    fn look(&self, key: String) -> Heard {
        // In memory nothing fails.
        let now = self.etcd.copy.read(&key).unwrap_or_default();
        Heard { key, now }
    }

    fn tell(&mut self, heard: Heard) -> Heard {
        self.last = Some((heard.key.clone(), heard.now.as_ref().map(|now| now.revision)));
        heard
    }
}
