//! The roots that we publish under an authority above ours: a file of the operator, read again when it changes.

use super::UpstreamError;
use super::error::Unfit;
use crate::crypto::{Digest, KeyId};
use crate::svid::{AuthorityFacts, inspect_authority};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fs;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// A root of somebody else's. Its name is the digest of its certificate: two of its certificates may have one key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UpstreamRoot {
    /// Its name.
    pub name: KeyId,
    /// What is published.
    pub certificate: CertificateDer<'static>,
    /// From when.
    pub not_before: OffsetDateTime,
    /// Until when.
    pub not_after: OffsetDateTime,
}

/// Where the roots stand.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RootsFile(PathBuf);

impl RootsFile {
    /// A PEM file.
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Which.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads them. One that has ended is left out: it may stay in the file until somebody tidies up.
    ///
    /// # Errors
    /// When there is none, or one is no root that can be published.
    pub fn read(&self, now: OffsetDateTime) -> Result<Vec<UpstreamRoot>, UpstreamError> {
        let mut roots: Vec<UpstreamRoot> = Vec::new();
        let mut ended = None;
        for (at, certificate) in (1..).zip(read_certificates(&self.0)?) {
            let unfit = |unfit| UpstreamError::Certificate { path: self.0.clone(), at, unfit };
            let facts = inspect_authority(&certificate).map_err(|_malformed| unfit(Unfit::Malformed))?;
            match check_authority(&facts, now) {
                Err(over @ Unfit::Ended(_)) => ended = Some(unfit(over)),
                Err(other) => return Err(unfit(other)),
                Ok(()) if !facts.names_itself => return Err(unfit(Unfit::NoRoot)),
                Ok(()) => roots.push(UpstreamRoot {
                    name: KeyId::from_digest(Digest::of(&certificate)),
                    not_before: facts.not_before,
                    not_after: facts.not_after,
                    certificate,
                }),
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        roots.retain(|root| seen.insert(root.name));
        match ended {
            Some(ended) if roots.is_empty() => Err(ended),
            _ => Ok(roots),
        }
    }
}

/// All certificates of a PEM file, at least one.
pub(super) fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
    let text = fs::read(path).map_err(|source| UpstreamError::File { path: path.to_owned(), source })?;
    certificates_of(&text).ok_or_else(|| UpstreamError::NoCertificate { path: path.to_owned() })
}

/// All certificates of a PEM text; none where there is not one, or one is broken.
pub(super) fn certificates_of(text: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().ok()?;
    (!all.is_empty()).then_some(all)
}

/// Whether a certificate may stand above an intermediate of ours.
pub(super) fn check_authority(facts: &AuthorityFacts, now: OffsetDateTime) -> Result<(), Unfit> {
    let rights = [
        (facts.rights.is_authority, Unfit::NoAuthority),
        (facts.rights.signs_certificates, Unfit::NoCertSign),
        (facts.rights.path_length != Some(0), Unfit::LastOfItsPath),
        (facts.rights.serves_both_sides, Unfit::Purposes),
        (facts.has_strong_key, Unfit::WeakKey),
        (facts.not_before <= now, Unfit::NotYet(facts.not_before)),
        (facts.not_after > now, Unfit::Ended(facts.not_after)),
    ];
    rights.into_iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, unfit)| Err(unfit))
}
