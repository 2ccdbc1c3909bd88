//! The fields of an X509-SVID and of the certificates that sign it, and how they are laid out.
//!
//! Every field is set here, from our own fields alone: nothing is taken from a CSR but the key, and none of
//! rcgen's defaults reaches a certificate. `inspect` reads the result back and shares no code with this file.

use super::der::{SEQUENCE, der};
use super::{BuildClaims, DnsSan, SanOrder, Serial, Subject};
use crate::crypto::{KeyPair, PublicKey};
use crate::identity::{SpiffeId, TrustDomain};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyUsagePurpose, SanType, SerialNumber, SigningKey,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use std::fmt;
use std::sync::Arc;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// Whose certificates these are, in every subject.
const ORGANIZATION: &str = "Lanyard";

impl Subject {
    fn distinguished_name(self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        if self != Self::Empty {
            name.push(DnType::OrganizationName, ORGANIZATION);
        }
        if let Self::Project(id) = self {
            name.push(DnType::CommonName, format!("p{id}"));
        }
        name
    }
}

/// All that an X509-SVID says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeafFields {
    /// The one URI SAN.
    pub spiffe_id: SpiffeId,
    /// A DNS SAN beside it.
    pub dns: Option<DnsSan>,
    /// The key that is certified.
    pub key: PublicKey,
    /// The serial number.
    pub serial: Serial,
    /// The subject.
    pub subject: Subject,
    /// What it tells of the build.
    pub build_claims: BuildClaims,
    /// Whole seconds.
    pub not_before: OffsetDateTime,
    /// Whole seconds.
    pub not_after: OffsetDateTime,
}

/// All that a root or an intermediate says: critical CA:TRUE with a path length, keyCertSign and cRLSign,
/// the trust domain's ID as URI SAN, its own SKI.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthorityFields {
    /// Whose authority it is.
    pub trust_domain: TrustDomain,
    /// The common name; differs by generation, so that path builders choose right (X509-23).
    pub common_name: String,
    /// Its key.
    pub key: PublicKey,
    /// The serial number.
    pub serial: Serial,
    /// How many authorities may stand below: 1 for a root, 0 for an intermediate.
    pub path_length: u8,
    /// Whether it may sign only for IDs of its trust domain: not every mesh can read that.
    pub name_constraints: bool,
    /// Whole seconds.
    pub not_before: OffsetDateTime,
    /// Whole seconds.
    pub not_after: OffsetDateTime,
}

/// Why fields cannot be laid out.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The library refused.
    #[error("the certificate cannot be built")]
    Build(#[source] rcgen::Error),
    /// The issuer's certificate is not one that may sign: CA:TRUE, keyCertSign and a subject key identifier.
    #[error("the issuer's certificate cannot be read, or is not a certificate authority's")]
    Issuer,
    /// The key to sign with is not the one in the issuer's certificate, or not the one that certifies itself.
    #[error("the signing key does not belong to the issuer's certificate")]
    IssuerKey,
    /// A leaf for a trust domain's own ID (X509-SVID §2).
    #[error("{0} names no workload: a leaf's ID has a path")]
    NoPath(SpiffeId),
    /// Ends before it begins, or has parts of a second, which a certificate cannot say.
    #[error("a certificate lasts from one whole second to a later one, not from {not_before} to {not_after}")]
    Validity {
        /// From when.
        not_before: OffsetDateTime,
        /// Until when.
        not_after: OffsetDateTime,
    },
}

/// A signing certificate and its key, made ready once, so that a leaf costs little more than its signature.
pub struct LeafSigner {
    issuer: Issuer<'static, SharedKey>,
}

/// rcgen signs with owned or borrowed keys only.
struct SharedKey(Arc<KeyPair>);

impl rcgen::PublicKeyData for SharedKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for SharedKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        SigningKey::sign(self.0.as_ref(), message)
    }
}

impl LeafSigner {
    /// Reads the signing certificate, whose key `key` is.
    ///
    /// # Errors
    /// `Issuer`, `IssuerKey`.
    pub fn new(issuer: &CertificateDer<'_>, key: Arc<KeyPair>) -> Result<Self, LayoutError> {
        check_issuer(issuer, key.as_ref())?;
        let issuer = Issuer::from_ca_cert_der(issuer, SharedKey(key)).map_err(LayoutError::Build)?;
        Ok(Self { issuer })
    }

    /// Lays out a leaf and signs it.
    ///
    /// # Errors
    /// `Build`, `NoPath`, `Validity`.
    pub fn sign(&self, fields: &LeafFields) -> Result<CertificateDer<'static>, LayoutError> {
        fields.sign_by(&self.issuer)
    }
}

