//! The bundle door: for anybody, so it asks for no certificate; TLS 1.2 too, with AEAD suites, for readers of every age.

use super::{Handshaken, IssuerDoor, TlsError};
use rustls::server::ResolvesServerCert;
use rustls::{ServerConfig, SupportedProtocolVersion};
use std::fmt;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// Shakes hands with whoever comes to the bundle port.
#[derive(Clone)]
pub struct BundleDoor(TlsAcceptor);

impl fmt::Debug for BundleDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BundleDoor")
    }
}

impl BundleDoor {
    /// A door that shows this certificate.
    ///
    /// # Errors
    /// `Unusable` if the provider lacks a version.
    pub fn new(certificate: Arc<dyn ResolvesServerCert>) -> Result<Self, TlsError> {
        Self::speaking(&[&rustls::version::TLS13, &rustls::version::TLS12], certificate)
    }

    /// The same for our own commands, which need no older version.
    ///
    /// # Errors
    /// As [`BundleDoor::new`].
    pub fn for_operators(certificate: Arc<dyn ResolvesServerCert>) -> Result<Self, TlsError> {
        Self::speaking(&[&rustls::version::TLS13], certificate)
    }

    /// The same where commands may show a certificate: asked for as at the issuer port, and judged by nobody yet.
    ///
    /// # Errors
    /// As [`BundleDoor::new`].
    pub fn for_operators_with_certificates(certificate: Arc<dyn ResolvesServerCert>) -> Result<Self, TlsError> {
        IssuerDoor::new(certificate).map(|door| Self(door.into_acceptor()))
    }

    fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        certificate: Arc<dyn ResolvesServerCert>,
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|source| TlsError::Unusable { place: "the TLS library".to_owned(), source })?
            .with_no_client_auth()
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Shakes hands within five seconds.
    ///
    /// # Errors
    /// `Slow`, or `Client` when the client went away or does not speak our TLS.
    pub async fn shake(&self, tcp: TcpStream) -> Result<Handshaken, TlsError> {
        Handshaken::with(&self.0, tcp).await
    }
}
