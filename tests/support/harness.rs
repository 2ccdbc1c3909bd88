//! A whole CA in one process, on a clock that the test moves: no doors, no network.

pub(crate) use super::issuer::POLICY;
use super::issuer::{AUDIENCE, FakeIssuer, URL};
use lanyard::audit::Ledger;
use lanyard::clock::{Clock, ManualClock};
use lanyard::config::{MapEnvironment, ServerSettings, load_server};
use lanyard::crypto::{KeyAlgorithm, KeyPair, PublicKey, Random};
use lanyard::directory::AccountPins;
use lanyard::discovery::{Fetch, HttpsFetch};
use lanyard::facts::{self, Facts};
use lanyard::issuance::{
    Bearer, Credential, Csr, Hearing, Issuance, IssuedSvid, Recorder, Refusal, Request, RequestId, Shares, Turns,
    Wanted,
};
use lanyard::server::{Parts, World, build};
use lanyard::session::{PathPins, SessionId, Sessions};
use lanyard::store::Store;
use lanyard::telemetry::{Door, Metrics};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use time::OffsetDateTime;

/// In `hook.secret`, for stories whose issuer has a hook.
pub(crate) const HOOK_SECRET: &str = "what-only-gitlab-and-we-know";
/// In `hook.signing`: 32 times the letter A.
pub(crate) const HOOK_SIGNING_TOKEN: &str = "whsec_QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";

/// The start of every story: 2026-11-02 09:30 UTC.
pub(crate) fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_793_611_800).unwrap()
}

pub(crate) struct Harness {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) issuer: FakeIssuer,
    pub(crate) parts: Parts,
    policy: String,
    store: &'static str,
    line: &'static str,
    fetch: Arc<dyn Fetch>,
}

/// Lines more in the issuer's section: whose projects are ours, and what lets us in to ask about their jobs.
const API: &str = "namespaces = [\"acme\"]\n[issuer.api]\ntoken_file = \"api-token\"";

impl Harness {
    pub(crate) async fn new() -> Self {
        Self::with(POLICY, "memory").await
    }

    pub(crate) async fn with(policy: &str, store: &'static str) -> Self {
        Self::whose_issuer_says("", policy, store).await
    }

    /// With a line more in the issuer's section.
    pub(crate) async fn whose_issuer_says(line: &'static str, policy: &str, store: &'static str) -> Self {
        Self::beginning(start(), (policy, store, line)).await
    }

    /// At another time than stories begin.
    pub(crate) async fn beginning(at: OffsetDateTime, written: (&str, &'static str, &'static str)) -> Self {
        Self::built(at, written, Arc::new(HttpsFetch::new(None).unwrap())).await
    }

    /// Whose issuer can be asked about its jobs, with this fetcher.
    pub(crate) async fn asking(fetch: Arc<dyn Fetch>, policy: &str) -> Self {
        Self::asking_of(API, fetch, policy).await
    }

    /// Whose issuer has these lines, and is asked with this fetcher.
    pub(crate) async fn asking_of(line: &'static str, fetch: Arc<dyn Fetch>, policy: &str) -> Self {
        Self::built(start(), (policy, "memory", line), fetch).await
    }

    async fn built(
        at: OffsetDateTime,
        (policy, store, line): (&str, &'static str, &'static str),
        fetch: Arc<dyn Fetch>,
    ) -> Self {
        lanyard::crypto::install_providers();
        let (folder, issuer) = (TempDir::new().unwrap(), FakeIssuer::new());
        let clock = Arc::new(ManualClock::at(at));
        fs::write(folder.path().join("jwks.json"), issuer.jwks()).unwrap();
        fs::write(folder.path().join("api-token"), "glpat-story").unwrap();
        fs::set_permissions(folder.path().join("api-token"), fs::Permissions::from_mode(0o600)).unwrap();
        let parts = open(folder.path(), (policy, store, line), (&clock, &fetch)).await;
        Self { folder, clock, issuer, parts, policy: policy.to_owned(), store, line, fetch }
    }

    /// The same folder under another policy, as after a restart.
    pub(crate) async fn restarted(self, policy: Option<&str>) -> Self {
        let Self { folder, clock, issuer, parts, policy: former, store, line, fetch } = self;
        let policy = policy.map_or(former, str::to_owned);
        parts.store.close();
        drop(parts);
        let parts = open(folder.path(), (&policy, store, line), (&clock, &fetch)).await;
        Self { folder, clock, issuer, parts, policy, store, line, fetch }
    }

