//! Who has how many of a door's connections: a bound for all, and one for each process, so that one cannot starve others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UnixStream;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Whose connection it is: a process, or all of a user where its process is in another namespace.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Peer {
    Process(i32),
    User(u32),
    Unknown,
}

/// The places of one door; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    of_one_max: usize,
    taken: Arc<Mutex<BTreeMap<Peer, usize>>>,
}

/// A place of its process and one of the door's.
pub(super) type Taken = (Place, OwnedSemaphorePermit);

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    peer: Peer,
    taken: Arc<Mutex<BTreeMap<Peer, usize>>>,
}

impl Places {
    /// So many places, and so many of them for one process.
    pub(super) fn new(all_max: usize, of_one_max: usize) -> Self {
        Self { all: Arc::new(Semaphore::new(all_max)), of_one_max, taken: Arc::default() }
    }

    /// One of the door's places, waiting for it while all are taken. Whoever accepts only then loses no connection when
    /// it gives up waiting.
    pub(super) async fn share(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.all).acquire_owned().await
    }

    /// That place for this connection; none for a process that has its own share.
    pub(super) fn seat(&self, stream: &UnixStream, share: OwnedSemaphorePermit) -> Option<Taken> {
        let peer = stream.peer_cred().map_or(Peer::Unknown, |peer| match peer.pid() {
            Some(pid) if pid > 0 => Peer::Process(pid),
            Some(_) | None => Peer::User(peer.uid()),
        });
        Some((self.of(peer)?, share))
    }

    fn of(&self, peer: Peer) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(peer).or_default();
        if *count >= self.of_one_max {
            tracing::debug!(?peer, "this process has {count} connections; no more for it");
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { peer, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.peer).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.peer);
        } else {
            taken.insert(self.peer, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_all_its_places_leaves_room_for_others() {
        let places = Places::new(4, 2);
        let mut held: Vec<_> = (0..2).map(|_| places.of(Peer::Process(7)).unwrap()).collect();
        assert!(places.of(Peer::Process(7)).is_none());
        places.of(Peer::Process(8)).unwrap();
        held.pop();
        places.of(Peer::Process(7)).unwrap();
        held.clear();
        assert!(places.taken.lock().unwrap().is_empty(), "nothing is kept of whoever has gone");
    }
}
