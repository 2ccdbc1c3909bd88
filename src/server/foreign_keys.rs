//! The keys of other trust domains' JWT-SVIDs, out of the bundles that we hold.

use crate::discovery::{BundleKeys, KeysError};
use crate::federation::{Federation, Foreign};
use crate::identity::TrustDomain;
use crate::token::KeySet;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::OffsetDateTime;

/// What is held now, whoever brought it.
#[derive(Debug)]
pub(super) struct HeldKeys {
    federation: Federation,
    /// The last of each that was asked for, read once: of no more trust domains than the configuration has issuers.
    read: Mutex<Read>,
}

type Read = BTreeMap<TrustDomain, (Arc<Foreign>, Arc<KeySet>)>;

impl From<Federation> for HeldKeys {
    fn from(federation: Federation) -> Self {
        Self { federation, read: Mutex::default() }
    }
}

impl BundleKeys for HeldKeys {
    fn keys_of(&self, trust_domain: &TrustDomain, now: OffsetDateTime) -> Result<Arc<KeySet>, KeysError> {
        let relation = self.federation.relation(trust_domain);
        let held = relation.as_ref().and_then(|relation| Some((relation, &relation.kept.as_ref()?.foreign)));
        let Some((relation, foreign)) = held else { return Err(KeysError::NotHeld(trust_domain.clone())) };
        if let Some(since) = relation.unseen_since(now) {
            return Err(KeysError::NotSeen { trust_domain: trust_domain.clone(), since });
        }
        self.of(foreign)
    }

    fn ask_early(&self, trust_domain: &TrustDomain, now: OffsetDateTime) -> bool {
        self.federation.ask_early(trust_domain, now)
    }
}

impl HeldKeys {
    fn of(&self, foreign: &Arc<Foreign>) -> Result<Arc<KeySet>, KeysError> {
        let trust_domain = &foreign.bundle.trust_domain;
        let known = self.read().get(trust_domain).filter(|(of, _)| Arc::ptr_eq(of, foreign)).cloned();
        if let Some((_, keys)) = known {
            return Ok(keys);
        }
        let keys = KeySet::of_bundle(&foreign.bundle.jwt_authorities);
        let keys = keys.map_err(|source| KeysError::Jwks { url: format!("the bundle of {trust_domain}"), source })?;
        let keys = Arc::new(keys);
        self.read().insert(trust_domain.clone(), (Arc::clone(foreign), Arc::clone(&keys)));
        Ok(keys)
    }

    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
