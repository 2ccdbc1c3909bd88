//! The SPIFFE bundle format (SPIFFE Trust Domain and Bundle §4), and the forms clients read.
//!
//! As a reader: a document that is no bundle is refused whole, an entry that is odd is skipped alone, so that one
//! publisher's slip does not end all trust. As a writer: known keys only, in the exact members of the standard.

use super::authority::{certified_key, ends_at};
use super::entry::{Entry, JWT_USE, OddEntry, WIT_USE, X509_USE, member};
use super::{Jwk, StrictJson, StrictJsonError};
use crate::crypto::{PemLabel, PublicKey};
use crate::identity::TrustDomain;
use crate::telemetry::quotable;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use time::OffsetDateTime;

/// The largest document that is read (FED-7).
pub(super) const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;

/// A trust domain's bundle; the name never travels apart from it (TDB-24).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bundle {
    /// Whose keys these are.
    pub trust_domain: TrustDomain,
    /// Grows on every change.
    pub sequence: u64,
    /// How often to look again; what a publisher says, unclamped.
    pub refresh_hint: Duration,
    /// Root certificates, oldest first.
    pub x509_authorities: Vec<CertificateDer<'static>>,
    /// Keys that verify JWT-SVIDs.
    pub jwt_authorities: Vec<JwtAuthority>,
}

/// A key that verifies JWT-SVIDs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtAuthority {
    /// The RFC 7638 thumbprint, or what a foreign publisher chose.
    pub kid: String,
    /// The key.
    pub key: PublicKey,
}

/// Why a document is no bundle. Odd entries are skipped one by one and are no error (TDB-8 to TDB-16).
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// One `kid` for two keys: which of them a token means cannot be told.
    #[error("two keys have the kid {kid:?}")]
    DoubledKid {
        /// Which.
        kid: String,
    },
    /// Not a JSON object, data behind it, or a name twice.
    #[error("the bundle document is not a strict JSON object")]
    Json(#[from] StrictJsonError),
    /// `keys` is absent or no list.
    #[error("the bundle document has no list \"keys\"")]
    Keys,
    /// `spiffe_refresh_hint` is not a number of seconds.
    #[error("spiffe_refresh_hint is not a whole number of seconds")]
    RefreshHint,
    /// `spiffe_sequence` is not an integer of 64 bits.
    #[error("spiffe_sequence is not a whole number of at most 64 bits")]
    Sequence,
    /// Over 1 MiB.
    #[error("the bundle document has {actual} bytes, at most {DOCUMENT_BYTES_MAX} are read")]
    TooLarge {
        /// What came.
        actual: usize,
    },
}

impl JwtAuthority {
    /// The key under its RFC 7638 thumbprint.
    pub fn new(key: PublicKey) -> Self {
        Self { kid: Jwk::of(&key.numbers()).thumbprint(), key }
    }

    pub(super) fn to_jwk(&self) -> Map<String, Value> {
        let mut jwk = Jwk::of(&self.key.numbers()).into_members();
        jwk.insert("kid".to_owned(), self.kid.clone().into());
        jwk
    }
}

impl Bundle {
    /// How often to look again when the document does not say (FED-4).
    pub const REFRESH_UNSET: Duration = Duration::from_secs(300);

