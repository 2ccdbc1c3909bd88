//! A stand-in for the server's issuer door: real handshakes, real signatures, no policy.

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use lanyard::bundle::{Bundle, JwtAuthority};
use lanyard::crypto::{KeyAlgorithm, KeyPair, Random};
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::svid::{AuthorityFields, BuildClaims, JwtFields, LeafFields, LeafSigner, ProvenKey, Serial, Subject};
use lanyard::tls::{DoorCa, DoorCertificate, IssuerDoor, PeerKey, ServerTrust};
use lanyard::wire::ServerUrl;
use lanyard::wire::lanyard::event::Kind;
use lanyard::wire::lanyard::issuer_server::{Issuer, IssuerServer};
use lanyard::wire::lanyard::{
    AcknowledgeAnswer, AcknowledgeRequest, EndSessionAnswer, EndSessionRequest, Event, ExchangeRequest,
    FetchJwtRequest, JwtAnswer, LiveSessions, RefreshBundleAnswer, RefreshBundleRequest, RenewRequest, SessionEnded,
    WatchRequest, X509Answer,
};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

pub(crate) const ID: &str = "spiffe://ci.example.org/acme/api/-/pipelines/574";
/// Who wants tokens signed by RS256.
pub(crate) const BY_RS256: &str = "https://rs256.test";

/// What the stand-in does next, and what it saw.
pub(crate) struct FakeIssuer {
    pub(crate) away: AtomicBool,
    /// Tokens wait, while sessions go on.
    pub(crate) busy: AtomicBool,
    /// As the rule that would say `multi_audience`.
    pub(crate) several_audiences: AtomicBool,
    pub(crate) lifetime: AtomicU64,
    pub(crate) session_lifetime: AtomicU64,
    pub(crate) jwt_lifetime: AtomicU64,
    pub(crate) exchanges: AtomicU64,
    pub(crate) renewals: AtomicU64,
    /// Milliseconds.
    pub(crate) renew_takes: AtomicU64,
    /// Each with its reason.
    pub(crate) ended: Mutex<Vec<String>>,
    pub(crate) tell: broadcast::Sender<Kind>,
    signer: LeafSigner,
    intermediate: rustls_pki_types::CertificateDer<'static>,
    jwt_key: KeyPair,
    rs256_key: KeyPair,
    bundle: Bundle,
}

/// The stand-in's service; clones share one state.
#[derive(Clone)]
struct Service(Arc<FakeIssuer>);

