//! A CI job's token: what is believed was signed by the issuer, and says what the program takes it to say.

use super::Seed;
use super::law::{Cost, can_be_shown};
use super::signed::{KID, Sent, changed, document, jwk};
use lanyard::token::{
    Claims, Expectations, IssuerKind, IssuerName, KeySet, TokenAlgorithm, UnverifiedToken, VerifiedClaims,
};
use serde_json::{Value, json};
use std::sync::LazyLock;
use time::OffsetDateTime;

const TOKEN_BYTES_MAX: usize = 96 * 1024;
const ISSUER: &str = "https://gitlab.example.com";

static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../vectors/gitlab-claims.json")).unwrap());
static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::parse(json!({"keys": [jwk("sig")]}).to_string().as_bytes()).unwrap());
static EXPECTED: LazyLock<Expectations> = LazyLock::new(|| Expectations {
    issuer: IssuerName("corp".into()),
    issuer_url: ISSUER.to_owned(),
    audience: VECTORS["audience"].as_str().unwrap().to_owned(),
    allow_shared_audience: true,
    allow_missing_jti: false,
    kind: IssuerKind::GitLab,
    algorithms: vec![TokenAlgorithm::Rs256, TokenAlgorithm::Es256],
    leeway: Expectations::LEEWAY,
    max_token_age: Expectations::MAX_TOKEN_AGE,
});

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(VECTORS["reference_time"].as_i64().unwrap()).unwrap()
}

/// GitLab's samples of our issuer.
pub fn seeds() -> Vec<Seed> {
    let samples = VECTORS["samples"].as_array().unwrap().iter().filter(|sample| sample["claims"]["iss"] == ISSUER);
    let header = json!({"alg": "ES256", "kid": KID, "typ": "JWT"});
    samples.map(|sample| Seed::new(sample["name"].as_str().unwrap(), document(&header, &sample["claims"]))).collect()
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    if let Err(error) = Cost::SMALL.of(bytes.len(), || Claims::unproven(bytes, IssuerName("corp".into()))) {
        can_be_shown(&error);
    }
    let Some(sent) = Sent::of(bytes) else { return false };
    let (keys, expected) = (&*KEYS, &*EXPECTED);
    let read = Cost::SMALL.of(sent.text.len(), || UnverifiedToken::parse(&sent.text));
    let token = match read {
        Ok(token) => token,
        Err(error) => {
            can_be_shown(&error);
            return false;
        }
    };
    assert!(sent.text.len() <= TOKEN_BYTES_MAX && sent.text.matches('.').count() == 2 && token.kid().len() <= 256);
    match Cost::SMALL.of(sent.text.len(), || token.verify(keys, expected, now())) {
        Ok(verified) => {
            let payload = sent.payload.expect("only what we signed is believed");
            says_what_was_signed(verified.claims(), payload);
            for other in changed(&sent.text) {
                assert!(UnverifiedToken::parse(&other).and_then(|token| token.verify(keys, expected, now())).is_err());
            }
            true
        }
        Err(error) => {
            can_be_shown(&error);
            false
        }
    }
}

/// Read again by a reader that knows no table of claims and lets the last of two members win. It minds numbers and
/// surrogates in members that ours reads past.
fn says_what_was_signed(claims: &Claims, payload: &[u8]) {
    let Ok(signed) = serde_json::from_slice::<Value>(payload) else { return };
    assert_eq!(signed["iss"], ISSUER);
    assert_eq!(signed["jti"], claims.jti);
    assert_eq!(signed["sub"], claims.subject);
    assert_eq!(signed["project_path"], claims.project_path);
    for (name, id) in [
        ("project_id", claims.project_id),
        ("namespace_id", claims.namespace_id),
        ("pipeline_id", claims.pipeline_id),
        ("job_id", claims.job_id),
    ] {
        let text = id.to_string();
        assert!(signed[name] == text.as_str() || signed[name] == id, "{name}: {}", signed[name]);
    }
    assert_eq!(signed["exp"], claims.expires_at.unix_timestamp());
    let (leeway, ours) = (Expectations::LEEWAY, &EXPECTED.audience);
    assert!(now() - claims.expires_at < leeway && claims.issued_at - now() <= leeway);
    let named = |audience: &Value| audience == ours.as_str();
    assert!(named(&signed["aud"]) || signed["aud"].as_array().is_some_and(|list| list.iter().any(named)));
    let kept = serde_json::to_vec(claims).unwrap();
    assert_eq!(*claims, serde_json::from_slice(&kept).expect("claims are kept with a session"));
}

/// The claims of some samples, believed; for what decides about them.
pub fn verified() -> &'static [VerifiedClaims] {
    static VERIFIED: LazyLock<Vec<VerifiedClaims>> = LazyLock::new(|| {
        let verify = |seed: Seed| {
            let sent = Sent::of(&seed.bytes).unwrap();
            UnverifiedToken::parse(&sent.text).unwrap().verify(&KEYS, &EXPECTED, now()).unwrap()
        };
        seeds().into_iter().step_by(6).map(verify).collect()
    });
    &VERIFIED
}
