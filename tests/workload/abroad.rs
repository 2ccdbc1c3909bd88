//! Stock clients of a job that call a server of another trust domain: by the bundles that the Workload API serves them, and by
//! nothing else.

use crate::rotation::{Workload, certificates};
use crate::support::beside::{Beside, Site, within};
use crate::support::foreign::ForeignCa;
use crate::support::installed::installed;
use lanyard::clock::ManualClock;
use lanyard::svid::inspect_certificate;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// Jobs of one project may speak with the mesh, those of others may not.
const POLICY: &str = r#"
[[rule]]
name = "speaks with the mesh"
id = "/{project_path}/-/with-mesh/{pipeline_id}"
ttl = "15m"
federates_with = ["mesh.test"]
when = { issuer = "corp", project_id = 4711 }

[[rule]]
name = "all others"
id = "/{project_path}/-/pipelines/{pipeline_id}"
ttl = "15m"
when.issuer = "corp"
"#;
const GRANTED_ID: &str = "spiffe://ci.example.org/acme/payments/api/-/with-mesh/574";
const OTHER: (&str, &str) = ("4712", "acme/ledger/api");
const SERVICE_ID: &str = "spiffe://mesh.test/ns/ledger/sa/ledger";

/// A server of the mesh, under the mesh's root; it takes whoever our roots vouch for, and remembers whom.
pub(crate) struct Service {
    address: SocketAddr,
    callers: Arc<Mutex<Vec<String>>>,
    running: AbortHandle,
}

impl Service {
    async fn start(ca: &ForeignCa, id: &str, ours: Vec<CertificateDer<'static>>) -> Self {
        let (chain, key) = ca.leaf(id);
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        Self::serve((chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()), ours).await
    }

    /// A job's own service: each caller meets the SVID and the roots that its agent told last.
    pub(crate) async fn of(workload: Workload, clock: Arc<ManualClock>) -> Self {
        Self::listen(move || workload.acceptor(&clock)).await
    }

