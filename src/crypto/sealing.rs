//! The key that seals, and a former one that still opens what it has sealed.

use super::{SealContext, SealError, SealedKey, SealingKey, SealingKeyName};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The key that seals from now on, and the one before it while something may be sealed under that. Clones are the same.
#[derive(Clone, Debug)]
pub struct Sealing {
    own: Arc<SealingKey>,
    former: Option<Arc<SealingKey>>,
}

/// What was sealed.
#[derive(Debug)]
pub struct Unsealed {
    /// The secret itself.
    pub secret: Zeroizing<Vec<u8>>,
    /// Whether only the former key opened it.
    pub is_of_former: bool,
}

impl Sealing {
    /// With a former key beside it.
    #[must_use]
    pub fn after(self, former: impl Into<Arc<SealingKey>>) -> Self {
        Self { former: Some(former.into()), ..self }
    }

    /// Whether something may still be sealed under another key.
    pub const fn has_former(&self) -> bool {
        self.former.is_some()
    }

    /// The name of the key that seals.
    pub fn name(&self) -> SealingKeyName {
        self.own.name()
    }

    /// The names of all that open, for somebody who looks for another.
    pub fn names(&self) -> String {
        let former = self.former.as_ref().map(|former| format!(" and {}", former.name())).unwrap_or_default();
        format!("{}{former}", self.own.name())
    }

    /// Whether one of them has this name.
    pub fn has(&self, name: SealingKeyName) -> bool {
        [Some(&self.own), self.former.as_ref()].into_iter().flatten().any(|key| key.name() == name)
    }

    /// Seals a secret under the key of now.
    pub fn seal(&self, context: SealContext<'_>, secret: &[u8]) -> SealedKey {
        self.own.seal(context, secret)
    }

    /// Opens what either key has sealed.
    ///
    /// # Errors
    /// `DoesNotOpen`.
    pub fn unseal(&self, context: SealContext<'_>, sealed: &SealedKey) -> Result<Unsealed, SealError> {
        match (self.own.unseal(context, sealed), &self.former) {
            (Ok(secret), _) => Ok(Unsealed { secret, is_of_former: false }),
            (Err(_), Some(former)) => Ok(Unsealed { secret: former.unseal(context, sealed)?, is_of_former: true }),
            (Err(fault), None) => Err(fault),
        }
    }
}

impl From<Arc<SealingKey>> for Sealing {
    fn from(own: Arc<SealingKey>) -> Self {
        Self { own, former: None }
    }
}

impl From<SealingKey> for Sealing {
    fn from(own: SealingKey) -> Self {
        Arc::new(own).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KeyId;

    #[test]
    fn what_the_former_key_sealed_opens_and_what_is_sealed_now_opens_without_it() {
        let key = |byte| SealingKey::from_bytes(&[byte; 32]).unwrap();
        let context =
            SealContext { trust_domain: "ci.test", key_id: KeyId::of_spki(b"key"), kind: "jwt", generation: 1 };
        let (before, changed) = (Sealing::from(key(1)), Sealing::from(key(2)).after(key(1)));
        let old = before.seal(context, b"private");
        let opened = changed.unseal(context, &old).unwrap();
        assert_eq!((opened.secret.as_slice(), opened.is_of_former), (&b"private"[..], true));
        let new = changed.seal(context, b"private");
        assert!(!changed.unseal(context, &new).unwrap().is_of_former);
        assert!(Sealing::from(key(2)).unseal(context, &new).is_ok());
        assert!(before.unseal(context, &new).is_err() && Sealing::from(key(2)).unseal(context, &old).is_err());
        assert!(changed.has(key(1).name()) && changed.has(key(2).name()) && !changed.has(key(3).name()));
    }
}
