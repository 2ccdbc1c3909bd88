//! An issuer's public keys, from its JWK set (RFC 7517 §5), each made ready once.

use super::error::TokenError;
use super::parse::TokenAlgorithm;
use crate::bundle::{self, JwtAuthority};
use crate::telemetry::quotable;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// The largest document that is read: a set of a hundred RSA keys is about 50 KiB.
const JWKS_BYTES_MAX: usize = 256 * 1024;

/// The keys of one issuer that can verify its tokens.
#[derive(Clone)]
pub struct KeySet(BTreeMap<String, Key>);

#[derive(Clone)]
struct Key {
    algorithm: TokenAlgorithm,
    ready: DecodingKey,
}

/// Why a document is no key set.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Not a JWK set.
    #[error("not a JWK set")]
    Json(#[source] serde_json::Error),
    /// It holds no key that we could use.
    #[error("none of its {entries} keys is usable: RSA of 2048 to 8192 bits or EC P-256, with kid, for signatures")]
    NoUsableKey {
        /// How many it lists.
        entries: usize,
    },
    /// Over 256 KiB.
    #[error("the JWK set has {actual} bytes, at most {JWKS_BYTES_MAX} are read")]
    TooLarge {
        /// What came.
        actual: usize,
    },
}

impl KeySet {
    /// Reads a JWK set and keeps what can verify: RSA of 2048 bits or more and P-256, with a `kid`, for signatures.
    /// Other entries are passed over (RFC 7517 §5), symmetric ones above all.
    ///
    /// # Errors
    /// `TooLarge`, `Json`, or `NoUsableKey` when nothing is left.
    pub fn parse(jwks_json: &[u8]) -> Result<Self, JwksError> {
        if jwks_json.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLarge { actual: jwks_json.len() });
        }
        let document: Document<'_> = serde_json::from_slice(jwks_json).map_err(JwksError::Json)?;
        let mut keys = BTreeMap::new();
        for entry in &document.keys {
            let usable = serde_json::from_str::<Jwk>(entry.get()).ok().and_then(Jwk::into_key);
            if let Some((kid, key)) = usable {
                keys.entry(kid).or_insert(key);
            }
        }
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey { entries: document.keys.len() });
        }
        Ok(Self(keys))
    }

    /// The keys of a trust domain, as its bundle has them.
    ///
    /// # Errors
    /// `NoUsableKey` where none of them is of a kind that signs here.
    pub fn of_bundle(authorities: &[JwtAuthority]) -> Result<Self, JwksError> {
        let jwk = |authority: &JwtAuthority| {
            let mut members = bundle::Jwk::of(&authority.key.numbers()).into_members();
            members.insert("kid".to_owned(), authority.kid.clone().into());
            Value::Object(members)
        };
        let keys: Vec<_> = authorities.iter().map(jwk).collect();
        Self::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    /// Whether a key of this name is there.
    pub fn holds(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    /// The names of its keys.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Verifies `signature` (still base64url) over `message` with the named key, by that key's own algorithm.
    pub(super) fn verify(&self, kid: &str, token: TokenAlgorithm, parts: (&str, &str)) -> Result<(), TokenError> {
        let (message, signature) = parts;
        let key = self.0.get(kid).ok_or_else(|| TokenError::KeyUnknown { kid: quotable(kid) })?;
        if key.algorithm != token {
            return Err(TokenError::AlgorithmRefused { alg: token.as_str().to_owned() });
        }
        let algorithm = match key.algorithm {
            TokenAlgorithm::Es256 => Algorithm::ES256,
            TokenAlgorithm::Rs256 => Algorithm::RS256,
        };
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.ready, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TokenError::Signature),
        }
    }
}

/// Prints the names of its keys.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Jwk {
    kid: Option<String>,
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The key's name and the key, if it is one that we use.
    fn into_key(self) -> Option<(String, Key)> {
        let for_signatures = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let (algorithm, ready) = match self.kty.as_str() {
            "EC" => (TokenAlgorithm::Es256, self.p256()?),
            "RSA" => (TokenAlgorithm::Rs256, self.rsa()?),
            _ => return None,
        };
        let same_algorithm = self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str());
        let kid = self.kid.filter(|kid| !kid.is_empty() && for_signatures && same_algorithm)?;
        Some((kid, Key { algorithm, ready }))
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let n = URL_SAFE_NO_PAD.decode(self.n.as_ref()?).ok()?;
        let e = URL_SAFE_NO_PAD.decode(self.e.as_ref()?).ok()?;
        // RFC 7518 §3.3 wants 2048 bits; the library takes up to 8192, and exponents from 3 to 33 bits.
        let bits = n.len() * 8 - usize::try_from(n.first()?.leading_zeros()).ok()?;
        let sane_exponent = (1..=5).contains(&e.len()) && e.first() != Some(&0) && e.last()? % 2 == 1 && e != [1];
        ((2048..=8192).contains(&bits) && n.first() != Some(&0) && sane_exponent)
            .then(|| DecodingKey::from_rsa_raw_components(&n, &e))
    }

    fn p256(&self) -> Option<DecodingKey> {
        // RFC 7518 §6.2.1.2: both numbers have the full 32 bytes of the curve.
        let (x, y) = (URL_SAFE_NO_PAD.decode(self.x.as_ref()?).ok()?, URL_SAFE_NO_PAD.decode(self.y.as_ref()?).ok()?);
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        (self.crv.as_deref() == Some("P-256") && x.len() == 32 && y.len() == 32)
            .then(|| DecodingKey::from_ec_der(&point))
    }
}
