//! Private keys that sign. They print as their public name only, cannot be cloned, and are wiped on drop.

use super::{CryptoError, KeyAlgorithm, PublicKey, is_encrypted};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use std::fmt;
use x509_parser::asn1_rs::{Any, FromDer};
use zeroize::Zeroizing;

/// A private key that signs: P-256, Ed25519 for the journal, and RSA of 2048 bits where a reader of tokens takes nothing
/// else. Prints as its public name only; the private bytes are wiped on drop (aws-lc cleanses what it frees).
pub struct KeyPair {
    public: PublicKey,
    pkcs8: Zeroizing<Vec<u8>>,
    library: Library,
}

enum Library {
    EcP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<rsa::KeyPair>),
}

impl KeyPair {
    /// Makes a new key; an RSA key of 2048 bits takes some tens of milliseconds.
    ///
    /// # Errors
    /// `Generation`; `NotASigningKind` for P-384 and P-521.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, CryptoError> {
        let made = match algorithm {
            KeyAlgorithm::EcP256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Library::EcP256),
            KeyAlgorithm::Ed25519 => Ed25519KeyPair::generate().map(Library::Ed25519),
            KeyAlgorithm::Rsa => rsa::KeyPair::generate(rsa::KeySize::Rsa2048).map(|key| Library::Rsa(Box::new(key))),
            KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 => return Err(CryptoError::NotASigningKind(algorithm)),
        };
        made.map_err(|_unspecified| CryptoError::Generation).and_then(Self::of_library_key)
    }

    /// Reads an unencrypted PKCS#8 key, DER, of either version.
    ///
    /// # Errors
    /// `BadKey`.
    #[expect(clippy::needless_pass_by_value, reason = "taken over, so that the caller's copy is wiped")]
    pub fn from_pkcs8(pkcs8: Zeroizing<Vec<u8>>) -> Result<Self, CryptoError> {
        const WHAT: CryptoError = CryptoError::BadKey { what: "P-256, Ed25519 or RSA private key (PKCS#8)" };
        // The library reads one key and does not mind what follows it; we do.
        if !Any::from_der(&pkcs8).is_ok_and(|(behind, _key)| behind.is_empty()) {
            return Err(WHAT);
        }
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8)
            .map(Library::EcP256)
            .or_else(|_another_kind| Ed25519KeyPair::from_pkcs8(&pkcs8).map(Library::Ed25519))
            .or_else(|_another_kind| rsa::KeyPair::from_pkcs8(&pkcs8).map(|key| Library::Rsa(Box::new(key))))
            .map_err(|_rejected| WHAT)
            .and_then(Self::of_library_key)
    }

    /// Reads an unencrypted PKCS#8 key, PEM.
    ///
    /// # Errors
    /// `BadKey`.
    pub fn from_pem(text: &[u8]) -> Result<Self, CryptoError> {
        if is_encrypted(text) {
            return Err(CryptoError::Encrypted);
        }
        let der = PrivatePkcs8KeyDer::from_pem_slice(text);
        let der = der.map_err(|_not_pem| CryptoError::BadKey { what: "private key in PEM (PKCS#8)" })?;
        Self::from_pkcs8(Zeroizing::new(der.secret_pkcs8_der().to_vec()))
    }

    fn of_library_key(library: Library) -> Result<Self, CryptoError> {
        let spki: Result<PublicKeyX509Der<'_>, _> = match &library {
            Library::EcP256(key) => key.public_key().as_der(),
            Library::Ed25519(key) => key.public_key().as_der(),
            Library::Rsa(key) => key.public_key().as_der(),
        };
        let spki = spki.map_err(|_unspecified| CryptoError::BadKey { what: "public key" })?;
        let public = PublicKey::from_spki_der(spki.as_ref())?;
        let kept = |der: &[u8]| Zeroizing::new(der.to_vec());
        let pkcs8 = match &library {
            Library::EcP256(key) => key.to_pkcs8v1().map(|der| kept(der.as_ref())),
            Library::Ed25519(key) => key.to_pkcs8v1().map(|der| kept(der.as_ref())),
            Library::Rsa(key) => key.as_der().map(|der| kept(der.as_ref())),
        };
        Ok(Self { public, pkcs8: pkcs8.map_err(|_unspecified| CryptoError::Generation)?, library })
    }

    /// The private key as PKCS#8 version 0, DER (SPIFFE Workload API §5.2.1: unencrypted PKCS#8).
    pub fn pkcs8_der(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs as X.509 wants it (ECDSA: ASN.1 DER, SHA-256; Ed25519: RFC 8410 §6; RSA: PKCS #1 v1.5, SHA-256).
    ///
    /// # Errors
    /// `Signing`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature = match &self.library {
            Library::EcP256(key) => key.sign(&SystemRandom::new(), message),
            Library::Ed25519(key) => key.try_sign(message),
            Library::Rsa(key) => return pkcs1(key, message),
        };
        Ok(signature.map_err(|_unspecified| CryptoError::Signing)?.as_ref().to_vec())
    }

    /// Signs as a JWS wants it (RFC 7518 §3.4: r and s side by side; §3.3: RS256; RFC 8037 §3.1).
    ///
    /// # Errors
    /// `Signing`.
    pub fn sign_jws(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let signature = self.sign(message)?;
        match self.library {
            Library::EcP256(_) => side_by_side(&signature).ok_or(CryptoError::Signing),
            Library::Ed25519(_) | Library::Rsa(_) => Ok(signature),
        }
    }
}

