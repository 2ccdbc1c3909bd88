//! What rotation asks of the rest of the server: how long SVIDs live, and who has one.

use crate::authority::{Live, Witness};
use crate::crypto::KeyId;
use crate::issuance::{Issuance, PolicyInUse};
use crate::session::Sessions;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// The sessions and the policy.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) sessions: Sessions,
    pub(super) policy: PolicyInUse,
}

impl Sight {
    /// What the road sees.
    pub(super) fn of(issuance: &Issuance) -> Arc<dyn Witness> {
        Arc::new(Self { sessions: issuance.sessions.clone(), policy: issuance.policy.clone() })
    }
}

impl Witness for Sight {
    fn longest_ttl(&self) -> Duration {
        self.policy.now().longest_ttl()
    }

    fn live_owners(&self, now: OffsetDateTime) -> HashSet<KeyId> {
        self.sessions.owners(now)
    }

    fn live_on(&self, signers: &BTreeSet<String>, now: OffsetDateTime) -> Live {
        self.sessions.count_by_signer(signers, now)
    }
}
