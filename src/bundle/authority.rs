//! One X.509 authority of a bundle: a CA's certificate whose key we know, whoever made it. No SPIFFE ID is asked of it.

use crate::crypto::PublicKey;
use crate::identity::TrustDomain;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// Why a certificate is no authority's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAnAuthority {
    /// A key whose JWK we could not write.
    #[error("its key is of no kind that is known here: ECDSA P-256, P-384 and P-521, RSA from 2048 bits on, Ed25519")]
    Key,
    /// Not DER, not X.509, or bytes behind it.
    #[error("it is not exactly one X.509 certificate")]
    Malformed,
    /// Key usage without keyCertSign.
    #[error("it may not sign certificates: its key usage lacks keyCertSign")]
    MayNotSign,
    /// A leaf, or a certificate of before version 3.
    #[error("it is no CA's: basic constraints with CA:TRUE are missing")]
    NotCa,
}

/// The key of an authority's certificate.
pub(super) fn certified_key(certificate: &CertificateDer<'_>) -> Result<PublicKey, NotAnAuthority> {
    let (behind, certificate) = X509Certificate::from_der(certificate).map_err(|_odd| NotAnAuthority::Malformed)?;
    let usage = certificate.key_usage().map_err(|_odd| NotAnAuthority::Malformed)?;
    if !behind.is_empty() {
        return Err(NotAnAuthority::Malformed);
    }
    if !certificate.is_ca() {
        return Err(NotAnAuthority::NotCa);
    }
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(NotAnAuthority::MayNotSign);
    }
    PublicKey::from_spki_der(certificate.public_key().raw).map_err(|_odd| NotAnAuthority::Key)
}

/// Whose certificate it says it is, on one line; nothing where it cannot be read.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> String {
    let said = X509Certificate::from_der(certificate).map(|(_, read)| read.subject().to_string()).unwrap_or_default();
    said.chars().map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// The trust domain that it says it is of, where its name is a SPIFFE ID (X509-SVID §4.2).
pub(super) fn named_trust_domain(certificate: &CertificateDer<'_>) -> Option<TrustDomain> {
    let (_behind, read) = X509Certificate::from_der(certificate).ok()?;
    let names = read.subject_alternative_name().ok()??;
    names.value.general_names.iter().find_map(|name| {
        let GeneralName::URI(uri) = name else { return None };
        TrustDomain::parse(uri.strip_prefix("spiffe://")?.split('/').next()?).ok()
    })
}

/// When it ends.
pub(super) fn ends_at(certificate: &CertificateDer<'_>) -> Option<OffsetDateTime> {
    let (_behind, read) = X509Certificate::from_der(certificate).ok()?;
    Some(read.validity().not_after.to_datetime())
}
