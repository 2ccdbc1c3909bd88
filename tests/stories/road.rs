//! A token and a CSR go in, an SVID comes out, and everything about it is on record.

use crate::support::harness::{Harness, POLICY, chain, csr, start};
use crate::support::issuer::AUDIENCE;
use lanyard::crypto::Digest;
use lanyard::issuance::Credential;
use lanyard::svid::{inspect_certificate, validate_jwt_svid};
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Shows: ID-19.
#[tokio::test]
async fn a_token_becomes_an_svid_that_names_project_and_pipeline() {
    let harness = Harness::new().await;
    let issued = harness.exchange_by_csr(&harness.issuer.token(start()), csr()).await.unwrap();
    let facts = inspect_certificate(&chain(&issued)[0]).unwrap();
    assert_eq!(facts.spiffe_id.as_str(), "spiffe://ci.example.org/acme/payments/api/-/pipelines/574");
    assert_eq!(facts.not_after, start() + Duration::from_secs(900));
    assert_eq!(issued.limited_by().as_str(), "ttl");
}

/// Shows: X509-16, X509-25.
#[tokio::test]
async fn the_chain_ends_at_the_published_root_and_leaves_it_out() {
    let harness = Harness::new().await;
    let issued = harness.exchange_by_csr(&harness.issuer.token(start()), csr()).await.unwrap();
    let bundle = harness.issuance().authorities.published().borrow().bundle.clone();
    let [leaf, intermediate] = &chain(&issued)[..] else { panic!("a leaf and an intermediate") };
    let [root] = &bundle.x509_authorities[..] else { panic!("one root") };
    let parse =
        |der: &'_ [u8]| X509Certificate::from_der(der).map(|(_, certificate)| certificate.subject_pki.raw.to_vec());
    let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
    let (_, above) = X509Certificate::from_der(intermediate).unwrap();
    let (_, anchor) = X509Certificate::from_der(root).unwrap();
    leaf.verify_signature(Some(above.public_key())).unwrap();
    above.verify_signature(Some(anchor.public_key())).unwrap();
    assert_ne!(parse(intermediate).unwrap(), parse(root).unwrap());
}

