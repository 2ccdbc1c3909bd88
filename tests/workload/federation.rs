//! Other trust domains' bundles as a job meets them: by the Workload API, as secrets for proxies, and as files.

use crate::sds::{Proxy, context_of, domains_of, for_names, secrets};
use crate::support::beside::{Beside, Site, asked, channel, until, within};
use crate::support::foreign::ForeignCa;
use crate::support::issuer::POLICY;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::agent::{AgentSettings, FileOutput, Layout, SecretNames, Validator};
use lanyard::bundle::{Bundle, JwtAuthority};
use lanyard::clock::Clock;
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::identity::TrustDomain;
use lanyard::wire::lanyard::admin_client::AdminClient;
use lanyard::wire::lanyard::set_bundle_request::Form;
use lanyard::wire::lanyard::{DeleteBundleRequest, SetBundleRequest};
use lanyard::wire::workload::{
    JwtBundlesRequest, ValidateJwtsvidRequest, ValidateJwtsvidResponse, X509BundlesRequest, X509svidResponse,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::collections::HashMap;
use std::fs;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

const MESH: &str = "spiffe://mesh.test";
const OWN: &str = "spiffe://ci.example.org";

pub(crate) fn federating() -> String {
    POLICY.replace("ttl =", "federates_with = [\"mesh.test\", \"a.test\"]\nttl =")
}

impl Site {
    pub(crate) fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(channel(&self.path("admin.sock")))
    }

    pub(crate) async fn set(&self, name: &str, roots: &[&ForeignCa]) {
        let pem = roots.iter().map(|root| root.pem()).collect::<String>();
        self.set_form(name, Form::Pem(pem.into())).await;
    }

    pub(crate) async fn set_form(&self, name: &str, form: Form) {
        let asked = SetBundleRequest { trust_domain: name.to_owned(), form: Some(form), ..SetBundleRequest::default() };
        self.admin().set_bundle(asked).await.unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        let asked = DeleteBundleRequest { trust_domain: name.to_owned(), reason: String::new() };
        self.admin().delete_bundle(asked).await.unwrap();
    }
}

async fn next<T>(stream: &mut Streaming<T>) -> T {
    within(stream.message()).await.unwrap().unwrap()
}

/// The next message whose federated bundles are these; a renewal may come between.
async fn comes(stream: &mut Streaming<X509svidResponse>, expected: &[(&str, Vec<u8>)]) {
    let expected: HashMap<_, _> =
        expected.iter().map(|(name, der)| ((*name).to_owned(), bytes::Bytes::from(der.clone()))).collect();
    while next(stream).await.federated_bundles != expected {}
}

fn agent_of(site: &Site, secrets: SecretNames, name: &str) -> Beside {
    Beside::start(AgentSettings { secrets, ..site.settings_beside(name) }, &site.clock)
}

