//! A session as it is kept, and the names it is kept under.

use super::{EndReason, Proof};
use crate::crypto::{Digest, KeyId};
use crate::identity::SpiffeId;
use crate::token::{Claims, IssuerName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use time::OffsetDateTime;

/// Names a session: the digest of its token's issuer and `jti`, so that one token can have one only.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionId(Digest);

impl SessionId {
    /// The session that a token opens.
    pub fn of(claims: &Claims) -> Self {
        Self(Digest::of_parts(&[b"session", claims.issuer.0.as_bytes(), claims.jti.as_bytes()]))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for SessionId {
    type Err = crate::crypto::NotADigest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

/// What is kept of a session, under `session/<id>`. The version stands in front.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Record<'a> {
    pub(super) v: u32,
    pub(super) owner: KeyId,
    pub(super) proof: Proof,
    #[serde(with = "time::serde::timestamp")]
    pub(super) opened_at: OffsetDateTime,
    #[serde(with = "time::serde::timestamp")]
    pub(super) ends_at: OffsetDateTime,
    /// The rule that opened it.
    pub(super) rule: Cow<'a, str>,
    /// The IDs granted so far, by profile (`""` is the one without a name); they never change.
    pub(super) ids: BTreeMap<Cow<'a, str>, Cow<'a, SpiffeId>>,
    /// The longest life of one of its SVIDs, in seconds.
    #[serde(default)]
    pub(super) ttl: Option<u64>,
    /// Which keys of ours have signed for it.
    #[serde(default)]
    pub(super) signers: Vec<Arc<str>>,
    pub(super) ended: Option<EndReason>,
    pub(super) claims: Cow<'a, Claims>,
}

impl Record<'_> {
    /// The version that this server writes.
    pub(super) const VERSION: u32 = 1;
}

/// How the names of sessions' records begin.
pub(super) const SESSION_PREFIX: &str = "session/";

/// The claims in a session's record, for showing why something was decided; nothing is granted by them.
pub fn claims_shown(id: &SessionId, put: &BTreeMap<String, Box<RawValue>>) -> Option<Claims> {
    #[derive(Deserialize)]
    struct Kept {
        claims: Claims,
    }
    let kept: Kept = serde_json::from_str(put.get(&session_key(id))?.get()).ok()?;
    Some(kept.claims)
}

/// Where a session's record stands.
pub(super) fn session_key(id: &SessionId) -> String {
    format!("{SESSION_PREFIX}{id}")
}

/// Names a CI job: none of its tokens opens or renews anything any more once it is closed.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct JobName {
    /// The issuer's configured name.
    pub issuer: IssuerName,
    /// The project.
    pub project_id: u64,
    /// The job.
    pub job_id: u64,
}

impl JobName {
    /// The job of a token.
    pub fn of(claims: &Claims) -> Self {
        Self { issuer: claims.issuer.clone(), project_id: claims.project_id, job_id: claims.job_id }
    }

    /// Where its tombstone stands.
    pub(super) fn key(&self) -> String {
        format!("{JOB_PREFIX}{}/{}/{}", self.issuer, self.project_id, self.job_id)
    }
}

/// How the names of tombstones begin.
pub(super) const JOB_PREFIX: &str = "job/";

/// A closed job, kept until its tokens cannot be used any more.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Tombstone {
    pub(super) v: u32,
    #[serde(with = "time::serde::timestamp")]
    pub(super) until: OffsetDateTime,
    /// Why; older versions did not say.
    #[serde(default)]
    pub(super) why: Option<EndReason>,
}
