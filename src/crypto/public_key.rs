//! Public keys of the kinds we accept, and the signatures they verify.
//!
//! A key is parsed once, when it arrives; the library's own form is kept, so that verifying costs no second parse.

use super::{JwsAlgorithm, KeyId};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// What can be wrong with a key or a signature.
#[derive(Debug, thiserror::Error)]
pub enum CryptoError {
    /// A JWS algorithm that this kind of key does not have (RFC 7518 §3.1).
    #[error("a key of kind {key} has no signatures of algorithm {algorithm}")]
    AlgorithmOfAnotherKey {
        /// The JWS algorithm.
        algorithm: JwsAlgorithm,
        /// What the key is.
        key: KeyAlgorithm,
    },
    /// The bytes are no key of a kind we take.
    #[error("not a usable {what}")]
    BadKey {
        /// Which form was expected.
        what: &'static str,
    },
    /// A passphrase would open it, and nobody is here to type it.
    #[error("the private key is encrypted; decrypt it: (umask 077; openssl pkey -in KEY -out DECRYPTED)")]
    Encrypted,
    /// The library could not make a key.
    #[error("key generation did not work")]
    Generation,
    /// We verify with this kind of key, but do not sign with it.
    #[error("private keys of kind {0} are not made or read here; use P-256, Ed25519 or RSA")]
    NotASigningKind(KeyAlgorithm),
    /// The signature is not by this key over these bytes.
    #[error("the signature does not verify")]
    Signature,
    /// The library could not sign.
    #[error("signing did not work")]
    Signing,
}

/// Kinds of key. P-256 is the one kind that every mesh takes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// ECDSA on P-256 with SHA-256.
    EcP256,
    /// ECDSA on P-384 with SHA-384.
    EcP384,
    /// ECDSA on P-521 with SHA-512; foreign authorities and tokens may have it.
    EcP521,
    /// Ed25519.
    Ed25519,
    /// RSA of 2048 bits or more.
    Rsa,
}

impl KeyAlgorithm {
    /// What we say of a JWS by such a key; none of a kind that a JWT-SVID may not be signed with.
    pub const fn jws_algorithm(self) -> Option<JwsAlgorithm> {
        match self {
            Self::EcP256 => Some(JwsAlgorithm::Es256),
            Self::EcP384 => Some(JwsAlgorithm::Es384),
            Self::EcP521 => Some(JwsAlgorithm::Es512),
            Self::Ed25519 => None,
            Self::Rsa => Some(JwsAlgorithm::Rs256),
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EcP256 => "EC P-256",
            Self::EcP384 => "EC P-384",
            Self::EcP521 => "EC P-521",
            Self::Ed25519 => "Ed25519",
            Self::Rsa => "RSA",
        })
    }
}

/// The numbers of a public key as a JWK writes them (RFC 7518 §6), big-endian.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PublicNumbers {
    /// `kty: EC`.
    Ec {
        /// `crv`.
        curve: &'static str,
        /// `x`.
        x: Vec<u8>,
        /// `y`.
        y: Vec<u8>,
    },
    /// `kty: OKP`, `crv: Ed25519`.
    Ed25519 {
        /// `x`.
        x: Vec<u8>,
    },
    /// `kty: RSA`.
    Rsa {
        /// `n`, without leading zeros.
        n: Vec<u8>,
        /// `e`, without leading zeros.
        e: Vec<u8>,
    },
}

/// What stands before the point in the one DER form that a key of a curve has
/// (RFC 5480 §2, uncompressed points only; RFC 8410 §4).
const P256_PREFIX: &[u8] =
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04";
const P384_PREFIX: &[u8] =
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04";
const P521_PREFIX: &[u8] =
    b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00\x04";
const ED25519_PREFIX: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";

/// The sizes of RSA modulus that we take, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A public key of a kind we know, with the exact SubjectPublicKeyInfo it came in. Cheap to clone.
#[derive(Clone)]
pub struct PublicKey(Arc<Parts>);

