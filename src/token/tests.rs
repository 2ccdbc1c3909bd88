//! GitLab's tokens in every shape, and each way to be wrong, signed with keys made here.

use super::*;
use crate::crypto::{KeyAlgorithm, KeyPair, PublicNumbers};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::Duration;
use time::OffsetDateTime;

pub(crate) static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../tests/vectors/gitlab-claims.json")).unwrap());
static CI_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeyAlgorithm::Rsa).unwrap());
static LOGIN_KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeyAlgorithm::Rsa).unwrap());
const KID: &str = "qZ0m8m2d7pWq1yJkM1a6XnH0d3fVb9uT5cRk2wEoL4s";

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(VECTORS["reference_time"].as_i64().unwrap()).unwrap()
}

fn sample(name: &str) -> &'static Value {
    VECTORS["samples"].as_array().unwrap().iter().find(|sample| sample["name"] == name).unwrap()
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn sign(header: &str, payload: &str, key: &KeyPair) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    let signature = key.sign_jws(message.as_bytes()).unwrap();
    format!("{message}.{}", part(signature))
}

fn jwk(kid: &str, key: &KeyPair) -> Value {
    let PublicNumbers::Rsa { n, e } = key.public().numbers() else { panic!("an RSA key has RSA numbers") };
    json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": part(n), "e": part(e)})
}

fn keys_of(entries: &[Value]) -> Result<KeySet, JwksError> {
    KeySet::parse(json!({ "keys": entries }).to_string().as_bytes())
}

fn keys() -> KeySet {
    keys_of(&[jwk(KID, &CI_KEY), jwk("login", &LOGIN_KEY)]).unwrap()
}

fn expectations(issuer_url: &str) -> Expectations {
    Expectations {
        issuer: IssuerName("corp".into()),
        issuer_url: issuer_url.to_owned(),
        audience: VECTORS["audience"].as_str().unwrap().to_owned(),
        allow_shared_audience: false,
        allow_missing_jti: false,
        kind: IssuerKind::GitLab,
        algorithms: vec![TokenAlgorithm::Rs256],
        leeway: Expectations::LEEWAY,
        max_token_age: Expectations::MAX_TOKEN_AGE,
    }
}

/// A sample's claims, some of them changed or (by null) dropped, as a genuine token of issuer `corp` says them.
pub(crate) fn claims_of(name: &str, changes: &[(String, Value)]) -> Result<VerifiedClaims, TokenError> {
    let mut claims = sample(name)["claims"].clone();
    for (name, value) in changes {
        let members = claims.as_object_mut().unwrap();
        if value.is_null() { drop(members.remove(name)) } else { drop(members.insert(name.clone(), value.clone())) }
    }
    let expected = expectations(claims["iss"].as_str().unwrap());
    let text = sign(&header().to_string(), &claims.to_string(), &CI_KEY);
    UnverifiedToken::parse(&text)?.verify(&keys(), &expected, now())
}

fn verify(text: &str) -> Result<VerifiedClaims, TokenError> {
    UnverifiedToken::parse(text)?.verify(&keys(), &expectations("https://gitlab.example.com"), now())
}

fn header() -> Value {
    json!({"alg": "RS256", "kid": KID, "typ": "JWT"})
}

fn deploy() -> Value {
    sample("deploy_production_protected")["claims"].clone()
}

/// The usual token with one claim set, or dropped by null.
fn with(name: &str, value: &Value) -> String {
    let mut claims = deploy();
    claims[name] = value.clone();
    sign(&header().to_string(), &claims.to_string(), &CI_KEY)
}

fn with_header(name: &str, value: Value) -> String {
    let mut header = header();
    header[name] = value;
    sign(&header.to_string(), &deploy().to_string(), &CI_KEY)
}

fn code(outcome: Result<VerifiedClaims, TokenError>) -> &'static str {
    outcome.expect_err("a wrong token is refused").code()
}

// The JWT traps, in their order.

#[test]
fn the_header_cannot_choose_the_algorithm() {
    assert_eq!(code(verify(&with_header("alg", json!("none")))), "token_algorithm_refused");
    assert_eq!(code(verify(&with_header("alg", json!("HS256")))), "token_algorithm_refused");
    assert_eq!(code(verify(&with_header("alg", json!("RS512")))), "token_algorithm_refused");
    assert_eq!(code(verify(&with_header("alg", json!("ES256")))), "token_algorithm_refused");
    let mut both = expectations("https://gitlab.example.com");
    both.algorithms.push(TokenAlgorithm::Es256);
    let text = with_header("alg", json!("ES256"));
    let token = UnverifiedToken::parse(&text).unwrap();
    assert_eq!(code(token.verify(&keys(), &both, now())), "token_algorithm_refused");
}

