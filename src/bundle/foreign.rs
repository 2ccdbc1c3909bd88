//! Another trust domain's bundle as its operator hands it over: PEM, a SPIFFE bundle, or a map of several.
//!
//! Of PEM nothing is skipped: it has no publisher that could slip, but a person who put something in that does not belong.

use super::authority::{certified_key, subject};
use super::document::{Bundle, BundleError, DOCUMENT_BYTES_MAX};
use super::{BundleMap, BundleMapError, NotAnAuthority, OddEntry, StrictJson};
use crate::identity::TrustDomain;
use crate::telemetry::quotable;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// How every block begins (RFC 7468 §2).
const BEGIN: &str = "-----BEGIN ";
const CERTIFICATE: &str = "CERTIFICATE-----";

/// Why a text gives no bundle.
#[derive(Debug, thiserror::Error)]
pub enum ForeignBundleError {
    /// A certificate among the others that is none of a CA, such as a server's own.
    #[error("certificate {at} ({subject}) is no authority: {why}; a bundle holds CA certificates only")]
    Authority {
        /// Its place, from 1.
        at: usize,
        /// Whom it names.
        subject: String,
        /// What it is instead.
        #[source]
        why: NotAnAuthority,
    },
    /// Not a SPIFFE bundle.
    #[error(transparent)]
    Document(#[from] BundleError),
    /// A block of PEM that is no certificate.
    #[error("it holds a block {label:?}; a bundle holds CA certificates only, and never a key")]
    Label {
        /// What stands behind BEGIN.
        label: String,
    },
    /// Not a bundle map.
    #[error(transparent)]
    Map(#[from] BundleMapError),
    /// Neither begins as JSON nor holds PEM.
    #[error("it is neither PEM nor a SPIFFE bundle (JSON)")]
    NeitherForm,
    /// Nothing at all.
    #[error("it is empty; a trust domain that is to be trusted no more is deleted, not emptied")]
    NoCertificate,
    /// A map of others.
    #[error("the bundle map has no bundle of {wanted}; it has: {known}")]
    NotInMap {
        /// Whose was wanted.
        wanted: TrustDomain,
        /// Whose are there.
        known: String,
    },
    /// A root that says itself that it is another's.
    #[error("{odd}, and not of {wanted}: give the bundle of {wanted}, or set it for the trust domain that it is of")]
    OfAnother {
        /// Whose was wanted.
        wanted: TrustDomain,
        /// Which it is.
        odd: OddEntry,
    },
    /// Armour that does not close, or what is inside is no base64.
    #[error("the PEM cannot be read")]
    Pem,
}

impl Bundle {
    /// Reads any of the forms, told apart by what is inside.
    ///
    /// # Errors
    /// See [`ForeignBundleError`].
    pub fn read(trust_domain: TrustDomain, text: &[u8]) -> Result<Self, ForeignBundleError> {
        if text.trim_ascii_start().starts_with(b"{") {
            return Self::read_json(trust_domain, text);
        }
        Self::read_pem(trust_domain, text)
    }

    /// Reads CA certificates, each in PEM. They tell no sequence, and no time to look again.
    ///
    /// # Errors
    /// Whatever is in it that is no CA certificate.
    pub fn read_pem(trust_domain: TrustDomain, text: &[u8]) -> Result<Self, ForeignBundleError> {
        check_size(text)?;
        let lines = String::from_utf8_lossy(text);
        let labels: Vec<&str> = lines.split(['\n', '\r']).filter_map(|line| line.trim().strip_prefix(BEGIN)).collect();
        if labels.is_empty() {
            let is_empty = text.trim_ascii().is_empty();
            return Err(if is_empty { ForeignBundleError::NoCertificate } else { ForeignBundleError::NeitherForm });
        }
        if let Some(other) = labels.iter().find(|label| **label != CERTIFICATE) {
            return Err(ForeignBundleError::Label { label: quotable(other.trim_end_matches('-')) });
        }
        let read: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(|_odd| ForeignBundleError::Pem)?;
        if read.len() != labels.len() {
            return Err(ForeignBundleError::Pem);
        }
        let mut x509_authorities = Vec::new();
        for (at, certificate) in read.into_iter().enumerate() {
            if let Err(why) = certified_key(&certificate) {
                let subject = quotable(&subject(&certificate));
                return Err(ForeignBundleError::Authority { at: at + 1, subject, why });
            }
            if !x509_authorities.contains(&certificate) {
                x509_authorities.push(certificate);
            }
        }
        let jwt_authorities = Vec::new();
        Ok(Self { trust_domain, sequence: 0, refresh_hint: Self::REFRESH_UNSET, x509_authorities, jwt_authorities })
    }

    /// Reads a SPIFFE bundle, or the one of this trust domain in a map of several.
    ///
    /// # Errors
    /// See [`ForeignBundleError`].
    pub fn read_json(trust_domain: TrustDomain, json: &[u8]) -> Result<Self, ForeignBundleError> {
        check_size(json)?;
        let document = StrictJson::object(json).map_err(BundleError::Json)?;
        if !document.contains_key("trust_domains") {
            return Ok(Self::from_document(trust_domain, &document)?.0);
        }
        let map = BundleMap::parse(json)?;
        let found = map.bundles().iter().find(|bundle| bundle.trust_domain == trust_domain);
        found.cloned().ok_or_else(|| {
            let known: Vec<_> = map.bundles().iter().map(|bundle| bundle.trust_domain.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { quotable(&known.join(", ")) };
            ForeignBundleError::NotInMap { wanted: trust_domain, known }
        })
    }
}

fn check_size(text: &[u8]) -> Result<(), BundleError> {
    if text.len() > DOCUMENT_BYTES_MAX { Err(BundleError::TooLarge { actual: text.len() }) } else { Ok(()) }
}
