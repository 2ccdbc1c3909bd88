//! `docs/meshes/envoy-jwt.md`, tried: a real Envoy fetches our keys over TLS and lets jobs in by their JWT-SVIDs.

use crate::oidc::{Cloudy, token};
use crate::rotation::lanyard;
use crate::support::beside::{Beside, Site, within};
use crate::support::installed::installed;
use crate::support::issuer::FakeIssuer;
use axum::Router;
use axum::http::HeaderMap;
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::config::{MapEnvironment, load_server};
use lanyard::consumer::Consumers;
use lanyard::crypto::JwsAlgorithm;
use lanyard::svid::inspect_jwt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{Child, Command};

const PAGE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/meshes/envoy-jwt.md"));
const LEDGER: &str = "https://ledger.example.org";
const BY_RS256: &str = "https://ledger.example.org/rs256";
const AUDIT: &str = "https://audit.example.org";
const DEPLOY: &str = "spiffe://ci.example.org/acme/payments/api/-/environments/production/pipelines/574";
const AN_HOUR: Duration = Duration::from_secs(3600);

/// The page's block of this name.
fn block(language: &str, name: &str) -> &'static str {
    let begin = format!("\n```{language}\n# {name}\n");
    PAGE.split_once(&begin).unwrap_or_else(|| panic!("no {name}")).1.split_once("\n```").unwrap().0
}

fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the page does not say {from}");
    text.replace(from, to)
}

/// The page's consumers, of an issuer that can be reached here.
fn consumers(issuer: &str) -> Consumers {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    fs::write(&file, block("toml", "server.toml")).unwrap();
    fs::write(folder.path().join("policy.toml"), block("toml", "policy.toml")).unwrap();
    fs::write(folder.path().join("gitlab-jwks.json"), FakeIssuer::new().jwks()).unwrap();
    let shown = load_server(&file, &MapEnvironment::default()).unwrap();
    assert!(shown.warnings.is_empty(), "{:?}", shown.warnings);
    Consumers { issuer: Some(issuer.parse().unwrap()), ..shown.policy_source.consumers }
}

/// The page's server, whose clock is some time behind Envoy's.
async fn server(place: u8, behind: Duration) -> Cloudy {
    let now = SystemClock.now().replace_nanosecond(0).unwrap();
    let clock = Arc::new(ManualClock::at(now - behind));
    Cloudy::open_by(place, clock, (block("toml", "policy.toml"), consumers)).await
}

/// A production deploy of a project.
async fn deploy(site: &Site, name: &str, project: &str) -> Beside {
    let mut claims = site.issuer.claims(site.clock.now());
    let path = format!("acme/payments/{project}");
    for (name, value) in [
        ("project_path", path.as_str()),
        ("job_project_path", &path),
        ("project_id", if project == "api" { "4711" } else { "4712" }),
        ("job_project_id", if project == "api" { "4711" } else { "4712" }),
        ("sub", &format!("project_path:{path}:ref_type:branch:ref:main")),
        ("environment", "production"),
        ("environment_protected", "true"),
        ("environment_action", "start"),
    ] {
        claims.insert(name.to_owned(), value.into());
    }
    let agent = Beside::start(site.settings_beside(name), &site.clock);
    agent.login(site.issuer.mint(&claims)).await.unwrap();
    agent
}

/// The page's Envoy before a ledger that tells who it was told has called.
struct Proxy {
    folder: TempDir,
    child: Child,
}

impl Proxy {
    async fn start(world: &Cloudy, ca: &Path) -> Self {
        let ledger = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = ledger.local_addr().unwrap().port();
        let app = Router::new().fallback(async |headers: HeaderMap| {
            let said =
                |name: &str| headers.get(name).map_or("nobody".to_owned(), |text| text.to_str().unwrap().to_owned());
            format!("{} {}", said("x-caller"), said("authorization"))
        });
        tokio::spawn(async move { axum::serve(ledger, app).await.unwrap() });
        let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/tmp").unwrap();
        let keys = world.address();
        let mut text = block("yaml", "ledger-jwt.yaml").to_owned();
        for (from, to) in [
            ("uri: https://ci.example.org/keys", format!("uri: {}/keys", world.issuer)),
            ("issuer: https://ci.example.org\n", format!("issuer: {}\n", world.issuer)),
            (
                "socket_address: { address: 0.0.0.0, port_value: 9002 }",
                format!("pipe: {{ path: {}/proxy.sock }}", folder.path().display()),
            ),
            ("port_value: 8080", format!("port_value: {port}")),
            (
                "address: ci.example.org, port_value: 443",
                format!("address: {}, port_value: {}", keys.ip(), keys.port()),
            ),
            ("        sni: ci.example.org\n", String::new()),
            (
                "san_type: DNS, matcher: { exact: ci.example.org }",
                format!("san_type: IP_ADDRESS, matcher: {{ exact: {} }}", keys.ip()),
            ),
            ("/etc/ssl/certs/ca-certificates.crt", ca.display().to_string()),
            ("cache_duration: 600s", "cache_duration: 1s".to_owned()),
        ] {
            text = changed(&text, from, &to);
        }
        let whole = folder.path().join("ledger-jwt.yaml");
        fs::write(&whole, text).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut envoy = Command::new(installed("LANYARD_TEST_ENVOY"));
        envoy.args(["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning", "-c"]).arg(&whole);
        let child = envoy.stdout(log.try_clone().unwrap()).stderr(log).kill_on_drop(true).spawn().unwrap();
        let mut proxy = Self { folder, child };
        proxy.wait().await;
        proxy
    }

