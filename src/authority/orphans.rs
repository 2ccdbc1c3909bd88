//! What operators do with keys that no authority names, and what is seen to at the start.

use super::loose::{Looseness, Orphan, Orphans};
use super::{
    Authority, AuthorityKind, AuthorityState, Keyring, Order, OrderError, OrderKind, Rotator, RotatorError, Taken,
};
use crate::audit::{Changes, Entry, OrphanWord};
use crate::custody::{Label, PlaceFault};
use crate::telemetry::chain;
use time::OffsetDateTime;

/// An operator wants an orphan deleted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OrphanDeletion {
    /// Which.
    pub label: Label,
    /// Who: the operator's user id.
    pub uid: u32,
    /// Why, in the operator's words.
    pub say: Option<String>,
}

impl Rotator {
    /// Keys in places that no authority names.
    pub async fn orphans(&self) -> Orphans {
        self.keyring.orphans(self.file.places()).await
    }

    /// Carries out an order with an orphan's key in place of a new one.
    ///
    /// # Errors
    /// See [`OrderError`]; nothing has changed then, except as [`RotatorError::Unsure`] says.
    pub async fn adopt(&mut self, order: &Order, label: &Label, now: OffsetDateTime) -> Result<Taken, OrderError> {
        let authority = order.authority;
        if (authority, order.kind) != (AuthorityKind::X509Root, OrderKind::Prepare) {
            return Err(OrderError::NotAdopted { authority });
        }
        let orphan = self.orphan(label).await?;
        if orphan.known.is_some_and(|known| known.why == Looseness::GivenUp) {
            return Err(OrderError::GivenUp { label: label.clone() });
        }
        self.obey_with(order, Some((&orphan.place, label)), now).await
    }

    /// Deletes an orphan in its place, for good. What was never made is forgotten.
    ///
    /// # Errors
    /// See [`OrderError`].
    pub async fn delete_orphan(&mut self, deletion: &OrphanDeletion) -> Result<Orphan, OrderError> {
        let OrphanDeletion { label, uid, say } = deletion;
        let orphan = self.orphan(label).await?;
        let word = OrphanWord { place: &orphan.place, label: label.as_str(), uid: *uid, say: say.as_deref() };
        self.ledger.commit(&Entry::OrphanDeleted(word), Changes::default()).await.map_err(RotatorError::Store)?;
        self.file.places().delete(&orphan.place, label).await.map_err(RotatorError::Custody)?;
        self.forget(label)?;
        tracing::warn!(place = orphan.place, %label, uid, "a key that was nobody's was deleted");
        Ok(orphan)
    }

    async fn orphan(&self, label: &Label) -> Result<Orphan, OrderError> {
        let all = self.orphans().await;
        let found = all.orphans.into_iter().find(|orphan| orphan.label == *label);
        found.ok_or_else(|| OrderError::NoOrphan { label: label.clone(), silent: all.silent })
    }

    fn forget(&mut self, label: &Label) -> Result<(), RotatorError> {
        self.keyring.loose.retain(|loose| loose.label != *label);
        Ok(self.file.save(&self.keyring)?)
    }

    /// After an operator has revoked a key. What its place does not delete now stays listed until somebody says so again.
    pub(super) async fn delete_given_up(&mut self) {
        let given_up = self.keyring.loose.iter().filter(|loose| loose.why == Looseness::GivenUp);
        let given_up: Vec<_> = given_up.map(|loose| (loose.place.clone(), loose.label.clone())).collect();
        for (place, label) in given_up {
            let deleted = self.file.places().delete(&place, &label).await.map_err(RotatorError::Custody);
            match deleted.and_then(|()| self.forget(&label)) {
                Ok(()) => tracing::info!(place, %label, "a revoked key was deleted where it lived"),
                Err(fault) => tracing::error!(
                    place, %label, fault = chain(&fault),
                    "a revoked key is still where it lived: `lanyard authority revoke --orphan` deletes it"
                ),
            }
        }
    }
}

impl Keyring {
    /// Whether each key is where it lives. One that is not, or does not say, is told of; without its active root a server
    /// that has a history does not go on, unless the place is only away: what is signed meanwhile needs no root.
    pub(super) async fn check_places(&self) -> Result<(), RotatorError> {
        for loose in &self.loose {
            let (place, label) = (&loose.place, &loose.label);
            tracing::warn!(place, %label, "a key there is nobody's: `lanyard authority list --orphans` says more");
        }
        for authority in self.authorities.iter().filter(|one| one.state != AuthorityState::Removed) {
            let Some(placed) = authority.placed_key() else { continue };
            let Err(fault) = placed.check().await else { continue };
            let is_gone = matches!(
                fault.fault,
                PlaceFault::Forgotten { .. } | PlaceFault::NotConfigured | PlaceFault::NotThere { .. }
            );
            if is_active_root(authority) && is_gone {
                return Err(RotatorError::RootMissing(fault));
            }
            let key_id = authority.key_id();
            tracing::error!(
                %key_id, fault = chain(&fault),
                "a key cannot be used where it lives; new intermediates and revocation lists wait for it"
            );
        }
        Ok(())
    }
}

fn is_active_root(authority: &Authority) -> bool {
    authority.kind == AuthorityKind::X509Root && authority.state == AuthorityState::Active
}
