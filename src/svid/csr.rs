//! A request for a certificate whose sender proved to hold the key. The CSR gives its key and nothing else:
//! subject, names and extensions in it are ignored.

use super::der::{BIT_STRING, der};
use crate::crypto::{CryptoError, KeyAlgorithm, PublicKey};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, X509Version};

/// The largest request that is read; one with a P-256 key and no names has about 200 bytes.
const CSR_BYTES_MAX: usize = 16 * 1024;

/// The one algorithm that a key of a kind signs a request with, in DER: RFC 5758 §3.2, RFC 8410 §3 (no parameters),
/// RFC 4055 §5 (NULL).
pub(super) const fn signature_algorithm(kind: KeyAlgorithm) -> &'static [u8] {
    match kind {
        KeyAlgorithm::EcP256 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
        KeyAlgorithm::EcP384 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
        KeyAlgorithm::EcP521 => b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x04",
        KeyAlgorithm::Ed25519 => b"\x30\x05\x06\x03\x2b\x65\x70",
        KeyAlgorithm::Rsa => b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00",
    }
}

/// A public key whose private half signed the request that brought it.
#[derive(Clone, Debug)]
pub struct ProvenKey(PublicKey);

/// Why a request proves no key.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// The bytes of the key are no key of a kind we know.
    #[error("the request's key cannot be read; make an ECDSA P-256 key")]
    Key(#[source] CryptoError),
    /// The key is of a kind we know, but not one that this server certifies.
    #[error("this server certifies no {0} key; make an ECDSA P-256 one: openssl ecparam -name prime256v1 -genkey")]
    KeyKind(KeyAlgorithm),
    /// Not a PKCS#10 request, or bytes after it.
    #[error("not exactly one PKCS#10 request")]
    Malformed,
    /// The signature is not by the request's own key.
    #[error("the request is not signed by its own key")]
    NotProven(#[source] CryptoError),
    /// Each kind of key signs requests with one algorithm here.
    #[error("the request is not signed as {0} keys sign here: P-256 and RSA with SHA-256, P-384 with SHA-384")]
    SignatureAlgorithm(KeyAlgorithm),
    /// Over the size limit.
    #[error("the request has {actual} bytes, at most {limit} are read")]
    TooLarge {
        /// What came.
        actual: usize,
        /// What is read.
        limit: usize,
    },
}

impl ProvenKey {
    /// Reads a PKCS#10 request (RFC 2986) for a P-256 key, DER, and verifies its signature with its own key.
    ///
    /// # Errors
    /// See [`CsrError`].
    pub fn of_der(csr: &[u8]) -> Result<Self, CsrError> {
        Self::of_der_among(csr, &[KeyAlgorithm::EcP256])
    }

    /// The same for a key of one of these kinds.
    ///
    /// # Errors
    /// See [`CsrError`].
    pub fn of_der_among(csr: &[u8], kinds: &[KeyAlgorithm]) -> Result<Self, CsrError> {
        check_size(csr.len())?;
        let (behind, request) = X509CertificationRequest::from_der(csr).map_err(|_malformed| CsrError::Malformed)?;
        let info = &request.certification_request_info;
        let signature = &request.signature_value;
        if !behind.is_empty() || info.version != X509Version::V1 {
            return Err(CsrError::Malformed);
        }
        // The key is what its own bytes say; rcgen would guess its curve from the signature's algorithm.
        let key = PublicKey::from_spki_der(info.subject_pki.raw).map_err(CsrError::Key)?;
        let kind = key.algorithm();
        if !kinds.contains(&kind) {
            return Err(CsrError::KeyKind(kind));
        }
        let algorithm = signature_algorithm(kind);
        if AlgorithmIdentifier::from_der(algorithm) != Ok((&[], request.signature_algorithm.clone())) {
            return Err(CsrError::SignatureAlgorithm(kind));
        }
        // The parser does not look at every tag outside the signed part; the bytes there have one form only.
        let bits = der(BIT_STRING, &[&[0], signature.data.as_ref()].concat());
        let outside = csr.strip_suffix(&*bits).and_then(|rest| rest.strip_suffix(algorithm));
        if !outside.is_some_and(|rest| rest.ends_with(info.raw)) {
            return Err(CsrError::Malformed);
        }
        key.verify(info.raw, &signature.data).map_err(CsrError::NotProven)?;
        Ok(Self(key))
    }

    /// The same, from PEM (`CERTIFICATE REQUEST`): exactly one.
    ///
    /// # Errors
    /// See [`CsrError`].
    pub fn of_pem_among(csr: &str, kinds: &[KeyAlgorithm]) -> Result<Self, CsrError> {
        check_size(csr.len())?;
        let mut sections = CertificateSigningRequestDer::pem_slice_iter(csr.as_bytes());
        match (sections.next(), sections.next()) {
            (Some(Ok(only)), None) => Self::of_der_among(&only, kinds),
            _ => Err(CsrError::Malformed),
        }
    }

    /// The key.
    pub const fn key(&self) -> &PublicKey {
        &self.0
    }
}

fn check_size(actual: usize) -> Result<(), CsrError> {
    if actual > CSR_BYTES_MAX { Err(CsrError::TooLarge { actual, limit: CSR_BYTES_MAX }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PublicKeyData};

    fn csr_by(key: &KeyPair) -> rcgen::CertificateSigningRequest {
        CertificateParams::new(vec!["ignored.example".to_owned()]).unwrap().serialize_request(key).unwrap()
    }

    fn of_pem(csr: &str) -> Result<ProvenKey, CsrError> {
        ProvenKey::of_pem_among(csr, &[KeyAlgorithm::EcP256])
    }

    #[test]
    fn a_request_gives_its_key_from_der_and_from_pem() {
        let key = KeyPair::generate().unwrap();
        let csr = csr_by(&key);
        for proven in [ProvenKey::of_der(csr.der()).unwrap(), of_pem(&csr.pem().unwrap()).unwrap()] {
            assert_eq!(proven.key().spki_der(), key.subject_public_key_info());
        }
    }

    #[test]
    fn a_request_changed_after_signing_proves_nothing() {
        let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let csr = csr_by(&key).der().to_vec();
        let (mine, theirs) = (key.subject_public_key_info(), other.subject_public_key_info());
        let at = csr.windows(mine.len()).position(|window| window == mine).unwrap();
        let mut stolen = csr;
        stolen[at..at + theirs.len()].copy_from_slice(&theirs);
        assert!(matches!(ProvenKey::of_der(&stolen), Err(CsrError::NotProven(_))));
    }

    #[test]
    fn whole_and_exact_or_refused() {
        let csr = csr_by(&KeyPair::generate().unwrap());
        let longer = [csr.der(), b"\0".as_slice()].concat();
        assert!(matches!(ProvenKey::of_der(&longer), Err(CsrError::Malformed)));
        assert!(matches!(ProvenKey::of_der(&csr.der()[1..]), Err(CsrError::Malformed)));
        assert!(matches!(ProvenKey::of_der(&[]), Err(CsrError::Malformed)));
        assert!(matches!(of_pem(&csr.pem().unwrap().repeat(2)), Err(CsrError::Malformed)));
        assert!(matches!(of_pem("no PEM"), Err(CsrError::Malformed)));
        assert!(matches!(ProvenKey::of_der(&vec![0; CSR_BYTES_MAX + 1]), Err(CsrError::TooLarge { .. })));
    }

    /// Shows: X509-20.
    #[test]
    fn only_p256_is_certified() {
        let csr = csr_by(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap());
        let refused = ProvenKey::of_der(csr.der()).unwrap_err();
        assert!(matches!(refused, CsrError::KeyKind(KeyAlgorithm::EcP384)), "{refused}");
    }

    /// Shows: X509-20.
    #[test]
    fn another_kind_is_certified_only_where_it_is_listed() {
        let kinds = [KeyAlgorithm::EcP384, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa];
        for (made_as, kind) in [
            (&PKCS_ECDSA_P384_SHA384, KeyAlgorithm::EcP384),
            (&rcgen::PKCS_ED25519, KeyAlgorithm::Ed25519),
            (&rcgen::PKCS_RSA_SHA256, KeyAlgorithm::Rsa),
        ] {
            let key = KeyPair::generate_for(made_as).unwrap();
            let csr = csr_by(&key);
            let proven = ProvenKey::of_der_among(csr.der(), &kinds).unwrap();
            assert_eq!(proven.key().spki_der(), key.subject_public_key_info());
            let others: Vec<_> = kinds.into_iter().filter(|other| *other != kind).collect();
            assert!(matches!(ProvenKey::of_der_among(csr.der(), &others), Err(CsrError::KeyKind(of)) if of == kind));
        }
        let sha512 = csr_by(&KeyPair::generate_for(&rcgen::PKCS_RSA_SHA512).unwrap());
        let refused = ProvenKey::of_der_among(sha512.der(), &kinds);
        assert!(matches!(refused, Err(CsrError::SignatureAlgorithm(KeyAlgorithm::Rsa))), "{refused:?}");
    }

    #[test]
    fn rcgen_trap_2_a_keys_curve_is_not_guessed_from_the_signature() {
        // A P-384 key whose request says ecdsa-with-SHA256, from which rcgen concludes a P-256 key.
        const ECDSA_WITH_SHA: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03";
        let mut csr = csr_by(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()).der().to_vec();
        let at = csr.windows(ECDSA_WITH_SHA.len()).position(|window| window == ECDSA_WITH_SHA).unwrap();
        csr[at + ECDSA_WITH_SHA.len()] = 2;
        let refused = ProvenKey::of_der(&csr).unwrap_err();
        assert!(matches!(refused, CsrError::KeyKind(KeyAlgorithm::EcP384)), "{refused}");
    }

    #[test]
    fn no_changed_byte_of_a_request_makes_the_reader_panic_or_proves_another_key() {
        let key = KeyPair::generate().unwrap();
        let csr = csr_by(&key).der().to_vec();
        for at in 0..csr.len() {
            let mut odd = csr.clone();
            odd[at] ^= 0x11;
            assert!(ProvenKey::of_der(&odd).is_err(), "byte {at}");
        }
    }
}
