//! A SPIFFE bundle document: what is read, written and read again is the same.

use super::Seed;
use super::law::{Cost, can_be_shown};
use super::signed::jwk;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use lanyard::bundle::Bundle;
use lanyard::crypto::{PublicKey, PublicNumbers};
use lanyard::identity::TrustDomain;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

/// A tree of values is kept, of some seventy bytes each, and `1,` is one.
const COST: Cost = Cost { at_once: 128, in_all: 512, free: 64 * 1024 };

/// A root's key, and its certificate.
pub(super) fn authority() -> (rcgen::KeyPair, rcgen::Certificate) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let root = params.self_signed(&key).unwrap();
    (key, root)
}

/// One of ours, and the standard's own examples.
pub fn seeds() -> Vec<Seed> {
    let (key, root) = authority();
    let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
    let numbers = PublicKey::from_spki_der(&spki).unwrap().numbers();
    let PublicNumbers::Ec { x, y, .. } = numbers else { unreachable!("rcgen makes P-256 keys") };
    let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
    let x5c = STANDARD.encode(root.der());
    let authority = json!({"use": "x509-svid", "kty": "EC", "crv": "P-256", "x": x, "y": y, "x5c": [x5c]});
    let ours = json!({"keys": [authority, jwk("jwt-svid")], "spiffe_sequence": 7, "spiffe_refresh_hint": 300});
    let vectors: Value = serde_json::from_str(include_str!("../../vectors/spiffe.json")).unwrap();
    let accepted = vectors["bundle"].as_array().unwrap().iter().filter(|vector| vector["verdict"] == "accept");
    let theirs =
        accepted.map(|vector| Seed::new(vector["id"].as_str().unwrap(), vector["input"].as_str().unwrap().as_bytes()));
    [Seed::new("ours", ours.to_string())].into_iter().chain(theirs).collect()
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let bundle = match COST.of(bytes.len(), || Bundle::parse(trust_domain.clone(), bytes)) {
        Ok(bundle) => bundle,
        Err(error) => {
            can_be_shown(&error);
            return false;
        }
    };
    assert!(bytes.len() <= 1024 * 1024);
    let again = Bundle::parse(trust_domain, &bundle.to_json()).expect("what we write we read");
    assert_eq!(again, bundle);
    let armoured = CertificateDer::pem_slice_iter(bundle.to_pem().as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(armoured, bundle.x509_authorities);
    let jwks: Value = serde_json::from_slice(&bundle.to_jwks()).unwrap();
    let kids: Vec<&str> = jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    let mut distinct = kids.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!((kids.len(), distinct.len()), (bundle.jwt_authorities.len(), kids.len()));
    true
}
