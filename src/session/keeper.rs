//! Who may open, repeat, renew or end a session, and what the store must write and check for it.

use super::pins::pin;
use super::record::{Record, Tombstone, job_key, session_key};
use super::{EndReason, PinError, Pinned, Proof, SessionId, SessionKey};
use crate::audit::{Changes, Entry, Job, Ledger};
use crate::crypto::KeyId;
use crate::identity::SpiffeId;
use crate::policy::Grant;
use crate::store::{Committed, Condition, Revision, Store, StoreError, Version, Write};
use crate::token::{Claims, VerifiedClaims};
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::broadcast;

/// Why a session cannot be opened, repeated or renewed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It ended: by its time, or by somebody.
    #[error("the session has ended")]
    Ended,
    /// The rules of today give the bearer another identity than the session has.
    #[error("the session's identity is {was}, and the policy now says {now}; the job must start anew")]
    IdentityChanged {
        /// What the session has.
        was: SpiffeId,
        /// What the policy says.
        now: SpiffeId,
    },
    /// The session belongs to another key than the connection's.
    #[error("the session belongs to another key")]
    NotOwner,
    /// A session without a client certificate is never renewed.
    #[error("this session was opened without a client certificate and cannot be renewed")]
    NotRenewable,
    /// The path's pin stands against it.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// The token was used with another key.
    #[error("the token was already used with another key")]
    Replayed,
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No such session.
    #[error("no such session")]
    Unknown,
}

/// Where a bearer stands before anything is asked of others.
#[derive(Debug)]
pub enum Standing {
    /// The token was never used.
    New,
    /// The session is live and this key's.
    Live {
        /// Which write the record is of.
        revision: Revision,
        /// Until when it lives.
        ends_at: OffsetDateTime,
    },
    /// A JWT-SVID is bought with the token alone, and binds nothing.
    Unbound,
}

/// What is about to be admitted.
#[derive(Clone, Copy, Debug)]
pub struct Admission<'a> {
    /// Who asks.
    pub claims: &'a Claims,
    /// With which key.
    pub owner: Option<&'a SessionKey>,
    /// Where that bearer stands.
    pub standing: &'a Standing,
    /// Where the path stands.
    pub pinned: Pinned,
    /// What is granted.
    pub grant: &'a Grant,
    /// When.
    pub now: OffsetDateTime,
    /// Until when a session opened by it lives.
    pub ends_at: OffsetDateTime,
}

impl<'a> Admission<'a> {
    fn record(&self, owner: &SessionKey) -> Record<'a> {
        Record {
            v: Version,
            owner: owner.id(),
            proof: owner.proof(),
            opened_at: self.now,
            ends_at: self.ends_at,
            rule: self.grant.rule().into(),
            ids: [(profile(self.grant).into(), Cow::Borrowed(self.grant.spiffe_id()))].into(),
            ended: None,
            claims: Cow::Borrowed(self.claims),
        }
    }
}

/// The name under which a grant's ID is remembered.
fn profile(grant: &Grant) -> &str {
    grant.profile().unwrap_or_default()
}

/// A session that ended, for the agents that hold it.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Whose it was.
    pub owner: KeyId,
    /// Which.
    pub session: SessionId,
    /// Why.
    pub reason: EndReason,
}

/// All sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub(super) store: Arc<dyn Store>,
    ends: broadcast::Sender<Ended>,
}

