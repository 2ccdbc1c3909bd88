//! Revocation lists for proxies: beside our roots where the validator reads them, complete, or our roots wait.

use crate::federation::federating;
use crate::sds::{Proxy, context_of, domains_of, for_names, secrets, taken};
use crate::stand_in::StandIn;
use crate::support::beside::{Beside, Site, TWO_PROFILES, channel, within};
use crate::support::foreign::ForeignCa;
use lanyard::agent::{AgentSettings, SecretNames, Validator};
use lanyard::session::CrlPlan;
use lanyard::wire::lanyard::JobEnd;
use lanyard::wire::sds::secret::Type;
use lanyard::wire::sds::{CertificateValidationContext, DiscoveryResponse, Secret, SpiffeCertValidatorConfig};
use prost::Message as _;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use std::time::Duration;

fn with_lists() -> SecretNames {
    SecretNames { crl: true, ..SecretNames::default() }
}

async fn open(agent: &Beside, names: &[&str]) -> Proxy {
    Proxy::over(channel(&agent.socket), for_names(names)).await
}

/// How many roots, how many lists, and how many certificates the lists name.
fn counted(roots: &[u8], lists: &[u8]) -> (usize, usize, usize) {
    let named = CertificateRevocationListDer::pem_slice_iter(lists).map(|list| {
        let list = list.unwrap();
        let (_rest, list) = x509_parser::parse_x509_crl(&list).unwrap();
        list.iter_revoked_certificates().count()
    });
    let named: Vec<usize> = named.collect();
    (CertificateDer::pem_slice_iter(roots).count(), named.len(), named.iter().sum())
}

/// What stands beside our trust domain's roots, for the SPIFFE validator.
fn of_spiffe(context: &CertificateValidationContext) -> Vec<(usize, usize, usize)> {
    assert_eq!(context.crl, None, "that validator does not read it");
    let config = context.custom_validator_config.clone().unwrap().typed_config.unwrap();
    let config = SpiffeCertValidatorConfig::decode(config.value.as_slice()).unwrap();
    let bundles = config.trust_domains.into_iter().map(|domain| domain.trust_bundle.unwrap().inline_bytes);
    bundles.map(|bundle| counted(&bundle, &bundle)).collect()
}

fn context(response: &DiscoveryResponse) -> CertificateValidationContext {
    context_of(&secrets(response)[0])
}

