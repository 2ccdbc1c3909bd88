//! Reads an authority's certificate back, for whoever tells a person who signed what.

use super::InspectError;
use crate::crypto::KeyId;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What an authority's certificate says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorityFacts {
    /// The common name, or the whole subject without one.
    pub name: String,
    /// Its key.
    pub key_id: KeyId,
    /// Not after.
    pub not_after: OffsetDateTime,
}

/// Reads a root's or an intermediate's certificate; judges nothing.
///
/// # Errors
/// `Malformed` or `Trailing`.
pub fn inspect_authority(der: &[u8]) -> Result<AuthorityFacts, InspectError> {
    let (behind, certificate) = X509Certificate::from_der(der).map_err(|_malformed| InspectError::Malformed)?;
    if !behind.is_empty() {
        return Err(InspectError::Trailing { count: behind.len() });
    }
    let subject = certificate.subject();
    let common_name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
    Ok(AuthorityFacts {
        name: common_name.map_or_else(|| subject.to_string(), ToOwned::to_owned),
        key_id: KeyId::of_spki(certificate.public_key().raw),
        not_after: certificate.validity().not_after.to_datetime(),
    })
}
