//! One person's key, and what it seals.

use super::personal::{Personal, SEALED};
use crate::crypto::{Digest, KeyId, SealContext, SealedKey, SealingKey, write_hex};
use crate::identity::TrustDomain;
use crate::token::Claims;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What stands for a person where the person is not to stand: made of the key by a digest, so that nobody finds the person
/// by it once the key is gone, and nobody at all by trying ids.
#[derive(Clone, Copy, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PersonName([u8; 16]);

impl PersonName {
    fn of_key(key: &[u8; 32]) -> Self {
        let digest = Digest::of_parts(&[b"person", key]);
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(digest.as_bytes()) {
            *to = *from;
        }
        Self(name)
    }
}

impl fmt::Display for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for PersonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl TryFrom<String> for PersonName {
    type Error = &'static str;

    fn try_from(hex: String) -> Result<Self, &'static str> {
        let number = u128::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == 32);
        number.map(|number| Self(number.to_be_bytes())).ok_or("a person's name is 32 hex digits")
    }
}

impl From<PersonName> for String {
    fn from(name: PersonName) -> Self {
        name.to_string()
    }
}

/// Personal claims, unreadable without their person's key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Sealed {
    /// Whose.
    pub name: PersonName,
    sealed: SealedKey,
}

/// The key of one person.
pub struct PersonKey {
    pub(super) name: PersonName,
    trust_domain: TrustDomain,
    pub(super) bytes: Zeroizing<[u8; 32]>,
}

impl PersonKey {
    pub(super) fn generate(trust_domain: TrustDomain) -> Self {
        Self::from_bytes(SealingKey::generate().1, trust_domain)
    }

    pub(super) fn from_bytes(bytes: Zeroizing<[u8; 32]>, trust_domain: TrustDomain) -> Self {
        Self { name: PersonName::of_key(&bytes), trust_domain, bytes }
    }

    /// The room for a key that is ready for use is many times that of its bytes, and there may be a hundred thousand.
    fn sealing(&self) -> Option<SealingKey> {
        SealingKey::from_bytes(&*self.bytes).ok()
    }

    fn seal(&self, told: &impl Serialize) -> Option<Sealed> {
        let text = Zeroizing::new(serde_json::to_vec(told).ok()?);
        Some(Sealed { name: self.name, sealed: self.sealing()?.seal(context(&self.trust_domain, self.name), &text) })
    }

    pub(super) fn open<T: DeserializeOwned>(&self, sealed: &Sealed) -> Option<T> {
        let text = self.sealing()?.unseal(context(&self.trust_domain, self.name), &sealed.sealed).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// What else is known of a person, and is forgotten with them.
impl PersonKey {
    /// Seals it.
    pub fn seal_more(&self, told: &impl Serialize) -> Option<Sealed> {
        self.seal(told)
    }

    /// What stands for the person.
    pub const fn name(&self) -> PersonName {
        self.name
    }
}

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PersonKey({})", self.name)
    }
}

/// What a person's seals are bound to.
pub(super) fn context(trust_domain: &TrustDomain, name: PersonName) -> SealContext<'_> {
    let key_id = KeyId::from_digest(Digest::of(&name.0));
    SealContext { trust_domain: trust_domain.as_str(), key_id, kind: "person", generation: 0 }
}

/// How what some claims tell of a person is written down.
#[derive(Clone, Debug)]
pub enum Keeping {
    /// As it is: so it is configured, or there is no person.
    Open,
    /// Under the person's key, which is durable.
    Sealed(Arc<PersonKey>),
}

impl Keeping {
    /// Takes out of claims what they tell of a person, and seals it; none where it is to stay.
    pub fn take(&self, claims: &mut Cow<'_, Claims>) -> Option<Sealed> {
        match self {
            Self::Open => None,
            Self::Sealed(key) => key.seal(&Personal::take(claims.to_mut())),
        }
    }

    /// Some of the personal claims, sealed; none where they are not to be.
    pub fn seal(&self, claims: &Claims, is_wanted: impl Fn(&str) -> bool) -> Option<Sealed> {
        match self {
            Self::Open => None,
            Self::Sealed(key) => key.seal(&Personal::of(claims, is_wanted)),
        }
    }

    /// Whether a claim is written in the clear.
    pub fn shows(&self, name: &str) -> bool {
        match self {
            Self::Open => true,
            Self::Sealed(_) => !SEALED.contains(&name),
        }
    }
}
