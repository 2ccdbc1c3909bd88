//! What operators ask about persons: decode, call, encode.

use super::Admin;
use crate::api::refused::{Class, Refused};
use crate::issuance::{Erasure, ErasureError};
use crate::telemetry::chain;
use crate::token::IssuerName;
use crate::wire::lanyard::{ErasePersonAnswer, ErasePersonRequest};
use tonic::Status;

impl Admin {
    pub(super) async fn erased(&self, asked: ErasePersonRequest, uid: u32) -> Result<ErasePersonAnswer, Status> {
        let ErasePersonRequest { issuer, user, reason } = asked;
        let reason = self.reason(&reason)?;
        let issuance = &self.0.issuance;
        let Some(issuer) = issuance.issuers.by_name(&issuer).map(|issuer| issuer.name().clone()) else {
            return Err(self.malformed("issuer_unknown", "the configuration has no issuer of this name"));
        };
        let forgotten = self.erase(&issuer, user, (uid, reason)).await?;
        let identities = u64::try_from(forgotten.struck.sessions.len()).unwrap_or(u64::MAX);
        Ok(ErasePersonAnswer { person: forgotten.person.to_string(), identities })
    }

    async fn erase(
        &self,
        issuer: &IssuerName,
        user: u64,
        (uid, reason): (u32, &str),
    ) -> Result<crate::issuance::Forgotten, Status> {
        let id = self.0.request_id();
        self.0.issuance.erase(&Erasure { issuer, user, uid, reason }).await.map_err(|error| {
            let (class, code) = match &error {
                ErasureError::NotDeleted(_) => (Class::Unavailable, "person_not_deleted"),
                ErasureError::NotEnded(_) | ErasureError::Store(_) => (Class::Unavailable, "store_unavailable"),
                ErasureError::Unknown => (Class::Absent, "person_unknown"),
            };
            Refused::new(class, code, chain(&error), &id).into_status()
        })
    }
}
