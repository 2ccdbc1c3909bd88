//! What linkerd2-proxy makes of an SVID: verified as its own first, then the two sides of its TLS, and who called.
//!
//! **Spec**: `linkerd/meshtls`, `linkerd/meshtls/verifier`, `linkerd/identity`, `linkerd/rustls` and
//! `linkerd/app/inbound/src/policy.rs` of linkerd2-proxy at 29637b64f6ce (August 2026).

use crate::rotation::Time;
use crate::support::of_bundle::OfBundle;
use lanyard::clock::{Clock, ManualClock};
use reqwest::Url;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, DnsName, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SignatureScheme};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use webpki::aws_lc_rs as known;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

pub(crate) type Refused = Box<dyn Error + Send + Sync>;

/// What it can verify. Of what it maps to handshakes only what its own resolver ever signs with is here.
static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        known::ECDSA_P256_SHA256,
        known::ECDSA_P256_SHA384,
        known::ECDSA_P256_SHA512,
        known::ECDSA_P384_SHA256,
        known::ECDSA_P384_SHA384,
        known::ECDSA_P384_SHA512,
        known::ECDSA_P521_SHA256,
        known::ECDSA_P521_SHA384,
        known::ECDSA_P521_SHA512,
        known::ED25519,
        known::RSA_PKCS1_2048_8192_SHA256,
        known::RSA_PKCS1_2048_8192_SHA384,
        known::RSA_PKCS1_2048_8192_SHA512,
        known::RSA_PKCS1_3072_8192_SHA384,
    ],
    mapping: &[(SIGNED_BY, &[known::ECDSA_P256_SHA256, known::ECDSA_P384_SHA256, known::ECDSA_P521_SHA256])],
};

/// A key that cannot do this never signs a handshake.
const SIGNED_BY: SignatureScheme = SignatureScheme::ECDSA_NISTP256_SHA256;

/// Who somebody is: one name of a certificate.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Id {
    Dns(String),
    Uri(Url),
}

impl Id {
    pub(crate) fn parse_uri(text: &str) -> Result<Self, Refused> {
        Ok(Self::Uri(Url::parse(text)?))
    }

    fn parse_dns(text: &str) -> Result<Self, Refused> {
        let name = DnsName::try_from(text)?;
        if text.ends_with('.') { Err("a trailing dot".into()) } else { Ok(Self::Dns(name.as_ref().to_owned())) }
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) => name,
            Self::Uri(uri) => uri.as_str(),
        }
    }
}

/// The names of a certificate that can be somebody's ID, in its order.
fn ids(certificate: &[u8]) -> Result<Vec<Id>, Refused> {
    let (_rest, certificate) = X509Certificate::from_der(certificate)?;
    let Some(names) = certificate.subject_alternative_name()? else { return Ok(Vec::new()) };
    let read = |name: &GeneralName<'_>| {
        if let GeneralName::DNSName(name) = name {
            Id::parse_dns(name).ok()
        } else if let GeneralName::URI(uri) = name {
            Id::parse_uri(uri).ok()
        } else {
            None
        }
    };
    Ok(names.value.general_names.iter().filter_map(read).collect())
}

/// Its credentials: an ID that it was configured with, and anchors that it read once.
pub(crate) struct Store {
    id: Id,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    verifier: Arc<OfBundle>,
    clock: Arc<ManualClock>,
    held: Option<Arc<CertifiedKey>>,
    /// How often it has taken a certificate: `control_identity_cert_refreshes_total{result="ok"}`.
    pub(crate) refreshes: usize,
}

impl Store {
    /// The ID is `LINKERD2_PROXY_IDENTITY_SERVER_ID`, the anchors are `LINKERD2_PROXY_IDENTITY_TRUST_ANCHORS`.
    pub(crate) fn new(
        id: &str,
        anchors: impl IntoIterator<Item = CertificateDer<'static>>,
        clock: &Arc<ManualClock>,
    ) -> Self {
        let mut roots = RootCertStore::empty();
        assert_eq!(roots.add_parsable_certificates(anchors).1, 0);
        let (roots, provider) = (Arc::new(roots), Arc::new(provider()));
        let verifier = Arc::new(OfBundle { roots: Arc::clone(&roots), provider: Arc::clone(&provider) });
        let (id, clock) = (Id::parse_uri(id).unwrap(), Arc::clone(clock));
        Self { id, roots, provider, verifier, clock, held: None, refreshes: 0 }
    }

