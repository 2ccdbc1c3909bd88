//! Every way a token can be wrong.

use crate::telemetry::rfc3339;
use time::OffsetDateTime;

/// Why a token is not taken. Messages never repeat the token; names and values from it are quoted and short.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TokenError {
    /// `alg` is not one that the issuer's configuration allows, or not the key's own (RFC 8725 §3.1).
    #[error("the token is signed with {alg:?}, which is not configured for this issuer and key")]
    AlgorithmRefused {
        /// As the header says it.
        alg: String,
    },
    /// `aud` is a list, so others hold a copy of the right to use it.
    #[error("the token has several audiences; give the job one of its own, in .gitlab-ci.yml: {}", id_tokens(wanted))]
    AudienceShared {
        /// Ours.
        wanted: String,
    },
    /// `aud` is somebody else's.
    #[error(
        "the token's audience is {found:?}, not {wanted:?}; put into the job in .gitlab-ci.yml: {}",
        id_tokens(wanted)
    )]
    AudienceWrong {
        /// The token's, cut at 200 characters.
        found: String,
        /// Ours.
        wanted: String,
    },
    /// Two claims that GitLab never writes side by side.
    #[error("claim {name} does not agree with {other}")]
    ClaimContradicts {
        /// One claim.
        name: &'static str,
        /// The other.
        other: &'static str,
    },
    /// Not a CI job's token, or one of another issuer's making.
    #[error("claim {name} is missing; only a CI job's id_token is taken")]
    ClaimMissing {
        /// Which.
        name: &'static str,
    },
    /// A claim of the wrong type or form.
    #[error("claim {name} is not {wanted}")]
    ClaimShape {
        /// Which.
        name: &'static str,
        /// The form that GitLab gives it.
        wanted: &'static str,
    },
    /// `crit` (RFC 7515 §4.1.11): it demands extensions, and we know none.
    #[error("the token's header has crit, and no extension is known here")]
    CriticalHeader,
    /// Two members of one name: parsers disagree about which one wins.
    #[error("the token names {name:?} twice")]
    DuplicateMember {
        /// Which, cut at 200 characters.
        name: String,
    },
    /// `exp` is past.
    #[error("the token expired at {}", rfc3339(*at))]
    Expired {
        /// `exp`.
        at: OffsetDateTime,
    },
    /// `iat` is to come.
    #[error("the token says it was issued at {}, which is still to come; one of the two clocks is wrong", rfc3339(*at))]
    IssuedInFuture {
        /// `iat`.
        at: OffsetDateTime,
    },
    /// `iss` is another than the expected one; issuers are compared as strings.
    #[error("the token's issuer is {found:?}, not {wanted:?}")]
    IssuerWrong {
        /// The token's, cut at 200 characters.
        found: String,
        /// As configured.
        wanted: String,
    },
    /// No key of this name in the issuer's set.
    #[error("the issuer has no usable key {kid:?}")]
    KeyUnknown {
        /// As the header says it.
        kid: String,
    },
    /// `exp` is farther from `iat` than any job may run.
    #[error(
        "the token would live until {}, longer than any job runs; it is no CI job's, or GitLab's clock jumped", rfc3339(*at)
    )]
    LivesTooLong {
        /// `exp`.
        at: OffsetDateTime,
    },
    /// Not three parts of strict base64url around JSON objects.
    #[error("not a signed token: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// `nbf` is to come.
    #[error("the token is not valid before {}", rfc3339(*at))]
    NotYetValid {
        /// `nbf`.
        at: OffsetDateTime,
    },
    /// The signature is not the named key's over these bytes.
    #[error("the token's signature does not verify")]
    Signature,
    /// What a trust domain says of a workload, signed by an issuer that is none.
    #[error("claim sub is a SPIFFE ID, and JWT-SVIDs are taken of issuers of kind \"spiffe\" alone")]
    Svid,
    /// Genuine, and of a namespace that is not ours.
    #[error(
        "the token is of namespace {namespace:?}, which is not among this issuer's; add it to namespaces if it is yours"
    )]
    Stranger {
        /// The first segment of `project_path`, cut at 200 characters.
        namespace: String,
    },
    /// Over the size limit; nothing was decoded.
    #[error("the token has {bytes} bytes; at most {max} are taken")]
    TooLarge {
        /// The token's size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// First used too long after it was issued.
    #[error("the token was issued at {} and must be used within {max_seconds} s of that", rfc3339(*issued_at))]
    TooOld {
        /// `iat`.
        issued_at: OffsetDateTime,
        /// The issuer's `max_token_age`.
        max_seconds: u64,
    },
}

impl TokenError {
    /// The stable code that scripts may rely on.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AlgorithmRefused { .. } => "token_algorithm_refused",
            Self::AudienceShared { .. } => "token_audience_shared",
            Self::AudienceWrong { .. } => "token_audience_wrong",
            Self::ClaimContradicts { .. } => "token_claims_contradict",
            Self::ClaimMissing { .. } => "token_claim_missing",
            Self::ClaimShape { .. } => "token_claim_malformed",
            Self::CriticalHeader | Self::DuplicateMember { .. } | Self::Malformed { .. } => "token_malformed",
            Self::Expired { .. } => "token_expired",
            Self::IssuedInFuture { .. } | Self::NotYetValid { .. } => "token_not_yet_valid",
            Self::IssuerWrong { .. } => "token_issuer_wrong",
            Self::KeyUnknown { .. } => "token_key_unknown",
            Self::LivesTooLong { .. } => "token_lives_too_long",
            Self::Signature => "token_signature_wrong",
            Self::Stranger { .. } => "namespace_not_listed",
            Self::Svid => "token_is_svid",
            Self::TooLarge { .. } => "token_too_large",
            Self::TooOld { .. } => "token_too_old",
        }
    }

    /// Whether the bytes were no readable token at all (400), rather than one that is not genuine (401).
    pub const fn is_malformed(&self) -> bool {
        matches!(self, Self::CriticalHeader | Self::DuplicateMember { .. } | Self::Malformed { .. })
    }
}

/// The line for a job in `.gitlab-ci.yml` that gives it a token for an audience.
pub fn id_tokens(audience: &str) -> String {
    format!("id_tokens: {{ LANYARD_ID_TOKEN: {{ aud: {audience:?} }} }}")
}
