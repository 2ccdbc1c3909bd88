//! Whether a chain is an X509-SVID by the standard, and whose (SPIFFE X509-SVID §5, RFC 5280 §6).
//!
//! `inspect` reads what we made ourselves and takes nothing else; this reads what anybody may have made. The chain is
//! taken as it must come, leaf first and each certificate before its issuer; no path is searched. Of signatures it
//! takes one algorithm a kind of key: ECDSA P-256 and RSA with SHA-256, P-384 with SHA-384, P-521 with
//! SHA-512, Ed25519.
//! Where the standard leaves a choice, ours is that of the strictest client: a leaf without basic constraints is none.

use super::authority_path::{Link, check_issuer};
use super::csr::signature_algorithm;
use super::der::{BIT_STRING, SEQUENCE, der};
use crate::bundle::Bundle;
use crate::crypto::{CryptoError, PublicKey};
use crate::identity::{SpiffeId, SpiffeIdError, TrustDomain};
use crate::telemetry::rfc3339;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::x509::{AlgorithmIdentifier, X509Version};

/// The most certificates in a chain; the Rust client reads no more (X509-25).
const CHAIN_MAX: usize = 16;

/// Why a chain is no X509-SVID that holds.
#[derive(Debug, thiserror::Error)]
pub enum X509SvidError {
    /// An issuer that may not sign certificates: not CA:TRUE, or without critical keyCertSign.
    #[error("certificate {at} is no authority's: it lacks CA:TRUE or critical keyCertSign")]
    Authority {
        /// Its place in the chain; the bundle's certificates stand behind the last.
        at: usize,
    },
    /// An authority whose own ID names a workload.
    #[error("certificate {at} is an authority whose SPIFFE ID is not its trust domain's")]
    AuthorityId {
        /// Its place.
        at: usize,
    },
    /// No certificate, or more than a client reads.
    #[error("a chain has 1 to {CHAIN_MAX} certificates, not {count}")]
    ChainLength {
        /// How many came.
        count: usize,
    },
    /// Not valid at the time, or not yet.
    #[error("certificate {at} is valid from {} to {}", rfc3339(*not_before), rfc3339(*not_after))]
    Dates {
        /// Its place.
        at: usize,
        /// From when.
        not_before: OffsetDateTime,
        /// Until when.
        not_after: OffsetDateTime,
    },
    /// An extension that stands there twice, cannot be read, or is critical and unknown.
    #[error("certificate {at} has an extension that cannot be judged: {oid}")]
    Extension {
        /// Its place.
        at: usize,
        /// Which.
        oid: String,
    },
    /// The URI is no SPIFFE ID.
    #[error("the URI in the certificate is no SPIFFE ID")]
    Id(#[source] SpiffeIdError),
    /// The next certificate, or no root of the bundle, is the issuer.
    #[error("certificate {at} was not issued by the next one, nor by a root of {trust_domain}")]
    Issuer {
        /// Its place.
        at: usize,
        /// Whose bundle was asked.
        trust_domain: TrustDomain,
    },
    /// A leaf that is an authority's, or does not say that it is none.
    #[error("the leaf does not say that it is no authority")]
    LeafConstraints,
    /// Extended key usage that is there, but not for both sides of a connection.
    #[error("the extended key usage leaves out serverAuth or clientAuth")]
    LeafPurpose,
    /// Key usage absent, not critical, without digitalSignature, or with an authority's rights.
    #[error("the key usage is not a leaf's: critical, with digitalSignature, without keyCertSign and cRLSign")]
    LeafUsage,
    /// Not a certificate, or bytes behind it.
    #[error("certificate {at} is not exactly one X.509 certificate of version 3")]
    Malformed {
        /// Its place.
        at: usize,
    },
    /// A name outside of what an authority above may sign.
    #[error("a name in certificate {at} is outside of an authority's name constraints, or cannot be judged by them")]
    NameConstraint {
        /// Its place.
        at: usize,
    },
    /// Not exactly one URI among the names; or a name that should be critical is not.
    #[error("the subject alternative name has not exactly one URI, or is not critical beside an empty subject")]
    Names,
    /// A trust domain's own ID in a leaf.
    #[error("{0} names no workload: a leaf's ID has a path")]
    NoPath(SpiffeId),
    /// A leaf that lives longer than the authority that signed it.
    #[error("the leaf outlives its issuer")]
    OutlivesIssuer,
    /// More authorities below one than it allows.
    #[error("certificate {at} allows fewer authorities below it")]
    PathLength {
        /// Its place.
        at: usize,
    },
    /// The signature is not by the issuer's key, or not of the algorithm that such keys sign with here.
    #[error("the signature of certificate {at} is not by its issuer's key")]
    Signature {
        /// Its place.
        at: usize,
        /// What the library said, where it was asked.
        #[source]
        source: Option<CryptoError>,
    },
    /// No bundle of the ID's trust domain.
    #[error("no bundle of {0} is at hand")]
    UnknownTrustDomain(TrustDomain),
}

/// Validates a chain at a time, with the bundle of the ID's own trust domain and no other (X509-18).
///
/// # Errors
/// See [`X509SvidError`].
pub fn validate_x509_svid(
    chain: &[CertificateDer<'_>],
    bundles: &[&Bundle],
    now: OffsetDateTime,
) -> Result<SpiffeId, X509SvidError> {
    if !(1..=CHAIN_MAX).contains(&chain.len()) {
        return Err(X509SvidError::ChainLength { count: chain.len() });
    }
    let mut path = read_all(chain.iter(), 0)?;
    let leaf = path.first().ok_or(X509SvidError::ChainLength { count: 0 })?;
    let id = leaf_id(leaf)?;
    let trust_domain = id.trust_domain();
    let bundle = bundles.iter().find(|bundle| bundle.trust_domain == trust_domain);
    let bundle = bundle.ok_or_else(|| X509SvidError::UnknownTrustDomain(trust_domain.clone()))?;
    // A sender may add the root, although it should not (X509-25); trust comes from the bundle's copy alone.
    if path.len() > 1 && chain.last().is_some_and(|last| bundle.x509_authorities.contains(&last.clone().into_owned())) {
        path.pop();
    }
    let roots = read_all(bundle.x509_authorities.iter(), path.len())?;
    let signed: Vec<_> =
        chain.iter().zip(&path).enumerate().map(|(at, (der, read))| Signed { der, read, at }).collect();
    let last = signed.last().ok_or(X509SvidError::ChainLength { count: 0 })?;
    let stranger = |at| X509SvidError::Issuer { at, trust_domain: trust_domain.clone() };
    let by_root = |root: &&X509Certificate<'_>| last.names(root) && last.check(root).is_ok();
    let root = roots.iter().find(by_root).ok_or_else(|| stranger(last.at))?;
    for (signed, issuer) in signed.iter().zip(path.iter().skip(1)) {
        if !signed.names(issuer) {
            return Err(stranger(signed.at));
        }
        signed.check(issuer)?;
    }
    path.push(root.clone());
    check_leaf(leaf_of(&path)?)?;
    for at in 0..path.len() {
        check_one(&path, at, now)?;
    }
    match path.as_slice() {
        [leaf, issuer, ..] if leaf.validity().not_after > issuer.validity().not_after => {
            Err(X509SvidError::OutlivesIssuer)
        }
        _ => Ok(id),
    }
}

fn leaf_of<'p, 'a>(path: &'p [X509Certificate<'a>]) -> Result<&'p X509Certificate<'a>, X509SvidError> {
    path.first().ok_or(X509SvidError::ChainLength { count: 0 })
}

/// Reads certificates, the first of which has this place.
fn read_all<'a>(
    all: impl Iterator<Item = &'a CertificateDer<'a>>,
    first: usize,
) -> Result<Vec<X509Certificate<'a>>, X509SvidError> {
    let read = |(at, der): (usize, &'a CertificateDer<'a>)| match X509Certificate::from_der(der) {
        Ok(([], certificate)) if certificate.version() == X509Version::V3 => Ok(certificate),
        _ => Err(X509SvidError::Malformed { at: first + at }),
    };
    all.enumerate().map(read).collect()
}

