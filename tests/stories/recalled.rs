//! Requests of the past, explained from the journal.

use crate::support::harness::{Agent, Harness, POLICY};
use serde_json::{Value, json};

const PRODUCTION: &str = r#"
[[rule]]
name = "production"
id = "/{project_path}/-/environments/production/pipelines/{pipeline_id}"
[rule.when]
issuer = "corp"
namespace_id = 72
project_path = "acme/payments/api"
environment = "production"
"#;

/// The id of the journal's last request.
fn last_request(harness: &Harness) -> String {
    let journal = harness.journal();
    let (_, id) = journal.rsplit_once(r#""request_id":""#).unwrap();
    id.split('"').next().unwrap().to_owned()
}

async fn recalled(harness: &Harness, id: &str) -> Value {
    let recalled = harness.issuance().recall(id).await.unwrap().unwrap();
    serde_json::from_str(&serde_json::to_string(&recalled).unwrap()).unwrap()
}

#[tokio::test]
async fn a_refused_request_is_walked_again_with_the_verdict_of_then() {
    let harness = Harness::with(PRODUCTION, "memory").await;
    harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap_err();
    let id = last_request(&harness);
    let walk = recalled(&harness, id.get(..8).unwrap()).await;
    assert_eq!(walk["verdict"]["code"], json!("no_rule_matches"));
    assert_eq!((&walk["verdict"]["nearest"], &walk["policy_changed"]), (&json!("production"), &json!(false)));
    let terms = walk["rules"][0]["terms"].as_array().unwrap();
    let term = |claim: &str| terms.iter().find(|term| term["claim"] == claim).unwrap();
    assert_eq!((&term("project_path")["passes"], &term("environment")["passes"]), (&json!(true), &json!(false)));
    assert_eq!(walk["entries"][0]["request_id"], json!(id));
    assert!(harness.issuance().recall("0000000000").await.unwrap().is_none());
}

#[tokio::test]
async fn a_granted_request_has_all_its_claims_and_its_id_under_a_changed_policy_too() {
    let harness = Harness::with(POLICY, "memory").await;
    harness.exchange(&harness.issuer.token(harness.now()), &Agent::new()).await.unwrap();
    let id = last_request(&harness);
    let harness = harness.restarted(Some(PRODUCTION)).await;
    let walk = recalled(&harness, &id).await;
    assert_eq!((&walk["verdict"]["outcome"], &walk["policy_changed"]), (&json!("granted"), &json!(true)));
    assert_eq!(walk["verdict"]["spiffe_id"], json!("spiffe://ci.example.org/acme/payments/api/-/pipelines/574"));
    let terms = walk["rules"][0]["terms"].as_array().unwrap();
    assert!(terms.iter().all(|term| term["recorded"] == true), "{terms:?}");
    assert_eq!(terms.iter().find(|term| term["claim"] == "namespace_id").unwrap()["got"], json!("72"));
}

#[tokio::test]
async fn a_request_is_found_in_its_own_segment_and_older_ones_are_not_read() {
    let harness = Harness::new().await.of_short_segments().await;
    let agent = Agent::new();
    for _ in 0..24 {
        harness.exchange(&harness.issuer.token(harness.now()), &agent).await.unwrap();
    }
    let renewed = harness.exchange(&harness.issuer.token(harness.now()), &agent).await.unwrap();
    for _ in 0..6 {
        harness.renew(renewed.session().unwrap(), &agent).await.unwrap();
    }
    let (segments, intents) = (harness.segments(), harness.entries("intent"));
    assert!(segments.len() > 5 && intents.len() == 31, "{} segments, {} intents", segments.len(), intents.len());
    let id = |at: usize| intents[at]["request_id"].as_str().unwrap();
    for at in 0..intents.len() {
        let walk = recalled(&harness, id(at).get(..8).unwrap()).await;
        let kinds: Vec<_> = walk["entries"].as_array().unwrap().iter().map(|entry| &entry["kind"]).collect();
        // The first job of a path pins it.
        let wanted = ["pin_changed", "intent", "issued"].map(Value::from);
        assert_eq!(kinds, wanted.iter().skip((at > 0).into()).collect::<Vec<_>>(), "request {at}");
        let terms = walk["rules"][0]["terms"].as_array().unwrap();
        assert!(terms.iter().all(|term| term["recorded"] == true), "request {at}: {terms:?}");
    }
    // What lies before is not looked into for the newest.
    std::fs::write(&segments[0], format!("no record \"request_id\":\"{}\"\n", id(30))).unwrap();
    assert_eq!(recalled(&harness, id(30)).await["verdict"]["outcome"], json!("granted"));
    let gone = intents[0]["request_id"].as_str().unwrap();
    assert!(harness.issuance().recall(gone).await.unwrap().is_none());
}
