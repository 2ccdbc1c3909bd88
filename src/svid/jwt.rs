//! The claims of a JWT-SVID, how it is signed, and how one is validated (SPIFFE JWT-SVID).
//!
//! Validation believes the header in nothing but the choice among one trust domain's own keys: the algorithm must be
//! one of the standard's list and fit the key, and key-carrying headers make a token invalid.

use super::CompactError;
use super::compact::Compact;
use crate::bundle::Bundle;
use crate::crypto::{CryptoError, JwsAlgorithm, KeyPair};
use crate::identity::{SpiffeId, SpiffeIdError, TrustDomain};
use crate::telemetry::{quotable, rfc3339};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use time::{Duration, OffsetDateTime};

/// How many audiences of a token for others a message names.
const AUDIENCES_SHOWN_MAX: usize = 4;

/// How far two clocks may differ.
const LEEWAY: Duration = Duration::seconds(30);

/// The claims that we alone write, or that change how a reader judges a token (RFC 7519 §4.1, RFC 7800 §3.1, RFC 8693 §4;
/// AWS takes `azp` for the audience where it is there).
pub const RESERVED_CLAIMS: [&str; 11] =
    ["act", "aud", "azp", "cnf", "exp", "iat", "iss", "jti", "may_act", "nbf", "sub"];

/// All that a JWT-SVID says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtFields {
    /// `iss`; none where nobody is told where our keys are to be found.
    pub issuer: Option<String>,
    /// `sub`.
    pub spiffe_id: SpiffeId,
    /// `aud`; written as a list.
    pub audience: Vec<String>,
    /// `jti`.
    pub jti: String,
    /// `iat`, whole seconds.
    pub issued_at: OffsetDateTime,
    /// `exp`, whole seconds.
    pub not_after: OffsetDateTime,
    /// What else it says; a name of ours among them is written as ours.
    pub claims: Map<String, Value>,
}

