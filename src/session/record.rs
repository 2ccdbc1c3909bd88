//! A session as it is kept, and the names it is kept under.

use super::{EndReason, Proof};
use crate::audit::Job;
use crate::crypto::{Digest, KeyId};
use crate::identity::{SpiffeId, TrustDomain};
use crate::people::{People, Sealed};
use crate::store::Version;
use crate::token::{Claims, IssuerName, is_under};
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
        Self::of_token(&claims.issuer, &claims.jti)
    }

    /// The session of a job's token, which may have opened none; none where the entry does not name the token.
    pub fn of_job(job: &Job) -> Option<Self> {
        (!job.jti.is_empty()).then(|| Self::of_token(&job.issuer, &job.jti))
    }

    /// The session under whose name the store keeps something; none where it is something else.
    pub fn of_record(key: &str) -> Option<Self> {
        key.strip_prefix(SESSION_PREFIX)?.parse().ok()
    }

    fn of_token(issuer: &IssuerName, jti: &str) -> Self {
        Self(Digest::of_parts(&[b"session", issuer.0.as_bytes(), jti.as_bytes()]))
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
    pub(super) v: Version<1>,
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
    /// Of which other trust domains it gets the bundles: as its rule said when it was last given something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) federates_with: Vec<TrustDomain>,
    pub(super) ended: Option<EndReason>,
    pub(super) claims: Cow<'a, Claims>,
    /// Those of the claims that are a person's, where they are kept apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) person: Option<Sealed>,
}

/// How the names of sessions' records begin.
pub(super) const SESSION_PREFIX: &str = "session/";

/// The claims in a session's record, for showing why something was decided; nothing is granted by them.
/// And whether nothing of them is missing because their person is erased.
pub fn claims_shown(id: &SessionId, put: &BTreeMap<String, Box<RawValue>>, people: &People) -> Option<(Claims, bool)> {
    #[derive(Deserialize)]
    struct Kept {
        claims: Claims,
        person: Option<Sealed>,
    }
    let mut kept: Kept = serde_json::from_str(put.get(&session_key(id))?.get()).ok()?;
    let whole = people.put_back(&mut kept.claims, kept.person.as_ref());
    Some((kept.claims, whole))
}

/// A piece of text of the journal's lines that put a session's record, and of few others.
pub fn piece_of_record(id: &SessionId) -> String {
    format!("\"{}\":", session_key(id))
}

/// Where a session's record stands.
pub(super) fn session_key(id: &SessionId) -> String {
    format!("{SESSION_PREFIX}{id}")
}

/// Names a CI job: none of its tokens opens or renews anything any more once it is closed.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobName {
    /// The issuer's configured name.
    pub issuer: IssuerName,
    /// The project that it runs in: a fork's merge request runs in the parent.
    pub project_id: u64,
    /// The job.
    pub job_id: u64,
}

impl JobName {
    /// The job of a token.
    pub fn of(claims: &Claims) -> Self {
        Self { issuer: claims.issuer.clone(), project_id: claims.job_project_id(), job_id: claims.job_id }
    }

    /// The job whose tombstone stands there.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        let (rest, job_id) = key.strip_prefix(JOB_PREFIX)?.rsplit_once('/')?;
        let (issuer, project_id) = rest.rsplit_once('/')?;
        Some(Self {
            issuer: IssuerName(issuer.into()),
            project_id: project_id.parse().ok()?,
            job_id: job_id.parse().ok()?,
        })
    }

    /// Where its tombstone stands.
    pub(super) fn key(&self) -> String {
        format!("{JOB_PREFIX}{}/{}/{}", self.issuer, self.project_id, self.job_id)
    }
}

/// How the names of tombstones begin.
pub(super) const JOB_PREFIX: &str = "job/";

/// More groups than a project can be in (twenty levels) claim a job only by mistake.
const GROUPS_MAX: usize = 20;

/// A closed job, kept until its tokens cannot be used any more.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Tombstone {
    pub(super) v: Version<1>,
    #[serde(with = "time::serde::timestamp")]
    pub(super) until: OffsetDateTime,
    /// Why; older versions did not say.
    #[serde(default)]
    pub(super) why: Option<EndReason>,
    /// The groups whose hooks told the end of a job that nobody knew, case-folded: it closes the job only if that is one of
    /// theirs. Empty where there is no doubt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) within: Vec<String>,
}

impl Tombstone {
    /// What stands on the grave after this one came to that; none where nothing is new. Of a job that nobody knows the first
    /// word is enough: no later token is minted for a job that is over.
    pub(super) fn beside(self, old: Self, known: bool) -> Option<Self> {
        let told = |group: &String| old.within.contains(group);
        let as_wide = old.within.is_empty() || (!self.within.is_empty() && self.within.iter().all(told));
        if as_wide && (!known || self.until <= old.until) {
            return None;
        }
        let mut within = self.within;
        if old.within.is_empty() {
            within.clear();
        } else if !within.is_empty() {
            within.extend(old.within.into_iter().take(GROUPS_MAX));
        }
        Some(Self { until: self.until.max(old.until), within, ..self })
    }

    /// Whether it closes the job of its name that runs in the project of this path.
    pub(super) fn closes(&self, job_project_path: &str) -> bool {
        self.within.is_empty() || self.within.iter().any(|group| is_under(job_project_path, group))
    }
}
