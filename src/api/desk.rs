//! What all doors share: the road behind them, and what every request passes on its way there.

use super::crowd::{Caller, Good, Held};
use super::refused::{Class, Refused};
use super::reloads::Reloads;
use crate::authority::{AuthorityDesk, Crls, Published};
use crate::backup::Backups;
use crate::crypto::{KeyId, PublicKey, Random};
use crate::federation::Federation;
use crate::hooks::Delivery;
use crate::issuance::{Bearer, Heard, HookRefusal, Issuance, IssuedSvid, Refusal, Request, RequestId, Wanted};
use crate::policy::Walk;
use crate::session::CrlsWatch;
use crate::telemetry::{Door, Shutdown};
use crate::tls::PeerKey;
use crate::token::{TokenError, id_tokens};
use std::sync::Arc;
use tokio::sync::watch;

/// Why there are no revocation lists.
pub(super) const CRL_OFF: &str = "this server makes no revocation lists; a section [crl] in its configuration, which may be \
                                  empty, switches them on";

/// What all doors share.
#[derive(Debug)]
pub struct Desk {
    pub(super) issuance: Arc<Issuance>,
    pub(super) published: watch::Receiver<Arc<Published>>,
    pub(super) federation: Federation,
    /// None where revocation lists are not made.
    pub(super) crls: Option<CrlsWatch>,
    pub(super) shutdown: Shutdown,
    pub(super) reloads: Reloads,
    pub(super) authority: AuthorityDesk,
    pub(super) backups: Backups,
    random: Random,
}

impl Desk {
    /// A desk before this road. Its open streams end at shutdown.
    pub fn new(
        issuance: Arc<Issuance>,
        (published, federation, crls): (watch::Receiver<Arc<Published>>, Federation, Option<CrlsWatch>),
        (reloads, authority, backups): (Reloads, AuthorityDesk, Backups),
        (random, shutdown): (Random, Shutdown),
    ) -> Arc<Self> {
        Arc::new(Self { issuance, published, federation, crls, shutdown, reloads, authority, backups, random })
    }

    /// Names a request.
    pub(super) fn request_id(&self) -> RequestId {
        RequestId::random(&self.random)
    }

    /// The bundle as it is now.
    pub(super) fn bundle(&self) -> Arc<Published> {
        Arc::clone(&self.published.borrow())
    }

    /// An agent says which bundle it holds; 0 says nothing but that it is there, and nobody holds one that is still to come.
    pub(super) fn holds(&self, owner: KeyId, sequence: u64) {
        let said = (1..=self.bundle().bundle.sequence).contains(&sequence).then_some(sequence);
        self.authority.holders().heard(owner, said, self.issuance.now());
    }

    /// The revocation lists as they are now.
    pub(super) fn crls(&self) -> Result<Arc<Crls>, Refused> {
        let Some(made) = &self.crls else {
            return Err(Refused::new(Class::Absent, "crl_off", CRL_OFF, &self.request_id()));
        };
        made.borrow().clone().ok_or_else(|| {
            let detail = "the revocation lists are not complete yet; try again soon";
            Refused::new(Class::Unavailable, "crl_not_ready", detail, &self.request_id())
        })
    }

    /// Sends a request down the road, if there is a place for it.
    pub(super) async fn issue(
        &self,
        door: Door,
        bearer: Bearer,
        wanted: Wanted,
        caller: &Caller,
    ) -> Result<IssuedSvid, Refused> {
        let id = self.request_id();
        let connection = session_key(&caller.key, &id)?.cloned();
        let _place = place_of(caller, &id)?;
        let name = id.clone();
        let request = Request { id, door, bearer, wanted, connection };
        self.issuance.issue(request).await.map_err(|refusal| self.refused(&refusal, &name))
    }

    /// A refusal of the road. Who has no token of ours reads how a job gets one.
    fn refused(&self, refusal: &Refusal, id: &RequestId) -> Refused {
        let refused = Refused::of(refusal, id);
        if let Refusal::Token(TokenError::AudienceShared { wanted } | TokenError::AudienceWrong { wanted, .. }) =
            refusal
        {
            return refused.wanting(wanted);
        }
        let is_malformed = matches!(refusal, Refusal::Token(error) if error.is_malformed());
        let no_token = is_malformed || matches!(refusal, Refusal::UnknownIssuer { .. });
        match self.issuance.issuers.audience() {
            Some(audience) if no_token => {
                let line = format!("a job gets one by this line in .gitlab-ci.yml: {}", id_tokens(audience));
                refused.and(&line).wanting(audience)
            }
            _ => refused,
        }
    }

    /// What the CI system says of jobs, if there is a place for it: whoever sends it is not known yet.
    pub(super) async fn hear(&self, caller: &Caller, issuer: &str, delivery: &Delivery<'_>) -> Result<Heard, Refused> {
        let id = self.request_id();
        let _place = place_of(caller, &id)?;
        match self.issuance.hear(&id, issuer, delivery).await {
            // GitLab may send one again, and switches off a hook that refuses it.
            Err(HookRefusal::Repeated) => Ok(Heard::default()),
            heard => heard.map_err(|refusal| Refused::of_hook(&refusal, &id)),
        }
    }

    /// The walk of the policy for a genuine token's bearer, if there is a place for the question.
    pub(super) async fn explain_to(&self, caller: &Caller, token: &str) -> Result<Walk, Refused> {
        let id = self.request_id();
        let _place = place_of(caller, &id)?;
        self.issuance.explain_to_bearer(token).await.map_err(|refusal| self.refused(&refusal, &id))
    }

    /// The walk of the policy for a genuine token; operators need no place.
    pub(super) async fn explain(&self, token: &str, id: &RequestId) -> Result<Walk, Refused> {
        let (_claims, walk) = self.issuance.explain(token).await.map_err(|refusal| self.refused(&refusal, id))?;
        Ok(walk)
    }
}

/// A place among the tokens that are verified at once.
fn place_of(caller: &Caller, id: &RequestId) -> Result<Held, Refused> {
    caller.visitor.hold(Good::Verifications, 1).ok_or_else(|| Refused::of(&Refusal::TooMany, id))
}

/// The connection's session key, if the client showed any certificate.
pub(super) fn session_key<'a>(peer: &'a PeerKey, id: &RequestId) -> Result<Option<&'a PublicKey>, Refused> {
    let fit = peer.session_key();
    fit.map_err(|kind| Refused::new(Class::Malformed, "session_key_kind", kind.to_string(), id))
}

/// The connection's session key, for calls that need one.
pub(super) fn needed_session_key<'a>(peer: &'a PeerKey, id: &RequestId) -> Result<&'a PublicKey, Refused> {
    session_key(peer, id)?.ok_or_else(|| Refused::of(&Refusal::SessionKeyMissing, id))
}
