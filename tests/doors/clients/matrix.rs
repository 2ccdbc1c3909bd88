//! What every client lives through, all four at the same time on one agent.

use super::{Client, every_client};
use crate::issuer::{BY_RS256, ID};
use crate::running::{Running, eventually, within};
use lanyard::agent::OnStop;
use lanyard::crypto::JwsAlgorithm;
use lanyard::svid::inspect_jwt;
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::Code;
use zeroize::Zeroizing;

const SERVICE: &str = "https://service.test";

/// The clients, each watching, and the serial that each saw first.
async fn watching(agent: &Running) -> Vec<(Client, String)> {
    let mut clients = Vec::new();
    for mut client in every_client(agent).await {
        client.tell("watch a");
        let serial = client.sees_another_than("", "a").await;
        clients.push((client, serial));
    }
    clients
}

/// The token with its signature's first letter changed.
fn forged(token: &str) -> String {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let rest: String = signature.chars().skip(1).collect();
    format!("{signed}.{other}{rest}")
}

/// Shows: RUN-1, EP-1, EP-5, EP-8, EP-18, WAPI-1, WAPI-2, WAPI-18, WAPI-31.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_gets_both_kinds_both_bundles_and_a_validation() {
    let agent = Running::logged_in().await;
    for mut client in every_client(&agent).await {
        client.gets("x509_svid", &json!({"spiffe_id": ID, "chain": 2})).await;
        for (bundles, authorities) in [("x509_bundles", 1), ("jwt_bundles", 2)] {
            client.gets(bundles, &json!({"trust_domains": ["ci.example.org"], "authorities": authorities})).await;
        }
        let wanted = json!({"spiffe_id": ID, "audience": [SERVICE]});
        let answer = client.gets(&format!("jwt_svid {SERVICE}"), &wanted).await;
        let token = answer["token"].as_str().unwrap();
        client.gets(&format!("validate {token} {SERVICE}"), &json!({"spiffe_id": ID})).await;
        client.is_refused(&format!("validate {token} https://other.test"), Code::InvalidArgument).await;
        client.is_refused(&format!("validate {} {SERVICE}", forged(token)), Code::InvalidArgument).await;
    }
}

/// Both algorithms' keys stand in one bundle.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_believes_tokens_of_either_algorithm_by_one_bundle() {
    let agent = Running::logged_in().await;
    for mut client in every_client(&agent).await {
        for (audience, algorithm) in [(SERVICE, JwsAlgorithm::Es256), (BY_RS256, JwsAlgorithm::Rs256)] {
            let answer = client.gets(&format!("jwt_svid {audience}"), &json!({"spiffe_id": ID})).await;
            let token = answer["token"].as_str().unwrap();
            assert_eq!(inspect_jwt(token).unwrap().algorithm, algorithm);
            client.gets(&format!("validate {token} {audience}"), &json!({"spiffe_id": ID})).await;
            client.is_refused(&format!("validate {} {audience}", forged(token)), Code::InvalidArgument).await;
        }
    }
}

/// Shows: WAPI-27.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_gets_one_token_for_several_audiences_only_where_the_rule_says_so() {
    let agent = Running::logged_in().await;
    let both = ["https://one.test", "https://two.test"];
    let ask = format!("jwt_svid {} {}", both[0], both[1]);
    let mut clients = every_client(&agent).await;
    for client in &mut clients {
        let why = client.is_refused(&ask, Code::PermissionDenied).await;
        assert!(why.contains("one audience a token"), "{}: {why}", client.name);
    }
    agent.issuer.several_audiences.store(true, Ordering::SeqCst);
    for client in &mut clients {
        let answer = client.gets(&ask, &json!({"spiffe_id": ID, "audience": both})).await;
        let token = answer["token"].as_str().unwrap();
        for audience in both {
            client.gets(&format!("validate {token} {audience}"), &json!({"spiffe_id": ID})).await;
        }
        client.is_refused(&format!("validate {token} {SERVICE}"), Code::InvalidArgument).await;
    }
}

/// Shows: WAPI-7.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_sees_renewals_over_an_open_stream() {
    let agent = Running::start().await;
    let mut clients = every_client(&agent).await;
    agent.issuer.lifetime.store(6, Ordering::SeqCst);
    agent.login("good").await.unwrap();
    for client in &clients {
        client.tell("watch a");
    }
    for client in &mut clients {
        let first = client.sees_another_than("", "a").await;
        let second = client.sees_another_than(&first, "a").await;
        let third = client.sees_another_than(&second, "a").await;
        assert_ne!(third, first, "{}", client.name);
        assert!(!client.has_said("watch_error", "a"), "{}: the stream was cut", client.name);
    }
    assert_eq!(agent.issuer.exchanges.load(Ordering::SeqCst), 1, "renewed, not exchanged again");
}