/// RSASSA-PKCS1-v1_5 with SHA-256 (RS256).
fn pkcs1(key: &rsa::KeyPair, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let mut signature = vec![0; key.public_modulus_len()];
    let signed = key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature);
    signed.map_err(|_unspecified| CryptoError::Signing)?;
    Ok(signature)
}

/// The two numbers of an ECDSA signature in ASN.1 (RFC 3279 §2.2.3), 32 bytes each.
/// Cheaper than a second private key in memory that would sign in the other form.
fn side_by_side(asn1: &[u8]) -> Option<Vec<u8>> {
    let mut both = Vec::with_capacity(64);
    let (&[0x30, _length], mut rest) = asn1.split_first_chunk()? else { return None };
    for _number in ["r", "s"] {
        let (&[0x02, length], behind) = rest.split_first_chunk()? else { return None };
        let (number, behind) = behind.split_at_checked(usize::from(length))?;
        let number = number.strip_prefix(b"\0").unwrap_or(number);
        both.resize(both.len() + 32_usize.checked_sub(number.len())?, 0);
        both.extend_from_slice(number);
        rest = behind;
    }
    rest.is_empty().then_some(both)
}

/// The two numbers of an ECDSA signature on P-256, side by side as PKCS#11 and JWS have them, in ASN.1 as X.509 wants
/// them (RFC 3279 §2.2.3); none of another length.
pub fn asn1_of(side_by_side: &[u8]) -> Option<Vec<u8>> {
    if side_by_side.len() != 64 {
        return None;
    }
    let mut numbers = Vec::with_capacity(72);
    for number in side_by_side.chunks(32) {
        let shortest: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        // A leading zero keeps a number positive, and stands for nought itself.
        let sign = shortest.first().is_none_or(|first| *first >= 0x80).then_some(0);
        numbers.extend([0x02, u8::try_from(shortest.len() + usize::from(sign.is_some())).ok()?]);
        numbers.extend(sign);
        numbers.extend(shortest);
    }
    let length = u8::try_from(numbers.len()).ok()?;
    Some([&[0x30, length], numbers.as_slice()].concat())
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({})", self.public.id())
    }
}

impl rcgen::PublicKeyData for KeyPair {
    fn subject_public_key_info(&self) -> Vec<u8> {
        self.public.subject_public_key_info()
    }

    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        rcgen::PublicKeyData::algorithm(&self.public)
    }
}

