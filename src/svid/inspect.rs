//! Reads signed bytes back into facts, trusting nobody: shares no code with the builder.

use super::{CompactError, DnsSan, SanOrder, Serial, Subject, compact::Compact};
use crate::crypto::{JwsAlgorithm, KeyId};
use crate::identity::{SpiffeId, SpiffeIdError};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use time::OffsetDateTime;
use x509_parser::asn1_rs::Utf8String;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::{OID_X509_COMMON_NAME, OID_X509_ORGANIZATION_NAME};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{X509Name, X509Version};

/// What a signed leaf certificate says, strictly read: one URI SAN and at most one DNS SAN, critical CA:FALSE, critical
/// digitalSignature only, EKU serverAuth and clientAuth, no unknown or doubled extension, nothing behind it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateFacts {
    /// The one URI SAN.
    pub spiffe_id: SpiffeId,
    /// The DNS SAN beside it.
    pub dns: Option<DnsSan>,
    /// The certified key, by its SubjectPublicKeyInfo.
    pub key_id: KeyId,
    /// The serial number.
    pub serial: Serial,
    /// The subject.
    pub subject: Subject,
    /// Fulcio's build claims, by the last number of their object identifiers.
    pub build_claims: BTreeMap<u8, String>,
    /// The authority key identifier.
    pub authority_key_identifier: Vec<u8>,
    /// Not before.
    pub not_before: OffsetDateTime,
    /// Not after.
    pub not_after: OffsetDateTime,
}

/// What a JWT-SVID says; the signature is not looked at.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JwtFacts {
    /// `kid`.
    pub kid: String,
    /// `sub`.
    pub spiffe_id: SpiffeId,
    /// `aud`.
    pub audience: Vec<String>,
    /// `jti`.
    pub jti: String,
    /// `exp`.
    pub not_after: OffsetDateTime,
    /// `alg`.
    pub algorithm: JwsAlgorithm,
    /// `iss`.
    pub issuer: Option<String>,
    /// `iat`.
    pub issued_at: OffsetDateTime,
    /// What it says besides.
    pub claims: Map<String, Value>,
}

