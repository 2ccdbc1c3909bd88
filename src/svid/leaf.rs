//! How a leaf is laid out in DER: its fields, one after the other, in one buffer.
//!
//! **Why** apart: this is done for every SVID, and a general builder of certificates takes as long for it as for a fifth
//! of the signature. The order is that of rcgen, which lays out every other certificate and is asked in the tests
//! whether it would have written the same. **Spec**: RFC 5280 §4.1, X.690.

use super::csr::signature_algorithm;
use super::der::{
    BIT_STRING, BOOLEAN, CONTEXT, Der, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET,
    UTC_TIME, UTF8_STRING,
};
use super::{LayoutError, LeafFields, SanOrder, Subject};
use crate::crypto::KeyAlgorithm;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

/// Whose certificates these are, in every subject.
pub(super) const ORGANIZATION: &str = "Lanyard";

/// Object identifiers, encoded: RFC 5280 §4.1.2.4 and §4.2.1.
mod oid {
    pub(super) const COMMON_NAME: &[u8] = &[0x55, 4, 3];
    pub(super) const ORGANIZATION: &[u8] = &[0x55, 4, 10];
    pub(super) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 29, 14];
    pub(super) const KEY_USAGE: &[u8] = &[0x55, 29, 15];
    pub(super) const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 29, 17];
    pub(super) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 29, 19];
    pub(super) const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 29, 35];
    pub(super) const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 29, 37];
    pub(super) const SERVER_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x01";
    pub(super) const CLIENT_AUTH: &[u8] = b"\x2b\x06\x01\x05\x05\x07\x03\x02";
    /// Where Fulcio's extensions live; one more number names each.
    pub(super) const FULCIO: &[u8] = b"\x2b\x06\x01\x04\x01\x83\xbf\x30\x01";
}

/// What a leaf says of its issuer.
#[derive(Debug)]
pub(super) struct IssuerNames {
    /// Its subject, in DER.
    name: Vec<u8>,
    key_id: Vec<u8>,
    key: KeyAlgorithm,
}

impl IssuerNames {
    /// Of a signing certificate with a key of this kind.
    pub(super) fn of(issuer: &CertificateDer<'_>, key: KeyAlgorithm) -> Result<Self, LayoutError> {
        let (_behind, issuer) = X509Certificate::from_der(issuer).map_err(|_malformed| LayoutError::Issuer)?;
        let key_id = issuer.iter_extensions().find_map(|extension| {
            let ParsedExtension::SubjectKeyIdentifier(id) = extension.parsed_extension() else { return None };
            Some(id.0.to_vec())
        });
        Ok(Self { name: issuer.subject().as_raw().to_vec(), key_id: key_id.ok_or(LayoutError::Issuer)?, key })
    }
}

impl LeafFields {
    /// Lays out the part that is signed (RFC 5280 §4.1.1.1).
    pub(super) fn lay_out(&self, issuer: &IssuerNames) -> Result<Vec<u8>, LayoutError> {
        if !self.spiffe_id.names_a_workload() {
            return Err(LayoutError::NoPath(self.spiffe_id.clone()));
        }
        let (not_before, not_after) = (self.not_before, self.not_after);
        if not_before >= not_after || not_before.nanosecond() != 0 || not_after.nanosecond() != 0 {
            return Err(LayoutError::Validity { not_before, not_after });
        }
        let mut leaf = Der::default();
        leaf.within(SEQUENCE, |leaf| {
            // Version 3 is written as 2.
            leaf.within(CONTEXT, |version| version.put(INTEGER, &[2]));
            leaf.put_positive(self.serial.as_bytes());
            leaf.put_whole(signature_algorithm(issuer.key));
            leaf.put_whole(&issuer.name);
            leaf.within(SEQUENCE, |validity| {
                put_time(validity, not_before);
                put_time(validity, not_after);
            });
            self.put_subject(leaf);
            leaf.put_whole(self.key.spki_der());
            leaf.within(CONTEXT | 3, |all| all.within(SEQUENCE, |all| self.put_extensions(all, issuer)));
        });
        Ok(leaf.into_bytes())
    }

    fn put_subject(&self, leaf: &mut Der) {
        leaf.within(SEQUENCE, |name| {
            if self.subject != Subject::Empty {
                put_name(name, oid::ORGANIZATION, ORGANIZATION);
            }
            if let Subject::Project(id) = self.subject {
                put_name(name, oid::COMMON_NAME, &format!("p{id}"));
            }
        });
    }

