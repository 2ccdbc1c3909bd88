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
            // What is no bundle was put there by somebody else.
            Self::Spiffe => Bundle::parse(ours.trust_domain.clone(), found).ok().map(|bundle| bundle.sequence),
        };
        match there.filter(|there| *there > ours.sequence) {
            Some(there) => Err(PublishError::Newer { there, ours: ours.sequence }),
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
