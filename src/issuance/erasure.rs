//! A person who asks to be forgotten: the key is deleted that opens what the journal holds of them.
//!
//! Recorded first, then deleted: a crash between the two is made good at the next start, and none leaves an erasure that
//! nobody knows of. The journal keeps every line, so its chain holds. Which account of a directory was theirs is forgotten in the
//! same commit, so that the account is free for whoever has it next.

use super::Issuance;
use super::carried_out::carried_out;
use crate::audit::{Changes, Entry, Ledger};
use crate::directory::{AccountPins, Pinned};
use crate::people::{PeopleError, PersonName};
use crate::session::{EndReason, Revocation, Selector, SessionError, Struck};
use crate::store::{Committed, StoreError};
use crate::token::IssuerName;
use time::OffsetDateTime;

/// Who wants whom forgotten.
#[derive(Clone, Copy, Debug)]
pub struct Erasure<'a> {
    /// Whose user.
    pub issuer: &'a IssuerName,
    /// The user's id there.
    pub user: u64,
    /// The operator's user id.
    pub uid: u32,
    /// Why, in the operator's words.
    pub reason: &'a str,
}

/// Who is forgotten.
#[derive(Clone, Debug)]
pub struct Forgotten {
    /// What stands for them in the journal.
    pub person: PersonName,
    /// What lived of their jobs.
    pub struck: Struck,
}

/// Why somebody is not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// The key is still there; it is deleted at the next start, or when asked again.
    #[error("recorded, but the key could not be deleted yet")]
    NotDeleted(#[source] PeopleError),
    /// Not all of their sessions could be ended; none of them can be renewed.
    #[error("erased, but not every session could be ended")]
    NotEnded(#[source] SessionError),
    /// Nothing could be recorded, so nothing is erased.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no key to delete.
    #[error("no key of this user is kept: nothing came of them while persons were sealed, or they are erased already")]
    Unknown,
}

impl Issuance {
    /// Forgets a person. What lives of their jobs ends: it could not be decided again.
    ///
    /// # Errors
    /// See [`ErasureError`].
    pub async fn erase(&self, wish: &Erasure<'_>) -> Result<Forgotten, ErasureError> {
        let Erasure { issuer, user, uid, reason } = *wish;
        let now = self.now();
        let person = self.people.name_of(issuer, &user.to_string()).ok_or(ErasureError::Unknown)?;
        let (ledger, people, sessions) = (self.ledger.clone(), self.people.clone(), self.sessions.clone());
        let (pins, pinned) = (self.account_pins.clone(), Pinned::User((issuer.clone(), user)));
        let (issuer, reason) = (issuer.clone(), reason.to_owned());
        let struck = carried_out(async move {
            let entry = Entry::PersonErased { person, issuer: &issuer.0, uid, say: &reason };
            record(&ledger, &entry, (&pins, &pinned), (person, now)).await?;
            people.erase(vec![person]).await.map_err(ErasureError::NotDeleted)?;
            let issuer = Some(issuer.to_string());
            let selector = Selector { issuer, user: Some(user.to_string()), ..Selector::default() };
            let revocation = Revocation { selector: &selector, uid, reason: &reason };
            sessions.end_erased(&ledger, &revocation, now).await.map_err(ErasureError::NotEnded)
        });
        let struck = struck.await?;
        self.recorder.ended(EndReason::Erased, struck.sessions.len());
        Ok(Forgotten { person, struck })
    }
}

/// The erasure, and in the same commit whose account is forgotten.
async fn record(
    ledger: &Ledger,
    entry: &Entry<'_>,
    (pins, pinned): (&AccountPins, &Pinned),
    (person, now): (PersonName, OffsetDateTime),
) -> Result<(), ErasureError> {
    // Whoever pins an account meanwhile is seen at the next try; after it, nobody can.
    loop {
        let mut changes = pins.forgetting(pinned)?.map_or_else(Changes::default, |(_, changes)| changes);
        changes.writes.push(person.erased_at(now)?);
        if matches!(ledger.commit(entry, changes).await?, Committed::Done(_)) {
            return Ok(());
        }
    }
}
