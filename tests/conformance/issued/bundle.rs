//! The bundle that we publish: nothing in it that could take a reader down.

use crate::support::harness::{Harness, POLICY};
use lanyard::bundle::Jwk;
use lanyard::crypto::Digest;
use serde_json::Value;
use std::collections::BTreeSet;

/// Shows: RUN-4, JWT-22, TDB-10, TDB-11, TDB-13, TDB-17, TDB-18, TDB-19, TDB-26, WIT-9.
#[tokio::test]
async fn every_entry_has_the_members_of_its_use_a_known_key_type_and_nothing_private() {
    let harness = Harness::new().await;
    let document = harness.issuance().authorities.published().borrow().json.clone();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let names = |object: &Value| object.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&document), ["keys", "spiffe_refresh_hint", "spiffe_sequence"]);
    let mut kids = BTreeSet::new();
    for entry in document["keys"].as_array().unwrap() {
        assert!(["EC", "RSA"].contains(&entry["kty"].as_str().unwrap()), "{entry}");
        if entry["use"] == "x509-svid" {
            assert_eq!(names(entry), ["crv", "kty", "use", "x", "x5c", "y"]);
            assert_eq!(entry["x5c"].as_array().unwrap().len(), 1);
        } else {
            assert_eq!(
                (names(entry), &entry["use"]),
                (["crv", "kid", "kty", "use", "x", "y"].map(str::to_owned).to_vec(), &"jwt-svid".into())
            );
            let key = Jwk::read(entry.as_object().unwrap()).unwrap();
            assert_eq!(entry["kid"], Jwk::of(&key.numbers()).thumbprint());
            assert!(kids.insert(entry["kid"].to_string()), "one kid, one key");
        }
    }
    assert_eq!(document["keys"].as_array().unwrap().len(), 2);
}

/// Shows: WAPI-24, WAPI-25, WAPI-19.
#[tokio::test]
async fn another_author_s_library_reads_both_forms_that_the_workload_api_sends() {
    let harness = Harness::new().await;
    let bundle = harness.issuance().authorities.published().borrow().bundle.clone();
    let trust_domain = spiffe::TrustDomain::new("ci.example.org").unwrap();
    let jwt = spiffe::JwtBundle::from_jwt_authorities(trust_domain.clone(), &bundle.to_jwks()).unwrap();
    assert!(jwt.find_jwt_authority(&bundle.jwt_authorities[0].kid).is_some());
    let x509 = spiffe::X509Bundle::parse_from_der(trust_domain, &bundle.to_der()).unwrap();
    assert_eq!(x509.authorities().len(), 1);
}

/// Shows: TDB-27.
#[tokio::test]
async fn the_sequence_stays_with_the_content_over_rotations_and_restarts() {
    let mut harness = Harness::with(POLICY, "sled").await;
    let content = |harness: &Harness| {
        let published = harness.issuance().authorities.published().borrow().clone();
        (published.bundle.sequence, Digest::of(&published.json))
    };
    let first = content(&harness);
    assert!(first.0 > 0, "there is one from the beginning");
    harness.advance(12 * 3600);
    harness.next_intermediate_signs().await;
    assert_eq!(content(&harness), first, "an intermediate is not in the bundle");
    let harness = harness.restarted(None).await;
    assert_eq!(content(&harness), first);
}