#[tokio::test]
async fn every_identity_is_on_record_before_it_is_handed_out() {
    let harness = Harness::new().await;
    let token = harness.issuer.token(start());
    let issued = harness.exchange_by_csr(&token, csr()).await.unwrap();
    let facts = inspect_certificate(&chain(&issued)[0]).unwrap();
    let (request_id, digest) = (issued.request_id().to_owned(), Digest::of(&chain(&issued)[0]));
    let journal = harness.journal();
    let intent = journal.lines().position(|line| line.contains(r#""kind":"intent""#)).unwrap();
    let issued = journal.lines().position(|line| line.contains(r#""kind":"issued""#)).unwrap();
    assert!(intent < issued);
    let intent = journal.lines().nth(intent).unwrap();
    for part in [request_id, facts.serial.to_string(), facts.spiffe_id.to_string(), "every project".to_owned()] {
        assert!(intent.contains(&part), "{part} is not in {intent}");
    }
    assert!(journal.lines().nth(issued).unwrap().contains(&digest.to_string()));
}

#[tokio::test]
async fn a_rule_on_trial_is_heard_and_recorded_and_decides_nothing() {
    let trial = r#"
[[rule]]
name = "by number, on trial"
id = "/projects/{project_id}/-/pipelines/{pipeline_id}"
observe = true
[rule.when]
issuer = "corp"
project_path = "acme/**"
namespace_id = 72
"#;
    let harness = Harness::with(&format!("{trial}{POLICY}{}", trial.replace("trial", "late trial")), "memory").await;
    let issued = harness.exchange_by_csr(&harness.issuer.token(start()), csr()).await.unwrap();
    assert!(issued.spiffe_id().as_str().ends_with("/acme/payments/api/-/pipelines/574"));
    let journal = harness.journal();
    let observed: Vec<_> = journal.lines().filter(|line| line.contains(r#""kind":"observed""#)).collect();
    let [observed] = observed[..] else { panic!("one rule stands before the one that decides: {journal}") };
    for part in [issued.request_id(), "by number, on trial", r#""would":"spiffe://ci.example.org/projects/"#] {
        assert!(observed.contains(part), "{part} is not in {observed}");
    }
}

#[tokio::test]
async fn neither_token_nor_key_stands_in_the_journal() {
    let harness = Harness::new().await;
    let token = harness.issuer.token(start());
    harness.exchange_by_csr(&token, csr()).await.unwrap();
    let signature = token.rsplit('.').next().unwrap();
    let journal = harness.journal();
    assert!(!journal.contains(signature) && !journal.contains("PRIVATE"));
}

#[tokio::test]
async fn a_token_for_another_audience_buys_nothing_and_says_what_to_write() {
    let harness = Harness::new().await;
    let token = harness.issuer.token_with(start(), "aud", "https://vault.example.com");
    let refusal = harness.exchange_by_csr(&token, csr()).await.unwrap_err();
    assert_eq!(refusal.code(), "token_audience_wrong");
    assert!(refusal.to_string().contains(AUDIENCE), "{refusal}");
}

#[tokio::test]
async fn a_token_used_too_long_after_it_was_minted_buys_nothing() {
    let harness = Harness::new().await;
    let mut claims = harness.issuer.claims(start());
    claims.insert("exp".to_owned(), (start().unix_timestamp() + 30 * 86_400).into());
    let token = harness.issuer.mint(&claims);
    harness.advance(3600 + 31);
    assert_eq!(harness.exchange_by_csr(&token, csr()).await.unwrap_err().code(), "token_too_old");
}

/// Shows: ID-17.
#[tokio::test]
async fn a_project_that_took_over_a_path_does_not_take_over_its_identity() {
    let harness = Harness::new().await;
    harness.exchange_by_csr(&harness.issuer.token(start()), csr()).await.unwrap();
    let mut claims = harness.issuer.claims(start());
    for name in ["project_id", "job_project_id"] {
        claims.insert(name.to_owned(), "9999".into());
    }
    let refusal = harness.exchange_by_csr(&harness.issuer.mint(&claims), csr()).await.unwrap_err();
    assert_eq!(refusal.code(), "project_path_reused");
    let mut claims = harness.issuer.claims(start());
    claims.insert("project_path".to_owned(), "Acme/Payments/API".into());
    claims.insert("job_project_path".to_owned(), "Acme/Payments/API".into());
    claims.insert("sub".to_owned(), "project_path:Acme/Payments/API:ref_type:branch:ref:main".into());
    for name in ["project_id", "job_project_id"] {
        claims.insert(name.to_owned(), "9998".into());
    }
    let refusal = harness.exchange_by_csr(&harness.issuer.mint(&claims), csr()).await.unwrap_err();
    assert_eq!(refusal.code(), "project_path_reused", "the case of a path makes no other project");
}

/// Shows: JWT-16, JWT-17, JWT-19, JWT-22.
#[tokio::test]
async fn a_jwt_svid_verifies_against_the_published_bundle() {
    let harness = Harness::new().await;
    let agent = crate::support::harness::Agent::new();
    let issued = harness.jwt(&harness.issuer.token(start()), "https://service.test", Some(&agent)).await.unwrap();
    let Credential::Jwt(jwt) = issued.credential() else { panic!("a JWT-SVID was asked for") };
    let bundle = harness.issuance().authorities.published().borrow().bundle.clone();
    let (id, claims) = validate_jwt_svid(jwt, "https://service.test", &[&bundle], harness.now()).unwrap();
    assert_eq!(&id, issued.spiffe_id());
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
}

/// Shows: JWT-18, WAPI-27.
#[tokio::test]
async fn an_audience_that_no_rule_names_is_refused() {
    let harness = Harness::new().await;
    let agent = crate::support::harness::Agent::new();
    let refusal = harness.jwt(&harness.issuer.token(start()), "https://other.test", Some(&agent)).await.unwrap_err();
    assert_eq!(refusal.code(), "audience_not_granted");
}

/// Shows: WAPI-27.
#[tokio::test]
async fn several_audiences_share_a_jwt_svid_only_where_the_rule_says_so() {
    let both = ["https://one.test", "https://two.test"];
    let granting = |more: &str| POLICY.replace(r#"["https://service.test"]"#, &format!("{both:?}{more}"));
    let agent = crate::support::harness::Agent::new();
    let harness = Harness::with(&granting(""), "memory").await;
    let refusal = harness.jwt_for(&harness.issuer.token(start()), &both, Some(&agent)).await.unwrap_err();
    assert_eq!(refusal.code(), "too_many_audiences");

    let harness = Harness::with(&granting("\nmulti_audience = true"), "memory").await;
    let issued = harness.jwt_for(&harness.issuer.token(start()), &both, Some(&agent)).await.unwrap();
    let Credential::Jwt(jwt) = issued.credential() else { panic!("a JWT-SVID was asked for") };
    let bundle = harness.issuance().authorities.published().borrow().bundle.clone();
    for audience in both {
        validate_jwt_svid(jwt, audience, &[&bundle], harness.now()).unwrap();
    }
    let (token, one_is_not) = (harness.issuer.token(start()), [both[0], "https://service.test"]);
    let refusal = harness.jwt_for(&token, &one_is_not, Some(&agent)).await.unwrap_err();
    assert_eq!(refusal.code(), "audience_not_granted", "never a subset");
}

#[tokio::test]
async fn a_token_alone_buys_no_jwt_svid_unless_the_rule_says_so() {
    let harness = Harness::new().await;
    let refusal = harness.jwt(&harness.issuer.token(start()), "https://service.test", None).await.unwrap_err();
    assert_eq!(refusal.code(), "jwt_needs_key");
}

#[tokio::test]
async fn a_stranger_on_a_shared_gitlab_gets_nothing_and_leaves_no_entry() {
    let harness = Harness::whose_issuer_says("namespaces = [\"acme\"]", POLICY, "memory").await;
    harness.exchange_by_csr(&harness.issuer.token(start()), csr()).await.unwrap();
    let mut claims = harness.issuer.claims(start());
    for (name, value) in [("project_path", "evil/payments/api"), ("job_project_path", "evil/payments/api")] {
        claims.insert(name.to_owned(), value.into());
    }
    claims.insert("sub".to_owned(), "project_path:evil/payments/api:ref_type:branch:ref:main".into());
    let refusal = harness.exchange_by_csr(&harness.issuer.mint(&claims), csr()).await.unwrap_err();
    assert_eq!(refusal.code(), "namespace_not_listed");
    assert!(!harness.journal().contains("evil"));
}
