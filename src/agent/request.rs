//! The request for a certificate: a fresh key and the proof that we hold it (RFC 2986). It names nobody,
//! since the server takes the key from it and nothing else.

use crate::crypto::{CryptoError, KeyAlgorithm, KeyPair};

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// `AlgorithmIdentifier` of ecdsa-with-SHA256 (RFC 5758 §3.2).
const ECDSA_WITH_SHA256: [u8; 12] = [0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];

/// Version 0 and an empty subject, in front of the key (RFC 2986 §4.1).
const VERSION_AND_SUBJECT: [u8; 5] = [0x02, 0x01, 0x00, SEQUENCE, 0x00];

/// No attributes.
const ATTRIBUTES: [u8; 2] = [0xa0, 0x00];

/// Makes a new key, and the PKCS#10 request for it, DER.
///
/// # Errors
/// When the system gives no chance for a key.
pub fn fresh_key() -> Result<(KeyPair, Vec<u8>), CryptoError> {
    let key = KeyPair::generate(KeyAlgorithm::EcP256)?;
    let info = tlv(SEQUENCE, &[&VERSION_AND_SUBJECT, key.public().spki_der(), &ATTRIBUTES]);
    let signature = tlv(BIT_STRING, &[&[0], &key.sign(&info)?]);
    let csr = tlv(SEQUENCE, &[&info, &ECDSA_WITH_SHA256, &signature]);
    Ok((key, csr))
}

/// Tag, length, content (X.690 §8.1).
fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let length: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    let mut out = vec![tag];
    if content.len() >= 0x80 {
        // A `usize` has at most eight octets.
        out.extend(u8::try_from(length.len()).map(|octets| 0x80 | octets));
        out.extend(length);
    } else {
        out.extend(u8::try_from(content.len()));
    }
    out.extend(content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::certification_request::X509CertificationRequest;
    use x509_parser::prelude::FromDer;

    #[test]
    fn another_parser_reads_the_request_and_its_proof() {
        let (key, csr) = fresh_key().unwrap();
        let (rest, request) = X509CertificationRequest::from_der(&csr).unwrap();
        assert!(rest.is_empty());
        request.verify_signature().unwrap();
        assert_eq!(request.certification_request_info.subject_pki.raw, key.public().spki_der());
    }
}
