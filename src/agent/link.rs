//! The connection to the server: gRPC over mutual TLS, with the session key as our certificate.

use super::federated::Federated;
use super::keeper::Svid;
use super::setback::{CODE, Setback};
use crate::bundle::{Bundle, BundleError};
use crate::crypto::{CryptoError, KeyPair};
use crate::identity::{SpiffeId, SpiffeIdError, TrustDomain, TrustDomainError};
use crate::svid::{InspectError, X509SvidError, inspect_certificate, validate_x509_svid};
use crate::wire::lanyard::issuer_client::IssuerClient;
use crate::wire::lanyard::{
    AcknowledgeRequest, EndSessionRequest, Event, ExchangeRequest, FetchJwtRequest, JobEnd, JwtAnswer,
    RefreshBundleRequest, RenewRequest, WatchRequest, X509Answer,
};
use rustls_pki_types::CertificateDer;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};

/// For one answer; a server that is slower is away.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Metadata of a refusal: the name of the request, and the audience that the token should have.
const REQUEST_ID: &str = "lanyard-request-id";
const AUDIENCE: &str = "lanyard-audience";

/// The server said no, for good.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{code}: {say}")]
pub struct Refused {
    /// The stable code, such as `token_replayed`.
    pub code: String,
    /// What to change.
    pub say: String,
    /// Names the request in the server's log and journal; empty when the server did not name it.
    pub request_id: String,
    /// The HTTP status that fits: 400, 401, 403, 404, 409 or 413.
    pub status: u16,
    /// The audience that the job's token should have, where the token is what is wrong.
    pub audience: Option<String>,
}

