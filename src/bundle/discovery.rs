//! What readers of OIDC verify our JWT-SVIDs with: a discovery document and the key set that it names
//! (OIDC Discovery 1.0 §3; RFC 7517).
//!
//! Only what such readers need stands in it: we log nobody in, so there is no endpoint for that.

use super::{Bundle, IssuerUrl, JwtAuthority};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The claims that every JWT-SVID of ours has.
const CLAIMS: [&str; 6] = ["aud", "exp", "iat", "iss", "jti", "sub"];

/// The two documents, JSON.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Discovery {
    /// `/.well-known/openid-configuration`.
    pub configuration: Vec<u8>,
    /// `/keys`: the JWT keys alone, each with what it signs by.
    pub keys: Vec<u8>,
}

impl Bundle {
    /// The documents that stand below an issuer's URL.
    pub fn discovery(&self, issuer: &IssuerUrl) -> Discovery {
        let algorithms: BTreeSet<&str> = self.jwt_authorities.iter().filter_map(JwtAuthority::algorithm).collect();
        let configuration = json!({
            "issuer": issuer.as_str(),
            "jwks_uri": issuer.keys(),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": algorithms,
            "claims_supported": CLAIMS,
        });
        let keys: Vec<_> = self.jwt_authorities.iter().filter_map(JwtAuthority::to_signing_jwk).collect();
        let keys = json!({ "keys": keys });
        Discovery { configuration: configuration.to_string().into_bytes(), keys: keys.to_string().into_bytes() }
    }
}

impl JwtAuthority {
    fn algorithm(&self) -> Option<&'static str> {
        Some(self.key.algorithm().jws_algorithm()?.as_str())
    }

    /// Readers choose by `kid`, and some take only keys that say that they sign, and how (RFC 7517 §4.2, §4.4).
    fn to_signing_jwk(&self) -> Option<Map<String, Value>> {
        let mut jwk = self.to_jwk();
        jwk.insert("alg".to_owned(), self.algorithm()?.into());
        jwk.insert("use".to_owned(), "sig".into());
        Some(jwk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyAlgorithm, KeyPair};
    use crate::identity::TrustDomain;
    use std::time::Duration;

    #[test]
    fn the_documents_name_the_issuer_and_each_key_with_what_it_signs_by() {
        let key = |kind| JwtAuthority::new(KeyPair::generate(kind).unwrap().public().clone());
        let bundle = Bundle {
            trust_domain: TrustDomain::parse("ci.example.org").unwrap(),
            sequence: 1,
            refresh_hint: Duration::from_secs(300),
            x509_authorities: Vec::new(),
            jwt_authorities: [KeyAlgorithm::EcP256, KeyAlgorithm::EcP256, KeyAlgorithm::Rsa].map(key).to_vec(),
        };
        let documents = bundle.discovery(&"https://ci.example.org/lanyard".parse().unwrap());
        let configuration: Value = serde_json::from_slice(&documents.configuration).unwrap();
        let wanted = json!({
            "issuer": "https://ci.example.org/lanyard",
            "jwks_uri": "https://ci.example.org/lanyard/keys",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            "claims_supported": ["aud", "exp", "iat", "iss", "jti", "sub"],
        });
        assert_eq!(configuration, wanted);
        let keys: Value = serde_json::from_slice(&documents.keys).unwrap();
        for (at, authority) in bundle.jwt_authorities.iter().enumerate() {
            let jwk = keys["keys"][at].as_object().unwrap();
            assert_eq!((jwk["kid"].as_str(), jwk["use"].as_str()), (Some(&*authority.kid), Some("sig")));
            assert_eq!(jwk["alg"].as_str(), authority.algorithm());
            assert_eq!(crate::bundle::Jwk::read(jwk).unwrap(), authority.key);
        }
    }
}
