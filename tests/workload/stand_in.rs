//! A server whose keys change when a test says so, at once. The agent is the real one.

use crate::support::beside::{Beside, within};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use lanyard::agent::{AgentSettings, Callers, MODE_EVERYBODY, OnStop, SecretNames, TokenSource};
use lanyard::bundle::{Bundle, JwtAuthority};
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::crypto::{KeyAlgorithm, KeyPair, PemLabel, Random};
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::svid::{
    AuthorityFields, BuildClaims, CrlFields, LeafFields, LeafSigner, ProvenKey, Serial, Subject, inspect_authority,
};
use lanyard::tls::{DoorCa, DoorCertificate, IssuerDoor, ServerTrust};
use lanyard::wire::ServerUrl;
use lanyard::wire::lanyard::event::Kind;
use lanyard::wire::lanyard::issuer_server::{Issuer, IssuerServer};
use lanyard::wire::lanyard::{
    AcknowledgeAnswer, AcknowledgeRequest, CrlsPart, EndSessionAnswer, EndSessionRequest, Event, ExchangeRequest,
    FetchJwtRequest, JwtAnswer, LiveSessions, RefreshBundleAnswer, RefreshBundleRequest, RenewRequest, Tainted,
    WatchRequest, X509Answer,
};
use rustls_pki_types::CertificateDer;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

/// The trust domain of the standard's vectors.
const TRUST_DOMAIN: &str = "example.org";
pub(crate) const ID: &str = "spiffe://example.org/ci/p42";

/// The one session that it knows.
const SESSION: &str = "s1";

