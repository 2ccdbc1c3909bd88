//! Bearers who are no job of GitLab's, end to end: a runner by its cluster's token, and a workload of another trust domain.

use crate::support::beside::{Beside, Site, until, within};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::agent::{AgentSettings, TokenSource};
use lanyard::bundle::{Bundle, JwtAuthority};
use lanyard::clock::Clock;
use lanyard::config::{DoorsSettings, MapEnvironment, ServerSettings, load_server};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::identity::TrustDomain;
use lanyard::wire::lanyard::set_bundle_request::Form;
use lanyard::wire::lanyard::{AddBanRequest, RevokeSessionsRequest, Selector};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

const AUDIENCE: &str = "https://lanyard.example.com";
pub(crate) const CLUSTER: &str = "\n[[issuer]]\nname = \"cluster\"\nkind = \"kubernetes\"\nurl = \"https://kubernetes.test\"\n\
    audience = \"https://lanyard.example.com\"\njwks_file = \"jwks.json\"\n";
const PARTNER: &str = "\n[[issuer]]\nname = \"partner\"\nkind = \"spiffe\"\ntrust_domain = \"partner.test\"\n\
    audience = \"https://lanyard.example.com\"\nallow_missing_jti = true\n";
const POLICY: &str = r#"
[[rule]]
name = "runners"
id = "/-/lanyard/runners/{project_path}"
when = { issuer = "cluster", project_path = "ci/gitlab-runner" }

[[rule]]
name = "the partner's builds"
id = "/partners/one/{project_path}"
path_only = "the partner answers for what is below builds"
when = { issuer = "partner", project_path = "builds/*" }
"#;

/// The same server with these issuers besides, and rules for their bearers.
pub(crate) fn with_issuers(issuers: &str, policy: &str) -> impl FnOnce(&mut ServerSettings) {
    move |settings| {
        let folder = settings.data_dir.parent().unwrap().to_owned();
        let file = folder.join("server.toml");
        fs::write(folder.join("policy.toml"), policy).unwrap();
        fs::write(&file, fs::read_to_string(&file).unwrap() + issuers).unwrap();
        let loaded = load_server(&file, &MapEnvironment::default()).unwrap();
        let (issuer, admin_socket) = (settings.doors.issuer.clone(), settings.doors.admin_socket.clone());
        let doors = DoorsSettings { issuer, admin_socket, health: None, ..loaded.doors.clone() };
        *settings = ServerSettings { doors, ..loaded };
    }
}

async fn open() -> Site {
    let issuers = format!("{CLUSTER}{PARTNER}");
    Site::open_as(crate::support::harness::POLICY, with_issuers(&issuers, POLICY)).await
}

/// As the kubelet asks the API server for it.
pub(crate) fn projected(site: &Site, jti: &str) -> String {
    let now = site.clock.now().unix_timestamp();
    let claims = json!({
        "iss": "https://kubernetes.test", "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 3600, "jti": jti,
        "sub": "system:serviceaccount:ci:gitlab-runner",
        "kubernetes.io": {
            "namespace": "ci", "node": { "name": "one", "uid": "1b3e" }, "pod": { "name": "runner-x", "uid": "778a530c" },
            "serviceaccount": { "name": "gitlab-runner", "uid": "a087d5a0" }, "warnafter": now + 3000,
        },
    });
    site.issuer.mint(claims.as_object().unwrap())
}