    async fn wait(&mut self) {
        let listens = async {
            while UnixStream::connect(self.folder.path().join("proxy.sock")).await.is_err() {
                assert!(self.child.try_wait().unwrap().is_none(), "Envoy does not start:\n{}", log(&self.folder));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // A busy machine needs a while.
        let ready = tokio::time::timeout(Duration::from_secs(60), listens).await;
        ready.unwrap_or_else(|_slow| panic!("Envoy does not listen:\n{}", log(&self.folder)));
    }

    /// What a caller with this token is answered.
    async fn call(&self, token: Option<&str>) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args([
            "-sS",
            "--max-time",
            "20",
            "-w",
            "\n%{http_code}",
            "-H",
            "x-caller: spiffe://ci.example.org/forged",
        ]);
        curl.arg("--unix-socket").arg(self.folder.path().join("proxy.sock"));
        if let Some(token) = token {
            curl.args(["-H", &format!("Authorization: Bearer {token}")]);
        }
        let ran = curl.arg("http://ledger/entries").output().await.unwrap();
        let said = String::from_utf8(ran.stdout).unwrap();
        let (body, code) = said.rsplit_once('\n').unwrap();
        (code.parse().unwrap(), body.to_owned())
    }

    async fn admits(&self, token: &str) {
        assert_eq!(self.call(Some(token)).await, (200, format!("{DEPLOY} nobody")), "{}", log(&self.folder));
    }

    /// Lets a caller in once it has read its key.
    async fn comes_to_admit(&self, token: &str) {
        within(async {
            while self.call(Some(token)).await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
    }

    async fn refuses(&self, token: Option<&str>, code: u16, why: &str) {
        let (found, body) = self.call(token).await;
        assert!(found == code && body.contains(why), "{found} {body}, and not {code} {why}");
    }
}

fn log(folder: &TempDir) -> String {
    fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_lets_in_the_tokens_of_its_rule_and_no_others() {
    let world = server(11, AN_HOUR).await;
    let stranger = server(12, Duration::ZERO).await;
    let stale = token(&deploy(&world.site, "stale", "api").await, LEDGER).await;
    world.site.clock.advance(AN_HOUR);
    let (api, web) = (deploy(&world.site, "api", "api").await, deploy(&world.site, "web", "web").await);
    let (good, by_rs256) = (token(&api, LEDGER).await, token(&api, BY_RS256).await);
    let algorithms = [&good, &by_rs256].map(|token| inspect_jwt(token).unwrap().algorithm);
    assert_eq!(algorithms, [JwsAlgorithm::Es256, JwsAlgorithm::Rs256]);

    let proxy = Proxy::start(&world, &world.site.path("data/door-ca.pem")).await;
    proxy.admits(&good).await;
    proxy.admits(&by_rs256).await;
    proxy.refuses(Some(&token(&web, LEDGER).await), 401, "").await;
    proxy.refuses(Some(&token(&api, AUDIT).await), 403, "Audiences in Jwt are not allowed").await;
    let others = token(&deploy(&stranger.site, "api", "api").await, LEDGER).await;
    proxy.refuses(Some(&others), 401, "Jwt issuer is not configured").await;
    proxy.refuses(Some(&stale), 401, "Jwt is expired").await;
    proxy.refuses(None, 401, "Jwt is missing").await;
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (header, _) = head.split_once('.').unwrap();
    let (_, payload) = by_rs256.rsplit_once('.').unwrap().0.split_once('.').unwrap();
    proxy.refuses(Some(&format!("{header}.{payload}.{signature}")), 401, "Jwt verification fails").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_follows_our_keys_and_takes_nobody_else_s_for_ours() {
    let world = server(13, Duration::ZERO).await;
    let agent = deploy(&world.site, "api", "api").await;
    let proxy = Proxy::start(&world, &world.site.path("data/door-ca.pem")).await;
    let mut former = Vec::new();
    for (kind, audience) in [("jwt", LEDGER), ("jwt-rs256", BY_RS256)] {
        former.push(token(&agent, audience).await);
        let of_kind = ["--kind", kind, "--reason", "a drill"];
        lanyard(&world.site, &[&["prepare"], &of_kind[..]].concat()).await.unwrap();
        lanyard(&world.site, &[&["activate", "--force"], &of_kind[..]].concat()).await.unwrap();
    }
    // Half of a kept token's life is over, so another is asked for.
    world.site.clock.advance(Duration::from_secs(151));
    for (audience, former) in [LEDGER, BY_RS256].into_iter().zip(&former) {
        let next = token(&agent, audience).await;
        assert_ne!(inspect_jwt(former).unwrap().kid, inspect_jwt(&next).unwrap().kid);
        proxy.comes_to_admit(&next).await;
        proxy.admits(former).await;
    }
    // It names itself as we do, and has keys of its own.
    let thief = Cloudy::claiming(14, &world.issuer, (block("toml", "policy.toml"), consumers)).await;
    let stolen = token(&deploy(&thief.site, "api", "api").await, LEDGER).await;
    assert_eq!(inspect_jwt(&stolen).unwrap().issuer.as_ref(), Some(&world.issuer));
    proxy.refuses(Some(&stolen), 401, "Jwks doesn't have key to match kid").await;
}
