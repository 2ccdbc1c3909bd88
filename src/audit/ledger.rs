//! The hand that writes the journal. Only what it has written down may be signed: [`Recorded`] has no other maker.

use super::refusals::{Folding, Observed, Refused};
use super::{Asked, Auditable, Entry};
use crate::crypto::Digest;
use crate::store::{ClockError, Commit, Committed, Condition, Position, Room, Store, StoreError, Stored, Write};
use crate::token::IssuerName;
use serde_json::value::to_raw_value;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// What is changed in the store together with an entry, and what must hold for it.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// Done together.
    pub writes: Vec<Write>,
}

/// Something whose intent is durable. The value inside comes out by [`Recorded::into_inner`] only.
///
/// Nobody but the ledger makes one, so nothing is signed that is not on record:
/// ```compile_fail,E0451
/// let recorded = lanyard::audit::Recorded { subject: "never written down", position: 1 };
/// ```
#[derive(Debug)]
pub struct Recorded<T> {
    subject: T,
    position: Position,
}

impl<T> Recorded<T> {
    /// What was recorded, to be done now.
    pub fn into_inner(self) -> T {
        self.subject
    }

    /// Where in the journal.
    pub const fn position(&self) -> Position {
        self.position
    }
}

/// Why something was not recorded; then it must not happen.
#[derive(Debug, thiserror::Error)]
pub enum AdmitError<T> {
    /// Somebody else changed what this depends on; the subject comes back, to be thought over.
    #[error("{key} was changed meanwhile")]
    Conflict {
        /// The key whose condition did not hold.
        key: String,
        /// What it holds now.
        found: Option<Stored>,
        /// What was to be recorded.
        subject: Box<T>,
    },
    /// The store cannot write.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes entries. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    store: Arc<dyn Store>,
    folding: Arc<Folding>,
}

