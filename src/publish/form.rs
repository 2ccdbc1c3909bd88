//! In which form a bundle is written.

use super::PublishError;
use crate::authority::Published;
use crate::bundle::Bundle;
use bytes::Bytes;

/// What a reader wants.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// The X.509 authorities alone.
    Pem,
    /// The SPIFFE bundle document.
    Spiffe,
}

impl Form {
    /// The bytes.
    pub fn of(self, published: &Published) -> Bytes {
        match self {
            Self::Pem => Bytes::copy_from_slice(published.pem.as_bytes()),
            Self::Spiffe => published.json.clone(),
        }
    }

    /// That nothing is written over what another server of this trust domain knows and we do not. Certificates alone tell no
    /// sequence.
    pub(super) fn check_older(self, found: &[u8], published: &Published) -> Result<(), PublishError> {
        let ours = &published.bundle;
        let there = match self {
            Self::Pem => None,
            // What is no bundle, or holds none of our authorities, was put there by somebody else: a number alone proves nothing.
            Self::Spiffe => Bundle::parse(ours.trust_domain.clone(), found).ok().filter(|there| is_akin(there, ours)),
        };
        match there.filter(|there| there.sequence > ours.sequence) {
            Some(there) => Err(PublishError::Newer { there: there.sequence, ours: ours.sequence }),
            None => Ok(()),
        }
    }

    /// As `Content-Type` says it (RFC 8555 §9.1; SPIFFE Trust Domain and Bundle §4).
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Pem => "application/pem-certificate-chain",
            Self::Spiffe => "application/json",
        }
    }
}

/// Whether two bundles have a key in common. Keys change one after another, so those of two servers of one trust domain do.
fn is_akin(there: &Bundle, ours: &Bundle) -> bool {
    let has_root = there.x509_authorities.iter().any(|root| ours.x509_authorities.contains(root));
    has_root || there.jwt_authorities.iter().any(|key| ours.jwt_authorities.contains(key))
}
