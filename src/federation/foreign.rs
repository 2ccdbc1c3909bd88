//! What is handed out of other trust domains: their bundles at one moment, rendered once.

use crate::bundle::Bundle;
use crate::identity::TrustDomain;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A trust domain's bundle, and its SPIFFE document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Foreign {
    /// The bundle.
    pub bundle: Bundle,
    /// As agents read it.
    pub json: Bytes,
}

/// All of them at one moment.
#[derive(Clone, Debug, Default)]
pub struct ForeignBundles {
    number: u64,
    of: BTreeMap<TrustDomain, Arc<Foreign>>,
}

impl From<Bundle> for Foreign {
    fn from(bundle: Bundle) -> Self {
        Self { json: bundle.to_json().into(), bundle }
    }
}

impl ForeignBundles {
    /// Those of one moment, with the number of the change that led there.
    pub(super) const fn new(number: u64, of: BTreeMap<TrustDomain, Arc<Foreign>>) -> Self {
        Self { number, of }
    }

    /// Grows with every change, over restarts too.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Of one trust domain.
    pub fn of(&self, trust_domain: &TrustDomain) -> Option<&Arc<Foreign>> {
        self.of.get(trust_domain)
    }

    /// Of those trust domains that we hold, sorted, each once.
    pub fn among(&self, wanted: &[TrustDomain]) -> Vec<Arc<Foreign>> {
        // Few are wanted where many are held, and everybody asks when one changes.
        let wanted: BTreeSet<_> = wanted.iter().collect();
        wanted.into_iter().filter_map(|trust_domain| self.of.get(trust_domain).cloned()).collect()
    }
}
