//! The bundle we publish, rendered once in every form that is asked for.

use super::Keyring;
use crate::bundle::{Bundle, IssuerUrl};
use crate::crypto::Digest;
use bytes::Bytes;
use std::sync::OnceLock;
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
    issuer_documents: OnceLock<IssuerDocuments>,
}

/// What readers of OIDC verify our JWT-SVIDs with.
#[derive(Clone, Debug)]
pub struct IssuerDocuments {
    /// `/.well-known/openid-configuration`.
    pub configuration: Document,
    /// `/keys`.
    pub keys: Document,
}

/// A document, and what names its state.
#[derive(Clone, Debug)]
pub struct Document {
    /// As it is sent.
    pub body: Bytes,
    /// For conditional requests.
    pub etag: String,
}

impl Published {
    pub(super) fn of(keyring: &Keyring, refresh_hint: Duration) -> Self {
        let bundle = keyring.bundle(refresh_hint);
        let Document { body: json, etag } = bundle.to_json().into();
        Self { pem: bundle.to_pem(), etag, json, bundle, issuer_documents: OnceLock::new() }
    }

    /// The documents below the URL that our JWT-SVIDs name, which is one for as long as we run: made when they are first
    /// asked for.
    pub fn issuer_documents(&self, issuer: &IssuerUrl) -> &IssuerDocuments {
        self.issuer_documents.get_or_init(|| {
            let made = self.bundle.discovery(issuer);
            IssuerDocuments { configuration: made.configuration.into(), keys: made.keys.into() }
        })
    }
}

impl From<Vec<u8>> for Document {
    fn from(body: Vec<u8>) -> Self {
        Self { etag: format!("\"{}\"", Digest::of(&body)), body: body.into() }
    }
}
