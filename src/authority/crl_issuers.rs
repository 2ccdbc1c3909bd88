//! The authorities of a keyring, made ready to sign their revocation lists.

use super::{Authority, AuthorityKind, AuthorityState, Keyring};
use crate::crypto::KeyPair;
use crate::svid::{Serial, inspect_authority};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// An authority whose certificates consumers may meet: a root, or an intermediate whose leaves may live.
#[derive(Debug)]
pub(super) struct CrlIssuer {
    /// As drafts name their signer.
    pub(super) name: Arc<str>,
    pub(super) key_identifier: Vec<u8>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: Arc<KeyPair>,
    /// The intermediates that it has signed and that are not to be believed any more.
    pub(super) taken_back: Vec<Serial>,
}

/// All of a keyring; none if one of them has no certificate that can be read.
pub(super) fn crl_issuers(keyring: &Keyring) -> Option<Vec<CrlIssuer>> {
    let kinds = [AuthorityKind::X509Root, AuthorityKind::X509Intermediate];
    let of_kind = kinds.into_iter().flat_map(|kind| keyring.of_kind(kind));
    of_kind.filter(|one| one.state != AuthorityState::Removed).map(|authority| issuer(keyring, authority)).collect()
}

fn issuer(keyring: &Keyring, authority: &Authority) -> Option<CrlIssuer> {
    let certificate = authority.certificate.clone()?;
    let key_identifier = inspect_authority(&certificate).ok()?.key_identifier?;
    let tainted = keyring.of_kind(AuthorityKind::X509Intermediate);
    let tainted = tainted.filter(|other| other.state == AuthorityState::Tainted).filter_map(|other| {
        let facts = inspect_authority(other.certificate.as_ref()?).ok()?;
        (facts.issuer_key_identifier.as_ref() == Some(&key_identifier)).then_some(facts.serial?)
    });
    Some(CrlIssuer {
        name: authority.key_id().to_string().into(),
        taken_back: tainted.collect(),
        key_identifier,
        certificate,
        key: Arc::clone(&authority.key),
    })
}
