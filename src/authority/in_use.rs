//! The signing keys of a keyring, made ready: an intermediate for certificates, a key for tokens.

use super::{Authority, AuthorityKind, Keyring};
use crate::bundle::JwtAuthority;
use crate::crypto::{JwsAlgorithm, KeyId, KeyPair};
use crate::svid::LeafSigner;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use time::OffsetDateTime;

/// The intermediate in use.
#[derive(Debug)]
pub(super) struct X509Signer {
    pub(super) key_id: KeyId,
    /// The key id's text.
    pub(super) name: Arc<str>,
    pub(super) leaves: LeafSigner,
    /// What is shown with each leaf: the intermediate, and what stands between it and the root.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

/// The JWT keys in use.
#[derive(Debug)]
pub(super) struct JwtSigners {
    es256: Arc<JwtSigner>,
    /// None where nobody wants it, or it is not with everybody yet.
    rs256: Option<Arc<JwtSigner>>,
}

/// A JWT key in use.
#[derive(Debug)]
pub(super) struct JwtSigner {
    pub(super) kid: Arc<str>,
    pub(super) key: Arc<KeyPair>,
    pub(super) not_after: OffsetDateTime,
}

impl JwtSigners {
    /// The name of the one that every consumer takes unless it says otherwise.
    pub(super) fn usual(&self) -> &Arc<str> {
        &self.es256.kid
    }

    /// The one that signs by this.
    pub(super) fn by(&self, algorithm: JwsAlgorithm) -> Option<&Arc<JwtSigner>> {
        let signs = |signer: &&Arc<JwtSigner>| signer.key.public().algorithm().jws_algorithm() == Some(algorithm);
        [&self.es256].into_iter().chain(&self.rs256).find(signs)
    }
}

impl JwtSigner {
    fn of(authority: &Authority) -> Option<Arc<Self>> {
        let (key, not_after) = (Arc::clone(authority.held_key()?), authority.not_after);
        Some(Arc::new(Self { kid: JwtAuthority::new(key.public().clone()).kid.into(), key, not_after }))
    }
}

/// The active keys; none if a kind that must have one has no active key, or its certificate does not fit.
pub(super) fn signers(keyring: &Keyring) -> Option<(X509Signer, JwtSigners)> {
    let x509 = keyring.active(AuthorityKind::X509Intermediate)?;
    let es256 = JwtSigner::of(keyring.active(AuthorityKind::Jwt)?)?;
    let rs256 = keyring.active(AuthorityKind::JwtRs256).and_then(JwtSigner::of);
    let certificate = x509.certificate.clone()?;
    let x509 = X509Signer {
        key_id: x509.key_id(),
        name: x509.key_id().to_string().into(),
        leaves: LeafSigner::new(&certificate, Arc::clone(x509.held_key()?)).ok()?,
        chain: [certificate].into_iter().chain(x509.above.iter().cloned()).collect(),
        not_before: x509.not_before,
        not_after: x509.not_after,
    };
    Some((x509, JwtSigners { es256, rs256 }))
}
