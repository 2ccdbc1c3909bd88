//! What others need to trust us: the SPIFFE trust bundle, in and out.
//!
//! ```text
//!   strict_json ─▶ jwk: one public key as JSON ─▶ document: a trust domain's keys ─▶ map: several domains'
//!                                               foreign: what another domain's operator hands over
//!                                               endpoint_url: where a document can be had
//!                                               issuer_url, discovery: JWT keys for readers of OIDC
//! ```

mod strict_json;
mod jwk;
mod authority;
mod entry;
mod document;
mod map;
mod foreign;
mod of_another;
mod shared_key;
mod endpoint_url;
mod issuer_url;
mod discovery;

pub use authority::NotAnAuthority;
pub use discovery::Discovery;
pub use document::{Bundle, BundleError, JwtAuthority};
pub use endpoint_url::{EndpointUrl, EndpointUrlError};
pub use entry::{OddEntry, Oddity};
pub use foreign::ForeignBundleError;
pub use issuer_url::{IssuerUrl, IssuerUrlError};
pub use jwk::Jwk;
pub use map::{BundleMap, BundleMapError};
pub use strict_json::{StrictJson, StrictJsonError};
