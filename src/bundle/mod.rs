//! What others need to trust us: the SPIFFE trust bundle, in and out.
//!
//! ```text
//!   strict_json ─▶ jwk: one public key as JSON ─▶ document: a trust domain's keys ─▶ map: several domains'
//!                                               endpoint_url: where a document can be had
//! ```

mod strict_json;
mod jwk;
mod document;
mod map;
mod endpoint_url;

pub use document::{Bundle, BundleError, JwtAuthority};
pub use endpoint_url::{EndpointUrl, EndpointUrlError};
pub use jwk::Jwk;
pub use map::{BundleMap, BundleMapError};
pub use strict_json::{StrictJson, StrictJsonError};
