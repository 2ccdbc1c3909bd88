//! DER in text armour (RFC 7468 §2), for files and answers that people and OpenSSL read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Line length that every reader takes (RFC 7468 §2).
const LINE: usize = 64;

/// What the armour says is inside.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PemLabel {
    /// An X.509 certificate.
    Certificate,
    /// A PKCS#10 request.
    CertificateRequest,
    /// A certificate revocation list.
    Crl,
    /// An unencrypted PKCS#8 key.
    PrivateKey,
    /// A SubjectPublicKeyInfo.
    PublicKey,
}

impl PemLabel {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "CERTIFICATE",
            Self::CertificateRequest => "CERTIFICATE REQUEST",
            Self::Crl => "X509 CRL",
            Self::PrivateKey => "PRIVATE KEY",
            Self::PublicKey => "PUBLIC KEY",
        }
    }

    /// The armoured text, wiped when it is dropped: it may hold a key.
    pub fn armour(self, der: &[u8]) -> Zeroizing<String> {
        let label = self.as_str();
        let inside = Zeroizing::new(STANDARD.encode(der));
        let mut text = Zeroizing::new(String::with_capacity(inside.len() + inside.len() / LINE + 80));
        text.push_str("-----BEGIN ");
        text.push_str(label);
        text.push_str("-----\n");
        for (at, letter) in inside.chars().enumerate() {
            if at > 0 && at % LINE == 0 {
                text.push('\n');
            }
            text.push(letter);
        }
        text.push_str("\n-----END ");
        text.push_str(label);
        text.push_str("-----\n");
        text
    }
}

/// Whether a text holds a private key that a passphrase opens: PKCS#8's (RFC 5958 §3), or OpenSSL's older form.
pub fn is_encrypted(text: &[u8]) -> bool {
    let holds = |mark: &[u8]| text.windows(mark.len()).any(|piece| piece == mark);
    holds(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(b"Proc-Type: 4,ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject as _;

    #[test]
    fn armoured_bytes_read_back_whatever_their_length() {
        for length in [1, 47, 48, 49, 96, 1000] {
            let der: Vec<u8> = (0..=255).cycle().take(length).collect();
            let text = PemLabel::Certificate.armour(&der);
            assert!(text.lines().all(|line| line.len() <= LINE));
            assert_eq!(CertificateDer::from_pem_slice(text.as_bytes()).unwrap().as_ref(), der);
        }
    }
}