/// Why the server gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("the server's bundle cannot be read")]
    Bundle(#[from] BundleError),
    #[error("the server's certificate does not fit the request: {0}")]
    Certificate(&'static str),
    #[error("the server's SPIFFE ID cannot be read")]
    Id(#[from] SpiffeIdError),
    #[error("the server's certificate cannot be read")]
    Inspect(#[from] InspectError),
    #[error("the server's certificate chain does not hold")]
    Invalid(#[from] X509SvidError),
    #[error("no key for the request")]
    Key(#[from] CryptoError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the server's trust domain cannot be read")]
    TrustDomain(#[from] TrustDomainError),
    #[error(transparent)]
    Unavailable(#[from] Setback),
}

/// What the server grants with one X.509-SVID.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) svid: Svid,
    pub(super) session: String,
    pub(super) session_ends_at: time::OffsetDateTime,
    pub(super) profiles: Vec<String>,
    pub(super) bundle: Bundle,
    pub(super) federated: Federated,
}

/// What an agent holds already and need not be told.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) bundle_sequence: u64,
    /// The number of a set of revocation lists; none where they are not wanted.
    pub(super) crls: Option<u64>,
    /// The sessions that have bundles of other trust domains: whether these still stand is to be told.
    pub(super) federated: Vec<String>,
}

/// Calls the server; clones share one connection, made when first needed and again when lost.
#[derive(Clone, Debug)]
pub(super) struct ServerLink(IssuerClient<Channel>);

impl ServerLink {
    pub(super) fn new(channel: Channel) -> Self {
        Self(IssuerClient::new(channel))
    }

    /// Trades a token for the first SVID of a session; the same token gives the same session again.
    pub(super) async fn exchange(&self, token: &str) -> Result<Granted, LinkError> {
        let (key, csr) = super::request::fresh_key()?;
        let request = ExchangeRequest { token: token.to_owned(), csr: csr.into(), profile: String::new() };
        let answer = self.0.clone().exchange(timely(request)).await.map_err(|status| refused(&status))?;
        granted(answer.into_inner(), key)
    }

    /// A fresh SVID of a live session.
    pub(super) async fn renew(&self, session: &str, profile: &str, sequence: u64) -> Result<Granted, LinkError> {
        let (key, csr) = super::request::fresh_key()?;
        let (session, profile) = (session.to_owned(), profile.to_owned());
        let request = RenewRequest { session, csr: csr.into(), profile, bundle_sequence: sequence };
        let answer = self.0.clone().renew(timely(request)).await.map_err(|status| refused(&status))?;
        granted(answer.into_inner(), key)
    }

    /// A JWT-SVID of a live session.
    pub(super) async fn fetch_jwt(
        &self,
        session: &str,
        audience: &[String],
        profile: &str,
    ) -> Result<JwtAnswer, LinkError> {
        let request =
            FetchJwtRequest { session: session.to_owned(), audience: audience.to_vec(), profile: profile.to_owned() };
        let answer = self.0.clone().fetch_jwt(timely(request)).await.map_err(|status| refused(&status))?;
        Ok(answer.into_inner())
    }

    /// Ends a session.
    pub(super) async fn end(&self, session: &str, why: JobEnd) -> Result<(), LinkError> {
        let request = EndSessionRequest { session: session.to_owned(), reason: why.into() };
        self.0.clone().end_session(timely(request)).await.map_err(|status| refused(&status))?;
        Ok(())
    }

    /// Says which bundle is in use for all sessions; `session` is one of them.
    pub(super) async fn acknowledge(&self, session: String, bundle_sequence: u64) -> Result<(), LinkError> {
        let request = AcknowledgeRequest { session, bundle_sequence };
        self.0.clone().acknowledge(timely(request)).await.map_err(|status| refused(&status))?;
        Ok(())
    }

    /// Has the server look for a newer bundle of another trust domain; whether it does.
    pub(super) async fn refresh_bundle(&self, session: &str, trust_domain: &TrustDomain) -> Result<bool, LinkError> {
        let request = RefreshBundleRequest { session: session.to_owned(), trust_domain: trust_domain.to_string() };
        let answer = self.0.clone().refresh_bundle(timely(request)).await.map_err(|status| refused(&status))?;
        Ok(answer.into_inner().is_asked)
    }

    /// What changes on the server's side for these sessions, from now on.
    pub(super) async fn watch(&self, session: Vec<String>, held: Held) -> Result<Streaming<Event>, LinkError> {
        let Held { bundle_sequence, crls, federated } = held;
        let request = WatchRequest { bundle_sequence, session, crls, federated };
        let stream = self.0.clone().watch(request).await.map_err(|status| refused(&status))?;
        Ok(stream.into_inner())
    }
}

impl Refused {
    /// There was a session, and there is none any more.
    pub(super) fn ended(reason: &str) -> Self {
        Self::here("session_ended", format!("the session has ended ({reason}); log in with a fresh token"), 403)
    }

    /// A no of the agent's own, of which no server knows.
    pub(super) fn here(code: &str, say: impl Into<String>, status: u16) -> Self {
        Self { code: code.to_owned(), say: say.into(), request_id: String::new(), status, audience: None }
    }
}

/// Tells a refusal, which is final, from a server that is away or busy.
fn refused(status: &Status) -> LinkError {
    let http = match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::Unimplemented => 400,
        Code::Unauthenticated => 401,
        Code::PermissionDenied => 403,
        Code::NotFound => 404,
        Code::AlreadyExists => 409,
        Code::Ok
        | Code::Aborted
        | Code::Cancelled
        | Code::DataLoss
        | Code::DeadlineExceeded
        | Code::Internal
        | Code::ResourceExhausted
        | Code::Unavailable
        | Code::Unknown => return Setback::of(status).into(),
    };
    let word = |name| status.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let code = match word(CODE) {
        "" => "refused",
        code => code,
    };
    let (code, request_id) = (code.to_owned(), word(REQUEST_ID).to_owned());
    let audience = Some(word(AUDIENCE).to_owned()).filter(|audience| !audience.is_empty());
    Refused { code, say: status.message().to_owned(), request_id, status: http, audience }.into()
}

/// A request that is given up when its answer is late.
fn timely<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ANSWER_WITHIN);
    request
}

/// Reads an answer, and believes of it only what fits the key that we made.
fn granted(answer: X509Answer, key: KeyPair) -> Result<Granted, LinkError> {
    let trust_domain = TrustDomain::parse(&answer.trust_domain)?;
    let bundle = Bundle::parse(trust_domain.clone(), &answer.bundle)?;
    let spiffe_id = SpiffeId::parse(&answer.spiffe_id)?;
    let chain: Vec<_> = answer.certificate_chain.iter().map(|der| CertificateDer::from(der.to_vec())).collect();
    let leaf = inspect_certificate(chain.first().ok_or(LinkError::Certificate("there is none"))?)?;
    if leaf.key_id != key.public().id() {
        return Err(LinkError::Certificate("another key"));
    }
    if leaf.spiffe_id != spiffe_id || spiffe_id.trust_domain() != trust_domain {
        return Err(LinkError::Certificate("another SPIFFE ID"));
    }
    // To its last second, not now: a clock that runs behind here is no fault of the certificate.
    validate_x509_svid(&chain, &[&bundle], leaf.not_after)?;
    let session_ends_at = time::OffsetDateTime::from_unix_timestamp(answer.session_ends_at)
        .map_err(|_range| LinkError::Certificate("the session's end is no time"))?;
    let federated = Federated::read(answer.federated.unwrap_or_default(), &trust_domain);
    Ok(Granted {
        svid: Svid { spiffe_id, profile: answer.profile, chain, key, not_after: leaf.not_after },
        session: answer.session,
        session_ends_at,
        profiles: answer.profiles,
        bundle,
        federated,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyAlgorithm, PublicKey, Random};
    use crate::svid::{AuthorityFields, BuildClaims, LeafFields, Serial, Subject};
    use time::OffsetDateTime;

    const ID: &str = "spiffe://ci.test/acme/api/-/pipelines/7";

    fn new_key() -> KeyPair {
        KeyPair::generate(KeyAlgorithm::EcP256).unwrap()
    }

    fn authority(key: &KeyPair, path_length: u8) -> AuthorityFields {
        AuthorityFields {
            trust_domain: TrustDomain::parse("ci.test").unwrap(),
            common_name: format!("authority {path_length}"),
            key: key.public().clone(),
            serial: Serial::random(&Random::system()),
            path_length,
            name_constraints: false,
            not_before: OffsetDateTime::UNIX_EPOCH,
            not_after: OffsetDateTime::UNIX_EPOCH + Duration::from_secs(86_400),
        }
    }

    fn leaf(key: &PublicKey) -> LeafFields {
        LeafFields {
            spiffe_id: SpiffeId::parse(ID).unwrap(),
            dns: None,
            key: key.clone(),
            serial: Serial::random(&Random::system()),
            subject: Subject::Organization,
            build_claims: BuildClaims::default(),
            not_before: OffsetDateTime::UNIX_EPOCH,
            not_after: OffsetDateTime::UNIX_EPOCH + Duration::from_secs(900),
        }
    }

    #[test]
    fn a_chain_that_the_bundle_beside_it_does_not_hold_is_not_served() {
        let (root_key, signing, other_key) = (new_key(), new_key(), new_key());
        let root = authority(&root_key, 1).sign_itself(&root_key).unwrap();
        let other = authority(&other_key, 1).sign_itself(&other_key).unwrap();
        let intermediate = authority(&signing, 0).sign(&root, &root_key).unwrap();
        let judge = |beside: &CertificateDer<'static>, below: &[&CertificateDer<'static>]| {
            let key = new_key();
            let leaf = leaf(key.public()).sign(&intermediate, &signing).unwrap();
            let bundle = Bundle {
                trust_domain: TrustDomain::parse("ci.test").unwrap(),
                sequence: 1,
                refresh_hint: Duration::from_secs(300),
                x509_authorities: vec![beside.clone()],
                jwt_authorities: Vec::new(),
            };
            let chain = [&leaf].into_iter().chain(below.iter().copied()).map(|der| der.to_vec().into()).collect();
            let answer = X509Answer {
                spiffe_id: ID.to_owned(),
                certificate_chain: chain,
                bundle: bundle.to_json().into(),
                trust_domain: "ci.test".to_owned(),
                ..X509Answer::default()
            };
            granted(answer, key).map(|granted| granted.svid.chain.len())
        };
        // Long expired by any clock, and that is the workloads' business.
        assert_eq!(judge(&root, &[&intermediate]).unwrap(), 2);
        for torn in [judge(&other, &[&intermediate]), judge(&root, &[]), judge(&root, &[&other])] {
            assert!(matches!(torn, Err(LinkError::Invalid(_))), "{torn:?}");
        }
    }

    #[test]
    fn a_server_that_is_away_is_no_refusal() {
        for (code, is_final) in
            [(Code::Unavailable, false), (Code::ResourceExhausted, false), (Code::PermissionDenied, true)]
        {
            assert_eq!(matches!(refused(&Status::new(code, "x")), LinkError::Refused(_)), is_final);
        }
    }
}
