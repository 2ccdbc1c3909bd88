//! Who hears that a session has ended: the streams of its owner, and nobody else's.

use super::{EndReason, SessionId};
use crate::crypto::KeyId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast;

/// Ten thousand agents each pay for their own; who is told of more at once asks for the whole present instead.
const UNHEARD_MAX: usize = 4;

/// A session that ended, for the agents that hold it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Which.
    pub session: SessionId,
    /// Why.
    pub reason: EndReason,
}

/// The open streams, by session key. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends(Arc<Mutex<HashMap<KeyId, Open>>>);

/// The streams of one key.
#[derive(Debug)]
struct Open {
    streams: usize,
    tell: broadcast::Sender<Ended>,
}

/// One stream's ear; dropping it gives its place back.
#[derive(Debug)]
pub struct Listening {
    ends: Ends,
    owner: KeyId,
    heard: broadcast::Receiver<Ended>,
}

impl Ends {
    /// A place for one more stream of this key, unless it has `most` already.
    pub(super) fn listen(&self, owner: KeyId, most: usize) -> Option<Listening> {
        let mut all = self.open();
        let open = all.entry(owner).or_insert_with(|| Open { streams: 0, tell: broadcast::Sender::new(UNHEARD_MAX) });
        if open.streams >= most {
            return None;
        }
        open.streams += 1;
        let heard = open.tell.subscribe();
        drop(all);
        Some(Listening { ends: self.clone(), owner, heard })
    }

    /// Tells the owner's streams, if there are any; an agent without one asks on connecting.
    pub(super) fn tell(&self, owner: &KeyId, session: SessionId, reason: EndReason) {
        if let Some(open) = self.open().get(owner) {
            // Whoever has just gone need not hear.
            drop(open.tell.send(Ended { session, reason }));
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<KeyId, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listening {
    /// Whose.
    pub const fn owner(&self) -> KeyId {
        self.owner
    }

    /// The next end; none where more have come than are kept for who hears slowly, and only the whole present tells them.
    pub async fn next(&mut self) -> Option<Ended> {
        self.heard.recv().await.ok()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut all = self.ends.open();
        match all.get_mut(&self.owner) {
            Some(open) if open.streams > 1 => open.streams -= 1,
            _ => drop(all.remove(&self.owner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Digest;

    fn key(name: &str) -> KeyId {
        KeyId::from_digest(Digest::of(name.as_bytes()))
    }

    #[test]
    fn a_key_holds_a_few_streams_and_one_that_ends_makes_room() {
        let (ends, one, other) = (Ends::default(), key("one"), key("other"));
        let mut places: Vec<_> = (0..3).map(|_| ends.listen(one, 3).unwrap()).collect();
        assert!(ends.listen(one, 3).is_none());
        assert!(ends.listen(other, 3).is_some());
        places.pop();
        assert!(ends.listen(one, 3).is_some());
        drop(places);
        assert!(ends.open().is_empty());
    }

    #[tokio::test]
    async fn only_the_owner_hears_of_an_end_and_who_hears_slowly_is_sent_to_ask() {
        let ends = Ends::default();
        let mut one = ends.listen(key("one"), 1).unwrap();
        let mut other = ends.listen(key("other"), 1).unwrap();
        let session: SessionId = "ab".repeat(32).parse().unwrap();
        ends.tell(&key("one"), session, EndReason::Logout);
        assert_eq!(one.next().await.unwrap().session, session);
        assert!(other.heard.try_recv().is_err(), "it is nobody else's business");
        for _ in 0..=UNHEARD_MAX {
            ends.tell(&key("other"), session, EndReason::Revoked);
        }
        assert!(other.next().await.is_none());
        assert_eq!(other.next().await.unwrap().reason, EndReason::Revoked);
    }
}
