//! Who may open, repeat, renew or end a session, and what the store must write and check for it.

use super::admission::{Admission, Note, Noting, Prepared, Standing, profile};
use super::bans::Bans;
use super::ends::Ends;
use super::live::{ByUser, LiveIndex, Noted, SVIDS_MAX};
use super::record::{JobName, Record, Tombstone, session_key};
use super::revoked::RevokedSvids;
use super::{Facets, Listening, LiveSvid, Loss, PinError, Proof, SessionId, SessionKey};
use crate::audit::Changes;
use crate::crypto::KeyId;
use crate::identity::{SpiffeId, TrustDomain};
use crate::people::People;
use crate::policy::Grant;
use crate::store::{Condition, Revision, Store, StoreError, Write};
use crate::token::{Claims, IssuerName, VerifiedClaims};
use serde_json::value::{RawValue, to_raw_value};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Why a session cannot be opened, repeated or renewed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// An operator wants none of its kind.
    #[error("an operator has banned this job or its like (ban {ban}); ask them")]
    Banned {
        /// Names the ban.
        ban: String,
    },
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
    /// A restored server cannot know what became of it.
    #[error(
        "this job began before the server was restored from a backup, and what it got then is not known: retry the job"
    )]
    Restored,
    /// The store cannot answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It has more SVIDs that live than a revocation list could bear.
    #[error(
        "the session has {SVIDS_MAX} SVIDs that live; ask again when some have ended, or renew at half of their life"
    )]
    TooManySvids,
    /// No such session.
    #[error("no such session")]
    Unknown,
}

/// What is kept of a session, for whoever names it.
#[derive(Debug)]
pub struct Kept {
    /// Those of the token that opened it: what renewal is decided on again.
    pub claims: VerifiedClaims,
    /// Where it stands for its owner's connection; else why it is not renewed.
    pub standing: Result<Standing, SessionError>,
}

/// All sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Sessions {
    pub(super) store: Arc<dyn Store>,
    pub(super) live: Arc<LiveIndex>,
    pub(super) bans: Arc<Bans>,
    pub(super) ends: Ends,
    pub(super) people: People,
    /// What stands on revocation lists; none where nobody makes any.
    pub(super) revoked: Option<Arc<RevokedSvids>>,
    /// What was given before the start may live so long after it.
    pub(super) given_lives_for: Duration,
    /// What a restore lost.
    pub(super) loss: Option<Loss>,
}

impl Sessions {
    /// Hears of the ends of this key's sessions, as they happen; none where it has `most` such streams already.
    pub fn listen(&self, owner: KeyId, most: usize) -> Option<Listening> {
        self.ends.listen(owner, most)
    }

    /// The keys that own the live sessions.
    pub fn owners(&self, now: OffsetDateTime) -> HashSet<KeyId> {
        self.live.owners(now)
    }

    /// The live sessions that these rules opened, by whose they are.
    pub fn by_user(&self, rules: &BTreeSet<&str>, now: OffsetDateTime) -> ByUser {
        self.live.by_user(rules, now)
    }

    /// The live sessions of a project's jobs, and whose they are.
    pub fn of_project(&self, issuer: &IssuerName, project_id: u64, now: OffsetDateTime) -> Vec<(SessionId, KeyId)> {
        self.live.of_project(issuer, project_id, now)
    }

    /// How many live sessions have their newest SVID from each of these signers.
    pub fn count_by_signer(&self, signers: &BTreeSet<String>, now: OffsetDateTime) -> BTreeMap<Arc<str>, usize> {
        self.live.count_by_signer(signers, now)
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
        self.not_closed(claims)?;
        self.not_lost(claims)?;
        self.bans.judge(&Facets::of(claims), now)?;
        let Some((record, revision)) = self.record(&SessionId::of(claims))? else {
            return Ok(owner.map_or(Standing::Unbound, |_| Standing::New));
        };
        let Some(owner) = owner else { return Err(SessionError::Replayed) };
        if record.owner != owner.id() || record.proof != owner.proof() {
            return Err(SessionError::Replayed);
        }
        live(&record, revision, now)
    }

    /// What is kept of a session, and whether the connection's key may renew it.
    ///
    /// # Errors
    /// `Unknown`, or `Store`.
    pub fn kept(&self, id: &SessionId, connection: KeyId, now: OffsetDateTime) -> Result<Kept, SessionError> {
        let (mut record, revision) = self.record(id)?.ok_or(SessionError::Unknown)?;
        // What an erased person's job may be cannot be decided again.
        let erased = !self.people.put_back(record.claims.to_mut(), record.person.as_ref());
        let standing = match self.renewable(&record, connection, now) {
            Ok(()) if erased => Err(SessionError::Ended),
            Ok(()) => live(&record, revision, now),
            Err(no) => Err(no),
        };
        Ok(Kept { claims: VerifiedClaims::kept_with_session(record.claims.into_owned()), standing })
    }