    async fn serve(
        (chain, key): (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
        callers: Vec<CertificateDer<'static>>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        assert_eq!(roots.add_parsable_certificates(callers).1, 0);
        let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let config = ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap();
        let tls = TlsAcceptor::from(Arc::new(config));
        Self::listen(move || tls.clone()).await
    }

    async fn listen(tls: impl Fn() -> TlsAcceptor + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, callers) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<String>>>::default());
        let seen = Arc::clone(&callers);
        let running = tokio::spawn(async move {
            loop {
                let (tcp, _from) = listener.accept().await.unwrap();
                let _refused = meet(&tls(), tcp, &seen).await;
            }
        });
        Self { address, callers, running: running.abort_handle() }
    }

    pub(crate) fn callers(&self) -> Vec<String> {
        self.callers.lock().unwrap().drain(..).collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Remembers who asks, and answers.
async fn meet(tls: &TlsAcceptor, tcp: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut stream = tls.accept(tcp).await.ok()?;
    let leaf = stream.get_ref().1.peer_certificates()?.first()?.clone();
    let mut asked = [0; 4096];
    if stream.read(&mut asked).await.ok()? == 0 {
        return None;
    }
    seen.lock().unwrap().push(inspect_certificate(&leaf).unwrap().spiffe_id.to_string());
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await.ok()?;
    // The client closes first: what it has not read must not be reset away.
    stream.read(&mut asked).await.ok().map(drop)
}

/// A program of a job that is told addresses of another trust domain's.
pub(crate) struct Visitor {
    pub(crate) name: &'static str,
    tell: ChildStdin,
    said: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Visitor {
    pub(crate) fn both(agent: &Beside, trust_domain: &str) -> [Self; 2] {
        let mut python = Command::new(installed("LANYARD_TEST_PYTHON"));
        python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/py/visitor.py"));
        let go = Command::new(installed("LANYARD_TEST_GO_VISITOR"));
        [("go-spiffe", go), ("py-spiffe", python)].map(|(name, mut program)| {
            program.arg(trust_domain).env("SPIFFE_ENDPOINT_SOCKET", agent.endpoint());
            let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
            let (tell, said) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            Self { name, tell, said: BufReader::new(said).lines(), _child: child }
        })
    }

    /// Its own words for how it went: `ok`, the serial number it showed, and how many roots it has of the service's trust domain.
    pub(crate) async fn visit(&mut self, service: &Service) -> String {
        self.tell.write_all(format!("{}\n", service.address).as_bytes()).await.unwrap();
        let said = within(self.said.next_line()).await.unwrap();
        said.unwrap_or_else(|| panic!("{} is gone", self.name))
    }

    async fn is_shut_out(&mut self, service: &Service) {
        while !self.visit(service).await.starts_with("no ") {}
    }
}

/// A program of a job that calls a service without a pause.
pub(crate) struct Caller {
    so_far: Arc<Mutex<Calls>>,
    running: AbortHandle,
}

/// How its calls went.
#[derive(Default)]
struct Calls {
    made: usize,
    /// That it showed.
    serials: BTreeSet<String>,
    /// That it had at the last call.
    roots: usize,
    failed: Vec<String>,
}

impl Caller {
    pub(crate) fn both(agent: &Beside, trust_domain: &str, service: Service) -> [Self; 2] {
        let service = Arc::new(service);
        Visitor::both(agent, trust_domain).map(|visitor| {
            let so_far = Arc::<Mutex<Calls>>::default();
            let running = tokio::spawn(call_on(visitor, Arc::clone(&service), Arc::clone(&so_far)));
            Self { so_far, running: running.abort_handle() }
        })
    }

    /// How many calls it has made, the first of them not long after its start.
    pub(crate) fn made(&self) -> usize {
        self.so_far.lock().unwrap().made
    }

    /// How many roots of the service's trust domain it had last.
    pub(crate) fn roots(&self) -> usize {
        self.so_far.lock().unwrap().roots
    }

    /// How many SVIDs it has shown, one after the other.
    pub(crate) fn svids(&self) -> usize {
        self.so_far.lock().unwrap().serials.len()
    }

    pub(crate) fn failed(&self) -> Vec<String> {
        self.so_far.lock().unwrap().failed.clone()
    }
}

async fn call_on(mut visitor: Visitor, service: Arc<Service>, so_far: Arc<Mutex<Calls>>) {
    loop {
        let said = visitor.visit(&service).await;
        so_far.lock().unwrap().add(&said, visitor.name);
        // Bounded load: a hundred handshakes a second at most.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Calls {
    fn add(&mut self, said: &str, who: &str) {
        self.made += 1;
        match said.split(' ').collect::<Vec<_>>()[..] {
            ["ok", serial, roots] => {
                self.serials.insert(serial.to_owned());
                self.roots = roots.parse().unwrap();
            }
            _ => self.failed.push(format!("{who}: {said}")),
        }
    }
}

/// Shows: WAPI-20, WAPI-23, FED-6, FED-23.
#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_speaks_with_another_trust_domain_by_its_bundle_and_where_its_rule_says_so_alone() {
    let site = Site::open(POLICY).await;
    let mesh = ForeignCa::new("mesh root");
    site.set("mesh.test", &[&mesh]).await;
    let granted = site.logged_in().await;
    let other = Beside::start(site.settings_beside("other"), &site.clock);
    other.login(site.token_of(OTHER)).await.unwrap();
    let ours = certificates(&granted.x509().await.svids[0].bundle);
    let service = Service::start(&mesh, SERVICE_ID, ours.clone()).await;
    let impostor = Service::start(&mesh, GRANTED_ID, ours).await;

    for mut visitor in Visitor::both(&granted, "mesh.test") {
        let said = visitor.visit(&service).await;
        assert!(said.starts_with("ok "), "{}: {said}", visitor.name);
        assert_eq!(service.callers(), [GRANTED_ID], "{}", visitor.name);
    }
    for mut visitor in Visitor::both(&other, "mesh.test") {
        let said = visitor.visit(&service).await;
        assert!(said.starts_with("no ") && said.contains("mesh.test"), "{}: {said}", visitor.name);
    }
    // The mesh's root speaks for nobody of ours.
    for mut visitor in Visitor::both(&granted, "ci.example.org") {
        let said = visitor.visit(&impostor).await;
        assert!(said.starts_with("no "), "{}: {said}", visitor.name);
    }
    assert_eq!((service.callers(), impostor.callers()), (Vec::new(), Vec::new()));

    let mut visitors = Visitor::both(&granted, "mesh.test");
    for visitor in &mut visitors {
        assert!(visitor.visit(&service).await.starts_with("ok "), "{}", visitor.name);
    }
    site.delete("mesh.test").await;
    for mut visitor in visitors {
        // It hears of that soon, and nothing says when.
        within(visitor.is_shut_out(&service)).await;
    }
}
