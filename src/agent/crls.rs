//! The revocation lists as the server tells them, put together from their parts.

use super::keeper::Identity;
use crate::svid::{crl_issuer, inspect_authority};
use crate::wire::lanyard::CrlsPart;
use crate::wire::lanyard::event::Kind;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::watch;

/// A million leaves; who sends more means no good.
const BYTES_MAX: usize = 64 << 20;

/// Where the newest whole set is shown; none before the first.
pub(super) type CrlsWatch = watch::Receiver<Option<Arc<Crls>>>;

/// A whole set: a list of each authority that the server published when it was made.
#[derive(Debug)]
pub(super) struct Crls {
    /// All of them.
    pub(super) pem: String,
    /// The key identifiers of their authorities.
    issuers: BTreeSet<Vec<u8>>,
}

impl Crls {
    /// Of all lists in a text; none if one of them does not say whose it is.
    fn of(pem: String) -> Option<Self> {
        let lists = CertificateRevocationListDer::pem_slice_iter(pem.as_bytes());
        let issuers = lists.map(|list| crl_issuer(&list.ok()?)).collect::<Option<_>>()?;
        Some(Self { pem, issuers })
    }

    /// Whether there is a list of every authority that verifiers of this identity and its like meet: of each root of our
    /// bundle, and of each signer of its SVIDs. Set and bundle come apart, and where one list is missing some verifiers
    /// refuse everybody.
    pub(super) fn cover(&self, identity: &Identity) -> bool {
        let signers = identity.svids.iter().flat_map(|svid| svid.chain.iter().skip(1));
        identity.bundle.x509_authorities.iter().chain(signers).all(|authority| self.has_one_of(authority))
    }

    fn has_one_of(&self, authority: &CertificateDer<'_>) -> bool {
        let facts = inspect_authority(authority).ok();
        facts.and_then(|facts| facts.key_identifier).is_some_and(|id| self.issuers.contains(&id))
    }
}

/// Where nobody wants them there never are any.
pub(super) fn unwanted() -> CrlsWatch {
    watch::channel(None).1
}

/// Puts sets together.
#[derive(Debug)]
pub(super) struct Gatherer {
    shown: watch::Sender<Option<Arc<Crls>>>,
    /// Of the set that is shown.
    number: u64,
    parts: Vec<u8>,
}

impl Gatherer {
    /// Of no set yet.
    pub(super) fn pair() -> (Self, CrlsWatch) {
        let (shown, watch) = watch::channel(None);
        (Self { shown, number: 0, parts: Vec::new() }, watch)
    }

    /// The number of the set that is held.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Hears an event, if it is of revocation lists; all others come back.
    pub(super) fn hear(&mut self, kind: Kind) -> Option<Kind> {
        match kind {
            Kind::Crls(part) => self.take(&part),
            Kind::CrlsOff(why) => {
                tracing::error!(
                    why,
                    "what waits for them is not delivered: switch them on there, or leave crl out of [files] and [sds]"
                );
            }
            other @ (Kind::Sessions(_)
            | Kind::Bundle(_)
            | Kind::SessionEnded(_)
            | Kind::Tainted(_)
            | Kind::Federation(_)) => return Some(other),
        }
        None
    }

    fn take(&mut self, part: &CrlsPart) {
        let CrlsPart { number, offset, pem, last } = part;
        if *offset == 0 {
            self.parts.clear();
        }
        // A stream that was lost in the middle of a set begins the next one anew.
        if usize::try_from(*offset) != Ok(self.parts.len()) || self.parts.len() + pem.len() > BYTES_MAX {
            return tracing::warn!(number, offset, "a part of the revocation lists does not fit, and is left out");
        }
        self.parts.extend_from_slice(pem);
        if !last {
            return;
        }
        match String::from_utf8(std::mem::take(&mut self.parts)).ok().and_then(Crls::of) {
            Some(whole) => {
                self.number = *number;
                self.shown.send_replace(Some(Arc::new(whole)));
            }
            None => {
                tracing::warn!(number, "these are no revocation lists that name their authorities; they are left out");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: u64, offset: u64, pem: &'static str, last: bool) -> Kind {
        Kind::Crls(CrlsPart { number, offset, pem: pem.as_bytes().into(), last })
    }

    #[test]
    fn only_whole_sets_are_shown_and_a_broken_one_leaves_the_former() {
        let (mut gatherer, watch) = Gatherer::pair();
        let shown = || watch.borrow().as_ref().map(|crls| crls.pem.clone());
        assert!(gatherer.hear(part(7, 0, "one ", false)).is_none());
        assert_eq!((shown(), gatherer.number()), (None, 0));
        gatherer.hear(part(7, 4, "two", true));
        assert_eq!((shown().unwrap(), gatherer.number()), ("one two".to_owned(), 7));
        gatherer.hear(part(8, 0, "three ", false));
        // The stream was lost here; the next one begins with the newest set.
        gatherer.hear(part(9, 0, "four ", false));
        gatherer.hear(part(9, 6, "a gap", true));
        assert_eq!((shown().unwrap(), gatherer.number()), ("one two".to_owned(), 7));
        gatherer.hear(part(9, 0, "four", true));
        assert_eq!((shown().unwrap(), gatherer.number()), ("four".to_owned(), 9));
        gatherer.hear(part(10, 0, "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n", true));
        assert_eq!(gatherer.number(), 9, "a list of nobody");
        assert!(gatherer.hear(Kind::Bundle(bytes::Bytes::new())).is_some());
    }
}
