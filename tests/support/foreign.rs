//! A mesh's own CA, as meshes make theirs: a root without a SPIFFE ID, which names nobody's trust domain.

use lanyard::clock::{Clock as _, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::time::Duration;

/// A root that signs leaves.
pub(crate) struct ForeignCa(CertifiedIssuer<'static, KeyPair>);

impl ForeignCa {
    /// One that ends in a hundred days.
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = SystemClock.now() - Duration::from_secs(3600);
        params.not_after = SystemClock.now() + Duration::from_secs(100 * 86_400);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its certificate.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Its certificate, DER.
    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A leaf for an ID, good for both sides of a connection: the certificate and its key, PEM.
    pub(crate) fn leaf(&self, id: &str) -> (String, String) {
        let mut params = CertificateParams::default();
        params.not_before = SystemClock.now() - Duration::from_secs(60);
        params.not_after = SystemClock.now() + Duration::from_secs(3600);
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}