    fn renewable(&self, record: &Record<'_>, connection: KeyId, now: OffsetDateTime) -> Result<(), SessionError> {
        if record.owner != connection {
            return Err(SessionError::NotOwner);
        }
        if record.proof != Proof::Connection {
            return Err(SessionError::NotRenewable);
        }
        self.not_closed(&record.claims)?;
        self.not_lost(&record.claims)?;
        self.bans.judge(&Facets::of(&record.claims).granted(&record.rule, &record.signers), now)
    }

    /// Until when a session opened now lives: the token's `exp`, or the rule's `max_session` before it.
    pub fn ends_at(&self, claims: &Claims, standing: &Standing, grant: &Grant, now: OffsetDateTime) -> OffsetDateTime {
        let fresh = grant.max_session().map_or(claims.expires_at, |most| claims.expires_at.min(later(now, most)));
        match standing {
            Standing::Live { ends_at, .. } => *ends_at,
            Standing::New | Standing::Unbound => fresh,
        }
    }

    /// What an admission writes, and what must still hold: the token's binding, the job's life. From here on it stands among
    /// the live sessions. That comes before it is judged, so that a ban is seen here, or sees it.
    ///
    /// # Errors
    /// `IdentityChanged` when the session has another ID for this profile; `Banned`; `TooManySvids` where lists are made.
    pub fn prepare(&self, admission: &Admission<'_>) -> Result<Prepared, SessionError> {
        self.room_for(admission)?;
        let note = self.note(admission);
        match self.changes(admission) {
            Ok(changes) => Ok(Prepared { changes, note }),
            Err(error) => {
                self.withdraw(&note);
                Err(error)
            }
        }
    }

    fn changes(&self, admission: &Admission<'_>) -> Result<Changes, SessionError> {
        let Admission { claims, owner, standing, now, .. } = *admission;
        self.bans.judge(&admission.facets(), now)?;
        let id = SessionId::of(claims);
        let mut changes = Changes { conditions: vec![self.not_closed(claims)?], writes: Vec::new() };
        match (standing, owner) {
            (Standing::New, Some(owner)) => {
                changes.conditions.push(Condition::Absent(session_key(&id)));
                changes.writes.push(Write::Put(session_key(&id), text(&admission.record(owner))?));
            }
            (Standing::Live { revision, .. }, _) => {
                changes.conditions.push(Condition::Unchanged(session_key(&id), *revision));
                self.remember(&id, admission, &mut changes)?;
            }
            (Standing::Unbound | Standing::New, _) => changes.conditions.push(Condition::Absent(session_key(&id))),
        }
        Ok(changes)
    }

    /// What a live session gets to know: another profile's ID, another signer.
    fn remember(&self, id: &SessionId, admission: &Admission<'_>, changes: &mut Changes) -> Result<(), SessionError> {
        let Admission { grant, signer, .. } = *admission;
        let (mut record, _) = self.record(id)?.ok_or(SessionError::Unknown)?;
        // Another rule speaks today: it may say the same of a profile, but add none.
        let added = record.rule != grant.rule();
        let mut news = false;
        match record.ids.get(profile(grant)).or_else(|| record.ids.values().next().filter(|_| added)) {
            Some(was) if **was == *grant.spiffe_id() => {}
            Some(was) => {
                let (was, now) = (SpiffeId::clone(was), grant.spiffe_id().clone());
                return Err(SessionError::IdentityChanged { was, now });
            }
            None => {
                record.ids.insert(profile(grant).into(), Cow::Borrowed(grant.spiffe_id()));
                news = true;
            }
        }
        if !record.signers.contains(signer) {
            record.signers.push(Arc::clone(signer));
            news = true;
        }
        if record.ttl.is_some_and(|ttl| ttl < grant.ttl().as_secs()) {
            record.ttl = Some(grant.ttl().as_secs());
            news = true;
        }
        if record.federates_with != grant.federates_with() {
            record.federates_with = grant.federates_with().to_vec();
            news = true;
        }
        if news {
            changes.writes.push(Write::Put(session_key(id), text(&record)?));
        }
        Ok(())
    }

    /// What must hold for the job of these claims to stay as it is: not closed.
    pub(super) fn not_closed(&self, claims: &Claims) -> Result<Condition, SessionError> {
        let key = JobName::of(claims).key();
        match self.store.read(&key)? {
            None => Ok(Condition::Absent(key)),
            Some(kept) if parse::<Tombstone>(&kept.value)?.closes(claims.job_project_path()) => {
                Err(SessionError::Ended)
            }
            Some(kept) => Ok(Condition::Unchanged(key, kept.revision)),
        }
    }

    /// What a token got is known: no restore came between.
    pub(super) fn not_lost(&self, claims: &Claims) -> Result<(), SessionError> {
        let is_lost = self.loss.is_some_and(|loss| loss.covers(claims.issued_at));
        if is_lost { Err(SessionError::Restored) } else { Ok(()) }
    }

