//! The authorities of a keyring, made ready to sign their revocation lists.

use super::{Authority, AuthorityKind, AuthorityState, Keyring};
use crate::custody::AuthorityKey;
use crate::svid::{Serial, inspect_authority};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use time::OffsetDateTime;

/// An authority whose certificates consumers may meet: a root, or an intermediate whose leaves may live.
#[derive(Debug)]
pub(super) struct CrlIssuer {
    /// As drafts name their signer.
    pub(super) name: Arc<str>,
    pub(super) key_identifier: Vec<u8>,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) key: AuthorityKey,
    /// The intermediates that it has signed and that are not to be believed any more.
    pub(super) taken_back: Vec<TakenBack>,
}

/// An intermediate that is tainted.
#[derive(Debug)]
pub(super) struct TakenBack {
    /// As drafts name it.
    pub(super) name: Arc<str>,
    pub(super) serial: Serial,
    pub(super) since: OffsetDateTime,
}

/// All of a keyring; none if one of them has no certificate that can be read, or signs elsewhere: half a set is none.
pub(super) fn crl_issuers(keyring: &Keyring) -> Option<Vec<CrlIssuer>> {
    let kinds = [AuthorityKind::X509Root, AuthorityKind::X509Intermediate];
    let of_kind = kinds.into_iter().flat_map(|kind| keyring.of_kind(kind));
    of_kind.filter(|one| one.state != AuthorityState::Removed).map(|authority| issuer(keyring, authority)).collect()
}

fn issuer(keyring: &Keyring, authority: &Authority) -> Option<CrlIssuer> {
    let certificate = authority.certificate.clone()?;
    let key_identifier = inspect_authority(&certificate).ok()?.key_identifier?;
    // One that was tainted and then removed is believed by whoever still meets it, until it ends.
    let is_taken_back = |other: &&Authority| matches!(other.state, AuthorityState::Tainted | AuthorityState::Removed);
    let taken_back = keyring.of_kind(AuthorityKind::X509Intermediate).filter(is_taken_back).filter_map(|other| {
        let facts = inspect_authority(other.certificate.as_ref()?).ok()?;
        let taken_back =
            TakenBack { name: other.key_id().to_string().into(), serial: facts.serial?, since: other.since };
        (facts.issuer_key_identifier.as_ref() == Some(&key_identifier)).then_some(taken_back)
    });
    Some(CrlIssuer {
        name: authority.key_id().to_string().into(),
        taken_back: taken_back.collect(),
        key_identifier,
        certificate,
        key: authority.own_key()?.clone(),
    })
}
