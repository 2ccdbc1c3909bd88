//! Secrets as a proxy meets them: by name, over a stream that is told of changes and of nothing else.

use crate::stand_in::StandIn;
use crate::support::beside::{Beside, FIRST_ID, SECOND_ID, Site, TWO_PROFILES, channel, until, within};
use lanyard::agent::{AgentSettings, SecretNames, Validator};
use lanyard::crypto::KeyPair;
use lanyard::svid::inspect_certificate;
use lanyard::wire::sds::secret::Type;
use lanyard::wire::sds::secret_discovery_service_client::SecretDiscoveryServiceClient;
use lanyard::wire::sds::{
    BuildVersion, CertificateValidationContext, DeltaDiscoveryRequest, DiscoveryRequest, DiscoveryResponse, Node,
    Secret, SemanticVersion, SpiffeCertValidatorConfig, Status as Refused,
};
use prost::Message as _;
use prost_types::value::Kind;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use zeroize::Zeroizing;

/// Long enough to see that nothing comes, where what comes takes milliseconds.
const SILENCE: Duration = Duration::from_millis(300);

const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// A proxy with one stream.
pub(crate) struct Proxy {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Proxy {
    async fn open(socket: &Path, first: DiscoveryRequest) -> Self {
        Self::over(channel(socket), first).await
    }

    pub(crate) async fn over(channel: Channel, first: DiscoveryRequest) -> Self {
        let (requests, queue) = mpsc::channel(8);
        requests.send(first).await.unwrap();
        let mut client = SecretDiscoveryServiceClient::new(channel);
        let responses = client.stream_secrets(ReceiverStream::new(queue)).await.unwrap().into_inner();
        Self { requests, responses }
    }

    pub(crate) async fn send(&self, request: DiscoveryRequest) {
        self.requests.send(request).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        within(self.heard()).await
    }

    /// However long that takes.
    pub(crate) async fn heard(&mut self) -> Result<DiscoveryResponse, Status> {
        Ok(self.responses.message().await?.unwrap())
    }

    pub(crate) async fn hears_nothing(&mut self) {
        let heard = tokio::time::timeout(SILENCE, self.responses.message()).await;
        assert!(heard.is_err(), "{heard:?}");
    }
}

fn client(socket: &Path) -> SecretDiscoveryServiceClient<Channel> {
    SecretDiscoveryServiceClient::new(channel(socket))
}

pub(crate) fn for_names(names: &[&str]) -> DiscoveryRequest {
    let resource_names = names.iter().map(|name| (*name).to_owned()).collect();
    DiscoveryRequest { resource_names, type_url: SECRET.to_owned(), ..DiscoveryRequest::default() }
}

/// What a proxy says when it took a response.
pub(crate) fn taken(response: &DiscoveryResponse, names: &[&str]) -> DiscoveryRequest {
    let (version_info, response_nonce) = (response.version_info.clone(), response.nonce.clone());
    DiscoveryRequest { version_info, response_nonce, ..for_names(names) }
}

pub(crate) fn secrets(response: &DiscoveryResponse) -> Vec<Secret> {
    assert_eq!(response.type_url, SECRET);
    response.resources.iter().map(|any| Secret::decode(any.value.as_slice()).unwrap()).collect()
}

/// The ID of the leaf, whose key comes with it.
pub(crate) fn id_of(secret: &Secret) -> String {
    let Some(Type::TlsCertificate(own)) = &secret.r#type else { panic!("{secret:?}") };
    let pem = |source: &Option<_>| {
        let lanyard::wire::sds::DataSource { inline_bytes } = Option::clone(source).unwrap();
        inline_bytes
    };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem(&own.certificate_chain)).collect::<Result<_, _>>().unwrap();
    assert_eq!(chain.len(), 2, "leaf and intermediate");
    let leaf = inspect_certificate(&chain[0]).unwrap();
    let key = PrivatePkcs8KeyDer::from_pem_slice(&pem(&own.private_key)).unwrap();
    let key = KeyPair::from_pkcs8(Zeroizing::new(key.secret_pkcs8_der().to_vec())).unwrap();
    assert_eq!(key.public().id(), leaf.key_id, "the key is this leaf's");
    leaf.spiffe_id.as_str().to_owned()
}

pub(crate) fn context_of(secret: &Secret) -> CertificateValidationContext {
    let Some(Type::ValidationContext(context)) = &secret.r#type else { panic!("{secret:?}") };
    context.clone()
}

/// The trust domains that the SPIFFE validator is told of, each with roots.
pub(crate) fn domains_of(context: &CertificateValidationContext) -> Vec<String> {
    assert!(context.trusted_ca.is_none(), "it would vouch for every ID");
    let config = context.custom_validator_config.clone().unwrap();
    assert_eq!(config.name, "envoy.tls.cert_validator.spiffe");
    let config = SpiffeCertValidatorConfig::decode(config.typed_config.unwrap().value.as_slice()).unwrap();
    let roots = |pem: &[u8]| CertificateDer::pem_slice_iter(pem).count();
    assert!(config.trust_domains.iter().all(|domain| roots(&domain.trust_bundle.clone().unwrap().inline_bytes) > 0));
    config.trust_domains.into_iter().map(|domain| domain.name).collect()
}