struct Parts {
    spki_der: Vec<u8>,
    /// The content of SubjectPublicKeyInfo's bit string: a point, or an `RSAPublicKey`.
    bits: Vec<u8>,
    algorithm: KeyAlgorithm,
    numbers: PublicNumbers,
    id: KeyId,
    /// For signatures in the form X.509 uses.
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Takes a point of P-256 as security modules give it: uncompressed, in an OCTET STRING (PKCS#11 §6.3.3) or, from
    /// some, bare.
    ///
    /// # Errors
    /// `BadKey`.
    pub fn from_p256_point(point: &[u8]) -> Result<Self, CryptoError> {
        let bare = point.strip_prefix(b"\x04\x41").filter(|bare| bare.len() == 65).unwrap_or(point);
        let numbers = bare.strip_prefix(b"\x04").ok_or(CryptoError::BadKey { what: "point of P-256" })?;
        Self::from_spki_der(&[P256_PREFIX, numbers].concat())
    }

    /// Reads a SubjectPublicKeyInfo (RFC 5280 §4.1.2.7), whole and exact.
    ///
    /// # Errors
    /// `BadKey` when the bytes are not exactly one key of a known kind, the point is not on its curve,
    /// or an RSA modulus is shorter than 2048 bits.
    pub fn from_spki_der(spki_der: &[u8]) -> Result<Self, CryptoError> {
        if let Some(numbers) = ec_numbers(spki_der, P256_PREFIX, "P-256", 32) {
            let bits = [b"\x04", spki_der.get(P256_PREFIX.len()..).unwrap_or_default()].concat();
            Self::assemble(spki_der, bits, KeyAlgorithm::EcP256, numbers, &ECDSA_P256_SHA256_ASN1)
        } else if let Some(numbers) = ec_numbers(spki_der, P384_PREFIX, "P-384", 48) {
            let bits = [b"\x04", spki_der.get(P384_PREFIX.len()..).unwrap_or_default()].concat();
            Self::assemble(spki_der, bits, KeyAlgorithm::EcP384, numbers, &ECDSA_P384_SHA384_ASN1)
        } else if let Some(numbers) = ec_numbers(spki_der, P521_PREFIX, "P-521", 66) {
            let bits = [b"\x04", spki_der.get(P521_PREFIX.len()..).unwrap_or_default()].concat();
            Self::assemble(spki_der, bits, KeyAlgorithm::EcP521, numbers, &ECDSA_P521_SHA512_ASN1)
        } else if let Some(x) = spki_der.strip_prefix(ED25519_PREFIX) {
            let numbers = PublicNumbers::Ed25519 { x: x.to_vec() };
            Self::assemble(spki_der, x.to_vec(), KeyAlgorithm::Ed25519, numbers, &ED25519)
        } else {
            let (bits, numbers) = rsa_parts(spki_der)?;
            Self::assemble(spki_der, bits, KeyAlgorithm::Rsa, numbers, &RSA_PKCS1_2048_8192_SHA256)
        }
    }

    /// A key from the numbers of a JWK; coordinates have their full length (RFC 7518 §6.2.1.2).
    ///
    /// # Errors
    /// `BadKey` as for [`PublicKey::from_spki_der`].
    pub fn from_numbers(numbers: &PublicNumbers) -> Result<Self, CryptoError> {
        match numbers {
            PublicNumbers::Ec { curve: "P-256", x, y } if x.len() == 32 => {
                Self::from_spki_der(&[P256_PREFIX, x, y].concat())
            }
            PublicNumbers::Ec { curve: "P-384", x, y } if x.len() == 48 => {
                Self::from_spki_der(&[P384_PREFIX, x, y].concat())
            }
            PublicNumbers::Ec { curve: "P-521", x, y } if x.len() == 66 => {
                Self::from_spki_der(&[P521_PREFIX, x, y].concat())
            }
            PublicNumbers::Ec { .. } => Err(CryptoError::BadKey { what: "EC point" }),
            PublicNumbers::Ed25519 { x } => Self::from_spki_der(&[ED25519_PREFIX, x].concat()),
            PublicNumbers::Rsa { n, e } => {
                let parsed = RsaPublicKeyComponents { n, e }
                    .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                    .map_err(|_rejected| NOT_RSA)?;
                let spki_der = parsed.as_der().map_err(|_unspecified| NOT_RSA)?;
                Self::from_spki_der(spki_der.as_ref())
            }
        }
    }

    fn assemble(
        spki_der: &[u8],
        bits: Vec<u8>,
        algorithm: KeyAlgorithm,
        numbers: PublicNumbers,
        verification: &'static dyn VerificationAlgorithm,
    ) -> Result<Self, CryptoError> {
        let parsed = ParsedPublicKey::new(verification, &bits)
            .map_err(|_rejected| CryptoError::BadKey { what: "public key" })?;
        let id = KeyId::of_spki(spki_der);
        Ok(Self(Arc::new(Parts { spki_der: spki_der.to_vec(), bits, algorithm, numbers, id, parsed })))
    }

    /// The SubjectPublicKeyInfo, DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki_der
    }

    /// The kind of key.
    pub fn algorithm(&self) -> KeyAlgorithm {
        self.0.algorithm
    }

    /// The key's name.
    pub fn id(&self) -> KeyId {
        self.0.id
    }

    /// The numbers, for a JWK.
    pub fn numbers(&self) -> PublicNumbers {
        self.0.numbers.clone()
    }

