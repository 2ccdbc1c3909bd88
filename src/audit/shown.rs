//! A foreign bundle as an entry tells it: enough to know later which roots were trusted when.

use crate::bundle::Bundle;
use crate::crypto::Digest;
use serde::Serialize;

/// See the file's words.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Shown {
    /// SHA-256 of its SPIFFE document.
    digest: Digest,
    /// Its own.
    sequence: u64,
    /// SHA-256 of each X.509 authority's certificate.
    x509_authorities: Vec<Digest>,
    /// The `kid` of each JWT authority.
    jwt_authorities: Vec<String>,
}

impl Shown {
    /// Of a bundle and its document.
    pub fn of(bundle: &Bundle, json: &[u8]) -> Self {
        Self {
            digest: Digest::of(json),
            sequence: bundle.sequence,
            x509_authorities: bundle.x509_authorities.iter().map(|der| Digest::of(der)).collect(),
            jwt_authorities: bundle.jwt_authorities.iter().map(|authority| authority.kid.clone()).collect(),
        }
    }
}