impl FakeIssuer {
    /// Listens on a free port.
    pub(crate) async fn start() -> (Arc<Self>, ServerUrl, ServerTrust) {
        let (random, now) = (Random::system(), OffsetDateTime::now_utc());
        let ca = DoorCa::make(&random, now).unwrap();
        let trust = ServerTrust::Pem(vec![ca.certificate().clone()]);
        let door = DoorCertificate::from_ca(ca, vec!["localhost".to_owned(), "127.0.0.1".to_owned()], now).unwrap();
        let door = IssuerDoor::new(Arc::new(door)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let issuer = Arc::new(Self::new(&random, now));
        let routes = tonic::service::Routes::new(IssuerServer::new(Service(Arc::clone(&issuer)))).prepare();
        tokio::spawn(serve(listener, door, routes));
        (issuer, url, trust)
    }

    fn new(random: &Random, now: OffsetDateTime) -> Self {
        let trust_domain = TrustDomain::parse("ci.example.org").unwrap();
        let key = || KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
        let (root_key, signing_key, jwt_key) = (key(), key(), key());
        let rs256_key = KeyPair::generate(KeyAlgorithm::Rsa).unwrap();
        let authority = |name: &str, key: &KeyPair, path_length| AuthorityFields {
            trust_domain: trust_domain.clone(),
            common_name: name.to_owned(),
            key: key.public().clone(),
            serial: Serial::random(random),
            path_length,
            name_constraints: false,
            not_before: whole(now) - Duration::from_secs(60),
            not_after: whole(now) + Duration::from_secs(3600),
        };
        let root = authority("root", &root_key, 1).sign_itself(&root_key).unwrap();
        let intermediate = authority("intermediate", &signing_key, 0).sign(&root, &root_key).unwrap();
        let bundle = Bundle {
            trust_domain: trust_domain.clone(),
            sequence: 1,
            refresh_hint: Duration::from_secs(60),
            x509_authorities: vec![root],
            jwt_authorities: [&jwt_key, &rs256_key].map(|key| JwtAuthority::new(key.public().clone())).to_vec(),
        };
        Self {
            away: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            several_audiences: AtomicBool::new(false),
            lifetime: AtomicU64::new(600),
            session_lifetime: AtomicU64::new(3600),
            jwt_lifetime: AtomicU64::new(300),
            exchanges: AtomicU64::new(0),
            renewals: AtomicU64::new(0),
            renew_takes: AtomicU64::new(0),
            ended: Mutex::default(),
            tell: broadcast::channel(8).0,
            signer: LeafSigner::new(&intermediate, Arc::new(signing_key)).unwrap(),
            intermediate,
            jwt_key,
            rs256_key,
            bundle,
        }
    }

    fn here(&self) -> Result<(), Status> {
        if self.away.load(Ordering::SeqCst) { Err(Status::unavailable("away")) } else { Ok(()) }
    }

    fn grant(&self, session: &str, csr: &[u8]) -> Result<Response<X509Answer>, Status> {
        self.here()?;
        let now = whole(OffsetDateTime::now_utc());
        let not_after = now + Duration::from_secs(self.lifetime.load(Ordering::SeqCst));
        let fields = LeafFields {
            spiffe_id: SpiffeId::parse(ID).unwrap(),
            key: ProvenKey::of_der(csr).unwrap().key().clone(),
            serial: Serial::random(&Random::system()),
            subject: Subject::default(),
            dns: None,
            build_claims: BuildClaims::default(),
            not_before: now - Duration::from_secs(10),
            not_after,
        };
        let leaf = self.signer.sign(&fields).unwrap();
        Ok(Response::new(X509Answer {
            request_id: "r1".to_owned(),
            session: session.to_owned(),
            spiffe_id: ID.to_owned(),
            certificate_chain: [&leaf, &self.intermediate].map(|der| der.to_vec().into()).to_vec(),
            not_before: fields.not_before.unix_timestamp(),
            not_after: not_after.unix_timestamp(),
            limited_by: "ttl".to_owned(),
            profile: String::new(),
            profiles: vec![String::new()],
            session_ends_at: (now + Duration::from_secs(self.session_lifetime.load(Ordering::SeqCst))).unix_timestamp(),
            bundle: self.bundle.to_json().into(),
            trust_domain: "ci.example.org".to_owned(),
            federated: None,
        }))
    }
}

async fn serve(listener: TcpListener, door: IssuerDoor, routes: tonic::service::Routes) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (door, routes) = (door.clone(), routes.clone());
        tokio::spawn(async move {
            let Ok(shaken) = door.shake(tcp).await else { return };
            assert!(matches!(shaken.peer_key, PeerKey::Session(_)), "the agent shows its session key");
            let service = TowerToHyperService::new(routes);
            drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(shaken.stream), service).await);
        });
    }
}

fn whole(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(0).unwrap()
}