impl Ledger {
    /// A ledger on a store's journal.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, folding: Arc::default() }
    }

    /// Writes the intent and its changes in one durable commit.
    ///
    /// # Errors
    /// `Conflict` when a condition does not hold, `Store` when nothing could be written. Nothing is half done.
    pub async fn admit<T: Auditable>(&self, subject: T, changes: Changes) -> Result<Recorded<T>, AdmitError<T>> {
        self.admit_within(subject, changes, None).await
    }

    /// As [`Ledger::admit`]; what changes nothing may also be decided without a quorum of the replicas' store, for so long
    /// after the last one.
    ///
    /// # Errors
    /// As [`Ledger::admit`].
    pub async fn admit_within<T: Auditable>(
        &self,
        subject: T,
        changes: Changes,
        without_quorum: Option<Duration>,
    ) -> Result<Recorded<T>, AdmitError<T>> {
        let Changes { conditions, writes } = changes;
        let commit = Commit { room: Room::Common, conditions, writes, entry: text(&subject.entry())?, without_quorum };
        match self.store.commit(commit).await? {
            Committed::Done(position) => Ok(Recorded { subject, position }),
            Committed::Conflict { key, found } => Err(AdmitError::Conflict { key, found, subject: Box::new(subject) }),
        }
    }

    /// Writes the intent of what must be signed also on a full disk, as long as the reserve lasts: what is taken back.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn admit_at_once<T: Auditable>(&self, subject: T) -> Result<Recorded<T>, StoreError> {
        match self.write(&subject.entry(), Changes::default(), Room::Reserve).await? {
            Committed::Done(position) => Ok(Recorded { subject, position }),
            // There is no condition that could fail.
            Committed::Conflict { .. } => Err(StoreError::Stopped),
        }
    }

    /// Writes an entry that is itself the deed, such as the end of a session, with its changes; also on a full disk, as
    /// long as the reserve lasts.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn commit(&self, entry: &Entry<'_>, changes: Changes) -> Result<Committed, StoreError> {
        self.write(entry, changes, Room::Reserve).await
    }

    /// As [`Ledger::commit`], also while the clock is not believed: for deeds that only take away.
    ///
    /// # Errors
    /// When the store cannot write.
    pub async fn take_away(&self, entry: &Entry<'_>, changes: Changes) -> Result<Committed, StoreError> {
        self.write(entry, changes, Room::AnyTime).await
    }

    /// As [`Ledger::commit`], without a part in the reserve: what others can bring about as often as they like, and what is
    /// dropped because nobody can use it any more.
    ///
    /// # Errors
    /// When the store cannot write, or the disk is full.
    pub async fn commit_if_room(&self, entry: &Entry<'_>, changes: Changes) -> Result<Committed, StoreError> {
        self.write(entry, changes, Room::Common).await
    }

    async fn write(&self, entry: &Entry<'_>, changes: Changes, room: Room) -> Result<Committed, StoreError> {
        let Changes { conditions, writes } = changes;
        self.store.commit(Commit { room, conditions, writes, entry: text(entry)?, without_quorum: None }).await
    }

    /// What time it is, as far as it is believed.
    pub fn believed(&self, now: OffsetDateTime) -> OffsetDateTime {
        self.store.check_clock().map_or_else(ClockError::should_be, |()| now)
    }

    /// Hears of a genuine token that was dated so, and says whether a record can be dated now.
    ///
    /// # Errors
    /// When the clock cannot be believed.
    pub fn check_clock(&self, vouched: Option<OffsetDateTime>) -> Result<(), StoreError> {
        if let Some(at) = vouched {
            self.store.vouch(at);
        }
        Ok(self.store.check_clock()?)
    }

    /// Notes what follows from an entry that is durable already. Nobody waits.
    ///
    /// # Errors
    /// When the store has stopped.
    pub fn note(&self, entry: &Entry<'_>) -> Result<(), StoreError> {
        self.store.note(text(entry)?)
    }

    /// Notes that what was intended is done. Nobody waits: the intent is what makes an identity traceable.
    ///
    /// # Errors
    /// When the store has stopped.
    pub fn conclude(&self, request_id: &str, digest: Digest) -> Result<(), StoreError> {
        self.store.note(text(&Entry::Issued { request_id, digest })?)
    }

    /// Notes what a rule on trial would have done; equal ones within a minute are folded into one entry.
    ///
    /// # Errors
    /// When the store has stopped.
    pub fn observe(&self, observed: &Observed<'_>, now: OffsetDateTime) -> Result<(), StoreError> {
        let Some(repeats) = self.folding.fold_trial(observed, now) else { return Ok(()) };
        let Observed { request_id, rule, policy, would, job } = *observed;
        self.store.note(text(&Entry::Observed { request_id, rule, policy, would, job, repeats })?)
    }

    /// Notes a delivery for an issuer's hooks that led to nothing; those of one code within a minute are folded into one
    /// entry, since anybody can send them.
    ///
    /// # Errors
    /// When the store has stopped.
    pub fn refuse_hook(
        &self,
        request_id: &str,
        issuer: &IssuerName,
        (code, why): (&str, &str),
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let issuer = &*issuer.0;
        let Some(repeats) = self.folding.fold_delivery(issuer, code, now) else { return Ok(()) };
        self.store.note(text(&Entry::HookRefused { request_id, issuer, code, why, repeats })?)
    }

    /// Notes a no to a known bearer; equal ones within a minute are folded into one entry.
    ///
    /// # Errors
    /// When the store has stopped.
    pub fn refuse(&self, refused: &Refused<'_>, now: OffsetDateTime) -> Result<(), StoreError> {
        let Some(repeats) = self.folding.fold(refused, now) else { return Ok(()) };
        let asked = refused.asked.map(|(claims, wish, keeping)| Asked::of(claims, wish, keeping));
        self.store.note(text(&Entry::Refused {
            request_id: refused.request_id,
            code: refused.code,
            why: &refused.why,
            job: refused.job,
            policy: refused.policy,
            repeats,
            asked: asked.as_ref(),
            facts: refused.facts,
        })?)
    }
}

fn text(entry: &Entry<'_>) -> Result<crate::store::Entry, StoreError> {
    to_raw_value(entry).map_err(|fault| StoreError::Journal(fault.into()))
}
