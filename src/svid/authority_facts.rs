//! Reads an authority's certificate back, for whoever tells who signed what.

use super::{InspectError, Serial};
use crate::crypto::KeyId;
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// What an authority's certificate says of itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorityFacts {
    /// The common name, or the whole subject without one.
    pub name: String,
    /// Its key.
    pub key_id: KeyId,
    /// The name that certificates and lists below it have for that key (RFC 5280 §4.2.1.2).
    pub key_identifier: Option<Vec<u8>>,
    /// The same of the key that signed it; a root may leave it out.
    pub issuer_key_identifier: Option<Vec<u8>>,
    /// Its serial number, where it has the form of ours.
    pub serial: Option<Serial>,
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
    let (mut key_identifier, mut issuer_key_identifier) = (None, None);
    for extension in certificate.iter_extensions() {
        if let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() {
            key_identifier = Some(id.0.to_vec());
        } else if let ParsedExtension::AuthorityKeyIdentifier(id) = extension.parsed_extension() {
            issuer_key_identifier = id.key_identifier.as_ref().map(|id| id.0.to_vec());
        }
    }
    let serial = certificate.raw_serial().try_into().ok().and_then(Serial::from_bytes);
    Ok(AuthorityFacts {
        name: common_name.map_or_else(|| subject.to_string(), ToOwned::to_owned),
        key_id: KeyId::of_spki(certificate.public_key().raw),
        key_identifier,
        issuer_key_identifier,
        serial,
        not_after: certificate.validity().not_after.to_datetime(),
    })
}
