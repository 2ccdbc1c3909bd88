//! What the operator hears of callers that are turned away: each call in a number, each peer in one line a minute.

use super::caller::NotAJob;
use crate::clock::Clock;
use crate::telemetry::AgentMetrics;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::UnixStream;

/// Clients that are refused come back, some twenty times a second.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// And whoever comes with a new process each time fills no log.
const PEERS_MAX: usize = 64;

/// Who is at a connection's other end, as the system says; it may not say.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Peer {
    pub(super) uid: Option<u32>,
    /// None also for a process in a namespace that we do not see.
    pub(super) pid: Option<i32>,
}

impl Peer {
    pub(super) fn of(stream: &UnixStream) -> Self {
        let found = stream.peer_cred().ok();
        let pid = found.and_then(|peer| peer.pid()).filter(|pid| *pid > 0);
        Self { uid: found.map(|peer| peer.uid()), pid }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.uid, self.pid) {
            (Some(uid), Some(pid)) => write!(f, "uid {uid}, pid {pid}"),
            (Some(uid), None) => write!(f, "uid {uid}, of another pid namespace"),
            (None, _) => f.write_str("unknown"),
        }
    }
}

/// See the file's words.
#[derive(Debug)]
pub(super) struct TurnedAway {
    clock: Arc<dyn Clock>,
    metrics: AgentMetrics,
    told: Mutex<Told>,
}

/// When whom.
#[derive(Debug, Default)]
struct Told(BTreeMap<Peer, OffsetDateTime>);

impl TurnedAway {
    pub(super) fn new(clock: Arc<dyn Clock>, metrics: AgentMetrics) -> Self {
        Self { clock, metrics, told: Mutex::default() }
    }

    /// One more call of this peer was turned away.
    pub(super) fn count(&self, peer: Peer, why: &NotAJob) {
        let code = why.code();
        self.metrics.turned_away(code);
        if self.told.lock().unwrap_or_else(PoisonError::into_inner).is_due(peer, self.clock.now()) {
            tracing::warn!(%peer, code, %why, "a caller is turned away; told once a minute");
        }
    }
}

impl Told {
    fn is_due(&mut self, peer: Peer, now: OffsetDateTime) -> bool {
        self.0.retain(|_peer, at| *at <= now && now - *at < TOLD_EVERY);
        let due = self.0.len() < PEERS_MAX && !self.0.contains_key(&peer);
        if due {
            self.0.insert(peer, now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(pid: i32) -> Peer {
        Peer { uid: Some(7), pid: Some(pid) }
    }

    #[test]
    fn each_peer_is_told_once_a_minute_and_not_more_peers_than_somebody_reads() {
        let (mut told, began) = (Told::default(), OffsetDateTime::UNIX_EPOCH);
        let after = |seconds| began + Duration::from_secs(seconds);
        assert!(told.is_due(peer(1), after(0)));
        assert!(!told.is_due(peer(1), after(59)));
        assert!(told.is_due(peer(2), after(59)));
        assert!(told.is_due(peer(1), after(60)));
        let others = (3..1000).filter(|pid| told.is_due(peer(*pid), after(60))).count();
        assert_eq!(others, PEERS_MAX - 2);
        assert!(told.is_due(peer(2), after(119)));
    }

    #[test]
    fn a_clock_that_goes_back_silences_nobody() {
        let (mut told, now) = (Told::default(), OffsetDateTime::UNIX_EPOCH);
        assert!(told.is_due(peer(1), now + Duration::from_secs(9000)));
        assert!(told.is_due(peer(1), now));
    }
}
