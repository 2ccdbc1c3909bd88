//! What rotation asks of the rest of the server, which stands below this room: who has an SVID of ours, and for how long.

use super::Live;
use crate::crypto::KeyId;
use std::collections::{BTreeSet, HashSet};
use std::fmt::Debug;
use std::time::Duration;
use time::OffsetDateTime;

/// What the rest of the server knows of those who hold our SVIDs.
pub trait Witness: Debug + Send + Sync {
    /// How long an SVID lives at most, by the policy of today.
    fn longest_ttl(&self) -> Duration;
    /// The session keys that have a live session.
    fn live_owners(&self, now: OffsetDateTime) -> HashSet<KeyId>;
    /// How many live sessions have their newest SVID from each of these signers.
    fn live_on(&self, signers: &BTreeSet<String>, now: OffsetDateTime) -> Live;
}

/// Where there is nobody: no sessions, no SVIDs.
#[derive(Debug)]
pub(super) struct Nobody;

impl Witness for Nobody {
    fn longest_ttl(&self) -> Duration {
        Duration::ZERO
    }

    fn live_owners(&self, _now: OffsetDateTime) -> HashSet<KeyId> {
        HashSet::new()
    }

    fn live_on(&self, _signers: &BTreeSet<String>, _now: OffsetDateTime) -> Live {
        Live::new()
    }
}
