//! Trust bundles: what each stream holds of them, and what a change of keys sends to whom.

use crate::stand_in::{StandIn, jwt_authority};
use crate::support::beside::{Beside, Site, TWO_PROFILES, asked, until, within};
use lanyard::tls::TlsClient;
use lanyard::wire::HttpsClient;
use lanyard::wire::workload::{
    JwtBundlesRequest, JwtBundlesResponse, JwtsvidRequest, X509BundlesRequest, X509BundlesResponse, X509svidRequest,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tonic::Streaming;
use x509_parser::prelude::{FromDer, X509Certificate};

const OWN: &str = "spiffe://ci.example.org";

/// Long enough to see that nothing comes, where what comes takes milliseconds.
const SILENCE: Duration = Duration::from_millis(300);

async fn x509_bundles(agent: &Beside) -> Streaming<X509BundlesResponse> {
    within(agent.workload().fetch_x509_bundles(asked(X509BundlesRequest {}))).await.unwrap().into_inner()
}

async fn jwt_bundles(agent: &Beside) -> Streaming<JwtBundlesResponse> {
    within(agent.workload().fetch_jwt_bundles(asked(JwtBundlesRequest {}))).await.unwrap().into_inner()
}

async fn next<T>(stream: &mut Streaming<T>) -> T {
    within(stream.message()).await.unwrap().unwrap()
}

/// The names of certificates that stand back to back; all of the bytes are certificates.
fn names(mut der: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    while !der.is_empty() {
        let (rest, certificate) = X509Certificate::from_der(der).unwrap();
        assert!(certificate.is_ca());
        names.push(certificate.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned());
        der = rest;
    }
    names
}

fn kids(jwks: &[u8]) -> BTreeSet<String> {
    let jwks: Value = serde_json::from_slice(jwks).unwrap();
    jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Shows: WAPI-23, WAPI-24, WAPI-25, WAPI-34.
#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_our_own_each_kind_with_its_keys_only() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let x509 = next(&mut x509_bundles(&agent).await).await;
    assert_eq!(x509.bundles.keys().collect::<Vec<_>>(), [OWN]);
    assert!(x509.crl.is_empty());
    let with_svid = &agent.x509().await.svids[0].bundle;
    assert_eq!((&x509.bundles[OWN], names(with_svid).len()), (with_svid, 1));

    let jwt = next(&mut jwt_bundles(&agent).await).await;
    assert_eq!(jwt.bundles.keys().collect::<Vec<_>>(), [OWN]);
    let jwks: Value = serde_json::from_slice(&jwt.bundles[OWN]).unwrap();
    assert_eq!(jwks.as_object().unwrap().keys().collect::<Vec<_>>(), ["keys"], "no members of the SPIFFE bundle");
    for key in jwks["keys"].as_array().unwrap() {
        let members: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(members, ["crv", "kid", "kty", "x", "y"], "neither `use` nor a certificate");
    }
}

/// Shows: RUN-4.
#[tokio::test(flavor = "multi_thread")]
async fn the_published_bundle_has_known_keys_for_known_uses_only() {
    let site = Site::open(TWO_PROFILES).await;
    let client = HttpsClient::new(site.url.clone(), TlsClient::new(&site.trust, None, &["http/1.1"]).unwrap());
    let (_, body) = within(client.fetch("/v1/bundle")).await.unwrap();
    let bundle: Value = serde_json::from_slice(&body).unwrap();
    let mut seen = BTreeSet::new();
    for key in bundle["keys"].as_array().unwrap() {
        let purpose = key["use"].as_str().unwrap();
        let certificates = key.get("x5c").map(|chain| chain.as_array().unwrap().len());
        match purpose {
            "x509-svid" => assert_eq!((certificates, key.get("kid")), (Some(1), None)),
            "jwt-svid" => assert!(certificates.is_none() && !key["kid"].as_str().unwrap().is_empty()),
            other => panic!("nobody knows the use {other}"),
        }
        assert!(matches!(key["kty"].as_str(), Some("EC" | "RSA")));
        seen.insert(purpose);
    }
    assert_eq!(seen.len(), 2);
}

/// Shows: WAPI-39.
#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_token_is_in_the_bundle_before_the_token_is() {
    let site = Site::open(TWO_PROFILES).await;
    let agent = site.logged_in().await;
    let published = kids(&next(&mut jwt_bundles(&agent).await).await.bundles[OWN]);
    let audience = vec!["https://service.test".to_owned()];
    let asked_for = JwtsvidRequest { audience, spiffe_id: String::new() };
    let tokens = within(agent.workload().fetch_jwtsvid(asked(asked_for))).await.unwrap().into_inner().svids;
    for token in tokens {
        assert!(published.contains(&lanyard::svid::inspect_jwt(&token.svid).unwrap().kid));
    }
}

