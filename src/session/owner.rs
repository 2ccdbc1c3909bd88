//! Whose session it is: the key of the mTLS connection, else the certificate request's own.

use crate::crypto::{KeyAlgorithm, KeyId, PublicKey};
use crate::svid::ProvenKey;
use serde::{Deserialize, Serialize};

/// How the session key was proven.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// By the TLS handshake: the session can be renewed.
    Connection,
    /// By the certificate request's signature: the session ends with its first SVID.
    Request,
}

/// A session key that its holder proved to hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionKey {
    id: KeyId,
    proof: Proof,
}

/// Why a key cannot own a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OwnerError {
    /// The request is for the connection's own key.
    #[error("the request is for the session key itself; make another key for the SVID")]
    CsrIsSessionKey,
    /// The connection's key is of another kind.
    #[error("the client certificate's key is not ECDSA P-256")]
    KeyKind,
}

impl SessionKey {
    /// The owner of what is asked: the connection's key and another than the request's, or, without a client
    /// certificate, the request's own. None when neither is there.
    ///
    /// # Errors
    /// See [`OwnerError`].
    pub fn of(connection: Option<&PublicKey>, request: Option<&ProvenKey>) -> Result<Option<Self>, OwnerError> {
        let Some(connection) = connection else {
            return Ok(request.map(|proven| Self { id: proven.key().id(), proof: Proof::Request }));
        };
        if connection.algorithm() != KeyAlgorithm::EcP256 {
            return Err(OwnerError::KeyKind);
        }
        if request.is_some_and(|proven| proven.key().id() == connection.id()) {
            return Err(OwnerError::CsrIsSessionKey);
        }
        Ok(Some(Self { id: connection.id(), proof: Proof::Connection }))
    }

    /// The key's name.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// How it was proven.
    pub const fn proof(&self) -> Proof {
        self.proof
    }
}
