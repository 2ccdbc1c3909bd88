//! A panic ends the request that had it, and is counted; a panic of the journal's writer ends the server. Provoked from
//! outside, by a clock that panics when it is told to.

use crate::support::harness::{POLICY, settings};
use crate::support::issuer::FakeIssuer;
use lanyard::clock::{Clock, SystemClock, Wait};
use lanyard::crypto::Random;
use lanyard::discovery::HttpsFetch;
use lanyard::server::{Server, ServerError, World};
use lanyard::telemetry::{Shutdown, ShutdownTrigger, watch_panics};
use lanyard::tls::{ServerTrust, TlsClient};
use lanyard::wire::HttpsClient;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddr;
use std::panic::take_hook;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const NOBODY: u8 = 0;
const REQUEST: u8 = 1;
const COMMITTER: u8 = 2;

/// The machine's clock, until somebody is to panic: then the next one of that kind who reads it does.
#[derive(Debug, Default)]
struct Tripwire(AtomicU8);

impl Clock for Tripwire {
    fn now(&self) -> OffsetDateTime {
        let reader = if thread::current().name() == Some("committer") { COMMITTER } else { REQUEST };
        let tripped = self.0.compare_exchange(reader, NOBODY, Ordering::SeqCst, Ordering::SeqCst);
        let secret = "eyJhbGciOi";
        assert!(tripped.is_err(), "a value such as {secret} in a panic's words");
        SystemClock.now()
    }

    fn uptime(&self) -> Duration {
        SystemClock.uptime()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }

    fn wait_until(&self, at: OffsetDateTime) -> Wait {
        SystemClock.wait_until(at)
    }
}

struct Running {
    _folder: TempDir,
    issuer: FakeIssuer,
    clock: Arc<Tripwire>,
    curl: HttpsClient,
    health: SocketAddr,
    stop: ShutdownTrigger,
    server: JoinHandle<Result<(), ServerError>>,
}

impl Running {
    async fn start() -> Self {
        static WATCHED: Once = Once::new();
        WATCHED.call_once(|| watch_panics(take_hook()));
        lanyard::crypto::install_providers();
        let (folder, issuer) = (TempDir::new().unwrap(), FakeIssuer::new());
        fs::write(folder.path().join("jwks.json"), issuer.jwks()).unwrap();
        let policy = POLICY.replace("ttl =", "jwt_without_key = true\nttl =");
        let mut settings = settings(folder.path(), &policy, "memory", "");
        settings.doors.issuer = vec!["127.0.0.1:0".parse().unwrap()];
        settings.doors.admin_socket = folder.path().join("admin.sock");
        settings.doors.health = Some("127.0.0.1:0".parse().unwrap());
        let (clock, fetch) = (Arc::new(Tripwire::default()), Arc::new(HttpsFetch::new(None).unwrap()));
        let world = World { clock: Arc::<Tripwire>::clone(&clock), random: Random::system(), fetch };
        let (stop, shutdown) = Shutdown::pair();
        let server = Server::start(&settings, world, shutdown).await.unwrap();
        let url = format!("https://127.0.0.1:{}", server.addresses().first().unwrap().port()).parse().unwrap();
        let pem = fs::read(settings.data_dir.join("door-ca.pem")).unwrap();
        let trust = ServerTrust::from_pem(&pem, "the door CA").unwrap();
        let curl = HttpsClient::new(url, TlsClient::new(&trust, None, &["http/1.1"]).unwrap());
        let health = server.health_address().unwrap();
        let server = tokio::spawn(server.run());
        Self { _folder: folder, issuer, clock, curl, health, stop, server }
    }

    fn next_to_panic(&self, who: u8) {
        self.clock.0.store(who, Ordering::SeqCst);
    }

    async fn ask(&self) -> (u16, Value) {
        let asked = json!({"token": self.issuer.token(SystemClock.now()), "audience": ["https://service.test"]});
        let (status, body) = self.curl.post_json("/v1/svid/jwt", asked.to_string().into_bytes()).await.unwrap();
        (status.as_u16(), serde_json::from_slice(&body).unwrap())
    }

    /// What `lanyard_panics_total` says.
    async fn panics(&self) -> u64 {
        let mut stream = TcpStream::connect(self.health).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page.lines().find_map(|line| line.strip_prefix("lanyard_panics_total ")).unwrap().parse().unwrap()
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_request_with_an_id_and_is_counted() {
    let running = Running::start().await;
    assert_eq!(running.ask().await.0, 200);
    let before = running.panics().await;
    running.next_to_panic(REQUEST);
    let (status, problem) = running.ask().await;
    assert_eq!((status, &problem["code"]), (500, &json!("internal")), "{problem}");
    assert_eq!(problem["request_id"].as_str().unwrap().len(), 32);
    assert!(!problem.to_string().contains("eyJ"), "{problem}");
    // Other tests of this process may panic on purpose too.
    assert!(running.panics().await > before);
    assert_eq!(running.ask().await.0, 200, "the next request is served");
    running.stop.pull();
    running.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_panic_of_the_journals_writer_stops_the_server_and_nothing_is_issued_after_it() {
    let running = Running::start().await;
    running.next_to_panic(COMMITTER);
    let (status, problem) = running.ask().await;
    assert_eq!((status, &problem["code"]), (503, &json!("store_unavailable")), "{problem}");
    assert!(matches!(running.server.await.unwrap(), Err(ServerError::Stopped)));
}
