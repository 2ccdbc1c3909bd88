//! Private keys at rest: sealed with AES-256-GCM, bound to what they are.

use super::{Digest, KeyId, Random, write_hex};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// Why a sealed key could not be opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// The sealing key is not 32 bytes.
    #[error("a sealing key is 32 bytes")]
    BadSealingKey,
    /// Another sealing key, another context, or changed bytes.
    #[error("the sealed key does not open with this sealing key in this place")]
    DoesNotOpen,
}

/// What a sealed key is bound to: moved elsewhere, it does not open.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SealContext<'a> {
    /// The trust domain that the key serves.
    pub trust_domain: &'a str,
    /// The key's public name.
    pub key_id: KeyId,
    /// What the key is for, such as `x509-root`.
    pub kind: &'a str,
    /// Counts the keys of a kind.
    pub generation: u64,
}

impl SealContext<'_> {
    /// All of it, each part preceded by its length, so that no two contexts read alike.
    fn associated_data(&self) -> Vec<u8> {
        let generation = self.generation.to_be_bytes();
        let parts: [&[u8]; 5] = [
            b"lanyard sealed key 1",
            self.trust_domain.as_bytes(),
            self.key_id.digest().as_bytes(),
            self.kind.as_bytes(),
            &generation,
        ];
        let mut data = Vec::new();
        for part in parts {
            data.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            data.extend(part);
        }
        data
    }
}

/// A private key, unreadable without the sealing key: nonce and ciphertext, base64 when serialised.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SealedKey(String);

/// Tells sealing keys apart, and says nothing of them: a digest of 32 bytes that nobody can guess.
#[derive(Clone, Copy, Deserialize, Eq, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SealingKeyName(Digest);

impl SealingKeyName {
    /// So many bytes tell a person's handful of keys apart.
    const SHOWN: usize = 8;
}

impl fmt::Display for SealingKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.0.as_bytes().get(..Self::SHOWN).unwrap_or_default(), f)
    }
}

impl fmt::Debug for SealingKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Seals and opens private keys (AES-256-GCM, fresh 96-bit nonce, the context as associated data).
pub struct SealingKey {
    key: RandomizedNonceKey,
    name: SealingKeyName,
}

impl SealingKey {
    /// Makes a new one; the bytes are the caller's to keep.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "32 bytes are the one length an AES-256 key has"
    )]
    pub fn generate() -> (Self, Zeroizing<[u8; 32]>) {
        let bytes = Zeroizing::new(Random::system().bytes::<32>());
        (Self::from_bytes(bytes.as_ref()).expect("32 bytes"), bytes)
    }

    /// Takes 32 bytes that were kept.
    ///
    /// # Errors
    /// `BadSealingKey` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_unspecified| SealError::BadSealingKey)?;
        Ok(Self { key, name: SealingKeyName(Digest::of_parts(&[b"sealing key", bytes])) })
    }

    /// What it is called in journal, log and errors.
    pub const fn name(&self) -> SealingKeyName {
        self.name
    }

    /// Seals a private key (PKCS#8).
    #[expect(clippy::expect_used, clippy::missing_panics_doc, reason = "AES-GCM seals anything below 64 GiB")]
    pub fn seal(&self, context: SealContext<'_>, pkcs8: &[u8]) -> SealedKey {
        // The clear bytes are encrypted where they stand; a vector that grew would leave a copy behind.
        let mut sealed = Vec::with_capacity(pkcs8.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(pkcs8);
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(context.associated_data()), &mut sealed)
            .expect("a private key is shorter than 64 GiB");
        SealedKey(STANDARD.encode([nonce.as_ref().as_slice(), sealed.as_slice()].concat()))
    }

    /// Opens a sealed key.
    ///
    /// # Errors
    /// `DoesNotOpen`.
    pub fn unseal(&self, context: SealContext<'_>, sealed: &SealedKey) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let bytes = STANDARD.decode(&sealed.0).map_err(|_not_base64| SealError::DoesNotOpen)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(SealError::DoesNotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_unspecified| SealError::DoesNotOpen)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let length = self
            .key
            .open_in_place(nonce, Aad::from(context.associated_data()), &mut opened)
            .map_err(|_unspecified| SealError::DoesNotOpen)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealingKey({})", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(kind: &str) -> SealContext<'_> {
        SealContext { trust_domain: "ci.example.org", key_id: KeyId::of_spki(b"key"), kind, generation: 3 }
    }

    #[test]
    fn a_sealed_key_opens_in_its_own_place_only() {
        let (key, bytes) = SealingKey::generate();
        let here = context("x509-root");
        let sealed = key.seal(here, b"private");
        let reopened = SealingKey::from_bytes(bytes.as_ref()).unwrap();
        assert_eq!(reopened.unseal(here, &sealed).unwrap().as_slice(), b"private");
        for elsewhere in [
            SealContext { trust_domain: "other.example", ..here },
            SealContext { key_id: KeyId::of_spki(b"other"), ..here },
            SealContext { kind: "jwt", ..here },
            SealContext { generation: 2, ..here },
            SealContext { trust_domain: "ci.example.orgx", kind: "509-root", ..here },
        ] {
            assert_eq!(key.unseal(elsewhere, &sealed), Err(SealError::DoesNotOpen), "{elsewhere:?}");
        }
    }

    #[test]
    fn another_sealing_key_and_changed_bytes_do_not_open_it() {
        let (key, _bytes) = SealingKey::generate();
        let (other, _bytes) = SealingKey::generate();
        let sealed = key.seal(context("jwt"), b"private");
        assert_eq!(other.unseal(context("jwt"), &sealed), Err(SealError::DoesNotOpen));
        let was = sealed.0.get(20..21).unwrap();
        let changed = sealed.0.replace(was, if was == "/" { "+" } else { "/" });
        for odd in ["", "AAAA", "no base64!", &changed] {
            assert_eq!(key.unseal(context("jwt"), &SealedKey(odd.to_owned())), Err(SealError::DoesNotOpen), "{odd}");
        }
    }

    #[test]
    fn two_seals_of_one_key_differ() {
        let (key, _bytes) = SealingKey::generate();
        assert_ne!(key.seal(context("jwt"), b"private"), key.seal(context("jwt"), b"private"));
    }

    #[test]
    fn a_sealing_key_of_another_length_is_refused() {
        assert_eq!(SealingKey::from_bytes(&[7; 31]).unwrap_err(), SealError::BadSealingKey);
    }
}
