//! Whose tokens are taken, and on what terms: checked settings, built by `config`.

use super::claims::{Claims, IssuerName};
use super::error::TokenError;
use super::issuer_kind::IssuerKind;
use super::keys::KeySet;
use super::verify::Expectations;
use crate::identity::TrustDomain;
use crate::telemetry::quotable;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use time::OffsetDateTime;

/// One issuer as configured.
#[derive(Debug)]
pub struct Issuer {
    /// What its tokens must say.
    pub expectations: Expectations,
    /// Where its keys come from.
    pub keys: KeySource,
    /// Whether paths are pinned at first use.
    pub pins: Pins,
    /// What becomes of a session whose token comes with a second key.
    pub on_replay: OnReplay,
    /// Top-level namespaces that are ours; tokens of others are strangers. Empty: all are ours.
    pub namespaces: Vec<String>,
}

impl Issuer {
    /// The short name that rules use.
    pub const fn name(&self) -> &IssuerName {
        &self.expectations.issuer
    }

    /// Whether the claims are of a namespace that is ours. GitLab compares paths without case.
    pub fn knows(&self, claims: &Claims) -> bool {
        let namespace = claims.top_level_namespace().to_lowercase();
        self.namespaces.is_empty() || self.namespaces.iter().any(|ours| ours.to_lowercase() == namespace)
    }

    /// When it dated a token, where its word about the time counts: another trust domain's clock is none of ours.
    pub fn dated(&self, claims: &Claims) -> Option<OffsetDateTime> {
        (self.knows(claims) && self.expectations.kind != IssuerKind::Spiffe).then_some(claims.issued_at)
    }

    /// Lets the claims in, unless they are a stranger's: on a GitLab that others use too, anybody's token is genuine.
    ///
    /// # Errors
    /// `Stranger`.
    pub fn admit(&self, claims: &Claims) -> Result<(), TokenError> {
        if self.knows(claims) {
            Ok(())
        } else {
            Err(TokenError::Stranger { namespace: quotable(claims.top_level_namespace()) })
        }
    }
}

impl Claims {
    /// The namespace that holds the project, with all others around it.
    pub fn top_level_namespace(&self) -> &str {
        self.project_path.split('/').next().unwrap_or_default()
    }
}

/// Where an issuer's keys come from. Never from a token.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// The bundle that we hold of another trust domain.
    Bundle(TrustDomain),
    /// OIDC discovery.
    Discovery {
        /// The document's whole URL, see [`KeySource::document_of`].
        url: String,
        /// The only CA trusted for it, PEM; none for the system's.
        ca_pem: Option<Vec<u8>>,
        /// What lets us in there, read anew each time; none where anybody may ask.
        token_file: Option<PathBuf>,
    },
    /// A file of the operator's.
    Jwks(KeySet),
}

impl KeySource {
    /// Where an issuer's discovery document is by the standard (`OpenID` Connect Discovery 1.0 §4).
    pub fn document_of(issuer_url: &str) -> String {
        format!("{}/.well-known/openid-configuration", issuer_url.strip_suffix('/').unwrap_or(issuer_url))
    }
}

/// How a path comes to belong to a project.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pins {
    /// By an operator's word only.
    Declared,
    /// At first use.
    Learned,
}

/// What becomes of a session whose token comes with a second key. That one is refused in any case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OnReplay {
    /// It ends: nobody can tell the thief from the job, and the thief may have been first.
    End,
    /// It goes on: whoever has only a copy of the token cannot end the job's identity.
    Refuse,
}

/// All issuers, by the exact text of `iss`.
#[derive(Clone, Debug, Default)]
pub struct Issuers(BTreeMap<String, Arc<Issuer>>);

impl Issuers {
    /// The issuer that a token names, compared as a string.
    pub fn by_url(&self, iss: &str) -> Option<&Arc<Issuer>> {
        self.0.get(iss)
    }

    /// The issuer that a rule names.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Issuer>> {
        self.iter().find(|issuer| &*issuer.name().0 == name)
    }

    /// The audience that all of them want; none where they differ.
    pub fn audience(&self) -> Option<&str> {
        let mut wanted = self.iter().map(|issuer| issuer.expectations.audience.as_str());
        let first = wanted.next()?;
        wanted.all(|other| other == first).then_some(first)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Issuer>> {
        self.0.values()
    }
}

/// Two of one URL: the last wins, so whoever builds the list checks first.
impl FromIterator<Issuer> for Issuers {
    fn from_iter<T: IntoIterator<Item = Issuer>>(issuers: T) -> Self {
        issuers.into_iter().map(Arc::new).collect()
    }
}

impl FromIterator<Arc<Issuer>> for Issuers {
    fn from_iter<T: IntoIterator<Item = Arc<Issuer>>>(issuers: T) -> Self {
        Self(issuers.into_iter().map(|one| (one.expectations.issuer_url.clone(), one)).collect())
    }
}
