//! A private key that somebody else made and keeps in a file: of any kind that authorities have.

use super::{CryptoError, PublicKey, is_encrypted};
use rcgen::PublicKeyData as _;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use std::fmt;

/// See the file's words. Prints as its public name only; the library wipes what it holds.
pub struct ForeignKeyPair {
    public: PublicKey,
    library: rcgen::KeyPair,
}

impl ForeignKeyPair {
    /// Reads an unencrypted key, PEM: PKCS#8, SEC 1 or PKCS#1; elliptic, Ed25519 or RSA.
    ///
    /// # Errors
    /// `BadKey`: also for RSA below 2048 bits.
    pub fn from_pem(text: &[u8]) -> Result<Self, CryptoError> {
        const WHAT: CryptoError = CryptoError::BadKey { what: "unencrypted private key in PEM" };
        if is_encrypted(text) {
            return Err(CryptoError::Encrypted);
        }
        let der = PrivateKeyDer::from_pem_slice(text).map_err(|_not_pem| WHAT)?;
        let library = rcgen::KeyPair::try_from(&der).map_err(|_rejected| WHAT)?;
        let public = PublicKey::from_spki_der(&library.subject_public_key_info())?;
        Ok(Self { public, library })
    }

    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl fmt::Debug for ForeignKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ForeignKeyPair({})", self.public.id())
    }
}

impl rcgen::PublicKeyData for ForeignKeyPair {
    fn der_bytes(&self) -> &[u8] {
        self.library.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.library.algorithm()
    }
}

impl rcgen::SigningKey for ForeignKeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.library.sign(message)
    }
}