/// The stand-in, and the clock of its agent.
pub(crate) struct StandIn {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) jwt_key: KeyPair,
    pub(crate) folder: TempDir,
    url: ServerUrl,
    trust: ServerTrust,
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<ManualClock>,
    bundle: Mutex<Bundle>,
    /// What renewals carry, where it is not the newest.
    late_bundle: Mutex<Option<Bundle>>,
    tell: broadcast::Sender<Kind>,
    /// The newest bundle that the agent said it has in use.
    acknowledged: watch::Sender<u64>,
    signer: LeafSigner,
    intermediate: CertificateDer<'static>,
    /// All that there were: the first root, the intermediate, and further roots.
    authorities: Mutex<Vec<(CertificateDer<'static>, Arc<KeyPair>)>>,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

impl StandIn {
    /// One root, one JWT key under the name `j1`.
    pub(crate) async fn start() -> Self {
        lanyard::crypto::install_providers();
        let now = SystemClock.now().replace_nanosecond(0).unwrap();
        let clock = Arc::new(ManualClock::at(now));
        let random = Random::system();
        let ca = DoorCa::make(&random, now).unwrap();
        let trust = ServerTrust::Pem(vec![ca.certificate().clone()]);
        let door = DoorCertificate::from_ca(ca, vec!["127.0.0.1".to_owned()], now).unwrap();
        let door = IssuerDoor::new(Arc::new(door)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();

        let (root_key, signing_key, jwt_key) = (key(), Arc::new(key()), key());
        let root = authority("root 1", &root_key, 1, &clock).sign_itself(&root_key).unwrap();
        let intermediate = authority("intermediate", &signing_key, 0, &clock).sign(&root, &root_key).unwrap();
        let authorities = [(root.clone(), Arc::new(root_key)), (intermediate.clone(), Arc::clone(&signing_key))];
        let bundle = Bundle {
            trust_domain: TrustDomain::parse(TRUST_DOMAIN).unwrap(),
            sequence: 1,
            refresh_hint: Duration::from_secs(60),
            x509_authorities: vec![root],
            jwt_authorities: vec![JwtAuthority { kid: "j1".to_owned(), key: jwt_key.public().clone() }],
        };
        let shared = Arc::new(Shared {
            clock: Arc::clone(&clock),
            bundle: Mutex::new(bundle),
            late_bundle: Mutex::default(),
            tell: broadcast::channel(16).0,
            acknowledged: watch::Sender::new(0),
            signer: LeafSigner::new(&intermediate, signing_key).unwrap(),
            intermediate,
            authorities: Mutex::new(authorities.to_vec()),
        });
        let routes = tonic::service::Routes::new(IssuerServer::new(Service(Arc::clone(&shared)))).prepare();
        tokio::spawn(serve(listener, door, routes));
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        Self { clock, jwt_key, folder, url, trust, shared }
    }

    /// An agent that holds the one identity, and hears the stand-in's events.
    pub(crate) async fn agent(&self) -> Beside {
        self.agent_with(SecretNames::default()).await
    }

    /// The same with other names for secrets.
    pub(crate) async fn agent_with(&self, secrets: SecretNames) -> Beside {
        let path = |name| self.folder.path().join(name);
        let settings = AgentSettings {
            server: self.url.clone(),
            trust: self.trust.clone(),
            workload_socket: path("api.sock"),
            sds_socket: None,
            secrets,
            agent_socket: None,
            metrics: None,
            program: None,
            socket_mode: MODE_EVERYBODY,
            callers: Callers::Any,
            state_dir: path("state"),
            token: TokenSource::Login,
            runner: None,
            files: None,
            on_stop: OnStop::KeepSession,
        };
        let agent = Beside::start(settings, &self.clock);
        agent.login("t.o.k".to_owned()).await.unwrap();
        within(async {
            while self.shared.tell.receiver_count() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        agent
    }

    /// Changes the bundle under a higher sequence and tells it; gives the former one.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Bundle)) -> Bundle {
        let former = self.change_silently(change);
        self.tell(&self.shared.bundle.lock().unwrap());
        former
    }

    /// The same before anybody listens.
    pub(crate) fn change_silently(&self, change: impl FnOnce(&mut Bundle)) -> Bundle {
        let mut bundle = self.shared.bundle.lock().unwrap();
        let former = bundle.clone();
        bundle.sequence += 1;
        change(&mut bundle);
        drop(bundle);
        former
    }

    /// Tells a bundle, whatever its sequence.
    pub(crate) fn tell(&self, bundle: &Bundle) {
        self.shared.tell.send(Kind::Bundle(bundle.to_json().into())).unwrap();
    }

    /// Makes renewals carry this bundle, as an answer does that was written before the last change.
    pub(crate) fn renew_with(&self, bundle: Bundle) {
        *self.shared.late_bundle.lock().unwrap() = Some(bundle);
    }

    /// Tells that the key that signed the agent's SVID is tainted.
    pub(crate) fn taint(&self) {
        let signer = inspect_authority(&self.shared.intermediate).unwrap().key_id.to_string();
        self.shared
            .tell
            .send(Kind::Tainted(Tainted { signer: vec![signer], within_seconds: 20, kid: Vec::new() }))
            .unwrap();
    }

    /// Waits until the agent says that it has this bundle in use.
    pub(crate) async fn hears_of(&self, sequence: u64) {
        within(self.shared.acknowledged.subscribe().wait_for(|said| *said == sequence)).await.unwrap();
    }

    /// Another root for the bundle.
    pub(crate) fn root(&self, name: &str) -> CertificateDer<'static> {
        let key = key();
        let root = authority(name, &key, 1, &self.clock).sign_itself(&key).unwrap();
        self.shared.authorities.lock().unwrap().push((root.clone(), Arc::new(key)));
        root
    }

    /// Tells a set of revocation lists: of so many authorities, in the order in which they were made.
    pub(crate) fn tell_lists(&self, number: u64, of: usize) {
        let (this_update, next_update) = (self.clock.now(), self.clock.now() + Duration::from_secs(3600));
        let fields = CrlFields { number, this_update, next_update, revoked: Vec::new() };
        let authorities = self.shared.authorities.lock().unwrap().clone();
        let lists = authorities[..of].iter().map(|(certificate, key)| fields.sign(certificate, &**key).unwrap());
        let pem: String = lists.map(|list| PemLabel::Crl.armour(&list).to_string()).collect();
        self.shared.tell.send(Kind::Crls(CrlsPart { number, offset: 0, pem: pem.into(), last: true })).unwrap();
    }
}

/// Another JWT key for the bundle.
pub(crate) fn jwt_authority(kid: &str) -> JwtAuthority {
    JwtAuthority { kid: kid.to_owned(), key: key().public().clone() }
}

fn key() -> KeyPair {
    KeyPair::generate(KeyAlgorithm::EcP256).unwrap()
}

fn authority(name: &str, key: &KeyPair, path_length: u8, clock: &ManualClock) -> AuthorityFields {
    AuthorityFields {
        trust_domain: TrustDomain::parse(TRUST_DOMAIN).unwrap(),
        common_name: name.to_owned(),
        key: key.public().clone(),
        serial: Serial::random(&Random::system()),
        path_length,
        name_constraints: false,
        not_before: clock.now() - Duration::from_secs(60),
        // A thousand renewals take a week.
        not_after: clock.now() + Duration::from_secs(30 * 86_400),
    }
}

async fn serve(listener: TcpListener, door: IssuerDoor, routes: tonic::service::Routes) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (door, service) = (door.clone(), TowerToHyperService::new(routes.clone()));
        tokio::spawn(async move {
            let shaken = door.shake(tcp).await.unwrap();
            drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(shaken.stream), service).await);
        });
    }
}

