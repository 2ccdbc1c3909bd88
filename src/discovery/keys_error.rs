//! Why an issuer's keys are not to be had.

use super::{FetchError, TokenFileError};
use crate::identity::TrustDomain;
use crate::telemetry::rfc3339;
use crate::token::{IssuerName, JwksError};
use std::sync::Arc;
use time::OffsetDateTime;

/// Why an issuer's keys are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Too many wait for this issuer's keys already.
    #[error("too many requests wait for the keys of issuer {issuer}")]
    Crowded {
        /// The issuer.
        issuer: IssuerName,
    },
    /// The last fetch is older than the question, and too young for another one: the key may be new.
    #[error("the keys of issuer {issuer} were fetched a moment ago and lack {kid:?}; try again in {seconds} s")]
    JustFetched {
        /// The issuer.
        issuer: IssuerName,
        /// The name, from the token.
        kid: String,
        /// When the next fetch may start, from now.
        seconds: u64,
    },
    /// The issuer has keys, and none of this name, by a fetch that was made for this question.
    #[error("issuer {issuer} has no usable key {kid:?}")]
    KeyUnknown {
        /// The issuer.
        issuer: IssuerName,
        /// The name, from the token.
        kid: String,
    },
    /// The issuer is down for longer than its last good keys may be used.
    #[error("the keys of issuer {issuer} are of {} and too old to be used", rfc3339(*fetched_at))]
    LastGoodTooOld {
        /// The issuer.
        issuer: IssuerName,
        /// When the last good keys came.
        fetched_at: OffsetDateTime,
        /// What stands in the way of new ones.
        #[source]
        source: Arc<KeysError>,
    },
    /// No keys yet.
    #[error("the keys of issuer {issuer} could not be fetched")]
    Unavailable {
        /// The issuer.
        issuer: IssuerName,
        /// Why.
        #[source]
        source: Arc<KeysError>,
    },
}

impl DiscoveryError {
    /// The stable code that scripts may rely on.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Crowded { .. } => "too_many_requests",
            Self::JustFetched { .. } => "issuer_keys_just_fetched",
            Self::KeyUnknown { .. } => "token_key_unknown",
            Self::LastGoodTooOld { .. } | Self::Unavailable { .. } => "issuer_unavailable",
        }
    }

    /// Whether it may be better soon (503), rather than the token's fault (401).
    pub const fn is_unavailable(&self) -> bool {
        !matches!(self, Self::KeyUnknown { .. })
    }
}

/// Why a fetch brought no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The document is no discovery document.
    #[error("{url} is no discovery document with issuer and jwks_uri")]
    Document {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A document was not got.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// A fetch is under way, or broke down, and the next may come only after the window.
    #[error("a fetch did not end; the next one may start 30 s after it")]
    NotEnded,
    /// The document is another issuer's (`OpenID` Connect Discovery 1.0 §4.3).
    #[error(
        "{url} says that its issuer is {found:?}, not {wanted:?}; correct the issuer's url, or name discovery_url too if the two differ on purpose"
    )]
    IssuerDiffers {
        /// Where.
        url: String,
        /// As the document says.
        found: String,
        /// As configured.
        wanted: String,
    },
    /// The key set is none.
    #[error("{url}")]
    Jwks {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: JwksError,
    },
    /// The key set is at no safe place.
    #[error("jwks_uri {uri:?} is not https")]
    JwksUri {
        /// As the document says.
        uri: String,
    },
    /// No bundle of that trust domain is held.
    #[error("no bundle of {0} is held; name its source in a [[federation]], or bring one with `lanyard bundle set`")]
    NotHeld(TrustDomain),
    /// A bundle that is held, and was not seen for too long.
    #[error(
        "the bundle of {trust_domain} was not seen at its source since {}, and its keys are believed for 24 h after; \
         `lanyard bundle list` says why", rfc3339(*since)
    )]
    NotSeen {
        /// Whose.
        trust_domain: TrustDomain,
        /// Since when.
        since: OffsetDateTime,
    },
    /// What should let us in cannot be read.
    #[error(transparent)]
    Token(#[from] TokenFileError),
    /// The issuer is not one of those that the server was started with.
    #[error("the issuer is not configured here")]
    NotConfigured,
}
