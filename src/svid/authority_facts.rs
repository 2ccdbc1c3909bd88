//! Reads an authority's certificate back, for whoever tells who signed what.

use super::{InspectError, Serial};
use crate::crypto::{KeyId, PublicKey};
use time::OffsetDateTime;
use x509_parser::extensions::{GeneralName, ParsedExtension};
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
    /// Not before.
    pub not_before: OffsetDateTime,
    /// Not after.
    pub not_after: OffsetDateTime,
    /// What it may do.
    pub rights: AuthorityRights,
    /// Whom it names as its issuer.
    pub issuer: String,
    /// Whether that is itself, as with roots.
    pub names_itself: bool,
    /// Whether its key is of a kind and size that signatures are verified with here.
    pub has_strong_key: bool,
    /// Its subject alternative names, as they are written.
    pub names: Vec<String>,
}

/// What an authority's certificate lets it do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AuthorityRights {
    /// Whether it says CA:TRUE.
    pub is_authority: bool,
    /// How many authorities may stand below it; as many as they like where it does not say.
    pub path_length: Option<u32>,
    /// Whether its key usage is critical and has keyCertSign (SPIFFE X509-SVID §4.3).
    pub signs_certificates: bool,
    /// Whether what it signs may be shown by both sides of a connection, as far as its extended key usage goes.
    pub serves_both_sides: bool,
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
    let constraints = certificate.basic_constraints().ok().flatten().map(|found| found.value);
    let usage = certificate.key_usage().ok().flatten();
    let names = certificate.subject_alternative_name().ok().flatten();
    let serial = certificate.raw_serial().try_into().ok().and_then(Serial::from_bytes);
    let rights = AuthorityRights {
        is_authority: constraints.is_some_and(|found| found.ca),
        path_length: constraints.and_then(|found| found.path_len_constraint),
        signs_certificates: usage.is_some_and(|usage| usage.critical && usage.value.key_cert_sign()),
        serves_both_sides: match certificate.extended_key_usage() {
            Ok(purposes) => purposes.is_none_or(|purposes| {
                let purposes = purposes.value;
                purposes.any || purposes.server_auth && purposes.client_auth
            }),
            Err(_doubled) => false,
        },
    };
    Ok(AuthorityFacts {
        name: common_name.map_or_else(|| subject.to_string(), ToOwned::to_owned),
        key_id: KeyId::of_spki(certificate.public_key().raw),
        key_identifier,
        issuer_key_identifier,
        serial,
        not_before: certificate.validity().not_before.to_datetime(),
        not_after: certificate.validity().not_after.to_datetime(),
        rights,
        issuer: certificate.issuer().to_string(),
        has_strong_key: PublicKey::from_spki_der(certificate.public_key().raw).is_ok(),
        names_itself: certificate.issuer().as_raw() == subject.as_raw(),
        names: names.iter().flat_map(|names| &names.value.general_names).map(written).collect(),
    })
}

/// URIs and host names as they stand there; of other kinds it is enough that they are no such.
fn written(name: &GeneralName<'_>) -> String {
    if let GeneralName::URI(uri) = name { (*uri).to_owned() } else { name.to_string() }
}
