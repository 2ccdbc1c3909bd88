//! The client's side of the handshake.

use super::server_trust::in_words;
use super::{ServerTrust, SessionCertificate, TlsError};
use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, SupportedProtocolVersion};
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
        Self::speaking(&[&rustls::version::TLS13], trust, (session, protocols))
    }

    /// A client for servers that may be older: TLS 1.2 will do, and no protocol is offered.
    ///
    /// # Errors
    /// As [`TlsClient::new`].
    pub fn for_older(trust: &ServerTrust) -> Result<Self, TlsError> {
        Self::speaking(rustls::ALL_VERSIONS, trust, (None, &[]))
    }

    fn speaking(
        versions: &[&'static SupportedProtocolVersion],
        trust: &ServerTrust,
        (session, protocols): (Option<&SessionCertificate>, &[&str]),
    ) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = trust.verifier(&provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
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
        let connect = async {
            let tcp = self.reach(host, port).await?;
            self.shake_hands(host, port, tcp).await
        };
        match tokio::time::timeout(CONNECT_WITHIN, connect).await {
            Ok(connected) => connected,
            Err(elapsed) => Err(unreachable(&format!("{}:{port}", bare(host)), elapsed.into())),
        }
    }

    /// Connects and says nothing yet, for protocols that ask for TLS first. However long it takes.
    ///
    /// # Errors
    /// `Unreachable`.
    pub async fn reach(&self, host: &str, port: u16) -> Result<TcpStream, TlsError> {
        let unreachable = |source| unreachable(&format!("{}:{port}", bare(host)), source);
        let tcp = TcpStream::connect((bare(host), port)).await.map_err(unreachable)?;
        // Small requests must not wait for each other.
        tcp.set_nodelay(true).map_err(unreachable)?;
        Ok(tcp)
    }

    /// Shakes hands with whom a connection reaches, however long it takes.
    ///
    /// # Errors
    /// `Name` or `Handshake`; the latter says what was trusted.
    pub async fn shake_hands(&self, host: &str, port: u16, tcp: TcpStream) -> Result<ClientStream, TlsError> {
        let host = bare(host);
        let name =
            ServerName::try_from(host.to_owned()).map_err(|_invalid| TlsError::Name { name: host.to_owned() })?;
        let shaken = TlsConnector::from(Arc::clone(&self.config)).connect(name, tcp).await;
        shaken.map_err(|error| {
            let (server, trust) = (format!("{host}:{port}"), self.trust.clone());
            TlsError::Handshake { server, trust, source: in_words(error) }
        })
    }

    /// What is believed, in words for an error.
    pub fn trust(&self) -> &str {
        &self.trust
    }
}

/// A URL writes an IPv6 address in brackets, a socket address does not.
fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn unreachable(server: &str, source: std::io::Error) -> TlsError {
    TlsError::Unreachable { server: server.to_owned(), source }
}
