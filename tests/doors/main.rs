//! The doors, against clients we did not write.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, starts its own tasks and says what it lacks"
)]

mod endings;
mod issuer;
mod stock_clients;

use hyper_util::rt::TokioIo;
use issuer::{FakeIssuer, ID};
use lanyard::agent::{Agent, AgentHandle, AgentSettings, Callers, FileOutput, LoggedIn};
use lanyard::agent::{MODE_OWNER, OnStop, Refused, TokenSource};
use lanyard::clock::SystemClock;
use lanyard::crypto::{Digest, Random};
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use lanyard::tls::ServerTrust;
use lanyard::wire::ServerUrl;
use lanyard::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use lanyard::wire::workload::{JwtsvidRequest, X509svidRequest, X509svidResponse};
use rustix::process::{Pid, Signal, kill_process};
use spiffe::WorkloadApiClient;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Streaming};
use zeroize::Zeroizing;

/// Longer than anything here should take.
const LIMIT: Duration = Duration::from_secs(20);

struct Running {
    folder: tempfile::TempDir,
    issuer: Arc<FakeIssuer>,
    server: ServerUrl,
    trust: ServerTrust,
    handle: AgentHandle,
    trigger: ShutdownTrigger,
    ended: JoinHandle<()>,
}

impl Running {
    async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        let (issuer, server, trust) = FakeIssuer::start().await;
        Self::start_in(folder, issuer, (server, trust), OnStop::KeepSession)
    }

    fn start_in(
        folder: tempfile::TempDir,
        issuer: Arc<FakeIssuer>,
        (server, trust): (ServerUrl, ServerTrust),
        on_stop: OnStop,
    ) -> Self {
        let settings = AgentSettings {
            server: server.clone(),
            trust: trust.clone(),
            workload_socket: folder.path().join("api.sock"),
            agent_socket: Some(folder.path().join("agent.sock")),
            socket_mode: MODE_OWNER,
            callers: Callers::OwnUid,
            state_dir: folder.path().join("state"),
            token: TokenSource::Login,
            files: Some(FileOutput::new(folder.path().join("files"))),
            on_stop,
        };
        let agent = Agent::build(settings, Arc::new(SystemClock), &Random::system()).unwrap();
        let (handle, (trigger, shutdown)) = (agent.handle(), Shutdown::pair());
        let ended = tokio::spawn(async move { agent.run(shutdown).await.unwrap() });
        Self { folder, issuer, server, trust, handle, trigger, ended }
    }

    async fn logged_in() -> Self {
        let running = Self::start().await;
        assert_eq!(running.login("good").await.unwrap().spiffe_id, ID);
        running
    }

    async fn login(&self, token: &str) -> Result<LoggedIn, Refused> {
        within(self.handle.login(Zeroizing::new(token.to_owned()))).await
    }

    fn endpoint(&self) -> String {
        format!("unix://{}", self.folder.path().join("api.sock").display())
    }

    fn raw(&self) -> SpiffeWorkloadApiClient<Channel> {
        let path = self.folder.path().join("api.sock");
        let connect = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        SpiffeWorkloadApiClient::new(Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect))
    }

    /// Hands over another token while the server has no time for tokens, and waits until it has been tried.
    async fn another_waits(&self) -> JoinHandle<Result<LoggedIn, Refused>> {
        self.issuer.busy.store(true, Ordering::SeqCst);
        let tried = self.issuer.exchanges.load(Ordering::SeqCst);
        let handle = self.handle.clone();
        let login = tokio::spawn(async move { handle.login(Zeroizing::new("another".to_owned())).await });
        within(eventually(|| self.issuer.exchanges.load(Ordering::SeqCst) > tried)).await;
        login
    }

    /// The served session has ended: nothing is left of it, and whoever asks now waits for the next.
    async fn is_over_until_another_comes(
        &self,
        mut stream: Streaming<X509svidResponse>,
        login: JoinHandle<Result<LoggedIn, Refused>>,
    ) {
        while within(stream.message()).await.is_ok() {}
        within(eventually(|| !kept(self.folder.path()).contains("\"s1\""))).await;
        self.files_are(false).await;
        let mut next = self.stream().await;
        assert!(!login.is_finished());
        self.issuer.away.store(false, Ordering::SeqCst);
        self.issuer.busy.store(false, Ordering::SeqCst);
        assert_eq!(within(login).await.unwrap().unwrap().session, "s2");
        assert!(within(next.message()).await.unwrap().is_some());
    }

    async fn files_are(&self, there: bool) {
        let key = self.folder.path().join("files/svid_key.pem");
        within(eventually(|| std::fs::symlink_metadata(&key).is_ok() == there)).await;
    }

    async fn stream(&self) -> Streaming<X509svidResponse> {
        within(self.raw().fetch_x509svid(call(X509svidRequest {}, &["true"]))).await.unwrap().into_inner()
    }
}

