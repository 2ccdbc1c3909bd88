//! What is about to be admitted: the bearer, where it stands, what it is granted; and what is noted of it meanwhile.

use super::record::{JobName, Record};
use super::{Facets, SessionId, SessionKey};
use crate::audit::Changes;
use crate::crypto::KeyId;
use crate::people::Keeping;
use crate::policy::Grant;
use crate::store::{Revision, Version};
use crate::svid::Serial;
use crate::token::Claims;
use std::borrow::Cow;
use std::sync::Arc;
use time::OffsetDateTime;

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
    /// What is granted.
    pub grant: &'a Grant,
    /// When.
    pub now: OffsetDateTime,
    /// Until when a session opened by it lives.
    pub ends_at: OffsetDateTime,
    /// Which key of ours will sign.
    pub signer: &'a Arc<str>,
    /// When the SVID will end.
    pub svid_ends_at: OffsetDateTime,
    /// Its serial number, if it is an X.509-SVID.
    pub serial: Option<Serial>,
    /// How what the claims tell of a person is kept.
    pub keeping: &'a Keeping,
}

impl<'a> Admission<'a> {
    pub(super) fn record(&self, owner: &SessionKey) -> Record<'a> {
        let mut claims = Cow::Borrowed(self.claims);
        let person = self.keeping.take(&mut claims);
        Record {
            v: Version,
            owner: owner.id(),
            proof: owner.proof(),
            opened_at: self.now,
            ends_at: self.ends_at,
            rule: self.grant.rule().into(),
            ids: [(profile(self.grant).into(), Cow::Borrowed(self.grant.spiffe_id()))].into(),
            ttl: Some(self.grant.ttl().as_secs()),
            signers: vec![Arc::clone(self.signer)],
            federates_with: self.grant.federates_with().to_vec(),
            ended: None,
            claims,
            person,
        }
    }

    pub(super) fn facets(&self) -> Facets<'a> {
        Facets::of(self.claims).granted(self.grant.rule(), std::slice::from_ref(self.signer))
    }
}

/// An admission that is ready to be committed.
#[derive(Debug)]
pub struct Prepared {
    /// To be committed together with its intent.
    pub changes: Changes,
    /// To be [settled](super::Sessions::settle) if it is, else [withdrawn](super::Sessions::withdraw).
    pub note: Note,
}

/// That an admission is under way.
#[derive(Debug)]
pub struct Note(pub(super) Noting);

#[derive(Debug)]
pub(super) enum Noting {
    /// Of a token alone: it binds nothing, and stands nowhere.
    Keyless { rule: String, signer: Arc<str> },
    /// Of a session, which stands among the live ones.
    Session { job: JobName, id: SessionId, owner: KeyId },
}

/// The name under which a grant's ID is remembered.
pub(super) fn profile(grant: &Grant) -> &str {
    grant.profile().unwrap_or_default()
}
