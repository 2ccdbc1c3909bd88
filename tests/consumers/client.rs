//! A job's client: one SVID, one version of TLS, and the sessions that servers gave it to come back with.

use crate::consumer::AGAIN_AFTER;
use crate::dialogue::Dialogue;
use crate::of_bundle::OfBundle;
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion};
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// An answer that must come, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(30);
/// A server that ends a connection does so well within this.
const A_WHILE: Duration = Duration::from_secs(3);

/// PostgreSQL's `cannot_connect_now`.
const NOT_YET: &str = "57P03";

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A job's SVID, PEM.
pub(crate) struct Svid {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Svid {
    /// Whether one of these CRLs, PEM, names it.
    pub(crate) fn is_named_in(&self, crls: &[u8]) -> bool {
        let leaf = CertificateDer::from_pem_slice(self.chain.as_bytes()).unwrap();
        let (_rest, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
        let mut crls = CertificateRevocationListDer::pem_slice_iter(crls).map(Result::unwrap);
        crls.any(|crl| {
            let (_rest, crl) = x509_parser::parse_x509_crl(&crl).unwrap();
            crl.iter_revoked_certificates().any(|revoked| revoked.serial() == &leaf.serial)
        })
    }
}

/// Why a server does not speak with us.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) why: String,
}

#[derive(Clone)]
pub(crate) struct Client {
    config: Arc<ClientConfig>,
}

/// One that has been answered.
pub(crate) struct Connection {
    stream: Stream,
    dialogue: Dialogue,
}

impl Client {
    pub(crate) fn new(svid: &Svid, roots: &Path, version: &'static SupportedProtocolVersion) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = CertificateDer::pem_slice_iter(svid.chain.as_bytes()).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(svid.key.as_bytes()).unwrap();
        let mut known = RootCertStore::empty();
        known.add_parsable_certificates(CertificateDer::pem_file_iter(roots).unwrap().map(Result::unwrap));
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(OfBundle { roots: Arc::new(known), provider }))
            .with_client_auth_cert(chain, key)
            .unwrap();
        config.resumption = Resumption::in_memory_sessions(8);
        Self { config: Arc::new(config) }
    }

    /// Connects and asks once; again, as long as the server says that it is not ready for anybody.
    pub(crate) fn visit(&self, port: u16, dialogue: Dialogue) -> Result<Connection, Refused> {
        loop {
            match self.knock(port, dialogue) {
                Err(Refused { why }) if why.contains(NOT_YET) => std::thread::sleep(AGAIN_AFTER),
                done => return done,
            }
        }
    }

    fn knock(&self, port: u16, dialogue: Dialogue) -> Result<Connection, Refused> {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        dialogue.before_tls(&mut socket).map_err(|error| said(&error))?;
        let name = ServerName::IpAddress(Ipv4Addr::LOCALHOST.into());
        let session = ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        dialogue.greet(&mut stream).map_err(|error| said(&error))?;
        let mut connection = Connection { stream, dialogue };
        connection.ask()?;
        Ok(connection)
    }
}

impl Connection {
    /// One question, one answer.
    pub(crate) fn ask(&mut self) -> Result<(), Refused> {
        self.dialogue.ask(&mut self.stream).map_err(|error| said(&error))
    }

    /// Whom it is with: the server's leaf.
    pub(crate) fn leaf(&self) -> &CertificateDer<'static> {
        self.stream.conn.peer_certificates().unwrap().first().unwrap()
    }

    /// Whether this was the continuation of an earlier session, without a certificate shown.
    pub(crate) fn is_resumed(&self) -> bool {
        matches!(self.stream.conn.handshake_kind(), Some(HandshakeKind::Resumed))
    }

    /// Whether it is still answered after a while in which the server may end it.
    pub(crate) fn lives_on(&mut self) -> bool {
        self.stream.sock.set_read_timeout(Some(A_WHILE)).unwrap();
        let silent = match self.stream.read(&mut [0; 1]) {
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            Ok(_) => false,
        };
        self.stream.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        silent && self.ask().is_ok()
    }
}

/// A server that says nothing has not refused anybody.
fn said(error: &std::io::Error) -> Refused {
    assert!(!matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "no answer within {PATIENCE:?}");
    Refused { why: error.to_string() }
}
