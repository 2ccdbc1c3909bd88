//! A readable token, the issuer's keys and the time: to claims that hold, or the reason why not.

use super::actor::actor_kind;
use super::claims::{ClaimValue, Claims, IssuerName, TokenSeen, VerifiedClaims};
use super::error::TokenError;
use super::forms::named;
use super::issuer_kind::IssuerKind;
use super::keys::KeySet;
use super::parse::{TokenAlgorithm, UnverifiedToken};
use super::payload::{Audience, Payload, Read};
use crate::crypto::Digest;
use crate::telemetry::quotable;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::time::Duration;
use time::OffsetDateTime;

/// Longest life of a token: GitLab's longest job timeout is a month, and a day is to spare. What comes after may add it to
/// any time without a look.
const LIFE_MAX: Duration = Duration::from_secs(32 * 86_400);

/// What an issuer's tokens must say.
#[derive(Clone, Debug)]
pub struct Expectations {
    /// The short name that rules use.
    pub issuer: IssuerName,
    /// The exact `iss`.
    pub issuer_url: String,
    /// What kind of issuer it is.
    pub kind: IssuerKind,
    /// Whether a token without a name of its own (`jti`) is known by what was signed of it. A GitLab's has one.
    pub allow_missing_jti: bool,
    /// Our audience.
    pub audience: String,
    /// Whether a list of audiences that holds ours is enough; every other party of the list could then use the token
    /// here first.
    pub allow_shared_audience: bool,
    /// The signature algorithms allowed; the token's header has no say.
    pub algorithms: Vec<TokenAlgorithm>,
    /// How far the issuer's clock may be off.
    pub leeway: Duration,
    /// How long after `iat` a token may be used for the first time.
    pub max_token_age: Duration,
}

/// How every SPIFFE ID begins.
const SPIFFE: &str = "spiffe://";

impl Expectations {
    /// Leeway by default, and at most: clocks of servers are seconds apart, not minutes.
    pub const LEEWAY: Duration = Duration::from_secs(30);
    /// Longest time from `iat` to first use by default: jobs that wait longer for their first step are rare.
    pub const MAX_TOKEN_AGE: Duration = Duration::from_secs(3600);
}

impl UnverifiedToken<'_> {
    /// Believes the token if the named key signed it for us, it is in its time, and it is a CI job's.
    /// Its age is another question, see [`VerifiedClaims::fresh_enough`]; so is whether it was used before.
    ///
    /// # Errors
    /// `IssuerWrong`, `AlgorithmRefused`, `KeyUnknown`, `Signature`, then what the claims have wrong.
    pub fn verify(
        self,
        keys: &KeySet,
        expected: &Expectations,
        now: OffsetDateTime,
    ) -> Result<VerifiedClaims, TokenError> {
        let message = self.check_genuine(keys, expected)?;
        // Not of the whole: of one signature others can be made that are as good.
        let stand_in = expected.allow_missing_jti.then(|| format!("sha256:{}", Digest::of(message.as_bytes())));
        let token = TokenSeen { kid: self.kid().to_owned(), sha256: Digest::of(self.text.as_bytes()) };
        let (kind, mut payload) = (self.payload.kind, self.payload);
        check_audience(&mut payload, expected)?;
        let (issued_at, expires_at) = check_times(&mut payload, expected.leeway, now)?;
        let claims = into_claims(payload, (expected.issuer.clone(), stand_in), issued_at, expires_at)?;
        check_agreement(&claims, kind)?;
        Ok(VerifiedClaims::proven(claims, token))
    }

    /// That the named key of this very issuer signed it, by an algorithm that may; what it signed.
    pub(super) fn check_genuine(&self, keys: &KeySet, expected: &Expectations) -> Result<&str, TokenError> {
        // One that was read as another kind's says what this issuer's tokens cannot say.
        if self.issuer() != expected.issuer_url || self.payload.kind != expected.kind {
            let found = quotable(self.issuer());
            return Err(TokenError::IssuerWrong { found, wanted: expected.issuer_url.clone() });
        }
        if !expected.algorithms.contains(&self.algorithm) {
            return Err(TokenError::AlgorithmRefused { alg: self.algorithm.as_str().to_owned() });
        }
        let parts = self.text.split_at_checked(self.signed_bytes);
        let parts = parts.and_then(|(message, rest)| Some((message, rest.strip_prefix('.')?)));
        let parts = parts.ok_or(TokenError::Signature)?;
        keys.verify(self.kid(), self.algorithm, parts)?;
        Ok(parts.0)
    }

    /// Its claims, for asking what a policy would say; nobody vouches for them, and their times are not judged. The
    /// audience is, where it is known which is expected.
    ///
    /// # Errors
    /// What the claims have wrong.
    pub fn unproven(self, issuer: IssuerName, expected: Option<&Expectations>) -> Result<Claims, TokenError> {
        let (kind, mut payload) = (self.payload.kind, self.payload);
        if let Some(expected) = expected {
            check_audience(&mut payload, expected)?;
        }
        let epoch = OffsetDateTime::UNIX_EPOCH;
        let stand_in = expected.filter(|expected| expected.allow_missing_jti).map(|_| "unproven".to_owned());
        let claims = into_claims(payload, (issuer, stand_in), epoch, epoch)?;
        check_agreement(&claims, kind)?;
        Ok(claims)
    }
}

