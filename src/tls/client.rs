//! The client's side of the handshake.

use super::server_trust::in_words;
use super::{ServerTrust, SessionCertificate, TlsError};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// TCP and TLS together.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A connection whose handshake is done, seen from the client.
pub type ClientStream = TlsStream<TcpStream>;

/// Connects to one server's port.
#[derive(Clone, Debug)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    trust: String,
}

impl TlsClient {
    /// A client that believes `trust`, and shows a session key if it has one. `protocols` are offered by ALPN, best first.
    ///
    /// # Errors
    /// `File` when the system has no store, `Unusable` when a certificate to trust is broken.
    pub fn new(
        trust: &ServerTrust,
        session: Option<&SessionCertificate>,
        protocols: &[&str],
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = trust.verifier(&provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| TlsError::Unusable { place: "the TLS library".to_owned(), source })?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match session {
            Some(session) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(session.certified_key())))
            }
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Self { config: Arc::new(config), trust: trust.to_string() })
    }

    /// Connects and shakes hands, five seconds at most.
    ///
    /// # Errors
    /// `Name`, `Unreachable` or `Handshake`; the last says what was trusted.
    pub async fn connect(&self, host: &str, port: u16) -> Result<ClientStream, TlsError> {
        // A URL writes an IPv6 address in brackets, a socket address does not.
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_invalid| TlsError::Name { name: host.to_owned() })?;
        let server = format!("{host}:{port}");
        let handshake = |error| {
            let source = in_words(error);
            TlsError::Handshake { server: server.clone(), trust: self.trust.clone(), source }
        };
        let connect = async {
            let tcp = TcpStream::connect((host, port)).await.map_err(|source| unreachable(&server, source))?;
            // Small requests must not wait for each other.
            tcp.set_nodelay(true).map_err(|source| unreachable(&server, source))?;
            TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await.map_err(handshake)
        };
        match tokio::time::timeout(CONNECT_WITHIN, connect).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(unreachable(&server, elapsed.into())),
        }
    }

    /// What is believed, in words for an error.
    pub fn trust(&self) -> &str {
        &self.trust
    }
}

fn unreachable(server: &str, source: std::io::Error) -> TlsError {
    TlsError::Unreachable { server: server.to_owned(), source }
}
