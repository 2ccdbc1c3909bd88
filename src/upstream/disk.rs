//! An authority above ours whose certificate and key are files: read at each use, so that new ones need no restart.

use super::error::Unfit;
use super::roots::{check_authority, read_certificates};
use super::{Certified, Certifying, RootsFile, Upstream, UpstreamError, Wanted};
use crate::crypto::{ForeignKeyPair, read_secret_file};
use crate::svid::{AuthorityFields, inspect_authority};
use rustls_pki_types::CertificateDer;
use std::path::PathBuf;
use std::time::Duration;
use time::OffsetDateTime;

/// A file system that hangs is not helped by asking it again.
const WITHIN: Duration = Duration::from_secs(600);

/// See the file's words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Disk {
    /// PEM: the authority's certificate, and behind it those between it and the root.
    pub certificate: PathBuf,
    /// PEM, unencrypted, for nobody else to read.
    pub key: PathBuf,
}

/// What the files hold.
struct Authority {
    chain: Vec<CertificateDer<'static>>,
    key: ForeignKeyPair,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl Disk {
    /// Tries it: all that would be met when an intermediate is due.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, roots: &RootsFile, wanted: &Wanted, now: OffsetDateTime) -> Result<(), UpstreamError> {
        let roots = roots.read(now)?;
        let chain = self.read(now)?.sign(wanted)?;
        Ok(Certified::of(chain, wanted, &roots, (now, Duration::ZERO)).map(drop)?)
    }

    fn read(&self, now: OffsetDateTime) -> Result<Authority, UpstreamError> {
        let chain = read_certificates(&self.certificate)?;
        let mut first = None;
        for (at, certificate) in (1..).zip(&chain) {
            let unfit = |unfit| UpstreamError::Certificate { path: self.certificate.clone(), at, unfit };
            let facts = inspect_authority(certificate).map_err(|_malformed| unfit(Unfit::Malformed))?;
            check_authority(&facts, now).map_err(unfit)?;
            first.get_or_insert(facts);
        }
        let pem = read_secret_file(&self.key)?;
        let unusable = |source| UpstreamError::Key { path: self.key.clone(), source };
        let key = ForeignKeyPair::from_pem(&pem).map_err(unusable)?;
        let Some(facts) = first.filter(|facts| facts.key_id == key.public().id()) else {
            return Err(UpstreamError::OtherKey { key: self.key.clone(), certificate: self.certificate.clone() });
        };
        let (not_before, not_after) = (facts.not_before, facts.not_after);
        Ok(Authority { chain, key, not_before, not_after })
    }
}

impl Authority {
    fn sign(self, wanted: &Wanted) -> Result<Vec<CertificateDer<'static>>, UpstreamError> {
        let Self { chain, key, not_before, not_after } = self;
        let fields = AuthorityFields {
            not_before: wanted.fields.not_before.max(not_before),
            not_after: wanted.fields.not_after.min(not_after),
            ..wanted.fields.clone()
        };
        let Some(issuer) = chain.first() else { return Ok(chain) };
        let signed = fields.sign(issuer, &key)?;
        Ok([signed].into_iter().chain(chain).collect())
    }
}

impl Upstream for Disk {
    fn kind(&self) -> &'static str {
        "disk"
    }

    fn within(&self) -> Duration {
        WITHIN
    }

    fn certify<'a>(&'a self, wanted: &'a Wanted, now: OffsetDateTime) -> Certifying<'a> {
        let (files, wanted) = (self.clone(), wanted.clone());
        Box::pin(async move {
            let signed = tokio::task::spawn_blocking(move || files.read(now)?.sign(&wanted)).await;
            signed.map_err(|_runtime_ends| UpstreamError::Stopped)?
        })
    }
}