impl Sessions {
    /// The sessions of a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, ends: broadcast::Sender::new(1024) }
    }

    /// The ends of sessions, as they happen.
    pub fn ends(&self) -> broadcast::Receiver<Ended> {
        self.ends.subscribe()
    }

    /// Where the bearer of a genuine token stands.
    ///
    /// # Errors
    /// `Replayed` for another key's token, `Ended` for a closed session or job.
    pub fn look(
        &self,
        claims: &Claims,
        owner: Option<&SessionKey>,
        now: OffsetDateTime,
    ) -> Result<Standing, SessionError> {
        if self.store.read(&job_key(claims))?.is_some() {
            return Err(SessionError::Ended);
        }
        let Some((record, revision)) = self.record(&SessionId::of(claims))? else {
            return Ok(owner.map_or(Standing::Unbound, |_| Standing::New));
        };
        let Some(owner) = owner else { return Err(SessionError::Replayed) };
        if record.owner != owner.id() || record.proof != owner.proof() {
            return Err(SessionError::Replayed);
        }
        live(&record, revision, now)
    }

    /// The claims of a live session, for its owner's connection: what renewal is decided on again.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn renewable(
        &self,
        id: &SessionId,
        connection: KeyId,
        now: OffsetDateTime,
    ) -> Result<(VerifiedClaims, Standing), SessionError> {
        let (record, revision) = self.record(id)?.ok_or(SessionError::Unknown)?;
        if record.owner != connection {
            return Err(SessionError::NotOwner);
        }
        if record.proof != Proof::Connection {
            return Err(SessionError::NotRenewable);
        }
        if self.store.read(&job_key(&record.claims))?.is_some() {
            return Err(SessionError::Ended);
        }
        let standing = live(&record, revision, now)?;
        Ok((VerifiedClaims::kept_with_session(record.claims.into_owned()), standing))
    }

    /// Until when a session opened now lives: the token's `exp`, or the rule's `max_session` before it.
    pub fn ends_at(&self, claims: &Claims, standing: &Standing, grant: &Grant, now: OffsetDateTime) -> OffsetDateTime {
        let fresh = grant.max_session().map_or(claims.expires_at, |most| claims.expires_at.min(later(now, most)));
        match standing {
            Standing::Live { ends_at, .. } => *ends_at,
            Standing::New | Standing::Unbound => fresh,
        }
    }

    /// What admission writes, and what must still hold: the token's binding, the job's life, the path's pin.
    ///
    /// # Errors
    /// `IdentityChanged` when the session has another ID for this profile.
    pub fn changes(&self, admission: &Admission<'_>) -> Result<Changes, SessionError> {
        let Admission { claims, owner, standing, grant, .. } = *admission;
        let id = SessionId::of(claims);
        let mut changes = Changes { conditions: vec![Condition::Absent(job_key(claims))], writes: Vec::new() };
        pin(admission.pinned, grant.pin(), &mut changes)?;
        match (standing, owner) {
            (Standing::New, Some(owner)) => {
                changes.conditions.push(Condition::Absent(session_key(&id)));
                changes.writes.push(Write::Put(session_key(&id), text(&admission.record(owner))?));
            }
            (Standing::Live { revision, .. }, _) => {
                changes.conditions.push(Condition::Unchanged(session_key(&id), *revision));
                self.remember_profile(&id, grant, &mut changes)?;
            }
            (Standing::Unbound | Standing::New, _) => changes.conditions.push(Condition::Absent(session_key(&id))),
        }
        Ok(changes)
    }

    fn remember_profile(&self, id: &SessionId, grant: &Grant, changes: &mut Changes) -> Result<(), SessionError> {
        let (mut record, _) = self.record(id)?.ok_or(SessionError::Unknown)?;
        // Another rule speaks today: it may say the same of a profile, but add none.
        let added = record.rule != grant.rule();
        match record.ids.get(profile(grant)).or_else(|| record.ids.values().next().filter(|_| added)) {
            Some(was) if **was == *grant.spiffe_id() => {}
            Some(was) => {
                let (was, now) = (SpiffeId::clone(was), grant.spiffe_id().clone());
                return Err(SessionError::IdentityChanged { was, now });
            }
            None => {
                record.ids.insert(profile(grant).into(), Cow::Borrowed(grant.spiffe_id()));
                changes.writes.push(Write::Put(session_key(id), text(&record)?));
            }
        }
        Ok(())
    }

    /// Ends a session for its owner, and closes its job: no token of it opens anything any more.
    ///
    /// # Errors
    /// See [`SessionError`]; ending an ended session is no error.
    pub async fn end(
        &self,
        ledger: &Ledger,
        id: &SessionId,
        connection: KeyId,
        reason: EndReason,
    ) -> Result<(), SessionError> {
        loop {
            let (mut record, revision) = self.record(id)?.ok_or(SessionError::Unknown)?;
            if record.owner != connection {
                return Err(SessionError::NotOwner);
            }
            if record.ended.is_some() {
                return Ok(());
            }
            record.ended = Some(reason);
            let tombstone = Tombstone { v: Version, until: record.claims.expires_at };
            let changes = Changes {
                conditions: vec![Condition::Unchanged(session_key(id), revision)],
                writes: vec![
                    Write::Put(session_key(id), text(&record)?),
                    Write::Put(job_key(&record.claims), text(&tombstone)?),
                ],
            };
            let (name, job) = (id.to_string(), Job::of(&record.claims));
            let entry = Entry::SessionEnded { session: &name, why: reason.as_str(), job: &job };
            if let Committed::Done(_) = ledger.commit(&entry, changes).await? {
                // Nobody listening is no fault: the agent asks on connecting.
                drop(self.ends.send(Ended { owner: record.owner, session: *id, reason }));
                return Ok(());
            }
        }
    }

    /// Whether this key's session can still be renewed.
    ///
    /// # Errors
    /// `Store`: it cannot be said.
    pub fn lives(&self, id: &SessionId, owner: KeyId, now: OffsetDateTime) -> Result<bool, SessionError> {
        match self.renewable(id, owner, now) {
            Ok(_) => Ok(true),
            Err(SessionError::Store(fault)) => Err(fault.into()),
            Err(
                SessionError::Ended
                | SessionError::IdentityChanged { .. }
                | SessionError::NotOwner
                | SessionError::NotRenewable
                | SessionError::Pin(_)
                | SessionError::Replayed
                | SessionError::Unknown,
            ) => Ok(false),
        }
    }

    fn record<'a>(&self, id: &SessionId) -> Result<Option<(Record<'a>, Revision)>, StoreError> {
        let kept = self.store.read(&session_key(id))?;
        kept.map(|kept| Ok((parse(&kept.value)?, kept.revision))).transpose()
    }
}

/// A time a span later, or the last one there is.
pub(super) fn later(at: OffsetDateTime, by: Duration) -> OffsetDateTime {
    at.saturating_add(by.try_into().unwrap_or(time::Duration::MAX))
}

fn live(record: &Record<'_>, revision: Revision, now: OffsetDateTime) -> Result<Standing, SessionError> {
    if record.ended.is_some() || record.ends_at <= now {
        return Err(SessionError::Ended);
    }
    Ok(Standing::Live { revision, ends_at: record.ends_at })
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(value: &RawValue) -> Result<T, StoreError> {
    serde_json::from_str(value.get()).map_err(|fault| StoreError::Index(fault.into()))
}

fn text(value: &impl serde::Serialize) -> Result<Box<RawValue>, StoreError> {
    to_raw_value(value).map_err(|fault| StoreError::Index(fault.into()))
}
