//! A token of another trust domain names a key that our copy of its bundle does not have: its keys may have changed, so the
//! server is asked to look, once, and what comes of that is waited for a moment.

use super::keeper::{Identity, State};
use super::link::ServerLink;
use super::shown::Shown;
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::identity::TrustDomain;
use crate::telemetry::chain;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// As often as the server has an endpoint looked at for such a reason: whoever makes tokens up asks nobody more often.
const ASKED_EVERY: Duration = Duration::from_secs(30);
/// For an endpoint that answers, and short enough for whoever waits for a verdict.
const WAITED_FOR: Duration = Duration::from_secs(5);

/// See the file's words.
pub(super) struct NewerKeys {
    link: ServerLink,
    clock: Arc<dyn Clock>,
    /// Of trust domains whose bundles are held, so no more than those.
    asked: Mutex<BTreeMap<TrustDomain, Asked>>,
}

#[derive(Clone, Copy)]
struct Asked {
    at: OffsetDateTime,
    is_coming: bool,
}

impl std::fmt::Debug for NewerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewerKeys")
    }
}

impl NewerKeys {
    pub(super) fn new(link: ServerLink, clock: Arc<dyn Clock>) -> Self {
        Self { link, clock, asked: Mutex::default() }
    }

    /// Waits until another bundle of this trust domain is served than the one of this identity; not long, and not at all where
    /// none is on its way.
    pub(super) async fn awaited(&self, identity: &Identity, of: &TrustDomain, shown: Shown) {
        let Some(held) = bundle_of(identity, of) else { return };
        let Some(asked_at) = self.asked(identity, of).await else { return };
        tokio::select! {
            () = self.clock.wait_until(asked_at + WAITED_FOR) => {}
            () = other_than(held, shown) => {}
        }
    }

    /// When the server was asked, by this call or by another just now, if something is to come of it.
    async fn asked(&self, identity: &Identity, of: &TrustDomain) -> Option<OffsetDateTime> {
        let now = self.clock.now();
        if let Some(asked) = self.lately(of, now) {
            return asked.is_coming.then_some(asked.at);
        }
        let answer = self.link.refresh_bundle(&identity.session, of).await;
        let is_coming = answer.unwrap_or_else(|error| {
            tracing::debug!(trust_domain = %of, error = chain(&error), "the server does not look for newer keys");
            false
        });
        self.all().insert(of.clone(), Asked { at: now, is_coming });
        is_coming.then_some(now)
    }

    /// What was asked within the last half minute; if nothing was, this call asks, and counts from now on.
    fn lately(&self, of: &TrustDomain, now: OffsetDateTime) -> Option<Asked> {
        let mut all = self.all();
        // A clock that was put back must not keep us from asking until it has caught up.
        let lately = all.get(of).copied().filter(|asked| asked.at <= now && now - asked.at < ASKED_EVERY);
        if lately.is_none() {
            all.insert(of.clone(), Asked { at: now, is_coming: true });
        }
        lately
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<TrustDomain, Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bundle_of<'a>(identity: &'a Identity, trust_domain: &TrustDomain) -> Option<&'a Bundle> {
    identity.federated.bundles().iter().find(|bundle| bundle.trust_domain == *trust_domain)
}

/// Waits until a bundle of the same trust domain that is served is not this one, or nothing is served any more.
async fn other_than(held: &Bundle, mut shown: Shown) {
    loop {
        let is_same = match shown.look() {
            State::Serving(identity) => bundle_of(&identity, &held.trust_domain) == Some(held),
            State::Waiting | State::Between | State::Lapsed | State::Withdrawn | State::Stopping => false,
        };
        if !is_same || !shown.changed().await {
            return;
        }
    }
}