impl Claims {
    /// Claims that nobody signed, from a token's payload (JSON), read by the same rules: for asking what a policy would say.
    /// Audience and times are not judged, and may be missing.
    ///
    /// # Errors
    /// What the claims have wrong.
    pub fn unproven(payload_json: &[u8], issuer: IssuerName) -> Result<Self, TokenError> {
        let mut payload = Payload::parse(payload_json)?;
        let mut time = |name| match payload.take(name) {
            Some(Read::Time(seconds)) => OffsetDateTime::from_unix_timestamp(seconds).ok(),
            _ => None,
        };
        let (issued_at, expires_at) = (time("iat"), time("exp"));
        let epoch = OffsetDateTime::UNIX_EPOCH;
        into_claims(payload, (issuer, None), issued_at.unwrap_or(epoch), expires_at.unwrap_or(epoch))
    }
}

impl Claims {
    /// The same of an issuer of whichever kind.
    ///
    /// # Errors
    /// What the claims have wrong.
    pub fn unproven_of(kind: IssuerKind, payload: &Map<String, Value>, issuer: IssuerName) -> Result<Self, TokenError> {
        let Some(model) = kind.model() else {
            return Self::unproven(Value::Object(payload.clone()).to_string().as_bytes(), issuer);
        };
        let epoch = OffsetDateTime::UNIX_EPOCH;
        let claims = into_claims(Payload::of_other(kind, model, payload)?, (issuer, None), epoch, epoch)?;
        check_agreement(&claims, kind)?;
        Ok(claims)
    }
}

impl VerifiedClaims {
    /// Whether the token may still be used for the first time.
    ///
    /// # Errors
    /// `TooOld`.
    pub fn fresh_enough(&self, max_token_age: Duration, now: OffsetDateTime) -> Result<(), TokenError> {
        check_age(self.claims().issued_at, max_token_age, now)
    }
}

pub(super) fn check_age(issued_at: OffsetDateTime, most: Duration, now: OffsetDateTime) -> Result<(), TokenError> {
    if now - issued_at > most {
        return Err(TokenError::TooOld { issued_at, max_seconds: most.as_secs() });
    }
    Ok(())
}

pub(super) fn check_audience(payload: &mut Payload, expected: &Expectations) -> Result<(), TokenError> {
    let wanted = &expected.audience;
    let (found, shared) = match payload.take("aud") {
        Some(Read::Audience(Audience::One(one))) => (vec![one], false),
        // Some issuers write a list whatever it holds; GitLab does so for several alone.
        Some(Read::Audience(Audience::List(list))) => {
            let is_shared = list.len() > 1 || expected.kind == IssuerKind::GitLab;
            (list, is_shared)
        }
        _ => return Err(TokenError::ClaimMissing { name: "aud" }),
    };
    if !found.contains(wanted) {
        return Err(TokenError::AudienceWrong { found: quotable(&found.join(", ")), wanted: wanted.clone() });
    }
    if shared && !expected.allow_shared_audience {
        return Err(TokenError::AudienceShared { wanted: wanted.clone() });
    }
    Ok(())
}