    /// The same folder with other lines at the end of its configuration, as after a restart.
    pub(crate) async fn restarted_saying(mut self, line: &'static str) -> Self {
        self.line = line;
        self.restarted(None).await
    }

    /// The same folder after a restart that finds no index.
    pub(crate) async fn restarted_without_index(self) -> Self {
        self.parts.store.close();
        let index = self.folder.path().join("data/index");
        if index.exists() {
            fs::remove_dir_all(index).unwrap();
        }
        self.restarted(None).await
    }

    /// With segments of the journal so short that there are soon many.
    pub(crate) async fn of_short_segments(self) -> Self {
        let Self { folder, clock, issuer, parts: former, policy, store, line, fetch } = self;
        former.store.close();
        drop(former);
        let mut settings = settings(folder.path(), &policy, store, line);
        settings.segment_bytes = 8192;
        let parts = parts(&settings, (&clock, &fetch)).await;
        Self { folder, clock, issuer, parts, policy, store, line, fetch }
    }

    /// The files of the journal, oldest first, after everything noted has been written.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        self.parts.store.close();
        self.segments_so_far()
    }

    /// The same while the store is open; only a checkpoint begins another.
    pub(crate) fn segments_so_far(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.folder.path().join("data/journal"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        files.sort();
        files
    }

    /// The entries of one kind, oldest first, after everything noted has been written.
    pub(crate) fn entries(&self, kind: &str) -> Vec<serde_json::Value> {
        // 64 hex digits and a space stand before the text.
        let journal = self.journal();
        let records = journal.lines().map(|line| serde_json::from_str(line.get(65..).unwrap()).unwrap());
        let entries = records.map(|record: serde_json::Value| record.get("entry").unwrap().clone());
        entries.filter(|entry| entry.get("kind").is_some_and(|found| found == kind)).collect()
    }

    pub(crate) fn issuance(&self) -> &Arc<Issuance> {
        &self.parts.issuance
    }

    pub(crate) fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Makes what the plan wants, and lets the next intermediate wait for three quarters of an hour, as it must.
    pub(crate) async fn next_intermediate_signs(&mut self) {
        for waits in [0, 45 * 60] {
            self.advance(waits);
            self.plan_is_followed().await;
        }
    }

    /// Does what the plan wants now.
    pub(crate) async fn plan_is_followed(&mut self) {
        let now = self.now();
        self.parts.rotator.turn(now).await.unwrap();
    }

    /// This road with another store at its end.
    pub(crate) fn road_with(&self, store: Arc<dyn Store>) -> Arc<Issuance> {
        let road = self.issuance();
        let (ledger, metrics) = (Ledger::new(Arc::clone(&store)), Metrics::new());
        let (clock, fetch) = (Arc::clone(&road.clock), Arc::clone(&self.fetch));
        let pins = AccountPins::new(Arc::clone(&store), ledger.clone(), road.people.clone());
        Arc::new(Issuance {
            clock: Arc::clone(&road.clock),
            issuers: Arc::clone(&road.issuers),
            issuer_keys: Arc::clone(&road.issuer_keys),
            policy: road.policy.clone(),
            leaf: Arc::clone(&road.leaf),
            consumers: Arc::clone(&road.consumers),
            sessions: Sessions::open(Arc::clone(&store), road.people.clone(), self.now()).unwrap(),
            facts: Facts::new(&[], facts::World { clock, fetch, metrics: metrics.clone(), pins: pins.clone() }),
            account_pins: pins,
            directory: None,
            pins: PathPins::new(store, ledger.clone()),
            hearing: Hearing::default(),
            ledger,
            people: road.people.clone(),
            authorities: Arc::clone(&road.authorities),
            shares: Shares::default(),
            turns: Turns::default(),
            recorder: Recorder::new(metrics),
            data_dir: road.data_dir.clone(),
        })
    }

    /// A token and a fresh CSR over a connection with this key.
    pub(crate) async fn exchange(&self, token: &str, agent: &Agent) -> Result<IssuedSvid, Refusal> {
        self.issuance().issue(request(Bearer::Token(token.to_owned()), x509(), Some(agent.public()))).await
    }

    pub(crate) async fn renew(&self, session: &str, agent: &Agent) -> Result<IssuedSvid, Refusal> {
        let session: SessionId = session.parse().unwrap();
        self.issuance().issue(request(Bearer::Session(session), x509(), Some(agent.public()))).await
    }

    /// As curl and openssl do it: no client certificate, the CSR's key binds.
    pub(crate) async fn exchange_by_csr(&self, token: &str, csr: Vec<u8>) -> Result<IssuedSvid, Refusal> {
        let wanted = Wanted::X509 { csr: Csr::Der(csr.into()), profile: None };
        self.issuance().issue(request(Bearer::Token(token.to_owned()), wanted, None)).await
    }

    pub(crate) async fn jwt(&self, token: &str, audience: &str, agent: Option<&Agent>) -> Result<IssuedSvid, Refusal> {
        self.jwt_for(token, &[audience], agent).await
    }

    pub(crate) async fn jwt_for(
        &self,
        token: &str,
        audiences: &[&str],
        agent: Option<&Agent>,
    ) -> Result<IssuedSvid, Refusal> {
        let audiences = audiences.iter().map(|audience| (*audience).to_owned()).collect();
        let wanted = Wanted::Jwt { audiences, profile: None };
        let connection = agent.map(Agent::public);
        self.issuance().issue(request(Bearer::Token(token.to_owned()), wanted, connection)).await
    }

    /// The journal's records as text, after everything noted has been written.
    pub(crate) fn journal(&self) -> String {
        self.segments().iter().map(|file| fs::read_to_string(file).unwrap()).collect()
    }
}

