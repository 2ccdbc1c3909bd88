//! A real Envoy that judges names: one route for each set of RBAC rules, and a certificate for each name that is tried.
#![expect(clippy::disallowed_methods, reason = "a program outside needs real time and the real environment")]

use crate::support::installed::installed;
use crate::support::of_bundle::OfBundle;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, SanType};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// It starts in a second; a busy machine needs a while.
const READY_WITHIN: Duration = Duration::from_secs(60);
const AGAIN_AFTER: Duration = Duration::from_millis(20);

const TLS: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const RBAC: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
const OF_ROUTE: &str = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
const ROUTER: &str = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

/// It, while it runs. Ended by its own id.
pub(crate) struct RealEnvoy {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// Of all whom it judges: only their names differ.
    key: KeyPair,
    roots: Arc<RootCertStore>,
    routes: usize,
    child: Child,
}

impl RealEnvoy {
    /// Judges by each of these rules, as RBAC has them; the runtime's layers are those of what was rendered.
    pub(crate) fn of(rules: &[Value], layered_runtime: &Value) -> Self {
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        let mut params = named("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let (own, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let certificate = leaf("spiffe://judge.test/envoy").signed_by(&own, &authority).unwrap();
        let tls = json!({
            "@type": TLS,
            "require_client_certificate": true,
            "common_tls_context": {
                "tls_certificates": [{
                    "certificate_chain": { "inline_string": certificate.pem() },
                    "private_key": { "inline_string": own.serialize_pem() },
                }],
                "validation_context": { "trusted_ca": { "inline_string": authority.pem() } },
            },
        });
        let whole = json!({
            "node": { "id": "judge", "cluster": "judge" },
            "layered_runtime": layered_runtime,
            "static_resources": { "listeners": [{
                "address": { "pipe": { "path": folder.path().join("judge.sock") } },
                "filter_chains": [{
                    "transport_socket": { "name": "envoy.transport_sockets.tls", "typed_config": tls },
                    "filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager(rules),
                    }],
                }],
            }] },
        });
        fs::write(folder.path().join("envoy.json"), whole.to_string()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let child = start(&folder);
        let mut judge = Self { folder, authority, key, roots: Arc::new(roots), routes: rules.len(), child };
        judge.wait();
        judge
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.try_wait().unwrap();
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap();
            assert!(ended.is_none() && Instant::now() < deadline, "Envoy does not start:\n{}", log());
            thread::sleep(AGAIN_AFTER);
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("judge.sock")
    }

    /// Which of the rules admit whoever shows this name.
    pub(crate) fn admits(&self, uri: &str) -> Vec<bool> {
        let stream = UnixStream::connect(self.socket()).unwrap();
        let name = ServerName::try_from("any.test").unwrap();
        let session = ClientConnection::new(Arc::new(self.client(uri)), name).unwrap();
        let mut stream = BufReader::new(StreamOwned::new(session, stream));
        let mut status_of = |route| {
            write!(stream.get_mut(), "GET /{route} HTTP/1.1\r\nHost: judge\r\n\r\n").unwrap();
            match status(&mut stream) {
                200 => true,
                403 => false,
                other => panic!("{uri} at {route}: {other}"),
            }
        };
        (0..self.routes).map(&mut status_of).collect()
    }

    fn client(&self, uri: &str) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let leaf = leaf(uri).signed_by(&self.key, &self.authority).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let verifier = OfBundle { roots: Arc::clone(&self.roots), provider: Arc::clone(&provider) };
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(vec![leaf.der().clone()], key)
            .unwrap()
    }
}

impl Drop for RealEnvoy {
    fn drop(&mut self) {
        let _dead = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn start(folder: &TempDir) -> Child {
    let log = File::create(folder.path().join("log")).unwrap();
    let mut command = Command::new(installed("LANYARD_TEST_ENVOY"));
    // No shared memory with other Envoys, and few threads.
    command.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"]);
    command.arg(folder.path().join("envoy.json"));
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

/// Each set of rules at the path of its number.
fn manager(rules: &[Value]) -> Value {
    let route = |(number, rules): (usize, &Value)| {
        json!({
            "match": { "path": format!("/{number}") },
            "direct_response": { "status": 200 },
            "typed_per_filter_config": { "envoy.filters.http.rbac": { "@type": OF_ROUTE, "rbac": { "rules": rules } } },
        })
    };
    let routes: Vec<Value> = rules.iter().enumerate().map(route).collect();
    json!({
        "@type": MANAGER,
        "stat_prefix": "judge",
        "http_filters": [
            { "name": "envoy.filters.http.rbac", "typed_config": { "@type": RBAC } },
            { "name": "envoy.filters.http.router", "typed_config": { "@type": ROUTER } },
        ],
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
    })
}

/// With a name of its own: a leaf of its issuer's name would be its own issuer.
fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn leaf(uri: &str) -> CertificateParams {
    let mut params = named("leaf");
    params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
    params
}

/// Reads one answer to its end.
fn status(answer: &mut impl BufRead) -> u16 {
    let (mut status, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if status.is_none() {
            status = line.split(' ').nth(1).map(|code| code.parse().unwrap());
        } else if line.is_empty() {
            break;
        } else if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body).unwrap();
    status.unwrap()
}
