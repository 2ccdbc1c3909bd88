//! Whose key stands behind a connection.

use crate::crypto::{KeyAlgorithm, PublicKey};
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;

/// The key that a connection's client proved to hold in the handshake.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PeerKey {
    /// The client sent no certificate.
    Absent,
    /// ECDSA P-256: may own sessions.
    Session(PublicKey),
    /// Proven too, but of a kind that owns no sessions. Kept apart from `Absent`, so that its holder is told
    /// and not taken for somebody without a key.
    Unfit(NotASessionKey),
}

/// A client's key is of a kind that owns no sessions.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the client certificate's key is {kind}, a session key is ECDSA P-256")]
pub struct NotASessionKey {
    kind: &'static str,
}

impl PeerKey {
    /// The session key, or none if the client showed no certificate.
    ///
    /// # Errors
    /// When the client's key is of another kind.
    pub const fn session_key(&self) -> Result<Option<&PublicKey>, NotASessionKey> {
        match self {
            Self::Absent => Ok(None),
            Self::Session(key) => Ok(Some(key)),
            Self::Unfit(kind) => Err(*kind),
        }
    }

    /// Reads the key with the same parser that verified the handshake's signature, so that the two cannot differ.
    pub(super) fn of_handshake(certificates: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(certificate) = certificates.and_then(<[_]>::first) else { return Self::Absent };
        let Ok(parsed) = ParsedCertificate::try_from(certificate) else {
            return Self::Unfit(NotASessionKey { kind: "unreadable" });
        };
        let kind = match PublicKey::from_spki_der(parsed.subject_public_key_info().as_ref()) {
            Ok(key) => match key.algorithm() {
                KeyAlgorithm::EcP256 => return Self::Session(key),
                KeyAlgorithm::EcP384 => "ECDSA P-384",
                KeyAlgorithm::EcP521 => "ECDSA P-521",
                KeyAlgorithm::Ed25519 => "Ed25519",
                KeyAlgorithm::Rsa => "RSA",
            },
            Err(_unknown) => "of a kind we do not know",
        };
        Self::Unfit(NotASessionKey { kind })
    }
}
