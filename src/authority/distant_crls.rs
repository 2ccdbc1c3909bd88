//! The revocation lists of authorities whose keys are elsewhere: signed when they say something new, or are half over.
//!
//! A set is made anew after each end of an identity, and its root's list seldom says anything else than before; a token or a
//! Vault is not asked each time. While the place is away, the last list serves as long as it is true.

use super::SignError;
use super::crl_issuers::CrlIssuer;
use crate::crypto::{Hand, KeyId};
use crate::svid::CrlFields;
use crate::telemetry::chain;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use time::OffsetDateTime;

/// A list, and what it says.
#[derive(Clone, Debug)]
pub(super) struct DistantCrl {
    pub(super) der: Bytes,
    pub(super) next_update: OffsetDateTime,
    fields: CrlFields,
}

/// The last of each.
#[derive(Debug, Default)]
pub(super) struct DistantCrls(Mutex<BTreeMap<KeyId, DistantCrl>>);

impl DistantCrls {
    /// The list of these fields, or the last one where it says the same and is good for long enough.
    pub(super) async fn sign(&self, issuer: &CrlIssuer, fields: CrlFields) -> Result<DistantCrl, SignError> {
        let key_id = issuer.key.public().id();
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key_id).cloned();
        let last = last.filter(|last| last.fields.revoked == fields.revoked);
        // A set is made anew at half of what is left of its shortest list.
        let left = |eighths: i32| {
            let of = (fields.next_update - fields.this_update) / 8 * eighths;
            last.as_ref().filter(|last| last.next_update - fields.this_update > of).cloned()
        };
        if let Some(last) = left(6) {
            return Ok(last);
        }
        let signed = issuer.key.sign(|hand: Hand<'_>| Ok::<_, SignError>(fields.sign(&issuer.certificate, &hand)?));
        let der = match (signed.await, left(1)) {
            (Ok(new), _) => Bytes::from(new.to_vec()),
            (Err(fault), Some(last)) => {
                tracing::warn!(%key_id, fault = chain(&fault), "the last revocation list of a root serves on");
                return Ok(last);
            }
            (Err(fault), None) => return Err(fault),
        };
        let new = DistantCrl { der, next_update: fields.next_update, fields };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key_id, new.clone());
        Ok(new)
    }
}
