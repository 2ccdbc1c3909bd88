//! A signing key of ours, wherever it lives.

use super::{CustodyError, Label, Place, PlaceFault};
use crate::crypto::{Elsewhere, Hand, KeyPair, PublicKey};
use std::fmt;
use std::sync::Arc;

/// A signing key of ours.
#[derive(Clone, Debug)]
pub enum AuthorityKey {
    /// In our memory; sealed at rest.
    Held(Arc<KeyPair>),
    /// In a place that signs for us.
    Placed(PlacedKey),
}

/// A key in a place that signs for us.
#[derive(Clone)]
pub struct PlacedKey {
    /// The place's configured name.
    pub place: Arc<str>,
    /// What it is called there.
    pub label: Label,
    /// What verifies its signatures.
    pub public: PublicKey,
    /// The place itself.
    pub(super) at: Arc<dyn Place>,
}

impl AuthorityKey {
    /// The public half.
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::Held(key) => key.public(),
            Self::Placed(key) => &key.public,
        }
    }

    /// The key itself, if we hold it.
    pub const fn held(&self) -> Option<&Arc<KeyPair>> {
        match self {
            Self::Held(key) => Some(key),
            Self::Placed(_) => None,
        }
    }

    /// Where it lives, if we do not hold it.
    pub const fn placed(&self) -> Option<&PlacedKey> {
        match self {
            Self::Held(_) => None,
            Self::Placed(key) => Some(key),
        }
    }

    /// Signs what is laid out; where the key is elsewhere, it is laid out twice, so it must come out the same.
    ///
    /// # Errors
    /// What laying out, or the place, says.
    pub async fn sign<T, E: From<CustodyError>>(&self, lay_out: impl Fn(Hand<'_>) -> Result<T, E>) -> Result<T, E> {
        let placed = match self {
            Self::Held(key) => return lay_out(Hand::Here(key)),
            Self::Placed(placed) => placed,
        };
        let elsewhere = Elsewhere::hearing(placed.public.clone());
        drop(lay_out(Hand::Elsewhere(&elsewhere))?);
        let signature =
            placed.at.sign(&placed.label, &elsewhere.heard()).await.map_err(|fault| placed.at_fault(fault))?;
        let odd = |source| placed.at_fault(PlaceFault::Crypto { label: placed.label.clone(), source });
        let signed = elsewhere.signed(signature).map_err(odd)?;
        lay_out(Hand::Elsewhere(&signed))
    }
}

impl PlacedKey {
    /// Whether the place has it, as it says.
    ///
    /// # Errors
    /// `NotThere` where it has not; else why the place does not answer.
    pub async fn check(&self) -> Result<(), CustodyError> {
        let found = self.at.find(&self.label).await.map_err(|fault| self.at_fault(fault))?;
        if found.as_ref() == Some(&self.public) {
            return Ok(());
        }
        Err(self.at_fault(self.at.lacks(&self.label)))
    }

    fn at_fault(&self, fault: PlaceFault) -> CustodyError {
        CustodyError { place: self.place.to_string(), fault }
    }
}

impl fmt::Debug for PlacedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlacedKey({} in {})", self.label, self.place)
    }
}
