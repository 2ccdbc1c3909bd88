//! A session as it is kept, and the names it is kept under.

use super::Proof;
use crate::crypto::{Digest, KeyId};
use crate::identity::SpiffeId;
use crate::token::Claims;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
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

/// Why a session ended before its time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The agent said that the job is over.
    Logout,
}

impl EndReason {
    /// As entries and answers say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
        }
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

/// A piece of text of the journal's lines that put a session's record, and of few others.
pub fn piece_of_record(id: &SessionId) -> String {
    format!("\"{}\":", session_key(id))
}

/// Where a session's record stands.
pub(super) fn session_key(id: &SessionId) -> String {
    format!("{SESSION_PREFIX}{id}")
}

/// The tombstone of a job that was closed: none of its tokens opens or renews anything any more.
pub(super) fn job_key(claims: &Claims) -> String {
    format!("job/{}/{}/{}", claims.issuer, claims.project_id, claims.job_id)
}

/// A tombstone, kept until the job's tokens cannot be used any more.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Tombstone {
    pub(super) v: u32,
    #[serde(with = "time::serde::timestamp")]
    pub(super) until: OffsetDateTime,
}
