//! X.509-SVIDs as they reach a workload: whole, at once, in a fixed order, and anew at each renewal.

use crate::support::beside::{FIRST_ID, SECOND_ID, Site, TWO_PROFILES, asked, until, within};
use lanyard::crypto::KeyPair;
use lanyard::svid::inspect_certificate;
use lanyard::wire::workload::{JwtBundlesRequest, X509BundlesRequest, X509svid, X509svidRequest, X509svidResponse};
use prost::Message;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// Long enough to see that nothing comes, where what comes takes milliseconds.
const SILENCE: Duration = Duration::from_millis(300);

/// What a gRPC library takes by default.
const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Certificates that stand back to back, and nothing beside them.
fn certificates(mut der: &[u8]) -> Vec<X509Certificate<'_>> {
    let mut certificates = Vec::new();
    while !der.is_empty() {
        let (rest, certificate) = X509Certificate::from_der(der).unwrap();
        certificates.push(certificate);
        der = rest;
    }
    certificates
}

/// The key's DER is a clear PKCS#8 structure (RFC 5958 §2): version, then an algorithm; SEC1 has the key there.
fn is_clear_pkcs8(der: &[u8]) -> bool {
    let [0x30, 0x81, _, 0x02, 0x01, version, 0x30, ..] = der else { return false };
    *version <= 1
}

fn is_complete(svid: &X509svid, id: &str) {
    assert_eq!(svid.spiffe_id, id);
    let chain = certificates(&svid.x509_svid);
    assert_eq!(
        chain.iter().map(|certificate| certificate.is_ca()).collect::<Vec<_>>(),
        [false, true],
        "leaf first, no root"
    );
    let leaf = inspect_certificate(chain[0].as_raw()).unwrap();
    assert_eq!(leaf.spiffe_id.as_str(), id, "the certificate's own");
    assert!(is_clear_pkcs8(&svid.x509_svid_key), "{:?}", &svid.x509_svid_key[..12]);
    let key = KeyPair::from_pkcs8(Zeroizing::new(svid.x509_svid_key.to_vec())).unwrap();
    assert_eq!(key.public().id(), leaf.key_id, "the key is this leaf's");
    let roots = certificates(&svid.bundle);
    assert_eq!(roots.iter().map(|certificate| certificate.is_ca()).collect::<Vec<_>>(), [true]);
    assert_eq!(chain[1].issuer(), roots[0].subject(), "and the bundle is what verifies it");
    chain[1].verify_signature(Some(roots[0].public_key())).unwrap();
    chain[0].verify_signature(Some(chain[1].public_key())).unwrap();
}

/// Shows: WAPI-5, WAPI-12, WAPI-13, WAPI-14, WAPI-16, WAPI-17, WAPI-18, WAPI-21, WAPI-40, X509-24, X509-25, X509-26,
/// X509-27.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_message_comes_at_once_and_holds_all_that_is_granted() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let began = std::time::Instant::now();
    let first = agent.x509().await;
    let second = agent.x509().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?} for two clients", began.elapsed());
    assert_eq!(first, second, "every client has the same state");
    assert_eq!(first.svids.iter().map(|svid| &*svid.hint).collect::<Vec<_>>(), ["istio", "linkerd"]);
    for (svid, id) in first.svids.iter().zip([FIRST_ID, SECOND_ID]) {
        is_complete(svid, id);
    }
    assert!(first.crl.is_empty() && first.federated_bundles.is_empty());
}

/// Shows: WAPI-6, WAPI-7, WAPI-13.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_pushed_once_with_fresh_keys_in_the_same_order() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let mut svids = agent.x509_stream().await;
    let mut last: X509svidResponse = within(svids.message()).await.unwrap().unwrap();
    let mut x509 = agent.workload().fetch_x509_bundles(asked(X509BundlesRequest {})).await.unwrap().into_inner();
    let mut jwt = agent.workload().fetch_jwt_bundles(asked(JwtBundlesRequest {})).await.unwrap().into_inner();
    within(x509.message()).await.unwrap().unwrap();
    within(jwt.message()).await.unwrap().unwrap();
    for _renewal in 0..3 {
        site.advance(11);
        let next = within(svids.message()).await.unwrap().unwrap();
        for (old, new, id) in [(0, 0, FIRST_ID), (1, 1, SECOND_ID)] {
            is_complete(&next.svids[new], id);
            assert_eq!(next.svids[new].hint, last.svids[old].hint);
            assert_ne!(next.svids[new].x509_svid_key, last.svids[old].x509_svid_key, "keys are never used again");
        }
        assert_ne!(next.svids[0].x509_svid_key, next.svids[1].x509_svid_key, "nor shared");
        last = next;
    }
    for silent in [
        tokio::time::timeout(SILENCE, svids.message()).await.is_err(),
        tokio::time::timeout(SILENCE, x509.message()).await.is_err(),
        tokio::time::timeout(SILENCE, jwt.message()).await.is_err(),
    ] {
        assert!(silent, "three renewals, three messages, and no bundle has changed");
    }
}

/// Shows: WAPI-37.
#[tokio::test(flavor = "multi_thread")]
async fn the_largest_message_that_a_rule_can_ask_for_fits_a_client() {
    let one = Site::open(TWO_PROFILES).await;
    let message = one.logged_in().await.x509().await;
    // A policy names at most a hundred; an ID has at most 2048 bytes and a hint 1024, in field and certificate.
    let svid = message.svids.iter().map(Message::encoded_len).max().unwrap() + 2 * 2048 + 1024;
    assert!(100 * svid < MESSAGE_BYTES_MAX, "{svid} bytes each");
}

/// Shows: WAPI-38.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_clients_that_hang_up_after_the_first_message_leave_nothing_behind() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    agent.x509().await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // What one connection with one stream costs is there while it is held.
    let (tasks_before, files_before) = (tasks(), files());
    for _connection in 0..10 {
        let mut workload = agent.workload();
        for _call in 0..100 {
            let mut stream = within(workload.fetch_x509svid(asked(X509svidRequest {}))).await.unwrap().into_inner();
            assert!(within(stream.message()).await.unwrap().is_some());
        }
    }
    until(|| tasks() <= tasks_before && files() <= files_before).await;
}