/// Why bytes are no SVID as we make them.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Basic constraints are absent, not critical, or say CA:TRUE.
    #[error("the leaf does not say CA:FALSE, critically")]
    BasicConstraints,
    /// A build claim that is critical, or whose value is not one `UTF8String` in DER.
    #[error("the build claim {oid} is critical or no UTF8String")]
    BuildClaim {
        /// Which.
        oid: String,
    },
    /// A claim of a JWT-SVID is absent or of another type.
    #[error("the claim {0} is absent or not as a JWT-SVID has it")]
    Claim(&'static str),
    /// Not a compact JWS.
    #[error("not a JWT")]
    Compact(#[from] CompactError),
    /// The same extension twice (RFC 5280 §4.2).
    #[error("an extension stands there twice: {oid}")]
    DoubledExtension {
        /// Which.
        oid: String,
    },
    /// Other purposes than serverAuth and clientAuth, or not both.
    #[error("the extended key usage is not serverAuth and clientAuth")]
    ExtendedKeyUsage,
    /// A header other than `alg`, `kid` and `typ`, or one of them not as we write it.
    #[error("the header is not that of a JWT-SVID: alg ES256, kid, typ JWT")]
    Header,
    /// The ID in it is not well-formed.
    #[error("the ID is no SPIFFE ID")]
    Id(#[source] SpiffeIdError),
    /// The ID in it is a trust domain's.
    #[error("the ID has no path, so it names no workload")]
    IdWithoutPath,
    /// Key usage is absent, not critical, or not digitalSignature alone.
    #[error("the key usage is not digitalSignature alone, critically")]
    KeyUsage,
    /// No certificate.
    #[error("not an X.509 certificate of version 3")]
    Malformed,
    /// The authority key identifier is absent or of another form.
    #[error("the authority key identifier is not one key identifier")]
    NoAuthority,
    /// Zero, negative or longer than 16 bytes.
    #[error("the serial number is not a positive one of at most 16 bytes")]
    Serial,
    /// Other names than one URI and at most one DNS name; critical exactly when the subject is empty.
    #[error("the subject alternative name is not exactly one URI, or one and a DNS name")]
    SubjectAlternativeName,
    /// A subject that Lanyard does not give.
    #[error("the subject is not one that we give: {subject}")]
    Subject {
        /// What it says.
        subject: String,
    },
    /// Bytes behind the certificate.
    #[error("{count} bytes stand behind the certificate")]
    Trailing {
        /// How many.
        count: usize,
    },
    /// An extension that no leaf of ours has.
    #[error("an extension that no leaf has: {oid}")]
    UnknownExtension {
        /// Which.
        oid: String,
    },
}

/// Reads a leaf certificate.
///
/// # Errors
/// See [`InspectError`].
pub fn inspect_certificate(der: &[u8]) -> Result<CertificateFacts, InspectError> {
    let (behind, certificate) = X509Certificate::from_der(der).map_err(|_malformed| InspectError::Malformed)?;
    if !behind.is_empty() {
        return Err(InspectError::Trailing { count: behind.len() });
    }
    let unique_ids = certificate.issuer_uid.is_some() || certificate.subject_uid.is_some();
    let one_algorithm = certificate.signature_algorithm == certificate.signature;
    if certificate.version() != X509Version::V3 || unique_ids || !one_algorithm {
        return Err(InspectError::Malformed);
    }
    let subject = subject(certificate.subject())?;
    let extensions = Extensions::read(&certificate, subject)?;
    Ok(CertificateFacts {
        spiffe_id: extensions.spiffe_id.ok_or(InspectError::SubjectAlternativeName)?,
        dns: extensions.dns,
        key_id: KeyId::of_spki(certificate.public_key().raw),
        serial: serial(certificate.raw_serial())?,
        subject,
        build_claims: extensions.build_claims,
        authority_key_identifier: extensions.authority_key_identifier.ok_or(InspectError::NoAuthority)?,
        not_before: certificate.validity().not_before.to_datetime(),
        not_after: certificate.validity().not_after.to_datetime(),
    })
}

/// What the extensions say; each is there once and as a leaf has it.
#[derive(Default)]
struct Extensions {
    spiffe_id: Option<SpiffeId>,
    dns: Option<DnsSan>,
    build_claims: BTreeMap<u8, String>,
    authority_key_identifier: Option<Vec<u8>>,
    basic_constraints: bool,
    key_usage: bool,
    extended_key_usage: bool,
}

impl Extensions {
    fn read(certificate: &X509Certificate<'_>, subject: Subject) -> Result<Self, InspectError> {
        let mut seen = BTreeSet::new();
        let mut all = Self::default();
        for extension in certificate.extensions() {
            if !seen.insert(extension.oid.as_bytes()) {
                return Err(InspectError::DoubledExtension { oid: extension.oid.to_id_string() });
            }
            all.add(extension, subject)?;
        }
        if !all.basic_constraints {
            return Err(InspectError::BasicConstraints);
        }
        if !all.key_usage {
            return Err(InspectError::KeyUsage);
        }
        if !all.extended_key_usage {
            return Err(InspectError::ExtendedKeyUsage);
        }
        Ok(all)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what is not named here is refused")]
    fn add(&mut self, extension: &X509Extension<'_>, subject: Subject) -> Result<(), InspectError> {
        let critical = extension.critical;
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(constraints) => {
                let leaf = critical && !constraints.ca && constraints.path_len_constraint.is_none();
                self.basic_constraints = leaf.then_some(true).ok_or(InspectError::BasicConstraints)?;
            }
            ParsedExtension::KeyUsage(usage) => {
                // Bit 0 is digitalSignature (RFC 5280 §4.2.1.3).
                self.key_usage = (critical && usage.flags == 1).then_some(true).ok_or(InspectError::KeyUsage)?;
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                let both = usage.server_auth && usage.client_auth && usage.other.is_empty();
                let more = usage.any || usage.code_signing || usage.email_protection;
                let exact = both && !more && !usage.time_stamping && !usage.ocsp_signing;
                self.extended_key_usage = exact.then_some(true).ok_or(InspectError::ExtendedKeyUsage)?;
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                let (uri, dns) = match names.general_names.as_slice() {
                    [GeneralName::URI(uri)] => (uri, None),
                    [GeneralName::URI(uri), GeneralName::DNSName(name)] => (uri, Some((name, SanOrder::UriFirst))),
                    [GeneralName::DNSName(name), GeneralName::URI(uri)] => (uri, Some((name, SanOrder::DnsFirst))),
                    _ => return Err(InspectError::SubjectAlternativeName),
                };
                self.dns = dns.map(|(name, order)| DnsSan { name: (*name).to_owned(), order });
                if critical != (subject == Subject::Empty) {
                    return Err(InspectError::SubjectAlternativeName);
                }
                self.spiffe_id = Some(workload(uri)?);
            }
            ParsedExtension::AuthorityKeyIdentifier(authority) => {
                if authority.authority_cert_issuer.is_some() || authority.authority_cert_serial.is_some() {
                    return Err(InspectError::NoAuthority);
                }
                self.authority_key_identifier = authority.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectKeyIdentifier(_) => {}
            _ => self.add_build_claim(extension)?,
        }
        Ok(())
    }
}

impl Extensions {
    /// `1.3.6.1.4.1.57264.1.8` to `.23`; what is none of these is unknown here.
    fn add_build_claim(&mut self, extension: &X509Extension<'_>) -> Result<(), InspectError> {
        let oid = extension.oid.to_id_string();
        let number = oid.strip_prefix("1.3.6.1.4.1.57264.1.").and_then(|number| number.parse().ok());
        let Some(number @ 8..=23) = number else {
            return Err(InspectError::UnknownExtension { oid });
        };
        match Utf8String::from_der(extension.value) {
            Ok(([], text)) if !extension.critical => {
                self.build_claims.insert(number, text.string());
                Ok(())
            }
            _ => Err(InspectError::BuildClaim { oid }),
        }
    }
}

fn workload(id: &str) -> Result<SpiffeId, InspectError> {
    let id = SpiffeId::parse(id).map_err(InspectError::Id)?;
    if id.names_a_workload() { Ok(id) } else { Err(InspectError::IdWithoutPath) }
}

fn serial(raw: &[u8]) -> Result<Serial, InspectError> {
    // A DER integer below 2^127 whose first bit is set has a zero byte before it; ours never does.
    let mut bytes = [0; 16];
    let start = bytes.len().checked_sub(raw.len()).ok_or(InspectError::Serial)?;
    bytes.iter_mut().skip(start).zip(raw).for_each(|(to, from)| *to = *from);
    let negative = raw.first().is_some_and(|first| first & 0x80 != 0);
    Serial::from_bytes(bytes).filter(|_| !negative).ok_or(InspectError::Serial)
}

fn subject(name: &X509Name<'_>) -> Result<Subject, InspectError> {
    let parts: Vec<_> = name.iter_attributes().map(|part| (part.attr_type(), part.as_str())).collect();
    match parts.as_slice() {
        [] => Some(Subject::Empty),
        [(o, Ok("Lanyard"))] if **o == OID_X509_ORGANIZATION_NAME => Some(Subject::Organization),
        [(o, Ok("Lanyard")), (cn, Ok(project))]
            if **o == OID_X509_ORGANIZATION_NAME && **cn == OID_X509_COMMON_NAME =>
        {
            project.strip_prefix('p').and_then(|id| id.parse().ok()).map(Subject::Project)
        }
        _ => None,
    }
    .ok_or_else(|| InspectError::Subject { subject: name.to_string() })
}

/// Reads a JWT-SVID.
///
/// # Errors
/// See [`InspectError`].
pub fn inspect_jwt(svid: &str) -> Result<JwtFacts, InspectError> {
    let Compact { header, mut payload, .. } = Compact::parse(svid)?;
    let word = |name: &str| header.get(name).and_then(Value::as_str);
    let algorithm = word("alg").and_then(JwsAlgorithm::named);
    let (Some(algorithm), Some(kid), Some("JWT"), 3) = (algorithm, word("kid"), word("typ"), header.len()) else {
        return Err(InspectError::Header);
    };
    let mut take = |name: &'static str| payload.remove(name).ok_or(InspectError::Claim(name));
    let issuer = take("iss").ok().map(|value| text(value, "iss")).transpose()?;
    let (spiffe_id, jti) = (workload(&text(take("sub")?, "sub")?)?, text(take("jti")?, "jti")?);
    let (issued_at, not_after) = (moment(&take("iat")?, "iat")?, moment(&take("exp")?, "exp")?);
    let audience = take("aud")?.as_array().map(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect());
    let audience = audience.flatten().filter(|all: &Vec<_>| !all.is_empty()).ok_or(InspectError::Claim("aud"))?;
    let (kid, claims) = (kid.to_owned(), payload);
    Ok(JwtFacts { kid, spiffe_id, audience, jti, not_after, algorithm, issuer, issued_at, claims })
}

fn text(value: Value, name: &'static str) -> Result<String, InspectError> {
    if let Value::String(text) = value { Ok(text) } else { Err(InspectError::Claim(name)) }
}

fn moment(value: &Value, name: &'static str) -> Result<OffsetDateTime, InspectError> {
    let seconds = value.as_i64().ok_or(InspectError::Claim(name))?;
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|_range| InspectError::Claim(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
        KeyUsagePurpose, SanType, SerialNumber,
    };

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    /// The baseline leaf of the vectors, changed.
    fn leaf(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Lanyard");
        params.serial_number = Some(SerialNumber::from_slice(&[7; 16]));
        params.subject_alt_names = vec![uri("spiffe://example.org/ci/p42")];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        params.signed_by(&key, &issuer).unwrap().der().to_vec()
    }

    fn extension(oid: &[u64], content: &[u8], critical: bool) -> CustomExtension {
        let mut extension = CustomExtension::from_oid_content(oid, content.to_vec());
        extension.set_criticality(critical);
        extension
    }

    /// digitalSignature, as a bit string.
    const KEY_USAGE: (&[u64], &[u8]) = (&[2, 5, 29, 15], &[3, 2, 7, 0x80]);

    /// Shows: X509-1.
    #[test]
    fn the_baseline_leaf_is_read() {
        let facts = inspect_certificate(&leaf(|_same| {})).unwrap();
        assert_eq!(facts.spiffe_id.as_str(), "spiffe://example.org/ci/p42");
        assert_eq!((facts.subject, facts.authority_key_identifier.len()), (Subject::Organization, 20));
    }

    type Change = fn(&mut CertificateParams);
    type Is = fn(&InspectError) -> bool;

    fn refuses(cases: &[(&str, Change, Is)]) {
        for (name, change, expected) in cases {
            let refused = inspect_certificate(&leaf(change)).unwrap_err();
            assert!(expected(&refused), "{name}: {refused:?}");
        }
    }

    /// Shows: X509-1, X509-3, X509-17.
    #[test]
    fn names_other_than_one_workloads_id_are_refused() {
        let not_one: Is = |e| matches!(e, InspectError::SubjectAlternativeName);
        let no_id: Is = |e| matches!(e, InspectError::Id(_));
        refuses(&[
            (
                "two DNS names",
                |p| p.subject_alt_names.extend(["a.b", "c.d"].map(|name| SanType::DnsName(name.try_into().unwrap()))),
                not_one,
            ),
            ("CRT-7", |p| p.subject_alt_names.push(uri("spiffe://example.org/other")), not_one),
            ("CRT-8", |p| p.subject_alt_names.push(uri("https://example.org/")), not_one),
            ("CRT-9", |p| p.subject_alt_names.clear(), not_one),
            ("CRT-10", |p| p.subject_alt_names = vec![uri("https://example.org/ci")], no_id),
            (
                "CRT-11",
                |p| p.subject_alt_names = vec![uri("spiffe://example.org")],
                |e| matches!(e, InspectError::IdWithoutPath),
            ),
            ("CRT-12", |p| p.subject_alt_names = vec![uri("spiffe://example.org/ci/")], no_id),
            ("CRT-13", |p| p.subject_alt_names = vec![uri("spiffe://example.org/a%20b")], no_id),
            ("CRT-33", |p| p.subject_alt_names = vec![uri(&format!("spiffe://a/{}", "b".repeat(2048)))], no_id),
            (
                "a subject of another's",
                |p| p.distinguished_name.push(DnType::CommonName, "admin"),
                |e| matches!(e, InspectError::Subject { .. }),
            ),
        ]);
    }

    /// Shows: X509-8, X509-9, X509-10, X509-12, X509-13.
    #[test]
    fn rights_other_than_a_leafs_are_refused() {
        let constraints: Is = |e| matches!(e, InspectError::BasicConstraints);
        let usage: Is = |e| matches!(e, InspectError::KeyUsage);
        let purpose: Is = |e| matches!(e, InspectError::ExtendedKeyUsage);
        refuses(&[
            ("CRT-5", |p| p.extended_key_usages.clear(), purpose),
            ("CRT-14", |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained), constraints),
            ("CRT-15", |p| p.is_ca = IsCa::NoCa, constraints),
            ("CRT-16", |p| p.key_usages.push(KeyUsagePurpose::KeyCertSign), usage),
            ("CRT-17", |p| p.key_usages.push(KeyUsagePurpose::CrlSign), usage),
            ("CRT-18", |p| p.key_usages = vec![KeyUsagePurpose::KeyAgreement], usage),
            ("CRT-19", |p| p.key_usages.clear(), usage),
            (
                "CRT-20",
                |p| {
                    p.key_usages.clear();
                    p.custom_extensions.push(extension(KEY_USAGE.0, KEY_USAGE.1, false));
                },
                usage,
            ),
            ("CRT-21", |p| p.extended_key_usages.truncate(1), purpose),
            ("one purpose more", |p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning), purpose),
        ]);
    }

    #[test]
    fn anything_doubled_unknown_missing_or_trailing_is_refused() {
        refuses(&[
            (
                "doubled",
                |p| p.custom_extensions.push(extension(KEY_USAGE.0, KEY_USAGE.1, true)),
                |e| matches!(e, InspectError::DoubledExtension { .. }),
            ),
            (
                "unknown",
                |p| p.custom_extensions.push(extension(&[1, 2, 3, 4], &[5, 0], false)),
                |e| matches!(e, InspectError::UnknownExtension { .. }),
            ),
            (
                "critical build claim",
                |p| p.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], b"\x0c\x01a", true)),
                |e| matches!(e, InspectError::BuildClaim { .. }),
            ),
            (
                "raw build claim",
                |p| p.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], b"https://a", false)),
                |e| matches!(e, InspectError::BuildClaim { .. }),
            ),
            (
                "build claim with something behind",
                |p| p.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 8], b"\x0c\x01ab", false)),
                |e| matches!(e, InspectError::BuildClaim { .. }),
            ),
            (
                "deprecated build claim",
                |p| p.custom_extensions.push(extension(&[1, 3, 6, 1, 4, 1, 57264, 1, 7], b"\x0c\x01a", false)),
                |e| matches!(e, InspectError::UnknownExtension { .. }),
            ),
            (
                "no authority",
                |p| p.use_authority_key_identifier_extension = false,
                |e| matches!(e, InspectError::NoAuthority),
            ),
            (
                "long serial",
                |p| p.serial_number = Some(SerialNumber::from_slice(&[7; 17])),
                |e| matches!(e, InspectError::Serial),
            ),
        ]);
        let longer = [leaf(|_same| {}), vec![0]].concat();
        assert!(matches!(inspect_certificate(&longer), Err(InspectError::Trailing { count: 1 })));
        assert!(matches!(inspect_certificate(b""), Err(InspectError::Malformed)));
    }

    #[test]
    fn no_changed_byte_of_a_leaf_makes_the_reader_panic() {
        let leaf = leaf(|_same| {});
        for at in 0..leaf.len() {
            for value in [0, 0x30, 0x7f, 0x80, 0xff] {
                let mut odd = leaf.clone();
                odd[at] = value;
                drop(inspect_certificate(&odd));
            }
        }
    }
}
