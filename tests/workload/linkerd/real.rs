//! The real linkerd2-proxy, where `LANYARD_TEST_LINKERD_PROXY` names one: what is played beside this file, tried on it.
//!
//! Its admin server stands for a workload: it takes meshed TLS and the control plane's policy as every port does. Callers from
//! 127.0.0.1 are always admitted, whatever the policy, so ours come from 127.0.0.2.

use super::store::Store;
use super::{BY_NAME, BY_URI, Ledger, proxy};
use crate::raw::field;
use crate::support::beside::{Beside, SECOND_ID, Site, within};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use lanyard::crypto::PemLabel;
use lanyard::svid::SanOrder;
use rustls::ClientConfig;
use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::WatchStream;

/// The proxy's SVID is so short that a renewal in the test's time is valid in the machine's, and its caller's is not.
const BRIEF: &str = r#"
[[rule]]
name = "the proxy"
id = "/{project_path}/-/every"
ttl = "12s"
when = { issuer = "corp", project_id = 4711 }

[[rule]]
name = "its caller"
id = "/{project_path}/-/caller"
ttl = "15m"
when = { issuer = "corp", project_id = 4712 }
"#;
const PAST_RENEWAL: Duration = Duration::from_secs(9);
const PAUSE: Duration = Duration::from_millis(100);

/// The program, or a word that nothing is tried.
fn program() -> Option<String> {
    let named = std::env::var("LANYARD_TEST_LINKERD_PROXY").ok();
    if named.is_none() {
        // Past the test runner, which shows only what failing tests print.
        let said = b"NOT RUN with the real linkerd2-proxy: LANYARD_TEST_LINKERD_PROXY names no program\n";
        std::io::stderr().write_all(said).unwrap();
    }
    named
}

/// A control plane that has one policy for every port, and changes it.
struct Controller {
    address: SocketAddr,
    policy: watch::Sender<Vec<u8>>,
}

impl Controller {
    async fn start() -> Self {
        let policy = watch::Sender::new(admitting("nobody"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, told) = (listener.local_addr().unwrap(), policy.clone());
        let watched = Router::new().fallback(move || async move { stream(told.subscribe()) });
        tokio::spawn(async { axum::serve(listener, watched).await.unwrap() });
        Self { address, policy }
    }
}

/// Each policy as a message of gRPC.
fn stream(policy: watch::Receiver<Vec<u8>>) -> Response {
    let framed = |message: Vec<u8>| {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        Ok::<_, Infallible>(Bytes::from([&[0][..], &length, &message].concat()))
    };
    let body = Body::from_stream(WatchStream::new(policy).map(framed));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// `io.linkerd.proxy.inbound.Server`, as a controller makes it of a `MeshTLSAuthentication` with one identity.
fn admitting(identity: &str) -> Vec<u8> {
    let clients = match identity.strip_prefix('*') {
        None => field(1, &field(1, identity.as_bytes())),
        Some(suffix) => {
            field(2, &suffix.split('.').skip(1).flat_map(|part| field(1, part.as_bytes())).collect::<Vec<_>>())
        }
    };
    let mesh_tls = field(2, &field(2, &clients));
    let every_loopback = [field(1, &[0x0d, 0, 0, 0, 127]), vec![0x10, 8]].concat();
    let networks = field(1, &field(1, &every_loopback));
    let name = [field(1, b"name"), field(2, b"deploys")].concat();
    let authorization = [networks, field(2, &mesh_tls), field(3, &name)].concat();
    let ten_seconds = [0x08, 10];
    let detect = field(1, &field(1, &field(1, &ten_seconds)));
    [detect, field(3, &authorization), field(4, &name)].concat()
}

/// It, while it runs.
struct Real {
    admin: SocketAddr,
    _process: Child,
}

impl Real {
    /// On an agent's socket, with the environment that it would be told.
    async fn start(program: &str, agent: &Beside, id: &str, controller: &Controller) -> Self {
        let message = agent.x509().await;
        let roots = crate::rotation::certificates(&message.svids[0].bundle);
        let anchors: String = roots.iter().map(|der| PemLabel::Certificate.armour(der).to_string()).collect();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (own, plane) = (admin.to_string(), controller.address.to_string());
        let socket = format!("unix:{}", agent.socket.display());
        let mut command = Command::new(program);
        for (name, value) in [
            ("ADMIN_LISTEN_ADDR", &*own),
            ("INBOUND_LISTEN_ADDR", "127.0.0.1:0"),
            ("OUTBOUND_LISTEN_ADDR", "127.0.0.1:0"),
            ("INBOUND_IPS", "127.0.0.1"),
            ("DESTINATION_SVC_ADDR", &*plane),
            ("POLICY_SVC_ADDR", &*plane),
            ("POLICY_WORKLOAD", "ledger"),
            ("IDENTITY_SPIRE_WORKLOAD_API_ADDRESS", &*socket),
            ("IDENTITY_SERVER_ID", id),
            ("IDENTITY_SERVER_NAME", "any.test"),
            ("IDENTITY_TRUST_ANCHORS", &*anchors),
        ] {
            command.env(format!("LINKERD2_PROXY_{name}"), value);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true).spawn().unwrap();
        let real = Self { admin, _process: process };
        real.until("/ready", |status, _body| status == 200).await;
        real
    }

    /// Asks until it is so.
    async fn until(&self, path: &str, so: impl Fn(u16, &str) -> bool) {
        within(async {
            while !self.get(path).await.is_some_and(|(status, body)| so(status, &body)) {
                tokio::time::sleep(PAUSE).await;
            }
        })
        .await;
    }

    /// Without TLS, from where everybody is admitted.
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let stream = tokio::net::TcpStream::connect(self.admin).await.ok()?;
        asked(stream, path).await
    }

    /// Calls from elsewhere; none where there is no connection.
    async fn is_called(&self, caller: ClientConfig) -> Option<u16> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let stream = socket.connect(self.admin).await.unwrap();
        let connector = TlsConnector::from(Arc::new(caller));
        let stream = connector.connect("any.test".try_into().unwrap(), stream).await.ok()?;
        asked(stream, "/live").await.map(|(status, _body)| status)
    }

