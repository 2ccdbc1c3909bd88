//! The bundle port as meshes and other trust domains meet it: a name that their pool of roots vouches for, answers out of memory
//! however many ask, and not a word before there is a bundle.

use crate::support::foreign::ForeignCa;
use crate::support::harness::{Harness, POLICY, settings};
use crate::support::issuer::FakeIssuer;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use lanyard::api::{BundleDoor, Desk, Reloads};
use lanyard::authority::{AuthorityKind, Leeway, Order, OrderKind};
use lanyard::backup::Backups;
use lanyard::bundle::Bundle;
use lanyard::clock::{Clock as _, SystemClock};
use lanyard::config::{DoorFiles, DoorsSettings, ServerSettings};
use lanyard::crypto::Random;
use lanyard::discovery::HttpsFetch;
use lanyard::identity::TrustDomain;
use lanyard::server::{BundlePort, Server, World};
use lanyard::store::{Answer, Commit, Committed, Entry, Store, StoreError, Stored};
use lanyard::telemetry::{Metrics, Shutdown};
use lanyard::tls::{self, DoorCa, DoorCertificate};
use lanyard::wire::Proxies;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use std::fs;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const HOST: &str = "bundles.example.org";
const LIMIT: Duration = Duration::from_secs(20);
/// As many roots as a system knows, by the order of it.
const OTHER_ROOTS: usize = 100;

/// A reader with a pool of roots, who speaks so.
fn reader(
    root: Option<CertificateDer<'static>>,
    alpn: &str,
    version: &'static SupportedProtocolVersion,
) -> TlsConnector {
    let others = (0..OTHER_ROOTS).map(|at| ForeignCa::new(&format!("public root {at}")).der().into());
    let mut pool = RootCertStore::empty();
    assert_eq!(pool.add_parsable_certificates(others.chain(root)).1, 0);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    let mut config = config.with_root_certificates(pool).with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// A reader's connection.
enum Connection {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

impl Connection {
    /// With the version of TLS that came of it.
    async fn open(to: SocketAddr, host: &str, reader: &TlsConnector) -> io::Result<(Self, ProtocolVersion)> {
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let stream = reader.connect(name, TcpStream::connect(to).await?).await?;
        let (_, session) = stream.get_ref();
        let (version, is_http2) = (session.protocol_version().unwrap(), session.alpn_protocol() == Some(b"h2"));
        let stream = TokioIo::new(stream);
        if is_http2 {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
            tokio::spawn(connection);
            return Ok((Self::Http2(sender), version));
        }
        let (sender, connection) = http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        Ok((Self::Http1(sender), version))
    }

    /// Asks for what is newer than this.
    async fn get(&mut self, held: &str) -> (StatusCode, HeaderMap, Bytes) {
        let request = |uri: &str| {
            let request = Request::get(uri).header(header::HOST, HOST).header(header::IF_NONE_MATCH, held);
            request.body(Empty::new()).unwrap()
        };
        let answer = match self {
            Self::Http1(sender) => sender.send_request(request("/")).await,
            Self::Http2(sender) => sender.send_request(request(&format!("https://{HOST}/"))).await,
        };
        let (facts, body) = answer.unwrap().into_parts();
        (facts.status, facts.headers, body.collect().await.unwrap().to_bytes())
    }

    /// Reads so often, and maybe only what is new; how often it was the whole document, and how long each took.
    async fn reads(&mut self, times: usize, only_news: bool) -> (usize, Vec<Duration>) {
        let (mut held, mut whole, mut took) = (String::new(), 0, Vec::with_capacity(times));
        for _ in 0..times {
            let asked_at = Instant::now();
            let (status, headers, body) = self.get(&held).await;
            took.push(asked_at.elapsed());
            if status != StatusCode::NOT_MODIFIED {
                assert_eq!((status, parsed(&body).jwt_authorities.len()), (StatusCode::OK, 1));
                whole += 1;
            }
            if only_news {
                headers.get(header::ETAG).unwrap().to_str().unwrap().clone_into(&mut held);
            }
        }
        (whole, took)
    }
}

fn parsed(document: &[u8]) -> Bundle {
    Bundle::parse(TrustDomain::parse("ci.example.org").unwrap(), document).unwrap()
}

fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server's folder, and its settings with a bundle port.
fn site(line: &str) -> (TempDir, ServerSettings) {
    lanyard::crypto::install_providers();
    let (folder, issuer) = (TempDir::new().unwrap(), FakeIssuer::new());
    fs::write(folder.path().join("jwks.json"), issuer.jwks()).unwrap();
    let [issuer, bundle] = [free_port(), free_port()].map(|address| vec![address]);
    let admin_socket = folder.path().join("admin.sock");
    let settings = settings(folder.path(), POLICY, "memory", line);
    let doors = DoorsSettings { issuer, bundle, admin_socket, health: None, ..settings.doors.clone() };
    (folder, ServerSettings { doors, ..settings })
}

async fn start(settings: &ServerSettings, shutdown: Shutdown) -> Server {
    let fetch = Arc::new(HttpsFetch::new(None).unwrap());
    let world = World { clock: Arc::new(SystemClock), random: Random::system(), fetch };
    Server::start(settings, world, shutdown).await.unwrap()
}

/// What an operator has from a public authority: a certificate for the host and its key as files, and whose root it is under.
fn public_certificate(folder: &Path) -> (DoorFiles, CertificateDer<'static>) {
    let mut params = CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![HOST.to_owned()]).unwrap().signed_by(&key, &root).unwrap();
    let [certificate, private] = ["door.pem", "door-key.pem"].map(|name| folder.join(name));
    fs::write(&certificate, leaf.pem()).unwrap();
    fs::write(&private, key.serialize_pem()).unwrap();
    (DoorFiles { certificate, key: private }, root.der().clone())
}

/// Shows: FED-8, FED-11, FED-12, MESH-E2.
#[tokio::test(flavor = "multi_thread")]
async fn readers_of_both_ages_believe_the_host_that_their_roots_vouch_for_and_no_other() {
    let (folder, mut settings) = site("");
    let (files, root) = public_certificate(folder.path());
    settings.doors.bundle_certificate = Some(files);
    let (stop, shutdown) = Shutdown::pair();
    let server = start(&settings, shutdown).await;
    let address = *server.bundle_addresses().first().unwrap();
    let running = tokio::spawn(async move { server.run().await.unwrap() });
    let versions =
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)];
    for (version, expected) in versions {
        for alpn in ["http/1.1", "h2"] {
            let trusting = reader(Some(root.clone()), alpn, version);
            let (mut connection, spoken) = Connection::open(address, HOST, &trusting).await.unwrap();
            let (status, headers, body) = connection.get("").await;
            assert_eq!((status, spoken), (StatusCode::OK, expected), "{alpn}");
            assert_eq!(
                (parsed(&body).x509_authorities.len(), headers.get(header::CONTENT_TYPE).unwrap()),
                (1, &"application/json".parse().unwrap())
            );
            assert_eq!(matches!(connection, Connection::Http2(_)), alpn == "h2");
            let wrong = Connection::open(address, "ledger.example.org", &trusting).await.err().unwrap().to_string();
            assert!(wrong.contains("not valid for name"), "{wrong}");
            let stranger = reader(None, alpn, version);
            let unknown = Connection::open(address, HOST, &stranger).await.err().unwrap().to_string();
            assert!(unknown.contains("UnknownIssuer"), "{unknown}");
        }
    }
    stop.pull();
    running.await.unwrap();
}

