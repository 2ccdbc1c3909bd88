//! JWT-SVIDs for those who know nothing of SPIFFE: verified through the discovery document alone, by software that others
//! wrote, while keys change.

use crate::readers::{Reader, readers};
use crate::rotation::lanyard;
use crate::support::beside::{Beside, FIRST_ID, Site, asked, within};
use lanyard::clock::{Clock, ManualClock, SystemClock};
use lanyard::config::DoorSettings;
use lanyard::consumer::{Consumer, ConsumerKind, Consumers};
use lanyard::crypto::JwsAlgorithm;
use lanyard::svid::inspect_jwt;
use lanyard::wire::workload::JwtsvidRequest;
use serde_json::{Value, json};
use spiffe::{JwtBundle, JwtBundleSet, JwtSvid, TrustDomain};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

const POLICY: &str = r#"
[[rule]]
name = "every project, for clouds"
id = "/{project_path}/-/pipelines/{pipeline_id}"
kinds = ["x509", "jwt"]
audiences = ["https://vault.test", "api://AzureADTokenExchange", "sts.amazonaws.com", "gcp"]
multi_audience = true
[rule.claims]
project_id = "{project_id}"
workload = "{project_id}.{pipeline_id}"
[rule.aws]
principal_tags = { project_id = "{project_id}" }
transitive_tag_keys = ["project_id"]
source_identity = "job-{job_id}"
[rule.when]
issuer = "corp"
"#;

const VAULT: &str = "https://vault.test";
const ENTRA: &str = "api://AzureADTokenExchange";

/// A site whose bundle port has an address of its own, so that its issuer can be named before it runs.
pub(crate) struct Cloudy {
    pub(crate) site: Site,
    pub(crate) issuer: String,
    address: SocketAddr,
}

fn declared(kind: ConsumerKind, audience: &str, subject: &str) -> Consumer {
    Consumer {
        name: kind.as_str().to_owned(),
        kind,
        audiences: vec![audience.to_owned()],
        algorithm: kind.usual_algorithm(),
        subject: subject.to_owned(),
        keeps_keys_for: kind.keeps_keys_for(),
    }
}

fn consumers(issuer: &str, rs256: bool) -> Consumers {
    let entra = rs256.then(|| declared(ConsumerKind::Entra, ENTRA, "sub"));
    let others = [declared(ConsumerKind::Vault, VAULT, "sub"), declared(ConsumerKind::Google, "gcp", "workload")];
    Consumers { issuer: Some(issuer.parse().unwrap()), declared: others.into_iter().chain(entra).collect() }
}

/// Of this process alone, so that tests can name an issuer before it runs.
fn address(place: u8) -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, 70 + place, high, low.clamp(1, 254)), 8444))
}

impl Cloudy {
    pub(crate) async fn open(place: u8) -> Self {
        let now = SystemClock.now().replace_nanosecond(0).unwrap();
        let consumers = |issuer: &str| consumers(issuer, true);
        Self::open_by(place, Arc::new(ManualClock::at(now)), (POLICY, consumers)).await
    }

    /// The same on this clock, with another policy and consumers.
    pub(crate) async fn open_by(
        place: u8,
        clock: Arc<ManualClock>,
        told: (&str, impl FnOnce(&str) -> Consumers),
    ) -> Self {
        let address = address(place);
        Self::named(address, format!("https://{address}/lanyard"), clock, told).await
    }

    /// One that says the name of another.
    pub(crate) async fn claiming(place: u8, issuer: &str, told: (&str, impl FnOnce(&str) -> Consumers)) -> Self {
        let now = SystemClock.now().replace_nanosecond(0).unwrap();
        Self::named(address(place), issuer.to_owned(), Arc::new(ManualClock::at(now)), told).await
    }

    async fn named(
        address: SocketAddr,
        issuer: String,
        clock: Arc<ManualClock>,
        (policy, consumers): (&str, impl FnOnce(&str) -> Consumers),
    ) -> Self {
        let site = Site::open_by(clock, policy, |settings| {
            settings.doors.bundle = vec![address];
            let names = vec!["127.0.0.1".to_owned(), address.ip().to_string()];
            settings.doors.certificate = DoorSettings::DoorCa { names };
            settings.policy_source.consumers = consumers(&issuer);
        });
        Self { site: site.await, issuer, address }
    }