    async fn answers(&self, callers: [ClientConfig; 3]) -> Vec<Option<u16>> {
        let mut answers = Vec::new();
        for caller in callers {
            answers.push(self.is_called(caller).await);
        }
        answers
    }

    /// How often it has taken a certificate, and how often it has not.
    async fn refreshes(&self, at_least: u64) {
        let counted = |body: &str, result: &str| {
            let name = format!("control_identity_cert_refreshes_total{{result=\"{result}\"}} ");
            body.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok()).unwrap_or(0)
        };
        self.until("/metrics", |_ok, body| {
            assert_eq!(counted(body, "error"), 0, "{body}");
            counted(body, "ok") >= at_least
        })
        .await;
    }
}

async fn asked(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, path: &str) -> Option<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: ledger\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    // Whoever ends a connection without a word of TLS has said all of HTTP before.
    let _ended = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    Some((answer.split(' ').nth(1)?.parse().ok()?, answer))
}

/// Shows: MESH-D2, MESH-D5.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_proxy_is_ready_by_its_first_svid_and_no_call_fails_while_it_takes_a_renewal() {
    let Some(program) = program() else { return };
    let site = Site::open(BRIEF).await;
    let (_, caller) = proxy(&site, "caller", ("4712", "acme/payments/api-v2")).await;
    let (agent, controller) = (site.logged_in().await, Controller::start().await);
    let real = Real::start(&program, &agent, SECOND_ID, &controller).await;
    real.refreshes(1).await;
    controller.policy.send_replace(admitting(caller.id().as_str()));
    within(async { while real.is_called(caller.client()).await != Some(200) {} }).await;
    site.clock.advance(PAST_RENEWAL);
    let (mut renewed, mut calls) = (pin!(real.refreshes(2)), 0);
    loop {
        tokio::select! {
            () = &mut renewed => break,
            answer = real.is_called(caller.client()) => {
                assert_eq!(answer, Some(200), "after {calls}");
                calls += 1;
            }
        }
    }
    // And the renewed one is shown, as good as the first.
    assert_eq!(real.is_called(caller.client()).await, Some(200), "after {calls}");
}

/// Shows: MESH-D7.
#[tokio::test(flavor = "multi_thread")]
async fn the_real_proxy_admits_by_the_same_table() {
    let Some(program) = program() else { return };
    for (order, expected) in [(SanOrder::UriFirst, BY_URI), (SanOrder::DnsFirst, BY_NAME)] {
        let Ledger { agent, store, callers, _site } = Ledger::open(order).await;
        let controller = Controller::start().await;
        let real = Real::start(&program, &agent, store.id().as_str(), &controller).await;
        let [deploy, neighbour] = callers.each_ref().map(Store::client);
        for (identity, answers) in expected {
            controller.policy.send_replace(admitting(identity));
            // The policy is on its way, and nothing says when it has come.
            tokio::time::sleep(PAUSE * 5).await;
            let callers = [deploy.clone(), neighbour.clone(), store.nobody()];
            assert_eq!(real.answers(callers).await, answers.map(Some), "{identity} {order:?}");
        }
        let stranger = Ledger::open(order).await;
        assert_eq!(real.is_called(stranger.callers[0].client()).await, None, "another root's");
    }
}
