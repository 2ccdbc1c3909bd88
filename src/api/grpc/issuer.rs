//! `lanyard.v1.Issuer`: decode, call, encode.

use super::events::{Events, Holds};
use super::foreign_news::beside;
use crate::api::crowd::Caller;
use crate::api::desk::{Desk, needed_session_key};
use crate::api::doors::Endless;
use crate::api::limits::{SESSIONS_WATCHED_MAX, WATCHES_PER_KEY_MAX};
use crate::api::refused::{Class, Refused};
use crate::crypto::KeyId;
use crate::issuance::{Bearer, Credential, Csr, IssuedSvid, Refusal, RequestId, Wanted};
use crate::session::{EndReason, SessionId};
use crate::telemetry::Door;
use crate::tls::PeerKey;
use crate::wire::lanyard::{
    AcknowledgeAnswer, AcknowledgeRequest, EndSessionAnswer, EndSessionRequest, ExchangeRequest, FetchJwtRequest,
    JobEnd, JwtAnswer, RefreshBundleAnswer, RefreshBundleRequest, RenewRequest, WatchRequest, X509Answer,
    issuer_server,
};
use bytes::Bytes;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Debug)]
pub(in crate::api) struct Issuer(pub(in crate::api) Arc<Desk>);

#[tonic::async_trait]
impl issuer_server::Issuer for Issuer {
    async fn exchange(&self, request: Request<ExchangeRequest>) -> Result<Response<X509Answer>, Status> {
        let caller = caller_of(&request)?;
        let ExchangeRequest { token, csr, profile } = request.into_inner();
        self.x509(Bearer::Token(token), csr, profile, &caller).await
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<X509Answer>, Status> {
        let caller = caller_of(&request)?;
        let RenewRequest { session, csr, profile, bundle_sequence } = request.into_inner();
        let session = self.session(&session)?;
        let answer = self.x509(Bearer::Session(session), csr, profile, &caller).await?;
        if let Ok(owner) = needed_session_key(&caller.key, &self.0.request_id()) {
            self.0.holds(owner.id(), bundle_sequence);
        }
        Ok(answer)
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Result<Response<AcknowledgeAnswer>, Status> {
        let caller = caller_of(&request)?;
        let id = self.0.request_id();
        let owner = needed_session_key(&caller.key, &id).map_err(Refused::into_status)?.id();
        let AcknowledgeRequest { session, bundle_sequence } = request.into_inner();
        self.live_session(&session, owner, &id).await?;
        let published = self.0.bundle().bundle.sequence;
        if bundle_sequence > published {
            let detail = format!("the published bundle has sequence {published}; nobody can hold {bundle_sequence}");
            return Err(Refused::new(Class::Malformed, "sequence_unknown", detail, &id).into_status());
        }
        self.0.holds(owner, bundle_sequence);
        Ok(Response::new(AcknowledgeAnswer {}))
    }

    async fn refresh_bundle(
        &self,
        request: Request<RefreshBundleRequest>,
    ) -> Result<Response<RefreshBundleAnswer>, Status> {
        let caller = caller_of(&request)?;
        let id = self.0.request_id();
        let owner = needed_session_key(&caller.key, &id).map_err(Refused::into_status)?.id();
        let RefreshBundleRequest { session, trust_domain } = request.into_inner();
        let session = self.live_session(&session, owner, &id).await?;
        let issuance = &self.0.issuance;
        let may_have = issuance.sessions.federates_with(&session);
        let may_have = may_have.map_err(|error| Refused::of(&Refusal::from(error), &id).into_status())?;
        // Whom else we know is nobody's business.
        let wanted = may_have.iter().find(|known| known.as_str() == trust_domain);
        let is_asked = wanted.is_some_and(|wanted| self.0.federation.ask_early(wanted, issuance.now()));
        Ok(Response::new(RefreshBundleAnswer { is_asked }))
    }

    async fn fetch_jwt(&self, request: Request<FetchJwtRequest>) -> Result<Response<JwtAnswer>, Status> {
        let caller = caller_of(&request)?;
        let FetchJwtRequest { session, audience, profile } = request.into_inner();
        let bearer = Bearer::Session(self.session(&session)?);
        let wanted = Wanted::Jwt { audiences: audience, profile: named(profile) };
        let issued = self.0.issue(Door::Grpc, bearer, wanted, &caller).await.map_err(Refused::into_status)?;
        Ok(Response::new(jwt_answer(&issued)))
    }

    async fn end_session(&self, request: Request<EndSessionRequest>) -> Result<Response<EndSessionAnswer>, Status> {
        let caller = caller_of(&request)?;
        let id = self.0.request_id();
        let key = needed_session_key(&caller.key, &id).map_err(Refused::into_status)?;
        let EndSessionRequest { session, reason } = request.into_inner();
        let session = self.session(&session)?;
        let ended = self.0.issuance.end_as_asked(&id, reason_of(reason), &session, key.id()).await;
        ended.map_err(|refusal| Refused::of(&refusal, &id).into_status())?;
        Ok(Response::new(EndSessionAnswer {}))
    }

    type WatchStream = Events;

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Events>, Status> {
        let caller = caller_of(&request)?;
        let id = self.0.request_id();
        let refused = |class, code, detail: String| Refused::new(class, code, detail, &id).into_status();
        let owner = needed_session_key(&caller.key, &id).map_err(Refused::into_status)?.id();
        let WatchRequest { bundle_sequence, session, crls, federated } = request.into_inner();
        if session.len() > SESSIONS_WATCHED_MAX {
            let detail = format!("at most {SESSIONS_WATCHED_MAX} sessions a stream");
            return Err(refused(Class::Malformed, "too_many_sessions", detail));
        }
        let heard = self.0.issuance.sessions.listen(owner, WATCHES_PER_KEY_MAX).ok_or_else(|| {
            let detail = format!("this session key has {WATCHES_PER_KEY_MAX} streams open already");
            refused(Class::TooMany, "too_many_watches", detail)
        })?;
        // A name that is none cannot live, so it is left out of the answer.
        let named = |all: Vec<String>| all.iter().filter_map(|name| name.parse().ok()).collect();
        let (sessions, holds) = (named(session), Holds { bundle_sequence, crls, federated: named(federated) });
        let events = Events::of(Arc::clone(&self.0), (heard, sessions), holds);
        let mut answer = Response::new(events);
        answer.extensions_mut().insert(Endless);
        Ok(answer)
    }
}

impl Issuer {
    async fn x509(
        &self,
        bearer: Bearer,
        csr: Bytes,
        profile: String,
        caller: &Caller,
    ) -> Result<Response<X509Answer>, Status> {
        // Over gRPC the session key is the connection's, always; a session that nobody can renew is for curl.
        if matches!(caller.key, PeerKey::Absent) {
            needed_session_key(&caller.key, &self.0.request_id()).map_err(Refused::into_status)?;
        }
        let wanted = Wanted::X509 { csr: Csr::Der(csr), profile: named(profile) };
        let issued = self.0.issue(Door::Grpc, bearer, wanted, caller).await.map_err(Refused::into_status)?;
        Ok(Response::new(self.x509_answer(&issued)))
    }

    fn x509_answer(&self, issued: &IssuedSvid) -> X509Answer {
        let bundle = self.0.bundle();
        let certificate_chain = match issued.credential() {
            Credential::X509(chain) => chain.iter().map(|der| Bytes::copy_from_slice(der)).collect(),
            Credential::Jwt(_) => Vec::new(),
        };
        X509Answer {
            request_id: issued.request_id().to_owned(),
            session: issued.session().unwrap_or_default().to_owned(),
            spiffe_id: issued.spiffe_id().to_string(),
            certificate_chain,
            not_before: issued.not_before().unix_timestamp(),
            not_after: issued.not_after().unix_timestamp(),
            limited_by: issued.limited_by().as_str().to_owned(),
            profile: issued.profile().unwrap_or_default().to_owned(),
            profiles: issued.profiles(),
            session_ends_at: issued.session_ends_at().unix_timestamp(),
            bundle: bundle.json.clone(),
            trust_domain: bundle.bundle.trust_domain.to_string(),
            federated: beside(&self.0.federation.now(), issued.federates_with()),
        }
    }

    /// A session of this key that lives.
    async fn live_session(&self, text: &str, owner: KeyId, id: &RequestId) -> Result<SessionId, Status> {
        let (session, issuance) = (self.session(text)?, &self.0.issuance);
        let lives = issuance.sessions.lives(&session, owner, issuance.now()).await;
        if lives.map_err(|error| Refused::of(&Refusal::from(error), id).into_status())? {
            return Ok(session);
        }
        let detail = "no such session lives and belongs to this connection's key";
        Err(Refused::new(Class::Forbidden, "session_unknown", detail, id).into_status())
    }

    fn session(&self, text: &str) -> Result<SessionId, Status> {
        text.parse().map_err(|_not_a_digest| {
            let detail = "a session is named by 64 hex digits";
            Refused::new(Class::Malformed, "session_malformed", detail, &self.0.request_id()).into_status()
        })
    }
}

fn jwt_answer(issued: &IssuedSvid) -> JwtAnswer {
    let jwt_svid = match issued.credential() {
        Credential::Jwt(jwt) => jwt.clone(),
        Credential::X509(_) => String::new(),
    };
    JwtAnswer {
        request_id: issued.request_id().to_owned(),
        spiffe_id: issued.spiffe_id().to_string(),
        jwt_svid,
        not_after: issued.not_after().unix_timestamp(),
        limited_by: issued.limited_by().as_str().to_owned(),
        profile: issued.profile().unwrap_or_default().to_owned(),
    }
}

/// An end must not fail for its reason, so that of a newer agent counts as the usual one.
fn reason_of(said: i32) -> EndReason {
    match JobEnd::try_from(said) {
        Ok(JobEnd::AgentStopped) => EndReason::AgentStopped,
        Ok(JobEnd::CgroupEmpty) => EndReason::CgroupEmpty,
        Ok(JobEnd::ExecEnd) => EndReason::ExecEnd,
        Ok(JobEnd::Logout | JobEnd::Unspecified) | Err(_) => EndReason::Logout,
    }
}

/// The wire writes "none" as an empty text.
fn named(profile: String) -> Option<String> {
    Some(profile).filter(|profile| !profile.is_empty())
}

/// The accept loop says on every request whose connection it came over.
fn caller_of<T>(request: &Request<T>) -> Result<Arc<Caller>, Status> {
    let caller = request.extensions().get::<Arc<Caller>>().cloned();
    caller.ok_or_else(|| Status::internal("whose connection it is, is not known"))
}