fn socket(agent: &Beside) -> PathBuf {
    agent.endpoint().strip_prefix("unix://").unwrap().into()
}

/// Shows: SDS-1, SDS-2, SDS-4, SDS-5, SDS-8, MESH-C1, MESH-C2, MESH-C4.
#[tokio::test(flavor = "multi_thread")]
async fn every_name_gives_its_secret_and_no_name_gives_all() {
    let site = Site::open(TWO_PROFILES).await;
    let names = SecretNames {
        aliases: [("lanyard", "default"), ("lanyard-cacert", "ROOTCA")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into(),
        ..SecretNames::default()
    };
    let agent = Beside::start(AgentSettings { secrets: names, ..site.agent_settings() }, &site.clock);
    agent.login(site.token()).await.unwrap();
    let mut client = client(&socket(&agent));
    for (name, id) in [
        ("default", FIRST_ID),
        ("istio", FIRST_ID),
        ("lanyard", FIRST_ID),
        (FIRST_ID, FIRST_ID),
        ("linkerd", SECOND_ID),
        (SECOND_ID, SECOND_ID),
    ] {
        let response = client.fetch_secrets(for_names(&[name])).await.unwrap().into_inner();
        let [secret] = secrets(&response).try_into().unwrap();
        assert_eq!((secret.name.as_str(), id_of(&secret).as_str()), (name, id));
    }
    for name in ["ROOTCA", "ALL", "lanyard-cacert", "spiffe://ci.example.org"] {
        let response = client.fetch_secrets(for_names(&[name])).await.unwrap().into_inner();
        let [secret] = secrets(&response).try_into().unwrap();
        assert_eq!((secret.name.as_str(), domains_of(&context_of(&secret))), (name, vec!["ci.example.org".to_owned()]));
    }
    let all = secrets(&client.fetch_secrets(for_names(&[])).await.unwrap().into_inner());
    let mut names: Vec<_> = all.iter().map(|secret| secret.name.as_str()).collect();
    assert_eq!(names.len(), 10);
    names.dedup();
    assert_eq!(names.len(), 10, "each once");
    let delta = client.delta_secrets(tokio_stream::once(DeltaDiscoveryRequest {})).await.unwrap_err();
    assert_eq!(delta.code(), Code::Unimplemented);
}

/// Shows: SDS-3.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_asked_for_many_times_gives_its_secret_once() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut proxy = Proxy::open(&socket(&agent), for_names(&["default"; 64])).await;
    let first = proxy.next().await.unwrap();
    assert_eq!(secrets(&first).len(), 1);
    proxy.send(taken(&first, &["default"])).await;
    proxy.hears_nothing().await;
}

/// Shows: MESH-C3.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_means_nothing_ends_its_own_stream_only() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut good = Proxy::open(&socket(&agent), for_names(&["default"])).await;
    good.next().await.unwrap();
    for (name, says) in [
        ("nonsense", "no secret is called \"nonsense\"; there are ALL, ROOTCA, default"),
        ("spiffe://other.test", "no secret is called"),
        ("file-root:/etc/ssl/ca.pem", "Istio's own agent serves"),
        ("file-cert:a~b", "Istio's own agent serves"),
    ] {
        let refused = Proxy::open(&socket(&agent), for_names(&["default", name])).await.next().await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().contains(says), "{refused}");
    }
    let listeners = DiscoveryRequest { type_url: "type.googleapis.com/x.Listener".to_owned(), ..for_names(&[]) };
    assert_eq!(Proxy::open(&socket(&agent), listeners).await.next().await.unwrap_err().code(), Code::InvalidArgument);
    site.advance(11);
    good.next().await.unwrap();
}

/// Shows: SDS-1, SDS-6, SDS-7, MESH-C6.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_told_of_changes_and_never_of_what_it_took_or_refused() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut proxy = Proxy::open(&socket(&agent), for_names(&["default"])).await;
    let mut roots = Proxy::open(&socket(&agent), for_names(&["ROOTCA"])).await;
    let (first, held) = (proxy.next().await.unwrap(), roots.next().await.unwrap());
    proxy.send(taken(&first, &["default"])).await;
    roots.send(taken(&held, &["ROOTCA"])).await;
    proxy.hears_nothing().await;

    site.advance(11);
    let second = proxy.next().await.unwrap();
    assert_ne!(first.resources, second.resources);
    assert!(second.version_info.parse::<u64>().unwrap() > first.version_info.parse::<u64>().unwrap());
    roots.hears_nothing().await;

    let error_detail = Some(Refused { code: 13, message: "key does not match\nthe chain".to_owned() });
    let refusal =
        DiscoveryRequest { version_info: first.version_info.clone(), error_detail, ..taken(&second, &["default"]) };
    proxy.send(refusal).await;
    proxy.send(taken(&first, &["linkerd"])).await;
    proxy.hears_nothing().await;

    proxy.send(taken(&second, &["default", "ROOTCA"])).await;
    let both = proxy.next().await.unwrap();
    assert_eq!(secrets(&both).len(), 2, "another set of names");
    site.advance(11);
    let third = proxy.next().await.unwrap();
    assert_ne!(third.resources, both.resources, "and what comes after a refusal is sent");
}