impl fmt::Debug for LeafSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeafSigner({:?})", self.issuer.key().0)
    }
}

/// The certificate may sign others, and the key is its own.
pub(super) fn check_issuer(certificate: &CertificateDer<'_>, key: &impl SigningKey) -> Result<(), LayoutError> {
    let (behind, issuer) = X509Certificate::from_der(certificate).map_err(|_malformed| LayoutError::Issuer)?;
    let signs = issuer.key_usage().is_ok_and(|usage| usage.is_some_and(|usage| usage.value.key_cert_sign()));
    let named = issuer.iter_extensions().any(|extension| {
        matches!(extension.parsed_extension(), x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(_))
    });
    if !(behind.is_empty() && issuer.is_ca() && signs && named) {
        return Err(LayoutError::Issuer);
    }
    if issuer.public_key().raw != key.subject_public_key_info() {
        return Err(LayoutError::IssuerKey);
    }
    Ok(())
}

impl LeafFields {
    /// Lays out and signs once; who signs often keeps a [`LeafSigner`]. `issuer` is the signing certificate, its key is `key`.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn sign(&self, issuer: &CertificateDer<'_>, key: &KeyPair) -> Result<CertificateDer<'static>, LayoutError> {
        check_issuer(issuer, key)?;
        self.sign_by(&Issuer::from_ca_cert_der(issuer, key).map_err(LayoutError::Build)?)
    }

    /// The only place where a leaf is built.
    fn sign_by(&self, issuer: &Issuer<'_, impl SigningKey>) -> Result<CertificateDer<'static>, LayoutError> {
        if !self.spiffe_id.names_a_workload() {
            return Err(LayoutError::NoPath(self.spiffe_id.clone()));
        }
        let mut leaf = base(&self.spiffe_id, &self.key, self.serial, (self.not_before, self.not_after))?;
        if let Some(dns) = &self.dns {
            let name = SanType::DnsName(dns.name.as_str().try_into().map_err(LayoutError::Build)?);
            let at = if dns.order == SanOrder::DnsFirst { 0 } else { leaf.subject_alt_names.len() };
            leaf.subject_alt_names.insert(at, name);
        }
        leaf.distinguished_name = self.subject.distinguished_name();
        leaf.custom_extensions = self.build_claims.extensions();
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        let signed = leaf.signed_by(&self.key, issuer).map_err(LayoutError::Build)?;
        Ok(signed.into())
    }
}

impl AuthorityFields {
    /// Signs itself: a root.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn sign_itself(&self, key: &impl SigningKey) -> Result<CertificateDer<'static>, LayoutError> {
        if key.subject_public_key_info() != self.key.spki_der() {
            return Err(LayoutError::IssuerKey);
        }
        Ok(self.params()?.self_signed(key).map_err(LayoutError::Build)?.into())
    }

    /// Signs it by another authority: an intermediate.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn sign(
        &self,
        issuer: &CertificateDer<'_>,
        key: &impl SigningKey,
    ) -> Result<CertificateDer<'static>, LayoutError> {
        check_issuer(issuer, key)?;
        let issuer = Issuer::from_ca_cert_der(issuer, key).map_err(LayoutError::Build)?;
        let mut params = self.params()?;
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(&self.key, &issuer).map_err(LayoutError::Build)?.into())
    }

    /// Asks another authority for it (RFC 2986): all of it but serial number and dates, which a request has no place for.
    ///
    /// # Errors
    /// `Build`, `IssuerKey`, `Validity`.
    pub fn request(&self, key: &KeyPair) -> Result<CertificateSigningRequestDer<'static>, LayoutError> {
        if key.public() != &self.key {
            return Err(LayoutError::IssuerKey);
        }
        let mut params = self.params()?;
        params.serial_number = None;
        Ok(params.serialize_request(key).map_err(LayoutError::Build)?.into())
    }

    fn params(&self) -> Result<CertificateParams, LayoutError> {
        let validity = (self.not_before, self.not_after);
        let mut authority = base(&self.trust_domain.id(), &self.key, self.serial, validity)?;
        authority.distinguished_name = Subject::Organization.distinguished_name();
        authority.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(self.path_length));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if self.name_constraints {
            authority.custom_extensions.push(only_uris_of(&self.trust_domain));
        }
        Ok(authority)
    }
}

