//! Is this OIDC token genuine, and what does it say?
//!
//! ```text
//!   text ─▶ parse ─▶ UnverifiedToken ─▶ verify (keys, expectations, now) ─▶ VerifiedClaims
//!             └─ providers: what each claim must look like, a table
//! ```
//! Everything here is a function of its arguments: no clock, no network, no store. Where keys come from is
//! `discovery`; whether a token was used before is `session`; what its bearer may be is `policy`.

mod claim_map;
mod claims;
mod error;
mod providers;
mod issuer_kind;
mod actor;
mod forms;
mod payload;
mod header;
mod parse;
mod keys;
mod verify;
mod operator;
mod sample;
mod issuers;
mod other;
mod project_path;

pub use actor::{ACTOR_KINDS, PERSON, SERVICE_ACCOUNT, actor_kinds, kind_of_login};
pub use claim_map::ClaimMap;
pub(crate) use claims::more_by_kind;
pub use claims::{ClaimValue, ClaimView, Claims, ExternalIdentity, IssuerName, TokenSeen, VerifiedClaims};
pub use error::{TokenError, id_tokens};
pub use issuer_kind::IssuerKind;
pub use issuers::{Issuer, Issuers, KeySource, OnReplay, Pins};
pub use keys::{JwksError, KeySet};
pub use operator::OperatorToken;
pub use parse::{TokenAlgorithm, UnverifiedToken};
pub use project_path::is_under;
pub use providers::{ClaimKind, KNOWN_CLAIMS, claim_kind};
pub use verify::Expectations;

#[cfg(test)]
pub(crate) mod tests;
