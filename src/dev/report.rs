//! What a dev run found out about its first SVID: the facts that its teaching text is made of.

use super::DevError;
use super::files::Places;
use crate::svid::{AuthorityFacts, CertificateFacts, inspect_authority, inspect_certificate};
use crate::telemetry::rfc3339;
use crate::wire::workload::X509svid;
use serde::{Serialize, Serializer};
use std::path::PathBuf;
use time::OffsetDateTime;

/// The first SVID, explained.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Who the workload is.
    pub spiffe_id: String,
    /// What each part of the ID means.
    pub parts: Vec<Part>,
    /// Who signed it: the intermediate.
    pub signed_by: Signer,
    /// Who signed that: the root, published in the trust bundle.
    pub rooted_in: Signer,
    /// Its serial number.
    pub serial: String,
    /// From when.
    #[serde(serialize_with = "in_seconds")]
    pub not_before: OffsetDateTime,
    /// Until when.
    #[serde(serialize_with = "in_seconds")]
    pub not_after: OffsetDateTime,
    /// Which limit ended it there.
    pub limited_by: Limit,
    /// When the session ends: the job's token expires.
    #[serde(serialize_with = "in_seconds")]
    pub session_ends_at: OffsetDateTime,
    /// From the start of the process to the SVID.
    pub milliseconds: i128,
    /// What a shell can source.
    pub env_file: PathBuf,
    /// The Workload API.
    pub workload_socket: PathBuf,
    /// The server.
    pub server: String,
    /// The stand-in GitLab.
    pub gitlab: String,
}

/// One part of the ID.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// As it stands in the ID.
    pub text: String,
    /// What it means.
    pub means: &'static str,
}

/// An authority.
#[derive(Clone, Debug, Serialize)]
pub struct Signer {
    /// What it calls itself.
    pub name: String,
    /// SHA-256 of its public key.
    pub key: String,
    /// Until when it may sign.
    #[serde(serialize_with = "in_seconds")]
    pub not_after: OffsetDateTime,
}

/// An SVID's end is the earliest of three.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The session's end: the token's.
    Session,
    /// The end of the key that signed it.
    Signer,
    /// The rule's ttl.
    Ttl,
}

impl Report {
    /// Reads the SVID as it came over the socket.
    pub(super) fn of(
        svid: &X509svid,
        session_ends_at: OffsetDateTime,
        places: &Places,
        env_file: PathBuf,
    ) -> Result<Self, DevError> {
        let mut chain = certificates(&svid.x509_svid);
        let leaf = inspect_certificate(chain.next().unwrap_or_default()).map_err(DevError::Odd)?;
        let intermediate = inspect_authority(chain.next().unwrap_or_default()).map_err(DevError::Odd)?;
        let root = inspect_authority(certificates(&svid.bundle).next().unwrap_or_default()).map_err(DevError::Odd)?;
        let limited_by = limit(&leaf, &intermediate, session_ends_at);
        Ok(Self {
            parts: parts(leaf.spiffe_id.as_str()),
            spiffe_id: leaf.spiffe_id.to_string(),
            signed_by: intermediate.into(),
            rooted_in: root.into(),
            serial: leaf.serial.to_string(),
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            limited_by,
            session_ends_at,
            milliseconds: 0,
            env_file,
            workload_socket: places.workload_socket.clone(),
            server: places.server.clone(),
            gitlab: places.gitlab.clone(),
        })
    }
}

impl From<AuthorityFacts> for Signer {
    fn from(facts: AuthorityFacts) -> Self {
        Self { name: facts.name, key: facts.key_id.to_string(), not_after: facts.not_after }
    }
}

fn limit(leaf: &CertificateFacts, signer: &AuthorityFacts, session_ends_at: OffsetDateTime) -> Limit {
    if leaf.not_after == session_ends_at {
        Limit::Session
    } else if leaf.not_after == signer.not_after {
        Limit::Signer
    } else {
        Limit::Ttl
    }
}

/// `spiffe://domain/acme/payments/api/-/pipelines/574`, cut where its meaning changes.
fn parts(id: &str) -> Vec<Part> {
    let part = |text: &str, means| Part { text: text.to_owned(), means };
    let rest = id.strip_prefix("spiffe://").unwrap_or(id);
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (project, job) = path.split_once("/-/").unwrap_or((path, ""));
    vec![
        part("spiffe://", "a SPIFFE ID: a name that any mesh which speaks SPIFFE understands"),
        part(domain, "the trust domain: whose word it is; every ID of this server begins with it"),
        part(project, "the project in GitLab, as GitLab's token says; no job can choose another"),
        part("-", "a segment that no GitLab path can hold: what stands before it is exactly one project"),
        part(job, "the pipeline: any job of it may carry this ID, and no job of another"),
    ]
}

/// Certificates that stand back to back, DER: each says how long it is (X.690 §8.1.3).
fn certificates(mut der: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = match *der {
            [0x30, 0x82, high, low, ..] => usize::from(u16::from_be_bytes([high, low])) + 4,
            [0x30, 0x81, length, ..] => usize::from(length) + 3,
            _ => return None,
        };
        let (one, rest) = der.split_at_checked(length)?;
        der = rest;
        Some(one)
    })
}

fn in_seconds<S: Serializer>(at: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*at))
}
