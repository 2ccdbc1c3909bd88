//! The certificate that carries an agent's session key to the server.

use super::TlsError;
use super::door_ca::{certified, params, rcgen_key};
use super::door_certificate::read;
use crate::crypto::{KeyPair, Random};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;
use time::{Duration, OffsetDateTime};

/// Nobody judges its dates; it only has to outlive the process.
const LIFETIME: Duration = Duration::days(3652);

/// A self-made certificate around a session key. Version 3, as the server's library asks; names nobody.
#[derive(Clone, Debug)]
pub struct SessionCertificate(Arc<CertifiedKey>);

impl SessionCertificate {
    /// Makes the certificate; holds the key from then on.
    ///
    /// # Errors
    /// `Build` or `Unusable`.
    pub fn of(session_key: &KeyPair, random: &Random, now: OffsetDateTime) -> Result<Self, TlsError> {
        let mut params = params(random, now, LIFETIME);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.self_signed(&*rcgen_key(session_key)?).map_err(TlsError::Build)?;
        let certified = certified(vec![certificate.der().clone()], session_key, "the session key")?;
        Ok(Self(Arc::new(certified)))
    }

    /// An operator's certificate and key, for servers that ask for such.
    ///
    /// # Errors
    /// `File`, `Missing` or `Unusable`.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self(Arc::new(read(chain, key)?)))
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.0)
    }
}
