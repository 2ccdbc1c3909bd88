//! Who follows which trust domain: each follower's turn, by which it is hurried and ended, and those that came after the start.

use super::Follower;
use crate::identity::TrustDomain;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

/// See the file's words.
#[derive(Debug)]
pub(super) struct Turns {
    of: Mutex<BTreeMap<TrustDomain, watch::Sender<()>>>,
    send: mpsc::UnboundedSender<Follower>,
    receive: Mutex<Option<mpsc::UnboundedReceiver<Follower>>>,
}

/// A follower's: changed when it shall look at once, closed when it is over.
pub(super) type Turn = watch::Receiver<()>;

impl Default for Turns {
    fn default() -> Self {
        let (send, receive) = mpsc::unbounded_channel();
        Self { of: Mutex::default(), send, receive: Mutex::new(Some(receive)) }
    }
}

impl Turns {
    /// That of a new follower; the former one's is over.
    pub(super) fn begin(&self, trust_domain: &TrustDomain) -> Turn {
        let (sender, turn) = watch::channel(());
        drop(locked(&self.of).insert(trust_domain.clone(), sender));
        turn
    }

    pub(super) fn hurry(&self, trust_domain: &TrustDomain) {
        if let Some(turn) = locked(&self.of).get(trust_domain) {
            turn.send_replace(());
        }
    }

    pub(super) fn end(&self, trust_domain: &TrustDomain) {
        drop(locked(&self.of).remove(trust_domain));
    }

    /// Hands a follower to whoever runs them; where nobody does, nobody follows.
    pub(super) fn welcome(&self, follower: Follower) {
        if let Err(nobody) = self.send.send(follower) {
            tracing::debug!(%nobody, "nobody runs followers");
        }
    }

    pub(super) fn newcomers(&self) -> Option<mpsc::UnboundedReceiver<Follower>> {
        locked(&self.receive).take()
    }
}

fn locked<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}
