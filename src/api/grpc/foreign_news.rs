//! What agents get of other trust domains: with each SVID, and as news to those alone whom a change concerns.

use crate::api::desk::Desk;
use crate::federation::{Foreign, ForeignBundles, Stamp};
use crate::identity::TrustDomain;
use crate::session::SessionId;
use crate::store::StoreError;
use crate::wire::lanyard::event::Kind;
use crate::wire::lanyard::{FederatedBundle, FederatedBundles, Federation};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What one agent was told, and what there is.
pub(super) struct ForeignNews {
    now: watch::Receiver<Arc<ForeignBundles>>,
    /// Of each session; none where only the agent knows. Who is not here was told of nothing.
    told: BTreeMap<SessionId, Option<Vec<Arc<Foreign>>>>,
}

impl ForeignNews {
    /// For an agent that says of these sessions that it holds something for them.
    pub(super) fn of(desk: &Desk, holds_for: impl Iterator<Item = SessionId>) -> Self {
        let mut now = desk.federation.watch();
        now.borrow_and_update();
        Self { now, told: holds_for.map(|session| (session, None)).collect() }
    }

    /// Whether there can be anything to tell: most servers know no other trust domain.
    pub(super) fn can_be(&self) -> bool {
        !self.told.is_empty() || !self.now.borrow().is_empty()
    }

    /// Waits for a change of any bundle.
    pub(super) async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        self.now.changed().await
    }

    /// What is new for these sessions, those with the same bundles together.
    pub(super) fn take(&mut self, desk: &Desk, sessions: &[SessionId]) -> Result<Vec<Kind>, StoreError> {
        let now = Arc::clone(&self.now.borrow_and_update());
        let mut news: Vec<(Vec<Arc<Foreign>>, Vec<String>)> = Vec::new();
        for session in sessions {
            let may_have = now.among(&desk.issuance.sessions.federates_with(session)?);
            let is_told = match self.told.get(session) {
                None => may_have.is_empty(),
                Some(told) => told.as_ref().is_some_and(|told| are_same(told, &may_have)),
            };
            if is_told {
                continue;
            }
            self.told.insert(*session, Some(may_have.clone()));
            match news.iter_mut().find(|(bundles, _)| are_same(bundles, &may_have)) {
                Some((_, all)) => all.push(session.to_string()),
                None => news.push((may_have, vec![session.to_string()])),
            }
        }
        let told = |(bundles, session): (Vec<Arc<Foreign>>, _)| {
            Kind::Federation(Federation { session, bundles: Some(message(now.stamp(), &bundles)) })
        };
        Ok(news.into_iter().map(told).collect())
    }
}

/// What goes with an SVID; nothing where its rule names no other trust domain.
pub(super) fn beside(now: &ForeignBundles, wanted: &[TrustDomain]) -> Option<FederatedBundles> {
    (!wanted.is_empty()).then(|| message(now.stamp(), &now.among(wanted)))
}

/// A bundle that changes is made anew, so that the same one is the same.
fn are_same(some: &[Arc<Foreign>], others: &[Arc<Foreign>]) -> bool {
    some.len() == others.len() && some.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
}

fn message(Stamp { run, number }: Stamp, bundles: &[Arc<Foreign>]) -> FederatedBundles {
    let bundle = |foreign: &Arc<Foreign>| FederatedBundle {
        trust_domain: foreign.bundle.trust_domain.to_string(),
        document: foreign.json.clone(),
    };
    FederatedBundles { run, number, bundle: bundles.iter().map(bundle).collect() }
}
