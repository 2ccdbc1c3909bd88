//! What a job gets when the rule that speaks needs the directory.

use crate::domain::{BASE, Domain};
use crate::scene::{Scene, Told, dn, link};
use crate::support::harness::Agent;
use serde_json::json;

const ENABLED: &str = "\"directory.enabled\" = true";

#[tokio::test]
async fn a_job_of_a_person_whose_account_is_open_gets_its_identity_and_others_get_none() {
    let domain = Domain::new();
    let scene = Scene::of(&domain, &Told::default(), ENABLED).await;
    let agent = Agent::new();
    let token = |user_id, name| scene.harness.issuer.mint(&scene.claims(user_id, link(&dn(name))));
    scene.harness.exchange(&token(51, "alice"), &agent).await.unwrap();
    let refusal = scene.harness.exchange(&token(52, "bob"), &agent).await.unwrap_err();
    assert_eq!(refusal.code(), "need_failed");
    assert!(refusal.to_string().contains("the account is disabled"), "{refusal}");
    let journal = scene.harness.journal();
    let remembered: Vec<_> = journal.lines().filter(|line| line.contains(r#""kind":"account_remembered""#)).collect();
    assert_eq!(remembered.len(), 1, "of bob nothing is remembered: {remembered:?}");
    assert!(journal.contains(r#""facts":{"directory.enabled":{"is":true}}"#));
    assert!(!journal.contains(crate::domain::PASSWORD));
}