#[test]
fn an_unsigned_token_is_refused_whatever_it_says() {
    let text = with("jti", &json!("x"));
    let (signed, _signature) = text.rsplit_once('.').unwrap();
    assert_eq!(code(verify(&format!("{signed}."))), "token_signature_wrong");
}

#[test]
fn a_symmetric_key_never_becomes_a_verifier() {
    let secret = json!({"kty": "oct", "kid": KID, "use": "sig", "alg": "HS256", "k": "c2VjcmV0"});
    assert!(matches!(keys_of(&[secret]), Err(JwksError::NoUsableKey { entries: 1 })));
}

#[test]
fn issuer_audience_subject_and_end_must_be_there() {
    for name in ["iss", "aud", "sub", "exp", "iat", "jti", "project_id", "project_path", "namespace_id", "job_id"] {
        let mut claims = deploy();
        claims.as_object_mut().unwrap().remove(name);
        let text = sign(&header().to_string(), &claims.to_string(), &CI_KEY);
        assert_eq!(verify(&text).unwrap_err(), TokenError::ClaimMissing { name }, "{name}");
    }
}

#[test]
fn one_of_several_audiences_is_not_enough_unless_configured() {
    let text = with("aud", &json!(["https://lanyard.example.com", "https://vault.example.com"]));
    assert_eq!(code(verify(&text)), "token_audience_shared");
    assert_eq!(code(verify(&with("aud", &json!(["https://lanyard.example.com"])))), "token_audience_shared");
    let mut shared = expectations("https://gitlab.example.com");
    shared.allow_shared_audience = true;
    assert!(UnverifiedToken::parse(&text).unwrap().verify(&keys(), &shared, now()).is_ok());
    let text = with("aud", &json!(["https://vault.example.com"]));
    let other = UnverifiedToken::parse(&text).unwrap();
    assert_eq!(code(other.verify(&keys(), &shared, now())), "token_audience_wrong");
}

#[test]
fn half_a_minute_of_clock_skew_is_forgiven_and_not_a_second_more() {
    let at = now().unix_timestamp();
    for (claim, forgiven, refused) in [("exp", at - 29, at - 30), ("nbf", at + 30, at + 31), ("iat", at + 30, at + 31)]
    {
        assert!(verify(&with(claim, &json!(forgiven))).is_ok(), "{claim}");
        assert!(verify(&with(claim, &json!(refused))).is_err(), "{claim}");
    }
    assert_eq!(code(verify(&with("exp", &json!(1e30)))), "token_claim_malformed");
    assert_eq!(code(verify(&with("exp", &json!(i64::MAX)))), "token_claim_malformed");
}

#[test]
fn a_critical_extension_is_refused_since_none_is_known() {
    assert_eq!(verify(&with_header("crit", json!(["b64"]))).unwrap_err(), TokenError::CriticalHeader);
    assert_eq!(verify(&with_header("crit", json!([]))).unwrap_err(), TokenError::CriticalHeader);
}

#[test]
fn a_token_of_another_type_is_refused() {
    assert!(verify(&with_header("typ", json!("jwt"))).is_ok());
    assert_eq!(code(verify(&with_header("typ", json!("at+jwt")))), "token_malformed");
}

#[test]
fn a_token_waits_an_hour_for_its_first_use_and_no_longer() {
    let verified = verify(&with("jti", &json!("x"))).unwrap();
    let age = Expectations::MAX_TOKEN_AGE;
    assert!(verified.fresh_enough(age, now() + age).is_ok());
    let late = verified.fresh_enough(age, now() + age + Duration::from_secs(1));
    assert_eq!(late.unwrap_err().code(), "token_too_old");
}

#[test]
fn a_huge_token_is_refused_before_anything_is_decoded() {
    let huge = "!".repeat(1 << 20);
    assert_eq!(verify(&huge).unwrap_err(), TokenError::TooLarge { bytes: 1 << 20, max: 98304 });
}