    /// Verifies a signature in the form X.509 uses (ECDSA: ASN.1; RSA: PKCS#1 v1.5 with SHA-256).
    ///
    /// # Errors
    /// `Signature` when it is not by this key over these bytes.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        self.0.parsed.verify_sig(message, signature).map_err(|_unspecified| CryptoError::Signature)
    }

    /// Verifies a signature in the form a JWS has (RFC 7518 §3.4: r and s side by side).
    ///
    /// # Errors
    /// `AlgorithmOfAnotherKey` when this kind of key cannot have made it, `Signature` when this key did not.
    pub fn verify_jws(&self, algorithm: JwsAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        let key = self.algorithm();
        if algorithm.key_algorithm() != key {
            return Err(CryptoError::AlgorithmOfAnotherKey { algorithm, key });
        }
        if algorithm == JwsAlgorithm::Rs256 {
            return self.verify(message, signature);
        }
        UnparsedPublicKey::new(algorithm.verification(), &self.0.bits)
            .verify(message, signature)
            .map_err(|_unspecified| CryptoError::Signature)
    }
}

/// The coordinates of an uncompressed point, if the bytes are exactly the one DER form of a key on this curve.
fn ec_numbers(spki_der: &[u8], prefix: &[u8], curve: &'static str, width: usize) -> Option<PublicNumbers> {
    let (x, y) = spki_der.strip_prefix(prefix)?.split_at_checked(width)?;
    (y.len() == width).then(|| PublicNumbers::Ec { curve, x: x.to_vec(), y: y.to_vec() })
}

const NOT_RSA: CryptoError =
    CryptoError::BadKey { what: "P-256, P-384, P-521, Ed25519 or RSA (2048 to 8192 bits) public key" };

/// The `RSAPublicKey` in a SubjectPublicKeyInfo and its numbers; only the canonical DER form is taken.
fn rsa_parts(spki_der: &[u8]) -> Result<(Vec<u8>, PublicNumbers), CryptoError> {
    let (_rest, spki) = SubjectPublicKeyInfo::from_der(spki_der).map_err(|_malformed| NOT_RSA)?;
    let Ok(x509_parser::public_key::PublicKey::RSA(key)) = spki.parsed() else { return Err(NOT_RSA) };
    let n = without_leading_zeros(key.modulus);
    let e = without_leading_zeros(key.exponent);
    let bits = n.len() * 8 - n.first().map_or(0, |first| usize::try_from(first.leading_zeros()).unwrap_or(0));
    let canonical = RsaPublicKeyComponents { n, e }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_rejected| NOT_RSA)?;
    if !RSA_BITS.contains(&bits) || canonical.as_ref() != spki_der {
        return Err(NOT_RSA);
    }
    Ok((spki.subject_public_key.data.to_vec(), PublicNumbers::Rsa { n: n.to_vec(), e: e.to_vec() }))
}

fn without_leading_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl Eq for PublicKey {}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.spki_der == other.0.spki_der
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}, {})", self.0.algorithm, self.0.id)
    }
}

/// So that a certificate can be laid out over it; rcgen writes exactly our SubjectPublicKeyInfo again.
impl rcgen::PublicKeyData for PublicKey {
    fn subject_public_key_info(&self) -> Vec<u8> {
        self.0.spki_der.clone()
    }

    fn der_bytes(&self) -> &[u8] {
        &self.0.bits
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        match self.0.algorithm {
            KeyAlgorithm::EcP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::EcP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyAlgorithm::EcP521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            KeyAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
            KeyAlgorithm::Rsa => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData;

    fn spki_of(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        rcgen::KeyPair::generate_for(algorithm).unwrap().subject_public_key_info()
    }

    #[test]
    fn each_kind_reads_back_from_its_bytes_and_from_its_numbers() {
        for (algorithm, kind) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, KeyAlgorithm::EcP256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, KeyAlgorithm::EcP384),
            (&rcgen::PKCS_ECDSA_P521_SHA512, KeyAlgorithm::EcP521),
            (&rcgen::PKCS_ED25519, KeyAlgorithm::Ed25519),
            (&rcgen::PKCS_RSA_SHA256, KeyAlgorithm::Rsa),
        ] {
            let spki = spki_of(algorithm);
            let key = PublicKey::from_spki_der(&spki).unwrap();
            assert_eq!((key.algorithm(), key.spki_der()), (kind, spki.as_slice()));
            assert_eq!(PublicKey::from_numbers(&key.numbers()).unwrap(), key);
            let laid_out = rcgen::SubjectPublicKeyInfo::from_der(&spki).unwrap();
            assert_eq!(laid_out.der_bytes(), key.der_bytes());
            // Of P-521's digests rcgen takes the first, which SubjectPublicKeyInfo does not tell.
            if kind != KeyAlgorithm::EcP521 {
                assert_eq!(laid_out.algorithm(), PublicKeyData::algorithm(&key));
            }
        }
    }

