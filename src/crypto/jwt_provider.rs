//! How the JWT library verifies: with public keys that are parsed once, not for every token.
//!
//! The library asks a provider of the process for a verifier each time; this one answers RSA with modulus and exponent
//! from a small table of ready keys, and leaves everything else to the library's own provider.

use super::{JwsAlgorithm, PublicKey, PublicNumbers};
use jsonwebtoken::crypto::{CryptoProvider, JwtVerifier, aws_lc};
use jsonwebtoken::errors::Result;
use jsonwebtoken::signature::{self, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use std::collections::HashMap;
use std::sync::{LazyLock, PoisonError, RwLock};

/// Two keys an issuer, a few issuers: far more than are in use. Past that the table begins anew.
const READY_MAX: usize = 256;

/// Ready keys by their numbers.
static READY: LazyLock<RwLock<HashMap<Numbers, PublicKey>>> = LazyLock::new(RwLock::default);

/// Modulus and exponent.
type Numbers = (Vec<u8>, Vec<u8>);

/// Makes this the provider of the process; later calls change nothing.
pub(super) fn install() {
    static PROVIDER: LazyLock<CryptoProvider> =
        LazyLock::new(|| CryptoProvider { verifier_factory: verifier, ..aws_lc::DEFAULT_PROVIDER.clone() });
    // An error means that one is installed already, and only this one ever is.
    let _first = LazyLock::force(&PROVIDER).install_default().is_ok();
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the library's own signature")]
fn verifier(algorithm: &Algorithm, key: &DecodingKey) -> Result<Box<dyn JwtVerifier>> {
    let (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, e }) = (algorithm, key.kind()) else {
        return (aws_lc::DEFAULT_PROVIDER.verifier_factory)(algorithm, key);
    };
    match ready(n, e) {
        Some(key) => Ok(Box::new(Rs256(key))),
        None => (aws_lc::DEFAULT_PROVIDER.verifier_factory)(algorithm, key),
    }
}

fn ready(n: &[u8], e: &[u8]) -> Option<PublicKey> {
    let numbers = (n.to_vec(), e.to_vec());
    let known = READY.read().unwrap_or_else(PoisonError::into_inner).get(&numbers).cloned();
    if known.is_some() {
        return known;
    }
    let (n, e) = numbers.clone();
    let key = PublicKey::from_numbers(&PublicNumbers::Rsa { n, e }).ok()?;
    keep(&mut READY.write().unwrap_or_else(PoisonError::into_inner), numbers, key.clone());
    Some(key)
}

fn keep(ready: &mut HashMap<Numbers, PublicKey>, numbers: Numbers, key: PublicKey) {
    if ready.len() >= READY_MAX {
        ready.clear();
    }
    ready.insert(numbers, key);
}

struct Rs256(PublicKey);

impl Verifier<Vec<u8>> for Rs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> std::result::Result<(), signature::Error> {
        self.0.verify_jws(JwsAlgorithm::Rs256, message, signature).map_err(signature::Error::from_source)
    }
}

impl JwtVerifier for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyAlgorithm, KeyPair};

    #[test]
    fn a_ready_key_takes_its_own_signatures_and_no_others() {
        install();
        let [key, other] = [(); 2].map(|()| KeyPair::generate(KeyAlgorithm::Rsa).unwrap());
        let PublicNumbers::Rsa { n, e } = key.public().numbers() else { panic!("an RSA key") };
        let decoding = DecodingKey::from_rsa_raw_components(&n, &e);
        for _ in 0..2 {
            let verifier = verifier(&Algorithm::RS256, &decoding).unwrap();
            assert!(verifier.verify(b"message", &key.sign_jws(b"message").unwrap()).is_ok());
            assert!(verifier.verify(b"message", &other.sign_jws(b"message").unwrap()).is_err());
            assert!(verifier.verify(b"massage", &key.sign_jws(b"message").unwrap()).is_err());
        }
    }
}
