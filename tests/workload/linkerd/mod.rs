//! Linkerd's proxy at our socket: what it sends, what it takes, whom it then admits, and what it never comes back from.

mod client;
mod real;
mod store;
mod wire;

use crate::callers::{ANOTHER, calling, is_root, refusal};
use crate::rotation::certificates;
use crate::support::beside::{Beside, FIRST_ID, SECOND_ID, Site, TWO_PROFILES, until, within};
use client::{Watch, process, read};
use lanyard::agent::{AgentSettings, Callers};
use lanyard::clock::Clock;
use lanyard::config::ServerSettings;
use lanyard::svid::{DnsNames, DnsSuffix, SanOrder};
use lanyard::wire::lanyard::JobEnd;
use lanyard::wire::workload::{X509svidRequest, X509svidResponse};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use store::{Store, admits};
use tonic::{Code, Request};

/// Long enough to see that nothing comes, where what comes takes milliseconds.
const SILENCE: Duration = Duration::from_millis(300);

/// A proxy that was told an ID, and the roots that are in a message.
fn store(site: &Site, id: &str, message: &X509svidResponse) -> Store {
    Store::new(id, certificates(&message.svids[0].bundle), &site.clock)
}

/// Shows: MESH-D2, MESH-D3.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_takes_each_svid_that_it_was_told_is_its_own_and_no_other() {
    let site = Site::open(TWO_PROFILES).await;
    let message = site.logged_in().await.x509().await;
    let update = read(&message);
    assert_eq!(update.len(), message.svids.len(), "its parser reads all of them");
    for (id, svid) in [FIRST_ID, SECOND_ID].into_iter().zip(&message.svids) {
        let mut store = store(&site, id, &message);
        assert_eq!((&*svid.spiffe_id, store.id().as_str()), (id, id), "byte for byte, in the form its parser gives it");
        process(&mut store, update.clone()).unwrap();
        assert_eq!(store.refreshes, 1);
    }
    let mut other = store(&site, "spiffe://ci.example.org/acme/payments/api/-/Every", &message);
    assert_eq!(process(&mut other, update).unwrap_err().to_string(), "no matching SVID found");
}

/// The key as SEC 1 has it: what stands inside PKCS#8.
fn sec1(pkcs8: &[u8]) -> Vec<u8> {
    let blocks = simple_asn1::from_der(pkcs8).unwrap();
    let [simple_asn1::ASN1Block::Sequence(_, parts)] = &blocks[..] else { panic!("{blocks:?}") };
    let [_version, _algorithm, simple_asn1::ASN1Block::OctetString(_, inside)] = &parts[..] else {
        panic!("{parts:?}")
    };
    inside.clone()
}

/// Why messages look as they do.
/// Shows: MESH-D2.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_proxy_would_not_take_is_what_we_never_send() {
    let site = Site::open(TWO_PROFILES).await;
    let message = site.logged_in().await.x509().await;
    let refusal = |change: &dyn Fn(&mut X509svidResponse)| {
        let (mut store, mut changed) = (store(&site, FIRST_ID, &message), message.clone());
        change(&mut changed);
        process(&mut store, read(&changed)).map_err(|why| why.to_string())
    };
    assert_eq!(refusal(&|_same| {}), Ok(()));
    let own = |change: fn(&mut lanyard::wire::workload::X509svid, &X509svidResponse)| {
        refusal(&|message| {
            let before = message.clone();
            change(&mut message.svids[0], &before);
        })
        .unwrap_err()
    };
    let none = "no matching SVID found";
    assert_eq!(own(|svid, _| svid.x509_svid_key.clear()), none);
    assert_eq!(own(|svid, _| svid.x509_svid.clear()), none);
    assert_eq!(own(|svid, _| svid.spiffe_id = svid.spiffe_id.to_uppercase()), none);
    assert!(own(|svid, _| svid.x509_svid_key = sec1(&svid.x509_svid_key).into()).contains("private key"));
    assert!(own(|svid, all| svid.x509_svid_key = all.svids[1].x509_svid_key.clone()).contains("KeyMismatch"));
    let reversed = own(|svid, _| {
        let chain = certificates(&svid.x509_svid);
        svid.x509_svid = chain.iter().rev().flat_map(|der| der.to_vec()).collect();
    });
    assert!(reversed.contains("CaUsedAsEndEntity"), "{reversed}");
    let leaf_alone = own(|svid, _| svid.x509_svid = certificates(&svid.x509_svid)[0].to_vec().into());
    assert!(leaf_alone.contains("UnknownIssuer"), "{leaf_alone}");
    assert_eq!(
        own(|svid, all| svid.x509_svid = all.svids[1].x509_svid.clone()),
        "certificate does not match TLS identity"
    );
}

