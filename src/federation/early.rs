//! A token names a key that is not held: its trust domain may have changed its keys since it was asked last.

use super::Federation;
use crate::identity::TrustDomain;
use std::time::Duration;
use time::OffsetDateTime;

/// Design section 9, settled numbers: strangers name keys as they like, and nobody is asked more often for that.
const EARLY_AT_MOST_EVERY: Duration = Duration::from_secs(30);

impl Federation {
    /// Has a trust domain's endpoint asked ahead of its turn, unless it has just been seen. Whether its answer is still to come.
    pub fn ask_early(&self, trust_domain: &TrustDomain, now: OffsetDateTime) -> bool {
        let relation = self.relation(trust_domain).filter(|relation| relation.source.endpoint().is_some());
        let Some(relation) = relation else { return false };
        if relation.confirmed_at.is_some_and(|seen_at| is_just_before(now, seen_at)) {
            return false;
        }
        self.turns().hurry_unless(trust_domain, now, |hurried_at| is_just_before(now, hurried_at));
        true
    }
}

/// A clock that was put back must not keep us from asking until it has caught up.
fn is_just_before(now: OffsetDateTime, then: OffsetDateTime) -> bool {
    then <= now && now - then < EARLY_AT_MOST_EVERY
}
