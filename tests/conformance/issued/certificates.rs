//! X509-SVIDs and the IDs in them.

use crate::support::harness::{Agent, Harness, POLICY, chain, start};
use lanyard::svid::{inspect_authority, inspect_certificate, validate_jwt_svid};
use std::time::Duration;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// A policy whose IDs are so many bytes long in the harness's trust domain, for a pipeline of one digit.
fn policy_of(bytes: usize) -> String {
    let fixed = "spiffe://ci.example.org/acme/payments/api/-//1".len();
    POLICY.replace("/-/pipelines/{pipeline_id}", &format!("/-/{}/{{pipeline_id}}", "a".repeat(bytes - fixed)))
}

/// Shows: ID-14.
#[tokio::test]
async fn an_id_of_2048_bytes_is_issued_and_one_byte_more_is_refused_before_anything_is_signed() {
    let harness = Harness::with(&policy_of(2048), "memory").await;
    let longest = harness.issuer.token_with(start(), "pipeline_id", "1");
    let issued = harness.exchange(&longest, &Agent::new()).await.unwrap();
    let facts = inspect_certificate(&chain(&issued)[0]).unwrap();
    assert_eq!((facts.spiffe_id.as_str().len(), &facts.spiffe_id), (2048, issued.spiffe_id()));
    let longer = harness.issuer.token_with(start(), "pipeline_id", "12");
    let refusal = harness.exchange(&longer, &Agent::new()).await.unwrap_err();
    assert_eq!(refusal.code(), "id_does_not_fit", "{refusal}");
    assert_eq!(harness.journal().matches(r#""kind":"intent""#).count(), 1, "one draft, and none for the second");
}

/// Shows: ID-20.
#[tokio::test]
async fn a_gitlab_token_is_no_svid_whatever_its_subject() {
    let harness = Harness::new().await;
    let bundle = harness.issuance().authorities.published().borrow().bundle.clone();
    for subject in ["project_path:acme/payments/api:ref_type:branch:ref:main", "spiffe://ci.example.org/acme/api"] {
        let token = harness.issuer.token_with(start(), "sub", subject);
        let audience = crate::support::issuer::AUDIENCE;
        assert!(validate_jwt_svid(&token, audience, &[&bundle], start()).is_err(), "{subject}");
    }
}

/// Shows: X509-5, X509-6, X509-7, ID-18.
#[tokio::test]
async fn a_signing_certificate_names_its_trust_domain_and_is_nobodys_identity() {
    let harness = Harness::new().await;
    let issued = harness.exchange(&harness.issuer.token(start()), &Agent::new()).await.unwrap();
    let bundle = harness.issuance().authorities.published().borrow().bundle.clone();
    for authority in [&chain(&issued)[1], &bundle.x509_authorities[0].to_vec()] {
        inspect_certificate(authority).unwrap_err();
        let authority = read(authority);
        assert!(authority.is_ca() && !authority.key_usage().unwrap().unwrap().value.digital_signature());
        let names = &authority.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert!(matches!(names[..], [GeneralName::URI("spiffe://ci.example.org")]), "{names:?}");
    }
}

/// Shows: X509-21.
#[tokio::test]
async fn a_leaf_begins_a_little_in_the_past_and_ends_with_its_session_and_its_issuer() {
    let harness = Harness::new().await;
    let (agent, token) = (Agent::new(), harness.issuer.token(start()));
    let first = inspect_certificate(&chain(&harness.exchange(&token, &agent).await.unwrap())[0]).unwrap();
    assert!(first.not_before <= start() && first.not_before >= start() - Duration::from_secs(60));
    harness.advance(3000);
    let issued = harness.exchange(&token, &agent).await.unwrap();
    let [leaf, signer] = &chain(&issued)[..] else { panic!("a leaf and its signer") };
    let leaf = inspect_certificate(leaf).unwrap();
    assert_eq!(leaf.not_after, start() + Duration::from_secs(3600), "with the token, not with the rule's ttl");
    assert!(leaf.not_after <= inspect_authority(signer).unwrap().not_after);
}

/// Shows: X509-23.
#[tokio::test]
async fn each_generation_of_signers_has_a_name_and_a_key_identifier_of_its_own() {
    let mut harness = Harness::new().await;
    let agent = Agent::new();
    let before = chain(&harness.exchange(&harness.issuer.token(start()), &agent).await.unwrap());
    harness.advance(12 * 3600);
    harness.next_intermediate_signs().await;
    let now = harness.now();
    let after = chain(&harness.exchange(&harness.issuer.token(now), &agent).await.unwrap());
    let [former, present] = [&before, &after].map(|chain| {
        let (leaf, signer) = (read(&chain[0]), read(&chain[1]));
        assert_eq!(leaf.issuer(), signer.subject());
        let named = signer.iter_extensions().find_map(|extension| key_identifier(extension.parsed_extension()));
        assert_eq!(Some(inspect_certificate(&chain[0]).unwrap().authority_key_identifier), named);
        (signer.subject().to_string(), named)
    });
    assert!(former.0 != present.0 && former.1 != present.1, "{former:?} {present:?}");
}

fn read(der: &[u8]) -> X509Certificate<'_> {
    X509Certificate::from_der(der).unwrap().1
}

fn key_identifier(extension: &ParsedExtension<'_>) -> Option<Vec<u8>> {
    if let ParsedExtension::SubjectKeyIdentifier(id) = extension { Some(id.0.to_vec()) } else { None }
}