/// Shows: MESH-A7.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_takes_nothing_from_below_an_intermediate_with_constraints_on_uris() {
    let site = Site::open_as(TWO_PROFILES, |settings| settings.keys.name_constraints = true).await;
    let message = site.logged_in().await.x509().await;
    let refused = process(&mut store(&site, FIRST_ID, &message), read(&message)).unwrap_err().to_string();
    assert!(refused.contains("NameConstraint"), "{refused}");
}

async fn is_open(agent: &Beside) {
    until(|| UnixStream::connect(&agent.socket).is_ok()).await;
}

/// Shows: MESH-D4, MESH-D5.
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_was_there_first_has_all_its_certificates_by_one_call() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.agent();
    is_open(&agent).await;
    let mut watch = Watch::over(&agent.socket).await;
    tokio::time::timeout(SILENCE, watch.update()).await.unwrap_err();
    agent.login(site.token()).await.unwrap();
    let first = within(watch.update()).await;
    let mut store = store(&site, FIRST_ID, &agent.x509().await);
    process(&mut store, first).unwrap();
    for renewals in 1..=3 {
        // Past two thirds of a quarter of an hour, and minutes before it is over.
        site.advance(11);
        process(&mut store, within(watch.update()).await).unwrap();
        assert_eq!(store.refreshes, 1 + renewals);
    }
    tokio::time::sleep(SILENCE).await;
    assert!(watch.has_none(), "four states, four messages");
    assert_eq!((watch.calls(), watch.failures()), (1, vec![]));
}

/// What the header is for, and nothing else.
/// Shows: MESH-D1.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_without_the_header_is_the_only_one_that_a_proxy_would_not_repeat() {
    let mut site = Site::open(TWO_PROFILES).await;
    let agent = site.agent();
    is_open(&agent).await;
    let bare = agent.workload().fetch_x509svid(Request::new(X509svidRequest {})).await.unwrap_err();
    assert_eq!(bare.code(), Code::InvalidArgument);
    let mut watch = Watch::over(&agent.socket).await;

    // No SVID yet, and no server either.
    tokio::time::sleep(SILENCE).await;
    site.shut().await;
    tokio::time::sleep(SILENCE).await;
    assert_eq!((watch.calls(), watch.failures()), (1, vec![]), "it waits in silence");
    site.open_again().await;

    // The job ends; the next one begins.
    agent.login(site.token()).await.unwrap();
    within(watch.update()).await;
    agent.handle.as_ref().unwrap().end(JobEnd::Logout).await;
    until(|| watch.failures().len() > 2).await;
    assert_eq!(watch.failures()[..3], [Code::Unavailable, Code::PermissionDenied, Code::PermissionDenied]);
    let in_ten_minutes = site.clock.now().unix_timestamp() + 600;
    agent.login(site.issuer.token_with(site.clock.now(), "exp", in_ten_minutes)).await.unwrap();
    within(watch.update()).await;
    let before = watch.failures().len();

    // The token, and with it the session, runs out.
    site.advance(11);
    until(|| watch.failures().len() > before + 1).await;
    assert_eq!(watch.failures()[before..=before + 1], [Code::Unavailable, Code::PermissionDenied]);
    let after = watch.failures().len();

    // The agent stops, another comes.
    agent.ended().await;
    until(|| watch.failures().len() > after + 2).await;
    let again = site.agent();
    is_open(&again).await;
    again.login(site.token()).await.unwrap();
    within(watch.update()).await;
    assert!(!watch.has_given_up());
    assert!(!watch.failures().contains(&Code::InvalidArgument), "{:?}", watch.failures());
}

/// Shows: MESH-D1.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_policy_refuses_and_a_caller_who_is_no_part_of_it_are_denied() {
    let site = Site::open(&TWO_PROFILES.replace("[rule.when]", "[rule.when]\nrunner_id = 88")).await;
    let agent = site.agent();
    agent.login(site.issuer.token_with(site.clock.now(), "runner_id", 9)).await.unwrap_err();
    let refused = within(agent.x509_stream().await.message()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    if !is_root() {
        println!("NOT RUN: only root can be another user too; run this test as root to see that such a one is denied");
        return;
    }
    let own = Beside::start(
        AgentSettings {
            callers: Callers::OwnUid,
            workload_socket: site.path("own/api.sock"),
            state_dir: site.path("own-state"),
            ..site.agent_settings()
        },
        &site.clock,
    );
    own.login(site.token()).await.unwrap();
    let request = site.path("request");
    std::fs::write(&request, [0; 5]).unwrap();
    let denied = refusal(ANOTHER, || calling("SpiffeWorkloadAPI/FetchX509SVID", &own.socket, &request)).await;
    assert_eq!(denied, "7", "PermissionDenied");
}