    /// Reads a SPIFFE bundle document; at most 1 MiB.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn parse(trust_domain: TrustDomain, json: &[u8]) -> Result<Self, BundleError> {
        Self::parse_telling(trust_domain, json).map(|(bundle, _odd)| bundle)
    }

    /// The same, with the entries that are left out.
    ///
    /// # Errors
    /// See [`BundleError`].
    pub fn parse_telling(trust_domain: TrustDomain, json: &[u8]) -> Result<(Self, Vec<OddEntry>), BundleError> {
        if json.len() > DOCUMENT_BYTES_MAX {
            return Err(BundleError::TooLarge { actual: json.len() });
        }
        Self::from_document(trust_domain, &StrictJson::object(json)?)
    }

    /// Reads what [`StrictJson`] made of a document.
    pub(super) fn from_document(
        trust_domain: TrustDomain,
        document: &Map<String, Value>,
    ) -> Result<(Self, Vec<OddEntry>), BundleError> {
        let keys = document.get("keys").and_then(Value::as_array).ok_or(BundleError::Keys)?;
        check_kids(keys)?;
        let whole = |name: &str| document.get(name).map(Value::as_u64);
        let hint = whole("spiffe_refresh_hint").unwrap_or(Some(0)).ok_or(BundleError::RefreshHint)?;
        let mut bundle = Self {
            trust_domain,
            sequence: whole("spiffe_sequence").unwrap_or(Some(0)).ok_or(BundleError::Sequence)?,
            refresh_hint: if hint == 0 { Self::REFRESH_UNSET } else { Duration::from_secs(hint) },
            x509_authorities: Vec::new(),
            jwt_authorities: Vec::new(),
        };
        let mut odd = Vec::new();
        for (at, entry) in (1..).zip(keys) {
            match Entry::read(entry) {
                Ok(Entry::Jwt(authority)) => bundle.jwt_authorities.push(authority),
                Ok(Entry::Wit) => {}
                Ok(Entry::X509(certificate)) => bundle.x509_authorities.push(certificate),
                Err(why) => odd.push(OddEntry { at, why }),
            }
        }
        Ok((bundle, odd))
    }

    /// The SPIFFE bundle document, JSON.
    pub fn to_json(&self) -> Vec<u8> {
        let x509 = self.x509_authorities.iter().filter_map(|authority| {
            let mut jwk = Jwk::of(&certified_key(authority).ok()?.numbers()).into_members();
            jwk.insert("use".to_owned(), X509_USE.into());
            jwk.insert("x5c".to_owned(), json!([STANDARD.encode(authority)]));
            Some(jwk)
        });
        let jwt = self.jwt_authorities.iter().map(|authority| {
            let mut jwk = authority.to_jwk();
            jwk.insert("use".to_owned(), JWT_USE.into());
            jwk
        });
        let document = json!({
            "keys": x509.chain(jwt).collect::<Vec<_>>(),
            "spiffe_refresh_hint": self.refresh_hint.as_secs(),
            "spiffe_sequence": self.sequence,
        });
        document.to_string().into_bytes()
    }

    /// What tells its keys apart: the digest of each key of an X.509 authority, the `kid` of each JWT key.
    pub fn key_ids(&self) -> Vec<String> {
        let x509 = self.x509_authorities.iter().filter_map(|der| Some(certified_key(der).ok()?.id().to_string()));
        x509.chain(self.jwt_authorities.iter().map(|authority| authority.kid.clone())).collect()
    }

    /// When the last of the X.509 authorities ends; none where there are none.
    pub fn authorities_end_at(&self) -> Option<OffsetDateTime> {
        self.x509_authorities.iter().filter_map(ends_at).max()
    }

    /// The X.509 authorities as PEM.
    pub fn to_pem(&self) -> String {
        self.x509_authorities.iter().map(|authority| PemLabel::Certificate.armour(authority).to_string()).collect()
    }

    /// The X.509 authorities as DER, back to back, as the Workload API wants them (WAPI-19).
    pub fn to_der(&self) -> Vec<u8> {
        self.x509_authorities.iter().flat_map(AsRef::as_ref).copied().collect()
    }

    /// A JWK Set with the JWT keys only, as the Workload API wants it (WAPI-24).
    pub fn to_jwks(&self) -> Vec<u8> {
        let keys: Vec<_> = self.jwt_authorities.iter().map(JwtAuthority::to_jwk).collect();
        json!({ "keys": keys }).to_string().into_bytes()
    }
}

