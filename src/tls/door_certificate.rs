//! The certificate of the server's port: an operator's files, looked at again every few seconds, or made by the door CA.

use super::TlsError;
use super::door_ca::{DoorCa, renew_at};
use crate::clock::Clock;
use crate::crypto::is_encrypted;
use crate::stamp::Stamp;
use crate::telemetry::{Metrics, Port, Shutdown};
use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Chain and key of the server's port; handshakes see the newest that works.
#[derive(Debug)]
pub struct DoorCertificate {
    current: ArcSwap<CertifiedKey>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Ca { ca: DoorCa, names: Vec<String>, renew_at: Mutex<OffsetDateTime> },
    Files { chain: PathBuf, key: PathBuf, seen: Mutex<[Stamp; 2]> },
}

impl DoorCertificate {
    /// Reads an operator's PEM files: the chain, leaf first, and the key.
    ///
    /// # Errors
    /// `File`, `Missing` or `Unusable`.
    pub fn from_files(chain: &Path, key: &Path) -> Result<Self, TlsError> {
        let seen = [chain, key].map(Stamp::of);
        let current = ArcSwap::from_pointee(read(chain, key)?);
        let source = Source::Files { chain: chain.to_owned(), key: key.to_owned(), seen: Mutex::new(seen) };
        Ok(Self { current, source })
    }

    /// Makes a key and a certificate for these DNS names and IP addresses.
    ///
    /// # Errors
    /// `Name`, `Key` or `Build`.
    pub fn from_ca(ca: DoorCa, names: Vec<String>, now: OffsetDateTime) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(ca.certify(&names, now)?);
        Ok(Self { current, source: Source::Ca { ca, names, renew_at: Mutex::new(renew_at(now)) } })
    }

    /// Takes up a newer certificate if there is one; says whether it did. What served before stays if the new one does not.
    ///
    /// # Errors
    /// As the constructors; the same bad files are complained of once.
    pub fn refresh(&self, now: OffsetDateTime) -> Result<bool, TlsError> {
        let newer = match &self.source {
            Source::Ca { ca, names, renew_at: due } => {
                if now < *locked(due) {
                    return Ok(false);
                }
                let newer = ca.certify(names, now)?;
                *locked(due) = renew_at(now);
                newer
            }
            Source::Files { chain, key, seen } => {
                let stamps = [chain, key].map(|file| Stamp::of(file));
                if *locked(seen) == stamps {
                    return Ok(false);
                }
                *locked(seen) = stamps;
                read(chain, key)?
            }
        };
        self.current.store(Arc::new(newer));
        Ok(true)
    }

    /// Looks for a newer certificate until shutdown, and tells how that goes.
    pub async fn run(self: Arc<Self>, clock: Arc<dyn Clock>, (port, metrics): (Port, Metrics), shutdown: Shutdown) {
        metrics.certificate_is_shown(port);
        loop {
            tokio::select! {
                () = shutdown.wait() => return,
                () = clock.wait_until(clock.now() + LOOK_EVERY) => {}
            }
            let (door, now) = (Arc::clone(&self), clock.now());
            match tokio::task::spawn_blocking(move || door.refresh(now)).await {
                Ok(Ok(true)) => {
                    metrics.certificate_is_shown(port);
                    tracing::info!(?port, "the server's certificate has changed");
                }
                Ok(Ok(false)) => {}
                Ok(Err(error)) => {
                    metrics.certificate_is_unusable(port);
                    let error = error_of(&error);
                    tracing::error!(?port, error, "the server's new certificate cannot be used, the former one stays");
                }
                Err(_runtime_ends) => return,
            }
        }
    }
}

impl ResolvesServerCert for DoorCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

pub(super) fn read(chain: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let missing = |what, path: &Path| TlsError::Missing { what, place: path.display().to_string() };
    let text = fs::read(chain).map_err(|source| unreadable(chain, source))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_not_pem| missing("certificate", chain))?;
    if certificates.is_empty() {
        return Err(missing("certificate", chain));
    }
    let text = zeroize::Zeroizing::new(fs::read(key).map_err(|source| unreadable(key, source))?);
    if is_encrypted(&text) {
        return Err(TlsError::Encrypted { place: key.display().to_string() });
    }
    let private = PrivateKeyDer::from_pem_slice(&text).map_err(|_not_pem| missing("private key", key))?;
    CertifiedKey::from_der(certificates, private, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|source| TlsError::Unusable { place: format!("{} and {}", chain.display(), key.display()), source })
}

fn locked<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// In the form that makes the log tell the causes too.
fn error_of(error: &TlsError) -> &(dyn Error + 'static) {
    error
}

fn unreadable(path: &Path, source: io::Error) -> TlsError {
    TlsError::File { path: path.to_owned(), source }
}