/// A job's proxy with its certificate, told to be the one that has no pipeline in its ID.
async fn proxy(site: &Site, name: &str, project: (&str, &str)) -> (Beside, Store) {
    let agent = Beside::start(site.settings_beside(name), &site.clock);
    agent.login(site.token_of(project)).await.unwrap();
    let mut watch = Watch::over(&agent.socket).await;
    let update = within(watch.update()).await;
    let message = agent.x509().await;
    let mut store = store(site, &message.svids.last().unwrap().spiffe_id, &message);
    process(&mut store, update).unwrap();
    (agent, store)
}

/// A proxy before ledger, its agent, and those of a deploy and of its neighbour.
struct Ledger {
    /// Its folder has the agent's socket.
    _site: Site,
    agent: Beside,
    store: Store,
    callers: [Store; 2],
}

impl Ledger {
    /// All of one server, which puts names into leaves in this order.
    async fn open(order: SanOrder) -> Self {
        let named = |settings: &mut ServerSettings| {
            let suffix = DnsSuffix::parse("ci.example.org").unwrap();
            settings.leaf.dns = Some(DnsNames { suffix, order });
        };
        let site = Site::open_as(TWO_PROFILES, named).await;
        let (agent, store) = proxy(&site, "ledger", ("4713", "acme/ledger")).await;
        let (_, deploy) = proxy(&site, "deploy", ("4711", "acme/payments/api")).await;
        let (_, neighbour) = proxy(&site, "neighbour", ("4712", "acme/payments/api-v2")).await;
        Self { _site: site, agent, store, callers: [deploy, neighbour] }
    }
}

const OF_NEIGHBOUR: &str = "spiffe://ci.example.org/acme/payments/api-v2/-/every";

/// The answers to a deploy, its neighbour and nobody, where one identity is admitted.
type Table = [(&'static str, [u16; 3]); 6];

const BY_URI: Table = [
    (SECOND_ID, [200, 403, 403]),
    (OF_NEIGHBOUR, [403, 200, 403]),
    ("*", [403, 403, 403]),
    ("*.p4711.ci.example.org", [403, 403, 403]),
    ("*.p4712.ci.example.org", [403, 403, 403]),
    (FIRST_ID, [403, 403, 403]),
];

const BY_NAME: Table = [
    (SECOND_ID, [403, 403, 403]),
    (OF_NEIGHBOUR, [403, 403, 403]),
    ("*", [200, 200, 403]),
    ("*.p4711.ci.example.org", [200, 403, 403]),
    ("*.p4712.ci.example.org", [403, 200, 403]),
    ("pl574.p4711.ci.example.org", [200, 403, 403]),
];

/// A proxy knows its callers by the first name of their certificates alone.
/// Shows: MESH-D7.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_admitted_is_decided_by_the_first_name_and_uris_are_matched_whole() {
    for (order, expected) in [(SanOrder::UriFirst, BY_URI), (SanOrder::DnsFirst, BY_NAME)] {
        let Ledger { store, callers: [deploy, neighbour], .. } = Ledger::open(order).await;
        let [deploy, neighbour] = [deploy.client(), neighbour.client()];
        let mut callers = Vec::new();
        for caller in [deploy, neighbour, store.nobody()] {
            callers.push(store.hear(caller).await.unwrap());
        }
        let answer =
            |identity, caller: Option<_>| if caller.is_some_and(|id| admits(identity, id)) { 200 } else { 403 };
        for (identity, answers) in expected {
            let given: Vec<u16> = callers.iter().map(|caller| answer(identity, caller.as_ref())).collect();
            assert_eq!(given, answers, "{identity} {order:?}");
        }
        let stranger = Ledger::open(order).await.callers[0].client();
        let unverified = store.hear(stranger).await.unwrap_err().to_string();
        assert!(
            unverified.contains("UnknownCA") || unverified.contains("UnknownIssuer"),
            "another root's: {unverified}"
        );
    }
}