pub(crate) fn request(bearer: Bearer, wanted: Wanted, connection: Option<PublicKey>) -> Request {
    Request { id: RequestId::random(&Random::system()), door: Door::Grpc, bearer, wanted, connection }
}

pub(crate) fn x509() -> Wanted {
    Wanted::X509 { csr: Csr::Der(csr().into()), profile: None }
}

/// A request for a key of its own.
pub(crate) fn csr() -> Vec<u8> {
    csr_for(&KeyPair::generate(KeyAlgorithm::EcP256).unwrap())
}

pub(crate) fn csr_for(key: &KeyPair) -> Vec<u8> {
    rcgen::CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

/// The leaf's and the intermediate's DER.
pub(crate) fn chain(issued: &IssuedSvid) -> Vec<Vec<u8>> {
    match issued.credential() {
        Credential::X509(chain) => chain.iter().map(|certificate| certificate.to_vec()).collect(),
        Credential::Jwt(_) => panic!("an X.509-SVID was asked for"),
    }
}

/// An agent's session key.
pub(crate) struct Agent(KeyPair);

impl Agent {
    pub(crate) fn new() -> Self {
        Self(KeyPair::generate(KeyAlgorithm::EcP256).unwrap())
    }

    pub(crate) fn public(&self) -> PublicKey {
        self.0.public().clone()
    }

    pub(crate) fn key(&self) -> &KeyPair {
        &self.0
    }
}

async fn open(
    folder: &Path,
    (policy, store, line): (&str, &str, &str),
    (clock, fetch): (&Arc<ManualClock>, &Arc<dyn Fetch>),
) -> Parts {
    parts(&settings(folder, policy, store, line), (clock, fetch)).await
}

async fn parts(settings: &ServerSettings, (clock, fetch): (&Arc<ManualClock>, &Arc<dyn Fetch>)) -> Parts {
    let (clock, fetch): (Arc<dyn Clock>, _) = (Arc::<ManualClock>::clone(clock), Arc::clone(fetch));
    build(settings, World { clock, random: Random::system(), fetch }).await.unwrap()
}

/// Settings read from a file, as an operator writes it.
pub(crate) fn settings(folder: &Path, policy: &str, store: &str, line: &str) -> ServerSettings {
    let shown = folder.display();
    fs::write(folder.join("policy.toml"), policy).unwrap();
    fs::create_dir_all(folder.join("data")).unwrap();
    for (name, secret) in [("hook.secret", HOOK_SECRET), ("hook.signing", HOOK_SIGNING_TOKEN)] {
        fs::write(folder.join(name), secret).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let text = format!(
        r#"
trust_domain = "ci.example.org"
data_dir = "{shown}/data"
policy_file = "{shown}/policy.toml"
store = "{store}"

[[issuer]]
name = "corp"
url = "{URL}"
audience = "{AUDIENCE}"
jwks_file = "{shown}/jwks.json"
{line}
"#
    );
    let file = folder.join("server.toml");
    fs::write(&file, text).unwrap();
    load_server(&file, &MapEnvironment::default()).unwrap()
}