    fn put_extensions(&self, all: &mut Der, issuer: &IssuerNames) {
        put_extension(all, oid::AUTHORITY_KEY_IDENTIFIER, false, |value| {
            value.within(SEQUENCE, |authority| authority.put(0x80, &issuer.key_id));
        });
        // RFC 5280 §4.2.1.6: critical exactly when the subject is empty.
        put_extension(all, oid::SUBJECT_ALTERNATIVE_NAME, self.subject == Subject::Empty, |value| {
            value.within(SEQUENCE, |names| self.put_names(names));
        });
        // Bit 0 alone, digitalSignature: seven bits are unused.
        put_extension(all, oid::KEY_USAGE, true, |value| value.put(BIT_STRING, &[7, 0x80]));
        put_extension(all, oid::EXTENDED_KEY_USAGE, false, |value| {
            value.within(SEQUENCE, |purposes| {
                purposes.put(OBJECT_IDENTIFIER, oid::SERVER_AUTH);
                purposes.put(OBJECT_IDENTIFIER, oid::CLIENT_AUTH);
            });
        });
        // The SHA-256 of the SubjectPublicKeyInfo (RFC 7093 §2, method 4), cut to 160 bits.
        let key_id = *self.key.id().digest().as_bytes();
        let (key_id, _rest) = key_id.split_at(20);
        put_extension(all, oid::SUBJECT_KEY_IDENTIFIER, false, |value| value.put(OCTET_STRING, key_id));
        put_extension(all, oid::BASIC_CONSTRAINTS, true, |value| value.put(SEQUENCE, &[]));
        for (arc, text) in self.build_claims.iter() {
            put_extension(all, &[oid::FULCIO, &[arc]].concat(), false, |value| value.put(UTF8_STRING, text.as_bytes()));
        }
    }

    /// RFC 5280 §4.2.1.6: a URI's tag is 6, a DNS name's 2.
    fn put_names(&self, names: &mut Der) {
        let uri = |names: &mut Der| names.put(0x86, self.spiffe_id.as_str().as_bytes());
        let Some(dns) = &self.dns else { return uri(names) };
        let name = |names: &mut Der| names.put(0x82, dns.name.as_bytes());
        match dns.order {
            SanOrder::DnsFirst => {
                name(names);
                uri(names);
            }
            SanOrder::UriFirst => {
                uri(names);
                name(names);
            }
        }
    }
}

/// The whole certificate, of what was signed and the signature.
pub(super) fn seal(signed: &[u8], issuer: &IssuerNames, signature: &[u8]) -> CertificateDer<'static> {
    let mut certificate = Der::default();
    certificate.within(SEQUENCE, |certificate| {
        certificate.put_whole(signed);
        certificate.put_whole(signature_algorithm(issuer.key));
        certificate.within(BIT_STRING, |bits| {
            bits.put_whole(&[0]); // no bit is unused
            bits.put_whole(signature);
        });
    });
    certificate.into_bytes().into()
}

fn put_name(name: &mut Der, oid: &[u8], text: &str) {
    name.within(SET, |set| {
        set.within(SEQUENCE, |attribute| {
            attribute.put(OBJECT_IDENTIFIER, oid);
            attribute.put(UTF8_STRING, text.as_bytes());
        });
    });
}

fn put_extension(all: &mut Der, oid: &[u8], critical: bool, value: impl FnOnce(&mut Der)) {
    all.within(SEQUENCE, |extension| {
        extension.put(OBJECT_IDENTIFIER, oid);
        // X.690 §11.5: what is false by default is not written.
        if critical {
            extension.put(BOOLEAN, &[0xff]);
        }
        extension.within(OCTET_STRING, value);
    });
}