#[test]
fn a_name_given_twice_is_refused_known_or_unknown_and_however_it_is_spelled() {
    for twice in [
        r#""project_id":"1","project_id":"4711""#,
        r#""project\u005fid":"1","project_id":"4711""#,
        r#""new":1,"new":1,"project_id":"4711""#,
        r#""job_config":1,"job_config":1,"project_id":"4711""#,
        r#""runner_id":null,"project_id":"4711""#,
    ] {
        let payload = deploy().to_string().replace(r#""project_id":"4711""#, twice);
        let refused = verify(&sign(&header().to_string(), &payload, &CI_KEY)).unwrap_err();
        assert!(matches!(refused, TokenError::DuplicateMember { .. }), "{twice}: {refused}");
    }
    let doubled = format!(r#"{{"alg":"RS256","kid":"other","kid":"{KID}"}}"#);
    let refused = verify(&sign(&doubled, &deploy().to_string(), &CI_KEY)).unwrap_err();
    assert_eq!(refused, TokenError::DuplicateMember { name: "kid".to_owned() });
    let payload = deploy().to_string().replace(r#""provider":"#, r#""provider":"c","provider":"#);
    let refused = verify(&sign(&header().to_string(), &payload, &CI_KEY)).unwrap_err();
    assert_eq!(refused, TokenError::DuplicateMember { name: "provider".to_owned() });
}

#[test]
fn keys_for_other_purposes_and_short_keys_are_passed_over() {
    let change = |name: &str, value: Value| {
        let mut entry = jwk(KID, &CI_KEY);
        entry[name] = value;
        keys_of(&[entry, jwk("login", &LOGIN_KEY)]).unwrap().holds(KID)
    };
    assert!(change("key_ops", json!(["verify"])));
    assert!(!change("use", json!("enc")));
    assert!(!change("alg", json!("PS256")));
    assert!(!change("key_ops", json!(["encrypt"])));
    assert!(!change("n", json!(part([0xc5; 128]))));
    assert!(!change("e", json!(part([1]))));
    assert!(!change("kty", json!("EC")));
    assert!(!change("kid", json!(7)));
    assert!(KeySet::parse(b"[]").is_err());
}

#[test]
fn a_key_in_the_token_is_never_taken() {
    let attacker = &*LOGIN_KEY;
    let mut header = header();
    header["jwk"] = jwk(KID, attacker);
    let text = sign(&header.to_string(), &deploy().to_string(), attacker);
    assert_eq!(verify(&text).unwrap_err(), TokenError::Signature);
}

#[test]
fn an_unknown_key_name_is_told_apart_so_that_keys_can_be_fetched_once() {
    assert_eq!(verify(&with_header("kid", json!("nope"))).unwrap_err(), TokenError::KeyUnknown { kid: "nope".into() });
    assert_eq!(code(verify(&with_header("kid", json!("")))), "token_malformed");
}

#[test]
fn a_token_that_outlives_every_job_is_refused() {
    let issued_at = deploy()["iat"].as_i64().unwrap();
    let until = |seconds: i64| verify(&with("exp", &json!(issued_at + seconds)));
    assert!(until(30 * 86_400).is_ok(), "a month is what GitLab allows a job");
    assert!(until(32 * 86_400).is_ok());
    assert_eq!(code(until(32 * 86_400 + 1)), "token_lives_too_long");
    assert_eq!(code(verify(&with("exp", &json!(253_402_300_799_i64)))), "token_lives_too_long");
    let (born_long_ago, ends_soon) = (json!(0), now().unix_timestamp() + 60);
    let mut claims = deploy();
    (claims["iat"], claims["nbf"], claims["exp"]) = (born_long_ago.clone(), born_long_ago, json!(ends_soon));
    assert_eq!(code(verify(&sign(&header().to_string(), &claims.to_string(), &CI_KEY))), "token_lives_too_long");
}

#[test]
fn a_stranger_s_token_is_refused_however_genuine() {
    let issuer = |namespaces: &[&str]| Issuer {
        expectations: expectations("https://gitlab.example.com"),
        keys: KeySource::Jwks(keys()),
        pins: Pins::Learned,
        on_replay: OnReplay::Refuse,
        namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
    };
    let path = |path: &str| {
        let changes = [
            ("project_path".to_owned(), json!(path)),
            ("sub".to_owned(), json!(format!("project_path:{path}:ref:main"))),
        ];
        claims_of("deploy_production_protected", &changes).unwrap()
    };
    for (ours, at, admitted) in [
        (&[][..], "mallory/api", true),
        (&["acme"], "acme/payments/api", true),
        (&["other", "Acme"], "aCMe/api", true),
        (&["acme"], "mallory/acme/api", false),
        (&["acme"], "acme-2/api", false),
        (&["acme-2"], "acme/api", false),
    ] {
        let told = issuer(ours).admit(path(at).claims()).map_err(|error| error.code());
        assert_eq!(told, if admitted { Ok(()) } else { Err("namespace_not_listed") }, "{at} among {ours:?}");
    }
    let told = issuer(&["acme"]).admit(path("mallory/api").claims()).unwrap_err().to_string();
    assert!(told.contains("\"mallory\""), "{told}");
}

// GitLab's own traps.

#[test]
fn a_login_token_of_the_same_issuer_is_no_job_s_token() {
    let claims = json!({"iss": "https://gitlab.example.com", "sub": "51", "aud": "https://lanyard.example.com",
        "exp": now().unix_timestamp() + 120, "iat": now().unix_timestamp(), "jti": "x", "email": "ada@corp.example"});
    let text = sign(r#"{"alg":"RS256","kid":"login","typ":"JWT"}"#, &claims.to_string(), &LOGIN_KEY);
    assert_eq!(verify(&text).unwrap_err(), TokenError::ClaimMissing { name: "project_id" });
}

#[test]
fn text_that_is_not_three_strict_parts_is_refused() {
    let text = with("jti", &json!("x"));
    let mut parts: Vec<String> = text.split('.').map(str::to_owned).collect();
    for odd in [format!("{text}.x"), parts[..2].join("."), String::new(), "..".to_owned(), format!(" {text}")] {
        assert_eq!(code(verify(&odd)), "token_malformed", "{odd:.20}");
    }
    assert_eq!(verify(&format!("{text}=")).unwrap_err(), TokenError::Signature);
    parts[0] = STANDARD.encode(header().to_string());
    parts[0].push('=');
    assert_eq!(code(verify(&parts.join("."))), "token_malformed");
}

#[test]
fn a_list_too_long_to_keep_is_refused_and_never_read_as_left_out() {
    let groups = |many: usize| json!((0..many).map(|n| format!("g{n}")).collect::<Vec<_>>());
    let kept = verify(&with("groups_direct", &groups(200))).unwrap();
    assert!(kept.claims().view("groups_direct").is_some());
    assert_eq!(code(verify(&with("groups_direct", &groups(201)))), "token_claim_malformed");
    assert_eq!(code(verify(&with("groups_direct", &json!(["g".repeat(8193)])))), "token_claim_malformed");
    let identities: Vec<Value> = (0..201).map(|n| json!({"provider": "p", "extern_uid": n.to_string()})).collect();
    assert!(verify(&with("user_identities", &json!(identities[..200]))).is_ok());
    assert_eq!(code(verify(&with("user_identities", &json!(identities)))), "token_claim_malformed");
}

#[test]
fn a_text_beyond_every_use_is_refused() {
    assert!(verify(&with("environment", &json!("e".repeat(8192)))).is_ok());
    assert_eq!(code(verify(&with("environment", &json!("e".repeat(8193))))), "token_claim_malformed");
    assert_eq!(code(verify(&with("jti", &json!("a\nb")))), "token_claim_malformed");
}

#[test]
fn claims_we_do_not_know_break_nothing_and_are_not_kept() {
    let verified = verify(&with("brand_new", &json!({"deep": [1, {"er": null}]}))).unwrap();
    assert!(verified.claims().view("brand_new").is_none());
    assert!(claim_kind("brand_new").is_none());
    assert_eq!(claim_kind("fork"), Some(ClaimKind::Bool));
}

/// Run by hand: `cargo test --release --lib token:: -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a verdict"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn what_a_token_costs() {
    let (keys, expected, text) = (keys(), expectations("https://gitlab.example.com"), with("jti", &json!("x")));
    let time = |what: &str, work: &mut dyn FnMut()| {
        let start = std::time::Instant::now();
        (0..20_000).for_each(|_| work());
        println!("{what}: {:.2} µs", start.elapsed().as_secs_f64() * 1e6 / 20_000.0);
    };
    println!("token of {} bytes", text.len());
    time("parse", &mut || drop(UnverifiedToken::parse(&text).unwrap()));
    time("parse and verify", &mut || {
        drop(UnverifiedToken::parse(&text).unwrap().verify(&keys, &expected, now()).unwrap());
    });
    let (message, signature) = text.rsplit_once('.').unwrap();
    time("signature alone", &mut || keys.verify(KID, TokenAlgorithm::Rs256, (message, signature)).unwrap());
}