impl JwtFields {
    /// Signs with what the key signs with; the header holds `alg`, `kid` and `typ` only (JWT-SVID §2).
    ///
    /// # Errors
    /// When the key cannot sign, or is of a kind that no JWT-SVID is signed with.
    pub fn sign(&self, kid: &str, key: &KeyPair) -> Result<String, CryptoError> {
        let algorithm = key.public().algorithm();
        let signs_by = algorithm.jws_algorithm().ok_or(CryptoError::NotASigningKind(algorithm))?;
        let mut token = self.unsigned(signs_by, kid);
        let signature = key.sign_jws(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// How long it will be once it is signed.
    pub fn bytes(&self, algorithm: JwsAlgorithm, kid: &str) -> usize {
        // 64 bytes of two numbers, or 256 of an RSA key of 2048 bits, in base64url, and the dot before them.
        let signature = if algorithm == JwsAlgorithm::Es256 { 86 } else { 342 };
        self.unsigned(algorithm, kid).len() + 1 + signature
    }

    /// Header and payload, as they are signed.
    fn unsigned(&self, algorithm: JwsAlgorithm, kid: &str) -> String {
        let header = json!({"alg": algorithm.as_str(), "kid": kid, "typ": "JWT"});
        let mut payload = self.claims.clone();
        payload.retain(|name, _| !RESERVED_CLAIMS.contains(&name.as_str()));
        let own = [
            ("aud", json!(self.audience)),
            ("exp", json!(self.not_after.unix_timestamp())),
            ("iat", json!(self.issued_at.unix_timestamp())),
            ("jti", json!(self.jti)),
            ("sub", json!(self.spiffe_id.as_str())),
        ];
        payload.extend(own.map(|(name, value)| (name.to_owned(), value)));
        payload.extend(self.issuer.as_ref().map(|issuer| ("iss".to_owned(), json!(issuer))));
        let mut unsigned = URL_SAFE_NO_PAD.encode(header.to_string());
        unsigned.push('.');
        URL_SAFE_NO_PAD.encode_string(Value::Object(payload).to_string(), &mut unsigned);
        unsigned
    }
}

/// Why a JWT-SVID is not valid.
#[derive(Debug, thiserror::Error)]
pub enum JwtSvidError {
    /// `alg` is absent or not one of the standard's (JWT-SVID §2.1).
    #[error("the algorithm {alg:?} is not one that a JWT-SVID may use")]
    Algorithm {
        /// What the header says.
        alg: String,
    },
    /// `aud` does not name us.
    #[error("the token is for {found:?}, not for {wanted:?}")]
    Audience {
        /// Whom it names, the first few.
        found: Vec<String>,
        /// Who asks.
        wanted: String,
    },
    /// A claim that must be there is not, or has another type.
    #[error("the claim {0} is absent or not of its type")]
    Claim(&'static str),
    /// Not a compact JWS.
    #[error("not a JWT")]
    Compact(#[from] CompactError),
    /// `exp` is past.
    #[error("the token expired at {}", rfc3339(*at))]
    Expired {
        /// When.
        at: OffsetDateTime,
    },
    /// A header other than `alg`, `kid` and `typ`, such as `crit` or `jwk`.
    #[error("a JWT-SVID has no header {name:?}")]
    Header {
        /// Which.
        name: String,
    },
    /// `sub` is a trust domain's ID.
    #[error("{0} names no workload: the ID has no path")]
    NoPath(SpiffeId),
    /// `nbf` or `iat` is to come.
    #[error("the token's {claim} is {}, which is to come", rfc3339(*at))]
    NotYet {
        /// `nbf` or `iat`.
        claim: &'static str,
        /// When.
        at: OffsetDateTime,
    },
    /// The signature is not by the key that `kid` names, or cannot be.
    #[error("the signature is not by the key that the token names")]
    Signature(#[source] CryptoError),
    /// `sub` is no SPIFFE ID.
    #[error("the token's subject is no SPIFFE ID")]
    Subject(#[source] SpiffeIdError),
    /// `typ` is neither absent nor `JWT` nor `JOSE`.
    #[error("the type {typ:?} is neither \"JWT\" nor \"JOSE\"")]
    Type {
        /// What the header says.
        typ: String,
    },
    /// The bundle of the subject's trust domain has no such key, or the token names none.
    #[error("the bundle of {trust_domain} has no JWT key {kid:?}")]
    UnknownKey {
        /// `kid`.
        kid: String,
        /// Whose bundle was asked.
        trust_domain: TrustDomain,
    },
    /// No bundle for the subject's trust domain.
    #[error("there is no bundle for the trust domain {0}")]
    UnknownTrustDomain(TrustDomain),
}

/// Validates a JWT-SVID for one audience against the bundle of its own trust domain (JWT-1 to JWT-23);
/// gives its ID and all its claims. Leeway 30 s.
///
/// # Errors
/// See [`JwtSvidError`].
pub fn validate_jwt_svid(
    svid: &str,
    audience: &str,
    bundles: &[&Bundle],
    now: OffsetDateTime,
) -> Result<(SpiffeId, Map<String, Value>), JwtSvidError> {
    let jwt = Compact::parse(svid)?;
    let (algorithm, kid) = check_header(&jwt.header)?;
    let id = SpiffeId::parse(text(&jwt.payload, "sub")?).map_err(JwtSvidError::Subject)?;
    if !id.names_a_workload() {
        return Err(JwtSvidError::NoPath(id));
    }
    check_audience(&jwt.payload, audience)?;
    check_times(&jwt.payload, now)?;
    let trust_domain = id.trust_domain();
    let Some(bundle) = bundles.iter().find(|bundle| bundle.trust_domain == trust_domain) else {
        return Err(JwtSvidError::UnknownTrustDomain(trust_domain));
    };
    let Some(authority) = bundle.jwt_authorities.iter().find(|authority| authority.kid == kid) else {
        return Err(JwtSvidError::UnknownKey { kid: quotable(kid), trust_domain });
    };
    authority.key.verify_jws(algorithm, jwt.signed.as_bytes(), &jwt.signature).map_err(JwtSvidError::Signature)?;
    Ok((id, jwt.payload))
}

/// The algorithm first of all (JWT-SVID §2.1), then that nothing else is demanded or offered in the header.
/// A token without `kid` names no key: legal, and refused by every client.
fn check_header(header: &Map<String, Value>) -> Result<(JwsAlgorithm, &str), JwtSvidError> {
    let alg = header.get("alg").and_then(Value::as_str).unwrap_or_default();
    let algorithm = JwsAlgorithm::named(alg).ok_or_else(|| JwtSvidError::Algorithm { alg: quotable(alg) })?;
    if let Some(name) = header.keys().find(|name| !matches!(name.as_str(), "alg" | "kid" | "typ")) {
        return Err(JwtSvidError::Header { name: quotable(name) });
    }
    if let Some(typ) = header.get("typ")
        && !matches!(typ.as_str(), Some("JWT" | "JOSE"))
    {
        return Err(JwtSvidError::Type { typ: quotable(&typ.to_string()) });
    }
    Ok((algorithm, text(header, "kid")?))
}

/// One text or a list of texts (RFC 7519 §4.1.3), one of which is the audience, compared exactly.
fn check_audience(payload: &Map<String, Value>, wanted: &str) -> Result<(), JwtSvidError> {
    let found = match payload.get("aud") {
        Some(Value::String(one)) => Some(vec![one.clone()]),
        Some(Value::Array(all)) => all.iter().map(|one| one.as_str().map(str::to_owned)).collect(),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => None,
    }
    .filter(|all| !all.is_empty() && all.iter().all(|one| !one.is_empty()))
    .ok_or(JwtSvidError::Claim("aud"))?;
    if found.iter().any(|one| one == wanted) {
        Ok(())
    } else {
        let found = found.iter().take(AUDIENCES_SHOWN_MAX).map(|one| quotable(one)).collect();
        Err(JwtSvidError::Audience { found, wanted: quotable(wanted) })
    }
}

fn check_times(payload: &Map<String, Value>, now: OffsetDateTime) -> Result<(), JwtSvidError> {
    let expires = moment(payload, "exp")?.ok_or(JwtSvidError::Claim("exp"))?;
    if now - LEEWAY >= expires {
        return Err(JwtSvidError::Expired { at: expires });
    }
    for claim in ["nbf", "iat"] {
        if let Some(at) = moment(payload, claim)?
            && at > now + LEEWAY
        {
            return Err(JwtSvidError::NotYet { claim, at });
        }
    }
    Ok(())
}

/// A time in whole seconds; a fraction or a text is no time (JWT-13).
fn moment(payload: &Map<String, Value>, claim: &'static str) -> Result<Option<OffsetDateTime>, JwtSvidError> {
    let Some(value) = payload.get(claim) else { return Ok(None) };
    let seconds = value.as_i64().ok_or(JwtSvidError::Claim(claim))?;
    OffsetDateTime::from_unix_timestamp(seconds).map(Some).map_err(|_range| JwtSvidError::Claim(claim))
}

fn text<'a>(object: &'a Map<String, Value>, name: &'static str) -> Result<&'a str, JwtSvidError> {
    object.get(name).and_then(Value::as_str).ok_or(JwtSvidError::Claim(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::JwtAuthority;
    use crate::crypto::KeyAlgorithm;
    use crate::svid::inspect_jwt;
    use time::macros::datetime;

    const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    fn key() -> KeyPair {
        KeyPair::generate(KeyAlgorithm::EcP256).unwrap()
    }

    fn bundle(trust_domain: &str, kid: &str, key: &KeyPair) -> Bundle {
        Bundle {
            trust_domain: TrustDomain::parse(trust_domain).unwrap(),
            sequence: 1,
            refresh_hint: std::time::Duration::from_secs(300),
            x509_authorities: Vec::new(),
            jwt_authorities: vec![JwtAuthority { kid: kid.to_owned(), key: key.public().clone() }],
        }
    }

    fn signed(header: &str, payload: &str, key: &KeyPair) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = URL_SAFE_NO_PAD.encode(key.sign_jws(signed.as_bytes()).unwrap());
        format!("{signed}.{signature}")
    }

    fn fields() -> JwtFields {
        JwtFields {
            issuer: Some("https://ci.example.org".to_owned()),
            spiffe_id: SpiffeId::parse("spiffe://example.org/acme/api/-/pipelines/574").unwrap(),
            audience: vec!["reports".to_owned()],
            jti: "0123".to_owned(),
            issued_at: NOW,
            not_after: NOW + Duration::minutes(5),
            claims: Map::new(),
        }
    }

    #[test]
    fn what_else_a_token_says_never_stands_in_the_place_of_what_we_say() {
        let mut forged: Map<String, Value> =
            RESERVED_CLAIMS.iter().map(|name| ((*name).to_owned(), json!("forged"))).collect();
        forged.insert("project_id".to_owned(), json!("42"));
        for key in [key(), KeyPair::generate(KeyAlgorithm::Rsa).unwrap()] {
            let fields = JwtFields { claims: forged.clone(), ..fields() };
            let token = fields.sign("j1", &key).unwrap();
            let algorithm = key.public().algorithm().jws_algorithm().unwrap();
            assert_eq!(token.len(), fields.bytes(algorithm, "j1"));
            let facts = inspect_jwt(&token).unwrap();
            assert_eq!((facts.algorithm, facts.issuer, facts.spiffe_id), (algorithm, fields.issuer, fields.spiffe_id));
            assert_eq!((facts.audience, facts.jti), (fields.audience, fields.jti));
            assert_eq!(facts.claims["project_id"], "42");
            let (_, said) = validate_jwt_svid(&token, "reports", &[&bundle("example.org", "j1", &key)], NOW).unwrap();
            assert_eq!(said["iss"], "https://ci.example.org");
        }
    }

    /// Shows: ID-19, JWT-2, JWT-13.
    #[test]
    fn what_is_signed_reads_back_and_validates() {
        let key = key();
        let token = fields().sign("j1", &key).unwrap();
        let facts = inspect_jwt(&token).unwrap();
        assert_eq!((facts.spiffe_id, facts.audience), (fields().spiffe_id, fields().audience));
        assert_eq!((facts.kid.as_str(), facts.jti, facts.not_after), ("j1", fields().jti, fields().not_after));
        let (id, claims) = validate_jwt_svid(&token, "reports", &[&bundle("example.org", "j1", &key)], NOW).unwrap();
        assert_eq!((id, claims["aud"].as_array().map(Vec::len)), (fields().spiffe_id, Some(1)));
        let payload = Compact::parse(&token).unwrap().payload;
        assert!(payload["exp"].is_i64() && payload["iat"].is_i64(), "plain integers");
    }

    /// Shows: JWT-12, JWT-14.
    #[test]
    fn the_leeway_is_thirty_seconds() {
        let key = key();
        let own = bundle("example.org", "j1", &key);
        let token = fields().sign("j1", &key).unwrap();
        let at = |now| validate_jwt_svid(&token, "reports", &[&own], now);
        assert!(at(fields().not_after + Duration::seconds(10)).is_ok());
        assert!(matches!(at(fields().not_after + Duration::seconds(30)), Err(JwtSvidError::Expired { .. })));
        assert!(at(NOW - Duration::seconds(30)).is_ok());
        assert!(matches!(at(NOW - Duration::seconds(31)), Err(JwtSvidError::NotYet { claim: "iat", .. })));
    }

    /// Shows: ID-19, JWT-16, JWT-17.
    #[test]
    fn the_right_kid_with_the_wrong_key_is_refused() {
        let (key, other) = (key(), key());
        let token = fields().sign("j1", &other).unwrap();
        let verdict = validate_jwt_svid(&token, "reports", &[&bundle("example.org", "j1", &key)], NOW);
        assert!(matches!(verdict, Err(JwtSvidError::Signature(_))));
        let none = validate_jwt_svid(&token, "reports", &[], NOW);
        assert!(matches!(none, Err(JwtSvidError::UnknownTrustDomain(_))));
    }

    /// Shows: JWT-1, JWT-7.
    #[test]
    fn only_compact_strict_tokens_are_read() {
        let key = key();
        let own = bundle("example.org", "j1", &key);
        let good = fields().sign("j1", &key).unwrap();
        let doubled = signed(
            r#"{"alg":"ES256","kid":"j1","kid":"j1"}"#,
            &json!({"sub": "spiffe://example.org/x", "aud": "reports", "exp": NOW.unix_timestamp()}).to_string(),
            &key,
        );
        let (two, _signature) = good.rsplit_once('.').unwrap();
        for odd in
            ["", "a", "..", two, &format!("{good}.x"), &format!("{good}.x.y"), &format!("{good}="), "{}", &doubled]
        {
            let verdict = validate_jwt_svid(odd, "reports", &[&own], NOW);
            assert!(matches!(verdict, Err(JwtSvidError::Compact(_))), "{odd}: {verdict:?}");
        }
        let huge = "a".repeat(100_000);
        assert!(matches!(
            validate_jwt_svid(&huge, "reports", &[&own], NOW),
            Err(JwtSvidError::Compact(CompactError::TooLarge { .. }))
        ));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_refused_without_a_panic(header in ".{0,40}", payload in ".{0,40}", text in "[a-zA-Z0-9_.=-]{0,60}") {
            let own = bundle("example.org", "j1", &key());
            let made = format!("{}.{}.AAAA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
            for odd in [made, text] {
                proptest::prop_assert!(validate_jwt_svid(&odd, "reports", &[&own], NOW).is_err());
            }
        }
    }
}
