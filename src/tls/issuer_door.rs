//! The issuer door: asks for a client certificate, takes none as well, and judges nothing in it but possession of its key.

use super::{PeerKey, ShownChain, TlsError};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Longer than any honest client takes, round trips over a bad line included.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// A connection whose handshake is done, seen from the server.
pub type ServerStream = TlsStream<TcpStream>;

/// Shakes hands with whoever comes to the issuer port.
#[derive(Clone)]
pub struct IssuerDoor(TlsAcceptor);

/// A connection after its handshake.
#[derive(Debug)]
pub struct Handshaken {
    /// The connection.
    pub stream: ServerStream,
    /// The client's key.
    pub peer_key: PeerKey,
    /// Whether HTTP/2 was agreed on (ALPN).
    pub http2: bool,
}

impl fmt::Debug for IssuerDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuerDoor")
    }
}

impl IssuerDoor {
    /// A door that shows this certificate.
    ///
    /// # Errors
    /// `Unusable` if the provider has no TLS 1.3.
    pub fn new(certificate: Arc<dyn ResolvesServerCert>) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let possession = Arc::new(PossessionOnly::of(&provider));
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| TlsError::Unusable { place: "the TLS library".to_owned(), source })?
            .with_client_cert_verifier(possession)
            .with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    pub(super) fn into_acceptor(self) -> TlsAcceptor {
        self.0
    }

    /// Shakes hands within five seconds.
    ///
    /// # Errors
    /// `Slow`, or `Client` when the client went away or does not speak our TLS.
    pub async fn shake(&self, tcp: TcpStream) -> Result<Handshaken, TlsError> {
        Handshaken::with(&self.0, tcp).await
    }
}

impl Handshaken {
    pub(super) async fn with(door: &TlsAcceptor, tcp: TcpStream) -> Result<Self, TlsError> {
        let stream = tokio::time::timeout(HANDSHAKE_WITHIN, door.accept(tcp))
            .await
            .map_err(|_elapsed| TlsError::Slow)?
            .map_err(TlsError::Client)?;
        let (_, connection) = stream.get_ref();
        let peer_key = PeerKey::of_handshake(connection.peer_certificates());
        let http2 = connection.alpn_protocol() == Some(b"h2");
        Ok(Self { stream, peer_key, http2 })
    }

    /// All that the client showed of who it is, which nobody has judged.
    pub fn shown(&self) -> Option<ShownChain> {
        ShownChain::of(self.stream.get_ref().1.peer_certificates())
    }
}

/// Judges possession of the key and nothing else. Offers every scheme that the library verifies: a client whose key fits none
/// of those offered would send no certificate, and pass for somebody without a key.
#[derive(Debug)]
struct PossessionOnly(WebPkiSupportedAlgorithms);

