//! Who has how many of a door's connections: a bound for all, and one for each process or job, so that one cannot starve
//! others.

use super::turned_away::Peer;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// Whose connection it is: a process's, or all of a user's where its process is in another namespace; on a host a job's.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Holder {
    Job(u64),
    Process(i32),
    Unknown,
    User(u32),
}

impl Holder {
    /// By what the system says of the peer alone.
    pub(super) fn of(peer: Peer) -> Self {
        let user = peer.uid.map_or(Self::Unknown, Self::User);
        peer.pid.map_or(user, Self::Process)
    }
}

/// The places of one door; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    of_one_max: usize,
    taken: Arc<Mutex<BTreeMap<Holder, usize>>>,
}

/// A place of its process and one of the door's.
pub(super) type Taken = (Place, OwnedSemaphorePermit);

/// One connection's place, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    holder: Holder,
    taken: Arc<Mutex<BTreeMap<Holder, usize>>>,
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

    /// That place for a connection of this holder; none for one that has its own share.
    pub(super) fn seat(&self, holder: Holder, share: OwnedSemaphorePermit) -> Option<Taken> {
        Some((self.of(holder)?, share))
    }

    fn of(&self, holder: Holder) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(holder).or_default();
        if *count >= self.of_one_max {
            tracing::debug!(?holder, "this holder has {count} connections; no more for it");
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Place { holder, taken: Arc::clone(&self.taken) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let left = taken.get(&self.holder).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            taken.remove(&self.holder);
        } else {
            taken.insert(self.holder, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_all_its_places_leaves_room_for_others() {
        let places = Places::new(4, 2);
        let mut held: Vec<_> = (0..2).map(|_| places.of(Holder::Process(7)).unwrap()).collect();
        assert!(places.of(Holder::Process(7)).is_none());
        places.of(Holder::Process(8)).unwrap();
        held.pop();
        places.of(Holder::Process(7)).unwrap();
        held.clear();
        assert!(places.taken.lock().unwrap().is_empty(), "nothing is kept of whoever has gone");
    }
}
