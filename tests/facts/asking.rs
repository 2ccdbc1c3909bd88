//! One question: a rule with a need, a job's claims, and what came of asking.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "what cannot be set up ends the test")]

use lanyard::audit::Ledger;
use lanyard::clock::{Clock, SystemClock};
use lanyard::config::{KnownIssuer, load_policy};
use lanyard::crypto::{KeyAlgorithm, KeyPair, install_providers};
use lanyard::directory::AccountPins;
use lanyard::discovery::{Fetch, HttpsFetch};
use lanyard::facts::{Configured, Facts, World};
use lanyard::people::People;
use lanyard::policy::{Answer, Answers, Rule};
use lanyard::store::{IndexKind, LocalSettings, LocalStore, NoteSigner, Store};
use lanyard::telemetry::Metrics;
use lanyard::token::{Claims, IssuerKind, IssuerName};
use serde_json::{Map, Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The secret of all scripted servers.
pub(crate) const SECRET: &str = "what-lets-us-in";

/// The system that is asked, and the file with its secret.
pub(crate) struct Asking {
    pub(crate) facts: Facts,
    pub(crate) metrics: Metrics,
    known: KnownIssuer,
    folder: TempDir,
}

pub(crate) fn corp() -> IssuerName {
    IssuerName("corp".into())
}

impl Asking {
    /// A system that is configured with the file of its secret.
    pub(crate) fn of(configured: impl FnOnce(PathBuf) -> Arc<dyn Configured>) -> Self {
        Self::with_secret(SECRET, configured)
    }

    pub(crate) fn with_secret(secret: &str, configured: impl FnOnce(PathBuf) -> Arc<dyn Configured>) -> Self {
        Self::at(Arc::new(SystemClock), secret, configured)
    }

    pub(crate) fn at(
        clock: Arc<dyn Clock>,
        secret: &str,
        configured: impl FnOnce(PathBuf) -> Arc<dyn Configured>,
    ) -> Self {
        install_providers();
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let system = configured(file);
        let facts = system.facts().to_vec();
        let known = KnownIssuer {
            name: corp(),
            kind: IssuerKind::GitLab,
            url: "https://gitlab.example".to_owned(),
            facts,
            groups: None,
        };
        let world = world(clock, folder.path());
        let metrics = world.metrics.clone();
        let facts = Facts::new(&[system], world);
        Self { facts, metrics, known, folder }
    }

    /// A rule with this need.
    pub(crate) fn rule(&self, need: &str) -> Arc<Rule> {
        let file = self.folder.path().join("policy.toml");
        let rule =
            "[[rule]]\nname = \"a\"\nid = \"/{project_path}/-/a\"\nwhen = { issuer = \"corp\", project_id = 4711 }\n";
        fs::write(&file, format!("{rule}need = {{ {need} }}\n")).unwrap();
        let policy = load_policy(&file, std::slice::from_ref(&self.known), Duration::from_secs(900)).unwrap();
        Arc::clone(&policy.rules()[0])
    }

    /// All that is heard.
    pub(crate) async fn heard(&self, need: &str, claims: &Claims) -> Answers {
        self.facts.ask(&self.rule(need), claims).await
    }
}

/// With a store of its own.
pub(crate) fn world(clock: Arc<dyn Clock>, folder: &Path) -> World {
    let fetch: Arc<dyn Fetch> = Arc::new(HttpsFetch::new(None).unwrap().with_loopback_http());
    World { clock, fetch, metrics: Metrics::new(), pins: pins(folder.join("journal")) }
}

/// Of a store of its own.
fn pins(journal: PathBuf) -> AccountPins {
    let settings = LocalSettings { index: IndexKind::Memory, ..LocalSettings::new(journal) };
    let key = Arc::new(KeyPair::generate(KeyAlgorithm::Ed25519).unwrap());
    let signer = NoteSigner::new("ci.example.org/-/lanyard/journal/a".to_owned(), key).unwrap();
    let store: Arc<dyn Store> = LocalStore::open(settings, signer, Arc::new(SystemClock)).unwrap();
    AccountPins::new(Arc::clone(&store), Ledger::new(store), People::default())
}

/// As tables say it: what it is, or `no: why`, or `unavailable: why`.
pub(crate) fn said(answer: Option<&Answer>) -> String {
    match answer {
        Some(Answer::Is(seen)) => seen.to_string(),
        Some(Answer::No(why)) => format!("no: {why}"),
        Some(Answer::Unavailable { why, .. }) => format!("unavailable: {why}"),
        None => "not asked".to_owned(),
    }
}

/// A job that deploys the commit from `main`, with these claims otherwise.
pub(crate) fn claims(changes: &[(&str, Value)]) -> Claims {
    let mut written = Map::new();
    for (name, value) in [
        ("project_id", json!(4711)),
        ("project_path", json!("acme/ledger")),
        ("namespace_id", json!(72)),
        ("job_id", json!(1977)),
        ("user_id", json!(51)),
        ("user_login", json!("ada")),
        ("ref", json!("main")),
        ("ref_type", json!("branch")),
        ("sha", json!("a".repeat(40))),
        ("environment", json!("production eu")),
        ("environment_action", json!("start")),
    ] {
        written.insert(name.to_owned(), value);
    }
    for (name, value) in changes {
        written.insert((*name).to_owned(), value.clone());
    }
    let payload = Claims::sample(IssuerKind::GitLab, Map::new(), written).unwrap();
    Claims::unproven(Value::Object(payload).to_string().as_bytes(), corp()).unwrap()
}