/// Shows: SDS-7, MESH-C7.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_waits_in_silence_for_the_first_svid_and_longer_than_any_request_may_take() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.agent();
    let mut proxy = Proxy::open(&socket(&agent), for_names(&["default"])).await;
    proxy.hears_nothing().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    agent.login(site.token()).await.unwrap();
    let first = proxy.next().await.unwrap();
    assert_eq!(id_of(&secrets(&first)[0]), FIRST_ID);
    proxy.send(taken(&first, &["default"])).await;
    proxy.hears_nothing().await;
    agent.stop();
    assert_eq!(proxy.next().await.unwrap_err().code(), Code::Unavailable);
}

/// Shows: SDS-5, MESH-C5.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_use_the_validator_gets_our_own_roots_alone() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let fields = |kind| [("disable_spiffe_cert_validation".to_owned(), prost_types::Value { kind: Some(kind) })].into();
    let asked = |kind| Node { metadata: Some(prost_types::Struct { fields: fields(kind) }), ..Node::default() };
    let version = |major_number, minor_number| {
        let version = Some(SemanticVersion { major_number, minor_number, patch: 0 });
        Node { user_agent_build_version: Some(BuildVersion { version }), ..Node::default() }
    };
    for (node, is_plain) in [
        (asked(Kind::BoolValue(true)), true),
        (asked(Kind::StringValue("true".to_owned())), true),
        (asked(Kind::BoolValue(false)), false),
        (asked(Kind::StringValue("yes".to_owned())), false),
        (version(1, 17), true),
        (version(1, 18), false),
        (version(2, 0), false),
        (Node::default(), false),
    ] {
        let asked = DiscoveryRequest { node: Some(node.clone()), ..for_names(&["ROOTCA"]) };
        let mut proxy = Proxy::open(&socket(&agent), asked).await;
        let first = proxy.next().await.unwrap();
        assert_eq!(context_of(&secrets(&first)[0]).trusted_ca.is_some(), is_plain, "{node:?}");
        proxy.send(taken(&first, &["ALL"])).await;
        let second = proxy.next().await.unwrap();
        assert_eq!(context_of(&secrets(&second)[0]).trusted_ca.is_some(), is_plain, "the node is said once only");
    }
    let plain = SecretNames { validator: Validator::Plain, ..SecretNames::default() };
    let agent = Beside::start(
        AgentSettings {
            secrets: plain,
            state_dir: site.path("second-state"),
            workload_socket: site.path("second/api.sock"),
            ..site.agent_settings()
        },
        &site.clock,
    );
    agent.login(site.token()).await.unwrap();
    let response = client(&socket(&agent)).fetch_secrets(for_names(&["ALL"])).await.unwrap().into_inner();
    assert!(context_of(&secrets(&response)[0]).custom_validator_config.is_none());
}

/// Shows: SDS-7, MESH-C8.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_bundle_reaches_whoever_asked_for_it_and_not_the_key() {
    let server = StandIn::start().await;
    let agent = server.agent().await;
    let mut proxy = Proxy::open(&socket(&agent), for_names(&["default"])).await;
    let mut roots = Proxy::open(&socket(&agent), for_names(&["ROOTCA"])).await;
    proxy.next().await.unwrap();
    let before = roots.next().await.unwrap();
    let another = server.root("root 2");
    server.change(|bundle| bundle.x509_authorities.push(another));
    let after = roots.next().await.unwrap();
    assert_ne!(before.resources, after.resources);
    proxy.hears_nothing().await;
}

/// Shows: MESH-C10.
#[tokio::test(flavor = "multi_thread")]
async fn the_socket_for_proxies_comes_back_when_they_delete_it() {
    let site = Site::open(TWO_PROFILES).await;
    let path = site.path("mesh/lanyard.sock");
    let agent = Beside::start(AgentSettings { sds_socket: Some(path.clone()), ..site.agent_settings() }, &site.clock);
    agent.login(site.token()).await.unwrap();
    for _round in 0..2 {
        until(|| path.exists()).await;
        let mut proxy = Proxy::open(&path, for_names(&["default"])).await;
        assert_eq!(id_of(&secrets(&proxy.next().await.unwrap())[0]), FIRST_ID);
        std::fs::remove_file(&path).unwrap();
    }
    agent.ended().await;
    assert!(!path.exists(), "nothing is left behind");
}