fn call<T>(message: T, headers: &[&'static str]) -> Request<T> {
    let mut request = Request::new(message);
    for value in headers {
        request.metadata_mut().append("workload.spiffe.io", MetadataValue::from_static(value));
    }
    request
}

/// What a restarted agent would find.
fn kept(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("state/session.json")).unwrap()
}

async fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}

#[tokio::test]
async fn the_rust_client_gets_both_kinds_both_bundles_and_a_validation() {
    let agent = Running::logged_in().await;
    let client = WorkloadApiClient::connect_to(agent.endpoint()).await.unwrap();
    let svid = client.fetch_x509_svid().await.unwrap();
    assert_eq!(svid.spiffe_id().to_string(), ID);
    assert_eq!(svid.cert_chain().len(), 2);
    assert_eq!(client.fetch_x509_bundles().await.unwrap().len(), 1);
    assert_eq!(client.fetch_jwt_bundles().await.unwrap().len(), 1);
    let token = client.fetch_jwt_token(["https://service.test"], None).await.unwrap();
    assert_eq!(client.validate_jwt_token("https://service.test", &token).await.unwrap().spiffe_id().to_string(), ID);
    client.validate_jwt_token("https://other.test", &token).await.unwrap_err();
    client.fetch_jwt_token(["a", "b"], None).await.unwrap_err();
}

