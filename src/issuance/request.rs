//! What a caller asks for, and how it says who it is.

use crate::crypto::{KeyAlgorithm, PublicKey, Random};
use crate::policy::Wish;
use crate::session::SessionId;
use crate::svid::{CsrError, ProvenKey};
use crate::telemetry::Door;
use std::fmt;

/// Names a request in answers, logs and the journal: 16 random bytes, hex.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId(String);

impl RequestId {
    /// A new one.
    pub fn random(random: &Random) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(random.bytes())))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether what an operator typed means this request: its whole name, or its beginning as a terminal shows it.
    pub fn is_meant(typed: &str, request_id: &str) -> bool {
        typed == request_id || (Self::can_be_meant(typed) && request_id.starts_with(typed))
    }

    /// Whether so much was typed that it can mean a request.
    pub const fn can_be_meant(typed: &str) -> bool {
        typed.len() >= 8
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// By what right something is asked.
#[derive(Clone, Eq, PartialEq)]
pub enum Bearer {
    /// A CI token, compact serialisation; nothing about it is believed yet.
    Token(String),
    /// A session that the connection's key opened before.
    Session(SessionId),
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token(…)"),
            Self::Session(id) => write!(f, "Session({id})"),
        }
    }
}

/// A certificate request as it came.
#[derive(Clone, Debug)]
pub enum Csr {
    /// PKCS#10, DER.
    Der(bytes::Bytes),
    /// PKCS#10, PEM.
    Pem(String),
}

/// What is wanted.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// An X.509-SVID for the key of a request.
    X509 {
        /// The request.
        csr: Csr,
        /// Which of the rule's SVIDs; none means the first.
        profile: Option<String>,
    },
    /// A JWT-SVID.
    Jwt {
        /// For whom it is.
        audiences: Vec<String>,
        /// Which of the rule's SVIDs; none means the first.
        profile: Option<String>,
    },
}

/// One request, from any door.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// Which door it came through.
    pub door: Door,
    /// By what right.
    pub bearer: Bearer,
    /// What.
    pub wanted: Wanted,
    /// The key of the connection's client certificate, possession proven by the handshake.
    pub connection: Option<PublicKey>,
}

impl Request {
    /// Whether it comes with a key of any kind, as all do but those for a JWT-SVID without a client certificate.
    pub(super) const fn has_key(&self) -> bool {
        self.connection.is_some() || matches!(self.wanted, Wanted::X509 { .. })
    }

    /// The key to certify, proven; none for a JWT-SVID.
    pub(super) fn proven_key(&self, kinds: &[KeyAlgorithm]) -> Result<Option<ProvenKey>, CsrError> {
        match &self.wanted {
            Wanted::X509 { csr: Csr::Der(der), .. } => ProvenKey::of_der_among(der, kinds).map(Some),
            Wanted::X509 { csr: Csr::Pem(pem), .. } => ProvenKey::of_pem_among(pem, kinds).map(Some),
            Wanted::Jwt { .. } => Ok(None),
        }
    }

    /// What policy is asked for.
    pub(super) fn wish(&self, has_key: bool) -> Wish {
        match &self.wanted {
            Wanted::X509 { profile, .. } => Wish::X509 { profile: profile.clone() },
            Wanted::Jwt { audiences, profile } => {
                Wish::Jwt { profile: profile.clone(), audiences: audiences.clone(), has_key }
            }
        }
    }
}