/// Shows: WAPI-20, WAPI-23, FED-23, FED-24, TDB-6, TDB-24.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_sees_the_bundles_of_its_rule_and_each_change_of_them() {
    let site = Site::open(&federating()).await;
    let (one, two) = (ForeignCa::new("mesh root 1"), ForeignCa::new("mesh root 2"));
    site.set("mesh.test", &[&one]).await;
    site.set("other.test", &[&two]).await;
    let agent = site.logged_in().await;
    let mut svids = agent.x509_stream().await;
    let first = next(&mut svids).await;
    assert_eq!(first.federated_bundles, HashMap::from([(MESH.to_owned(), one.der().into())]), "and not other.test's");
    let mut bundles =
        within(agent.workload().fetch_x509_bundles(asked(X509BundlesRequest {}))).await.unwrap().into_inner();
    let seen = next(&mut bundles).await.bundles;
    assert_eq!((seen.len(), &seen[MESH], &seen[OWN]), (2, &one.der().into(), &first.svids[0].bundle));

    site.set("mesh.test", &[&one, &two]).await;
    comes(&mut svids, &[(MESH, [one.der(), two.der()].concat())]).await;
    assert_eq!(next(&mut bundles).await.bundles[MESH].len(), one.der().len() + two.der().len());
    site.set("a.test", &[&two]).await;
    comes(&mut svids, &[(MESH, [one.der(), two.der()].concat()), ("spiffe://a.test", two.der())]).await;
    // All its keys are revoked: it is there no more, as if we had never met.
    site.set_form("mesh.test", Form::Spiffe(r#"{"keys":[]}"#.into())).await;
    comes(&mut svids, &[("spiffe://a.test", two.der())]).await;
    site.delete("a.test").await;
    comes(&mut svids, &[]).await;

    // A renewal under another policy brings what that one says.
    site.set("mesh.test", &[&one]).await;
    comes(&mut svids, &[(MESH, one.der())]).await;
    fs::write(site.path("policy.toml"), POLICY).unwrap();
    site.admin().reload_policy(lanyard::wire::lanyard::ReloadPolicyRequest {}).await.unwrap();
    site.advance(11);
    comes(&mut svids, &[]).await;
}

/// A token of the mesh's, for us.
fn token(key: &KeyPair, site: &Site) -> String {
    let end = (site.clock.now() + Duration::from_secs(60)).unix_timestamp();
    let payload =
        serde_json::json!({ "sub": "spiffe://mesh.test/ns/a/sa/b", "aud": "us", "exp": end, "role": "admin" })
            .to_string();
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"ES256","kid":"m1","typ":"JWT"}"#);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(payload));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(key.sign_jws(signed.as_bytes()).unwrap()))
}

async fn validate(agent: &Beside, svid: String) -> Result<ValidateJwtsvidResponse, Status> {
    let request = ValidateJwtsvidRequest { audience: "us".to_owned(), svid };
    Ok(within(agent.workload().validate_jwtsvid(asked(request))).await?.into_inner())
}

/// Shows: JWT-21, WAPI-25.
#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_jwt_svid_is_validated_by_its_own_trust_domain_s_keys() {
    let site = Site::open(&federating()).await;
    let agent = site.logged_in().await;
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let refused = validate(&agent, token(&key, &site)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let mut bundles =
        within(agent.workload().fetch_jwt_bundles(asked(JwtBundlesRequest {}))).await.unwrap().into_inner();
    assert_eq!(next(&mut bundles).await.bundles.len(), 1);
    let bundle = Bundle {
        trust_domain: TrustDomain::parse("mesh.test").unwrap(),
        sequence: 3,
        refresh_hint: Duration::from_secs(300),
        x509_authorities: Vec::new(),
        jwt_authorities: vec![JwtAuthority { kid: "m1".to_owned(), key: key.public().clone() }],
    };
    site.set_form("mesh.test", Form::Spiffe(bundle.to_json().into())).await;
    let seen = next(&mut bundles).await.bundles;
    assert_eq!((seen.len(), &seen[MESH]), (2, &bundle.to_jwks().into()));
    let valid = validate(&agent, token(&key, &site)).await.unwrap();
    assert_eq!(valid.spiffe_id, "spiffe://mesh.test/ns/a/sa/b");
    let claims: Vec<_> = valid.claims.unwrap().fields.into_keys().collect();
    assert_eq!(claims, ["aud", "exp", "sub"], "what its role means is known there alone");
    assert!(validate(&agent, token(&KeyPair::generate(KeyAlgorithm::EcP256).unwrap(), &site)).await.is_err());
}

