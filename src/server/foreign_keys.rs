//! The keys of other trust domains' JWT-SVIDs, out of the bundles that we hold.

use crate::discovery::BundleKeys;
use crate::federation::Federation;
use crate::identity::TrustDomain;
use crate::token::KeySet;
use std::sync::Arc;

/// What is held now, whoever brought it.
#[derive(Debug)]
pub(super) struct HeldKeys(pub(super) Federation);

impl BundleKeys for HeldKeys {
    fn keys_of(&self, trust_domain: &TrustDomain) -> Option<Arc<KeySet>> {
        let held = Arc::clone(self.0.now().of(trust_domain)?);
        KeySet::of_bundle(&held.bundle.jwt_authorities).ok().map(Arc::new)
    }
}
