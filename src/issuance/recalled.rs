//! A request of the past, explained: what was decided, from the journal; the walk, as far as it kept the claims.

use super::RequestId;
use crate::audit::{Asked, Job, Received};
use crate::crypto::Digest;
use crate::identity::TrustDomain;
use crate::people::{People, SEALED};
use crate::policy::{Answers, Policy, Verdict, Walk};
use crate::session::{SessionId, claims_shown, piece_of_record};
use crate::store::{Hits, JournalError, JournalSearch, Position, Record};
use crate::token::Claims;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::path::Path;
use time::OffsetDateTime;

/// What is to be told of a request of the past.
#[derive(Debug, Serialize)]
pub struct Recalled {
    /// Its entries, as they stand in the journal, oldest first.
    pub entries: Vec<Box<RawValue>>,
    /// Whether the policy is another now than when it decided; the rules of the walk are those of now.
    pub policy_changed: bool,
    /// Whether who started the job is erased: what the rules would say of that person is not known.
    pub person_erased: bool,
    /// The walk, with the verdict of that time; none for a request that is no job's.
    #[serde(flatten)]
    pub walk: Option<Walk>,
}

/// A road takes seconds at most, in which others write too: entries so near the start of a segment may have company in
/// the one before.
const NEAR_START: Position = 4096;
/// How far back a session's record is looked for: at hundreds of requests a second, longer than a token lives.
const SEGMENTS_BACK_MAX: usize = 64;

/// What the journal says of one request.
#[derive(Default)]
struct Found {
    request_id: Option<String>,
    /// Of the oldest entry.
    position: Position,
    entries: Vec<Box<RawValue>>,
    verdict: Option<Verdict>,
    job: Option<Job>,
    claims: Option<Claims>,
    /// What other systems had said.
    facts: Answers,
    /// Claims that the token had and the journal did not keep.
    withheld: Vec<String>,
    erased: bool,
    policy: Option<Digest>,
}

impl Recalled {
    /// Reads the journal of a data folder; a server may be writing to it. None where it knows no such request.
    ///
    /// # Errors
    /// When the journal cannot be read to its end.
    pub fn read(
        folder: &Path,
        typed: &str,
        (policy, trust_domain): (&Policy, &TrustDomain),
        people: &People,
    ) -> Result<Option<Self>, JournalError> {
        let mut found = Found::read(folder, typed, people)?;
        if found.entries.is_empty() {
            return Ok(None);
        }
        if let (true, Some(job)) = (found.claims.is_none() || !found.withheld.is_empty(), &found.job)
            && let Some(session) = SessionId::of_job(job)
            && let Some((claims, whole)) = claims_of_session(folder, &session, (found.position, people))?
        {
            (found.claims, found.erased) = (Some(claims), !whole);
            found.withheld = if whole { Vec::new() } else { SEALED.map(str::to_owned).to_vec() };
        }
        let walk = match (&found.claims, &found.job) {
            (Some(claims), _) => {
                let kept = |name: &str| !found.withheld.iter().any(|withheld| withheld == name);
                Some(policy.walk_hearing(claims, &found.facts, trust_domain).knowing_only(kept))
            }
            (None, Some(job)) => Some(
                policy
                    .walk_hearing(&known_of(job), &found.facts, trust_domain)
                    .knowing_only(|name| is_known(job, name)),
            ),
            (None, None) => None,
        };
        let walk = walk.map(|walk| match found.verdict {
            Some(verdict) => walk.as_decided(verdict),
            None => walk,
        });
        let policy_changed = found.policy.is_some_and(|then| then != *policy.digest());
        Ok(Some(Self { entries: found.entries, policy_changed, person_erased: found.erased, walk }))
    }
}