/// Shows: EP-12.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_keeps_the_last_good_svid_while_the_server_is_away_and_gets_the_next_one_after() {
    let agent = Running::start().await;
    agent.issuer.lifetime.store(20, Ordering::SeqCst);
    let mut clients = every_client(&agent).await;
    agent.login("good").await.unwrap();
    agent.issuer.away.store(true, Ordering::SeqCst);
    for client in &clients {
        client.tell("watch a");
    }
    let mut known = Vec::new();
    for client in &mut clients {
        known.push(client.sees_another_than("", "a").await);
    }
    within(eventually(|| agent.issuer.renewals.load(Ordering::SeqCst) > 0)).await;
    for (client, serial) in clients.iter_mut().zip(&known) {
        client.gets("x509_svid", &json!({"spiffe_id": ID, "serial": serial})).await;
        client.gets("jwt_bundles", &json!({"authorities": 2})).await;
        client.is_refused(&format!("jwt_svid {SERVICE}"), Code::Unavailable).await;
    }
    agent.issuer.away.store(false, Ordering::SeqCst);
    for (client, serial) in clients.iter_mut().zip(&known) {
        let next = client.sees_another_than(serial, "a").await;
        assert!(!client.has_said("watch_error", "a"), "{}: the stream was cut", client.name);
        client.gets("x509_svid", &json!({"spiffe_id": ID, "serial": next})).await;
        client.gets(&format!("jwt_svid {SERVICE}"), &json!({"spiffe_id": ID})).await;
    }
}

/// Shows: RUN-2, WAPI-10.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_finds_a_restarted_agent_and_goes_on_with_the_session() {
    let agent = Running::logged_in().await;
    let mut clients = watching(&agent).await;
    agent.trigger.pull();
    within(agent.ended).await.unwrap();
    for (client, _) in &mut clients {
        client.is_refused("x509_svid", Code::Unavailable).await;
        if client.name == "go-spiffe" {
            // The one that tells its caller how a stream ended.
            assert_eq!(client.hear("watch_error").await["code"], i32::from(Code::Unavailable));
        }
    }
    let again = Running::start_in(agent.folder, agent.issuer, (agent.server, agent.trust), OnStop::KeepSession);
    for (client, serial) in &mut clients {
        let next = client.sees_another_than(serial, "a").await;
        assert!(!client.has_said("watch_ended", "a"), "{}: gave up", client.name);
        client.gets("x509_svid", &json!({"spiffe_id": ID, "serial": next})).await;
    }
    assert_eq!(again.issuer.exchanges.load(Ordering::SeqCst), 1, "the same session");
}

/// Shows: RUN-2, EP-13, WAPI-22.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_hears_the_end_of_its_identity_and_takes_the_next_one() {
    let agent = Running::logged_in().await;
    let mut clients = watching(&agent).await;
    within(eventually(|| agent.issuer.tell.receiver_count() > 0)).await;
    agent.issuer.end();
    for (client, _) in &mut clients {
        client.knows_on_its_stream("no identity issued").await;
        let why = client.is_refused("x509_svid", Code::PermissionDenied).await;
        assert!(why.contains("no identity issued"), "{}: {why}", client.name);
        client.is_refused(&format!("jwt_svid {SERVICE}"), Code::PermissionDenied).await;
        client.is_refused("x509_bundles", Code::PermissionDenied).await;
    }
    assert_eq!(agent.login("another").await.unwrap().session, "s2");
    for (client, serial) in &mut clients {
        let next = client.sees_another_than(serial, "a").await;
        assert!(!client.has_said("watch_ended", "a"), "{}: gave up", client.name);
        client.gets("x509_svid", &json!({"spiffe_id": ID, "serial": next})).await;
    }
}

/// Shows: RUN-3.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_that_was_there_before_the_identity_gets_it_with_its_first_call() {
    let agent = Running::start().await;
    agent.issuer.away.store(true, Ordering::SeqCst);
    let mut clients = every_client(&agent).await;
    for client in &clients {
        client.tell("watch a");
        client.tell("x509_svid");
    }
    let handle = agent.handle.clone();
    let login = tokio::spawn(async move { handle.login(Zeroizing::new("good".to_owned())).await });
    // Time to do wrong: all of them have asked by then.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for client in &mut clients {
        assert!(client.is_silent(), "{}: {:?}", client.name, client.unheard);
    }
    agent.issuer.away.store(false, Ordering::SeqCst);
    for client in &mut clients {
        client.answers("x509_svid", &json!({"spiffe_id": ID})).await;
        client.sees_another_than("", "a").await;
        assert!(!client.has_said("watch_error", "a"), "{}", client.name);
        client.gets(&format!("jwt_svid {SERVICE}"), &json!({"spiffe_id": ID})).await;
    }
    within(login).await.unwrap().unwrap();
}

/// Shows: WAPI-6, WAPI-7.
#[tokio::test(flavor = "multi_thread")]
async fn every_client_is_told_of_new_authorities_and_keeps_its_svid() {
    let agent = Running::logged_in().await;
    let mut clients = watching(&agent).await;
    within(eventually(|| agent.issuer.tell.receiver_count() > 0)).await;
    agent.issuer.announce_authorities();
    for (client, serial) in &mut clients {
        assert_eq!(client.hear("update").await["serial"], *serial, "{}", client.name);
        for (bundles, authorities) in [("x509_bundles", 2), ("jwt_bundles", 4)] {
            client.gets(bundles, &json!({"trust_domains": ["ci.example.org"], "authorities": authorities})).await;
        }
    }
}
