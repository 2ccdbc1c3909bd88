//! Who follows which trust domain: each follower's turn, by which it is hurried and ended, and those that came after the start.

use super::Follower;
use crate::identity::TrustDomain;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};

/// See the file's words.
#[derive(Debug)]
pub(super) struct Turns {
    of: Mutex<BTreeMap<TrustDomain, Taken>>,
    send: mpsc::UnboundedSender<Follower>,
    receive: Mutex<Option<mpsc::UnboundedReceiver<Follower>>>,
}

#[derive(Debug)]
struct Taken {
    hurry: watch::Sender<()>,
    /// When a token was the reason last.
    early_at: Option<OffsetDateTime>,
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
        let (hurry, turn) = watch::channel(());
        drop(locked(&self.of).insert(trust_domain.clone(), Taken { hurry, early_at: None }));
        turn
    }

    pub(super) fn hurry(&self, trust_domain: &TrustDomain) {
        if let Some(taken) = locked(&self.of).get(trust_domain) {
            taken.hurry.send_replace(());
        }
    }

    /// The same for a token's sake, unless that was done at such a time.
    pub(super) fn hurry_unless(
        &self,
        trust_domain: &TrustDomain,
        now: OffsetDateTime,
        lately: impl FnOnce(OffsetDateTime) -> bool,
    ) {
        let mut all = locked(&self.of);
        let taken = all.get_mut(trust_domain).filter(|taken| !taken.early_at.is_some_and(lately));
        if let Some(taken) = taken {
            taken.early_at = Some(now);
            taken.hurry.send_replace(());
        }
        drop(all);
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
