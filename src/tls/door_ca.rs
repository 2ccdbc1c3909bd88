//! The door CA: signs the certificate of the server's own port, for whoever has no operator's certificate.
//!
//! It is long-lived, never in a trust bundle, and untouched when the roots that sign identities change.

use super::TlsError;
use crate::crypto::{KeyAlgorithm, KeyPair, PemLabel, Random};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SerialNumber,
};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use std::fmt;
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// Clients pin it, so it outlives the machine it was made on.
const CA_LIFETIME: Duration = Duration::days(3652);
/// Made again at each start and before its end, so a stolen one is soon worthless.
const SERVER_CERTIFICATE_LIFETIME: Duration = Duration::days(30);
/// Clients whose clock is behind must not refuse a fresh certificate.
const BACKDATE_FOR: Duration = Duration::hours(1);

/// A certificate authority for the server's own port.
pub struct DoorCa {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    random: Random,
}

impl fmt::Debug for DoorCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DoorCa").field("key", &self.key).finish_non_exhaustive()
    }
}

impl DoorCa {
    /// Makes a new one, good for ten years.
    ///
    /// # Errors
    /// `Key` or `Build`.
    pub fn make(random: &Random, now: OffsetDateTime) -> Result<Self, TlsError> {
        let key = KeyPair::generate(KeyAlgorithm::EcP256)?;
        let mut params = params(random, now, CA_LIFETIME);
        let name: String = key.public().id().to_string().chars().take(8).collect();
        params.distinguished_name.push(DnType::OrganizationName, "Lanyard");
        params.distinguished_name.push(DnType::CommonName, format!("Lanyard door CA {name}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&*rcgen_key(&key)?).map_err(TlsError::Build)?;
        Ok(Self { certificate: certificate.der().clone(), key, random: random.clone() })
    }

    /// Takes up one that was kept: its certificate and its PKCS#8 key, both PEM.
    ///
    /// # Errors
    /// `Missing` when a text holds no PEM of its kind, `Key` or `Unusable` when the two do not serve together.
    pub fn load(certificate_pem: &str, key_pem: &str, random: &Random) -> Result<Self, TlsError> {
        let missing = |what| move |_pem| TlsError::Missing { what, place: "the door CA's file".to_owned() };
        let certificate =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(missing("certificate"))?.into_owned();
        let pkcs8 = PrivatePkcs8KeyDer::from_pem_slice(key_pem.as_bytes()).map_err(missing("private key"))?;
        let key = KeyPair::from_pkcs8(Zeroizing::new(pkcs8.secret_pkcs8_der().to_vec()))?;
        // Only to learn whether the two belong together.
        certified(vec![certificate.clone()], &key, "the door CA's file")?;
        Ok(Self { certificate, key, random: random.clone() })
    }

    /// The CA's certificate.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The CA's key, to be kept where only the server can read it.
    pub const fn key(&self) -> &KeyPair {
        &self.key
    }

    /// The CA's certificate, PEM: what clients are given.
    pub fn to_pem(&self) -> Zeroizing<String> {
        PemLabel::Certificate.armour(&self.certificate)
    }

    /// The CA's key, PEM: what only the server may read.
    pub fn key_to_pem(&self) -> Zeroizing<String> {
        PemLabel::PrivateKey.armour(self.key.pkcs8_der())
    }

    /// A new key with a certificate for these DNS names and IP addresses; the CA's own certificate is in the chain, so
    /// that clients which know its digest find it in the handshake.
    pub(super) fn certify(&self, names: &[String], now: OffsetDateTime) -> Result<CertifiedKey, TlsError> {
        let key = KeyPair::generate(KeyAlgorithm::EcP256)?;
        let mut params = params(&self.random, now, SERVER_CERTIFICATE_LIFETIME);
        params.subject_alt_names = alternative_names(names)?;
        params.distinguished_name.push(DnType::OrganizationName, "Lanyard");
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer_key = rcgen_key(&self.key)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate, &*issuer_key).map_err(TlsError::Build)?;
        let leaf = params.signed_by(&*rcgen_key(&key)?, &issuer).map_err(TlsError::Build)?;
        certified(vec![leaf.der().clone(), self.certificate.clone()], &key, "the door CA")
    }
}

/// When a certificate made at `made_at` should be followed by the next: ten days before its end.
pub(super) fn renew_at(made_at: OffsetDateTime) -> OffsetDateTime {
    made_at + SERVER_CERTIFICATE_LIFETIME - Duration::days(10)
}

/// Every field that the library would otherwise fill with a default of its own.
pub(super) fn params(random: &Random, now: OffsetDateTime, lifetime: Duration) -> CertificateParams {
    // RFC 5280 §4.1.2.2: positive and at most 20 bytes; the first byte is never zero here, so the number is not either.
    let mut serial: [u8; 16] = random.bytes();
    let [first, ..] = &mut serial;
    *first = (*first & 0x7f) | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = now - BACKDATE_FOR;
    params.not_after = now + lifetime;
    params
}

/// The key in the form that the certificate library takes.
pub(super) fn rcgen_key(key: &KeyPair) -> Result<Box<rcgen::KeyPair>, TlsError> {
    let pkcs8 = PrivatePkcs8KeyDer::from(key.pkcs8_der());
    rcgen::KeyPair::try_from(&pkcs8).map(Box::new).map_err(TlsError::Build)
}

/// A chain with its key, in the form that the TLS library takes.
pub(super) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: &KeyPair,
    place: &str,
) -> Result<CertifiedKey, TlsError> {
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.pkcs8_der().to_vec()));
    CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider())
        .map_err(|source| TlsError::Unusable { place: place.to_owned(), source })
}

fn alternative_names(names: &[String]) -> Result<Vec<rcgen::SanType>, TlsError> {
    let bad = |name: &str| TlsError::Name { name: name.to_owned() };
    let name = |name: &String| match name.parse() {
        Ok(address) => Ok(rcgen::SanType::IpAddress(address)),
        Err(_not_an_address) => {
            rustls_pki_types::DnsName::try_from(name.as_str()).map_err(|_invalid| bad(name))?;
            name.as_str().try_into().map(rcgen::SanType::DnsName).map_err(|_not_ascii| bad(name))
        }
    };
    names.iter().map(name).collect()
}
