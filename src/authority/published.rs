//! The bundle we publish, rendered once in every form that is asked for.

use super::Keyring;
use crate::bundle::Bundle;
use crate::crypto::Digest;
use bytes::Bytes;
use std::time::Duration;

/// A bundle and its renderings.
#[derive(Clone, Debug)]
pub struct Published {
    /// The bundle.
    pub bundle: Bundle,
    /// The SPIFFE bundle document.
    pub json: Bytes,
    /// The X.509 authorities, PEM.
    pub pem: String,
    /// Names this state of the bundle, for conditional requests.
    pub etag: String,
}

impl Published {
    pub(super) fn of(keyring: &Keyring, refresh_hint: Duration) -> Self {
        let bundle = keyring.bundle(refresh_hint);
        let json = Bytes::from(bundle.to_json());
        let etag = format!("\"{}\"", Digest::of(&json));
        Self { pem: bundle.to_pem(), etag, json, bundle }
    }
}