/// Shows: SDS-5, FED-6, MESH-C5, MESH-E6.
#[tokio::test(flavor = "multi_thread")]
async fn proxies_get_one_set_of_roots_a_trust_domain_and_no_key_twice() {
    let site = Site::open(&federating()).await;
    let (one, two) = (ForeignCa::new("mesh root 1"), ForeignCa::new("mesh root 2"));
    site.set("mesh.test", &[&one]).await;
    site.set("a.test", &[&two]).await;
    let agent = site.logged_in().await;
    let open = async |names: &[&str]| Proxy::over(channel(&agent.socket), for_names(names)).await;
    let (mut all, mut of_mesh, mut own) = (open(&["ROOTCA"]).await, open(&[MESH]).await, open(&[OWN, "default"]).await);
    let context = |response: &_| context_of(&secrets(response)[0]);
    let domains = |response: &_| domains_of(&context(response));
    assert_eq!(domains(&all.next().await.unwrap()), ["a.test", "ci.example.org", "mesh.test"]);
    assert_eq!(domains(&of_mesh.next().await.unwrap()), ["mesh.test"]);
    assert_eq!(secrets(&own.next().await.unwrap()).len(), 2);

    site.set("mesh.test", &[&one, &two]).await;
    assert_eq!(domains(&all.next().await.unwrap()), ["a.test", "ci.example.org", "mesh.test"]);
    assert_eq!(domains(&of_mesh.next().await.unwrap()), ["mesh.test"]);
    site.delete("a.test").await;
    assert_eq!(domains(&all.next().await.unwrap()), ["ci.example.org", "mesh.test"]);
    site.set_form("mesh.test", Form::Spiffe(r#"{"keys":[]}"#.into())).await;
    assert_eq!(domains(&all.next().await.unwrap()), ["ci.example.org"], "none without a root");
    own.hears_nothing().await;
    assert_eq!(of_mesh.next().await.unwrap_err().code(), Code::InvalidArgument, "the name means nothing any more");
}

/// Shows: SDS-5, MESH-C5.
#[tokio::test(flavor = "multi_thread")]
async fn a_plain_list_holds_our_own_roots_alone_unless_the_operator_wants_it_merged() {
    let site = Site::open(&federating()).await;
    let mesh = ForeignCa::new("mesh root");
    site.set("mesh.test", &[&mesh]).await;
    for (merge, expected) in [(false, 1), (true, 2)] {
        let names = SecretNames { validator: Validator::Plain, merge, ..SecretNames::default() };
        let agent = agent_of(&site, names, &format!("plain-{merge}"));
        agent.login(site.token()).await.unwrap();
        let roots = async |name: &str| {
            let mut proxy = Proxy::over(channel(&agent.socket), for_names(&[name])).await;
            let context = context_of(&secrets(&proxy.next().await.unwrap())[0]);
            let pem = context.trusted_ca.unwrap().inline_bytes;
            CertificateDer::pem_slice_iter(&pem).map(|der| der.unwrap().to_vec()).collect::<Vec<_>>()
        };
        assert_eq!((roots("ALL").await.len(), roots(MESH).await), (expected, vec![mesh.der()]));
        assert!(!roots(OWN).await.contains(&mesh.der()));
    }
}

/// Shows: FED-6.
#[tokio::test(flavor = "multi_thread")]
async fn each_trust_domain_has_a_file_of_its_own_as_long_as_its_bundle_is_held() {
    let site = Site::open(&federating()).await;
    let mesh = ForeignCa::new("mesh root");
    let folder = tempfile::Builder::new().prefix("lanyard").tempdir_in("/dev/shm").unwrap();
    let layouts = vec![Layout::PerTrustDomain, Layout::Pem];
    let agent = site.agent_with_files(FileOutput { layouts, ..FileOutput::new(folder.path().to_owned()) });
    agent.login(site.token()).await.unwrap();
    let file = folder.path().join("bundle.mesh.test.pem");
    until(|| folder.path().join("bundle.ci.example.org.pem").exists()).await;
    assert!(!file.exists());
    site.set("mesh.test", &[&mesh]).await;
    until(|| file.exists()).await;
    assert_eq!(CertificateDer::from_pem_slice(&fs::read(&file).unwrap()).unwrap().to_vec(), mesh.der());
    let own = fs::read_to_string(folder.path().join("svid_bundle.pem")).unwrap();
    assert_eq!(own.matches("BEGIN CERTIFICATE").count(), 1, "the others are not merged into ours");
    site.delete("mesh.test").await;
    until(|| !file.exists()).await;
}
