//! A JWT-SVID that somebody asks the agent to validate: what holds was signed by the trust domain for that audience.

use super::Seed;
use super::law::{Cost, can_be_shown};
use super::signed::{KEY, KID, Sent, changed, document};
use lanyard::bundle::{Bundle, JwtAuthority};
use lanyard::identity::{SpiffeId, TrustDomain};
use lanyard::svid::{inspect_jwt, validate_jwt_svid};
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-03-01 12:00 UTC);
const AUDIENCE: &str = "https://vault.test";
/// A JSON value takes some seventy bytes, and one of two bytes is the smallest.
const COST: Cost = Cost { at_once: 128, in_all: 512, free: 64 * 1024 };

static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| Bundle {
    trust_domain: TrustDomain::parse("ci.example.org").unwrap(),
    sequence: 1,
    refresh_hint: Duration::from_secs(300),
    x509_authorities: Vec::new(),
    jwt_authorities: vec![JwtAuthority { kid: KID.to_owned(), key: KEY.public().clone() }],
});

/// Seconds, and parts of them (RFC 7519 §2).
#[derive(serde::Deserialize)]
struct NumericDate(f64);

/// One as we make it, and one with all that a foreign signer may add.
pub fn seeds() -> Vec<Seed> {
    let (iat, exp) = (NOW.unix_timestamp(), NOW.unix_timestamp() + 300);
    let sub = "spiffe://ci.example.org/acme/api/-/pipelines/574";
    let ours = json!({"aud": [AUDIENCE], "exp": exp, "iat": iat, "jti": "j", "sub": sub});
    let other =
        json!({"aud": AUDIENCE, "exp": exp, "nbf": iat, "sub": sub, "x": {"deep": [1, 2.5, null, "\u{1f680}"]}});
    vec![
        Seed::new("as-we-make-it", document(&json!({"alg": "ES256", "kid": KID, "typ": "JWT"}), &ours)),
        Seed::new("a-foreign-signers", document(&json!({"alg": "ES256", "kid": KID}), &other)),
    ]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let Some(sent) = Sent::of(bytes) else { return false };
    let bundle = &*BUNDLE;
    match COST.of(sent.text.len(), || inspect_jwt(&sent.text)) {
        Ok(facts) => assert_eq!(SpiffeId::parse(facts.spiffe_id.as_str()), Ok(facts.spiffe_id)),
        Err(error) => can_be_shown(&error),
    }
    let (id, claims) = match COST.of(sent.text.len(), || validate_jwt_svid(&sent.text, AUDIENCE, &[bundle], NOW)) {
        Ok(valid) => valid,
        Err(error) => {
            can_be_shown(&error);
            return false;
        }
    };
    let signed: Value = serde_json::from_slice(sent.payload.expect("only what we signed is valid")).unwrap();
    assert_eq!(Value::Object(claims), signed);
    assert_eq!(signed["sub"], id.as_str());
    assert!(id.names_a_workload() && id.trust_domain() == bundle.trust_domain);
    assert!(sent.text.len() <= 96 * 1024);
    assert!(changed(&sent.text).all(|other| validate_jwt_svid(&other, AUDIENCE, &[bundle], NOW).is_err()));
    let NumericDate(expires) = serde_json::from_value(signed["exp"].clone()).unwrap();
    assert!(expires > f64::from(i32::try_from(NOW.unix_timestamp() - 31).unwrap()));
    true
}
