//! A server that is known by its SPIFFE ID: what it shows is an X509-SVID of exactly that ID, by its trust domain's bundle. Its
//! host's name and address say nothing (SPIFFE Federation §5.2.2).

use super::error::of_library;
use super::{CertificateFault, TlsError};
use crate::bundle::Bundle;
use crate::clock::Clock;
use crate::identity::SpiffeId;
use crate::svid::{X509SvidError, validate_x509_svid};
use crate::telemetry::chain;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// Whom a client expects.
#[derive(Clone, Debug)]
pub struct SpiffePeer {
    /// Its ID.
    pub id: SpiffeId,
    /// The bundle of the ID's trust domain.
    pub bundle: Bundle,
}

/// Why a server is not the one that was expected.
#[derive(Debug, thiserror::Error)]
enum NotThePeer {
    #[error("it shows an SVID of {shown}, and {wanted} is expected there")]
    Another { shown: SpiffeId, wanted: SpiffeId },
    #[error("what it shows does not hold as an X509-SVID of {wanted}")]
    NoSvid {
        wanted: SpiffeId,
        #[source]
        why: X509SvidError,
    },
}

impl SpiffePeer {
    /// For clients of any kind: TLS 1.2 or later, no resumption, since a resumed connection shows no certificate.
    ///
    /// # Errors
    /// `Unusable` if the library lacks a version.
    pub fn client_config(&self, clock: Arc<dyn Clock>) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = Arc::new(ThisPeer { peer: self.clone(), provider: Arc::clone(&provider) });
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(ByClock(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|source| TlsError::Unusable { place: "the TLS library".to_owned(), source })?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn check(&self, chain: &[CertificateDer<'_>], now: OffsetDateTime) -> Result<(), NotThePeer> {
        let shown = validate_x509_svid(chain, &[&self.bundle], now);
        let shown = shown.map_err(|why| NotThePeer::NoSvid { wanted: self.id.clone(), why })?;
        if shown == self.id { Ok(()) } else { Err(NotThePeer::Another { shown, wanted: self.id.clone() }) }
    }
}

/// Dates are judged by the server's clock, by which its own SVIDs are made too.
#[derive(Debug)]
struct ByClock(Arc<dyn Clock>);

impl TimeProvider for ByClock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(self.0.now().unix_timestamp()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

#[derive(Debug)]
struct ThisPeer {
    peer: SpiffePeer,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ThisPeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let now = i64::try_from(now.as_secs()).ok().and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
        let now = now.ok_or(Error::FailedToGetCurrentTime)?;
        let chain: Vec<_> = [end_entity].into_iter().chain(intermediates).cloned().collect();
        let checked = self.peer.check(&chain, now);
        checked.map_err(|fault| CertificateError::Other(OtherError(Arc::new(fault))))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
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

impl CertificateFault {
    /// What was wrong with the other side's certificate, wherever in an HTTP library's error the handshake's stands.
    pub fn within(error: &(dyn StdError + 'static)) -> Option<Self> {
        of_library(certificate_error(error)?)
    }
}

/// Why the other side was not the [`SpiffePeer`] that was expected, wherever in an HTTP library's error that stands.
pub fn not_the_peer(error: &(dyn StdError + 'static)) -> Option<String> {
    let CertificateError::Other(OtherError(fault)) = certificate_error(error)? else { return None };
    fault.downcast_ref::<NotThePeer>().map(|fault| chain(fault))
}

fn certificate_error<'e>(error: &'e (dyn StdError + 'static)) -> Option<&'e CertificateError> {
    let mut all = std::iter::successors(Some(error), |error: &&'e (dyn StdError + 'static)| (*error).source());
    all.find_map(|error| {
        let Error::InvalidCertificate(fault) = innermost(error).downcast_ref::<Error>()? else { return None };
        Some(fault)
    })
}

/// An I/O error hides the one that it was made of from whoever asks for its source, and may be made of another such.
fn innermost<'e>(mut error: &'e (dyn StdError + 'static)) -> &'e (dyn StdError + 'static) {
    while let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        error = inner;
    }
    error
}