/// The one SPIFFE ID of a leaf.
fn leaf_id(leaf: &X509Certificate<'_>) -> Result<SpiffeId, X509SvidError> {
    let names = leaf.subject_alternative_name().ok().flatten().ok_or(X509SvidError::Names)?;
    let uri = |name: &GeneralName<'_>| if let GeneralName::URI(uri) = name { Some((*uri).to_owned()) } else { None };
    let uris: Vec<_> = names.value.general_names.iter().filter_map(uri).collect();
    let [uri] = uris.as_slice() else { return Err(X509SvidError::Names) };
    if leaf.subject().iter().next().is_none() && !names.critical {
        return Err(X509SvidError::Names);
    }
    let id = SpiffeId::parse(uri).map_err(X509SvidError::Id)?;
    if id.names_a_workload() { Ok(id) } else { Err(X509SvidError::NoPath(id)) }
}

/// What a leaf may do (X509-8 to X509-13).
fn check_leaf(leaf: &X509Certificate<'_>) -> Result<(), X509SvidError> {
    match leaf.basic_constraints() {
        Ok(Some(constraints)) if !constraints.value.ca => {}
        _ => return Err(X509SvidError::LeafConstraints),
    }
    match leaf.key_usage() {
        Ok(Some(usage))
            if usage.critical
                && usage.value.digital_signature()
                && !usage.value.key_cert_sign()
                && !usage.value.crl_sign() => {}
        _ => return Err(X509SvidError::LeafUsage),
    }
    match leaf.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(purpose)) if purpose.value.server_auth && purpose.value.client_auth => Ok(()),
        _ => Err(X509SvidError::LeafPurpose),
    }
}

