//! JWT-SVIDs, and which keys verify them.

use crate::support::harness::{Agent, Harness, POLICY, start};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::bundle::Bundle;
use lanyard::crypto::{KeyAlgorithm, KeyPair, Random};
use lanyard::issuance::{Bearer, Credential, Request, RequestId, Wanted};
use lanyard::svid::{AuthorityFields, JwtFields, JwtSvidError, Serial, validate_jwt_svid};
use lanyard::telemetry::Door;
use serde_json::{Value, json};
use std::time::Duration;

const SERVICE: &str = "https://service.test";

async fn jwt(harness: &Harness, token: &str, agent: &Agent) -> String {
    let issued = harness.jwt(token, SERVICE, Some(agent)).await.unwrap();
    let Credential::Jwt(jwt) = issued.credential() else { panic!("a JWT-SVID was asked for") };
    jwt.clone()
}

fn bundle(harness: &Harness) -> Bundle {
    harness.issuance().authorities.published().borrow().bundle.clone()
}

/// The texts of header and payload.
fn parts(jwt: &str) -> Vec<String> {
    let parts = jwt.split('.').take(2).map(|part| URL_SAFE_NO_PAD.decode(part).unwrap());
    parts.map(|part| String::from_utf8(part).unwrap()).collect()
}

fn names(object: &str) -> Vec<String> {
    serde_json::from_str::<Value>(object).unwrap().as_object().unwrap().keys().cloned().collect()
}

