//! An agent to try things on, with the stand-in for its server.

use super::issuer::{FakeIssuer, ID};
use hyper_util::rt::TokioIo;
use lanyard::agent::{Agent, AgentHandle, AgentSettings, Callers, FileOutput, LoggedIn};
use lanyard::agent::{MODE_OWNER, OnStop, Refused, SecretNames, TokenSource};
use lanyard::clock::SystemClock;
use lanyard::crypto::Random;
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use lanyard::tls::ServerTrust;
use lanyard::wire::ServerUrl;
use lanyard::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use lanyard::wire::workload::{X509svidRequest, X509svidResponse};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Streaming};
use zeroize::Zeroizing;

/// Longer than anything here should take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A whole agent in this process, its sockets in a folder of their own, its server the stand-in.
pub(crate) struct Running {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) issuer: Arc<FakeIssuer>,
    pub(crate) server: ServerUrl,
    pub(crate) trust: ServerTrust,
    pub(crate) handle: AgentHandle,
    pub(crate) trigger: ShutdownTrigger,
    pub(crate) ended: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        let (issuer, server, trust) = FakeIssuer::start().await;
        Self::start_in(folder, issuer, (server, trust), OnStop::KeepSession)
    }

    pub(crate) fn start_in(
        folder: tempfile::TempDir,
        issuer: Arc<FakeIssuer>,
        (server, trust): (ServerUrl, ServerTrust),
        on_stop: OnStop,
    ) -> Self {
        let settings = AgentSettings {
            server: server.clone(),
            trust: trust.clone(),
            workload_socket: folder.path().join("api.sock"),
            sds_socket: None,
            secrets: SecretNames::default(),
            agent_socket: Some(folder.path().join("agent.sock")),
            metrics: None,
            program: None,
            socket_mode: MODE_OWNER,
            callers: Callers::OwnUid,
            state_dir: folder.path().join("state"),
            token: TokenSource::Login,
            runner: None,
            files: Some(FileOutput::new(folder.path().join("files"))),
            on_stop,
        };
        let agent = Agent::build(settings, Arc::new(SystemClock), &Random::system()).unwrap();
        let (handle, (trigger, shutdown)) = (agent.handle().unwrap(), Shutdown::pair());
        let ended = tokio::spawn(async move { agent.run(shutdown).await.unwrap() });
        Self { folder, issuer, server, trust, handle, trigger, ended }
    }

    pub(crate) async fn logged_in() -> Self {
        let running = Self::start().await;
        assert_eq!(running.login("good").await.unwrap().spiffe_id, ID);
        running
    }

    pub(crate) async fn login(&self, token: &str) -> Result<LoggedIn, Refused> {
        within(self.handle.login(Zeroizing::new(token.to_owned()))).await
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.folder.path().join("api.sock").display())
    }

    pub(crate) fn raw(&self) -> SpiffeWorkloadApiClient<Channel> {
        let path = self.folder.path().join("api.sock");
        let connect = tower::service_fn(move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        SpiffeWorkloadApiClient::new(Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect))
    }

    /// Hands over another token while the server has no time for tokens, and waits until it has been tried.
    pub(crate) async fn another_waits(&self) -> JoinHandle<Result<LoggedIn, Refused>> {
        self.issuer.busy.store(true, Ordering::SeqCst);
        let tried = self.issuer.exchanges.load(Ordering::SeqCst);
        let handle = self.handle.clone();
        let login = tokio::spawn(async move { handle.login(Zeroizing::new("another".to_owned())).await });
        within(eventually(|| self.issuer.exchanges.load(Ordering::SeqCst) > tried)).await;
        login
    }

    /// The served session has ended: nothing is left of it, and whoever asks now waits for the next.
    pub(crate) async fn is_over_until_another_comes(
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

    pub(crate) async fn files_are(&self, there: bool) {
        let key = self.folder.path().join("files/svid_key.pem");
        within(eventually(|| std::fs::symlink_metadata(&key).is_ok() == there)).await;
    }

    pub(crate) async fn stream(&self) -> Streaming<X509svidResponse> {
        within(self.raw().fetch_x509svid(call(X509svidRequest {}, &["true"]))).await.unwrap().into_inner()
    }
}

pub(crate) fn call<T>(message: T, headers: &[&'static str]) -> Request<T> {
    let mut request = Request::new(message);
    for value in headers {
        request.metadata_mut().append("workload.spiffe.io", MetadataValue::from_static(value));
    }
    request
}

/// What a restarted agent would find.
pub(crate) fn kept(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("state/session.json")).unwrap()
}

pub(crate) async fn eventually(mut holds: impl FnMut() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("in time")
}
