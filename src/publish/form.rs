//! In which form a bundle is written.

use crate::authority::Published;
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

    /// As `Content-Type` says it (RFC 8555 §9.1; SPIFFE Trust Domain and Bundle §4).
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Pem => "application/pem-certificate-chain",
            Self::Spiffe => "application/json",
        }
    }
}