impl Shared {
    fn grant(&self, csr: &[u8]) -> Response<X509Answer> {
        let now = self.clock.now();
        let fields = LeafFields {
            spiffe_id: SpiffeId::parse(ID).unwrap(),
            key: ProvenKey::of_der(csr).unwrap().key().clone(),
            serial: Serial::random(&Random::system()),
            subject: Subject::default(),
            dns: None,
            build_claims: BuildClaims::default(),
            not_before: now - Duration::from_secs(10),
            not_after: now + Duration::from_secs(900),
        };
        let leaf = self.signer.sign(&fields).unwrap();
        let newest = self.bundle.lock().unwrap().clone();
        let bundle = self.late_bundle.lock().unwrap().clone().unwrap_or(newest);
        Response::new(X509Answer {
            session: SESSION.to_owned(),
            spiffe_id: ID.to_owned(),
            certificate_chain: [&leaf, &self.intermediate].map(|der| der.to_vec().into()).to_vec(),
            not_after: fields.not_after.unix_timestamp(),
            session_ends_at: (now + Duration::from_secs(7200)).unix_timestamp(),
            bundle: bundle.to_json().into(),
            trust_domain: TRUST_DOMAIN.to_owned(),
            ..X509Answer::default()
        })
    }
}

#[tonic::async_trait]
impl Issuer for Service {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<Event, Status>> + Send>>;

    async fn exchange(&self, request: Request<ExchangeRequest>) -> Result<Response<X509Answer>, Status> {
        Ok(self.0.grant(&request.get_ref().csr))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<X509Answer>, Status> {
        Ok(self.0.grant(&request.get_ref().csr))
    }

    async fn acknowledge(&self, request: Request<AcknowledgeRequest>) -> Result<Response<AcknowledgeAnswer>, Status> {
        self.0.acknowledged.send_replace(request.into_inner().bundle_sequence);
        Ok(Response::new(AcknowledgeAnswer {}))
    }

    async fn refresh_bundle(
        &self,
        _request: Request<RefreshBundleRequest>,
    ) -> Result<Response<RefreshBundleAnswer>, Status> {
        Ok(Response::new(RefreshBundleAnswer { is_asked: false }))
    }

    async fn fetch_jwt(&self, _request: Request<FetchJwtRequest>) -> Result<Response<JwtAnswer>, Status> {
        Err(Status::permission_denied("the stand-in signs no tokens"))
    }

    async fn end_session(&self, _request: Request<EndSessionRequest>) -> Result<Response<EndSessionAnswer>, Status> {
        Ok(Response::new(EndSessionAnswer {}))
    }

    async fn watch(&self, _request: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let live = Kind::Sessions(LiveSessions { session: vec![SESSION.to_owned()] });
        let told = BroadcastStream::new(self.0.tell.subscribe()).filter_map(Result::ok);
        let events = tokio_stream::once(live).chain(told).map(|kind| Ok(Event { kind: Some(kind) }));
        Ok(Response::new(Box::pin(events)))
    }
}