impl PossessionOnly {
    fn of(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ClientCertVerifier for PossessionOnly {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("this door speaks TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::crypto::{Digest, KeyAlgorithm, KeyPair, Random};
    use crate::tls::{DoorCa, DoorCertificate, ServerTrust, SessionCertificate, TlsClient};
    use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
    use rustls::{ClientConfig, ClientConnection, HandshakeKind};
    use rustls_pki_types::{PrivateKeyDer, ServerName};
    use std::error::Error as _;
    use time::OffsetDateTime;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;

    /// A door with a certificate for `localhost`, and one client at it.
    struct Stage {
        door: IssuerDoor,
        ca: CertificateDer<'static>,
        listener: TcpListener,
        port: u16,
    }

    impl Stage {
        async fn set() -> Self {
            Self::set_for("localhost").await
        }

        async fn set_for(name: &str) -> Self {
            let now = SystemClock.now();
            let ca = DoorCa::make(&Random::system(), now).unwrap();
            let root = ca.certificate().clone();
            let certificate = DoorCertificate::from_ca(ca, vec![name.to_owned(), "127.0.0.1".to_owned()], now).unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            Self { door: IssuerDoor::new(Arc::new(certificate)).unwrap(), ca: root, listener, port }
        }

        async fn greet(&self) -> Result<Handshaken, TlsError> {
            let mut shaken = self.door.shake(self.listener.accept().await.unwrap().0).await?;
            shaken.stream.write_all(b"hello").await.unwrap();
            shaken.stream.shutdown().await.unwrap();
            Ok(shaken)
        }

        fn pinned(&self) -> ServerTrust {
            ServerTrust::Sha256(Digest::of(&self.ca))
        }
    }

    async fn read_greeting(stream: &mut (impl AsyncReadExt + Unpin)) {
        let mut greeting = Vec::new();
        stream.read_to_end(&mut greeting).await.unwrap();
        assert_eq!(greeting, b"hello");
    }

    /// A client as others write it: trusts anybody and shows whatever certificate it is given.
    fn foreign_client(certificate: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(anybody);
        match certificate {
            None => config.with_no_client_auth(),
            Some(made) => {
                let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![made.cert.der().clone()], key).unwrap()
            }
        }
    }

    #[derive(Debug)]
    struct Anybody(WebPkiSupportedAlgorithms);

    impl ServerCertVerifier for Anybody {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _name: &ServerName<'_>,
            _ocsp: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.0)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.0)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.supported_schemes()
        }
    }

    async fn foreign_handshake(stage: &Stage, config: Arc<ClientConfig>) -> (Handshaken, Option<HandshakeKind>) {
        let client = async {
            let tcp = TcpStream::connect(("127.0.0.1", stage.port)).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(config).connect(name, tcp).await.unwrap();
            read_greeting(&mut stream).await;
            stream.get_ref().1.handshake_kind()
        };
        let (shaken, kind) = tokio::join!(stage.greet(), client);
        (shaken.unwrap(), kind)
    }

    fn made_with(algorithm: &'static rcgen::SignatureAlgorithm) -> rcgen::CertifiedKey<rcgen::KeyPair> {
        let signing_key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let cert = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&signing_key).unwrap();
        rcgen::CertifiedKey { cert, signing_key }
    }

    #[tokio::test]
    async fn the_session_key_of_an_agent_is_seen_and_a_client_without_one_is_served() {
        let stage = Stage::set().await;
        let key = KeyPair::generate(KeyAlgorithm::EcP256).unwrap();
        let session = SessionCertificate::of(&key, &Random::system(), OffsetDateTime::UNIX_EPOCH).unwrap();
        let agent = TlsClient::new(&stage.pinned(), Some(&session), &["h2"]).unwrap();
        let client = async { read_greeting(&mut agent.connect("localhost", stage.port).await.unwrap()).await };
        let (shaken, ()) = tokio::join!(stage.greet(), client);
        let shaken = shaken.unwrap();
        assert_eq!(shaken.peer_key, PeerKey::Session(key.public().clone()));
        assert!(shaken.http2);

        let trust = ServerTrust::Pem(vec![stage.ca.clone()]);
        let curl = TlsClient::new(&trust, None, &["http/1.1"]).unwrap();
        let client = async { read_greeting(&mut curl.connect("127.0.0.1", stage.port).await.unwrap()).await };
        let (shaken, ()) = tokio::join!(stage.greet(), client);
        let shaken = shaken.unwrap();
        assert_eq!(shaken.peer_key, PeerKey::Absent);
        assert!(!shaken.http2);
    }

    #[tokio::test]
    async fn a_key_that_is_not_p256_is_refused_by_name_and_not_silently_anonymous() {
        let stage = Stage::set().await;
        for (algorithm, name) in [
            (&rcgen::PKCS_ECDSA_P384_SHA384, "ECDSA P-384"),
            (&rcgen::PKCS_ED25519, "Ed25519"),
            (&rcgen::PKCS_RSA_SHA256, "RSA"),
            (&rcgen::PKCS_ECDSA_P521_SHA512, "ECDSA P-521"),
        ] {
            let config = Arc::new(foreign_client(Some(&made_with(algorithm))));
            let (shaken, _) = foreign_handshake(&stage, config).await;
            let refusal = shaken.peer_key.session_key().unwrap_err().to_string();
            assert_eq!(refusal, format!("the client certificate's key is {name}, a session key is ECDSA P-256"));
        }
        let config = Arc::new(foreign_client(Some(&made_with(&rcgen::PKCS_ECDSA_P256_SHA256))));
        assert!(matches!(foreign_handshake(&stage, config).await.0.peer_key, PeerKey::Session(_)));
    }

    /// A chain is neither walked nor judged, so its length costs nothing; nor does what the certificate says of itself.
    #[tokio::test]
    async fn a_client_s_chain_and_its_certificate_s_claims_mean_nothing_but_its_key() {
        let stage = Stage::set().await;
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let mut odd = rcgen::CertificateParams::new(Vec::new()).unwrap();
        odd.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // Extended key usage, a sequence of nothing.
        odd.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 37], vec![0x30, 0]));
        let cert = odd.self_signed(&signing_key).unwrap();
        let above = (0..60).map(|_| made_with(&rcgen::PKCS_ECDSA_P256_SHA256).cert.der().clone());
        let chain = std::iter::once(cert.der().clone()).chain(above).collect();
        let mut config = foreign_client(None);
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let certified = rustls::sign::CertifiedKey::from_der(chain, key, config.crypto_provider()).unwrap();
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
        let (shaken, _) = foreign_handshake(&stage, Arc::new(config)).await;
        let PeerKey::Session(seen) = shaken.peer_key else { panic!("a P-256 key") };
        assert_eq!(seen.spki_der(), rcgen::PublicKeyData::subject_public_key_info(&signing_key));
    }

    #[tokio::test]
    async fn no_connection_is_resumed() {
        let stage = Stage::set().await;
        let config = Arc::new(foreign_client(None));
        for _ in 0..2 {
            let (_, kind) = foreign_handshake(&stage, Arc::clone(&config)).await;
            assert_eq!(kind, Some(HandshakeKind::Full));
        }
    }

    #[tokio::test]
    async fn tls_1_2_is_refused() {
        let stage = Stage::set().await;
        let hello = {
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
            let config = ClientConfig::builder_with_provider(provider)
                .with_protocol_versions(&[&rustls::version::TLS12])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(anybody)
                .with_no_client_auth();
            let name = ServerName::try_from("localhost").unwrap();
            let mut hello = Vec::new();
            ClientConnection::new(Arc::new(config), name).unwrap().write_tls(&mut hello).unwrap();
            hello
        };
        let client = async {
            let mut tcp = TcpStream::connect(("127.0.0.1", stage.port)).await.unwrap();
            tcp.write_all(&hello).await.unwrap();
            let mut answer = Vec::new();
            tcp.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (shaken, answer) = tokio::join!(stage.greet(), client);
        assert!(matches!(shaken, Err(TlsError::Client(_))));
        // RFC 8446 §6: an alert record, fatal, protocol_version.
        assert_eq!((answer[0], answer[5], answer[6]), (21, 2, 70));
    }

    #[tokio::test]
    async fn a_wrong_pin_says_what_was_trusted_and_what_was_seen() {
        let stage = Stage::set().await;
        let wanted = Digest::of(b"another certificate");
        let client = TlsClient::new(&ServerTrust::Sha256(wanted), None, &["h2"]).unwrap();
        let (shaken, connected) = tokio::join!(stage.greet(), client.connect("localhost", stage.port));
        assert!(shaken.is_err());
        let error = connected.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("no TLS with localhost:{}; we trust the certificate with SHA-256 {wanted}", stage.port)
        );
        let cause = error.source().unwrap().to_string();
        let seen = Digest::of(&stage.ca);
        assert!(cause.contains(&format!("2 certificates has SHA-256 {wanted}; the last one has {seen}")), "{cause}");
    }

    #[tokio::test]
    async fn a_right_pin_does_not_excuse_a_wrong_name() {
        let stage = Stage::set_for("ca.example.org").await;
        let client = TlsClient::new(&stage.pinned(), None, &["h2"]).unwrap();
        let (shaken, connected) = tokio::join!(stage.greet(), client.connect("localhost", stage.port));
        assert!(shaken.is_err());
        let error = connected.unwrap_err();
        assert!(error.source().unwrap().to_string().contains("not valid for name"), "{error:?}");
    }

    #[tokio::test]
    async fn another_ca_is_not_believed_and_the_error_says_which_one_was() {
        let (stage, other) = (Stage::set().await, Stage::set().await);
        let client = TlsClient::new(&ServerTrust::Pem(vec![other.ca.clone()]), None, &["h2"]).unwrap();
        let (shaken, connected) = tokio::join!(stage.greet(), client.connect("localhost", stage.port));
        assert!(shaken.is_err());
        let words = connected.unwrap_err().to_string();
        assert!(
            words.ends_with(&format!("we trust the given CA certificate (SHA-256 {})", Digest::of(&other.ca))),
            "{words}"
        );
    }
}