/// `iat` and `exp`, once `exp`, `nbf` and `iat` hold (RFC 7519 §4.1.4 to §4.1.6) and are no farther apart than a job runs.
pub(super) fn check_times(
    payload: &mut Payload,
    leeway: Duration,
    now: OffsetDateTime,
) -> Result<(OffsetDateTime, OffsetDateTime), TokenError> {
    let mut time = |name: &'static str| match payload.take(name) {
        Some(Read::Time(seconds)) => OffsetDateTime::from_unix_timestamp(seconds)
            .map(Some)
            .map_err(|_range| TokenError::ClaimShape { name, wanted: "a time before the year 10000" }),
        _ => Ok(None),
    };
    let issued_at = time("iat")?.ok_or(TokenError::ClaimMissing { name: "iat" })?;
    let expires_at = time("exp")?.ok_or(TokenError::ClaimMissing { name: "exp" })?;
    let not_before = time("nbf")?.unwrap_or(issued_at);
    if expires_at - issued_at > LIFE_MAX {
        return Err(TokenError::LivesTooLong { at: expires_at });
    }
    if now - expires_at >= leeway {
        return Err(TokenError::Expired { at: expires_at });
    }
    if not_before - now > leeway {
        return Err(TokenError::NotYetValid { at: not_before });
    }
    if issued_at - now > leeway {
        return Err(TokenError::IssuedInFuture { at: issued_at });
    }
    Ok((issued_at, expires_at))
}

fn into_claims(
    mut payload: Payload,
    (issuer, stand_in): (IssuerName, Option<String>),
    issued_at: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> Result<Claims, TokenError> {
    let kind = payload.kind;
    let jti = match (text(&mut payload, "jti"), stand_in) {
        (Err(_none), Some(stand_in)) => stand_in,
        (jti, _) => jti?,
    };
    let (subject, project_id) = (text(&mut payload, "sub")?, id(&mut payload, "project_id")?);
    let (project_path, namespace_id) = (text(&mut payload, "project_path")?, id(&mut payload, "namespace_id")?);
    // Where a kind of issuer knows no jobs, each of its tokens is one.
    let mut job = |name| match kind.position(name) {
        Some(_) => id(&mut payload, name),
        None => Ok(named(&jti)),
    };
    let (pipeline_id, job_id) = (job("pipeline_id")?, job("job_id")?);
    let more = payload.rest().map(|(name, value)| (Cow::Borrowed(name), value)).collect();
    let claims = Claims {
        issuer,
        jti,
        subject,
        issued_at,
        expires_at,
        project_id,
        project_path,
        namespace_id,
        pipeline_id,
        job_id,
        more,
    };
    derive(claims, kind)
}

fn id(payload: &mut Payload, name: &'static str) -> Result<u64, TokenError> {
    match payload.take(name) {
        Some(Read::Kept(ClaimValue::Id(id))) => Ok(id),
        _ => Err(TokenError::ClaimMissing { name: payload.kind.source_of(name) }),
    }
}

fn text(payload: &mut Payload, name: &'static str) -> Result<String, TokenError> {
    match payload.take(name) {
        Some(Read::Kept(ClaimValue::Text(text))) => Ok(text),
        _ => Err(TokenError::ClaimMissing { name: payload.kind.source_of(name) }),
    }
}

/// Adds `merge_request`, `fork` and `actor.kind`.
fn derive(mut claims: Claims, kind: IssuerKind) -> Result<Claims, TokenError> {
    let more = &mut claims.more;
    let merge_request = match more.get("pipeline_source") {
        Some(ClaimValue::Text(source)) => kind.requests().contains(&source.as_str()),
        _ if kind.position("pipeline_source").is_none() => false,
        _ => return Err(TokenError::ClaimMissing { name: kind.source_of("pipeline_source") }),
    };
    // Before the fix of 18.4 a fork's merge request looks just like one of the project's own: assume the worse.
    let fork = match more.get("job_project_id") {
        Some(ClaimValue::Id(job_project_id)) => *job_project_id != claims.project_id,
        _ => merge_request,
    };
    let user_id = match more.get("user_id") {
        Some(ClaimValue::Id(id)) => Some(*id),
        _ => None,
    };
    let login = match more.get("user_login") {
        Some(ClaimValue::Text(login)) => Some(login.as_str()),
        _ => None,
    };
    let actor = (kind == IssuerKind::GitLab).then(|| actor_kind(user_id, login)).flatten();
    // Who else names an environment names the one that the job deploys to.
    if kind != IssuerKind::GitLab && more.contains_key("environment") {
        more.insert(Cow::Borrowed("environment_action"), ClaimValue::Text("start".to_owned()));
    }
    if let Some(actor) = actor {
        more.insert(Cow::Borrowed("actor.kind"), ClaimValue::Text(actor.to_owned()));
    }
    more.insert(Cow::Borrowed("fork"), ClaimValue::Bool(fork));
    more.insert(Cow::Borrowed("merge_request"), ClaimValue::Bool(merge_request));
    Ok(claims)
}

/// Whether a token's subject is a SPIFFE ID.
pub(super) fn is_svid(subject: &str) -> bool {
    subject.get(..SPIFFE.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE))
}

