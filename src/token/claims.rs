//! What a genuine token says, with GitLab's types made exact: `"true"` is a boolean, digit strings are ids.

use super::claim_map::ClaimMap;
use super::providers::{ClaimKind, claim_kind};
use crate::crypto::Digest;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::sync::Arc;
use time::OffsetDateTime;

/// The short name that the configuration gives an issuer, such as `corp`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct IssuerName(pub Arc<str>);

impl fmt::Display for IssuerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A claim's value.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ClaimValue {
    /// `ref_protected` and its like; GitLab writes them as text.
    Bool(bool),
    /// An id.
    Id(u64),
    /// A text.
    Text(String),
    /// A list of texts, such as `groups_direct`.
    Texts(Vec<String>),
    /// `user_identities`.
    Identities(Vec<ExternalIdentity>),
}

/// One entry of `user_identities`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ExternalIdentity {
    /// Which provider, as GitLab's configuration names it.
    pub provider: String,
    /// The account there.
    pub extern_uid: String,
}

/// The claims of a CI job's token: a closed set, known names only.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Claims {
    /// Who minted it.
    pub issuer: IssuerName,
    /// `jti`.
    pub jti: String,
    /// `sub`, for showing and for the audit record only.
    pub subject: String,
    /// `iat`.
    #[serde(with = "time::serde::timestamp")]
    pub issued_at: OffsetDateTime,
    /// `exp`.
    #[serde(with = "time::serde::timestamp")]
    pub expires_at: OffsetDateTime,
    /// Whose code it is; `project_id`.
    pub project_id: u64,
    /// `project_path`.
    pub project_path: String,
    /// `namespace_id`.
    pub namespace_id: u64,
    /// `pipeline_id`.
    pub pipeline_id: u64,
    /// `job_id`.
    pub job_id: u64,
    /// All other claims that we know, and the derived ones (`fork`, `actor.kind`), by name.
    #[serde(deserialize_with = "more_by_kind")]
    pub more: ClaimMap,
}

/// An empty list says nothing of what it would hold; the claim's name does.
pub(crate) fn more_by_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClaimMap, D::Error> {
    let mut more = ClaimMap::deserialize(deserializer)?;
    for (name, value) in more.iter_mut() {
        if *value == ClaimValue::Texts(Vec::new()) && claim_kind(name) == Some(ClaimKind::Identities) {
            *value = ClaimValue::Identities(Vec::new());
        }
    }
    Ok(more)
}

/// A claim's value, lent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimView<'a> {
    /// See [`ClaimValue::Bool`].
    Bool(bool),
    /// See [`ClaimValue::Id`].
    Id(u64),
    /// See [`ClaimValue::Identities`].
    Identities(&'a [ExternalIdentity]),
    /// See [`ClaimValue::Text`].
    Text(&'a str),
    /// See [`ClaimValue::Texts`].
    Texts(&'a [String]),
}

impl Claims {
    /// A claim by the name GitLab gives it (or a derived one's), whether a field of its own or in `more`.
    /// `issuer` is the configured short name, never the URL.
    pub fn view(&self, name: &str) -> Option<ClaimView<'_>> {
        Some(match name {
            "issuer" => ClaimView::Text(&self.issuer.0),
            "jti" => ClaimView::Text(&self.jti),
            "job_id" => ClaimView::Id(self.job_id),
            "namespace_id" => ClaimView::Id(self.namespace_id),
            "pipeline_id" => ClaimView::Id(self.pipeline_id),
            "project_id" => ClaimView::Id(self.project_id),
            "project_path" => ClaimView::Text(&self.project_path),
            "sub" => ClaimView::Text(&self.subject),
            _ => self.more.get(name)?.view(),
        })
    }

    /// The project that the job runs in; a fork's merge request runs in the parent.
    pub fn job_project_id(&self) -> u64 {
        match self.more.get("job_project_id") {
            Some(ClaimValue::Id(id)) => *id,
            _ => self.project_id,
        }
    }

    /// The path of the project that the job runs in.
    pub fn job_project_path(&self) -> &str {
        match self.more.get("job_project_path") {
            Some(ClaimValue::Text(path)) => path,
            _ => &self.project_path,
        }
    }

    /// As [`Claims::view`], to keep.
    pub fn value(&self, name: &str) -> Option<ClaimValue> {
        Some(match self.view(name)? {
            ClaimView::Bool(is) => ClaimValue::Bool(is),
            ClaimView::Id(id) => ClaimValue::Id(id),
            ClaimView::Identities(list) => ClaimValue::Identities(list.to_vec()),
            ClaimView::Text(text) => ClaimValue::Text(text.to_owned()),
            ClaimView::Texts(list) => ClaimValue::Texts(list.to_vec()),
        })
    }
}

impl ClaimValue {
    /// The value, lent.
    pub fn view(&self) -> ClaimView<'_> {
        match self {
            Self::Bool(is) => ClaimView::Bool(*is),
            Self::Id(id) => ClaimView::Id(*id),
            Self::Identities(list) => ClaimView::Identities(list),
            Self::Text(text) => ClaimView::Text(text),
            Self::Texts(list) => ClaimView::Texts(list),
        }
    }
}

/// As a person reads it: ids as plain digits, lists with commas.
impl fmt::Display for ClaimView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(is) => is.fmt(f),
            Self::Id(id) => id.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Texts(list) => write!(f, "[{}]", list.join(", ")),
            Self::Identities(list) => {
                let uids: Vec<String> = list.iter().map(|one| format!("{}:{}", one.provider, one.extern_uid)).collect();
                write!(f, "[{}]", uids.join(", "))
            }
        }
    }
}

/// Which token it was: enough to know it again, and nothing to use it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TokenSeen {
    /// The `kid` of the issuer's key that signed it.
    pub kid: String,
    /// SHA-256 of its text.
    pub sha256: Digest,
}

/// Claims whose signature, issuer, audience and lifetime hold, or held when their session opened.
#[derive(Clone, Debug)]
pub struct VerifiedClaims {
    claims: Claims,
    token: Option<Arc<TokenSeen>>,
}

impl VerifiedClaims {
    /// Only for `verify`, next door.
    pub(super) fn proven(claims: Claims, token: TokenSeen) -> Self {
        Self { claims, token: Some(Arc::new(token)) }
    }

    /// Only for `session`: claims that were verified when the session opened, read back from its live record.
    pub(crate) const fn kept_with_session(claims: Claims) -> Self {
        Self { claims, token: None }
    }

    /// The claims.
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The token that they came in; none where they were kept with a session.
    pub const fn token(&self) -> Option<&Arc<TokenSeen>> {
        self.token.as_ref()
    }
}