/// What holds for each certificate of a path: dates, extensions, and as an issuer its right to sign.
fn check_one(path: &[X509Certificate<'_>], at: usize, now: OffsetDateTime) -> Result<(), X509SvidError> {
    let Some(certificate) = path.get(at) else { return Ok(()) };
    let (not_before, not_after) =
        (certificate.validity().not_before.to_datetime(), certificate.validity().not_after.to_datetime());
    if now < not_before || now > not_after {
        return Err(X509SvidError::Dates { at, not_before, not_after });
    }
    let mut seen = std::collections::BTreeSet::new();
    for extension in certificate.extensions() {
        let parsed = extension.parsed_extension();
        let judged = matches!(
            parsed,
            ParsedExtension::BasicConstraints(_)
                | ParsedExtension::ExtendedKeyUsage(_)
                | ParsedExtension::KeyUsage(_)
                | ParsedExtension::NameConstraints(_)
                | ParsedExtension::SubjectAlternativeName(_)
        );
        let unreadable = matches!(parsed, ParsedExtension::ParseError { .. });
        if !seen.insert(extension.oid.as_bytes()) || unreadable || extension.critical && !judged {
            return Err(X509SvidError::Extension { at, oid: extension.oid.to_id_string() });
        }
    }
    if at > 0 { check_issuer(&Link { path, at }) } else { Ok(()) }
}

/// A certificate of a chain beside its bytes.
struct Signed<'c, 'a> {
    der: &'c [u8],
    read: &'c X509Certificate<'a>,
    at: usize,
}

impl Signed<'_, '_> {
    fn names(&self, issuer: &X509Certificate<'_>) -> bool {
        self.read.issuer().as_raw() == issuer.subject().as_raw()
    }

    /// Whether the issuer's key signed it. The parser does not look at every tag outside of the signed part; the bytes
    /// there have one form only.
    fn check(&self, issuer: &X509Certificate<'_>) -> Result<(), X509SvidError> {
        let fault = |source| X509SvidError::Signature { at: self.at, source };
        let key = PublicKey::from_spki_der(issuer.public_key().raw).map_err(|source| fault(Some(source)))?;
        let algorithm = signature_algorithm(key.algorithm());
        let named = AlgorithmIdentifier::from_der(algorithm).is_ok_and(|(_, known)| self.read.signature == known);
        let (signed, signature) = (self.read.tbs_certificate.as_ref(), self.read.signature_value.data.as_ref());
        let bits = der(BIT_STRING, &[&[0], signature].concat());
        if !named || self.der != der(SEQUENCE, &[signed, algorithm, &bits].concat()) {
            return Err(fault(None));
        }
        key.verify(signed, signature).map_err(|source| fault(Some(source)))
    }
}