/// The next that a proxy hears, however often time moves on by so much.
async fn heard_as_time_passes(proxy: &mut Proxy, site: &Site, step: Duration) -> DiscoveryResponse {
    loop {
        site.clock.advance(step);
        if let Ok(heard) = tokio::time::timeout(Duration::from_millis(50), proxy.heard()).await {
            return heard.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_roots_come_with_a_list_of_every_authority_and_again_when_somebody_has_ended() {
    let mut site = Site::open(TWO_PROFILES).await;
    let agent = |name: &str, secrets| {
        let settings = AgentSettings {
            secrets,
            workload_socket: site.path(&format!("{name}/api.sock")),
            state_dir: site.path(&format!("{name}-state")),
            ..site.agent_settings()
        };
        Beside::start(settings, &site.clock)
    };
    let spiffe = agent("spiffe", with_lists());
    let plain = agent("plain", SecretNames { validator: Validator::Plain, ..with_lists() });
    let other = agent("other", SecretNames::default());
    for agent in [&spiffe, &plain, &other] {
        agent.login(site.token()).await.unwrap();
    }
    let (mut roots, mut plain_roots) = (open(&spiffe, &["ROOTCA"]).await, open(&plain, &["ROOTCA"]).await);
    let mut all = open(&spiffe, &[]).await;
    let mut svid = open(&spiffe, &["default"]).await;
    svid.next().await.unwrap();
    for waiting in [&mut roots, &mut plain_roots] {
        waiting.hears_nothing().await;
    }
    let is_root = |secret: &Secret| matches!(secret.r#type, Some(Type::ValidationContext(_)));
    let first_of_all = secrets(&all.next().await.unwrap());
    assert!(first_of_all.len() > 4 && !first_of_all.iter().any(is_root), "what needs no lists does not wait");
    let unlisted = open(&other, &["ROOTCA"]).await.next().await.unwrap();
    assert_eq!(of_spiffe(&context(&unlisted)), [(1, 0, 0)], "nobody asked for lists there");

    site.make_crls().await;
    // Streams are opened again after a while.
    let first = within(heard_as_time_passes(&mut roots, &site, Duration::from_secs(1))).await;
    assert_eq!(of_spiffe(&context(&first)), [(1, 2, 0)], "the root's list and the intermediate's");
    let first_plain = context(&plain_roots.next().await.unwrap());
    let [trusted, lists] = [first_plain.trusted_ca, first_plain.crl].map(|source| source.unwrap().inline_bytes);
    assert_eq!((counted(&trusted, &[]), counted(&[], &lists)), ((1, 0, 0), (0, 2, 0)));
    let now_all = secrets(&all.next().await.unwrap());
    assert_eq!(now_all.iter().filter(|secret| is_root(secret)).count(), 3, "ROOTCA, ALL and the trust domain's own");
    roots.send(taken(&first, &["ROOTCA"])).await;

    other.handle.as_ref().unwrap().end(JobEnd::Logout).await;
    let mut named = 0;
    while named == 0 {
        let news = within(heard_as_time_passes(&mut roots, &site, Duration::from_millis(100))).await;
        let [(1, 2, count)] = of_spiffe(&context(&news))[..] else { panic!("not whole") };
        named = count;
    }
    assert_eq!(named, 2, "both SVIDs of whoever has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_list_is_missing_a_proxy_keeps_what_it_has() {
    let server = StandIn::start().await;
    let agent = server.agent_with(with_lists()).await;
    let (mut roots, mut svid) = (open(&agent, &["ROOTCA"]).await, open(&agent, &["default"]).await);
    svid.next().await.unwrap();
    roots.hears_nothing().await;
    server.tell_lists(1, 1);
    roots.hears_nothing().await;
    server.tell_lists(2, 2);
    assert_eq!(of_spiffe(&context(&roots.next().await.unwrap())), [(1, 2, 0)]);

    let second = server.root("root 2");
    server.change(|bundle| bundle.x509_authorities.push(second));
    roots.hears_nothing().await;
    let mut late = open(&agent, &["spiffe://example.org"]).await;
    late.hears_nothing().await;
    server.tell_lists(3, 2);
    roots.hears_nothing().await;
    server.tell_lists(4, 3);
    for proxy in [&mut roots, &mut late] {
        assert_eq!(of_spiffe(&context(&proxy.next().await.unwrap())), [(2, 3, 0)]);
    }
    // A root that goes takes no list along.
    server.change(|bundle| drop(bundle.x509_authorities.remove(1)));
    assert_eq!(of_spiffe(&context(&roots.next().await.unwrap())), [(1, 3, 0)]);
    svid.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_stand_beside_our_own_roots_alone() {
    let site = Site::open_as(&federating(), |settings| {
        settings.crl = Some(CrlPlan { lifetime: CrlPlan::LIFETIME });
    })
    .await;
    let mesh = ForeignCa::new("mesh root");
    site.set("mesh.test", &[&mesh]).await;
    let agent = Beside::start(AgentSettings { secrets: with_lists(), ..site.agent_settings() }, &site.clock);
    agent.login(site.token()).await.unwrap();
    let all = context(&open(&agent, &["ROOTCA"]).await.next().await.unwrap());
    assert_eq!(domains_of(&all), ["ci.example.org", "mesh.test"]);
    assert_eq!(of_spiffe(&all), [(1, 2, 0), (1, 0, 0)]);
}
