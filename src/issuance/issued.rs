//! Signed bytes, read back and equal to their draft: the only thing a door can send.

use crate::authority::{Draft, LimitedBy, Signed, SignedBytes};
use crate::crypto::Digest;
use crate::identity::{SpiffeId, TrustDomain};
use crate::svid::{InspectError, inspect_certificate, inspect_jwt};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;

/// What was signed is not what was meant.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// A field differs from the draft.
    #[error("{field} differs from the draft")]
    Differs {
        /// Which.
        field: &'static str,
    },
    /// The bytes are no SVID.
    #[error("the signed bytes are no SVID")]
    Inspect(#[from] InspectError),
}

/// A credential to hand out.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Leaf first, then the intermediate.
    X509(Vec<CertificateDer<'static>>),
    /// Compact serialisation.
    Jwt(String),
}

/// An SVID that was recorded, signed, and read back.
///
/// Signed bytes become one by being read back, and in no other way:
/// ```compile_fail,E0624
/// fn hand_out(signed: lanyard::authority::Signed) -> lanyard::issuance::IssuedSvid {
///     lanyard::issuance::IssuedSvid::inspect(signed).unwrap()
/// }
/// ```
#[derive(Debug)]
pub struct IssuedSvid {
    draft: Draft,
    credential: Credential,
    digest: Digest,
}

impl IssuedSvid {
    /// Reads the signed bytes back and compares them with their draft: identity, key, serial, dates, audience.
    #[tracing::instrument(level = "trace", name = "read back", skip_all)]
    pub(super) fn inspect(signed: Signed) -> Result<Self, ReadBackError> {
        let Signed { draft, bytes } = signed;
        match bytes {
            SignedBytes::X509(chain) => {
                let leaf = chain.first().ok_or(ReadBackError::Differs { field: "chain" })?;
                draft.equals_certificate(&inspect_certificate(leaf)?).map_err(differs)?;
                let digest = Digest::of(leaf);
                Ok(Self { draft, credential: Credential::X509(chain), digest })
            }
            SignedBytes::Jwt(jwt) => {
                draft.equals_jwt(&inspect_jwt(&jwt)?).map_err(differs)?;
                let digest = Digest::of(jwt.as_bytes());
                Ok(Self { draft, credential: Credential::Jwt(jwt), digest })
            }
        }
    }

    /// The credential.
    pub const fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Names it in the journal.
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The request that it answers.
    pub fn request_id(&self) -> &str {
        &self.draft.asked().request_id
    }

    /// The session that it belongs to.
    pub fn session(&self) -> Option<&str> {
        self.draft.asked().session.as_deref()
    }

    /// Until when the session lives.
    pub const fn session_ends_at(&self) -> OffsetDateTime {
        self.draft.asked().session_ends_at
    }

    /// The identity.
    pub const fn spiffe_id(&self) -> &SpiffeId {
        self.draft.spiffe_id()
    }

    /// When it begins.
    pub const fn not_before(&self) -> OffsetDateTime {
        self.draft.not_before()
    }

    /// When it ends.
    pub const fn not_after(&self) -> OffsetDateTime {
        self.draft.not_after()
    }

    /// What ends it.
    pub const fn limited_by(&self) -> LimitedBy {
        self.draft.limited_by()
    }

    /// Of which other trust domains the bearer gets the bundles.
    pub fn federates_with(&self) -> &[TrustDomain] {
        self.draft.grant().federates_with()
    }

    /// The rule that granted it.
    pub fn rule(&self) -> &str {
        self.draft.grant().rule()
    }

    /// Which of the rule's SVIDs it is.
    pub fn profile(&self) -> Option<&str> {
        self.draft.grant().profile()
    }

    /// Every profile of the rule.
    pub fn profiles(&self) -> Vec<String> {
        self.draft.grant().profiles()
    }
}

const fn differs(field: &'static str) -> ReadBackError {
    ReadBackError::Differs { field }
}
