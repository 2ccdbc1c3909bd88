//! A certificate request, DER or PEM: an accepted one is in one form only, and its own key signed it.

use super::Seed;
use super::law::{Cost, can_be_shown};
use lanyard::crypto::{KeyAlgorithm, PemLabel};
use lanyard::svid::{CsrError, ProvenKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

const CSR_BYTES_MAX: usize = 16 * 1024;
const KINDS: [KeyAlgorithm; 1] = [KeyAlgorithm::EcP256];

/// One with names and extensions in it, one that is a wish for nothing, and the same in text armour.
pub fn seeds() -> Vec<Seed> {
    let key = rcgen::KeyPair::generate().unwrap();
    let made = |params: rcgen::CertificateParams| params.serialize_request(&key).unwrap().der().to_vec();
    let mut plain = rcgen::CertificateParams::default();
    plain.distinguished_name = rcgen::DistinguishedName::new();
    let (plain, named) = (made(plain), made(rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap()));
    let pem = PemLabel::CertificateRequest.armour(&named).as_bytes().to_vec();
    vec![Seed::new("plain", plain), Seed::new("with-names", named), Seed::new("in-armour", pem)]
}

/// See the file's words.
pub fn body(bytes: &[u8]) -> bool {
    let by_text = match str::from_utf8(bytes) {
        Ok(text) => judged(bytes, || ProvenKey::of_pem_among(text, &KINDS)).is_some(),
        Err(_not_text) => false,
    };
    let Some(proven) = judged(bytes, || ProvenKey::of_der(bytes)) else { return by_text };
    let key = proven.key();
    assert_eq!(key.algorithm(), KeyAlgorithm::EcP256);
    assert!(bytes.windows(key.spki_der().len()).any(|window| window == key.spki_der()));
    let (rest, request) = X509CertificationRequest::from_der(bytes).expect("another reader takes it too");
    assert!(rest.is_empty() && request.verify_signature().is_ok());
    let armoured = PemLabel::CertificateRequest.armour(bytes);
    if armoured.len() <= CSR_BYTES_MAX {
        assert_eq!(ProvenKey::of_pem_among(&armoured, &KINDS).unwrap().key(), key);
    }
    for at in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 1] {
        let mut other = bytes.to_vec();
        other[at] ^= 1 << (bytes[at] % 8);
        assert!(ProvenKey::of_der(&other).is_err(), "changed at {at}");
    }
    true
}

fn judged(bytes: &[u8], read: impl FnOnce() -> Result<ProvenKey, CsrError>) -> Option<ProvenKey> {
    match Cost::SMALL.of(bytes.len(), read) {
        Ok(proven) => {
            assert!(bytes.len() <= CSR_BYTES_MAX);
            Some(proven)
        }
        Err(error) => {
            can_be_shown(&error);
            None
        }
    }
}
