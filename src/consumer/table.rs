//! What each consumer takes: one function for each, which says yes, or why not.
//!
//! Limits are those of their own documentation: of the AWS STS and IAM API references, Google's `workloadIdentityPools`
//! REST reference, Microsoft Graph's `federatedIdentityCredential`, and Envoy's defaults.

use super::{ConsumerKind, Unfit};
use crate::bundle::IssuerUrl;
use crate::crypto::JwsAlgorithm;
use crate::identity::SpiffeId;
use crate::svid::AwsSession;
use serde_json::{Map, Value};

/// The name of the claim that names the bearer everywhere.
pub(super) const SUB: &str = "sub";

const AWS_TOKEN_MAX: usize = 20_000;
/// Of issuer, audience and subject alike.
const AWS_TEXT_MAX: usize = 255;
pub(super) const GOOGLE_SUBJECT_MAX: usize = 127;
const GOOGLE_AUDIENCE_MAX: usize = 256;
/// Of issuer, audience and subject alike.
pub(super) const ENTRA_TEXT_MAX: usize = 600;
/// All of a request's headers, `max_request_headers_kb`.
const ENVOY_HEADERS_MAX: usize = 60 * 1024;

/// A JWT-SVID, as far as a consumer may mind.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// `iss`.
    pub issuer: Option<&'a IssuerUrl>,
    /// `alg`.
    pub algorithm: JwsAlgorithm,
    /// `sub`.
    pub spiffe_id: &'a SpiffeId,
    /// `aud`.
    pub audiences: &'a [String],
    /// All others.
    pub claims: &'a Map<String, Value>,
    /// How long it is, signed.
    pub bytes: usize,
}

impl ConsumerKind {
    /// Whether it takes a token whose bearer it knows by this claim.
    ///
    /// # Errors
    /// Why it does not.
    pub fn takes(self, offer: &Offer<'_>, subject: &str) -> Result<(), Unfit> {
        self.takes_issuer(offer.issuer)?;
        self.takes_algorithm(offer.algorithm)?;
        match self {
            Self::Aws => aws(offer),
            Self::Entra => entra(offer),
            Self::Envoy | Self::Istio => mesh(offer),
            Self::Google => google(offer, subject),
            Self::Okta => Err(Unfit::ClientAssertion),
            Self::Spiffe => Ok(()),
            Self::Vault => offer.named_by(subject).map(drop),
        }
    }

    /// Whether it takes tokens of this issuer.
    ///
    /// # Errors
    /// Why it does not.
    pub fn takes_issuer(self, issuer: Option<&IssuerUrl>) -> Result<(), Unfit> {
        if matches!(self, Self::Okta | Self::Spiffe) {
            return Ok(());
        }
        let issuer = issuer.ok_or(Unfit::NoIssuer)?;
        match (self, issuer.port()) {
            (Self::Aws, Some(port)) => Err(Unfit::IssuerPort { port: port.to_owned() }),
            (Self::Aws, None) => issuer_length(issuer, AWS_TEXT_MAX),
            (Self::Entra, _) => issuer_length(issuer, ENTRA_TEXT_MAX),
            (Self::Envoy | Self::Google | Self::Istio | Self::Okta | Self::Spiffe | Self::Vault, _) => Ok(()),
        }
    }

    /// Whether it verifies such signatures.
    ///
    /// # Errors
    /// What it verifies instead.
    pub fn takes_algorithm(self, algorithm: JwsAlgorithm) -> Result<(), Unfit> {
        let is_pss = matches!(algorithm, JwsAlgorithm::Ps256 | JwsAlgorithm::Ps384 | JwsAlgorithm::Ps512);
        let (does, takes) = match self {
            Self::Aws => (!is_pss, "RS256, RS384, RS512, ES256, ES384 and ES512"),
            // What else it takes is told nowhere.
            Self::Entra | Self::Okta => (algorithm == JwsAlgorithm::Rs256, "RS256"),
            Self::Google => (matches!(algorithm, JwsAlgorithm::Es256 | JwsAlgorithm::Rs256), "RS256 and ES256"),
            Self::Envoy | Self::Istio | Self::Spiffe | Self::Vault => (true, "all that a JWT-SVID may be signed by"),
        };
        if does { Ok(()) } else { Err(Unfit::Algorithm { algorithm, takes }) }
    }
}

/// Conditions of a trust policy see `aud` and `sub`; tags and source identity have claims of their own.
fn aws(offer: &Offer<'_>) -> Result<(), Unfit> {
    offer.for_one_of_at_most(AWS_TEXT_MAX)?;
    at_most(SUB, offer.spiffe_id.as_str(), AWS_TEXT_MAX)?;
    offer.no_longer_than(AWS_TOKEN_MAX)?;
    AwsSession::of_claims(offer.claims)?;
    Ok(())
}

/// Issuer, subject and audience are compared whole with those of a credential.
fn entra(offer: &Offer<'_>) -> Result<(), Unfit> {
    offer.for_one_of_at_most(ENTRA_TEXT_MAX)?;
    at_most(SUB, offer.spiffe_id.as_str(), ENTRA_TEXT_MAX)
}

/// `google.subject` is whatever the provider maps to it, and must be short.
fn google(offer: &Offer<'_>, subject: &str) -> Result<(), Unfit> {
    let longest = offer.audiences.iter().map(|audience| audience.chars().count()).max().unwrap_or_default();
    if longest > GOOGLE_AUDIENCE_MAX {
        return Err(Unfit::Audience { actual: longest, most: GOOGLE_AUDIENCE_MAX });
    }
    at_most(subject, offer.named_by(subject)?, GOOGLE_SUBJECT_MAX)
}

/// The token comes in a header.
fn mesh(offer: &Offer<'_>) -> Result<(), Unfit> {
    offer.no_longer_than(ENVOY_HEADERS_MAX)
}

impl Offer<'_> {
    /// The text of the claim that names the bearer.
    fn named_by(&self, claim: &str) -> Result<&str, Unfit> {
        if claim == SUB {
            return Ok(self.spiffe_id.as_str());
        }
        let text = self.claims.get(claim).and_then(Value::as_str);
        text.ok_or_else(|| Unfit::SubjectMissing { claim: claim.to_owned() })
    }

    fn for_one_of_at_most(&self, most: usize) -> Result<(), Unfit> {
        let [audience] = self.audiences else {
            return Err(Unfit::SeveralAudiences { count: self.audiences.len() });
        };
        let actual = audience.chars().count();
        if actual > most { Err(Unfit::Audience { actual, most }) } else { Ok(()) }
    }

    const fn no_longer_than(&self, most: usize) -> Result<(), Unfit> {
        let actual = self.bytes;
        if actual > most { Err(Unfit::Token { actual, most }) } else { Ok(()) }
    }
}

fn issuer_length(issuer: &IssuerUrl, most: usize) -> Result<(), Unfit> {
    let actual = issuer.as_str().len();
    if actual > most { Err(Unfit::IssuerLength { actual, most }) } else { Ok(()) }
}

fn at_most(claim: &str, text: &str, most: usize) -> Result<(), Unfit> {
    let actual = text.len();
    if actual > most { Err(Unfit::Subject { claim: claim.to_owned(), actual, most }) } else { Ok(()) }
}
