//! How an operator wants leaves to look beyond what every X509-SVID has: subject, DNS name, kinds of key.
//! Names here are made of numeric ids only, so no token chooses a letter of them.

use crate::crypto::KeyAlgorithm;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The longest DNS name as text (RFC 1035 §2.3.4).
const DNS_NAME_MAX: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const LABEL_MAX: usize = 63;
/// `pl<19 digits>.p<19 digits>.` stands before a suffix.
const BEFORE_SUFFIX_MAX: usize = 43;

/// The subject of a leaf.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// No subject; the SAN is critical then.
    Empty,
    /// `O=Lanyard`.
    #[default]
    Organization,
    /// `O=Lanyard, CN=p<project id>`.
    Project(u64),
}

/// What stands first among the subject alternative names: Linkerd's wildcard policies look at the first one only.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SanOrder {
    /// The DNS name.
    DnsFirst,
    /// The SPIFFE ID.
    #[default]
    UriFirst,
}

/// A DNS name beside the SPIFFE ID.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct DnsSan {
    /// Lower case, letters, digits, dashes and dots.
    pub name: String,
    /// Where it stands.
    pub order: SanOrder,
}

/// Which subject leaves have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SubjectForm {
    /// None.
    Empty,
    /// `O=Lanyard`.
    #[default]
    Organization,
    /// `O=Lanyard, CN=p<project id>`.
    Project,
}

/// Which DNS names leaves have.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsNames {
    /// What they end in.
    pub suffix: DnsSuffix,
    /// Where they stand.
    pub order: SanOrder,
}

/// How leaves look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeafProfile {
    /// The DNS names; none by default.
    pub dns: Option<DnsNames>,
    /// Kinds of key that are certified; P-256 alone by default.
    pub key_kinds: Vec<KeyAlgorithm>,
    /// The issuer whose projects subject and DNS names mean, where there are several: their numbers are each its own. None
    /// where there is one.
    pub names_of: Option<String>,
    /// The subject.
    pub subject: SubjectForm,
}

impl Default for LeafProfile {
    fn default() -> Self {
        Self { dns: None, key_kinds: vec![KeyAlgorithm::EcP256], names_of: None, subject: SubjectForm::default() }
    }
}

impl LeafProfile {
    /// Whether it names projects by their numbers alone.
    pub fn names_projects(&self) -> bool {
        self.dns.is_some() || self.subject == SubjectForm::Project
    }

    /// The subject of a leaf of an issuer's project.
    pub fn subject(&self, issuer: &str, project_id: u64) -> Subject {
        match self.subject {
            SubjectForm::Empty => Subject::Empty,
            SubjectForm::Project if self.means(issuer) => Subject::Project(project_id),
            SubjectForm::Organization | SubjectForm::Project => Subject::Organization,
        }
    }

    fn means(&self, issuer: &str) -> bool {
        self.names_of.as_deref().is_none_or(|meant| meant == issuer)
    }

    /// The DNS name of a leaf of an issuer's pipeline: `pl<pipeline>.p<project>.<suffix>`.
    pub fn dns_san(&self, issuer: &str, project_id: u64, pipeline_id: u64) -> Option<DnsSan> {
        let dns = self.dns.as_ref().filter(|_| self.means(issuer))?;
        Some(DnsSan { name: format!("pl{pipeline_id}.p{project_id}.{}", dns.suffix), order: dns.order })
    }
}

/// A DNS suffix of the operator's own, which no mesh takes for one of its own names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DnsSuffix(String);

/// Why a text is no suffix for our DNS names.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DnsSuffixError {
    /// Under it a mesh names its own workloads.
    #[error("a mesh names its own workloads there")]
    Mesh,
    /// Not lower-case labels of letters, digits and dashes with dots between.
    #[error("no DNS name in lower case")]
    NoDnsName,
    /// One label: a top-level domain, or nobody's.
    #[error("a single label is no domain of yours")]
    SingleLabel,
    /// No room is left for the ids before it.
    #[error("longer than {} bytes", DNS_NAME_MAX - BEFORE_SUFFIX_MAX)]
    TooLong,
}