impl rcgen::SigningKey for KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Self::sign(self, message).map_err(|_signing| rcgen::Error::RemoteKeyError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{JwsAlgorithm, PublicNumbers};

    fn p256() -> KeyPair {
        KeyPair::generate(KeyAlgorithm::EcP256).unwrap()
    }

    #[test]
    fn what_a_key_signs_its_public_half_verifies_and_no_other_does() {
        for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa] {
            verifies_its_own(algorithm);
        }
    }

    fn verifies_its_own(algorithm: KeyAlgorithm) {
        let [key, other] = [algorithm; 2].map(|algorithm| KeyPair::generate(algorithm).unwrap());
        let signature = key.sign(b"message").unwrap();
        assert!(key.public().verify(b"message", &signature).is_ok());
        assert!(key.public().verify(b"another", &signature).is_err());
        assert!(other.public().verify(b"message", &signature).is_err());
    }

    #[test]
    fn a_jws_signature_is_64_bytes_and_verifies_as_es256() {
        let key = p256();
        // Often enough that a number shorter than 32 bytes, one in 128, is surely among them.
        for _ in 0..2000 {
            let signature = key.sign_jws(b"message").unwrap();
            assert_eq!(signature.len(), 64);
            assert!(key.public().verify_jws(JwsAlgorithm::Es256, b"message", &signature).is_ok());
            assert!(key.public().verify(b"message", &signature).is_err());
        }
    }

    #[test]
    fn a_signature_is_the_same_in_both_forms() {
        let key = p256();
        for _ in 0..500 {
            let signature = key.sign(b"message").unwrap();
            assert_eq!(asn1_of(&side_by_side(&signature).unwrap()).unwrap(), signature);
        }
        assert_eq!(asn1_of(&[0; 64]).unwrap(), [0x30, 6, 2, 1, 0, 2, 1, 0]);
        assert!(asn1_of(&[1; 63]).is_none() && asn1_of(&[1; 96]).is_none());
    }

    #[test]
    fn odd_asn1_is_no_pair_of_numbers() {
        assert_eq!(side_by_side(&[0x30, 6, 2, 1, 5, 2, 1, 7]).map(|both| (both[31], both[63])), Some((5, 7)));
        for odd in
            [&[][..], &[0x30], &[0x30, 3, 2, 1, 5], &[0x30, 6, 2, 9, 5, 2, 1, 7], &[0x30, 7, 2, 1, 5, 2, 1, 7, 0]]
        {
            assert_eq!(side_by_side(odd), None, "{odd:?}");
        }
    }

    /// Shows: X509-24.
    #[test]
    fn a_key_is_written_as_pkcs8_version_0_and_reads_back() {
        for algorithm in [KeyAlgorithm::EcP256, KeyAlgorithm::Ed25519, KeyAlgorithm::Rsa] {
            reads_back(&KeyPair::generate(algorithm).unwrap());
        }
    }

    fn reads_back(key: &KeyPair) {
        // Behind the outer tag and its length, which has one byte, or says how many more it has.
        let length = usize::from(key.pkcs8_der()[1]);
        let version = if length < 0x80 { 2 } else { length - 0x80 + 2 };
        assert_eq!(key.pkcs8_der().get(version..version + 3), Some([2, 1, 0].as_slice()), "version INTEGER 0");
        let back = KeyPair::from_pkcs8(Zeroizing::new(key.pkcs8_der().to_vec())).unwrap();
        assert_eq!((back.public(), back.pkcs8_der()), (key.public(), key.pkcs8_der()));
        let longer = [key.pkcs8_der(), b"\0"].concat();
        assert!(KeyPair::from_pkcs8(Zeroizing::new(longer)).is_err());
    }

    #[test]
    fn a_key_of_another_curve_is_refused() {
        let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(KeyPair::from_pkcs8(Zeroizing::new(p384.serialize_der())).is_err());
        let refused = KeyPair::generate(KeyAlgorithm::EcP384).unwrap_err();
        assert!(matches!(refused, CryptoError::NotASigningKind(KeyAlgorithm::EcP384)));
    }

    #[test]
    fn debug_shows_the_name_and_no_private_byte() {
        let key = p256();
        assert_eq!(format!("{key:?}"), format!("KeyPair({})", key.public().id()));
    }

    #[test]
    fn an_rsa_key_signs_rs256() {
        let key = KeyPair::generate(KeyAlgorithm::Rsa).unwrap();
        let signature = key.sign_jws(b"message").unwrap();
        assert!(key.public().verify_jws(JwsAlgorithm::Rs256, b"message", &signature).is_ok());
        assert!(key.public().verify_jws(JwsAlgorithm::Ps256, b"message", &signature).is_err());
        let PublicNumbers::Rsa { n, e } = key.public().numbers() else { panic!("an RSA key has RSA numbers") };
        assert_eq!((n.len(), e), (256, vec![1, 0, 1]));
    }
}