#[tonic::async_trait]
impl Issuer for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn exchange(&self, request: Request<ExchangeRequest>) -> Result<Response<X509Answer>, Status> {
        self.0.here()?;
        self.0.exchanges.fetch_add(1, Ordering::SeqCst);
        if self.0.busy.load(Ordering::SeqCst) {
            return Err(Status::unavailable("busy"));
        }
        let session = match &*request.get_ref().token {
            "good" => "s1",
            "another" => "s2",
            _ => {
                let mut status = Status::already_exists("ask for a fresh token");
                status.metadata_mut().insert("lanyard-code", "token_replayed".parse().unwrap());
                status.metadata_mut().insert("lanyard-request-id", "r7".parse().unwrap());
                return Err(status);
            }
        };
        self.0.grant(session, &request.get_ref().csr)
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<X509Answer>, Status> {
        self.0.renewals.fetch_add(1, Ordering::SeqCst);
        // Slow enough for the events to be heard first.
        tokio::time::sleep(Duration::from_millis(self.0.renew_takes.load(Ordering::SeqCst))).await;
        self.0.grant(&request.get_ref().session, &request.get_ref().csr)
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Result<Response<AcknowledgeAnswer>, Status> {
        drop(request);
        Ok(Response::new(AcknowledgeAnswer {}))
    }

    async fn refresh_bundle(
        &self,
        _request: Request<RefreshBundleRequest>,
    ) -> Result<Response<RefreshBundleAnswer>, Status> {
        Ok(Response::new(RefreshBundleAnswer { is_asked: false }))
    }

    async fn fetch_jwt(&self, request: Request<FetchJwtRequest>) -> Result<Response<JwtAnswer>, Status> {
        self.0.here()?;
        let audience = request.into_inner().audience;
        if audience.len() > 1 && !self.0.several_audiences.load(Ordering::SeqCst) {
            return Err(Status::permission_denied("one audience a token"));
        }
        let now = whole(OffsetDateTime::now_utc());
        let not_after = now + Duration::from_secs(self.0.jwt_lifetime.load(Ordering::SeqCst));
        let fields = JwtFields {
            issuer: None,
            claims: serde_json::Map::new(),
            spiffe_id: SpiffeId::parse(ID).unwrap(),
            audience,
            jti: "j".to_owned(),
            issued_at: now,
            not_after,
        };
        let key = if fields.audience == [BY_RS256] { &self.0.rs256_key } else { &self.0.jwt_key };
        let authorities = &self.0.bundle.jwt_authorities;
        let kid = &authorities.iter().find(|authority| authority.key == *key.public()).unwrap().kid;
        Ok(Response::new(JwtAnswer {
            request_id: "r2".to_owned(),
            spiffe_id: ID.to_owned(),
            jwt_svid: fields.sign(kid, key).unwrap(),
            not_after: not_after.unix_timestamp(),
            limited_by: "ttl".to_owned(),
            profile: String::new(),
        }))
    }

    async fn end_session(&self, request: Request<EndSessionRequest>) -> Result<Response<EndSessionAnswer>, Status> {
        self.0.here()?;
        let request = request.into_inner();
        let reason = request.reason().as_str();
        self.0.ended.lock().unwrap().push(format!("{}: {reason}", request.session));
        Ok(Response::new(EndSessionAnswer {}))
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        self.0.here()?;
        let live = Kind::Sessions(LiveSessions { session: request.into_inner().session });
        let told = BroadcastStream::new(self.0.tell.subscribe()).filter_map(Result::ok);
        let events = tokio_stream::once(live).chain(told).map(|kind| Ok(Event { kind: Some(kind) }));
        Ok(Response::new(Box::pin(events)))
    }
}

impl FakeIssuer {
    /// Ends the first token's session, as an operator would.
    pub(crate) fn end(&self) {
        let ended = SessionEnded { session: "s1".to_owned(), reason: "an operator ended it".to_owned() };
        self.tell.send(Kind::SessionEnded(ended)).unwrap();
    }

    /// Announces a bundle with one authority more of each kind, as a rotation begins.
    pub(crate) fn announce_authorities(&self) {
        let next = Self::new(&Random::system(), OffsetDateTime::now_utc()).bundle;
        let mut bundle = self.bundle.clone();
        bundle.sequence += 1;
        bundle.x509_authorities.extend(next.x509_authorities);
        bundle.jwt_authorities.extend(next.jwt_authorities);
        self.tell.send(Kind::Bundle(bundle.to_json().into())).unwrap();
    }
}
