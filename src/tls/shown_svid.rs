//! The X509-SVID that a door of ours shows; whoever renews it hands in the next.

use super::TlsError;
use super::door_ca::certified;
use crate::crypto::KeyPair;
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;

/// Chain and key; handshakes see the newest.
#[derive(Debug)]
pub struct ShownSvid(ArcSwap<CertifiedKey>);

impl ShownSvid {
    /// Shows this one first.
    ///
    /// # Errors
    /// `Unusable` when chain and key do not serve together.
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Result<Self, TlsError> {
        Ok(Self(ArcSwap::from_pointee(usable(chain, key)?)))
    }

    /// Shows this one from now on.
    ///
    /// # Errors
    /// As `new`; the former one stays then.
    pub fn show(&self, chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Result<(), TlsError> {
        self.0.store(Arc::new(usable(chain, key)?));
        Ok(())
    }
}

impl ResolvesServerCert for ShownSvid {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

fn usable(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Result<CertifiedKey, TlsError> {
    certified(chain, key, "the server's own SVID")
}