/// Critical name constraints that permit URIs of one host only (RFC 5280 §4.2.1.10); rcgen knows none for URIs.
fn only_uris_of(trust_domain: &TrustDomain) -> CustomExtension {
    const NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
    const PERMITTED: u8 = 0xa0;
    const URI: u8 = 0x86;
    let subtree = der(SEQUENCE, &der(URI, trust_domain.as_str().as_bytes()));
    let content = der(SEQUENCE, &der(PERMITTED, &subtree));
    let mut extension = CustomExtension::from_oid_content(NAME_CONSTRAINTS, content);
    extension.set_criticality(true);
    extension
}

/// What leaf and authority share; every default of rcgen that could show is overwritten here or by the caller.
fn base(
    uri: &SpiffeId,
    key: &PublicKey,
    serial: Serial,
    (not_before, not_after): (OffsetDateTime, OffsetDateTime),
) -> Result<CertificateParams, LayoutError> {
    if not_before >= not_after || not_before.nanosecond() != 0 || not_after.nanosecond() != 0 {
        return Err(LayoutError::Validity { not_before, not_after });
    }
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(serial.as_bytes()));
    params.not_before = not_before;
    params.not_after = not_after;
    params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().map_err(LayoutError::Build)?)];
    // The SHA-256 of the SubjectPublicKeyInfo (RFC 7093 §2, method 4), which the key carries already, cut to 160 bits.
    let ski = key.id().digest().as_bytes().iter().take(20).copied().collect();
    params.key_identifier_method = KeyIdMethod::PreSpecified(ski);
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyAlgorithm, Random};
    use crate::svid::BuildClaim;
    use crate::svid::inspect_certificate;
    use time::Duration;
    use time::macros::datetime;

    const NOON: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

    fn key() -> Arc<KeyPair> {
        Arc::new(KeyPair::generate(KeyAlgorithm::EcP256).unwrap())
    }

    fn authority(key: &KeyPair, path_length: u8) -> AuthorityFields {
        AuthorityFields {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            common_name: format!("authority {path_length}"),
            key: key.public().clone(),
            serial: Serial::random(&Random::system()),
            path_length,
            name_constraints: false,
            not_before: NOON,
            not_after: NOON + Duration::days(1),
        }
    }

    fn leaf() -> LeafFields {
        LeafFields {
            spiffe_id: SpiffeId::parse("spiffe://example.org/acme/api/-/pipelines/574").unwrap(),
            key: key().public().clone(),
            serial: Serial::random(&Random::system()),
            dns: None,
            subject: Subject::Organization,
            build_claims: BuildClaims::default(),
            not_before: NOON,
            not_after: NOON + Duration::minutes(15),
        }
    }

    /// A root, an intermediate under it, and a signer ready with the latter.
    fn chain() -> (CertificateDer<'static>, CertificateDer<'static>, LeafSigner) {
        let (root_key, key) = (key(), key());
        let root = authority(&root_key, 1).sign_itself(root_key.as_ref()).unwrap();
        let intermediate = authority(&key, 0).sign(&root, root_key.as_ref()).unwrap();
        let signer = LeafSigner::new(&intermediate, key).unwrap();
        (root, intermediate, signer)
    }

    fn read<'a>(der: &'a CertificateDer<'_>) -> X509Certificate<'a> {
        X509Certificate::from_der(der).unwrap().1
    }

    /// Shows: ID-19, X509-1, X509-3, X509-8, X509-9, X509-10, X509-12, X509-13, MESH-A1, MESH-A3.
    #[test]
    fn a_leaf_says_exactly_its_fields() {
        let (_root, _intermediate, signer) = chain();
        for subject in [Subject::Empty, Subject::Organization, Subject::Project(42)] {
            let fields = LeafFields { subject, ..leaf() };
            let facts = inspect_certificate(&signer.sign(&fields).unwrap()).unwrap();
            assert_eq!((facts.dns, facts.build_claims.len()), (None, 0));
            assert_eq!(facts.spiffe_id, fields.spiffe_id);
            assert_eq!((facts.key_id, facts.serial), (fields.key.id(), fields.serial));
            assert_eq!((facts.subject, facts.not_before, facts.not_after), (subject, NOON, fields.not_after));
        }
    }

    /// Shows: X509-16, X509-23.
    #[test]
    fn each_signature_name_and_key_identifier_leads_to_the_issuer() {
        let (root, intermediate, signer) = chain();
        let leaf = signer.sign(&leaf()).unwrap();
        let (intermediate, leaf) = (read(&intermediate), read(&leaf));
        leaf.verify_signature(Some(intermediate.public_key())).unwrap();
        intermediate.verify_signature(Some(read(&root).public_key())).unwrap();
        assert_eq!((leaf.issuer(), intermediate.issuer()), (intermediate.subject(), read(&root).subject()));
        assert_ne!(intermediate.subject(), read(&root).subject(), "a subject of its own for each generation");
        assert_eq!(key_identifiers(&leaf).1, key_identifiers(&intermediate).0);
        assert_eq!(key_identifiers(&intermediate).1, key_identifiers(&read(&root)).0);
    }

    /// The subject's and the authority's.
    fn key_identifiers(certificate: &X509Certificate<'_>) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        use x509_parser::extensions::ParsedExtension::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
        let find = |of: fn(&x509_parser::extensions::ParsedExtension<'_>) -> Option<Vec<u8>>| {
            certificate.iter_extensions().find_map(|extension| of(extension.parsed_extension()))
        };
        let subject =
            find(|extension| if let SubjectKeyIdentifier(id) = extension { Some(id.0.to_vec()) } else { None });
        let authority = find(|extension| {
            if let AuthorityKeyIdentifier(id) = extension {
                id.key_identifier.as_ref().map(|id| id.0.to_vec())
            } else {
                None
            }
        });
        (subject, authority)
    }

    /// Shows: ID-18, X509-6, X509-7, X509-10, X509-11, X509-14, X509-15, MESH-A1.
    #[test]
    fn a_dns_name_stands_where_it_is_wanted_and_build_claims_read_back() {
        let (_root, _intermediate, signer) = chain();
        let mut build_claims = BuildClaims::default();
        for (claim, value) in [(BuildClaim::Issuer, "https://gitlab.example"), (BuildClaim::BuildTrigger, "püsh")] {
            build_claims.add(claim, value.to_owned()).unwrap();
        }
        build_claims.add(BuildClaim::SourceRepositoryRef, "r".repeat(1024)).unwrap();
        for order in [SanOrder::UriFirst, SanOrder::DnsFirst] {
            let dns = Some(DnsSan { name: "pl7.p42.ci.example.org".to_owned(), order });
            let fields = LeafFields { dns, build_claims: build_claims.clone(), ..leaf() };
            let facts = inspect_certificate(&signer.sign(&fields).unwrap()).unwrap();
            assert_eq!((facts.dns, facts.build_claims), (fields.dns, build_claims.by_arc()));
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_that_a_build_claim_takes_reads_back_as_it_was(one in ".{0,300}", other in "\\PC{0,1000}") {
            let (_root, _intermediate, signer) = chain();
            let mut build_claims = BuildClaims::default();
            for (claim, text) in [(BuildClaim::Issuer, one), (BuildClaim::DeploymentEnvironment, other)] {
                build_claims.add(claim, text).unwrap_or_default();
            }
            let fields = LeafFields { build_claims, ..leaf() };
            let facts = inspect_certificate(&signer.sign(&fields).unwrap()).unwrap();
            proptest::prop_assert_eq!(facts.build_claims, fields.build_claims.by_arc());
        }
    }

    /// Shows: ID-18, X509-6, X509-7, X509-10, X509-11, X509-14, X509-15.
    #[test]
    fn an_authority_is_a_critical_ca_that_signs_certificates_and_lists_and_nothing_else() {
        let (root, intermediate, _signer) = chain();
        for (certificate, path_length) in [(&root, 1), (&intermediate, 0)] {
            let certificate = read(certificate);
            let constraints = certificate.basic_constraints().unwrap().unwrap();
            assert!(constraints.critical && constraints.value.ca);
            assert_eq!(constraints.value.path_len_constraint, Some(path_length));
            let usage = certificate.key_usage().unwrap().unwrap();
            assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
            assert!(!usage.value.digital_signature());
            let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
            assert!(matches!(names.as_slice(), [x509_parser::extensions::GeneralName::URI("spiffe://example.org")]));
            assert_eq!(certificate.name_constraints().unwrap(), None);
        }
    }

    #[test]
    fn rcgen_trap_1_what_a_csr_asks_for_is_not_signed() {
        let greedy = rcgen::KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let csr = wish.serialize_request(&greedy).unwrap();
        let proven = crate::svid::ProvenKey::of_der(csr.der()).unwrap();
        let (_root, _intermediate, signer) = chain();
        let issued = signer.sign(&LeafFields { key: proven.key().clone(), ..leaf() }).unwrap();
        inspect_certificate(&issued).expect("a plain leaf");
        assert!(!read(&issued).is_ca());
    }

    #[test]
    fn rcgen_trap_2_the_certified_key_is_the_csrs_byte_for_byte() {
        let key = rcgen::KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let proven = crate::svid::ProvenKey::of_der(csr.der()).unwrap();
        let (_root, _intermediate, signer) = chain();
        let issued = signer.sign(&LeafFields { key: proven.key().clone(), ..leaf() }).unwrap();
        assert_eq!(read(&issued).public_key().raw, rcgen::PublicKeyData::subject_public_key_info(&key));
    }

    #[test]
    fn rcgen_trap_3_no_default_shows() {
        let (_root, _intermediate, signer) = chain();
        let fields = leaf();
        let again = LeafFields { serial: Serial::random(&Random::system()), ..fields.clone() };
        let (one, other) = (signer.sign(&fields).unwrap(), signer.sign(&again).unwrap());
        let (one, other) = (read(&one), read(&other));
        assert_ne!(one.raw_serial(), other.raw_serial(), "the same key twice, two serial numbers");
        assert_eq!(one.subject().to_string(), "O=Lanyard");
        assert_eq!(one.validity().not_after.timestamp(), fields.not_after.unix_timestamp());
        assert!(
            one.iter_extensions().any(|e| e.oid == x509_parser::oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER)
        );
    }

    /// Shows: X509-22.
    #[test]
    fn rcgen_trap_4_serials_are_positive_whole_and_never_repeat() {
        let random = Random::system();
        let serials: std::collections::BTreeSet<_> = (0..10_000).map(|_| Serial::random(&random)).collect();
        assert_eq!(serials.len(), 10_000);
        assert!(serials.iter().all(|serial| (0x40..0x80).contains(&serial.as_bytes()[0])));
        let serial = *serials.first().unwrap();
        assert_eq!(Serial::try_from(serial.to_string()), Ok(serial));
        for odd in [
            "",
            "00000000000000000000000000000000",
            "ff000000000000000000000000000000",
            "+1000000000000000000000000000000",
        ] {
            assert!(Serial::try_from(odd.to_owned()).is_err(), "{odd}");
        }
    }

    /// Shows: X509-4, MESH-A8.
    #[test]
    fn rcgen_trap_4_an_empty_subject_makes_the_san_critical_and_only_that() {
        let (_root, _intermediate, signer) = chain();
        for (subject, critical) in
            [(Subject::Empty, true), (Subject::Organization, false), (Subject::Project(7), false)]
        {
            let issued = signer.sign(&LeafFields { subject, ..leaf() }).unwrap();
            assert_eq!(read(&issued).subject_alternative_name().unwrap().unwrap().critical, critical);
        }
    }

    #[test]
    fn rcgen_trap_5_a_key_that_cannot_sign_is_an_error_and_no_certificate() {
        struct Broken(Arc<KeyPair>);
        impl rcgen::PublicKeyData for Broken {
            fn der_bytes(&self) -> &[u8] {
                self.0.der_bytes()
            }
            fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
                self.0.algorithm()
            }
        }
        impl SigningKey for Broken {
            fn sign(&self, _message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
                Err(rcgen::Error::RemoteKeyError)
            }
        }
        let (root, key) = {
            let key = key();
            (authority(&key, 0).sign_itself(key.as_ref()).unwrap(), key)
        };
        let issuer = Issuer::from_ca_cert_der(&root, Broken(key)).unwrap();
        assert!(matches!(leaf().sign_by(&issuer), Err(LayoutError::Build(rcgen::Error::RemoteKeyError))));
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let (root, _intermediate, signer) = chain();
        let whole = leaf();
        let late = LeafFields { not_before: whole.not_after, ..whole.clone() };
        let parts = LeafFields { not_after: whole.not_after + Duration::milliseconds(1), ..whole.clone() };
        let pathless = LeafFields { spiffe_id: SpiffeId::parse("spiffe://example.org").unwrap(), ..whole.clone() };
        assert!(matches!(signer.sign(&late), Err(LayoutError::Validity { .. })));
        assert!(matches!(signer.sign(&parts), Err(LayoutError::Validity { .. })));
        assert!(matches!(signer.sign(&pathless), Err(LayoutError::NoPath(_))));
        assert!(matches!(whole.sign(&root, &key()), Err(LayoutError::IssuerKey)));
        let leaf_as_issuer = signer.sign(&whole).unwrap();
        assert!(matches!(LeafSigner::new(&leaf_as_issuer, key()), Err(LayoutError::Issuer)));
    }
}
