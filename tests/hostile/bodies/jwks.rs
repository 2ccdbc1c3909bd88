//! An issuer's key set: what is kept is a named public key that the document holds.

use super::Seed;
use super::law::{Cost, can_be_shown};
use super::signed::jwk;
use lanyard::token::KeySet;
use serde_json::{Value, json};

/// Each entry is read for itself, and a key is kept in the library's form.
const COST: Cost = Cost { at_once: 32, in_all: 128, free: 64 * 1024 };

/// One of each kind, and one of every kind that is passed over.
pub fn seeds() -> Vec<Seed> {
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let rsa = json!({"kty": "RSA", "kid": "rsa", "use": "sig", "alg": "RS256", "n": n, "e": "AQAB"});
    let odd = [json!({"kty": "oct", "kid": "s", "k": "AAAA"}), json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"})];
    vec![
        Seed::new("a-point", json!({"keys": [jwk("sig")]}).to_string()),
        Seed::new("rsa", json!({"keys": [rsa]}).to_string()),
        Seed::new("among-others", json!({"keys": [odd[0], rsa, odd[1], jwk("sig")], "more": {"a": [1]}}).to_string()),
    ]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let keys = match COST.of(bytes.len(), || KeySet::parse(bytes)) {
        Ok(keys) => keys,
        Err(error) => {
            can_be_shown(&error);
            return false;
        }
    };
    assert!(bytes.len() <= 256 * 1024);
    // The other reader minds numbers and surrogates in members that ours reads past.
    let Ok(document) = serde_json::from_slice::<Value>(bytes) else { return true };
    let listed = document["keys"].as_array().expect("it lists its keys");
    assert!(keys.kids().count() > 0);
    for kid in keys.kids() {
        assert!(!kid.is_empty() && keys.holds(kid));
        let public = |key: &&Value| matches!(key["kty"].as_str(), Some("EC" | "RSA"));
        assert!(listed.iter().filter(public).any(|key| key["kid"] == kid), "{kid:?} is in no entry");
    }
    true
}
