//! What the authority above ours answered, judged: only then may it sign.
//!
//! An answer is believed when an SVID under it would be, by the validator that agents use, with the roots that we publish.

use super::{UpstreamRoot, Wanted};
use crate::bundle::Bundle;
use crate::crypto::{Digest, KeyId, KeyPair};
use crate::identity::{SpiffeId, SpiffeIdError, TrustDomain};
use crate::svid::{
    AuthorityFacts, BuildClaims, LayoutError, LeafFields, LeafSigner, Subject, X509SvidError, inspect_authority,
    validate_x509_svid,
};
use crate::telemetry::rfc3339;
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;

/// The most certificates that are taken, the root included; SVIDs carry them all.
const CHAIN_MAX: usize = 8;
/// Whom a trial SVID names; nobody is given it.
const TRIAL: [&str; 3] = ["-", "lanyard", "trial"];

/// An intermediate of ours, ready to sign.
#[derive(Clone, Debug)]
pub struct Certified {
    /// Its key.
    pub key: Arc<KeyPair>,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
    /// What stands between it and the root, each before its issuer.
    pub above: Vec<CertificateDer<'static>>,
    /// The root, by its name.
    pub root: KeyId,
    /// From when it may sign.
    pub not_before: OffsetDateTime,
    /// Until when what it signs may live: its own end, or an earlier one of what stands above it, or the end we asked for.
    pub not_after: OffsetDateTime,
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The chain does not hold.
    #[error("the chain does not hold")]
    Chain(#[source] X509SvidError),
    /// No certificate, or more than SVIDs can carry.
    #[error("{count} certificates came, not 1 to {CHAIN_MAX}")]
    Count {
        /// How many.
        count: usize,
    },
    /// The certificate cannot sign.
    #[error("no SVID can be signed with it")]
    Layout(#[from] LayoutError),
    /// Not a certificate.
    #[error("certificate {at} is not exactly one X.509 certificate")]
    Malformed {
        /// Its place.
        at: usize,
    },
    /// Other names than our trust domain's ID.
    #[error("the certificate names {}, not spiffe://{trust_domain} alone", named(names))]
    Names {
        /// What it names.
        names: Vec<String>,
        /// Our trust domain.
        trust_domain: TrustDomain,
    },
    /// No authority, or one that may not sign certificates.
    #[error("the certificate is no authority's: it lacks CA:TRUE, or critical keyCertSign")]
    NoAuthority,
    /// The certificate is for somebody else's key.
    #[error("the certificate is for another key than the one that was sent")]
    OtherKey,
    /// It may stand above other authorities.
    #[error("the certificate allows {path_length} authorities below it, where none was asked for")]
    PathLength {
        /// How many.
        path_length: u32,
    },
    /// An authority whose extended key usage forbids what we do.
    #[error("certificate {at} has an extended key usage without serverAuth or clientAuth")]
    Purposes {
        /// Its place.
        at: usize,
    },
    /// It ends before it would be of use.
    #[error("it ends at {}, and would be of use for less than {} s", rfc3339(*ends_at), least.as_secs())]
    TooShort {
        /// When.
        ends_at: OffsetDateTime,
        /// What would do.
        least: Duration,
    },
    /// Our trust domain's name leaves no room for a path.
    #[error("no SPIFFE ID fits behind the trust domain's name")]
    TrustDomain(#[source] SpiffeIdError),
    /// It leads to no root of ours.
    #[error("the chain does not end in a root that is published: certificate {at} was issued by {issuer:?}")]
    UnknownRoot {
        /// The last one's place.
        at: usize,
        /// Whom it names.
        issuer: String,
    },
}

fn named(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

impl AnswerError {
    /// What would help.
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Chain(_) => "mend the authority's own certificates, or ask of another one",
            Self::Count { .. } | Self::Malformed { .. } => "look at what answers there: it should be a CA",
            Self::Layout(_) => "the certificate needs a subject key identifier, and subjects without repeated parts",
            Self::Names { .. } => "let it keep the URI that is asked for, and add no other name",
            Self::NoAuthority => "let it sign certificates of authorities: isCA, keyCertSign",
            Self::OtherKey => "look at what answers there: it did not certify this request",
            Self::PathLength { .. } => "let it keep the path length that is asked for, 0",
            Self::Purposes { .. } => "let it sign without extended key usage, or with serverAuth and clientAuth",
            Self::TrustDomain(_) => "choose a shorter trust domain",
            Self::TooShort { .. } => "renew the authority's own certificate, or raise the longest lifetime it gives",
            Self::UnknownRoot { .. } => {
                "add the root above it to roots_file: it is published first, and used when all hold it"
            }
        }
    }
}

impl Certified {
    /// Judges a chain: ours first, each before its issuer. `least` is for how long it must be of use.
    ///
    /// # Errors
    /// See [`AnswerError`].
    pub fn of(
        mut chain: Vec<CertificateDer<'static>>,
        wanted: &Wanted,
        roots: &[UpstreamRoot],
        (now, least): (OffsetDateTime, Duration),
    ) -> Result<Self, AnswerError> {
        let count = chain.len();
        let is_root = |one: &CertificateDer<'_>| roots.iter().any(|root| root.certificate == *one);
        if count > 1 && chain.last().is_some_and(is_root) {
            chain.pop();
        }
        if !(1..CHAIN_MAX).contains(&count) {
            return Err(AnswerError::Count { count });
        }
        let facts = chain
            .iter()
            .enumerate()
            .map(|(at, one)| inspect_authority(one).map_err(|_malformed| AnswerError::Malformed { at }));
        let facts: Vec<_> = facts.collect::<Result<_, _>>()?;
        let own = facts.first().ok_or(AnswerError::Count { count })?;
        check_own(own, wanted)?;
        if let Some(at) = facts.iter().position(|one| !one.rights.serves_both_sides) {
            return Err(AnswerError::Purposes { at });
        }
        let certificate = chain.remove(0);
        let ends = facts.iter().map(|one| one.not_after).fold(wanted.fields.not_after, OffsetDateTime::min);
        let candidate = Self {
            key: Arc::clone(&wanted.key),
            certificate,
            above: chain,
            root: KeyId::from_digest(Digest::of(&[])),
            not_before: own.not_before,
            not_after: ends,
        };
        let held = candidate.under_one_of(roots, wanted, now).map_err(|fault| unknown(fault, &facts))?;
        if held.not_after < now + least {
            return Err(AnswerError::TooShort { ends_at: held.not_after, least });
        }
        Ok(held)
    }

    /// Tries it under each root, in their order.
    fn under_one_of(self, roots: &[UpstreamRoot], wanted: &Wanted, now: OffsetDateTime) -> Result<Self, AnswerError> {
        let mut fault = AnswerError::Count { count: 0 };
        for root in roots {
            let under = Self { root: root.name, not_after: self.not_after.min(root.not_after), ..self.clone() };
            match under.sign_a_trial(wanted, root, now) {
                Ok(()) => return Ok(under),
                // Of a root that has nothing to do with it nobody wants to hear.
                Err(other) if !matches!(other, AnswerError::Chain(X509SvidError::Issuer { .. })) => fault = other,
                Err(stranger) if matches!(fault, AnswerError::Count { .. }) => fault = stranger,
                Err(_stranger) => {}
            }
        }
        Err(fault)
    }

    /// Whether an SVID under it holds.
    fn sign_a_trial(&self, wanted: &Wanted, root: &UpstreamRoot, now: OffsetDateTime) -> Result<(), AnswerError> {
        let trust_domain = &wanted.fields.trust_domain;
        let signer = LeafSigner::new(&self.certificate, Arc::clone(&self.key))?;
        let whole = |at: OffsetDateTime| at.replace_nanosecond(0).unwrap_or(at);
        let fields = LeafFields {
            spiffe_id: SpiffeId::from_segments(trust_domain, TRIAL).map_err(AnswerError::TrustDomain)?,
            dns: None,
            key: self.key.public().clone(),
            serial: wanted.fields.serial,
            subject: Subject::Organization,
            build_claims: BuildClaims::default(),
            not_before: whole(now).min(self.not_after - Duration::from_secs(1)),
            not_after: self.not_after,
        };
        let chain: Vec<_> =
            [signer.sign(&fields)?, self.certificate.clone()].into_iter().chain(self.above.clone()).collect();
        let bundle = Bundle {
            trust_domain: trust_domain.clone(),
            sequence: 0,
            refresh_hint: Duration::ZERO,
            x509_authorities: vec![root.certificate.clone()],
            jwt_authorities: Vec::new(),
        };
        validate_x509_svid(&chain, &[&bundle], now).map(drop).map_err(AnswerError::Chain)
    }
}

fn check_own(own: &AuthorityFacts, wanted: &Wanted) -> Result<(), AnswerError> {
    if own.key_id != wanted.key.public().id() {
        return Err(AnswerError::OtherKey);
    }
    if !(own.rights.is_authority && own.rights.signs_certificates) {
        return Err(AnswerError::NoAuthority);
    }
    if let Some(path_length @ 1..) = own.rights.path_length {
        return Err(AnswerError::PathLength { path_length });
    }
    let trust_domain = &wanted.fields.trust_domain;
    if own.names != [trust_domain.id().to_string()] {
        return Err(AnswerError::Names { names: own.names.clone(), trust_domain: trust_domain.clone() });
    }
    Ok(())
}

/// A chain that leads to none of the roots is told with the name that it leads to.
fn unknown(fault: AnswerError, facts: &[AuthorityFacts]) -> AnswerError {
    match (fault, facts.last()) {
        // The trial stands before them.
        (AnswerError::Chain(X509SvidError::Issuer { at, .. }), Some(last)) if at == facts.len() => {
            AnswerError::UnknownRoot { at: at - 1, issuer: last.issuer.clone() }
        }
        (other, _) => other,
    }
}
