//! What makes a client believe that it speaks with the right server.

use super::TlsError;
use crate::crypto::Digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Debian's name for it; the images we build have it too.
const SYSTEM_STORE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Whose word about a server's name counts. Name and dates are checked in each case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerTrust {
    /// These certificates, and no others.
    Pem(Vec<CertificateDer<'static>>),
    /// The one certificate in the handshake whose DER has this SHA-256.
    Sha256(Digest),
    /// The machine's store: fits only a server with an operator's certificate.
    System,
}

impl ServerTrust {
    /// Trust in the certificates of a PEM text; `place` says in errors where it came from.
    ///
    /// # Errors
    /// `Missing` when there is none, or one is broken.
    pub fn from_pem(pem: &[u8], place: &str) -> Result<Self, TlsError> {
        let missing = || TlsError::Missing { what: "certificate", place: place.to_owned() };
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_not_pem| missing())?;
        if certificates.is_empty() { Err(missing()) } else { Ok(Self::Pem(certificates)) }
    }

    pub(super) fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
        let unusable = |source| TlsError::Unusable { place: self.to_string(), source };
        let mut roots = RootCertStore::empty();
        match self {
            Self::Sha256(digest) => {
                return Ok(Arc::new(PinnedAnchor { digest: *digest, provider: Arc::clone(provider) }));
            }
            Self::Pem(certificates) => {
                for certificate in certificates {
                    roots.add(certificate.clone()).map_err(unusable)?;
                }
            }
            Self::System => {
                let path = PathBuf::from(SYSTEM_STORE);
                let pem = std::fs::read(&path).map_err(|source| TlsError::File { path, source })?;
                // One odd certificate in a system's store must not make the others worthless.
                roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
            }
        }
        Ok(verifier_of(roots, provider).map_err(unusable)?)
    }
}

impl fmt::Display for ServerTrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(certificates) => match certificates.as_slice() {
                [one] => write!(f, "the given CA certificate (SHA-256 {})", Digest::of(one)),
                many => write!(f, "the {} given CA certificates", many.len()),
            },
            Self::Sha256(digest) => write!(f, "the certificate with SHA-256 {digest}"),
            Self::System => write!(f, "the system's store ({SYSTEM_STORE})"),
        }
    }
}

/// Makes the certificate with this digest, wherever it stands in the handshake, the only anchor.
#[derive(Debug)]
struct PinnedAnchor {
    digest: Digest,
    provider: Arc<CryptoProvider>,
}

/// None of the server's certificates has the digest that was asked for.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("none of the server's {count} certificates has SHA-256 {wanted}; the last one has {last}")]
pub(super) struct NotPinned {
    count: usize,
    wanted: Digest,
    last: Digest,
}

/// Brings the complaint about a pin to the surface, where the library's error shows only its debug form.
pub(super) fn in_words(error: io::Error) -> io::Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(complaint)))) = inner
        && let Some(complaint) = complaint.downcast_ref::<NotPinned>()
    {
        return io::Error::new(error.kind(), *complaint);
    }
    error
}

impl ServerCertVerifier for PinnedAnchor {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let anchor = intermediates.iter().chain([end_entity]).find(|der| Digest::of(der) == self.digest);
        let Some(anchor) = anchor else {
            let last = Digest::of(intermediates.last().unwrap_or(end_entity));
            let complaint = NotPinned { count: intermediates.len() + 1, wanted: self.digest, last };
            return Err(CertificateError::Other(OtherError(Arc::new(complaint))).into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone().into_owned())?;
        verifier_of(roots, &self.provider)?.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn verifier_of(roots: RootCertStore, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>, Error> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))
}
