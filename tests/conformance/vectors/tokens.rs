//! JWT-SVIDs and WIT-SVIDs, signed here with keys of our own, as the vectors' notes want it.

use super::{Judge, Verdict, text};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lanyard::bundle::{Bundle, JwtAuthority};
use lanyard::crypto::{KeyAlgorithm, KeyPair};
use lanyard::identity::TrustDomain;
use lanyard::svid::validate_jwt_svid;
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;

const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

/// The trust domains that the vectors speak of, each with its key, under the same names.
struct Known {
    key: KeyPair,
    bundles: [Bundle; 2],
}

impl Known {
    fn new(kid: &str) -> Self {
        let key = || KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
        let (key, other) = (key(), key());
        let bundles = [bundle("example.org", kid, &key), bundle("other.example", kid, &other)];
        Self { key, bundles }
    }

    fn validate(&self, vector: &Value) -> Verdict {
        let token = signed(&vector["header"].to_string(), &with_times(&vector["payload"]).to_string(), &self.key);
        Verdict::of(validate_jwt_svid(&token, "reports", &self.bundles.each_ref(), NOW))
    }
}

pub(super) fn jwt_svid() -> Judge {
    let known = Known::new("j1");
    Box::new(move |vector| Some(known.validate(vector)))
}

/// WIT-SVIDs are incubating, and nothing of Lanyard makes or reads them. The one door that takes a token of a trust
/// domain is the validation of JWT-SVIDs: there the ill-formed ones and the well-formed one alike must be turned away.
pub(super) fn wit_svid() -> Judge {
    let known = Known::new("w1");
    Box::new(move |vector| match (known.validate(vector), text(vector, "verdict")) {
        (Verdict::Refused(_), "accept") => Some(Verdict::NotOffered),
        (verdict, _) => Some(verdict),
    })
}

fn bundle(trust_domain: &str, kid: &str, key: &KeyPair) -> Bundle {
    Bundle {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        sequence: 1,
        refresh_hint: Duration::from_secs(300),
        x509_authorities: Vec::new(),
        jwt_authorities: vec![JwtAuthority { kid: kid.to_owned(), key: key.public().clone() }],
    }
}

fn signed(header: &str, payload: &str, key: &KeyPair) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(key.sign_jws(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// Puts a number for the text `$now+N`, and a text for the same in quotes of its own.
fn with_times(payload: &Value) -> Value {
    match payload {
        Value::String(text) => match text.trim_matches('"').strip_prefix("$now") {
            None => payload.clone(),
            Some(offset) if text.starts_with('"') => moment(offset).to_string().into(),
            Some(offset) => moment(offset),
        },
        Value::Array(items) => items.iter().map(with_times).collect(),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), with_times(value))).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => payload.clone(),
    }
}

/// So many seconds from now; a fraction stays one.
fn moment(offset: &str) -> Value {
    let (whole, fraction) = offset.split_once('.').unwrap_or((offset, ""));
    let seconds = NOW.unix_timestamp() + whole.parse::<i64>().unwrap_or(0);
    let number = if fraction.is_empty() { seconds.to_string() } else { format!("{seconds}.{fraction}") };
    serde_json::from_str(&number).unwrap()
}