impl Found {
    fn read(folder: &Path, typed: &str, people: &People) -> Result<Self, JournalError> {
        let mut found = Self::default();
        for record in records_of(folder, typed)? {
            let Ok(entry) = serde_json::from_str::<Received>(record.entry.get()) else { continue };
            let Some(own) = entry.request_id.as_deref() else { continue };
            if !RequestId::is_meant(found.request_id.as_deref().unwrap_or(typed), own) {
                continue;
            }
            if found.entries.is_empty() {
                (found.request_id, found.position) = (Some(own.to_owned()), record.position);
            }
            let policy = entry.more.get("policy").and_then(Value::as_str).and_then(|text| text.parse().ok());
            found.policy = policy.or(found.policy);
            found.verdict = verdict(&entry).or(found.verdict);
            if let Some(asked) = entry.more.get("asked").and_then(Asked::read) {
                let asked = asked.opened(people);
                found.withheld.extend(asked.withheld.into_iter().map(Cow::into_owned));
                found.claims = asked.claims.map(Cow::into_owned).or(found.claims);
            }
            found.facts = entry.facts.unwrap_or(found.facts);
            if let Some(job) = entry.job {
                let opened = job.clone().opened(people);
                found.erased = opened.is_none();
                found.job = Some(opened.unwrap_or(job));
            }
            found.entries.push(record.entry);
        }
        Ok(found)
    }
}

/// The records that may be of a request, oldest first: from the newest segment back to the one that holds it.
fn records_of(folder: &Path, typed: &str) -> Result<Vec<Record>, JournalError> {
    let mut segments: Vec<Vec<Record>> = Vec::new();
    if RequestId::can_be_meant(typed) {
        for hits in JournalSearch::of(folder, &format!(r#""request_id":"{typed}"#))? {
            let Hits { first, records } = hits?;
            let near_start = records.first().is_some_and(|record| record.position < first + NEAR_START);
            segments.push(records);
            if !near_start && segments.iter().any(|records| !records.is_empty()) {
                break;
            }
        }
    }
    Ok(segments.into_iter().rev().flatten().collect())
}

/// What an entry says was decided.
fn verdict(entry: &Received) -> Option<Verdict> {
    let text = |name: &str| entry.more.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match entry.kind.as_str() {
        "refused" => Some(Verdict::Denied { code: text("code"), reason: text("why"), nearest: None }),
        "intent" => {
            let svid = entry.more.get("svid").cloned().unwrap_or_default();
            let time = |name: &str| svid.get(name).and_then(Value::as_i64).unwrap_or_default();
            let life = time("not_after").saturating_sub(time("not_before").max(time("issued_at")));
            Some(Verdict::Granted {
                rule: text("rule"),
                spiffe_id: text("spiffe_id"),
                ttl_seconds: u64::try_from(life).unwrap_or_default(),
                build_claims: svid.get("build_claims").and_then(Value::as_bool).unwrap_or_default(),
                not_asked: Vec::new(),
            })
        }
        _ => None,
    }
}

/// A session's record keeps all that its token said. It stands before whatever the session was given.
fn claims_of_session(
    folder: &Path,
    id: &SessionId,
    (position, people): (Position, &People),
) -> Result<Option<(Claims, bool)>, JournalError> {
    let search = JournalSearch::of(folder, &piece_of_record(id))?;
    for hits in search.back_from(position, SEGMENTS_BACK_MAX) {
        let claims =
            hits?.records.iter().find_map(|record| claims_shown(id, &record.clone().unfolded().ok()?.put, people));
        if claims.is_some() {
            return Ok(claims);
        }
    }
    Ok(None)
}

/// Whether an entry's job tells of a claim, if only that the token had none.
fn is_known(job: &Job, name: &str) -> bool {
    const ALWAYS: [&str; 7] = ["issuer", "job_id", "jti", "pipeline_id", "project_id", "project_path", "sub"];
    let sealed = job.person.is_some() && SEALED.contains(&name);
    !sealed && (ALWAYS.contains(&name) || Job::SHOWN.contains(&name) || job.more.contains_key(name))
}

/// What an entry's job tells; whatever else it holds is no claim, see [`is_known`].
fn known_of(job: &Job) -> Claims {
    Claims {
        issuer: job.issuer.clone(),
        jti: job.jti.clone(),
        subject: job.sub.clone(),
        issued_at: OffsetDateTime::UNIX_EPOCH,
        expires_at: OffsetDateTime::UNIX_EPOCH,
        project_id: job.project_id,
        project_path: job.project_path.clone(),
        namespace_id: job.namespace_id,
        pipeline_id: job.pipeline_id,
        job_id: job.job_id,
        more: job.more.clone(),
    }
}
