//! Whose revocation list it is, for whoever holds lists against authorities; what stands on it is skipped, not read.

use x509_parser::asn1_rs::{Any, Class, FromDer as _, Tag};
use x509_parser::extensions::{ParsedExtension, X509Extension};

/// The key identifier of the authority that signed a list (RFC 5280 §5.2.1); none if it does not say so, or is no list. The
/// signature is not looked at.
pub fn crl_issuer(der: &[u8]) -> Option<Vec<u8>> {
    let (list, behind) = sequence(der)?;
    let (mut fields, _signature) = sequence(list)?;
    if !behind.is_empty() {
        return None;
    }
    // They are the last field (RFC 5280 §5.1.2).
    while let Ok((behind, field)) = Any::from_der(fields) {
        if field.class() == Class::ContextSpecific {
            return key_identifier(field.data);
        }
        fields = behind;
    }
    None
}

fn key_identifier(extensions: &[u8]) -> Option<Vec<u8>> {
    let (mut extensions, _nothing) = sequence(extensions)?;
    while let Ok((behind, extension)) = X509Extension::from_der(extensions) {
        if let ParsedExtension::AuthorityKeyIdentifier(authority) = extension.parsed_extension() {
            return authority.key_identifier.as_ref().map(|id| id.0.to_vec());
        }
        extensions = behind;
    }
    None
}

/// What stands in a sequence, and behind it.
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (behind, element) = Any::from_der(der).ok()?;
    (element.class() == Class::Universal && element.tag() == Tag::Sequence).then_some((element.data, behind))
}
