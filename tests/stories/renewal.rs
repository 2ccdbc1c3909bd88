//! A session is renewed by its key alone, by today's rules, for as long as its token allows.

use crate::support::harness::{Agent, Harness, POLICY, start};
use lanyard::store::{Commit, Room, Store, Write};
use lanyard::telemetry::chain;
use serde_json::value::RawValue;
use std::time::Duration;

#[tokio::test]
async fn a_session_renews_until_its_token_expires_and_the_last_svid_ends_with_it() {
    let harness = Harness::new().await;
    let agent = Agent::new();
    let session = harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap().session().unwrap().to_owned();
    for _ in 0..5 {
        harness.advance(500);
        let renewed = harness.renew(&session, &agent).await.unwrap();
        assert_eq!(renewed.not_after(), harness.now() + Duration::from_secs(900));
    }
    harness.advance(500);
    let last = harness.renew(&session, &agent).await.unwrap();
    assert_eq!((last.not_after(), last.limited_by().as_str()), (start() + Duration::from_secs(3600), "session"));
    harness.advance(600);
    assert_eq!(harness.renew(&session, &agent).await.unwrap_err().code(), "session_ended");
}

#[tokio::test]
async fn another_key_cannot_renew_a_session() {
    let harness = Harness::new().await;
    let session =
        harness.exchange(&harness.issuer.token(start()), &Agent::new()).await.unwrap().session().unwrap().to_owned();
    assert_eq!(harness.renew(&session, &Agent::new()).await.unwrap_err().code(), "session_not_yours");
}

#[tokio::test]
async fn a_session_survives_the_restart_of_the_server() {
    let harness = Harness::with(POLICY, "sled").await;
    let agent = Agent::new();
    let session = harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap().session().unwrap().to_owned();
    let harness = harness.restarted(None).await;
    harness.renew(&session, &agent).await.unwrap();
}

#[tokio::test]
async fn renewal_is_decided_by_the_rules_of_today() {
    let harness = Harness::with(POLICY, "sled").await;
    let agent = Agent::new();
    let session = harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap().session().unwrap().to_owned();
    let elsewhere = POLICY.replace("[rule.when]", "[rule.when]\nproject_id = 1");
    let harness = harness.restarted(Some(&elsewhere)).await;
    assert_eq!(harness.renew(&session, &agent).await.unwrap_err().code(), "no_rule_matches");
    let renamed = POLICY.replace("/-/pipelines/", "/-/builds/");
    let harness = harness.restarted(Some(&renamed)).await;
    assert_eq!(harness.renew(&session, &agent).await.unwrap_err().code(), "identity_changed");
}

#[tokio::test]
async fn the_intermediate_is_replaced_long_before_it_ends_and_the_bundle_does_not_change() {
    let mut harness = Harness::new().await;
    let before = harness.issuance().authorities.published().borrow().json.clone();
    let ends = harness.issuance().authorities.signer_ends_at();
    harness.advance(12 * 3600);
    harness.next_intermediate_signs().await;
    assert!(harness.issuance().authorities.signer_ends_at() > ends);
    assert_eq!(harness.issuance().authorities.published().borrow().json, before);
    let harness = harness.restarted(None).await;
    assert!(harness.issuance().authorities.signer_ends_at() > ends, "the new key was kept");
}

#[tokio::test]
async fn a_rule_of_tomorrow_adds_no_identity_to_a_session_of_today() {
    let harness = Harness::with(POLICY, "sled").await;
    let agent = Agent::new();
    let session = harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap().session().unwrap().to_owned();
    let other = POLICY.replace("every project, its pipelines", "another rule").replace(
        "id = \"/{project_path}/-/pipelines/{pipeline_id}\"",
        "svid = [{ profile = \"istio\", id = \"/{project_path}/-/builds/{pipeline_id}\" }]",
    );
    let harness = harness.restarted(Some(&other)).await;
    assert_eq!(harness.renew(&session, &agent).await.unwrap_err().code(), "identity_changed");
}

#[tokio::test]
async fn a_session_kept_by_a_newer_version_is_not_guessed_at() {
    let harness = Harness::new().await;
    let agent = Agent::new();
    let token = harness.issuer.token(start());
    let session = harness.exchange(&token, &agent).await.unwrap().session().unwrap().to_owned();
    let (key, store) = (format!("session/{session}"), &harness.parts.store);
    let newer = store.read(&key).unwrap().unwrap().value.get().replacen(r#"{"v":1,"#, r#"{"v":2,"new":[],"#, 1);
    let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
    let writes = vec![Write::Put(key, raw(&newer))];
    store
        .commit(Commit {
            room: Room::Common,
            conditions: vec![],
            writes,
            entry: raw(r#"{"kind":"test"}"#),
            without_quorum: None,
        })
        .await
        .unwrap();
    let [renewed, exchanged] = [harness.renew(&session, &agent).await, harness.exchange(&token, &agent).await];
    for refusal in [renewed.unwrap_err(), exchanged.unwrap_err()] {
        assert_eq!(refusal.code(), "store_unavailable");
        let why = chain(&refusal);
        assert!(why.contains("it is of version 2, written by a newer lanyard than this one"), "{why}");
    }
    let swept = harness.issuance().sessions.sweep(&harness.issuance().ledger, start()).await.unwrap();
    assert_eq!(swept.dropped, 0, "it is left for whoever can read it");
}
