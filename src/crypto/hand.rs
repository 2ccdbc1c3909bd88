//! The hand that signs what is laid out: a key that is here, or one elsewhere, whose signature is asked for in between.
//!
//! The library that lays certificates out wants its signature at once. Where the key is elsewhere, everything is laid out
//! twice: the first time only to hear what is to be signed, the second time with the signature.

use super::{CryptoError, KeyPair, PublicKey};
use std::sync::{Mutex, PoisonError};

/// Whose signature stands under what is laid out.
#[derive(Clone, Copy, Debug)]
pub enum Hand<'a> {
    /// A key elsewhere.
    Elsewhere(&'a Elsewhere),
    /// A key in our memory.
    Here(&'a KeyPair),
}

/// A key elsewhere, as long as one thing is laid out for it.
#[derive(Debug)]
pub struct Elsewhere {
    public: PublicKey,
    heard: Mutex<Vec<u8>>,
    signature: Option<Vec<u8>>,
}

impl Elsewhere {
    /// Ready to hear what is to be signed; what is laid out with it now has no signature.
    pub fn hearing(public: PublicKey) -> Self {
        Self { public, heard: Mutex::default(), signature: None }
    }

    /// What is to be signed.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// With the signature of that.
    ///
    /// # Errors
    /// `Signature` if it is another key's, or of something else.
    pub fn signed(self, signature: Vec<u8>) -> Result<Self, CryptoError> {
        self.public.verify(&self.heard(), &signature)?;
        Ok(Self { signature: Some(signature), ..self })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.signature {
            None => {
                *heard = message.to_vec();
                Ok(Vec::new())
            }
            Some(signature) if *heard == message => Ok(signature.clone()),
            Some(_of_something_else) => Err(rcgen::Error::RemoteKeyError),
        }
    }
}

impl Hand<'_> {
    /// The public half.
    pub const fn public(&self) -> &PublicKey {
        match self {
            Self::Elsewhere(elsewhere) => &elsewhere.public,
            Self::Here(key) => key.public(),
        }
    }
}

impl rcgen::PublicKeyData for Hand<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public().der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        rcgen::PublicKeyData::algorithm(self.public())
    }
}

impl rcgen::SigningKey for Hand<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        match self {
            Self::Elsewhere(elsewhere) => elsewhere.sign(message),
            Self::Here(key) => rcgen::SigningKey::sign(*key, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KeyAlgorithm;
    use rcgen::SigningKey as _;

    #[test]
    fn only_the_key_s_own_signature_of_what_was_heard_is_taken() {
        let [key, other] = [(); 2].map(|()| KeyPair::generate(KeyAlgorithm::EcP256).unwrap());
        let hearing = |message: &[u8]| {
            let elsewhere = Elsewhere::hearing(key.public().clone());
            assert!(Hand::Elsewhere(&elsewhere).sign(message).is_ok());
            assert_eq!(elsewhere.heard(), message);
            elsewhere
        };
        for wrong in [other.sign(b"this").unwrap(), key.sign(b"that").unwrap(), Vec::new(), vec![0; 70]] {
            assert!(matches!(hearing(b"this").signed(wrong), Err(CryptoError::Signature)));
        }
        let signature = key.sign(b"this").unwrap();
        let signed = hearing(b"this").signed(signature.clone()).unwrap();
        assert_eq!(Hand::Elsewhere(&signed).sign(b"this").unwrap(), signature);
        assert!(Hand::Elsewhere(&signed).sign(b"that").is_err(), "what is laid out the second time must be the same");
    }
}
