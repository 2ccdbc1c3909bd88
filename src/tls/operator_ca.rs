//! The CA of operators' certificates: whether what a client showed is of that CA and in its time, judged by our clock at each call, and
//! by which names it goes.
//!
//! **Invariants**: the handshake has proven possession of the key, and nothing else; no other CA counts, ours least of all; whatever
//! has a SPIFFE ID is a workload and no operator.

use super::TlsError;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// What SPIFFE IDs begin with (SPIFFE ID §2); schemes have no case (RFC 3986 §3.1).
const SPIFFE: &str = "spiffe:";

/// The certificates that a client showed, its own first.
#[derive(Clone, Debug)]
pub struct ShownChain(Arc<[CertificateDer<'static>]>);

impl ShownChain {
    pub(super) fn of(certificates: Option<&[CertificateDer<'static>]>) -> Option<Self> {
        certificates.filter(|all| !all.is_empty()).map(|all| Self(all.into()))
    }
}

/// Why a certificate is no operator's.
#[derive(Debug, thiserror::Error)]
pub enum NotOfTheCa {
    /// The chain, the dates or the usage.
    #[error("the certificate is not one of the operators' CA, not in its time, or not for clients")]
    Chain(#[source] rustls::Error),
    /// It cannot be read.
    #[error("the certificate's names cannot be read")]
    Names,
    /// It is a workload's.
    #[error("the certificate has a SPIFFE ID: it is a workload's")]
    Workload,
}

/// See the file's opening words.
#[derive(Clone)]
pub struct OperatorCa(Arc<dyn ClientCertVerifier>);

impl OperatorCa {
    /// The CA of a PEM text; `place` says in errors where it came from.
    ///
    /// # Errors
    /// `Missing`, `NoCa`, `Unusable`.
    pub fn from_pem(pem: &[u8], place: &str) -> Result<Self, TlsError> {
        let missing = || TlsError::Missing { what: "certificate", place: place.to_owned() };
        let unusable = |source| TlsError::Unusable { place: place.to_owned(), source };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|_not_pem| missing())?;
            // As a root whoever has its key would vouch for others, whatever it was made for.
            if !X509Certificate::from_der(&certificate).is_ok_and(|(_, certificate)| certificate.is_ca()) {
                return Err(TlsError::NoCa { place: place.to_owned() });
            }
            roots.add(certificate).map_err(unusable)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map(Self).map_err(|_no_root| missing())
    }

    /// The names of whoever showed this, as `email:` and `uri:`, if the CA vouches for it now.
    ///
    /// # Errors
    /// See [`NotOfTheCa`].
    pub fn names(&self, shown: &ShownChain, now: OffsetDateTime) -> Result<Vec<String>, NotOfTheCa> {
        let (leaf, above) = shown.0.split_first().ok_or(NotOfTheCa::Names)?;
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        self.0.verify_client_cert(leaf, above, now).map_err(NotOfTheCa::Chain)?;
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_odd| NotOfTheCa::Names)?;
        let names = leaf.subject_alternative_name().map_err(|_odd| NotOfTheCa::Names)?;
        let names = names.map(|extension| extension.value.general_names.iter()).into_iter().flatten();
        let mut told = Vec::new();
        for name in names {
            if matches!(name, GeneralName::URI(uri) if is_spiffe(uri)) {
                return Err(NotOfTheCa::Workload);
            }
            told.extend(told_as(name));
        }
        Ok(told)
    }
}

/// By which word and name a person is written down; none where it is no name of a person.
fn told_as(name: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::URI(uri) = name {
        Some(format!("uri:{uri}"))
    } else if let GeneralName::RFC822Name(address) = name {
        Some(format!("email:{address}"))
    } else {
        None
    }
}

/// Whether a URI is a workload's.
fn is_spiffe(uri: &str) -> bool {
    uri.get(..SPIFFE.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE))
}

impl fmt::Debug for OperatorCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorCa")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};
    use crate::crypto::PemLabel;
    use rcgen::{
        BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
        SanType,
    };

    type Ca = CertifiedIssuer<'static, KeyPair>;

    fn ca() -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    /// A certificate with these names, from an hour ago until an hour from now, for a purpose.
    fn leaf(ca: &Ca, names: &[SanType], purpose: ExtendedKeyUsagePurpose) -> ShownChain {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![purpose];
        let now = SystemClock.now();
        (params.not_before, params.not_after) = (now - time::Duration::HOUR, now + time::Duration::HOUR);
        let made = params.signed_by(&KeyPair::generate().unwrap(), ca).unwrap();
        ShownChain::of(Some(&[made.der().clone()])).unwrap()
    }

    #[test]
    fn an_operator_s_own_certificate_is_no_ca() {
        let own = leaf(&ca(), &[], ExtendedKeyUsagePurpose::ClientAuth);
        let pem = PemLabel::Certificate.armour(&own.0[0]).to_string();
        for text in [pem.clone(), ca().pem() + &pem] {
            let refused = OperatorCa::from_pem(text.as_bytes(), "ada.pem").unwrap_err();
            assert!(matches!(refused, TlsError::NoCa { .. }), "{refused}");
        }
    }

    #[test]
    fn a_certificate_counts_if_the_ca_vouches_for_it_now_and_a_workload_s_never() {
        let (own, now) = (ca(), SystemClock.now());
        let trust = OperatorCa::from_pem(own.pem().as_bytes(), "a test").unwrap();
        let email = SanType::Rfc822Name("ada@corp.example".try_into().unwrap());
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        let both =
            [email.clone(), uri("https://corp.example/ada"), SanType::DnsName("ada.example".try_into().unwrap())];
        let shown = leaf(&own, &both, client.clone());
        assert_eq!(trust.names(&shown, now).unwrap(), ["email:ada@corp.example", "uri:https://corp.example/ada"]);
        assert!(trust.names(&leaf(&own, &[], client.clone()), now).unwrap().is_empty());
        for when in [now - time::Duration::hours(2), now + time::Duration::hours(2)] {
            assert!(matches!(trust.names(&shown, when), Err(NotOfTheCa::Chain(_))), "{when}");
        }
        for stranger in [
            leaf(&ca(), std::slice::from_ref(&email), client.clone()),
            leaf(&own, std::slice::from_ref(&email), ExtendedKeyUsagePurpose::ServerAuth),
            ShownChain::of(Some(&[own.der().clone()])).unwrap(),
            ShownChain::of(Some(&[CertificateDer::from(vec![1, 2, 3])])).unwrap(),
        ] {
            assert!(matches!(trust.names(&stranger, now), Err(NotOfTheCa::Chain(_))));
        }
        for id in ["spiffe://ci.example.org/acme", "SPIFFE://other.example/ops"] {
            let workload = leaf(&own, &[email.clone(), uri(id)], client.clone());
            assert!(matches!(trust.names(&workload, now), Err(NotOfTheCa::Workload)), "{id}");
        }
        assert!(ShownChain::of(None).is_none() && ShownChain::of(Some(&[])).is_none());
        assert!(OperatorCa::from_pem(b"", "a test").is_err());
    }
}
