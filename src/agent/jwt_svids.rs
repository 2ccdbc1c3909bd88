//! JWT-SVIDs, fetched from the server when somebody asks, and kept while they are fresh.
//!
//! **Invariants**: a kept token belongs to the session that is served now, was signed by a key that is not tainted, and has
//! at least half of its life before it; only when the server is away is an older one handed out, while it lives.

use super::keeper::Identity;
use super::link::{LinkError, ServerLink};
use crate::clock::Clock;
use crate::svid::inspect_jwt;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

/// Different sets of audiences that are remembered; a job that asks for more is served, not remembered.
const KEPT_MAX: usize = 128;

/// A token that ends sooner is of no use to whoever would have to carry it somewhere.
const USABLE_FOR: Duration = Duration::from_secs(5);

/// One for each set of audiences and each profile.
type Key = (BTreeSet<String>, String);

#[derive(Clone)]
struct Kept {
    session: String,
    svid: String,
    kid: String,
    fresh_until: OffsetDateTime,
    not_after: OffsetDateTime,
}

/// Where JWT-SVIDs come from.
pub(super) struct JwtSvids {
    link: ServerLink,
    clock: Arc<dyn Clock>,
    kept: Mutex<BTreeMap<Key, Kept>>,
}

impl std::fmt::Debug for JwtSvids {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JwtSvids")
    }
}

impl JwtSvids {
    pub(super) fn new(link: ServerLink, clock: Arc<dyn Clock>) -> Self {
        Self { link, clock, kept: Mutex::default() }
    }

    /// A token of one profile for all of these audiences; the server refuses several where its rule does.
    pub(super) async fn of(
        &self,
        identity: &Identity,
        profile: &str,
        audience: &[String],
    ) -> Result<String, LinkError> {
        let key = (audience.iter().cloned().collect(), profile.to_owned());
        let now = self.clock.now();
        let kept = self.kept(&key, identity);
        if let Some(kept) = kept.as_ref().filter(|kept| now < kept.fresh_until) {
            return Ok(kept.svid.clone());
        }
        match self.link.fetch_jwt(&identity.session, audience, profile).await {
            Ok(answer) => self.keep(key, identity, answer.jwt_svid),
            Err(away @ LinkError::Unavailable(_)) => match kept {
                Some(kept) if now + USABLE_FOR < kept.not_after => Ok(kept.svid),
                Some(_) | None => Err(away),
            },
            Err(error) => Err(error),
        }
    }

    fn kept(&self, key: &Key, identity: &Identity) -> Option<Kept> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_good = |kept: &&Kept| kept.session == identity.session && !identity.distrusted.contains(&kept.kid);
        kept.get(key).filter(is_good).cloned()
    }

    fn keep(&self, key: Key, identity: &Identity, svid: String) -> Result<String, LinkError> {
        let facts = inspect_jwt(&svid)?;
        let ours = identity.svids.iter().any(|own| own.profile == key.1 && own.spiffe_id == facts.spiffe_id);
        if !ours || !key.0.iter().all(|audience| facts.audience.contains(audience)) {
            return Err(LinkError::Certificate("the JWT-SVID says something else"));
        }
        let now = self.clock.now();
        let (session, not_after) = (identity.session.clone(), facts.not_after);
        let fresh_until = now + (not_after - now) / 2;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, kept| kept.session == session && now < kept.not_after);
        if kept.len() < KEPT_MAX {
            kept.insert(key, Kept { session, svid: svid.clone(), kid: facts.kid, fresh_until, not_after });
        }
        drop(kept);
        Ok(svid)
    }
}

impl From<&LinkError> for tonic::Status {
    fn from(error: &LinkError) -> Self {
        match error {
            LinkError::Refused(refused) if refused.status == 400 => Self::invalid_argument(refused.to_string()),
            LinkError::Refused(refused) => Self::permission_denied(refused.to_string()),
            LinkError::Bundle(_)
            | LinkError::Certificate(_)
            | LinkError::Id(_)
            | LinkError::Inspect(_)
            | LinkError::Invalid(_)
            | LinkError::Key(_)
            | LinkError::TrustDomain(_)
            | LinkError::Unavailable(_) => Self::unavailable(error.to_string()),
        }
    }
}