/// What GitLab never writes side by side is no token of GitLab's; and a JWT-SVID, ours least of all, is what its trust
/// domain says and no other issuer.
fn check_agreement(claims: &Claims, kind: IssuerKind) -> Result<(), TokenError> {
    if kind != IssuerKind::Spiffe && is_svid(&claims.subject) {
        return Err(TokenError::Svid);
    }
    if kind != IssuerKind::GitLab {
        return check_agreement_of_other(claims, kind);
    }
    let says = |name: &str| claims.more.get(name);
    if says("fork") == Some(&ClaimValue::Bool(true)) && says("merge_request") == Some(&ClaimValue::Bool(false)) {
        return Err(TokenError::ClaimContradicts { name: "job_project_id", other: "project_id" });
    }
    // A Maintainer chooses which pairs `sub` has, but not what they say; `project_path` or `project_id` comes first.
    let subject = claims.subject.as_str();
    let first = |prefix: &str| subject.strip_prefix(prefix).map(|rest| rest.split(':').next().unwrap_or(rest));
    if first("project_path:").is_some_and(|path| path != claims.project_path) {
        return Err(TokenError::ClaimContradicts { name: "sub", other: "project_path" });
    }
    if first("project_id:").is_some_and(|id| id != claims.project_id.to_string()) {
        return Err(TokenError::ClaimContradicts { name: "sub", other: "project_id" });
    }
    Ok(())
}

/// The same for others: what `sub` says, where it says it, and the names around a project are of that project.
fn check_agreement_of_other(claims: &Claims, kind: IssuerKind) -> Result<(), TokenError> {
    let path = claims.project_path.as_str();
    let namespace = match claims.more.get("namespace_path") {
        Some(ClaimValue::Text(namespace)) => Some(namespace.as_str()),
        _ => None,
    };
    if namespace.is_some_and(|namespace| path.strip_prefix(namespace).is_none_or(|rest| !rest.starts_with('/'))) {
        let [name, other] = ["project_path", "namespace_path"].map(|name| kind.source_of(name));
        return Err(TokenError::ClaimContradicts { name, other });
    }
    let account = matches!(claims.more.get("serviceaccount"), Some(ClaimValue::Text(name)) if !path.ends_with(&format!("/{name}")));
    // A repository's owner can reshape `sub`, and ids may stand behind the names.
    let repository = claims.subject.strip_prefix("repo:").map(|rest| rest.split(':').next().unwrap_or(rest));
    let names =
        |text: &str| text.split('/').map(|part| part.split('@').next().unwrap_or(part).to_owned()).collect::<Vec<_>>();
    if account || repository.is_some_and(|repository| kind == IssuerKind::GitHub && names(repository) != names(path)) {
        let other = if account { "serviceaccount" } else { "project_path" };
        return Err(TokenError::ClaimContradicts { name: "sub", other: kind.source_of(other) });
    }
    Ok(())
}