    /// Where its documents are.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    async fn read(&self, reader: &Reader, audience: &str, token: &str) -> Result<Value, String> {
        reader.read(&self.issuer, audience, &self.site.path("data/door-ca.pem"), token).await
    }

    pub(crate) async fn document(&self, path: &str) -> (String, Value) {
        let ca = std::fs::read(self.site.path("data/door-ca.pem")).unwrap();
        let client = reqwest::Client::builder().tls_certs_only([reqwest::Certificate::from_pem(&ca).unwrap()]);
        let answer = client.build().unwrap().get(format!("{}{path}", self.issuer)).send().await.unwrap();
        let kept = answer.headers()["cache-control"].to_str().unwrap().to_owned();
        (kept, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }
}

pub(crate) async fn token(agent: &Beside, audience: &str) -> String {
    let request = JwtsvidRequest { audience: vec![audience.to_owned()], spiffe_id: String::new() };
    within(agent.workload().fetch_jwtsvid(asked(request))).await.unwrap().into_inner().svids.remove(0).svid
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_three_languages_verify_tokens_of_both_algorithms_through_the_discovery_document_alone() {
    let world = Cloudy::open(1).await;
    let agent = world.site.logged_in().await;
    let (vault, entra) = (token(&agent, VAULT).await, token(&agent, ENTRA).await);
    let algorithms = [&vault, &entra].map(|token| inspect_jwt(token).unwrap().algorithm);
    assert_eq!(algorithms, [JwsAlgorithm::Es256, JwsAlgorithm::Rs256]);
    for reader in &readers() {
        for (audience, token) in [(VAULT, &vault), (ENTRA, &entra)] {
            let claims = world.read(reader, audience, token).await;
            let claims = claims.unwrap_or_else(|why| panic!("{}, {audience}: {why}", reader.name));
            assert_eq!((&claims["sub"], &claims["iss"]), (&json!(FIRST_ID), &json!(world.issuer)), "{}", reader.name);
            assert_eq!((&claims["project_id"], &claims["workload"]), (&json!("4711"), &json!("4711.574")));
            let tags = &claims["https://aws.amazon.com/tags"];
            assert_eq!(
                *tags,
                json!({"principal_tags": {"project_id": ["4711"]}, "transitive_tag_keys": ["project_id"]})
            );
        }
        // What they must not believe: somebody else's token, and one whose payload was changed.
        assert!(world.read(reader, ENTRA, &vault).await.is_err(), "{}: another's", reader.name);
        let (head, signature) = vault.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let (_, payload) = entra.rsplit_once('.').unwrap().0.split_once('.').unwrap();
        let forged = format!("{header}.{payload}.{signature}");
        assert!(world.read(reader, ENTRA, &forged).await.is_err(), "{}: forged", reader.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_a_former_key_are_verified_to_their_end_and_those_of_the_next_at_once() {
    let world = Cloudy::open(2).await;
    let agent = world.site.logged_in().await;
    let keys = [("jwt", VAULT), ("jwt-rs256", ENTRA)];
    let mut former = Vec::new();
    for (kind, audience) in keys {
        former.push(token(&agent, audience).await);
        let of_kind = ["--kind", kind, "--reason", "a drill"];
        let authority = async |step: &[&str]| lanyard(&world.site, &[step, &of_kind[..]].concat()).await;
        authority(&["prepare"]).await.unwrap();
        assert!(authority(&["activate"]).await.unwrap_err().contains("not_safe_yet"), "{kind}");
        authority(&["activate", "--force"]).await.unwrap();
    }
    // Half of a kept token's life is over, so another is asked for.
    world.site.clock.advance(Duration::from_secs(151));
    let python = &readers()[2];
    let (_, published) = world.document("/keys").await;
    let kids: Vec<_> = published["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    for ((kind, audience), former) in keys.into_iter().zip(&former) {
        let next = token(&agent, audience).await;
        let [before, after] = [former, &next].map(|token| inspect_jwt(token).unwrap().kid);
        assert_ne!(before, after, "{kind}");
        assert!(kids.contains(&json!(before)) && kids.contains(&json!(after)), "{kind}");
        world.read(python, audience, former).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_stand_below_the_issuer_and_say_how_long_they_may_be_kept() {
    let world = Cloudy::open(3).await;
    let (kept, document) = world.document("/.well-known/openid-configuration").await;
    assert_eq!((kept.as_str(), &document["issuer"]), ("max-age=300", &json!(world.issuer)));
    assert_eq!(document["jwks_uri"], format!("{}/keys", world.issuer));
    assert_eq!(document["id_token_signing_alg_values_supported"], json!(["ES256", "RS256"]));
    let (_, keys) = world.document("/keys").await;
    // The same keys, as a SPIFFE library of others reads them, with a token of each.
    let agent = world.site.logged_in().await;
    let bundle =
        JwtBundle::from_jwt_authorities(TrustDomain::new("ci.example.org").unwrap(), keys.to_string().as_bytes());
    let mut bundles = JwtBundleSet::new();
    bundles.add_bundle(bundle.unwrap());
    for audience in [VAULT, ENTRA] {
        let svid = JwtSvid::parse_and_validate(&token(&agent, audience).await, &bundles, &[audience]).unwrap();
        assert_eq!(svid.spiffe_id().to_string(), FIRST_ID);
    }
    let told: Vec<_> =
        keys["keys"].as_array().unwrap().iter().map(|key| (&key["kty"], &key["use"], &key["alg"])).collect();
    assert_eq!(told, [(&json!("EC"), &json!("sig"), &json!("ES256")), (&json!("RSA"), &json!("sig"), &json!("RS256"))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_rs256_key_that_is_wanted_later_is_published_before_it_signs() {
    let issuer = "https://ci.example.org";
    let mut site = Site::open_as(POLICY, |settings| settings.policy_source.consumers = consumers(issuer, false)).await;
    site.shut().await;
    site.change(|settings| settings.policy_source.consumers = consumers(issuer, true));
    site.open_again().await;
    let agent = site.logged_in().await;
    let request = JwtsvidRequest { audience: vec![ENTRA.to_owned()], spiffe_id: String::new() };
    let refused = within(agent.workload().fetch_jwtsvid(asked(request))).await.unwrap_err();
    assert!(refused.message().contains("RS256 key is not with everybody yet"), "{refused}");
    let plan = lanyard(&site, &["plan", "--kind", "jwt-rs256"]).await.unwrap();
    assert_eq!(plan["keys"][0]["state"], "prepared", "{plan}");
    // A cloud does not say how long it keeps keys, so a day is allowed for.
    assert_eq!(plan["minimum_seconds"], 86_400);
    assert!(!token(&agent, VAULT).await.is_empty(), "others go on");

    site.advance(24 * 60 + 1);
    let state = async || lanyard(&site, &["plan", "--kind", "jwt-rs256"]).await.unwrap()["keys"][0]["state"].clone();
    within(async { while state().await != "active" {} }).await;
    let later = Beside::start(site.settings_beside("later"), &site.clock);
    later.login(site.token()).await.unwrap();
    assert_eq!(inspect_jwt(&token(&later, ENTRA).await).unwrap().algorithm, JwsAlgorithm::Rs256);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_would_not_take_is_refused_and_says_why() {
    let site = Site::open_as(POLICY, |settings| {
        let mut consumers = consumers("https://ci.example.org:8444", true);
        consumers.declared.push(declared(ConsumerKind::Aws, "sts.amazonaws.com", "sub"));
        settings.policy_source.consumers = consumers;
    })
    .await;
    let agent = site.logged_in().await;
    let ask = async |audience: &[&str]| {
        let audience = audience.iter().map(|&name| name.to_owned()).collect();
        let request = JwtsvidRequest { audience, spiffe_id: String::new() };
        within(agent.workload().fetch_jwtsvid(asked(request))).await.unwrap_err().message().to_owned()
    };
    let refused = ask(&["sts.amazonaws.com"]).await;
    assert!(refused.contains("consumer_would_not_take") && refused.contains("has a port, 8444"), "{refused}");
    let refused = ask(&[VAULT, ENTRA]).await;
    assert!(refused.contains("signed by ES256 and by RS256"), "{refused}");
}