#[tokio::test]
async fn a_renewal_reaches_an_open_stream_in_time_with_a_fresh_key() {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(4, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    let client = WorkloadApiClient::connect_to(agent.endpoint()).await.unwrap();
    let mut stream = client.stream_x509_svids().await.unwrap();
    let first = within(stream.next()).await.unwrap().unwrap();
    let second = within(stream.next()).await.unwrap().unwrap();
    assert_ne!(first.private_key().as_bytes(), second.private_key().as_bytes());
    assert_eq!(agent.issuer.exchanges.load(Ordering::SeqCst), 1, "renewed, not exchanged again");
}

#[tokio::test]
async fn a_call_without_the_header_is_turned_away_before_anything() {
    let agent = Running::start().await;
    for headers in [&[][..], &["TRUE"], &["1"], &["true", "true"]] {
        let refused = agent.raw().fetch_x509svid(call(X509svidRequest {}, headers)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{headers:?}");
    }
    let none = JwtsvidRequest { audience: Vec::new(), spiffe_id: String::new() };
    assert_eq!(agent.raw().fetch_jwtsvid(call(none, &["true"])).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stream_waits_in_silence_until_the_server_is_there() {
    let agent = Running::start().await;
    agent.issuer.away.store(true, Ordering::SeqCst);
    let login = {
        let handle = agent.handle.clone();
        tokio::spawn(async move { handle.login(Zeroizing::new("good".to_owned())).await })
    };
    let mut stream = agent.stream().await;
    tokio::time::timeout(Duration::from_millis(300), stream.message()).await.unwrap_err();
    agent.issuer.away.store(false, Ordering::SeqCst);
    let first = within(stream.message()).await.unwrap().unwrap();
    assert_eq!(first.svids[0].spiffe_id, ID);
    within(login).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_end_of_a_session_ends_streams_and_then_there_is_no_identity() {
    let agent = Running::logged_in().await;
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    // The agent listens to the server from its first SVID on; wait until it does.
    while agent.issuer.tell.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    agent.issuer.end();
    assert_eq!(within(stream.message()).await.unwrap_err().code(), Code::Unavailable);
    let next = within(agent.stream().await.message()).await.unwrap_err();
    assert_eq!((next.code(), next.message()), (Code::PermissionDenied, "no identity issued"));
}

#[tokio::test]
async fn a_stopping_agent_never_says_ok_and_its_session_lives_on() {
    let agent = Running::logged_in().await;
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    agent.trigger.pull();
    assert_eq!(within(stream.message()).await.unwrap_err().code(), Code::Unavailable);
    within(agent.ended).await.unwrap();
    assert!(agent.issuer.ended.lock().unwrap().is_empty());
    assert!(!agent.folder.path().join("api.sock").exists());
    assert!(kept(agent.folder.path()).contains("\"s1\""));
}

#[tokio::test]
async fn a_session_that_is_replaced_is_let_go_without_a_word_to_the_server() {
    let agent = Running::logged_in().await;
    assert_eq!(agent.login("another").await.unwrap().session, "s2");
    let sessions = kept(agent.folder.path());
    assert!(sessions.contains("\"s2\"") && !sessions.contains("\"s1\""), "{sessions}");
    // Its end would close the job, and with it the new session.
    assert!(agent.issuer.ended.lock().unwrap().is_empty());
    within(agent.handle.logout()).await;
    assert_eq!(*agent.issuer.ended.lock().unwrap(), ["s2"], "a logout closes the job by the session that is served");
}

#[tokio::test]
async fn a_restarted_agent_goes_on_without_its_token_and_a_pods_agent_ends_its_session() {
    let agent = Running::logged_in().await;
    agent.trigger.pull();
    within(agent.ended).await.unwrap();
    let again = Running::start_in(agent.folder, agent.issuer, (agent.server, agent.trust), OnStop::EndSession);
    let first = within(again.stream().await.message()).await.unwrap().unwrap();
    assert_eq!(first.svids[0].spiffe_id, ID);
    assert_eq!(again.issuer.exchanges.load(Ordering::SeqCst), 1, "the session was renewed, not opened again");

    // A pod's agent ends with its job.
    again.trigger.pull();
    within(again.ended).await.unwrap();
    assert_eq!(*again.issuer.ended.lock().unwrap(), ["s1"]);
}

#[tokio::test]
async fn the_last_good_svid_is_served_while_the_server_is_away() {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(8, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    let ask = || JwtsvidRequest { audience: vec!["https://service.test".to_owned()], spiffe_id: String::new() };
    let token = agent.raw().fetch_jwtsvid(call(ask(), &["true"])).await.unwrap().into_inner();
    agent.issuer.away.store(true, Ordering::SeqCst);
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    let kept = agent.raw().fetch_jwtsvid(call(ask(), &["true"])).await.unwrap().into_inner();
    assert_eq!(kept, token, "from memory");
    assert_eq!(within(stream.message()).await.unwrap_err().code(), Code::Unavailable, "when it is really gone");
    agent.issuer.away.store(false, Ordering::SeqCst);
    assert!(within(agent.stream().await.message()).await.unwrap().is_some(), "and back with the server");
}

#[tokio::test]
async fn logging_out_tells_the_server_and_takes_the_files_away() {
    let agent = Running::logged_in().await;
    agent.files_are(true).await;
    within(agent.handle.logout()).await;
    assert_eq!(*agent.issuer.ended.lock().unwrap(), ["s1"]);
    agent.files_are(false).await;
}

#[tokio::test]
async fn a_refused_token_is_told_with_its_code_and_a_live_session_outlives_it() {
    let agent = Running::start().await;
    let refused = agent.login("stolen").await.unwrap_err();
    assert_eq!((&*refused.code, refused.status, &*refused.request_id), ("token_replayed", 409, "r7"));
    let next = within(agent.stream().await.message()).await.unwrap_err();
    assert_eq!(next.code(), Code::PermissionDenied);
    agent.login("good").await.unwrap();
    agent.login("stolen").await.unwrap_err();
    assert!(within(agent.stream().await.message()).await.unwrap().is_some());
    assert_eq!(agent.login("good").await.unwrap().session, "s1");
}

#[tokio::test]
async fn a_live_session_is_renewed_while_another_token_waits() {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(4, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    let mut stream = agent.stream().await;
    let first = within(stream.message()).await.unwrap().unwrap();
    let login = agent.another_waits().await;
    let second = within(stream.message()).await.unwrap().unwrap();
    assert_ne!(first.svids[0].x509_svid_key, second.svids[0].x509_svid_key);
    assert!(!login.is_finished());
    agent.issuer.busy.store(false, Ordering::SeqCst);
    assert_eq!(within(login).await.unwrap().unwrap().session, "s2");
}

#[tokio::test]
async fn the_end_of_a_session_is_heard_while_another_token_waits() {
    let agent = Running::logged_in().await;
    agent.files_are(true).await;
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    let login = agent.another_waits().await;
    while agent.issuer.tell.receiver_count() == 0 {
        tokio::task::yield_now().await;
    }
    agent.issuer.end();
    agent.is_over_until_another_comes(stream, login).await;
}

#[tokio::test]
async fn the_time_of_a_session_runs_out_while_another_token_waits() {
    let agent = Running::start().await;
    // The last SVID of a session ends with it.
    agent.issuer.lifetime.store(4, Ordering::SeqCst);
    agent.issuer.session_lifetime.store(4, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    agent.files_are(true).await;
    let mut stream = agent.stream().await;
    within(stream.message()).await.unwrap().unwrap();
    let login = agent.another_waits().await;
    agent.issuer.away.store(true, Ordering::SeqCst);
    agent.is_over_until_another_comes(stream, login).await;
}

#[tokio::test]
async fn logging_out_while_another_token_waits_ends_the_session_and_the_wait() {
    let agent = Running::logged_in().await;
    agent.files_are(true).await;
    let login = agent.another_waits().await;
    within(agent.handle.logout()).await;
    assert_eq!(within(login).await.unwrap().unwrap_err().code, "session_ended");
    assert_eq!(*agent.issuer.ended.lock().unwrap(), ["s1"]);
    assert!(!kept(agent.folder.path()).contains("\"s1\""));
    let next = within(agent.stream().await.message()).await.unwrap_err();
    assert_eq!(next.code(), Code::PermissionDenied);
    agent.files_are(false).await;
}

#[tokio::test]
async fn a_pods_agent_that_stops_while_another_token_waits_leaves_no_identity() {
    let agent = Running::logged_in().await;
    agent.trigger.pull();
    within(agent.ended).await.unwrap();
    let pod = Running::start_in(agent.folder, agent.issuer, (agent.server, agent.trust), OnStop::EndSession);
    pod.files_are(true).await;
    within(pod.stream().await.message()).await.unwrap().unwrap();
    let login = pod.another_waits().await;
    pod.trigger.pull();
    within(login).await.unwrap().unwrap_err();
    within(pod.ended).await.unwrap();
    assert_eq!(*pod.issuer.ended.lock().unwrap(), ["s1"]);
    assert!(!kept(pod.folder.path()).contains("\"s1\""));
    assert!(std::fs::symlink_metadata(pod.folder.path().join("files/svid_key.pem")).is_err());

    let again = Running::start_in(pod.folder, pod.issuer, (pod.server, pod.trust), OnStop::EndSession);
    let mut stream = again.stream().await;
    tokio::time::timeout(Duration::from_millis(300), stream.message()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_stopped_during_the_login_never_starts_its_command() {
    let (issuer, server, trust) = FakeIssuer::start().await;
    issuer.busy.store(true, Ordering::SeqCst);
    let ServerTrust::Pem(ca) = trust else { panic!("the stand-in has a CA of its own") };
    let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
    let ran = folder.path().join("ran");
    let mut exec = tokio::process::Command::new(env!("CARGO_BIN_EXE_lanyard"))
        .args(["exec", "--server-ca-sha256", &Digest::of(&ca[0]).to_string(), "--token-env", "TOKEN", "--", "touch"])
        .arg(&ran)
        .env("LANYARD_SERVER", server.to_string())
        .env("TOKEN", "go.o.d")
        .env("TMPDIR", folder.path())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    within(eventually(|| issuer.exchanges.load(Ordering::SeqCst) > 0)).await;
    let pid = exec.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(within(exec.wait()).await.unwrap().code(), Some(128 + 15));
    assert!(!ran.exists());
    let left = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.into_iter().any(|name| name.starts_with("lanyard-exec-")), "its socket is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_alone_can_log_in() {
    let agent = Running::start().await;
    let socket = agent.folder.path().join("agent.sock");
    let answer = tokio::process::Command::new("curl")
        .args(["-sS", "--max-time", "20", "-d", r#"{"token":"good"}"#, "http://localhost/v1/login", "--unix-socket"])
        .arg(&socket)
        .output()
        .await
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["spiffe_id"], ID);
}