impl DnsSuffix {
    /// Reads a suffix. Below `cluster.local` Kubernetes and the meshes on it name their own services and workloads,
    /// and Linkerd does below `identity.<its namespace>` of any other cluster domain.
    ///
    /// # Errors
    /// See [`DnsSuffixError`].
    pub fn parse(text: &str) -> Result<Self, DnsSuffixError> {
        let legal = |label: &str| {
            let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            (1..=LABEL_MAX).contains(&label.len())
                && label.bytes().all(inner)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let labels: Vec<&str> = text.split('.').collect();
        if !labels.iter().copied().all(legal) {
            return Err(DnsSuffixError::NoDnsName);
        }
        if text.len() > DNS_NAME_MAX - BEFORE_SUFFIX_MAX {
            return Err(DnsSuffixError::TooLong);
        }
        let linkerd = |pair: &[&str]| matches!(pair, ["identity", namespace] if namespace.contains("linkerd"));
        if labels.ends_with(&["cluster", "local"]) || labels.windows(2).any(linkerd) {
            return Err(DnsSuffixError::Mesh);
        }
        if labels.len() < 2 {
            return Err(DnsSuffixError::SingleLabel);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for DnsSuffix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Shows: MESH-A9.
    #[test]
    fn suffixes_of_a_mesh_or_of_nobody_are_refused() {
        for (text, error) in [
            ("cluster.local", DnsSuffixError::Mesh),
            ("ci.svc.cluster.local", DnsSuffixError::Mesh),
            ("linkerd.identity.linkerd.corp.example", DnsSuffixError::Mesh),
            ("identity.linkerd-edge.corp.example", DnsSuffixError::Mesh),
            ("local", DnsSuffixError::SingleLabel),
            ("", DnsSuffixError::NoDnsName),
            ("CI.example.org", DnsSuffixError::NoDnsName),
            ("*.example.org", DnsSuffixError::NoDnsName),
            (".example.org", DnsSuffixError::NoDnsName),
            ("example.org.", DnsSuffixError::NoDnsName),
            ("-a.example.org", DnsSuffixError::NoDnsName),
            ("a_b.example.org", DnsSuffixError::NoDnsName),
        ] {
            assert_eq!(DnsSuffix::parse(text), Err(error), "{text}");
        }
        let long = format!("{}.example", ["a"; 120].join("."));
        assert_eq!(DnsSuffix::parse(&long), Err(DnsSuffixError::TooLong));
        assert_eq!(DnsSuffix::parse("ci.example.org").unwrap().to_string(), "ci.example.org");
        assert!(DnsSuffix::parse("mycluster.local").is_ok(), "whole labels are compared");
    }

    proptest! {
        /// Shows: MESH-A9.
        #[test]
        fn any_suffix_and_any_ids_give_a_legal_name_or_none(text in "[a-zA-Z0-9.*_-]{0,80}", p: u64, q: u64) {
            if let Ok(suffix) = DnsSuffix::parse(&text) {
                // Ids have at most 19 digits (integrations of GitLab's tokens).
                let (p, q) = (p >> 1, q >> 1);
                let dns = Some(DnsNames { suffix, order: SanOrder::UriFirst });
                let name = LeafProfile { dns, ..LeafProfile::default() }.dns_san("corp", p, q).unwrap().name;
                prop_assert!(name.len() <= DNS_NAME_MAX);
                prop_assert!(name.split('.').all(|label| (1..=LABEL_MAX).contains(&label.len())));
                prop_assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b)));
                prop_assert_eq!(name.split('.').take(2).collect::<Vec<_>>(), [format!("pl{q}"), format!("p{p}")]);
            }
        }
    }
}