/// `kid` is unique over all JWT and WIT keys (TDB-19).
fn check_kids(keys: &[Value]) -> Result<(), BundleError> {
    let mut seen = BTreeSet::new();
    for entry in
        keys.iter().filter_map(Value::as_object).filter(|entry| matches!(member(entry, "use"), Some(JWT_USE | WIT_USE)))
    {
        if let Some(kid) = member(entry, "kid")
            && !seen.insert(kid)
        {
            return Err(BundleError::DoubledKid { kid: quotable(kid) });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    fn parse(json: &str) -> Result<Bundle, BundleError> {
        Bundle::parse(TrustDomain::parse("example.org").unwrap(), json.as_bytes())
    }

    /// Vector BND-2: two CAs and a JWT key.
    fn rotating() -> Bundle {
        let vectors: Value =
            serde_json::from_str(include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/spiffe.json")))
                .unwrap();
        parse(vectors["bundle"][1]["input"].as_str().unwrap()).unwrap()
    }

    /// Shows: TDB-1, TDB-5, TDB-11, TDB-26.
    #[test]
    fn what_is_published_is_what_was_read_in_exactly_the_standards_members() {
        let bundle = rotating();
        let json = bundle.to_json();
        assert_eq!(Bundle::parse(bundle.trust_domain.clone(), &json).unwrap(), bundle);
        let document = StrictJson::object(&json).unwrap();
        let members = |at: usize| document["keys"][at].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(members(0), ["crv", "kty", "use", "x", "x5c", "y"]);
        assert_eq!(members(2), ["crv", "kid", "kty", "use", "x", "y"]);
    }

    /// Shows: WAPI-19, WAPI-24, WAPI-25, WAPI-34.
    #[test]
    fn the_workload_apis_forms_hold_one_kind_of_key_each() {
        let bundle = rotating();
        let der = bundle.to_der();
        let (behind, _first) = X509Certificate::from_der(&der).unwrap();
        let (behind, _second) = X509Certificate::from_der(behind).unwrap();
        assert!(behind.is_empty());
        let jwks = StrictJson::object(&bundle.to_jwks()).unwrap();
        let keys = jwks["keys"].as_array().unwrap();
        assert_eq!((keys.len(), keys[0].get("use"), keys[0]["kid"].as_str()), (1, None, Some("j1")));
        let empty = Bundle { x509_authorities: Vec::new(), jwt_authorities: Vec::new(), ..bundle };
        assert_eq!((empty.to_jwks().as_slice(), empty.to_pem().as_str()), (b"{\"keys\":[]}".as_slice(), ""));
    }

    /// Shows: JWT-3, TDB-8.
    #[test]
    fn a_foreign_domain_s_p521_key_verifies_its_tokens_and_a_curve_of_nobodys_is_skipped() {
        use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
        let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(66);
        let number = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
        let entry = |curve: &str| json!({"use": JWT_USE, "kid": curve, "kty": "EC", "crv": curve, "x": number(x), "y": number(y)});
        let bundle = parse(&json!({"keys": [entry("P-256K"), entry("P-384"), entry("P-521")]}).to_string()).unwrap();
        let [authority] = &bundle.jwt_authorities[..] else { panic!("one key") };
        let signature = pair.sign(&aws_lc_rs::rand::SystemRandom::new(), b"message").unwrap();
        let es512 = crate::crypto::JwsAlgorithm::named("ES512").unwrap();
        authority.key.verify_jws(es512, b"message", signature.as_ref()).unwrap();
        assert_eq!(Bundle::parse(bundle.trust_domain.clone(), &bundle.to_json()).unwrap(), bundle);
    }

    #[test]
    fn the_pem_reads_back() {
        use rustls_pki_types::pem::PemObject;
        let bundle = rotating();
        let back: Vec<_> =
            CertificateDer::pem_slice_iter(bundle.to_pem().as_bytes()).collect::<Result<_, _>>().unwrap();
        assert_eq!(back, bundle.x509_authorities);
        assert!(bundle.to_pem().lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn a_document_over_one_mebibyte_is_not_looked_at() {
        let refused = parse(&" ".repeat(DOCUMENT_BYTES_MAX + 1)).unwrap_err();
        assert!(matches!(refused, BundleError::TooLarge { .. }));
    }

    proptest::proptest! {
        /// Shows: TDB-8, TDB-9, TDB-14, TDB-15.
        #[test]
        fn any_bytes_are_a_bundle_or_refused(json in ".{0,80}", use_ in "x509-svid|jwt-svid|.{0,4}", value in ".{0,20}") {
            drop(parse(&json));
            let entry = json!({"use": use_, "kty": "EC", "crv": "P-256", "kid": value, "x": value, "y": value, "x5c": [value]});
            let bundle = parse(&json!({"keys": [entry]}).to_string()).unwrap();
            proptest::prop_assert!(bundle.x509_authorities.is_empty() && bundle.jwt_authorities.is_empty());
        }
    }
}
