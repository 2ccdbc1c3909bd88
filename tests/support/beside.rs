//! The real agent beside the real server, in one process and on one clock that the test moves; workloads ask its socket.
#![expect(clippy::disallowed_methods, reason = "server and agent are tasks of the test")]

use super::harness::settings;
use super::issuer::FakeIssuer;
use hyper_util::rt::TokioIo;
use lanyard::agent::{Agent, AgentError, AgentHandle, AgentSettings, Callers, FileOutput, LoggedIn};
use lanyard::agent::{MODE_EVERYBODY, OnStop, Refused, SecretNames, TokenSource};
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::config::{DoorsSettings, ServerSettings};
use lanyard::crypto::Random;
use lanyard::discovery::HttpsFetch;
use lanyard::server::{Server, World};
use lanyard::session::CrlPlan;
use lanyard::telemetry::{Shutdown, ShutdownTrigger};
use lanyard::tls::ServerTrust;
use lanyard::wire::ServerUrl;
use lanyard::wire::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use lanyard::wire::workload::{X509svidRequest, X509svidResponse};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Streaming};
use zeroize::Zeroizing;

/// Two identities of one job, and tokens for services.
pub(crate) const TWO_PROFILES: &str = r#"
[[rule]]
name = "every project, its pipelines and itself"
ttl = "15m"
kinds = ["x509", "jwt"]
audiences = ["https://service.test", "https://other.test"]
multi_audience = true
[[rule.svid]]
profile = "istio"
id = "/{project_path}/-/pipelines/{pipeline_id}"
[[rule.svid]]
profile = "linkerd"
id = "/{project_path}/-/every"
[rule.when]
issuer = "corp"
"#;

/// The ID of the first of them, for the fake issuer's jobs.
pub(crate) const FIRST_ID: &str = "spiffe://ci.example.org/acme/payments/api/-/pipelines/574";
/// And of the second.
pub(crate) const SECOND_ID: &str = "spiffe://ci.example.org/acme/payments/api/-/every";

/// Longer than anything here should take on a machine with much else to do.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Waits for something that is about to happen.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap()
}

/// Waits until it is so.
pub(crate) async fn until(so: impl Fn() -> bool) {
    within(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A server that runs, and a folder for its agents.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) issuer: FakeIssuer,
    pub(crate) url: ServerUrl,
    pub(crate) trust: ServerTrust,
    settings: ServerSettings,
    running: Option<Running>,
}

struct Running {
    stop: ShutdownTrigger,
    ended: JoinHandle<()>,
}

impl Site {
    /// A server with this policy.
    pub(crate) async fn open(policy: &str) -> Self {
        Self::open_as(policy, |_as_they_are| {}).await
    }

    /// The same with other settings from the start.
    pub(crate) async fn open_as(policy: &str, change: impl FnOnce(&mut ServerSettings)) -> Self {
        // Handshakes look at the machine's clock, so ours begins there.
        let now = SystemClock.now().replace_nanosecond(0).unwrap();
        Self::open_by(Arc::new(ManualClock::at(now)), policy, change).await
    }

    /// The same on a clock that others go by too.
    pub(crate) async fn open_by(
        clock: Arc<ManualClock>,
        policy: &str,
        change: impl FnOnce(&mut ServerSettings),
    ) -> Self {
        Self::opened(clock, (policy, ""), change).await
    }

    /// With lines more at the end of the configuration.
    pub(crate) async fn open_saying(policy: &str, lines: &str) -> Self {
        let now = SystemClock.now().replace_nanosecond(0).unwrap();
        Self::opened(Arc::new(ManualClock::at(now)), (policy, lines), |_as_they_are| {}).await
    }

    async fn opened(
        clock: Arc<ManualClock>,
        (policy, lines): (&str, &str),
        change: impl FnOnce(&mut ServerSettings),
    ) -> Self {
        lanyard::crypto::install_providers();
        // Socket paths are short, and other users must be able to pass through.
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let issuer = FakeIssuer::new();
        fs::write(folder.path().join("jwks.json"), issuer.jwks()).unwrap();
        let mut settings = site_settings(folder.path(), (policy, lines), "127.0.0.1:0".parse().unwrap());
        change(&mut settings);
        let (running, at) = start(&settings, &clock).await;
        let address = *at.issuer.first().unwrap();
        let doors = &mut settings.doors;
        (doors.issuer, doors.bundle, doors.bundle_spiffe) = (at.issuer, at.bundle, at.spiffe);
        let pem = fs::read(settings.data_dir.join("door-ca.pem")).unwrap();
        let trust = ServerTrust::from_pem(&pem, "the door CA").unwrap();
        let url = format!("https://{address}").parse().unwrap();
        Self { folder, clock, issuer, url, trust, settings, running: Some(running) }
    }