/// Shows: JWT-1, JWT-2, JWT-3, JWT-4, JWT-5, JWT-7, JWT-8, JWT-9, JWT-11, JWT-13, JWT-14, JWT-21.
#[tokio::test]
async fn a_jwt_svid_says_what_it_must_and_nothing_that_readers_stumble_over() {
    let harness = Harness::new().await;
    let token = jwt(&harness, &harness.issuer.token(start()), &Agent::new()).await;
    assert_eq!(token.split('.').count(), 3);
    let [header, payload] = &parts(&token)[..] else { panic!("header and payload") };
    assert_eq!(names(header), ["alg", "kid", "typ"]);
    let head: Value = serde_json::from_str(header).unwrap();
    assert_eq!((&head["alg"], &head["typ"]), (&json!("ES256"), &json!("JWT")));
    assert!(bundle(&harness).jwt_authorities.iter().any(|authority| head["kid"] == authority.kid.as_str()));
    assert_eq!(names(payload), ["aud", "exp", "iat", "jti", "sub"]);
    let now = start().unix_timestamp();
    for time in [format!(r#""iat":{now},"#), format!(r#""exp":{},"#, now + 300)] {
        assert!(payload.contains(&time), "{payload}");
    }
    assert!(payload.contains(r#""aud":["https://service.test"]"#), "{payload}");
    assert!(payload.contains(r#""sub":"spiffe://ci.example.org/acme/payments/api/-/pipelines/574""#), "{payload}");
}

/// Shows: JWT-18, WAPI-27.
#[tokio::test]
async fn a_jwt_svid_has_one_audience_unless_the_rule_says_that_several_may_share_it() {
    let audiences = r#"audiences = ["https://service.test", "https://other.test"]"#;
    let two = POLICY.replace(r#"audiences = ["https://service.test"]"#, audiences);
    let both = vec![SERVICE.to_owned(), "https://other.test".to_owned()];
    let ask = async |policy: &str| {
        let harness = Harness::with(policy, "memory").await;
        let wanted = Wanted::Jwt { audiences: both.clone(), profile: None };
        let (id, bearer) = (RequestId::random(&Random::system()), Bearer::Token(harness.issuer.token(start())));
        let connection = Some(Agent::new().public());
        harness.issuance().issue(Request { id, door: Door::Grpc, bearer, wanted, connection }).await
    };
    assert_eq!(ask(&two).await.unwrap_err().code(), "too_many_audiences", "the whole request, never a part of it");
    let issued = ask(&two.replace("ttl =", "multi_audience = true\nttl =")).await.unwrap();
    let Credential::Jwt(jwt) = issued.credential() else { panic!("a JWT-SVID was asked for") };
    let payload: Value = serde_json::from_str(&parts(jwt)[1]).unwrap();
    assert_eq!(payload["aud"], json!(both));
}

/// Shows: JWT-19.
#[tokio::test]
async fn a_jwt_svid_lives_five_minutes_and_not_beyond_its_session() {
    let harness = Harness::new().await;
    let (agent, token) = (Agent::new(), harness.issuer.token(start()));
    let ends = |jwt: &str| serde_json::from_str::<Value>(&parts(jwt)[1]).unwrap()["exp"].as_i64().unwrap();
    assert_eq!(ends(&jwt(&harness, &token, &agent).await), start().unix_timestamp() + 300);
    harness.advance(3500);
    assert_eq!(ends(&jwt(&harness, &token, &agent).await), start().unix_timestamp() + 3600);
}

/// Shows: JWT-23, X509-19, WAPI-34.
#[test]
fn a_key_for_certificates_verifies_no_token_of_the_same_trust_domain() {
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let trust_domain = lanyard::identity::TrustDomain::parse("example.org").unwrap();
    let certificate = AuthorityFields {
        trust_domain: trust_domain.clone(),
        common_name: "root".to_owned(),
        key: key.public().clone(),
        serial: Serial::random(&Random::system()),
        path_length: 1,
        name_constraints: false,
        not_before: start(),
        not_after: start() + Duration::from_secs(3600),
    };
    let published = Bundle {
        trust_domain: trust_domain.clone(),
        sequence: 1,
        refresh_hint: Duration::from_secs(300),
        x509_authorities: vec![certificate.sign_itself(&key).unwrap()],
        jwt_authorities: Vec::new(),
    };
    let mut document: Value = serde_json::from_slice(&published.to_json()).unwrap();
    // A publisher who gives the certificate's entry a kid makes no JWT key of it.
    document["keys"][0]["kid"] = json!("k1");
    let bundle = Bundle::parse(trust_domain, document.to_string().as_bytes()).unwrap();
    assert_eq!((bundle.x509_authorities.len(), bundle.jwt_authorities.len()), (1, 0));
    let validated = validate_jwt_svid(&token_by(&key), SERVICE, &[&bundle], start());
    assert!(matches!(validated, Err(JwtSvidError::UnknownKey { .. })), "{validated:?}");
    // The same key under its right use would have: the refusal is for the use alone.
    let mut entry = document["keys"][0].clone();
    entry["use"] = json!("jwt-svid");
    entry.as_object_mut().unwrap().remove("x5c");
    let right = Bundle::parse(bundle.trust_domain, json!({ "keys": [entry] }).to_string().as_bytes()).unwrap();
    validate_jwt_svid(&token_by(&key), SERVICE, &[&right], start()).unwrap();
}

/// Shows: TDB-6, TDB-7.
#[test]
fn a_bundle_that_leaves_no_usable_key_ends_all_trust_and_is_no_error() {
    let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
    let of = |keys: Value| {
        let trust_domain = lanyard::identity::TrustDomain::parse("example.org").unwrap();
        Bundle::parse(trust_domain, json!({ "keys": keys }).to_string().as_bytes()).unwrap()
    };
    let lanyard::crypto::PublicNumbers::Ec { x, y, .. } = key.public().numbers() else { panic!("an EC key") };
    let [x, y] = [x, y].map(|number| URL_SAFE_NO_PAD.encode(number));
    let good = json!({"use": "jwt-svid", "kid": "k1", "kty": "EC", "crv": "P-256", "x": x, "y": y});
    let mut odd = good.clone();
    odd["kty"] = json!("PQC");
    validate_jwt_svid(&token_by(&key), SERVICE, &[&of(json!([good]))], start()).unwrap();
    for keys in [json!([]), json!([odd])] {
        let validated = validate_jwt_svid(&token_by(&key), SERVICE, &[&of(keys)], start());
        assert!(matches!(validated, Err(JwtSvidError::UnknownKey { .. })), "{validated:?}");
    }
}

/// Shows: JWT-24, JWT-10, JWT-25.
#[tokio::test]
async fn a_token_is_as_good_the_second_time_it_is_validated() {
    let harness = Harness::new().await;
    let token = jwt(&harness, &harness.issuer.token(start()), &Agent::new()).await;
    for _ in 0..2 {
        validate_jwt_svid(&token, SERVICE, &[&bundle(&harness)], start()).unwrap();
    }
    for other in ["https://service.tes", "https://service.test/", "HTTPS://service.test", ""] {
        let validated = validate_jwt_svid(&token, other, &[&bundle(&harness)], start());
        assert!(matches!(validated, Err(JwtSvidError::Audience { .. })), "{other}: {validated:?}");
    }
}

/// A well-formed JWT-SVID of example.org by this key, called k1.
fn token_by(key: &KeyPair) -> String {
    let fields = JwtFields {
        issuer: None,
        claims: serde_json::Map::new(),
        spiffe_id: lanyard::identity::SpiffeId::parse("spiffe://example.org/job").unwrap(),
        audience: vec![SERVICE.to_owned()],
        jti: "1".to_owned(),
        issued_at: start(),
        not_after: start() + Duration::from_secs(300),
    };
    fields.sign("k1", key).unwrap()
}