    #[test]
    fn a_key_with_anything_before_behind_or_within_is_refused() {
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519, &rcgen::PKCS_RSA_SHA256] {
            let spki = spki_of(algorithm);
            assert!(PublicKey::from_spki_der(&[&spki, b"\0".as_slice()].concat()).is_err());
            assert!(PublicKey::from_spki_der(&[b"\0", spki.as_slice()].concat()).is_err());
            assert!(PublicKey::from_spki_der(&spki[..spki.len() - 1]).is_err());
        }
    }

    #[test]
    fn a_point_beside_its_curve_is_refused() {
        let mut spki = spki_of(&rcgen::PKCS_ECDSA_P256_SHA256);
        *spki.last_mut().unwrap() ^= 1;
        assert!(PublicKey::from_spki_der(&spki).is_err());
    }

    #[test]
    fn an_rsa_key_under_2048_bits_is_refused() {
        let numbers = PublicNumbers::Rsa { n: vec![0xc5; 255], e: vec![1, 0, 1] };
        assert!(PublicKey::from_numbers(&numbers).is_err());
    }

    #[test]
    fn an_rsa_key_that_would_cost_too_much_to_verify_with_is_refused() {
        let taken = |n: usize, e: &[u8]| {
            let numbers = PublicNumbers::Rsa { n: vec![0xc5; n], e: e.to_vec() };
            PublicKey::from_numbers(&numbers).is_ok()
        };
        assert!(taken(1024, &[1, 0, 1]));
        assert!(!taken(1025, &[1, 0, 1]), "over 8192 bits");
        assert!(!taken(256, &[0xc5; 255]), "an exponent as long as the modulus");
    }

    /// Shows: JWT-15.
    #[test]
    fn an_algorithm_of_another_kind_of_key_is_named_as_such() {
        let key = PublicKey::from_spki_der(&spki_of(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap();
        let refused = key.verify_jws(JwsAlgorithm::Rs256, b"", b"").unwrap_err();
        assert!(matches!(refused, CryptoError::AlgorithmOfAnotherKey { .. }), "{refused}");
    }

    /// Shows: JWT-3, JWT-15.
    #[test]
    fn every_jws_algorithm_verifies_its_own_signatures_and_no_others() {
        use aws_lc_rs::rand::SystemRandom;
        use aws_lc_rs::signature::{self as library, KeyPair as _};
        let (random, rsa) = (SystemRandom::new(), aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048));
        let rsa = rsa.unwrap();
        let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
        let key = PublicKey::from_spki_der(spki.as_ref()).unwrap();
        let by_rsa: [(_, &'static dyn library::RsaEncoding); 6] = [
            (JwsAlgorithm::Rs256, &library::RSA_PKCS1_SHA256),
            (JwsAlgorithm::Rs384, &library::RSA_PKCS1_SHA384),
            (JwsAlgorithm::Rs512, &library::RSA_PKCS1_SHA512),
            (JwsAlgorithm::Ps256, &library::RSA_PSS_SHA256),
            (JwsAlgorithm::Ps384, &library::RSA_PSS_SHA384),
            (JwsAlgorithm::Ps512, &library::RSA_PSS_SHA512),
        ];
        for (made, encoding) in by_rsa {
            let mut signature = vec![0; rsa.public_modulus_len()];
            rsa.sign(encoding, &random, b"message", &mut signature).unwrap();
            for asked in JwsAlgorithm::ALL {
                assert_eq!(key.verify_jws(asked, b"message", &signature).is_ok(), asked == made, "{made} as {asked}");
            }
        }
        for (made, signing) in [
            (JwsAlgorithm::Es256, &library::ECDSA_P256_SHA256_FIXED_SIGNING),
            (JwsAlgorithm::Es384, &library::ECDSA_P384_SHA384_FIXED_SIGNING),
            (JwsAlgorithm::Es512, &library::ECDSA_P521_SHA512_FIXED_SIGNING),
        ] {
            let pair = library::EcdsaKeyPair::generate(signing).unwrap();
            let spki: aws_lc_rs::encoding::PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
            let key = PublicKey::from_spki_der(spki.as_ref()).unwrap();
            let signature = pair.sign(&random, b"message").unwrap();
            for asked in JwsAlgorithm::ALL {
                let verifies = key.verify_jws(asked, b"message", signature.as_ref()).is_ok();
                assert_eq!(verifies, asked == made, "{made} as {asked}");
            }
        }
        assert_eq!(JwsAlgorithm::ALL.map(|one| JwsAlgorithm::named(one.as_str())), JwsAlgorithm::ALL.map(Some));
    }
}