/// RFC 5280 §4.1.2.5: two digits of the year through 2049, four from then on.
fn put_time(to: &mut Der, at: OffsetDateTime) {
    let at = at.to_offset(time::UtcOffset::UTC);
    let (year, (hour, minute, second)) = (at.year(), at.time().as_hms());
    let rest = format!("{:02}{:02}{hour:02}{minute:02}{second:02}Z", u8::from(at.month()), at.day());
    if (1950..2050).contains(&year) {
        to.put(UTC_TIME, format!("{:02}{rest}", year % 100).as_bytes());
    } else {
        to.put(GENERALIZED_TIME, format!("{year:04}{rest}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{KeyPair, PublicKey, Random};
    use crate::identity::{SpiffeId, TrustDomain};
    use crate::svid::{AuthorityFields, BuildClaim, BuildClaims, DnsSan, LeafSigner, Serial};
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType};
    use std::sync::{Arc, LazyLock};
    use std::time::Duration;
    use time::macros::datetime;

    static KEY: LazyLock<Arc<KeyPair>> = LazyLock::new(|| Arc::new(KeyPair::generate(KeyAlgorithm::EcP256).unwrap()));

    fn authority() -> CertificateDer<'static> {
        let not_before = datetime!(2026-01-01 00:00 UTC);
        let fields = AuthorityFields {
            trust_domain: TrustDomain::parse("example.org").unwrap(),
            common_name: "an authority".to_owned(),
            key: KEY.public().clone(),
            serial: Serial::random(&Random::system()),
            path_length: 0,
            name_constraints: false,
            not_before,
            not_after: not_before + Duration::from_secs(86_400),
        };
        fields.sign_itself(KEY.as_ref()).unwrap()
    }

    /// The signed part of what rcgen makes of the same fields.
    fn by_rcgen(fields: &LeafFields, authority: &CertificateDer<'_>) -> Vec<u8> {
        let mut leaf = CertificateParams::default();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        if fields.subject != Subject::Empty {
            leaf.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
        }
        if let Subject::Project(id) = fields.subject {
            leaf.distinguished_name.push(DnType::CommonName, format!("p{id}"));
        }
        leaf.serial_number = Some(rcgen::SerialNumber::from_slice(fields.serial.as_bytes()));
        (leaf.not_before, leaf.not_after) = (fields.not_before, fields.not_after);
        leaf.subject_alt_names = vec![SanType::URI(fields.spiffe_id.as_str().try_into().unwrap())];
        if let Some(dns) = &fields.dns {
            let at = usize::from(dns.order == SanOrder::UriFirst);
            leaf.subject_alt_names.insert(at, SanType::DnsName(dns.name.as_str().try_into().unwrap()));
        }
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_identifier_method =
            rcgen::KeyIdMethod::PreSpecified(fields.key.id().digest().as_bytes()[..20].to_vec());
        for (arc, text) in fields.build_claims.iter() {
            let oid = [1, 3, 6, 1, 4, 1, 57264, 1, u64::from(arc)];
            let value = super::super::der::der(UTF8_STRING, text.as_bytes());
            leaf.custom_extensions.push(rcgen::CustomExtension::from_oid_content(&oid, value));
        }
        let whole = leaf.signed_by(&fields.key, &Issuer::from_ca_cert_der(authority, &**KEY).unwrap()).unwrap();
        X509Certificate::from_der(whole.der()).unwrap().1.tbs_certificate.as_ref().to_vec()
    }

    fn subjects() -> impl Strategy<Value = Subject> {
        prop_oneof![Just(Subject::Empty), Just(Subject::Organization), any::<u64>().prop_map(Subject::Project)]
    }

    fn dns() -> impl Strategy<Value = Option<DnsSan>> {
        let order = prop_oneof![Just(SanOrder::DnsFirst), Just(SanOrder::UriFirst)];
        prop::option::of(("[a-z0-9.-]{1,120}", order).prop_map(|(name, order)| DnsSan { name, order }))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        #[test]
        fn rcgen_would_have_laid_out_the_same_bytes(
            path in "[a-zA-Z0-9._-]{0,300}x", serial: [u8; 16], subject in subjects(), dns in dns(),
            (issuer, trigger) in ("\\PC{0,200}", "[a-z]{0,3}"), (begins, lasts) in (0..200_000_000_000_i64, 1..4_000_000_000_u64),
        ) {
            let Some(serial) = Serial::from_bytes(serial) else { return Ok(()) };
            let mut build_claims = BuildClaims::default();
            for (claim, text) in [(BuildClaim::Issuer, issuer), (BuildClaim::BuildTrigger, trigger)] {
                build_claims.add(claim, text).unwrap_or_default();
            }
            let not_before = OffsetDateTime::from_unix_timestamp(begins).unwrap();
            let key = PublicKey::clone(KEY.public());
            let spiffe_id = SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap();
            let not_after = not_before + Duration::from_secs(lasts);
            let fields = LeafFields { spiffe_id, dns, key, serial, subject, build_claims, not_before, not_after };
            let (authority, names) = (authority(), IssuerNames::of(&authority(), KeyAlgorithm::EcP256).unwrap());
            let laid_out = fields.lay_out(&names).unwrap();
            prop_assert_eq!(&laid_out, &by_rcgen(&fields, &authority));
            let whole = LeafSigner::new(&authority, Arc::clone(&KEY)).unwrap().sign(&fields).unwrap();
            let (behind, leaf) = X509Certificate::from_der(&whole).unwrap();
            prop_assert!(behind.is_empty() && leaf.tbs_certificate.as_ref() == laid_out);
            leaf.verify_signature(Some(X509Certificate::from_der(&authority).unwrap().1.public_key())).unwrap();
        }
    }
}
