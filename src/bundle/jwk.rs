//! One public key as a JSON Web Key (RFC 7517): its members, its thumbprint, and reading it back.

use crate::crypto::{Digest, PublicKey, PublicNumbers};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Members that only private and symmetric keys have (RFC 7518 §6).
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public key as the members that RFC 7638 §3.2 calls required, and no others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Jwk(Map<String, Value>);

impl Jwk {
    /// The JWK of a key with these numbers.
    pub fn of(numbers: &PublicNumbers) -> Self {
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let members = match numbers {
            PublicNumbers::Ec { curve, x, y } => {
                vec![("crv", (*curve).to_owned()), ("kty", "EC".to_owned()), ("x", number(x)), ("y", number(y))]
            }
            PublicNumbers::Ed25519 { x } => {
                vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", number(x))]
            }
            PublicNumbers::Rsa { n, e } => vec![("e", number(e)), ("kty", "RSA".to_owned()), ("n", number(n))],
        };
        Self(members.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect())
    }

    /// Reads the key out of a JWK; none if it is of a kind we do not take, misshapen, or not public.
    pub fn read(jwk: &Map<String, Value>) -> Option<PublicKey> {
        if PRIVATE_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
            return None;
        }
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        let numbers = match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => PublicNumbers::Ec { curve: "P-256", x: number("x")?, y: number("y")? },
            ("EC", Some("P-384")) => PublicNumbers::Ec { curve: "P-384", x: number("x")?, y: number("y")? },
            ("EC", Some("P-521")) => PublicNumbers::Ec { curve: "P-521", x: number("x")?, y: number("y")? },
            ("OKP", Some("Ed25519")) => PublicNumbers::Ed25519 { x: number("x")? },
            ("RSA", _) => PublicNumbers::Rsa { n: number("n")?, e: number("e")? },
            _ => return None,
        };
        PublicKey::from_numbers(&numbers).ok()
    }

    /// The members, in the order of their names.
    pub fn into_members(self) -> Map<String, Value> {
        self.0
    }

    /// The key's name by RFC 7638: base64url of the SHA-256 of its required members.
    pub fn thumbprint(&self) -> String {
        // None of the values needs escaping, and the names stand in order.
        let members: Vec<_> = self
            .0
            .iter()
            .map(|(name, value)| format!("\"{name}\":\"{}\"", value.as_str().unwrap_or_default()))
            .collect();
        URL_SAFE_NO_PAD.encode(Digest::of(format!("{{{}}}", members.join(",")).as_bytes()).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows: TDB-19.
    #[test]
    fn the_thumbprint_of_rfc_7638_section_3_1() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
        let jwk: Value = serde_json::json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"});
        let key = Jwk::read(jwk.as_object().unwrap()).unwrap();
        assert_eq!(Jwk::of(&key.numbers()).thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }

    /// Shows: TDB-18.
    #[test]
    fn a_private_or_symmetric_key_is_no_public_one() {
        let mut jwk = serde_json::json!({"kty": "EC", "crv": "P-256",
            "x": "nVpTRyP_oErWN1UDywTmdNYq8GfIQi8G6qTyRPFgxVM", "y": "AQyYPVNWdqYGIbbO_DJXUgx-H3c5UpYaFvVacsrhhu0"});
        assert!(Jwk::read(jwk.as_object().unwrap()).is_some());
        jwk["d"] = "AAAA".into();
        assert!(Jwk::read(jwk.as_object().unwrap()).is_none());
        assert!(Jwk::read(serde_json::json!({"kty": "oct", "k": "AAAA"}).as_object().unwrap()).is_none());
    }
}