/// Puts a token where the kubelet would: into a folder of its own, and then the link is another.
pub(crate) fn put(site: &Site, generation: &str, token: &str) {
    let volume = site.path("volume");
    fs::create_dir_all(volume.join(generation)).unwrap();
    fs::write(volume.join(generation).join("token"), token).unwrap();
    symlink(generation, volume.join("..data.new")).unwrap();
    fs::rename(volume.join("..data.new"), volume.join("..data")).unwrap();
    if !volume.join("token").exists() {
        symlink("..data/token", volume.join("token")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projected_token_is_a_runner_s_identity_and_its_successor_goes_on() {
    let site = open().await;
    put(&site, "..1", &projected(&site, "token-1"));
    let token = TokenSource::File(site.path("volume/token"));
    let agent = Beside::start(AgentSettings { token, ..site.agent_settings() }, &site.clock);
    let first = agent.x509().await;
    assert_eq!(first.svids[0].spiffe_id, "spiffe://ci.example.org/-/lanyard/runners/ci/gitlab-runner");
    let before = site.intents();
    put(&site, "..2", &projected(&site, "token-2"));
    site.clock.advance(Duration::from_secs(5));
    until(|| site.intents() > before).await;
    assert_eq!(agent.x509().await.svids[0].spiffe_id, first.svids[0].spiffe_id);
}

impl Site {
    /// The partner's bundle has this key.
    async fn holds(&self, key: &KeyPair, kid: &str) {
        let bundle = Bundle {
            trust_domain: TrustDomain::parse("partner.test").unwrap(),
            sequence: 3,
            refresh_hint: Duration::from_secs(300),
            x509_authorities: Vec::new(),
            jwt_authorities: vec![JwtAuthority { kid: kid.to_owned(), key: key.public().clone() }],
        };
        self.set_form("partner.test", Form::Spiffe(bundle.to_json().into())).await;
    }
}

/// A JWT-SVID of the partner's, for us.
fn foreign(site: &Site, (key, kid): (&KeyPair, &str), subject: &str) -> String {
    let now = site.clock.now().unix_timestamp();
    let payload = json!({ "sub": subject, "aud": [AUDIENCE], "iat": now, "exp": now + 300 }).to_string();
    let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "ES256", "kid": kid, "typ": "JWT" }).to_string());
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign_jws(signed.as_bytes()).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_jwt_svid_counts_as_long_as_its_keys_are_in_the_bundle_that_we_hold() {
    let site = open().await;
    let (key, thief) =
        (KeyPair::generate(KeyAlgorithm::EcP256).unwrap(), KeyPair::generate(KeyAlgorithm::EcP256).unwrap());
    let subject = "spiffe://partner.test/builds/linux";
    let login = async |token: String| {
        let agent = site.agent();
        let id = match agent.login(token).await {
            Ok(_) => agent.x509().await.svids[0].spiffe_id.clone(),
            Err(refused) => refused.code,
        };
        within(agent.ended()).await;
        id
    };
    site.holds(&key, "p1").await;
    let granted = login(foreign(&site, (&key, "p1"), subject)).await;
    assert_eq!(granted, "spiffe://ci.example.org/partners/one/builds/linux");
    for (of, code) in [
        (foreign(&site, (&thief, "p1"), subject), "token_signature_wrong"),
        (foreign(&site, (&thief, "p2"), subject), "token_key_unknown"),
        (foreign(&site, (&key, "p1"), "spiffe://other.test/builds/linux"), "token_claim_missing"),
        (foreign(&site, (&key, "p1"), "spiffe://ci.example.org/builds/linux"), "token_claim_missing"),
        (foreign(&site, (&key, "p1"), "spiffe://partner.test/people/ada"), "no_rule_matches"),
    ] {
        assert_eq!(login(of).await, code);
    }
    let successor = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    site.holds(&successor, "p3").await;
    assert_eq!(login(foreign(&site, (&key, "p1"), subject)).await, "token_key_unknown", "it left the bundle");
    assert_eq!(login(foreign(&site, (&successor, "p3"), subject)).await, granted);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_tokens_name_no_job_comes_back_after_a_revocation_as_it_is_told_and_not_after_a_ban() {
    let site = open().await;
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    site.holds(&key, "p1").await;
    let token = |path: &str| foreign(&site, (&key, "p1"), &format!("spiffe://partner.test/builds/{path}"));
    let (first, agent) = (token("linux"), site.agent());
    agent.login(first.clone()).await.unwrap();
    let selector = Some(Selector { issuer: "partner".to_owned(), ..Selector::default() });
    let revocation = |dry_run: bool| RevokeSessionsRequest {
        selector: selector.clone(),
        reason: "a test".to_owned(),
        dry_run,
        limit: 10,
    };
    for dry_run in [true, false] {
        let answer = site.admin().revoke_sessions(revocation(dry_run)).await.unwrap().into_inner();
        assert_eq!((answer.identities, answer.returning_issuer), (1, vec!["partner".to_owned()]));
    }
    within(agent.ended()).await;
    let code = async |token: String| {
        let agent = site.agent();
        let code = agent.login(token).await.map_or_else(|refused| refused.code, |_| "granted".to_owned());
        within(agent.ended()).await;
        code
    };
    assert_eq!(code(first).await, "session_ended", "its own token is used up");
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(code(token("linux")).await, "granted");
    let ban = AddBanRequest {
        selector: selector.clone(),
        reason: "a test".to_owned(),
        limit: 10,
        ..AddBanRequest::default()
    };
    let ended = site.admin().add_ban(ban).await.unwrap().into_inner().ended.unwrap();
    assert_eq!(ended.returning_issuer, [""; 0]);
    site.clock.advance(Duration::from_secs(1));
    assert_eq!(code(token("linux")).await, "banned");
}