    pub(crate) const fn id(&self) -> &Id {
        &self.id
    }

    /// Its own certificate must pass as a server's, be its own by one of its names, and fit the key, which is PKCS#8.
    pub(crate) fn set_certificate(
        &mut self,
        leaf: CertificateDer<'static>,
        intermediates: Vec<CertificateDer<'static>>,
        key: Vec<u8>,
    ) -> Result<(), Refused> {
        let now = u64::try_from(self.clock.now().unix_timestamp())?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        self.verifier.verify_server_cert(&leaf, &intermediates, &any_name(), &[], now)?;
        if !ids(&leaf)?.contains(&self.id) {
            return Err("certificate does not match TLS identity".into());
        }
        let chain = [vec![leaf], intermediates].concat();
        let key = CertifiedKey::from_der(chain, PrivatePkcs8KeyDer::from(key).into(), &self.provider)?;
        if key.key.choose_scheme(&[SIGNED_BY]).is_none() {
            return Err("it would show no certificate".into());
        }
        self.held = Some(Arc::new(key));
        self.refreshes += 1;
        Ok(())
    }

    /// How it calls others.
    pub(crate) fn client(&self) -> ClientConfig {
        let held = self.held.as_deref().unwrap().clone();
        let builder = ClientConfig::builder_with_details(Arc::clone(&self.provider), self.time());
        let builder = builder.with_protocol_versions(&[&TLS13]).unwrap().dangerous();
        let verifier = Arc::<OfBundle>::clone(&self.verifier);
        let builder = builder.with_custom_certificate_verifier(verifier);
        let mut config = builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(held)));
        config.resumption = Resumption::disabled();
        config
    }

    fn server(&self) -> ServerConfig {
        let held = self.held.as_deref().unwrap().clone();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider));
        let clients = clients.allow_unauthenticated().build().unwrap();
        let builder = ServerConfig::builder_with_details(Arc::clone(&self.provider), self.time());
        let builder = builder.with_protocol_versions(&[&TLS13]).unwrap().with_client_cert_verifier(clients);
        builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(held)))
    }

    fn time(&self) -> Arc<Time> {
        Arc::new(Time(Arc::clone(&self.clock)))
    }

    /// How somebody without a certificate would call.
    pub(crate) fn nobody(&self) -> ClientConfig {
        let mut config = self.client();
        config.client_auth_cert_resolver = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth()
            .client_auth_cert_resolver;
        config
    }

    /// Somebody calls this proxy: who that is to it, if it is anybody.
    pub(crate) async fn hear(&self, caller: ClientConfig) -> Result<Option<Id>, Refused> {
        let (here, there) = tokio::io::duplex(1 << 16);
        let (connector, acceptor) = (TlsConnector::from(Arc::new(caller)), TlsAcceptor::from(Arc::new(self.server())));
        let (_client, server) = tokio::try_join!(connector.connect(any_name(), here), acceptor.accept(there))?;
        let shown = server.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        Ok(shown.and_then(|leaf| ids(leaf).ok()?.into_iter().next()))
    }
}

fn provider() -> CryptoProvider {
    CryptoProvider { signature_verification_algorithms: ALGORITHMS, ..aws_lc_rs::default_provider() }
}

/// Its verifier looks at no host name.
fn any_name() -> ServerName<'static> {
    ServerName::try_from("any.test").unwrap()
}

/// What a `MeshTLSAuthentication` says: a whole ID, or the end of a DNS name. `*` is every DNS name.
pub(crate) fn admits(identity: &str, client: &Id) -> bool {
    match (client, identity.strip_prefix('*')) {
        (Id::Dns(name), Some(suffix)) => name.ends_with(suffix),
        (Id::Uri(_), Some(_suffix)) => false,
        (id, None) => id.as_str() == identity,
    }
}