/// Shows: WAPI-6, WAPI-7, WAPI-8, WAPI-19, WAPI-40.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_keys_reaches_every_stream_that_shows_it_and_no_other() {
    let server = StandIn::start().await;
    let agent = server.agent().await;
    let (mut svids, mut x509, mut jwt) =
        (agent.x509_stream().await, x509_bundles(&agent).await, jwt_bundles(&agent).await);
    let first = next(&mut svids).await;
    let (x509_first, jwt_first) = (next(&mut x509).await, next(&mut jwt).await);
    let own = "spiffe://example.org";
    assert_eq!(names(&x509_first.bundles[own]), ["root 1"]);

    let second = server.root("root 2");
    let changed = std::time::Instant::now();
    let former = server.change(|bundle| bundle.x509_authorities.push(second));
    let both = next(&mut svids).await;
    assert!(changed.elapsed() < Duration::from_secs(2), "{:?}", changed.elapsed());
    assert_eq!(names(&both.svids[0].bundle), ["root 1", "root 2"], "all generations");
    assert_eq!(both.svids[0].x509_svid, first.svids[0].x509_svid, "the SVID is there again, and the same");
    assert_eq!(both.svids[0].x509_svid_key, first.svids[0].x509_svid_key);
    assert_eq!(names(&next(&mut x509).await.bundles[own]), ["root 1", "root 2"]);

    server.change(|bundle| bundle.jwt_authorities.push(jwt_authority("j2")));
    assert_eq!(kids(&next(&mut jwt).await.bundles[own]), ["j1", "j2"].map(str::to_owned).into());
    assert_eq!(kids(&jwt_first.bundles[own]).len(), 1);

    server.change(|bundle| bundle.x509_authorities.truncate(1));
    assert_eq!(names(&next(&mut svids).await.svids[0].bundle), ["root 1"], "what is gone is gone");
    assert_eq!(names(&next(&mut x509).await.bundles[own]), ["root 1"]);

    // An older bundle, and a newer one that shows nothing new.
    server.tell(&former);
    server.change(|_| {});
    for silent in [
        tokio::time::timeout(SILENCE, svids.message()).await.is_err(),
        tokio::time::timeout(SILENCE, x509.message()).await.is_err(),
        tokio::time::timeout(SILENCE, jwt.message()).await.is_err(),
    ] {
        assert!(silent, "nothing is sent twice");
    }
}

/// Shows: WAPI-25.
#[tokio::test(flavor = "multi_thread")]
async fn a_trust_domain_without_jwt_keys_has_an_empty_set_and_never_nothing() {
    let server = StandIn::start().await;
    let agent = server.agent().await;
    let mut jwt = jwt_bundles(&agent).await;
    next(&mut jwt).await;
    server.change(|bundle| bundle.jwt_authorities.clear());
    assert_eq!(&next(&mut jwt).await.bundles["spiffe://example.org"][..], br#"{"keys":[]}"#);
}

/// Shows: WAPI-19.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_was_written_before_a_change_does_not_take_it_back() {
    let server = StandIn::start().await;
    let agent = server.agent().await;
    let mut svids = agent.x509_stream().await;
    let first = next(&mut svids).await;
    let second = server.root("root 2");
    let former = server.change(|bundle| bundle.x509_authorities.push(second));
    next(&mut svids).await;
    server.renew_with(former);
    server.clock.advance(Duration::from_secs(11 * 60));
    let renewed = next(&mut svids).await;
    assert_ne!(renewed.svids[0].x509_svid, first.svids[0].x509_svid);
    assert_eq!(names(&renewed.svids[0].bundle), ["root 1", "root 2"]);
}

/// Shows: WAPI-35.
#[tokio::test(flavor = "multi_thread")]
async fn our_own_client_drops_what_the_next_message_does_not_hold() {
    let server = StandIn::start().await;
    let second = server.root("root 2");
    server.change_silently(|bundle| bundle.x509_authorities.push(second));
    let agent = server.agent().await;
    let written = server.folder.path().join("written");
    let mut client = Command::new(env!("CARGO_BIN_EXE_lanyard"))
        .args(["svid", "x509", "--watch", "--endpoint", &agent.endpoint(), "--write"])
        .arg(&written)
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let roots = || fs::read_to_string(written.join("svid_bundle.pem")).unwrap_or_default().matches("BEGIN").count();
    until(|| roots() == 2).await;
    server.change(|bundle| bundle.x509_authorities.truncate(1));
    until(|| roots() == 1).await;
    client.kill().await.unwrap();
}

/// Shows: FED-2.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_says_which_bundle_it_has_taken_into_use_and_not_that_it_was_told_of_one() {
    let server = StandIn::start().await;
    let _agent = server.agent().await;
    let root = server.root("root 2");
    let former = server.change(|bundle| bundle.x509_authorities.push(root));
    server.hears_of(former.sequence + 1).await;
    server.tell(&former);
    server.change(|bundle| bundle.jwt_authorities.push(jwt_authority("j2")));
    server.hears_of(former.sequence + 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_svid_under_a_tainted_key_is_renewed_at_once() {
    let server = StandIn::start().await;
    let agent = server.agent().await;
    let mut stream = within(agent.workload().fetch_x509svid(asked(X509svidRequest {}))).await.unwrap().into_inner();
    let first = next(&mut stream).await.svids[0].x509_svid.clone();
    server.taint();
    // A second at a time, since the agent hears it when it hears it; the usual renewal is far off.
    let mut renewed = first.clone();
    for _ in 0..200 {
        server.clock.advance(Duration::from_secs(1));
        if let Ok(told) = tokio::time::timeout(Duration::from_millis(20), stream.message()).await {
            renewed = told.unwrap().unwrap().svids[0].x509_svid.clone();
            break;
        }
    }
    assert_ne!(renewed, first);
}
