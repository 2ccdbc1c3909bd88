//! What a token's AES key closes and opens (AES-GCM, PKCS#11 §2.13): the key stays there, as those that sign do.

use super::session::Objects;
use super::{Label, PlaceFault};
use crate::crypto::{Digest, Random};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use zeroize::Zeroizing;

/// What AES-GCM takes best (NIST SP 800-38D §5.2.1.1), in bytes.
const NONCE: usize = 12;
/// All of it, in bits.
const TAG: u64 = 128;

impl Objects<'_> {
    /// The nonce and what it closed; the label is bound in.
    pub(super) fn wrap(&self, label: &Label, secret: &[u8]) -> Result<Vec<u8>, PlaceFault> {
        let key = match self.wrapping(label)? {
            Some(key) => key,
            None => self.make_wrapping(label)?,
        };
        let mut nonce: [u8; NONCE] = Random::system().bytes();
        let closed = self.with_gcm(label, &mut nonce, |with| self.session.encrypt(with, key, secret))?;
        // Some modules choose a nonce of their own, and write it where ours stood.
        Ok([nonce.as_slice(), &closed].concat())
    }

    pub(super) fn open(&self, label: &Label, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>, PlaceFault> {
        let key = self.wrapping(label)?.ok_or_else(|| PlaceFault::NotThere { label: label.clone() })?;
        let (nonce, closed) = wrapped.split_first_chunk::<NONCE>().unwrap_or((&[0; NONCE], wrapped));
        let mut nonce = *nonce;
        self.with_gcm(label, &mut nonce, |with| self.session.decrypt(with, key, closed)).map(Zeroizing::new)
    }

    fn with_gcm(
        &self,
        label: &Label,
        nonce: &mut [u8; NONCE],
        work: impl FnOnce(&Mechanism<'_>) -> cryptoki::error::Result<Vec<u8>>,
    ) -> Result<Vec<u8>, PlaceFault> {
        let bound = label.as_str().as_bytes();
        let params = GcmParams::new(nonce, bound, TAG.into()).map_err(self.token.odd())?;
        work(&Mechanism::AesGcm(params)).map_err(self.token.odd())
    }

    fn wrapping(&self, label: &Label) -> Result<Option<ObjectHandle>, PlaceFault> {
        let key = self.one(label, ObjectClass::SECRET_KEY)?;
        key.map(|key| self.check_stays(label, key, (KeyType::AES, "an AES key")).map(|()| key)).transpose()
    }

    fn make_wrapping(&self, label: &Label) -> Result<ObjectHandle, PlaceFault> {
        let name = label.as_str().as_bytes();
        let wanted = [
            Attribute::Token(true),
            Attribute::Private(true),
            Attribute::Label(name.to_vec()),
            Attribute::Id(Digest::of(name).as_bytes().to_vec()),
            Attribute::ValueLen(32.into()),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Encrypt(true),
            Attribute::Decrypt(true),
        ];
        self.session.generate_key(&Mechanism::AesKeyGen, &wanted).map_err(self.token.odd())
    }
}