/// An empty store that counts who comes.
#[derive(Debug, Default)]
struct Counting(AtomicUsize);

impl Counting {
    fn calls(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Store for Counting {
    fn read(&self, _key: &str) -> Result<Option<Stored>, StoreError> {
        self.0.fetch_add(1, SeqCst);
        Ok(None)
    }

    fn page(&self, _prefix: &str, _after: &str, _max: usize) -> Result<Vec<(String, Stored)>, StoreError> {
        self.0.fetch_add(1, SeqCst);
        Ok(Vec::new())
    }

    fn commit(&self, _commit: Commit) -> Answer<Committed> {
        self.0.fetch_add(1, SeqCst);
        Box::pin(std::future::pending())
    }

    fn note(&self, _entry: Entry) -> Result<(), StoreError> {
        self.0.fetch_add(1, SeqCst);
        Ok(())
    }
}

/// A bundle port whose road leads to a store that counts.
struct Counted {
    harness: Harness,
    store: Arc<Counting>,
    address: SocketAddr,
    /// By HTTP/1.1 and by HTTP/2.
    readers: [TlsConnector; 2],
}

impl Counted {
    async fn start(ports: &mut JoinSet<()>, shutdown: Shutdown) -> Self {
        let harness = Harness::new().await;
        let store = Arc::new(Counting::default());
        let road = harness.road_with(Arc::<Counting>::clone(&store));
        let folder = settings(harness.folder.path(), POLICY, "memory", "").folder();
        let rotator = &harness.parts.rotator;
        let (reloads, _asked) = Reloads::pair();
        let orders = (
            reloads,
            rotator.desk(),
            Backups::new(Arc::clone(&harness.parts.store), folder, harness.parts.sealing.clone()),
        );
        let shown = (rotator.authorities().published(), harness.parts.federation.clone(), None);
        let desk = Desk::new(road, shown, orders, (Random::system(), shutdown.clone()));
        let ca = DoorCa::make(&Random::system(), SystemClock.now()).unwrap();
        let root = ca.certificate().clone().into_owned();
        let certificate = DoorCertificate::from_ca(ca, vec![HOST.to_owned()], SystemClock.now()).unwrap();
        let tls = tls::BundleDoor::new(Arc::new(certificate)).unwrap();
        let local = "127.0.0.1:0".parse().unwrap();
        let port =
            BundlePort::bind(local, tls, BundleDoor::new(&desk), (Proxies::default(), Metrics::new())).await.unwrap();
        let address = port.address().unwrap();
        ports.spawn(port.run(shutdown));
        let readers = ["http/1.1", "h2"].map(|alpn| reader(Some(root.clone()), alpn, &rustls::version::TLS13));
        Self { harness, store, address, readers }
    }

    /// Many read at once, each again and again, half of them only what is new; how many answers were the whole document, and how
    /// long each took, sorted.
    async fn crowd(&self) -> (usize, Vec<Duration>) {
        const READERS: usize = 32;
        const EACH: usize = 50;
        let mut crowd = JoinSet::new();
        for (at, reader) in (0..READERS).zip(self.readers.iter().cycle()) {
            let (address, reader) = (self.address, reader.clone());
            crowd.spawn(async move {
                let (mut connection, _) = Connection::open(address, HOST, &reader).await.unwrap();
                connection.reads(EACH, at % 4 < 2).await
            });
        }
        let (whole, took): (Vec<usize>, Vec<Vec<Duration>>) = crowd.join_all().await.into_iter().unzip();
        let mut took = took.concat();
        took.sort();
        (whole.into_iter().sum(), took)
    }
}

/// Shows: FED-13, MESH-E3.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_readers_is_answered_out_of_memory_alone_and_sees_each_change() {
    let (stop, shutdown) = Shutdown::pair();
    let mut ports = JoinSet::new();
    let mut counted = Counted::start(&mut ports, shutdown).await;
    let written = |counted: &Counted| -> u64 {
        counted.harness.segments_so_far().iter().map(|file| fs::metadata(file).unwrap().len()).sum()
    };
    let before = (counted.store.calls(), written(&counted));
    let (whole, took) = counted.crowd().await;
    assert_eq!(whole, took.len() / 2 + 16, "who names what it holds is sent it once");
    // For whoever asks: on a machine with much else to do it decides nothing.
    let [half, most] = [2, 100].map(|part| took[took.len() - 1 - took.len() / part]);
    println!("{} answers: half within {half:?}, 99 of 100 within {most:?}", took.len());
    assert_eq!(
        (counted.store.calls(), written(&counted)),
        before,
        "nothing was asked of a store, and nothing recorded"
    );

    let kind = OrderKind::Prepare;
    let order = Order { kind, authority: AuthorityKind::X509Root, leeway: Leeway::None, uid: 0, say: None };
    let now = counted.harness.now();
    counted.harness.parts.rotator.obey(&order, now).await.unwrap();
    let (mut connection, _) = Connection::open(counted.address, HOST, counted.readers.first().unwrap()).await.unwrap();
    assert_eq!(parsed(&connection.get("").await.2).x509_authorities.len(), 2);
    stop.pull();
    ports.join_all().await;
}

/// Shows: FED-13, MESH-E3.
#[tokio::test(flavor = "multi_thread")]
async fn a_starting_server_takes_no_connection_before_it_can_answer_and_then_answers_the_first() {
    let (folder, settings) = site("[[federation]]\ntrust_domain = \"mesh.test\"\nfile = \"mesh.pem\"\n");
    // Nobody has read it to its end until we have written it.
    let followed = folder.path().join("mesh.pem");
    assert!(Command::new("mkfifo").arg(&followed).status().unwrap().success());
    let (stop, shutdown) = Shutdown::pair();
    let (bundle, issuer) = (*settings.doors.bundle.first().unwrap(), *settings.doors.issuer.first().unwrap());
    let starting = settings.clone();
    let running = tokio::spawn(async move { start(&starting, shutdown).await.run().await.unwrap() });
    let writer = tokio::task::spawn_blocking(move || fs::OpenOptions::new().write(true).open(followed).unwrap());
    let mut writer = tokio::time::timeout(LIMIT, writer).await.unwrap().unwrap();
    for address in [bundle, issuer] {
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    writer.write_all(ForeignCa::new("mesh root").pem().as_bytes()).unwrap();
    drop(writer);

    let first = tokio::time::timeout(LIMIT, async {
        loop {
            match TcpStream::connect(bundle).await {
                Ok(stream) => break stream,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    drop(first.await.unwrap());
    let pem = fs::read(settings.data_dir.join("door-ca.pem")).unwrap();
    let root = rustls::pki_types::pem::PemObject::from_pem_slice(&pem).unwrap();
    let reader = reader(Some(root), "h2", &rustls::version::TLS13);
    let (mut connection, _) = Connection::open(bundle, "localhost", &reader).await.unwrap();
    assert_eq!(connection.get("").await.0, StatusCode::OK);
    stop.pull();
    running.await.unwrap();
}
