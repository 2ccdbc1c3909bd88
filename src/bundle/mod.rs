//! What others need to trust us: the SPIFFE trust bundle, in and out.
//!
//! ```text
//!   strict_json ─▶ jwk: one public key as JSON ─▶ document: a trust domain's keys
//! ```

mod strict_json;
mod jwk;
mod document;

pub use document::{Bundle, BundleError, JwtAuthority};
pub use jwk::Jwk;
pub use strict_json::{StrictJson, StrictJsonError};
