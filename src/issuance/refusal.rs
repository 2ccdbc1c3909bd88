//! Every way to say no. The closed list; `api/status.rs` gives each its status and public words.

use super::issued::ReadBackError;
use crate::authority::{DraftError, SignError};
use crate::discovery::DiscoveryError;
use crate::people::PeopleError;
use crate::policy::Denial;
use crate::session::{OwnerError, PinError, SessionError};
use crate::store::StoreError;
use crate::svid::CsrError;
use crate::token::TokenError;

/// Why no SVID was issued.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The certificate request proves no key.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// Policy says no.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// The issuer's keys are not to be had.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// There is nothing to draft.
    #[error(transparent)]
    Draft(#[from] DraftError),
    /// The key cannot own a session.
    #[error(transparent)]
    Owner(#[from] OwnerError),
    /// What was signed is not what was meant; it was not handed out.
    #[error("what was signed is not what was recorded")]
    ReadBack(#[from] ReadBackError),
    /// How the bearer is to be written down cannot be kept, so nothing is.
    #[error(transparent)]
    People(#[from] PeopleError),
    /// The session says no.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A session is renewed over a connection with its key, and this one has none.
    #[error("this call needs a client certificate with the session key")]
    SessionKeyMissing,
    /// The key could not be used.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Nothing could be recorded, so nothing was signed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token is not genuine.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Too many requests wait for their turn.
    #[error("too many requests are waiting")]
    TooMany,
    /// The token names an issuer that is not configured.
    #[error("the token's issuer {issuer:?} is not configured here")]
    UnknownIssuer {
        /// The `iss`, cut for the log.
        issuer: String,
    },
}

impl From<PinError> for Refusal {
    fn from(error: PinError) -> Self {
        Self::Session(error.into())
    }
}

impl Refusal {
    /// The rule of the policy that spoke, if one did.
    pub fn rule(&self) -> Option<&str> {
        if let Self::Denied(denial) = self { denial.rule() } else { None }
    }

    /// The stable code that scripts rely on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Csr(error) => match error {
                CsrError::Key(_) | CsrError::KeyKind(_) => "csr_key_kind",
                CsrError::Malformed => "csr_malformed",
                CsrError::NotProven(_) | CsrError::SignatureAlgorithm(_) => "csr_not_proven",
                CsrError::TooLarge { .. } => "csr_too_large",
            },
            Self::Denied(denial) => denial.code(),
            Self::Discovery(error) => error.code(),
            Self::Draft(DraftError::NoKey) => "csr_missing",
            Self::Draft(DraftError::NoSigner { .. }) => "no_signer_yet",
            Self::Draft(DraftError::NotTaken(_)) => "consumer_would_not_take",
            Self::Draft(DraftError::NoTimeLeft { .. }) => "no_time_left",
            Self::Owner(OwnerError::CsrIsSessionKey) => "csr_is_session_key",
            Self::Owner(OwnerError::KeyKind) => "session_key_kind",
            Self::ReadBack(_) | Self::Sign(_) => "not_signed",
            Self::Session(error) => session_code(error),
            Self::SessionKeyMissing => "session_key_missing",
            Self::People(_) | Self::Store(_) => "store_unavailable",
            Self::Token(error) => error.code(),
            Self::TooMany => "too_many_requests",
            Self::UnknownIssuer { .. } => "issuer_unknown",
        }
    }
}

const fn session_code(error: &SessionError) -> &'static str {
    match error {
        SessionError::Banned { .. } => "banned",
        SessionError::Ended => "session_ended",
        SessionError::IdentityChanged { .. } => "identity_changed",
        SessionError::NotOwner => "session_not_yours",
        SessionError::NotRenewable => "session_not_renewable",
        SessionError::Pin(PinError::NotPinned(_)) => "project_path_not_pinned",
        SessionError::Pin(PinError::Reused { .. }) => "project_path_reused",
        SessionError::Pin(PinError::Store(_)) | SessionError::Store(_) => "store_unavailable",
        SessionError::Replayed => "token_replayed",
        SessionError::Restored => "server_restored",
        SessionError::TooManySvids => "too_many_svids",
        SessionError::Unknown => "session_unknown",
    }
}