    fn note(&self, admission: &Admission<'_>) -> Note {
        let Admission { claims, owner, standing, ends_at, svid_ends_at: svids_end_at, .. } = *admission;
        let Some(owner) = owner.map(SessionKey::id) else {
            let (rule, signer) = (admission.grant.rule().to_owned(), Arc::clone(admission.signer));
            return Note(Noting::Keyless { rule, signer });
        };
        let ends_at = match standing {
            Standing::Live { ends_at, .. } => *ends_at,
            Standing::New | Standing::Unbound => ends_at,
        };
        let (id, job, facets) = (SessionId::of(claims), JobName::of(claims), admission.facets());
        let (token_ends_at, job_project_path) = (claims.expires_at, claims.job_project_path());
        let svid = admission.serial.filter(|_| self.revoked.is_some());
        let svid = svid.map(|serial| LiveSvid { serial, signer: Arc::clone(admission.signer), ends_at: svids_end_at });
        let svid = svid.as_ref().map(|svid| (svid, admission.now));
        // Others renew it, too, and nobody tells.
        let svids_end_at = if self.store.is_shared() { ends_at } else { svids_end_at };
        let noted =
            Noted { id, owner, job: &job, job_project_path, facets, ends_at, svids_end_at, token_ends_at, svid };
        self.live.note(&noted);
        Note(Noting::Session { job, id, owner })
    }

    /// It was committed. What stands among the live sessions is found by every later ban; a token alone is judged once
    /// more, since a ban may have been committed before it.
    ///
    /// # Errors
    /// `Banned`.
    pub fn settle(&self, note: &Note, claims: &Claims, now: OffsetDateTime) -> Result<(), SessionError> {
        match &note.0 {
            Noting::Keyless { rule, signer } => {
                self.bans.judge(&Facets::of(claims).granted(rule, std::slice::from_ref(signer)), now)
            }
            Noting::Session { job, id, owner } => {
                self.live.settle(job, (id, owner));
                Ok(())
            }
        }
    }

    /// It was not committed. A note that nobody takes back is forgotten when its session would end.
    pub fn withdraw(&self, note: &Note) {
        if let Noting::Session { job, id, owner } = &note.0 {
            self.live.withdraw(job, (id, owner));
        }
    }

    /// Whether this key's session can still be renewed. One that is not known here may have been opened at another replica
    /// just now.
    ///
    /// # Errors
    /// `Store`: it cannot be said.
    pub async fn lives(&self, id: &SessionId, owner: KeyId, now: OffsetDateTime) -> Result<bool, SessionError> {
        let kept = match self.kept(id, owner, now) {
            Err(SessionError::Unknown) => {
                self.catch_up().await?;
                self.kept(id, owner, now)
            }
            kept => kept,
        };
        match kept.and_then(|kept| kept.standing) {
            Ok(_) => Ok(true),
            Err(SessionError::Store(fault)) => Err(fault.into()),
            Err(
                SessionError::Banned { .. }
                | SessionError::Ended
                | SessionError::IdentityChanged { .. }
                | SessionError::NotOwner
                | SessionError::NotRenewable
                | SessionError::Pin(_)
                | SessionError::Replayed
                | SessionError::Restored
                | SessionError::TooManySvids
                | SessionError::Unknown,
            ) => Ok(false),
        }
    }

    /// Of which other trust domains a session gets the bundles; of none where there is no such.
    ///
    /// # Errors
    /// `Store`.
    pub fn federates_with(&self, id: &SessionId) -> Result<Vec<TrustDomain>, StoreError> {
        Ok(self.record(id)?.map(|(record, _)| record.federates_with).unwrap_or_default())
    }

    pub(super) fn record<'a>(&self, id: &SessionId) -> Result<Option<(Record<'a>, Revision)>, StoreError> {
        let kept = self.store.read(&session_key(id))?;
        kept.map(|kept| Ok((parse(&kept.value)?, kept.revision))).transpose()
    }
}

/// A time a span later, or the last one there is.
pub(super) fn later(at: OffsetDateTime, by: Duration) -> OffsetDateTime {
    at.saturating_add(by.try_into().unwrap_or(time::Duration::MAX))
}

pub(super) fn live(record: &Record<'_>, revision: Revision, now: OffsetDateTime) -> Result<Standing, SessionError> {
    if record.ended.is_some() || record.ends_at <= now {
        return Err(SessionError::Ended);
    }
    Ok(Standing::Live { revision, ends_at: record.ends_at })
}

pub(super) fn parse<'a, T: serde::Deserialize<'a>>(value: &'a RawValue) -> Result<T, StoreError> {
    serde_json::from_str(value.get()).map_err(|fault| StoreError::Index(fault.into()))
}

pub(super) fn text(value: &impl serde::Serialize) -> Result<Box<RawValue>, StoreError> {
    to_raw_value(value).map_err(|fault| StoreError::Index(fault.into()))
}