    /// The server goes away, in good order.
    pub(crate) async fn shut(&mut self) {
        let Running { stop, ended } = self.running.take().unwrap();
        stop.pull();
        within(ended).await.unwrap();
    }

    /// And comes back at the same address.
    pub(crate) async fn open_again(&mut self) {
        self.running = Some(start(&self.settings, &self.clock).await.0);
    }

    /// With other settings from the next opening on.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut ServerSettings)) {
        change(&mut self.settings);
    }

    /// Where its bundle is, by both profiles.
    pub(crate) fn bundle_urls(&self) -> [String; 2] {
        let url = |at: &[SocketAddr]| format!("https://{}/", at.first().unwrap());
        [url(&self.settings.doors.bundle), url(&self.settings.doors.bundle_spiffe)]
    }

    /// The same, and makes revocation lists.
    pub(crate) async fn make_crls(&mut self) {
        self.shut().await;
        self.settings.crl = Some(CrlPlan { lifetime: CrlPlan::LIFETIME });
        self.open_again().await;
    }

    /// The same with another policy.
    pub(crate) async fn open_again_with(&mut self, policy: &str) {
        let address = *self.settings.doors.issuer.first().unwrap();
        self.settings = site_settings(self.folder.path(), (policy, ""), address);
        self.open_again().await;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn advance(&self, minutes: u64) {
        self.clock.advance(Duration::from_secs(60 * minutes));
    }

    pub(crate) fn token(&self) -> String {
        self.issuer.token(self.clock.now())
    }

    /// A token of a new job of another project.
    pub(crate) fn token_of(&self, (project_id, project_path): (&str, &str)) -> String {
        let mut claims = self.issuer.claims(self.clock.now());
        for (name, value) in [("project_id", project_id), ("project_path", project_path)] {
            claims.insert(name.to_owned(), value.into());
            claims.insert(format!("job_{name}"), value.into());
        }
        claims.insert("sub".to_owned(), format!("project_path:{project_path}:ref_type:branch:ref:main").into());
        self.issuer.mint(&claims)
    }

    /// How many SVIDs the journal says were about to be signed.
    pub(crate) fn intents(&self) -> usize {
        self.journal().matches(r#""kind":"intent""#).count()
    }

    /// Whether the journal says that a revocation list with somebody on it was about to be signed.
    pub(crate) fn lists_somebody(&self) -> bool {
        let journal = self.journal();
        let mut lists = journal.lines().filter(|line| line.contains(r#""kind":"crls_made""#));
        lists.any(|line| !line.contains(r#""revoked":0"#))
    }

    fn journal(&self) -> String {
        let files = fs::read_dir(self.path("data/journal")).unwrap().map(|entry| entry.unwrap().path());
        files.filter_map(|file| fs::read_to_string(file).ok()).collect()
    }

    /// How an agent of this site is set up: mode `pod`, nobody logged in.
    pub(crate) fn agent_settings(&self) -> AgentSettings {
        AgentSettings {
            server: self.url.clone(),
            trust: self.trust.clone(),
            workload_socket: self.path("workload/api.sock"),
            sds_socket: None,
            secrets: SecretNames::default(),
            agent_socket: None,
            metrics: None,
            program: None,
            socket_mode: MODE_EVERYBODY,
            callers: Callers::Any,
            state_dir: self.path("state"),
            token: TokenSource::Login,
            runner: None,
            files: None,
            on_stop: OnStop::KeepSession,
        }
    }

    /// The same for one more agent, which has places of its own.
    pub(crate) fn settings_beside(&self, name: &str) -> AgentSettings {
        let (workload_socket, state_dir) =
            (self.path(&format!("{name}/api.sock")), self.path(&format!("{name}-state")));
        AgentSettings { workload_socket, state_dir, ..self.agent_settings() }
    }

    /// An agent to which nobody has logged in.
    pub(crate) fn agent(&self) -> Beside {
        Beside::start(self.agent_settings(), &self.clock)
    }

    /// One that writes files too.
    pub(crate) fn agent_with_files(&self, files: FileOutput) -> Beside {
        Beside::start(AgentSettings { files: Some(files), ..self.agent_settings() }, &self.clock)
    }

    /// An agent that holds the identities of a new job.
    pub(crate) async fn logged_in(&self) -> Beside {
        let agent = self.agent();
        agent.login(self.token()).await.unwrap();
        agent
    }
}

fn site_settings(folder: &Path, (policy, lines): (&str, &str), listen: SocketAddr) -> ServerSettings {
    let settings = settings(folder, policy, "memory", lines);
    let doors = DoorsSettings {
        issuer: vec![listen],
        admin_socket: folder.join("admin.sock"),
        health: None,
        ..settings.doors.clone()
    };
    ServerSettings { doors, ..settings }
}

/// Where a server listens.
struct At {
    issuer: Vec<SocketAddr>,
    bundle: Vec<SocketAddr>,
    spiffe: Vec<SocketAddr>,
}

async fn start(settings: &ServerSettings, clock: &Arc<ManualClock>) -> (Running, At) {
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    let world = World { clock, random: Random::system(), fetch: Arc::new(HttpsFetch::new(None).unwrap()) };
    let (stop, shutdown) = Shutdown::pair();
    let server = Server::start(settings, world, shutdown).await.unwrap();
    let at =
        At { issuer: server.addresses(), bundle: server.bundle_addresses(), spiffe: server.spiffe_bundle_addresses() };
    let ended = tokio::spawn(async move { server.run().await.unwrap() });
    (Running { stop, ended }, at)
}

/// An agent that runs.
pub(crate) struct Beside {
    pub(crate) socket: PathBuf,
    /// None where each job logs in for itself.
    pub(crate) handle: Option<AgentHandle>,
    stop: ShutdownTrigger,
    ended: JoinHandle<Result<(), AgentError>>,
}

impl Beside {
    pub(crate) fn start(settings: AgentSettings, clock: &Arc<ManualClock>) -> Self {
        Self::begin(settings, clock).unwrap()
    }

    /// Where another has just stopped: its last connections may hold the state folder a moment longer.
    pub(crate) async fn follow(settings: AgentSettings, clock: &Arc<ManualClock>) -> Self {
        within(async {
            loop {
                match Self::begin(settings.clone(), clock) {
                    Ok(agent) => return agent,
                    Err(held) => assert!(format!("{held:?}").contains("InUse"), "{held:?}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }

    fn begin(settings: AgentSettings, clock: &Arc<ManualClock>) -> Result<Self, AgentError> {
        let socket = settings.workload_socket.clone();
        let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
        let agent = Agent::build(settings, clock, &Random::system())?;
        let (stop, shutdown) = Shutdown::pair();
        let handle = agent.handle();
        let ended = tokio::spawn(agent.run(shutdown));
        Ok(Self { socket, handle, stop, ended })
    }

    pub(crate) async fn login(&self, token: String) -> Result<LoggedIn, Refused> {
        within(self.handle.as_ref().unwrap().login(Zeroizing::new(token))).await
    }

    /// Tells it to stop; its streams say so.
    pub(crate) fn stop(&self) {
        self.stop.pull();
    }

    /// Waits until it has stopped.
    pub(crate) async fn ended(self) {
        self.stop.pull();
        within(self.ended).await.unwrap().unwrap();
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// A workload with a connection of its own.
    pub(crate) fn workload(&self) -> SpiffeWorkloadApiClient<Channel> {
        SpiffeWorkloadApiClient::new(channel(&self.socket))
    }

    /// The stream of X.509-SVIDs of a workload of its own.
    pub(crate) async fn x509_stream(&self) -> Streaming<X509svidResponse> {
        within(self.workload().fetch_x509svid(asked(X509svidRequest {}))).await.unwrap().into_inner()
    }

    /// The first message of that stream.
    pub(crate) async fn x509(&self) -> X509svidResponse {
        within(self.x509_stream().await.message()).await.unwrap().unwrap()
    }
}

/// A connection to a socket, made when it is used.
pub(crate) fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connect = tower::service_fn(move |_uri: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connect)
}

/// A call with the header that the standard wants.
pub(crate) fn asked<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}
